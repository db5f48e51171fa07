"""One picture as a file."""

import torch
from PIL import Image


def make_grid(tensor, normalize=False, scale_each=False):
    """The only picture of (1, 3, H, W), stretched to 0 to 1 if asked to."""
    (picture,) = tensor
    if normalize:
        low, high = float(picture.min()), float(picture.max())
        picture = picture.clamp(low, high).sub(low).div(max(high - low, 1e-5))
    return picture


def save_image(tensor, path):
    """Writes a picture (3, H, W) in 0 to 1."""
    pixels = tensor.mul(255).add(0.5).clamp(0, 255).permute(1, 2, 0)
    Image.fromarray(pixels.to("cpu", torch.uint8).numpy()).save(path)
