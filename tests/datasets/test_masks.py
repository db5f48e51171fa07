"""Photos with binary masks: folders, layouts, what is refused."""

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets.masks import mask_folders, read_binary_mask
from dino_tf.errors import UserError

SQUARE = np.zeros((6, 8), np.uint8)
SQUARE[2:4, 2:6] = 255


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path)


def mask(path, array=SQUARE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Two photos, one below, with masks; a mask and a text that belong to none."""
    for name in ("b.jpg", "deep/a.x.png"):
        photo(tmp_path / "img" / name)
    for name in ("b.png", "deep/a.x.png", "spare.png"):
        mask(tmp_path / "gt" / name)
    (tmp_path / "gt" / "notes.txt").write_text("about b.png")
    return tmp_path


def test_masks_are_found_by_name(root):
    source = open_source(f"masks:{root / 'img'}:{root / 'gt'}")
    assert [source.id(i) for i in range(len(source))] == ["b", "deep/a.x"]
    assert source.class_names == ("object",) and source.labels(0) == ()
    found = source.mask(0)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, SQUARE // 255)
    assert source.image_bytes(0)[:2] == b"\xff\xd8"
    assert source.objects(0) is None
    assert open_source(f"masks:{root}", "test") is None


@pytest.mark.parametrize(
    ("photos", "masks"),
    [
        ("img", "gt"),
        ("images", "ground_truth_mask"),
        ("DUTS-TE-Image", "DUTS-TE-Mask"),
        ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
        ("images", "masks"),
    ],
)
def test_layouts_by_their_root(tmp_path, photos, masks):
    photo(tmp_path / photos / "1.jpg")
    mask(tmp_path / masks / "1.png")
    assert mask_folders(str(tmp_path)) == (tmp_path / photos, tmp_path / masks)
    assert open_source(f"masks:{tmp_path}").mask(0).sum() == 8


def test_masks_of_another_size_keep_it(root):
    mask(root / "gt/b.png", np.kron(SQUARE, np.ones((2, 2), np.uint8)))
    assert open_source(f"masks:{root}").mask(0).shape == (12, 16)


def test_stamp_tells_a_changed_mask(root):
    before = open_source(f"masks:{root}").stamp()
    assert open_source(f"masks:{root}").stamp() == before
    mask(root / "gt/b.png", np.full((60, 80), 255, np.uint8))
    assert open_source(f"masks:{root}").stamp() != before


def test_missing_masks_are_counted(root):
    (root / "gt/deep/a.x.png").unlink()
    with pytest.raises(UserError, match="1 of 2 photos have no mask .*deep/a.x.png"):
        open_source(f"masks:{root}")


def test_two_photos_for_one_mask(root):
    photo(root / "img/b.png")
    with pytest.raises(UserError, match="b.jpg and b.png in .* would have one mask"):
        open_source(f"masks:{root}")


def test_colons_in_names(root, monkeypatch):
    odd = root / "a:b"
    (root / "img").rename(odd)
    assert mask_folders(f"{odd}:{root / 'gt'}") == (odd, root / "gt")
    monkeypatch.chdir(root)
    for name in ("a", "b:gt"):
        (root / name).mkdir()
    with pytest.raises(UserError, match="masks:a:b:gt can be read in 2 ways"):
        mask_folders("a:b:gt")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("masks", "data 'masks' lacks two folders: masks:PHOTOS:MASKS"),
        ("masks:{}/gone", "no folder '{}/gone'"),
        ("masks:{}/img:{}/gone", "no folder '{}/gone'"),
        ("masks:{}/gone:{}/gt", "no folder '{}/gone'"),
        ("masks:{}/img", "no folders of photos and masks that are known"),
        ("masks:{}/empty:{}/gt", "has no photos"),
    ],
)
def test_wrong_folders_are_named(root, spec, words):
    (root / "empty").mkdir()
    with pytest.raises(UserError) as error:
        open_source(spec.format(root, root))
    assert words.format(root) in str(error.value)


def test_there_is_one_split(root):
    with pytest.raises(UserError, match="no split 'val'; allowed: train"):
        open_source(f"masks:{root}", "val")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_greys_of_all_kinds(tmp_path, mode):
    grey = np.array([[0, 127], [128, 255]], np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "1":
        image = Image.fromarray(grey > 127)
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "mask.png")
    found = read_binary_mask(tmp_path / "mask.png")
    assert found.tolist() == [[0, 0], [1, 1]]


def test_empty_masks_are_masks(tmp_path):
    mask(tmp_path / "mask.png", np.zeros((2, 2), np.uint8))
    assert read_binary_mask(tmp_path / "mask.png").sum() == 0


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (SQUARE // 255, "has values from 0 to 1; allowed: 0 for the background"),
        (np.full((2, 2, 3), (128, 0, 0), np.uint8), "has colours"),
    ],
)
def test_masks_of_another_kind_are_refused(tmp_path, array, words):
    mask(tmp_path / "mask.png", array)
    with pytest.raises(UserError, match=words):
        read_binary_mask(tmp_path / "mask.png")


def test_damaged_masks_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 50))
    mask(tmp_path / "mask.png", noise.astype(np.uint8))
    whole = (tmp_path / "mask.png").read_bytes()
    (tmp_path / "mask.png").write_bytes(whole[:200])
    with pytest.raises(UserError, match="mask.png is no whole PNG file"):
        read_binary_mask(tmp_path / "mask.png")
