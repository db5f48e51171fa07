"""Decode, resize, crop and normalise: what every picture goes through.

Pixels are 0..255 until `normalize`; resizing agrees with Pillow's antialiased
bicubic filter (cubic coefficient -0.5) without its rounding to 8 bits.
"""

import numpy as np
import tensorflow as tf
from PIL import Image

from ..errors import UserError, first_line
from ..photo_headers import photo_header
from .first_frame import first_frame, is_for_pillow
from .pixels import IMAGENET_MEAN, IMAGENET_STD


def decode(data):
    """Decode an encoded picture to 8-bit RGB, whatever its format and depth.

    JPEG, PNG, GIF (first frame), BMP and WebP are told by their content. Alpha is
    dropped, 16 bits become 8, grey becomes three equal channels. (Inside a graph BMP
    must have three channels already. An animated WebP is for `try_decode` alone.)

    Args:
        data: Scalar string tensor or bytes, the content of one file.

    Returns:
        uint8 tensor (H, W, 3).

    Raises:
        tf.errors.InvalidArgumentError: The bytes are not a whole picture.
    """
    if not tf.executing_eagerly():
        return tf.ensure_shape(_decode(data, 3), (None, None, 3))
    try:
        return _decode(data, 3)
    except tf.errors.InvalidArgumentError:
        # The decoders of BMP and WebP refuse to drop alpha.
        return _to_rgb(_decode(data, 0))


def try_decode(read):
    """Read and decode a picture, or say why not; what any file in the world gives.

    The content decides, whatever the name. As in the published program's loader, a
    photo lies as its pixels do, whatever its EXIF data say, alpha and colour profiles
    are dropped, and of an animation there is the first frame. JPEG files of more than
    `photo_headers.MOST_PIXELS` are decoded at a half, quarter or eighth of their
    sides; where that cannot save memory, and in other formats, they are refused.

    Args:
        read: Function without arguments that returns the bytes of one file.

    Returns:
        Tuple (uint8 array (H, W, 3), None), or (None, reason in one line).
    """
    try:
        data = read()
        header = photo_header(data)
    except OSError as error:
        return None, first_line(error)
    try:
        if is_for_pillow(header):
            return first_frame(data, header.kind), None
        # Eager operations, also in a thread of tf.data; decoding has no GPU kernel.
        with tf.device("CPU:0"):
            if header.scale > 1:
                return _decode(data, 3, header.scale).numpy(), None
            return decode(data).numpy(), None
    except tf.errors.InvalidArgumentError:
        # TensorFlow's words name its own functions, whatever is wrong.
        return None, f"truncated or damaged {header.kind} file"
    except (OSError, tf.errors.OpError) as error:
        return None, first_line(error)


def _decode(data, channels, ratio=1):
    def jpeg():
        # `decode_image` takes the fast inverse DCT, which is off by 1 of 255 on average
        # and as slow; this one gives the very pixels that Pillow gives.
        return tf.io.decode_jpeg(data, channels, ratio, dct_method="INTEGER_ACCURATE")

    def other():
        return tf.io.decode_image(data, channels=channels, expand_animations=False)

    return tf.cond(
        tf.equal(tf.strings.substr(data, 0, 3), b"\xff\xd8\xff"), jpeg, other
    )


def _to_rgb(image):
    channels = image.shape[-1]
    if channels < 3:
        return tf.repeat(image[..., :1], 3, axis=-1)
    return image[..., :3]


def resize(image, size):
    """Resize with an antialiased bicubic filter and clip to 0..255.

    Each direction is filtered with whole rows lying next to each other in memory,
    which is twice as fast as `tf.image.resize` and bit for bit the same.

    Args:
        image: (H, W, C) of any number type, 0..255.
        size: Height and width wanted, integers or scalar tensors.

    Returns:
        float32 (height, width, C), 0..255.

    Reference:
        Pillow, `Image.resize` with `BICUBIC`.
    """
    height, width = size
    planes = tf.transpose(image, (2, 0, 1))
    channels, rows, columns = tf.unstack(tf.shape(planes))
    pixels = tf.reshape(planes, (channels, rows, 1, columns))
    pixels = tf.transpose(_filter_rows(pixels, rows, height), (0, 3, 2, 1))
    pixels = _filter_rows(pixels, columns, width)[:, :, 0]
    pixels = tf.clip_by_value(tf.transpose(pixels, (2, 1, 0)), 0.0, 255.0)
    known = [side if isinstance(side, int) else None for side in size]
    return tf.ensure_shape(pixels, (*known, planes.shape[0]))


