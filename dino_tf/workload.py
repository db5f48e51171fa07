"""How much arithmetic a training is, and how long this machine will take for it."""

import time

import numpy as np

# Forward and backward pass of the student, forward pass of the teacher.
STUDENT_PASSES = 3
# Share of the machine's matrix-product rate that a whole training step reached, on
# two cores in float32 (the rest goes to norms, softmax, augmentation and updates).
TYPICAL_SHARE = 0.35


def vit_flops(tokens, width, depth, mlp_ratio=4.0):
    """Floating-point operations of one forward pass for one image.

    Args:
        tokens: Tokens N, CLS included.
        width: Width D.
        depth: Blocks.
        mlp_ratio: Hidden width of the MLP over D.
    """
    products = (4 + 2 * mlp_ratio) * tokens * width**2
    attention = 2 * tokens**2 * width
    return 2 * depth * (products + attention)


def flops_per_photo(views, patch_size, width, depth, head_sizes):
    """Floating-point operations of one training step for one photo.

    Args:
        views: List of (number of crops, side in pixels, seen by the teacher too).
        patch_size: Side of a patch in pixels.
        width: Width D.
        depth: Blocks.
        head_sizes: Widths along the head, from D to K.
    """
    head = 2 * sum(a * b for a, b in zip(head_sizes, head_sizes[1:], strict=False))
    total = 0.0
    for count, side, teacher in views:
        forward = vit_flops((side // patch_size) ** 2 + 1, width, depth) + head
        total += count * forward * (STUDENT_PASSES + (1 if teacher else 0))
    return total


def matmul_rate(dtype="float32", size=1024, seconds=0.3):
    """Matrix-product rate of the default device in operations per second."""
    import tensorflow as tf

    matrix = tf.cast(tf.constant(np.ones((size, size), "float32")), dtype)
    tf.linalg.matmul(matrix, matrix).numpy()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        # Reading one number waits for the device.
        tf.linalg.matmul(matrix, matrix)[0, 0].numpy()
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - start)


def say_duration(seconds):
    """Duration in words: "45 s", "12 min", "3 h 20 min", "2 days 5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"
