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
    classes = tuple(source.class_names)
    same = test_source is not None and tuple(test_source.class_names) == classes
    if same and has_labels(test_source):
        return source, test_source
    judged = set(range(0, len(source), 5))
    voters = [i for i in range(len(source)) if i not in judged]
    return (source.subset(voters), source.subset(sorted(judged))) if voters else None


def has_labels(source):
    """Whether any of a few photos has a label; all of a million would take long."""
    return any(source.labels(i) for i in spread(len(source), 50).tolist())


def spread(count, most):
    """int64 indices of at most `most` of `count` photos, evenly spaced."""
    if most is None or most >= count:
        return np.arange(count)
    return np.arange(most) * count // most
