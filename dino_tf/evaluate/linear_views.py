"""Features of randomly cropped photos, epoch after epoch, as a stream."""

from functools import partial

import numpy as np
import tensorflow as tf

from dino_tf.evaluate.features import compiled_summarizer, passes
from dino_tf.evaluate.linear_photos import RULES, join_features
from dino_tf.pipeline import BadImages
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, try_decode
from dino_tf.transforms.random_crop import RandomCrop


def view_dataset(
    source,
    size,
    batch_size,
    epochs,
    seed=0,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    bad_images=None,
):
    """Random views of all photos, in a new order in each epoch.

    Views and order are a function of the seed, whatever the number of threads. A
    photo that cannot be read is left out.

    Args:
        source: Photos.
        size: Side S of a view in pixels.
        batch_size: Views in a batch; the last of all may hold fewer.
        epochs: Passes over the photos.
        seed: Of order and views.
        mean: Of each channel, in 0 to 1.
        std: Of each channel, in 0 to 1.
        bad_images: `BadImages` that collects unreadable photos.

    Returns:
        `tf.data.Dataset` of {"image": (b, S, S, 3), "index": (b,) int64, the place in
        the source, "position": (b,) int64, the place in the stream}.
    """
    total, read = len(source), _reader(source, bad_images or BadImages())
    seed = tf.constant(seed, tf.int64)
    crop = RandomCrop(size, mean=mean, std=std, kernel="bilinear")

    @tf.autograph.experimental.do_not_convert
    def order(epoch):
        draws = tf.random.stateless_uniform(
            (total,), tf.stack([seed, epoch]), None, None, tf.int64
        )
        positions = epoch * total + tf.range(total, dtype=tf.int64)
        places = tf.cast(tf.argsort(draws, stable=True), tf.int64)
        return tf.data.Dataset.from_tensor_slices((positions, places))

    @tf.autograph.experimental.do_not_convert
    def view(position, index):
        image, readable = read(index)
        # The orders are drawn from (seed, epoch): views must begin elsewhere.
        key = tf.stack([seed, epochs + position])
        return {
            "image": crop(image, key),
            "index": index,
            "position": position,
        }, readable

    dataset = tf.data.Dataset.range(epochs).flat_map(order)
    dataset = dataset.map(view, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.filter(lambda _, readable: readable)
    dataset = dataset.map(lambda sample, _: sample).batch(batch_size)
    return dataset.prefetch(tf.data.AUTOTUNE)


def view_features(
    subject, source, size, rule, epochs, batch_size, seed=0, bad_images=None
):
    """Features of random views in the batches that a classifier learns from.

    The network sees `subject.batch_size` photos at once, whatever the batch; no more
    than one batch of features is in memory.

    Args:
        subject: `Subject`.
        source: Photos.
        size: Side of a view in pixels.
        rule: See `dino_tf.evaluate.linear_photos.feature_rule`.
        epochs: Passes over the photos.
        batch_size: Photos in a batch; the last of an epoch may hold fewer.
        seed: Of order and views.
        bad_images: `BadImages` that collects unreadable photos.

    Yields:
        (epoch, float32 (B, D), int64 (B,) places in the source).
    """
    total, at_once = len(source), min(subject.batch_size, len(source))
    views = view_dataset(
        source, size, at_once, epochs, seed, subject.mean, subject.std, bad_images
    )
    bar = subject.progress(total * epochs, f"{epochs} epochs of {source.name}")
    waiting, now = [], (0, 0)
    forward = compiled_summarizer(subject.backbone, RULES[rule])
    for batch, found in passes(forward, views):
        features, places = join_features(found, rule), batch["index"].numpy()
        positions = batch["position"].numpy()
        bar.add(len(places))
        epoch, within = np.divmod(positions, total)
        for key in sorted(set(zip(epoch, within // batch_size, strict=True))):
            those = (epoch == key[0]) & (within // batch_size == key[1])
            if key != now and waiting:
                yield _joined(now[0], waiting)
                waiting = []
            waiting.append((features[those], places[those]))
            now = key
    if waiting:
        yield _joined(now[0], waiting)


def _joined(epoch, waiting):
    features, places = zip(*waiting, strict=True)
    return int(epoch), np.concatenate(features), np.concatenate(places)


def _reader(source, bad_images):
    """Function index -> (image (H, W, 3) uint8, readable)."""

    def read(index):
        image, reason = try_decode(partial(source.image_bytes, int(index)))
        if image is None:
            bad_images.add(source.id(int(index)), reason)
            return np.zeros((1, 1, 3), np.uint8), False
        return image, True

    @tf.autograph.experimental.do_not_convert
    def call(index):
        image, readable = tf.numpy_function(
            read, [index], (tf.uint8, tf.bool), stateful=False
        )
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(readable, ())

    return call
