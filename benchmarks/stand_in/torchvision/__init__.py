"""Stands in for torchvision where it is missing: what the published program calls.

The same calls of Pillow, hence the same pixels; nothing here is faster or slower on
purpose. No networks.
"""

from . import datasets, models, transforms, utils

__all__ = ["datasets", "models", "transforms", "utils"]
