"""Readers of photos for the graphs of `tf.data`.

Each is one call into Python for a photo. Files and decoders, and nearly all that is
done to pixels, let other threads run meanwhile.
"""

from functools import partial

import numpy as np
import tensorflow as tf

from .photos import first_readable, read_one
from .transforms.image import pillow_center_crop, try_decode
from .transforms.jpeg import try_decode_photo
from .view_processes import ViewProcesses


def photo_reader(source, bad_images, cache=None):
    """Make the function index -> (image (H, W, 3) uint8, place that it is of).

    The next readable photo takes the place of one that cannot be read. For the
    arguments see `read_one`.
    """
    take = partial(read_one, source, bad_images=bad_images, cache=cache)

    @tf.autograph.experimental.do_not_convert
    def call(index):
        image, place = tf.numpy_function(
            partial(first_readable, source, take=take),
            [index],
            (tf.uint8, tf.int64),
            stateful=False,
        )
        return tf.ensure_shape(image, (None, None, 3)), tf.ensure_shape(place, ())

    return call


def view_reader(
    source, views, seed, bad_images, decode_margin=None, cache=None, processes=0
):
    """Make the function (position, index) -> views in 8 bits, not normalised.

    For the arguments see `pipeline.make_dataset`; `views` is a `MultiCrop`.
    """
    if processes:
        pool = ViewProcesses(processes, views, decode_margin)

        def draw(position, index):
            key = (seed, int(position))
            take = partial(pool.take, source, bad_images, cache, key)
            return tuple(first_readable(source, index, take)[0].values())

    else:
        reduction = views.reduction_with(decode_margin)
        decode = partial(try_decode_photo, reduction=reduction)
        take = partial(
            read_one, source, bad_images=bad_images, decode=decode, cache=cache
        )

        def draw(position, index):
            image, _ = first_readable(source, index, take)
            return tuple(views.draw(image, (seed, position)).values())

    @tf.autograph.experimental.do_not_convert
    def call(position, index):
        pixels = tf.numpy_function(
            draw, [position, index], (tf.uint8, tf.uint8), stateful=False
        )
        return views.with_shapes(pixels)

    return call


def square_reader(source, bad_images, size):
    """Make the function index -> (central square (S, S, 3) uint8, readable)."""

    def read(index):
        image = read_one(source, int(index), bad_images, try_decode)
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
