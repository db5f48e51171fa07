import io

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source, scenes
from dino_tf.datasets.scene_drawing import PALETTE_STEPS, PALETTES, draw_scene
from dino_tf.datasets.scenes import Scenes
from dino_tf.datasets.species import SPECIES
from dino_tf.errors import UserError


def pixels(source, index):
    return np.array(Image.open(io.BytesIO(source.image_bytes(index))))


def test_default_splits():
    train, test = open_source("scenes"), open_source("scenes", "test")
    assert (len(train), len(test)) == (2000, 1000)
    assert len(train.class_names) == 10 and train.class_names[4] == "fish"
    assert pixels(train, 0).shape == (96, 96, 3)
    assert (pixels(train, 0) != pixels(test, 0)).mean() > 0.5
    assert len(open_source("scenes:40", "test")) == 10


def test_same_index_gives_the_same_photo_in_any_order():
    first, second = Scenes(count=20), Scenes(count=50)
    photos = [first.image_bytes(i) for i in range(20)]
    assert [second.image_bytes(i) for i in range(19, -1, -1)] == photos[::-1]
    assert len(set(photos)) == 20
    assert Scenes(count=20, seed=1).image_bytes(0) != photos[0]


def test_photos_are_pinned():
    """A change here changes every number that was measured on `scenes`."""
    source = Scenes("train")
    assert [source.labels(i)[0] for i in range(10)] == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    assert abs(float(pixels(source, 3).mean()) - 91.52) < 0.5


def test_drawn_photos_are_kept_up_to_a_limit(monkeypatch):
    source = Scenes(count=20)
    first = source.image_bytes(0)
    assert source.image_bytes(0) is first
    monkeypatch.setattr(scenes, "KEPT_BYTES", 3 * len(first))
    source = Scenes(count=20)
    photos = [source.image_bytes(i) for i in range(5)]
    again = [source.image_bytes(i) for i in range(5)]
    assert photos == again
    same = [a is b for a, b in zip(photos, again, strict=True)]
    assert same == [True, True, True, False, False]


def test_every_block_of_ten_shows_each_species_once():
    source = Scenes("test", 40)
    for start in range(0, 40, 10):
        block = [source.labels(start + i)[0] for i in range(10)]
        assert sorted(block) == list(range(10))
    assert source.id(7).split("_")[0] == source.class_names[source.labels(7)[0]]


def test_boxes_surround_the_mask():
    source = Scenes("train", 60)
    for index in range(60):
        species = source.labels(index)[0]
        mask, boxes = source.mask(index), source.boxes(index)
        assert mask.shape == (96, 96) and set(np.unique(mask)) == {0, species + 1}
        assert 1 <= len(boxes) <= 3 and set(boxes.classes) == {species}
        rows, columns = np.nonzero(mask)
        whole = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        low, high = boxes.xyxy[:, :2].min(0), boxes.xyxy[:, 2:].max(0)
        np.testing.assert_array_equal([*low, *high], whole)
        assert not boxes.difficult[-1]  # the main object is in front


def test_objects_are_told_apart():
    source = Scenes("train", 60)
    for index in range(60):
        objects = source.objects(index)
        np.testing.assert_array_equal(objects > 0, source.mask(index) > 0)
        numbers = np.unique(objects[objects > 0])
        boxes = source.boxes(index)
        assert len(numbers) == len(boxes)
        for number, box in zip(numbers, boxes.xyxy, strict=True):
            rows, columns = np.nonzero(objects == number)
            assert [columns.min(), rows.min()] == box[:2].tolist()
            assert [columns.max() + 1, rows.max() + 1] == box[2:].tolist()


def test_scenes_vary_in_number_size_and_occlusion():
    source = Scenes("train", 200)
    boxes = [source.boxes(i) for i in range(200)]
    assert {len(b) for b in boxes} == {1, 2, 3}
    shares = np.array([(source.mask(i) > 0).mean() for i in range(200)])
    assert shares.min() > 0.02 and shares.max() < 0.8
    assert np.quantile(shares, 0.9) > 1.8 * np.quantile(shares, 0.1)
    assert any(b.difficult.any() for b in boxes)


def test_one_scene_at_two_sizes():
    small, large = Scenes(count=10), Scenes(count=10, size=288)
    for index in range(10):
        shrunk = pixels(large, index).reshape(96, 3, 96, 3, 3).mean((1, 3))
        assert np.abs(shrunk - pixels(small, index)).mean() < 6
        np.testing.assert_allclose(
            large.boxes(index).xyxy[-1] / 3, small.boxes(index).xyxy[-1], atol=1.5
        )


@pytest.mark.parametrize("number", range(10))
def test_species_fits_the_unit_circle(number):
    v, u = np.meshgrid(*[np.linspace(-1.6, 1.6, 161, dtype=np.float32)] * 2)
    outline, texture, marks = SPECIES[number][1](u.T, v.T)
    inside = outline < 0
    assert outline.dtype == texture.dtype == np.float32
    assert 0.05 < inside.mean() < 0.3
    assert np.hypot(u, v).T[inside].max() < 1.17
    assert texture.min() >= 0 and texture.max() <= 1
    shown = texture[inside]
    assert 0.05 < shown.mean() < 0.95  # both colours of the palette can be seen
    assert all((distance < 0).any() for distance, _ in marks)


def test_every_palette_is_worn_by_many_species():
    """One colour must not give one species away."""
    worn = {palette: set() for palette in range(len(PALETTES))}
    for species in range(10):
        for step in PALETTE_STEPS:
            worn[(species + step) % len(PALETTES)].add(species)
    assert min(len(species) for species in worn.values()) >= 3


def features_of_colour(source):
    """Histogram of 64 colours."""
    bins = [pixels(source, i) // 64 @ [16, 4, 1] for i in range(len(source))]
    counts = np.stack([np.bincount(b.ravel(), minlength=64) for b in bins])
    return np.sqrt(counts / counts.sum(1, keepdims=True))


def test_colour_alone_does_not_tell_the_species():
    train, test = Scenes("train", 600), Scenes("test", 200)
    nearest = np.argsort(-features_of_colour(test) @ features_of_colour(train).T, 1)
    labels = np.array([train.labels(i)[0] for i in range(600)])[nearest[:, :20]]
    votes = [np.bincount(row, minlength=10).argmax() for row in labels]
    right = np.mean([v == test.labels(i)[0] for i, v in enumerate(votes)])
    assert 0.15 < right < 0.65


@pytest.mark.parametrize("spec", ["scenes:zero", "scenes:0", "scenes:-3"])
def test_wrong_count(spec):
    with pytest.raises(UserError, match="scenes:COUNT"):
        open_source(spec)


def test_wrong_arguments():
    with pytest.raises(UserError, match="no split 'val'; allowed: train, test"):
        open_source("scenes", "val")
    with pytest.raises(UserError, match="size 8"):
        Scenes(size=8)
    with pytest.raises(IndexError):
        Scenes(count=3).image_bytes(3)


def test_draw_scene_gives_numbered_objects():
    image, instances, painted = draw_scene(np.random.default_rng(5), 2, 64)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert instances.max() == len(painted) - 1
    assert all((instances == n).sum() <= count for n, count in enumerate(painted))
