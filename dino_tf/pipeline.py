"""From a source of photos to batches: order, reading, views, bad photos.

The stream is a function of the seed alone. Position p belongs to epoch p // N and
to one place in that epoch's permutation, and the views at p are drawn from
(seed, p); so neither the number of threads nor a restart changes the data.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import tensorflow as tf

from .distribute import part_of_batches
from .errors import UserError
from .transforms.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    normalize,
    pillow_center_crop,
    try_decode,
)

CHECKED_AT_ONCE = 4096  # photos that wait for a thread; each takes a kilobyte


class BadImages:
    """The photos that could not be read, by name and reason; safe between threads.

    Attributes:
        names: Dictionary from photo id to the reason, one entry per bad photo.
    """

    def __init__(self):
        self.names = {}
        self._lock = threading.Lock()

    @property
    def count(self):
        """Number of distinct photos that could not be read."""
        return len(self.names)

    def add(self, name, reason):
        """Remember one photo; a second time is ignored."""
        with self._lock:
            self.names.setdefault(name, reason)

    def check(self, total, max_share):
        """Stop when too large a share of the photos is bad.

        Args:
            total: Number of photos in the source.
            max_share: Largest share allowed, 0..1.

        Raises:
            UserError: More than `max_share * total` distinct photos are bad.
        """
        with self._lock:
            bad = sorted(self.names.items())
        if len(bad) > max_share * total:
            name, reason = bad[0]
            raise UserError(
                f"{len(bad)} of {total} images cannot be read (first {name}: "
                f"{reason}); allowed is a share of {max_share:g}"
            )


def steps_per_epoch(source_len, batch_size):
    """Number of whole batches in one pass over the source.

    Args:
        source_len: Number of photos.
        batch_size: Photos per step, over all replicas.

    Returns:
        `source_len // batch_size`, at least 1.

    Raises:
        UserError: The batch is not positive or larger than the source.
    """
    if not 1 <= batch_size <= source_len:
        raise UserError(
            f"batch size is {batch_size}; allowed is 1 to the number of images, "
            f"{source_len}"
        )
    return source_len // batch_size


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
    part=(0, 1),
):
    """Build the stream of batches of views that `DINO.fit` takes.

    A photo that cannot be read is noted in `bad_images` and its place is taken by
    the next readable photo of the source: every batch is full, and k batches are
    always k * B positions, so that `start_position` is exact.

    Args:
        source: Has `len(source)`, `source.id(i)` and `source.image_bytes(i)`.
        views: A `MultiCrop`, or another callable of the views contract.
        batch_size: Photos per batch, over all replicas.
        seed: Seed of order and views, an integer.
        shuffle: New permutation in each epoch instead of the source's own order.
        repeat: Go on without end instead of one epoch.
        workers: Threads that read and augment; None lets tf.data decide.
        bad_images: `BadImages` that collects unreadable photos; None makes one.
        start_position: Number of samples to pass over, without reading them:
            batches already seen times `batch_size`.
        part: (i, n): the i-th of n equal parts of each batch alone, without reading
            the others; for `multi_worker.share_batches`.

    Returns:
        `tf.data.Dataset` of `{"global": (B, 2, S, S, 3), "local": (B, V, s, s, 3)}`,
        float32; the last partial batch is dropped. It is endless with `repeat`, so
        `fit` needs `steps_per_epoch`.

    Raises:
        UserError: The batch is larger than the source, no multiple of the parts, or
            a number is negative. While iterating, TensorFlow reports it as
            `InvalidArgumentError` when no photo can be read at all.
    """
    steps_per_epoch(len(source), batch_size)
    if start_position < 0:
        raise UserError(f"start_position is {start_position}; allowed is 0 or more")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; allowed is 1 or more, or None")
    read = _reader(source, bad_images or BadImages())

    def load(position, index):
        image, _ = read(index)
        return views(image, tf.stack([tf.constant(seed, tf.int64), position]))

    threads = workers or tf.data.AUTOTUNE
    order = _order(len(source), seed, shuffle, repeat, start_position)
    order = part_of_batches(order, batch_size, *part)
    dataset = order.map(load, num_parallel_calls=threads, deterministic=True)
    dataset = dataset.batch(batch_size // part[1], drop_remainder=True)
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(_options(workers))


def labelled_dataset(
    source, labels, view, batch_size, seed=0, finish=None, workers=None, bad_images=None
):
    """Build the endless stream of batches (images, labels) of supervised training.

    Order and bad photos are as in `make_dataset`; a photo that takes the place of
    another brings its own label.

    Args:
        source: As in `make_dataset`.
        labels: Array (N, ...), a row for each photo of the source.
        view: Callable (image uint8 (H, W, 3), seed (2,)) -> (S, S, 3).
        batch_size: Photos per batch, over all replicas.
        seed: Seed of order, views and `finish`, an integer.
        finish: Callable (images, labels, seed (2,)) -> (images, targets) for each
            batch, such as a `Mixing`; None leaves them.
        workers: As in `make_dataset`.
        bad_images: As in `make_dataset`.

    Returns:
        `tf.data.Dataset` of (images (B, S, S, 3), labels (B, ...)).

    Raises:
        UserError: As in `make_dataset`.
    """
    steps_per_epoch(len(source), batch_size)
    read = _reader(source, bad_images or BadImages())
    with tf.device("CPU:0"):
        labels, seed = tf.constant(labels), tf.constant(seed, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def load(position, index):
        image, place = read(index)
        return view(image, tf.stack([seed, position])), tf.gather(labels, place)

    threads = workers or tf.data.AUTOTUNE
    order = _order(len(source), seed, shuffle=True, repeat=True, start=0)
    dataset = order.map(load, num_parallel_calls=threads, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    if finish is not None:
        dataset = dataset.enumerate().map(
            lambda number, batch: finish(*batch, tf.stack([seed, number])),
            num_parallel_calls=threads,
            deterministic=True,
        )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(_options(workers))


def evaluation_dataset(
    source,
    size,
    batch_size,
    indices=None,
    bad_images=None,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Build one ordered pass over photos, prepared for evaluation.

    Args:
        source: As in `make_dataset`.
        size: Side S of the central square in pixels.
        batch_size: Photos per batch; the last may hold fewer.
        indices: Which photos, in this order; None takes all.
        bad_images: `BadImages` that collects unreadable photos; they are left out.
        mean: Of each channel in 0..1, as in training.
        std: Of each channel in 0..1, as in training.

    Returns:
        `tf.data.Dataset` of `{"image": (b, S, S, 3) normalised float32, "index":
        (b,) int64}`, where "index" is the place in the source.

    Raises:
        UserError: The batch size is below 1.
    """
    if batch_size < 1:
        raise UserError(f"batch size is {batch_size}; allowed is 1 or more")
    chosen = np.arange(len(source)) if indices is None else np.asarray(indices)
    crop = _square_reader(source, bad_images or BadImages(), size)

    @tf.autograph.experimental.do_not_convert
    def load(index):
        square, readable = crop(index)
        return {"image": normalize(square, mean, std), "index": index}, readable

    dataset = tf.data.Dataset.from_tensor_slices(chosen.astype(np.int64))
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.filter(lambda _, readable: readable)
    dataset = dataset.map(lambda sample, _: sample).batch(batch_size)
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(_options(None))


