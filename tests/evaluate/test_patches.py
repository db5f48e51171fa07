"""Keys and attention of photos of several sizes, alone and together."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.arrays import ArraySource
from dino_tf.evaluate import patch_pass, patches
from dino_tf.evaluate.patches import PatchReader, ahead, extension_of
from dino_tf.models.vit import VisionTransformer
from dino_tf.transforms.image import decode, normalize

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.2, 0.3)
SIZES = [(20, 33)] * 4 + [(32, 16), (5, 6), (20, 40)] * 2


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    return ArraySource([rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in SIZES])


def vit(**arguments):
    backbone = VisionTransformer(
        24, depth=2, num_heads=2, patch_size=8, image_size=32, **arguments
    )
    backbone.build(None)
    return backbone


def one_by_one(backbone, source):
    """{index: (keys, attention)} by the plain use of `extract`."""
    found = {}
    for index, (height, width) in enumerate(SIZES):
        grid = -(-height // 8), -(-width // 8)
        image = np.zeros((1, 8 * grid[0], 8 * grid[1], 3), np.float32)
        pixels = decode(source.image_bytes(index))
        image[0, :height, :width] = normalize(pixels, MEAN, STD)
        results = backbone.extract(image, ["keys", "attention"])
        prefix = backbone.num_prefix_tokens
        keys = results["keys"][0, prefix:]
        found[index] = keys, results["attention"][0, :, 0, prefix:]
    return found


@pytest.mark.parametrize("arguments", [{}, {"num_registers": 2}, {"rope": True}])
@pytest.mark.parametrize("traced", [True, False])
def test_photos_together_get_what_they_get_alone(
    monkeypatch, source, arguments, traced
):
    if arguments.pop("rope", False):
        arguments["rope_periods"] = (1.0, 10.0, 100.0)
    monkeypatch.setattr(patch_pass, "WORTH_A_TRACE", 1 if traced else 99)
    monkeypatch.setattr(patch_pass, "WORTH_ONE_FOR_ALL", 1 if traced else 99)
    monkeypatch.setattr(patches, "MOST_AT_ONCE", 3)
    backbone = vit(**arguments)
    expected = one_by_one(backbone, source)
    reader = PatchReader(backbone, ("keys", "attention"), MEAN, STD)
    photos = {photo.index: photo for photo in reader.photos(source, range(len(SIZES)))}
    assert sorted(photos) == list(range(len(SIZES)))
    for index, (keys, attention) in expected.items():
        found = photos[index].found
        np.testing.assert_allclose(found["keys"], keys, atol=2e-6)
        flat = found["attention"].reshape(attention.shape)
        np.testing.assert_allclose(flat, attention, atol=2e-6)
        assert found["attention"].shape[1:] == photos[index].grid(8)
        assert photos[index].extension == "bmp"


def test_one_trace_serves_all_sizes(monkeypatch, source):
    backbone, passes = vit(), []
    plain = backbone.extract_from
    monkeypatch.setattr(
        backbone, "extract_from", lambda *a: passes.append(1) or plain(*a)
    )
    monkeypatch.setattr(patch_pass, "WORTH_ONE_FOR_ALL", 1)
    reader = PatchReader(backbone, ("keys",), MEAN, STD)
    assert len(list(reader.photos(source, range(len(SIZES))))) == len(SIZES)
    assert len(passes) == 1


def test_few_photos_wait_at_a_time(monkeypatch, source):
    monkeypatch.setattr(patches, "WAITING", 2)
    reader = PatchReader(vit(), ("keys",), MEAN, STD)
    batches = []
    extract = reader.extract
    reader.extract = lambda photos: batches.append(len(photos)) or extract(photos)
    assert len(list(reader.photos(source, range(len(SIZES))))) == len(SIZES)
    assert sum(batches) == len(SIZES) and max(batches) == 2


def test_large_photos_go_alone(monkeypatch):
    assert patches.most_at_once(vit(), 3 * 5) == patches.MOST_AT_ONCE
    monkeypatch.setattr(patches, "MOST_ATTENTION", 2 * 15**2 * 2)
    assert patches.most_at_once(vit(), 3 * 5) == 2
    assert patches.most_at_once(vit(), 30 * 50) == 1


@pytest.mark.parametrize(
    ("form", "extension"),
    [("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")],
)
def test_extension_is_that_of_the_content(form, extension):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, form)
    assert extension_of(file.getvalue()) == extension
    assert extension_of(b"text") == extension_of(b"") == ""


def test_ahead_keeps_the_order_and_reads_no_more_than_it_may():
    asked = []

    def items():
        for item in range(8):
            asked.append(item)
            yield item

    with ThreadPoolExecutor(2) as threads:
        results = ahead(threads, lambda item: item * item, items(), 3)
        assert next(results) == 0
        assert len(asked) <= 4
        assert list(results) == [1, 4, 9, 16, 25, 36, 49]


def test_photos_of_too_many_patches_are_left_out(monkeypatch, source):
    # Two heads and at most 4 patches.
    monkeypatch.setattr(patch_pass, "MOST_NUMBERS", 2 * 4**2)
    reader = PatchReader(vit(), ("keys",), MEAN, STD)
    photos = {p.index: p for p in reader.photos(source, range(len(SIZES)))}
    assert len(photos) == len(SIZES)
    for index, (height, width) in enumerate(SIZES):
        small = -(-height // 8) * -(-width // 8) <= 4
        assert (photos[index].image is not None) == small
        assert bool(photos[index].found) == small
