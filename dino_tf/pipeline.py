"""From a source of photos to batches: order, reading, views, bad photos.

The stream is a function of the seed alone. Position p belongs to epoch p // N and
to one place in that epoch's permutation, and the views at p are drawn from
(seed, p); so neither the number of threads nor a restart changes the data.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import tensorflow as tf

from .distribute import part_of_batches
from .errors import UserError
from .photos import BadImages, read_one
from .reading import photo_reader, square_reader, view_reader
from .transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize

CHECKED_AT_ONCE = 4096  # photos that wait for a thread; each takes a kilobyte
# Batches that are normalised side by side, and that wait for the training: more would
# be no faster, and a batch of floats is large.
FINISHERS, WAITING = 2, 2


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
    decode_margin=None,
    cache=None,
    processes=0,
    masks=None,
):
    """Build the stream of batches of views that `DINO.fit` takes.

    A photo that cannot be read is noted in `bad_images`, and the next readable one
    takes its place: every batch is full, and `start_position` is exact.

    Args:
        source: Has `len(source)`, `source.id(i)` and `source.image_bytes(i)`.
        views: A `MultiCrop`, or another callable of the views contract.
        batch_size: Photos per batch, over all replicas.
        seed: Seed of order and views, an integer.
        shuffle: New permutation in each epoch instead of the source's own order.
        repeat: Go on without end instead of one epoch.
        workers: Threads that read and augment; None lets tf.data decide.
        bad_images: `BadImages` that collects unreadable photos; None makes one.
        start_position: Samples to pass over: batches seen times `batch_size`.
        part: (i, n): the i-th of n equal parts of each batch alone, without reading
            the others; for `multi_worker.share_batches`.
        decode_margin: See `MultiCrop.reduction`; None decodes in full.
        cache: `MemoryCache` or `DiskCache` of decoded photos, or None.
        processes: Processes that draw for a `MultiCrop`, in the place of `workers`
            threads; 0: none. Neither they nor a cache change the data.
        masks: `PatchMasks` of the global views, for `ibot.PatchPrediction`, or None.

    Returns:
        `tf.data.Dataset` of `{"global": (B, 2, S, S, 3), "local": (B, V, s, s, 3)}`,
        float32, whole batches; endless with `repeat`: `fit` needs `steps_per_epoch`.
        With `masks` also "masks": (B, 2, h * w), uint8, 1 where a patch is hidden.

    Raises:
        UserError: The batch is larger than the source, no multiple of the parts, or
            a number is negative; while iterating, as `InvalidArgumentError`, when no
            photo can be read at all.
    """
    _check_stream(source, views, batch_size, workers, start_position, decode_margin)
    order = _order(len(source), seed, shuffle, repeat, start_position)
    order = part_of_batches(order, batch_size, *part)
    reading = (bad_images, decode_margin, cache, processes)
    load = _view_loader(source, views, seed, *reading)
    threads = processes + 1 if processes else workers  # one photo is read meanwhile
    dataset = order.map(load, threads or tf.data.AUTOTUNE, deterministic=True)
    dataset = _in_batches(dataset, views, batch_size // part[1], threads)
    if masks is not None:
        dataset = _with_masks(dataset, masks, seed, start_position, batch_size, part)
    return dataset.prefetch(WAITING).with_options(_options(threads))


def _in_batches(dataset, views, count, threads):
    """Whole batches of `count` photos, finished as a `MultiCrop` does."""
    dataset = dataset.batch(count, drop_remainder=True)
    if not hasattr(views, "finish"):
        return dataset
    threads = min(threads or FINISHERS, FINISHERS)
    return dataset.map(views.finish, threads, deterministic=True)


def _with_masks(dataset, masks, seed, start, batch_size, part):
    """The batches with the masks of their global views."""
    shape = dataset.element_spec["global"].shape.as_list()

    def draw(number):
        drawn = masks.draw(seed, start + int(number) * batch_size, shape, part)
        return drawn.astype(np.uint8)  # Keras sums batches over replicas to build

    known = draw(0).shape

    @tf.autograph.experimental.do_not_convert
    def add(number, batch):
        drawn = tf.numpy_function(draw, [number], tf.uint8, stateful=False)
        return {**batch, "masks": tf.ensure_shape(drawn, known)}

    return dataset.enumerate().map(add, FINISHERS, deterministic=True)


def _check_stream(source, views, batch_size, workers, start_position, decode_margin):
    steps_per_epoch(len(source), batch_size)
    if start_position < 0:
        raise UserError(f"start_position is {start_position}; allowed is 0 or more")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; allowed is 1 or more, or None")
    if decode_margin is not None and not (
        decode_margin >= 1 and hasattr(views, "reduction")
    ):
        raise UserError(
            f"decode_margin is {decode_margin}; allowed: 1 or more with a MultiCrop, "
            "or None"
        )


def _view_loader(source, views, seed, bad_images, decode_margin, cache, processes):
    """Function (position, index) -> views: of a `MultiCrop` those of its `draw`."""
    bad_images = bad_images or BadImages()
    if hasattr(views, "draw"):
        return view_reader(
            source, views, seed, bad_images, decode_margin, cache, processes
        )
    if processes:
        raise UserError(f"processes is {processes}; allowed without a MultiCrop: 0")
    read = photo_reader(source, bad_images, cache)

    def load(position, index):
        image, _ = read(index)
        return views(image, tf.stack([tf.constant(seed, tf.int64), position]))

    return load


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
    read = photo_reader(source, bad_images or BadImages())
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
    crop = square_reader(source, bad_images or BadImages(), size)

    @tf.autograph.experimental.do_not_convert
    def load(index):
        square, readable = crop(index)
        return {"image": normalize(square, mean, std), "index": index}, readable

    dataset = tf.data.Dataset.from_tensor_slices(chosen.astype(np.int64))
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.filter(lambda _, readable: readable)
    dataset = dataset.map(lambda sample, _: sample).batch(batch_size)
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(_options(None))


def unreadable(source, bad_images=None):
    """Names of the photos of `source` that the training could not decode, in order.

    Args:
        source: As in `make_dataset`.
        bad_images: `BadImages` that is told the reasons, too.
    """
    read, bad = partial(read_one, source, bad_images=bad_images or BadImages()), []
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