def _filter_rows(pixels, rows, wanted):
    """Resize axis 1 of (C, rows, 1, n) to `wanted` rows."""
    factor = tf.cast(wanted, tf.float32) / tf.cast(rows, tf.float32)
    return tf.raw_ops.ScaleAndTranslate(
        images=pixels,
        size=tf.stack([wanted, 1]),
        scale=tf.stack([factor, 1.0]),
        translation=tf.zeros((2,)),
        kernel_type="keyscubic",
        antialias=True,
    )


def normalize(image, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Scale 0..255 to 0..1, subtract the mean and divide by the deviation.

    Args:
        image: (..., 3), 0..255.
        mean: Mean of each channel, in 0..1.
        std: Standard deviation of each channel, in 0..1.

    Returns:
        float32 tensor of the same shape.
    """
    scale = tf.constant([1 / (255 * s) for s in std], tf.float32)
    offset = tf.constant([m / s for m, s in zip(mean, std, strict=True)], tf.float32)
    image = tf.cast(image, tf.float32)
    width = image.shape[-2]
    if width is None:
        return image * scale - offset
    # Rows as long as the picture: broadcasting three numbers costs four times more.
    lines = tf.reshape(image, (-1, 3 * width))
    lines = lines * tf.tile(scale, (width,)) - tf.tile(offset, (width,))
    return tf.ensure_shape(tf.reshape(lines, tf.shape(image)), image.shape)


def center_crop(image, size, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Prepare a picture for evaluation: resize, central crop, normalise.

    For a square the shorter side becomes `round(size * 256 / 224)` pixels before the
    crop; for another shape the picture just covers both sides times 256 / 224.

    Args:
        image: (H, W, 3), 0..255.
        size: Side of the square, or (height, width), in pixels.
        mean: Mean of each channel, in 0..1.
        std: Standard deviation of each channel, in 0..1.

    Returns:
        float32 (height, width, 3), normalised.

    Reference:
        facebookresearch/dino, eval_knn.py (256 and 224 pixels).
    """
    size = (size, size) if isinstance(size, int) else tuple(size)
    tall, wide = (round(side * 256 / 224) for side in size)
    rows, columns = tf.shape(image)[0], tf.shape(image)[1]
    by_height = tall * columns >= wide * rows
    height = tf.where(by_height, tall, wide * rows // columns)
    width = tf.where(by_height, tall * columns // rows, wide)
    resized = resize(image, (height, width))
    top, left = _half(height - size[0]), _half(width - size[1])
    crop = resized[top : top + size[0], left : left + size[1]]
    return normalize(tf.ensure_shape(crop, (*size, 3)), mean, std)


def pillow_center_crop(image, size):
    """The same crop, to the last bit as the published programs make it.

    Pillow rounds to 8 bits after each direction; one photo in some hundred then has
    another neighbour or another box.

    Args:
        image: uint8 array (H, W, 3).
        size: Side S of the square in pixels.

    Returns:
        uint8 array (S, S, 3).
    """
    height, width = image.shape[:2]
    side = round(size * 256 / 224)
    shorter = min(height, width)
    height, width = side * height // shorter, side * width // shorter
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def _half(margin):
    """Half of an integer, ties to even, as torchvision places its central crop."""
    return tf.cast(tf.round(tf.cast(margin, tf.float32) / 2), tf.int32)


def resize_to_patch(image, size, patch_size, side="shorter"):
    """Resize the whole photo at its own shape to sides that the patch divides.

    Nothing is cut off: both sides are rounded down to a multiple of the patch, so
    the shape changes by less than one patch.

    Args:
        image: (H, W, 3), 0..255.
        size: Length in pixels of the side named by `side`; None keeps the photo's
            own size.
        patch_size: Side of a patch in pixels.
        side: "shorter" or "longer".

    Returns:
        float32 (height, width, 3), 0..255.

    Raises:
        UserError: `side` is unknown, or `size` is smaller than a patch.
    """
    if side not in ("shorter", "longer"):
        raise UserError(f"side is {side!r}; allowed are 'shorter' and 'longer'")
    if size is not None and size < patch_size:
        raise UserError(f"size is {size}; at least one patch ({patch_size}) is needed")
    sides = tf.shape(image)[:2]
    if size is not None:
        pick = tf.reduce_min if side == "shorter" else tf.reduce_max
        sides = size * sides // pick(sides)
    sides = tf.maximum(sides // patch_size, 1) * patch_size
    return resize(image, tf.unstack(sides))
