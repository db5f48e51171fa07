"""Copy detection: is the original of a copy found? Copydays."""

from functools import partial

import numpy as np
from PIL import Image

from dino_tf.analysis.ranked import trapezoid_precision
from dino_tf.analysis.whitening import Moments
from dino_tf.errors import UserError
from dino_tf.evaluate.ranking import Gallery, open_others, read_again
from dino_tf.evaluate.subject import Outcome
from dino_tf.evaluate.whole_photos import WholePhotos, unread_notes
from dino_tf.visualize.draw import save_png
from dino_tf.visualize.ranked import Found, Search, ranked_sheet

# Originals that come later in the list count as not found.
DEPTH = 20
GEM_EXPONENT, GEM_LEAST = 4, 1e-6
PUBLISHED_SIZE, PUBLISHED_FOR = 320, 224
PICTURE_ORIGINALS, PICTURE_COPIES = 8, 9
VERSION = 1  # to be raised when the same photos give other features than before


def lacks(subject, data):
    """What copy detection needs and does not find, in words; None is nothing."""
    if not getattr(data.train, "attacks", None):
        return "copies of photos: copydays:ROOT, or the generated copies"
    if _has_tokens(subject.backbone):
        return None
    return "a network with CLS and patch tokens, such as vit_small"


def run_task(subject, data, size=None, whiten=None, distractors=None):
    """Ranks the originals for each copy: see `dino_tf.tasks.Task`.

    Photos are squeezed into a square. A photo is described by CLS of the last block
    beside the generalised mean of its patch tokens, compared by their cosine, whitened
    where photos to learn it from are given. Originals that cannot be read are found by
    no copy; copies that cannot be read, or that have no original, are left out.

    Returns:
        `Outcome` of percentages `copy/map_ATTACK`, such as `copy/map_strong` and
        `copy/map_jpegqual_3`: mean average precision among the first 20 photos.
        `copy/map_original` searches for the originals themselves. The details hold
        the place of the original of every copy.

    Reference:
        facebookresearch/dino, eval_copy_detection.py.
    """
    source, size = data.train, _side(subject, size)
    photos = _photos(subject, size)
    asked, answers, notes = _queries(source)
    features, index = photos.of(source, [i for i, _ in asked.values()], "copies")
    raise NotImplementedError


def gem(tokens):
    """Generalised mean of patch tokens, exponent 4.

    Args:
        tokens: float32 (B, N, D); what is below 1e-6 counts as that.

    Returns:
        float32 (B, D).

    Reference:
        facebookresearch/dino, eval_copy_detection.py; Radenović et al. 2018, arXiv
        1711.02512, section 3.2.
    """
    powers = np.maximum(tokens, np.float32(GEM_LEAST)) ** GEM_EXPONENT
    return powers.mean(axis=1) ** (1 / GEM_EXPONENT)
