"""Components in colours that mean the same in every photo, and their file."""

import numpy as np
import pytest

from dino_tf.analysis.components import fit_components
from dino_tf.errors import UserError
from dino_tf.visualize import draw
from dino_tf.visualize.components import (
    component_sheet,
    load_components,
    paint_components,
    save_components,
)


def photos():
    draw = np.random.default_rng(0)
    found = [draw.normal(size=(h, w, 5)) * [9, 5, 3, 1, 1] for h, w in ((6, 6), (4, 8))]
    for features in found:
        features[1:-1, 1:-1, 0] += 40
    return found


def test_equal_photos_have_equal_colours():
    one, other = photos()
    found = fit_components([one, other, one])
    twice = [paint_components(found, one, (60, 60)) for _ in range(2)]
    np.testing.assert_array_equal(*twice)
    # A part of the photo by itself: the same colours, smooth edges aside.
    whole = paint_components(found, one, (60, 60))
    part = paint_components(found, one[:, :3], (60, 30))
    np.testing.assert_allclose(part[::10, :15], whole[::10, :15], atol=2)


def test_background_is_dark():
    found = fit_components(photos(), foreground=True)
    picture = paint_components(found, photos()[0], (60, 60))
    np.testing.assert_allclose(picture[:4], np.broadcast_to(draw.INK, (4, 60, 3)))
    inside = picture[15:-15, 15:-15].astype(float)
    assert np.abs(inside - draw.INK).max() > 100
    plain = paint_components(fit_components(photos()), photos()[0], (60, 60))
    assert np.abs(plain[:4].astype(float) - draw.INK).max() > 50


def test_sheet_holds_pairs_of_two_photos_a_row():
    asked = []

    def painted(i, shape):
        asked.append((i, shape))
        return np.full((*shape, 3), 200, np.uint8)

    images = [np.zeros((30, 60, 3), np.uint8)] * 2 + [np.zeros((90, 60, 3), np.uint8)]
    sheet = component_sheet(images, painted, ["a", "b", "c"], "title")
    assert asked == [(0, (210, 420)), (1, (210, 420)), (2, (300, 200))]
    assert sheet.width == 4 * 420 + 5 * draw.GAP


@pytest.mark.parametrize("foreground", [False, True])
def test_saved_components_are_the_same(tmp_path, foreground):
    found = fit_components(photos(), foreground=foreground)
    path = save_components(found, tmp_path / "new" / "basis.npz")
    back = load_components(path)
    for features in photos():
        np.testing.assert_array_equal(back.colours(features), found.colours(features))
    assert (back.foreground(photos()[0]) is None) is not foreground


def test_files_of_something_else(tmp_path):
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name in ("missing.npz", "text.npz", "one.npy"):
        with pytest.raises(UserError, match=f"{name} is no .npz file of components"):
            load_components(tmp_path / name)
    with pytest.raises(UserError, match="holds mean; allowed: mean, directions"):
        load_components(tmp_path / "other.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_components(fit_components(photos()), tmp_path / "file" / "basis.npz")


def npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


class Executed:
    def __reduce__(self):
        return exec, ("open('executed', 'w')",)


GOOD = {"mean": np.zeros(2), "directions": np.zeros((1, 2)), "low": np.zeros(1)}
GOOD |= {"high": np.ones(1)}


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": np.array([Executed()], object)},
        {"mean": np.array("x")},
        {"mean": np.zeros(3)},
        {"low": np.full(1, np.nan)},
        {"low": np.zeros(10**7, "f8")},
        {"../evil": np.zeros(1)},
    ],
    ids=["pickle", "text", "width", "nan", "large", "name"],
)
def test_files_of_strangers(changes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_components(npz(tmp_path / "a.npz", **GOOD)).low == [0]
    with pytest.raises(UserError) as error:
        load_components(npz(tmp_path / "a.npz", **{**GOOD, **changes}))
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_other_numbers_of_components():
    with pytest.raises(UserError, match="2 components; allowed: 3"):
        paint_components(fit_components(photos(), 2), photos()[0], (8, 8))
