"""Every kind of file in the place of a photo has one outcome, wherever it is read."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dino_tf.transforms.image import try_decode
from dino_tf.transforms.jpeg import try_decode_photo

# Tests are no package: what they share is found by its place.
_place = Path(__file__).with_name("photo_kinds.py")
_spec = importlib.util.spec_from_file_location("photo_kinds", _place)
photo_kinds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(photo_kinds)
KINDS, SHAPE = photo_kinds.KINDS, photo_kinds.SHAPE


@pytest.mark.parametrize("name", KINDS)
def test_outcome(name):
    data, outcome = KINDS[name]
    ours, reason = try_decode_photo(lambda: data)
    theirs, same_reason = try_decode(lambda: data)
    np.testing.assert_array_equal(ours, theirs)
    assert reason == same_reason
    if isinstance(outcome, str):
        assert ours is None and reason.startswith(outcome), reason
        return
    assert reason is None
    assert ours.dtype == np.uint8 and ours.ndim == 3 and ours.shape[2] == 3
    if outcome is not None:
        np.testing.assert_allclose(ours[0, 0], outcome, atol=4)
        assert ours.shape in (SHAPE, (2, 4, 3), (1, 1, 3))
