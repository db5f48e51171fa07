"""Which photos teach and which are judged."""

import numpy as np


def labelled_split(source, test_source):
    """(photos that teach, photos that are judged), or None without labels.

    One class alone is as good as no labels: every answer would be right.

    Without a test split of the same classes every fifth photo is judged by the others.

    Args:
        source: `Source` of the training photos.
        test_source: `Source` of the test photos, or None.
    """
    if len(source.class_names) < 2 or not has_labels(source):
        return None
    if why_held_out(source, test_source) is None:
        return source, test_source
    return every_fifth(source) if len(source) > 1 else None


def every_fifth(source):
    """(photos that teach, photos that are judged: the first and every fifth after)."""
    judged = source.subset(range(0, len(source), 5))
    return source.subset([i for i in range(len(source)) if i % 5]), judged


def why_held_out(source, test_source):
    """Why `labelled_split` judges training photos; None where it need not."""
    every = "every fifth training photo is judged by the others"
    if test_source is None:
        return f"{source.name} has no test split: {every}"
    if tuple(test_source.class_names) != tuple(source.class_names):
        return f"{test_source.name} has other classes than {source.name}: {every}"
    if not has_labels(test_source):
        return f"{test_source.name} has no labels: {every}"
    return None


def has_labels(source):
    """Whether any of a few photos has a label; all of a million would take long."""
    return any(source.labels(i) for i in spread(len(source), 50).tolist())


def spread(count, most):
    """int64 indices of at most `most` of `count` photos, evenly spaced."""
    if most is None or most >= count:
        return np.arange(count)
    return np.arange(most) * count // most
