import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dino_tf import pipeline
from dino_tf.errors import UserError
from dino_tf.masking import PatchMasks
from dino_tf.photo_cache import DiskCache, MemoryCache
from dino_tf.pipeline import (
    BadImages,
    evaluation_dataset,
    labelled_dataset,
    make_dataset,
    steps_per_epoch,
)
from dino_tf.transforms.multicrop import MultiCrop

BROKEN = b"no picture"


class Pictures:
    """Photos of one colour each; index i has red 10 i. Bytes or errors by index."""

    def __init__(self, count, broken=None):
        self.broken = broken or {}
        self.reads = []
        self.data = [self._encode(index) for index in range(count)]

    @staticmethod
    def _encode(index):
        stream = io.BytesIO()
        noise = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
        noise[..., 0] = 10 * index
        Image.fromarray(noise).save(stream, "PNG")
        return stream.getvalue()

    def __len__(self):
        return len(self.data)

    def id(self, index):
        return f"photo{index}"

    def image_bytes(self, index):
        self.reads.append(index)
        if isinstance(self.broken.get(index), Exception):
            raise self.broken[index]
        return self.broken.get(index, self.data[index])


class Tiny:
    """The views contract, but showing which photo and which seed was used."""

    def __call__(self, image, seed):
        red = tf.cast(image[0, 0, 0], tf.float32) / 10
        place = tf.cast(seed[1], tf.float32)
        return {
            "global": tf.ones((2, 1, 1, 3)) * red,
            "local": tf.ones((1, 1, 1, 3)) * place,
        }


def small_views():
    return MultiCrop(global_size=16, local_size=8, num_local=2)


def take(dataset, batches):
    """Photo numbers and positions of the first batches (of `Tiny` views)."""
    taken = list(itertools.islice(dataset.as_numpy_iterator(), batches))
    photos = np.concatenate([b["global"][:, 0, 0, 0, 0] for b in taken])
    places = np.concatenate([b["local"][:, 0, 0, 0, 0] for b in taken])
    return photos.astype(int).tolist(), places.astype(int).tolist()


def test_batches_keep_the_contract():
    dataset = make_dataset(Pictures(5), small_views(), 4)
    spec = dataset.element_spec
    assert spec["global"].shape == (4, 2, 16, 16, 3)
    assert spec["local"].shape == (4, 2, 8, 8, 3)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert next(iter(dataset))["global"].dtype == tf.float32


def test_masks_stand_beside_the_views():
    masks, arguments = PatchMasks(8, parts=2), {"seed": 3, "workers": 1}
    whole = make_dataset(Pictures(5), small_views(), 4, masks=masks, **arguments)
    assert whole.element_spec["masks"].shape == (4, 2, 4)
    assert whole.cardinality() == tf.data.INFINITE_CARDINALITY
    found = [b["masks"] for b in itertools.islice(whole.as_numpy_iterator(), 3)]
    late = make_dataset(
        Pictures(5), small_views(), 4, masks=masks, start_position=8, **arguments
    )
    np.testing.assert_array_equal(next(late.as_numpy_iterator())["masks"], found[2])
    np.testing.assert_array_equal(masks.draw(3, 4, (4, 2, 16, 16, 3)), found[1])
    for part in range(2):
        own = make_dataset(
            Pictures(5), small_views(), 4, masks=masks, part=(part, 2), **arguments
        )
        rows = slice(2 * part, 2 * part + 2)
        drawn = next(own.as_numpy_iterator())["masks"]
        np.testing.assert_array_equal(drawn, found[0][rows])


def test_each_epoch_is_a_permutation():
    photos, places = take(make_dataset(Pictures(10), Tiny(), 5, seed=3), 8)
    epochs = np.reshape(photos, (4, 10))
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert places == list(range(40))


def test_order_follows_the_seed():
    first, _ = take(make_dataset(Pictures(10), Tiny(), 5, seed=3), 4)
    again, _ = take(make_dataset(Pictures(10), Tiny(), 5, seed=3), 4)
    other, _ = take(make_dataset(Pictures(10), Tiny(), 5, seed=4), 4)
    assert first == again != other


def test_without_shuffle_and_repeat():
    dataset = make_dataset(Pictures(10), Tiny(), 4, shuffle=False, repeat=False)
    photos, places = take(dataset, 99)
    assert photos == places == list(range(8))


@pytest.mark.parametrize("start", [3, 10, 27])
def test_start_position_continues_without_reading(start):
    whole, _ = take(make_dataset(Pictures(10), Tiny(), 1, seed=3), 40)
    source = Pictures(10)
    photos, places = take(
        make_dataset(source, Tiny(), 1, seed=3, workers=1, start_position=start), 5
    )
    assert photos == whole[start : start + 5]
    assert places == list(range(start, start + 5))
    assert source.reads[:5] == photos


