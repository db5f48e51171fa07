"""What the first layer of a network looks for in a photo."""

import numpy as np

from dino_tf.errors import UserError


def principal_filters(kernel, count=28):
    """Patterns that most of the filters of a layer are made of.

    Args:
        kernel: (p, p, C, n) of n filters.
        count: patterns, at least 1; there are never more than filters or numbers of
            one filter.

    Returns:
        filters: float32 (count, p, p, C) of length one, the strongest first. Signs are
            such that the largest number is positive.
        shares: float32 (count,), part of the filters' variance that each explains,
            falling; zeros where all filters are equal.

    Raises:
        UserError: the kernel has another form, or `count` is below 1.

    Reference:
        Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 left: 28 of them.
    """
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim != 4 or count < 1:
        raise UserError(
            f"kernel is {kernel.shape}, count is {count}; allowed: (p, p, C, n) and 1 "
            "or more"
        )
    shape = kernel.shape[:3]
    flat = kernel.reshape(-1, kernel.shape[3]).T
    centred = flat - flat.mean(axis=0)
    _, strengths, found = np.linalg.svd(centred, full_matrices=False)
    variances = strengths**2 * (strengths > 1e-9 * np.linalg.norm(flat))
    shares = variances / (variances.sum() or 1.0)
    found, shares = found[:count], shares[:count]
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)
    found = found * np.where(largest < 0, -1, 1)
    return found.reshape(-1, *shape).astype(np.float32), shares.astype(np.float32)


def filter_colours(filters):
    """Filters as pictures: zero is grey, the strongest number of each is an end.

    Args:
        filters: (n, p, p, 3), of red, green and blue.

    Returns:
        uint8 (n, p, p, 3); 128 is zero, 1 and 255 the largest numbers below and above.

    Raises:
        UserError: the filters have another form.
    """
    filters = np.asarray(filters, np.float64)
    if filters.ndim != 4 or filters.shape[3] != 3:
        raise UserError(f"filters are {filters.shape}; allowed: (n, p, p, 3)")
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    shares = filters / np.where(largest > 0, largest, 1)
    return np.round(128 + 127 * shares).astype(np.uint8)
