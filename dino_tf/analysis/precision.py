"""Average precision by the rules of PASCAL VOC."""

import numpy as np

from dino_tf.errors import UserError

RULES = ("envelope", "11-point")


def average_precision(scores, targets, rule="envelope"):
    """Area under precision against recall, after VOC's smoothing of the curve.

    The precision at a recall is the highest one reached at that or a larger recall.
    Photos of equal score enter the curve together.

    Args:
        scores: (T,), higher is surer.
        targets: bool (T,), which photos show the class.
        rule: "envelope" takes the whole area, as VOC does from 2010 on; "11-point" the
            mean of the precisions at recall 0, 0.1, ... 1, as VOC 2007 did.

    Returns:
        float in [0, 1]; NaN where no photo shows the class.

    Raises:
        UserError: The rule is unknown.

    Reference:
        Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge",
        section 4.2. facebookresearch/fair_self_supervision_benchmark,
        tools/svm/svm_helper.py, `calculate_ap` (the envelope).
    """
    if rule not in RULES:
        raise UserError(f"rule is {rule!r}; allowed: {', '.join(RULES)}")
    scores, targets = np.asarray(scores), np.asarray(targets, bool)
    total = int(targets.sum())
    if not total:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(targets[order])[last_of_equals]
    precision = hits / (last_of_equals + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if rule == "envelope":
        return float(np.sum(np.diff(hits, prepend=0) * best) / total)
    # Whole numbers, since 3 * 0.1 is more than 0.3.
    places = np.searchsorted(10 * hits, np.arange(11) * total)
    return float(best[places].mean())


def average_precisions(scores, targets, rule="envelope"):
    """`average_precision` of every class.

    Args:
        scores: (T, C), higher is surer.
        targets: int (T, C): 1 where a photo shows a class, 0 where it does not, -1
            where it is not judged for this class.
        rule: See `average_precision`.

    Returns:
        float64 (C,) in [0, 1]; NaN for classes that no photo shows.
    """
    targets = np.asarray(targets)
    columns = zip(np.asarray(scores).T, targets.T, strict=True)
    return np.array(
        [average_precision(s[t >= 0], t[t >= 0] > 0, rule) for s, t in columns]
    )