def test_start_position_of_a_finite_stream():
    arguments = {"shuffle": False, "repeat": False}
    late = make_dataset(Pictures(6), Tiny(), 2, start_position=4, **arguments)
    assert take(late, 9)[0] == [4, 5]
    over = make_dataset(Pictures(6), Tiny(), 2, start_position=6, **arguments)
    assert list(over.as_numpy_iterator()) == []


def test_parallelism_does_not_change_the_data():
    one, four = (
        make_dataset(Pictures(9), small_views(), 3, seed=1, workers=workers)
        for workers in (1, 4)
    )
    pairs = zip(one.as_numpy_iterator(), four.as_numpy_iterator(), strict=False)
    for a, b in itertools.islice(pairs, 7):
        np.testing.assert_array_equal(a["global"], b["global"])
        np.testing.assert_array_equal(a["local"], b["local"])


@pytest.mark.parametrize("repeat", [True, False])
def test_parts_of_batches_make_the_batches(repeat):
    broken = {4: BROKEN}
    arguments = {"seed": 3, "repeat": repeat, "workers": 1, "start_position": 5}
    whole = make_dataset(Pictures(20, broken), Tiny(), 6, **arguments)
    found = take(whole, 4)
    parts = []
    for part in range(3):
        source = Pictures(20, broken)
        data = make_dataset(source, Tiny(), 6, part=(part, 3), **arguments)
        assert data.element_spec["global"].shape[0] == 2
        assert data.cardinality() == (tf.data.INFINITE_CARDINALITY if repeat else -2)
        parts.append(take(data, 4))
    for one, *of_parts in zip(found, *parts, strict=True):
        rows = [np.reshape(values, (-1, 2)) for values in of_parts]
        assert np.concatenate(rows, axis=1).flatten().tolist() == one


def test_a_part_reads_its_own_photos_only():
    source = Pictures(12)
    data = make_dataset(
        source, Tiny(), 6, shuffle=False, repeat=False, workers=1, part=(1, 3)
    )
    take(data, 9)
    assert sorted(source.reads) == [2, 3, 8, 9]


@pytest.mark.parametrize("part", [(0, 4), (3, 3), (-1, 3)])
def test_parts_that_do_not_fit(part):
    with pytest.raises(UserError, match=f"part {part[0]} of {part[1]} of a batch of 6"):
        make_dataset(Pictures(12), Tiny(), 6, part=part)


def test_a_cache_does_not_change_the_data(tmp_path):
    plain, *kept = (
        make_dataset(source, small_views(), 3, seed=1, workers=2, cache=cache)
        for source, cache in (
            (Pictures(9), None),
            (Pictures(9), MemoryCache(1)),
            # Four photos fit.
            (Pictures(9), DiskCache(tmp_path, "key", 4 * 4096e-9)),
        )
    )
    for other in kept:
        pairs = zip(plain.as_numpy_iterator(), other.as_numpy_iterator(), strict=False)
        for a, b in itertools.islice(pairs, 7):
            np.testing.assert_array_equal(a["global"], b["global"])
            np.testing.assert_array_equal(a["local"], b["local"])
    assert len(list(tmp_path.rglob("*.rgb"))) == 4


def test_a_photo_that_is_kept_is_read_once():
    source = Pictures(4)
    dataset = make_dataset(source, Tiny(), 2, workers=1, cache=MemoryCache(1))
    take(dataset, 6)
    assert sorted(source.reads) == [0, 1, 2, 3]


def test_bad_photos_are_named_and_replaced():
    broken = {2: BROKEN, 5: FileNotFoundError("gone"), 7: b""}
    source, bad = Pictures(10, broken), BadImages()
    dataset = make_dataset(source, Tiny(), 5, shuffle=False, workers=1, bad_images=bad)
    photos, places = take(dataset, 4)
    assert photos == [0, 1, 3, 3, 4, 6, 6, 8, 8, 9] * 2
    assert places == list(range(20))
    assert set(bad.names) == {"photo2", "photo5", "photo7"}
    assert bad.names["photo5"] == "gone"
    assert all(reason and "\n" not in reason for reason in bad.names.values())
    assert bad.count == 3
    assert source.reads.count(2) == 1


@pytest.mark.parametrize("at_once", [1, 3, 10, 99])
def test_unreadable_photos_are_named_in_order(monkeypatch, at_once):
    monkeypatch.setattr(pipeline, "CHECKED_AT_ONCE", at_once)
    broken = {0: BROKEN, 5: FileNotFoundError("gone"), 9: b""}
    found = pipeline.unreadable(Pictures(10, broken))
    assert found == ["photo0", "photo5", "photo9"]