def unreadable(source):
    """Names of the photos of `source` that the training could not decode, in order."""
    read, bad = partial(_read_one, source, bad_images=BadImages()), []
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(source), CHECKED_AT_ONCE):
            places = range(len(source))[start : start + CHECKED_AT_ONCE]
            readable = threads.map(lambda i: read(i) is not None, places)
            found = zip(places, readable, strict=True)
            bad += [source.id(i) for i, whole in found if not whole]
    return bad


def _order(total, seed, shuffle, repeat, start):
    """Dataset of (position, index of the photo), beginning at position `start`."""

    def indices(number):
        if not shuffle:
            return tf.range(total, dtype=tf.int64)
        key = tf.stack([tf.constant(seed, tf.int64), number])
        draws = tf.random.stateless_uniform((total,), key, None, None, tf.int64)
        return tf.cast(tf.argsort(draws, stable=True), tf.int64)

    @tf.autograph.experimental.do_not_convert
    def epoch(number):
        positions = number * total + tf.range(total, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices((positions, indices(number)))

    first, within = divmod(start, total)
    if not repeat:
        return tf.data.Dataset.range(min(first, 1), 1).flat_map(epoch).skip(within)
    order = tf.data.Dataset.counter(first).flat_map(epoch).skip(within)
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return order.apply(endless)


def _reader(source, bad_images):
    """Make the function index -> (image (H, W, 3) uint8, place that it is of).

    The next readable photo takes the place of one that cannot be read.
    """

    def read(index):
        for step in range(len(source)):
            place = (int(index) + step) % len(source)
            image = _read_one(source, place, bad_images)
            if image is not None:
                return image, np.int64(place)
        raise UserError(f"none of the {len(source)} images can be read")

    @tf.autograph.experimental.do_not_convert
    def call(index):
        image, place = tf.numpy_function(
            read, [index], (tf.uint8, tf.int64), stateful=False
        )
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(place, ())

    return call


def _square_reader(source, bad_images, size):
    """Make the function index -> (central square (S, S, 3) uint8, readable)."""

    def read(index):
        image = _read_one(source, int(index), bad_images)
        if image is None:
            return np.zeros((size, size, 3), np.uint8), False
        return pillow_center_crop(image, size), True

    @tf.autograph.experimental.do_not_convert
    def call(index):
        square, readable = tf.numpy_function(
            read, [index], (tf.uint8, tf.bool), stateful=False
        )
        square = tf.ensure_shape(square, (size, size, 3))
        return square, tf.ensure_shape(readable, ())

    return call


def _read_one(source, index, bad_images):
    name = source.id(index)
    if name in bad_images.names:
        return None
    image, reason = try_decode(partial(source.image_bytes, index))
    if image is None:
        bad_images.add(name, reason)
    return image


def _options(workers):
    options = tf.data.Options()
    options.deterministic = True
    # Samples run side by side; threads inside one operation only get in the way.
    options.threading.max_intra_op_parallelism = 1
    if workers is not None:
        options.threading.private_threadpool_size = workers
    # Every worker draws the same stream and keeps its share of each batch.
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    return options
