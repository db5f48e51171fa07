"""From a source to batches of views: the tf.data of training and of evaluation.

The place of a photo in the stream decides everything about it: which photo it is
(a permutation of each epoch, computed place by place, so that nothing is held in
memory) and how it is augmented. Any number of threads gives the same batches, and a
stream can begin anywhere.
"""

import threading

import numpy as np
import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, center_crop, decode

# Long enough to never end (2^62 photos), short enough for int64 arithmetic.
ENDLESS = 2**62


class BadImages:
    """Photos that could not be read: counted, named, and limited.

    Attributes:
        names: {id of the photo: reason}.
    """

    def __init__(self):
        self.names = {}
        self._lock = threading.Lock()

    @property
    def count(self):
        """Number of different unreadable photos met so far."""
        return len(self.names)

    def add(self, name, reason, total):
        """Remembers a photo.

        Raises:
            UserError: When all `total` photos are unreadable.
        """
        with self._lock:
            self.names[name] = reason
        if self.count >= total:
            raise UserError(f"none of {total} photos can be read; {name}: {reason}")

    def check(self, total, max_share):
        """Refuses more than `max_share` unreadable photos of `total`.

        Raises:
            UserError: Naming the first of them.
        """
        if self.count > max_share * total:
            name, reason = next(iter(self.names.items()))
            raise UserError(
                f"{self.count} of {total} photos cannot be read (allowed by "
                f"pipeline.max_bad_share: {max_share:g}); the first is {name}: {reason}"
            )


def make_dataset(
    source,
    views,
    batch_size,
    seed=0,
    shuffle=True,
    repeat=True,
    workers=None,
    bad_images=None,
    start_position=0,
):
    """Batches of views for `DINO.fit`.

    Args:
        source: `datasets.Source`, or a SPEC such as "folder:photos".
        views: `transforms.multicrop.MultiCrop`.
        batch_size: Photos in a global batch B.
        seed: Of the order and the augmentation.
        shuffle: Whether every epoch is a new permutation.
        repeat: Whether epochs follow one another without end; give `fit` its
            `steps_per_epoch` then.
        workers: Threads; None lets tf.data choose. The batches do not depend on it.
        bad_images: `BadImages` that collects unreadable photos; they are passed over.
        start_position: Photos of the stream to leave out, for going on where an
            earlier training stopped; costs nothing.

    Returns:
        `tf.data.Dataset` of {"global": (B, 2, S, S, 3), "local": (B, V, s, s, 3)}.

    Raises:
        UserError: When the batch is larger than the source.
    """
    if isinstance(source, str):
        from dino_tf.datasets import open_source

        source = open_source(source)
    count = len(source)
    steps_per_epoch(count, batch_size)
    end = ENDLESS if repeat else max(count, start_position)
    places = tf.data.Dataset.range(start_position, end)
    calls = workers or tf.data.AUTOTUNE

    def make_views(index, place):
        image, readable = _read(source, index, bad_images or BadImages())
        return readable, tf.cond(
            readable,
            lambda: views(image, _seed_of(seed, place)),
            lambda: _no_views(views),
        )

    dataset = places.map(lambda place: (_index(place, count, seed, shuffle), place))
    dataset = dataset.map(make_views, num_parallel_calls=calls, deterministic=True)
    dataset = dataset.filter(lambda readable, _: readable)
    dataset = dataset.map(lambda _, crops: crops)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return dataset.prefetch(2).with_options(_options(workers))


def evaluation_dataset(
    source,
    size,
    batch_size,
    indices=None,
    bad_images=None,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Central squares of a source's photos, in order, once.

    Args:
        source: `datasets.Source`.
        size: Side S of the square in pixels.
        batch_size: Photos b in a batch; the last may have fewer.
        indices: Which photos; None takes all.
        bad_images: `BadImages` that collects unreadable photos; they are left out.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.

    Returns:
        `tf.data.Dataset` of {"image": (b, S, S, 3) normalised, "index": (b,) int64}.
    """
    indices = range(len(source)) if indices is None else indices
    places = tf.constant([int(i) for i in indices], tf.int64)
    dataset = tf.data.Dataset.from_tensor_slices(places)

    def prepare(index):
        image, readable = _read(source, index, bad_images or BadImages())
        square = tf.cond(
            readable,
            lambda: center_crop(image, size, mean, std),
            lambda: tf.zeros((size, size, 3)),
        )
        return readable, {"image": square, "index": index}

    dataset = dataset.map(prepare, tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.filter(lambda readable, _: readable).map(lambda _, item: item)
    return dataset.batch(batch_size).prefetch(2).with_options(_options(None))


def steps_per_epoch(count, batch_size):
    """Full batches in `count` photos.

    Raises:
        UserError: When there is none.
    """
    if not 1 <= batch_size <= count:
        raise UserError(
            f"batch size is {batch_size}; allowed is 1 to {count}, the number of photos"
        )
    return count // batch_size


def _index(place, count, seed, shuffle):
    """Index of the photo at a place of the stream."""
    within = place % count
    if not shuffle or count == 1:
        return within
    epoch = tf.cast(place // count, tf.uint32)
    key = tf.stack([tf.cast(seed, tf.uint32), epoch])
    last = tf.constant(count - 1, tf.int64)
    return tf.random.experimental.index_shuffle(within, key, last)


def _seed_of(seed, place):
    """Seed (2,) int32 of the augmentation at a place of the stream."""
    base = tf.stack([tf.cast(seed, tf.int32), tf.cast(place // 2**31, tf.int32)])
    return tf.random.fold_in(base, tf.cast(place % 2**31, tf.int32))


def _read(source, index, bad_images):
    """Photo (H, W, 3) uint8 and whether it could be read, inside a graph."""

    def read(index):
        index = int(index)
        try:
            return decode(source.image_bytes(index)).numpy(), True
        except (OSError, ValueError, tf.errors.InvalidArgumentError) as error:
            reason = str(error).strip().splitlines()[0] if str(error) else "unreadable"
            bad_images.add(source.id(index), reason, len(source))
            return _NOTHING, False

    image, readable = tf.numpy_function(
        read, [index], (tf.uint8, tf.bool), stateful=False
    )
    return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(readable, ())


_NOTHING = np.zeros((1, 1, 3), "uint8")


def _no_views(views):
    shapes = {
        "global": (2, views.global_size, views.global_size, 3),
        "local": (views.num_local, views.local_size, views.local_size, 3),
    }
    return {name: tf.zeros(shape) for name, shape in shapes.items()}


def _options(workers):
    options = tf.data.Options()
    options.deterministic = True
    # Places are numbers, not files: every replica takes its part of each batch.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    if workers:
        options.threading.private_threadpool_size = workers
    return options
