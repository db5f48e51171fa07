"""Keys and attention of photos of several sizes."""

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.evaluate import patch_pass
from dino_tf.evaluate.last_block import LastBlock
from dino_tf.models.backbones import create_backbone
from dino_tf.transforms.image import normalize


@pytest.fixture(scope="module")
def backbone():
    return create_backbone(
        "vit_tiny", 8, 32, embed_dim=16, depth=2, num_heads=2, num_registers=1
    )


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_shapes_follow_the_photo(backbone):
    block = LastBlock(backbone)
    photo = image(27, 40)
    maps = block.attention(photo)
    assert maps.shape == (2, 3, 5) and maps.dtype == np.float32
    # CLS and the register take their share.
    assert (maps > 0).all() and (maps.sum(axis=(1, 2)) < 1).all()
    assert block.keys(photo).shape == (15, 16)
    assert block.grid(photo) == (3, 5)


def test_what_fills_no_patch_is_left_out(backbone):
    block = LastBlock(backbone)
    photo = image(27, 43)
    changed = photo.copy()
    changed[24:], changed[:, 40:] = 0, 0
    np.testing.assert_array_equal(block.attention(photo), block.attention(changed))


def test_agrees_with_the_network(backbone):
    block, photo = LastBlock(backbone), image(16, 24)
    results = backbone.extract(normalize(photo)[None], ["attention", "keys"])
    maps = results["attention"][0, :, 0, 2:].numpy().reshape(2, 2, 3)
    np.testing.assert_allclose(block.attention(photo), maps, atol=1e-6)
    np.testing.assert_allclose(block.keys(photo), results["keys"][0, 2:], atol=1e-5)


def test_pixels_are_normalised_as_told(backbone):
    photo = image(16, 16)
    plain = LastBlock(backbone, (0, 0, 0), (1, 1, 1)).keys(photo)
    assert np.abs(plain - LastBlock(backbone).keys(photo)).max() > 1e-4


def test_a_photo_of_too_many_patches_is_refused(backbone, monkeypatch):
    """Two heads of 15 x 15 numbers are 450."""
    monkeypatch.setattr(patch_pass, "MOST_NUMBERS", 450)
    assert LastBlock(backbone).keys(image(24, 40)).shape == (15, 16)
    words = (
        "40 x 32 pixels, 20 patches of 8; allowed for this network: 15, such as 24 x"
    )
    with pytest.raises(UserError, match=words):
        LastBlock(backbone).keys(image(32, 40))