def test_too_many_bad_photos():
    bad = BadImages()
    bad.add("a", "first")
    bad.add("a", "second")
    bad.check(10, 0.1)
    bad.add("b", "third")
    with pytest.raises(UserError, match="2 of 10 .*a: first"):
        bad.check(10, 0.1)


def test_a_source_without_readable_photos_ends():
    bad = BadImages()
    source = Pictures(4, dict.fromkeys(range(4), BROKEN))
    dataset = make_dataset(source, Tiny(), 2, bad_images=bad)
    with pytest.raises(tf.errors.InvalidArgumentError, match="none of the 4 images"):
        next(iter(dataset))
    assert bad.count == 4


def test_evaluation_is_ordered_and_drops_bad_photos():
    bad = BadImages()
    dataset = evaluation_dataset(Pictures(7, {1: BROKEN}), 16, 4, bad_images=bad)
    batches = list(dataset.as_numpy_iterator())
    assert [b["index"].tolist() for b in batches] == [[0, 2, 3, 4], [5, 6]]
    assert [b["image"].shape for b in batches] == [(4, 16, 16, 3), (2, 16, 16, 3)]
    red = (60 / 255 - 0.485) / 0.229
    np.testing.assert_allclose(batches[1]["image"][1, ..., 0], red, atol=1e-3)
    assert list(bad.names) == ["photo1"]


def test_evaluation_of_chosen_photos():
    dataset = evaluation_dataset(Pictures(7), 16, 4, indices=[5, 0, 5])
    assert next(dataset.as_numpy_iterator())["index"].tolist() == [5, 0, 5]


def test_distributed_stream_is_the_same():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([devices[0].name])
    dataset = make_dataset(Pictures(10), Tiny(), 4, seed=3)
    shared = strategy.experimental_distribute_dataset(dataset)
    batch = next(iter(shared))
    np.testing.assert_array_equal(batch["global"], next(iter(dataset))["global"])


def test_steps_per_epoch():
    assert steps_per_epoch(10, 4) == 2
    for batch_size in (11, 0):
        with pytest.raises(UserError, match=str(batch_size)):
            steps_per_epoch(10, batch_size)


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"start_position": -1}])
def test_arguments_are_checked(arguments):
    with pytest.raises(UserError, match=next(iter(arguments))):
        make_dataset(Pictures(4), Tiny(), 2, **arguments)


def corner(image, seed):
    """The first pixel (1, 1, 3)."""
    return tf.cast(image[:1, :1], tf.float32)


def labelled(source, batches, **kwargs):
    """(photo numbers, labels) of the first batches, without any augmentation."""
    labels = np.arange(len(source)) + 100
    dataset = labelled_dataset(source, labels, corner, **kwargs)
    taken = list(itertools.islice(dataset.as_numpy_iterator(), batches))
    photos = np.concatenate([images[:, 0, 0, 0] for images, _ in taken]) / 10
    return photos.astype(int).tolist(), np.concatenate([row for _, row in taken])


def test_labelled_batches_keep_photo_and_label_together():
    photos, labels = labelled(Pictures(10), 4, batch_size=5, seed=3)
    assert [sorted(photos[:10]), sorted(photos[10:])] == [list(range(10))] * 2
    assert (labels - 100).tolist() == photos
    assert photos == take(make_dataset(Pictures(10), Tiny(), 5, seed=3), 4)[0]


def test_a_photo_in_the_place_of_another_brings_its_own_label():
    bad = BadImages()
    source = Pictures(6, {2: BROKEN, 3: OSError("gone")})
    photos, labels = labelled(source, 2, batch_size=6, bad_images=bad)
    assert (labels - 100).tolist() == photos
    assert sorted(photos[:6]) == [0, 1, 4, 4, 4, 5]
    assert set(bad.names) == {"photo2", "photo3"}


def test_labelled_batches_are_finished_with_seed_and_number():
    def finish(images, labels, seed):
        return images, tf.stack([*tf.unstack(seed), labels[0]])

    source = Pictures(4)
    dataset = labelled_dataset(source, np.arange(4), corner, 2, seed=9, finish=finish)
    rows = [row for _, row in itertools.islice(dataset.as_numpy_iterator(), 3)]
    assert [row[:2].tolist() for row in rows] == [[9, 0], [9, 1], [9, 2]]


def test_labelled_batch_larger_than_the_source():
    with pytest.raises(UserError, match="batch size is 5; allowed is 1 to"):
        labelled_dataset(Pictures(4), np.arange(4), corner, 5)
