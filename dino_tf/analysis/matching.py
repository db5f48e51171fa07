"""Whether features tell that two views are of one photo; needs no label."""

import numpy as np

from dino_tf.errors import UserError

# Of the longest feature; what is left below it, once the mean is gone, is rounding of
# 32 bits, and would be blown up to length one.
NOTHING = 1e-6
# Similarities nearer than this are one: the order of a sum decides between them.
TIE = 1e-9


def matched_views(first, second):
    """How often the view most similar to a view is the other one of its photo.

    The mean of all 2n features is taken away and each is brought to length one, so
    that what all views share tells nothing. Each view is then compared with the n of
    the other kind. Where several are equally similar, the right one counts as a share
    of them: features that are all alike are at chance.

    Args:
        first: (n, D), features of one view of each of n photos, n from 2 on.
        second: (n, D), of another view of the same photos, in the same order.

    Returns:
        float, per cent of the 2n views, both directions together: 100 / n by chance.

    Raises:
        UserError: The shapes are others, or a feature is not finite.
    """
    views = [np.asarray(part, np.float64) for part in (first, second)]
    shapes = [part.shape for part in views]
    if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][0] < 2:
        raise UserError(
            f"features of views have the shapes {shapes[0]} and {shapes[1]}; allowed: "
            "twice the same (n, D), n from 2 on"
        )
    both = np.stack(views)
    if not np.isfinite(both).all():
        wrong = np.count_nonzero(~np.isfinite(both).all(axis=2))
        raise UserError(
            f"{wrong} of {both.shape[0] * both.shape[1]} features of views are not "
            "finite; allowed: finite numbers"
        )
    longest = np.linalg.norm(both, axis=2).max()
    both = both - both.mean(axis=(0, 1))
    lengths = np.linalg.norm(both, axis=2, keepdims=True)
    kept = lengths > NOTHING * longest
    both = np.where(kept, both / np.where(kept, lengths, 1.0), 0.0)
    similarities = both[0] @ both[1].T
    shares = [_found(rows) for rows in (similarities, similarities.T)]
    return 100 * float(np.mean(shares))


def _found(similarities):
    """Share of the diagonal among the largest of each row; (n, n) -> (n,)."""
    largest = similarities >= similarities.max(axis=1, keepdims=True) - TIE
    return largest.diagonal() / largest.sum(axis=1)
