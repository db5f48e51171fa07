"""Ranked lists of photos, and the numbers that judge them."""

import numpy as np


class Positions:
    """Where judged photos stand in the ranked lists of queries.

    The gallery comes in blocks of any size and order: what is kept is a count for each
    judged photo and the first photos of each list, whatever the gallery's length.

    A photo comes before another if it is more similar, and where both are equally
    similar if its place is the lower one.

    Args:
        scores: for each query float32 (n,), its similarity to the photos that are
            judged for it.
        places: for each query int64 (n,), places of these photos in the gallery.
        keep: so many photos of the beginning of each list are kept.

    Attributes:
        ahead: for each query int64 (n,), photos before each judged one so far.
        first: for each query (similarities (k,), places (k,)) of the k <= `keep`
            photos that come first so far.
    """

    def __init__(self, scores, places, keep=10):
        self._scores, self._places, self._keep = scores, places, keep
        self.ahead = [np.zeros(len(found), np.int64) for found in places]
        nothing = np.empty(0, np.float32), np.empty(0, np.int64)
        self.first = [nothing] * len(places)

    def add(self, similarities, places):
        """Counts a block of the gallery, in which no photo was counted before.

        Args:
            similarities: float32 (Q, n), of every query to every photo of the block.
            places: int64 (n,), places of these photos in the gallery.
        """
        for query, row in enumerate(similarities):
            scores, judged = self._scores[query], self._places[query]
            if len(judged):
                self.ahead[query] += before(row, places, scores, judged)
            self.first[query] = self._merged(self.first[query], row, places)

    def _merged(self, first, row, places):
        if len(row) > self._keep:
            least = np.partition(row, len(row) - self._keep)[len(row) - self._keep]
            few = row >= least
            row, places = row[few], places[few]
        scores = np.concatenate([first[0], row])
        places = np.concatenate([first[1], places])
        order = np.lexsort((places, -scores))[: self._keep]
        return scores[order], places[order]


def before(row, places, scores, judged):
    """How many photos come before each judged one.

    Args:
        row: (n,), similarities of photos.
        places: int (n,), their places.
        scores: (m,), similarities of the judged ones.
        judged: int (m,), their places.

    Returns:
        int64 (m,).
    """
    scores, judged = np.asarray(scores)[:, None], np.asarray(judged)[:, None]
    earlier = (row == scores) & (places < judged)
    return ((row > scores) | earlier).sum(axis=1)


def trapezoid_precision(ranks, total):
    """Average precision: the area under precision against recall, by trapezoids.

    Args:
        ranks: places of the photos looked for in the list, from 0; those never found
            are not among them.
        total: number of photos looked for, at least 1.

    Returns:
        float in [0, 1].

    Reference:
        filipradenovic/revisitop and the evaluation package of INRIA Holidays, as
        facebookresearch/dino has them: utils.py, `compute_ap`;
        eval_copy_detection.py, `score_ap_from_ranks_1`. To the left of each photo
        found the precision is that of the list before it (1 before the first place).
    """
    ranks = np.sort(np.asarray(ranks, np.float64))
    found = np.arange(len(ranks))
    left = np.where(ranks == 0, 1.0, found / np.maximum(ranks, 1))
    right = (found + 1) / (ranks + 1)
    return float(np.sum(left + right) / (2 * total))


def precision_within(ranks, k):
    """Share of the first photos of a list that are looked for.

    Args:
        ranks: places of all photos looked for, from 0; infinite for those never
            found. At least one.
        k: so many photos are looked at, but not beyond the last one looked for.

    Returns:
        float in [0, 1].

    Reference:
        facebookresearch/dino, utils.py, `compute_map`.
    """
    ranks = np.asarray(ranks, np.float64)
    length = min(ranks.max() + 1, k)
    return float(np.sum(ranks < length) / length)


def without(places, ahead, wanted, ignored):
    """Ranks of photos in a list from which others were taken out.

    Args:
        places: int (n,), the judged photos, each once.
        ahead: (n,), photos before each of them in the whole list; infinite for those
            that are not in it.
        wanted: int (m,), places of the photos looked for, all in `places`.
        ignored: int, places of the photos to take out, all in `places`.

    Returns:
        float64 (m,), from 0.
    """
    place = {int(one): row for row, one in enumerate(places)}
    ahead = np.asarray(ahead, np.float64)
    ranks = ahead[[place[int(one)] for one in wanted]]
    out = np.sort(ahead[[place[int(one)] for one in ignored]])
    return ranks - np.searchsorted(out, ranks)
