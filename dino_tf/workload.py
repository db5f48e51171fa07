"""How much arithmetic a training is, and how long this machine will take for it."""

import time

import numpy as np

# Forward and backward pass of the student, forward pass of the teacher.
STUDENT_PASSES = 3
# Width of a network whose training step takes as long for all else (norms, softmax,
# views, updates) as for its matrix products, in float32; see `step_share`.
EVEN_WIDTH = 150


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


def step_flops(views, patch_size, width, depth, head_sizes, cls_only=True):
    """Floating-point operations of one step's matrix products for one photo, exactly.

    With the patch projection, whose images need no gradient, and, as `DINO` trains,
    without what the CLS token alone does not need in the last block.

    Args:
        views: As in `flops_per_photo`.
        patch_size: Side of a patch in pixels.
        width: Width D.
        depth: Blocks.
        head_sizes: Widths along the head, from D to K.
        cls_only: Whether the last block makes the CLS token alone; else all of it, as
            in the published program.
    """
    total = flops_per_photo(views, patch_size, width, depth, head_sizes)
    for count, side, teacher in views:
        passes, patches = (
            STUDENT_PASSES + (1 if teacher else 0),
            (side // patch_size) ** 2,
        )
        total += count * (passes - 1) * 2 * patches * width * 3 * patch_size**2
        if cls_only:
            total -= count * passes * _left_out(patches, width)
    return total


def _left_out(patches, width):
    """Query, projection and MLP of the patches, and their rows of attention."""
    return 2 * (10 * patches * width**2 + 2 * patches * (patches + 1) * width)


def masked_flops(views, patch_size, width, head_sizes, share):
    """What masked patch prediction adds to `step_flops` of one photo.

    The views that the teacher sees need the last block whole, and a head for their
    hidden patches.

    Args:
        views: As in `flops_per_photo`.
        patch_size: Side of a patch in pixels.
        width: Width D.
        head_sizes: Widths along the patches' head, from D to K.
        share: Of the patches of these views that are hidden, in the mean.
    """
    head = 2 * sum(a * b for a, b in zip(head_sizes, head_sizes[1:], strict=False))
    total = 0.0
    for count, side, teacher in views:
        if teacher:
            patches = (side // patch_size) ** 2
            each = _left_out(patches, width) + share * patches * head
            total += count * (STUDENT_PASSES + 1) * each
    return total


def muon_flops(width, depth, iterations=5):
    """Floating-point operations of orthogonalising all matrices once, whatever a batch.

    Of each m x n, m the smaller, an iteration makes two products of m x m x n and one
    of m x m x m: four matrices of width by width in a block and two of four times it.

    Args:
        width: Width D.
        depth: Blocks.
        iterations: Of each matrix.
    """
    square, wide = 4 + 2, 4 * 4 + 2
    return depth * iterations * (4 * square + 2 * wide) * width**3


def step_share(width, dtype="float32"):
    """Share of the machine's matrix-product rate that a whole training step reaches.

    Each number of a layer takes part in products of `width` operations, and in a few
    other operations whatever the width. In half precision products are twice as fast
    and the others are not. Measured on two cores: 0.74 to 0.82 in float32 and 0.55 to
    0.70 in bfloat16 for ViT-S (width 384), 0.29 and 0.22 for the quick start (96).

    Args:
        width: Width D.
        dtype: Type of the products.
    """
    return width / (width + EVEN_WIDTH * (1 if dtype == "float32" else 2))


def count_numbers(backbone, size):
    """Numbers that all operations of a forward pass give for one image.

    Args:
        backbone: (B, H, W, 3) -> (B, D).
        size: (H, W) of the image.
    """
    import tensorflow as tf

    image = tf.TensorSpec((1, *size, 3), "float32")
    forward = tf.function(lambda images: backbone(images, training=False))
    total = 0
    for operation in forward.get_concrete_function(image).graph.get_operations():
        # Views of the same memory, and weights as they are read, count for nothing.
        if operation.type not in ("Reshape", "Identity", "ReadVariableOp", "Cast"):
            sizes = [t.shape.num_elements() for t in operation.outputs if _real(t)]
            total += sum(size or 0 for size in sizes)
    return total


def _real(tensor):
    return tensor.dtype.is_floating and tensor.shape.rank is not None


def seconds_per_photo(backbone, views, batch=8):
    """Seconds of a training step for one photo, by timing forward passes.

    Args:
        backbone: (B, H, W, 3) -> (B, D).
        views: List of (number of crops, side in pixels, seen by the teacher too).
        batch: Images in a pass.
    """
    import tensorflow as tf

    forward = tf.function(lambda images: backbone(images, training=False))
    total = 0.0
    for count, side, teacher in views:
        if not count:
            continue
        images, passes = tf.zeros((batch, side, side, 3)), []
        # The first of each size traces and warms up.
        for _ in range(3):
            start = time.perf_counter()
            forward(images).numpy()
            passes.append(time.perf_counter() - start)
        seconds = min(passes) / batch
        total += count * seconds * (STUDENT_PASSES + (1 if teacher else 0))
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
