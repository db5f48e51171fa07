"""Attention on frames: its scale from frame to frame, and every way to draw it."""

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.visualize.film_pictures import FramePainter, RunningScale, film_shape


def flat(value, heads=1):
    return np.full((heads, 4, 6), value, np.float32)


def test_scale_follows_within_seconds():
    scale = RunningScale(rate=10)
    assert scale(flat(0.01)) == pytest.approx([0.01])
    # One frame ten times as strong moves it by 1 - exp(-1/20) of the way, in logs.
    assert scale(flat(0.1)) == pytest.approx([0.01 * 10**0.0487706], rel=1e-4)
    for _ in range(100):
        top = scale(flat(0.1))
    assert top == pytest.approx([0.1], rel=0.02)


def test_every_head_has_its_scale():
    maps = np.concatenate([flat(0.01), flat(0.5)])
    assert RunningScale(25)(maps) == pytest.approx([0.01, 0.5])


def test_a_spike_does_not_darken_its_frame():
    maps = np.random.default_rng(0).uniform(0.5, 1, (30, 1, 16, 24)).astype("float32")
    maps[15, 0, 3, 3] = 50
    painter = FramePainter((32, 48), 25, "map")
    frame = np.zeros((32, 48, 3), np.uint8)
    lights = [painter(frame, m)[16:].mean() for m in maps]
    assert max(lights) / min(lights) < 1.1
    # As the published script scales, the lower half would be black here.
    assert maps[15, 0, 8:].max() / maps[15].max() < 0.03


def half(value=1.0):
    """Attention to the left half alone."""
    maps = np.zeros((2, 4, 8), np.float32)
    maps[:, :, :4] = value
    maps[1] *= 2
    return maps


def test_drawings():
    frame = np.full((16, 32, 3), 100, np.uint8)
    overlay = FramePainter((16, 32), 10)(frame, half())
    assert overlay.shape == (16, 32, 3)
    assert (overlay[:, -8:] == 100).all()
    # 0.2 of the frame and 0.8 of the last colour of the map.
    assert overlay[8, 2].tolist() == pytest.approx([222, 224, 151], abs=3)
    heat = FramePainter((16, 32), 10, "map")(frame, half())
    assert heat[8, 2].tolist() == [252, 255, 164]
    assert heat[8, -2].tolist() == [0, 0, 4]
    side = FramePainter((16, 32), 10, "side")(frame, half())
    np.testing.assert_array_equal(side, np.hstack([frame, heat]))
    masked = FramePainter((16, 32), 10, "masked")(frame, half())
    assert masked[8, 2].tolist() == [100, 100, 100]
    assert masked[8, -2].tolist() == [22, 22, 22]


@pytest.mark.parametrize("drawing", ["overlay", "map", "masked"])
def test_threshold_is_applied(drawing):
    maps = np.full((1, 4, 8), 0.1, np.float32)
    maps[0, :, :2] = 1  # 8 of 10.4
    frame = np.full((64, 128, 3), 100, np.uint8)
    kept = FramePainter(frame.shape[:2], 10, drawing, keep_mass=0.6)(frame, maps)
    nothing = {"overlay": 100, "map": [0, 0, 4], "masked": 22}[drawing]
    assert (kept[:, 48:] == nothing).all()
    assert (kept[32, 8] != nothing).any()
    every = FramePainter(frame.shape[:2], 10, drawing, keep_mass=1.0)(frame, maps)
    assert (every[:, 48:] != nothing).any()


def test_heads():
    maps = np.stack([flat(0.1)[0], flat(0.3)[0], flat(0.8)[0]])
    assert FramePainter((2, 2), 1).chosen(maps)[0, 0, 0] == pytest.approx(0.4)
    assert FramePainter((2, 2), 1, head=2).chosen(maps).tolist() == maps[2:].tolist()
    with pytest.raises(UserError, match="head: got 3, allowed: mean, all, 0 to 2"):
        FramePainter((2, 2), 1, head=3).chosen(maps)
    frame = np.full((20, 40, 3), 100, np.uint8)
    tiles = FramePainter((20, 40), 1, head="all")(frame, maps)
    assert tiles.shape == (20, 40, 3)
    assert (tiles[10:, 20:] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drawing": "heat"}, "drawing: got 'heat', allowed: overlay, side, map, mas"),
        ({"keep_mass": 0}, "keep_mass is 0"),
        ({"keep_mass": 1.1}, "keep_mass is 1.1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        FramePainter((2, 2), 1, **options)


def test_sizes_that_h264_takes():
    assert film_shape((360, 640)) == (360, 640)
    assert film_shape((49, 65)) == (48, 64)
    assert film_shape((2160, 3840)) == (1152, 2048)
    assert film_shape((1, 1)) == (2, 2)
