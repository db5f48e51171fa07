"""Keys and attention of photos of several sizes."""

import numpy as np
import pytest

from dino_tf.evaluate import last_block
from dino_tf.evaluate.last_block import LastBlock
from dino_tf.models.backbones import create_backbone


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


def test_frequent_shapes_are_compiled_and_give_the_same(backbone, monkeypatch):
    photos = [image(16, 24, seed) for seed in range(3)]
    eager = LastBlock(backbone)
    expected = [(eager.attention(photo), eager.keys(photo)) for photo in photos]
    assert not eager._compiled
    monkeypatch.setattr(last_block, "WORTH_A_TRACE", 2)
    compiled = LastBlock(backbone)
    for photo, (attention, keys) in zip(photos, expected, strict=True):
        np.testing.assert_allclose(compiled.attention(photo), attention, atol=1e-6)
        np.testing.assert_allclose(compiled.keys(photo), keys, atol=1e-6)
    assert set(compiled._compiled) == {("attention", 16, 24), ("keys", 16, 24)}


def test_pixels_are_normalised_as_told(backbone):
    photo = image(16, 16)
    plain = LastBlock(backbone, (0, 0, 0), (1, 1, 1)).keys(photo)
    assert np.abs(plain - LastBlock(backbone).keys(photo)).max() > 1e-4
