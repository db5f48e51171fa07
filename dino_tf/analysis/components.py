"""Principal components of patch features: what sets an object off from the rest."""

from dataclasses import dataclass

import numpy as np

from dino_tf.errors import UserError

# Colours reach from the 1st to the 99th percentile of all patches.
RANGE = (0.01, 0.99)
# An object takes up some of the patches: with fewer there is nothing to fit.
FEWEST = 2


def principal_components(features, count=3):
    """Patches seen along the directions in which their features differ most.

    Args:
        features: (h, w, D).
        count: components, at least 1.

    Returns:
        float32 (count, h, w), the strongest first, each of mean zero and of standard
        deviation one (zero where the features have no further direction). Signs are
        such that the outermost patches are negative on average: objects are seldom
        cut off by the border.

    Reference:
        Oquab et al. 2023, arXiv 2304.07193, section 7.5 (there without sign).
    """
    features = np.asarray(features, dtype=np.float64)
    rows, columns, width = features.shape
    flat = features.reshape(-1, width)
    # What is left of equal patches is rounding.
    least = 1e-9 * np.linalg.norm(flat)
    flat = flat - flat.mean(axis=0)
    left, strengths, _ = np.linalg.svd(flat, full_matrices=False)
    found = (left * (strengths > least))[:, :count] * np.sqrt(len(flat))
    maps = np.zeros((count, rows, columns))
    maps[: found.shape[1]] = found.T.reshape(-1, rows, columns)
    border = _border(rows, columns)
    for component in maps:
        if component[border].mean() > 0:
            component *= -1
    return maps.astype(np.float32)


@dataclass(frozen=True)
class Components:
    """Directions in the space of patch features, the same for every photo.

    Attributes:
        mean: float64 (D,), the feature that is zero in every component.
        directions: float64 (count, D); a component is the product with one. Zeros
            where the fitted features have no further direction.
        low: float64 (count,), the value that is shown as 0, a colour's least.
        high: float64 (count,), the value that is shown as 1, a colour's most.
        object_mean: float64 (D,) with `object_direction`; None has no foreground.
        object_direction: float64 (D,): patches with a product above zero are the
            foreground, the one place that the components were fitted on.
    """

    mean: np.ndarray
    directions: np.ndarray
    low: np.ndarray
    high: np.ndarray
    object_mean: np.ndarray | None = None
    object_direction: np.ndarray | None = None

    def maps(self, features):
        """float32 (count, h, w) of features (h, w, D).

        Over all patches that were fitted a component has mean zero and standard
        deviation one.

        Raises:
            UserError: the features are not as wide as the directions.
        """
        return _project(features, self.mean, self.directions)

    def foreground(self, features):
        """float32 (h, w), above zero where an object is, of features (h, w, D).

        None where there is no foreground.
        """
        if self.object_direction is None:
            return None
        return _project(features, self.object_mean, self.object_direction[None])[0]

    def colours(self, features):
        """float32 (h, w, count) in [0, 1] of features (h, w, D).

        Equal features have equal colours, in whichever photo they are.
        """
        maps = self.maps(features)
        low, high = (v[:, None, None] for v in (self.low, self.high))
        share = (maps - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
        return np.clip(share, 0, 1).transpose(1, 2, 0).astype(np.float32)


def fit_components(photos, count=3, foreground=False):
    """One set of components for many photos.

    Args:
        photos: features (h, w, D) of each photo, h and w its own. Gone through two to
            four times, so a list, or what makes them anew each time; no generator.
        count: components, at least 1.
        foreground: whether the first component of all patches tells the foreground
            (above its mean) and the components are those of the foreground alone.

    Returns:
        `Components`. Signs are such that the outermost patches of all photos, of the
        foreground where that is asked for, are negative on average; where these give
        none, such that the largest number of a direction is positive. So the order of
        the photos does not matter, but by rounding.

    Raises:
        UserError: there is no photo, widths differ, or too few patches are foreground.

    Reference:
        Oquab et al. 2023, arXiv 2304.07193, section 7.5 and figure 1 (there without
        sign). Ranges of colours are our choice.
    """
    if count < 1:
        raise UserError(f"count is {count}; allowed: 1 or more components")
    mean, directions = _fit(photos, 1 if foreground else count)
    chosen = {}
    if foreground:
        chosen = {"object_mean": mean, "object_direction": directions[0]}
        mean, directions = _fit(photos, count, mean, directions[0])
    found = Components(mean, directions, np.zeros(count), np.ones(count), **chosen)
    values = np.concatenate([_shown(found, features) for features in photos], axis=1)
    low, high = np.quantile(values, RANGE, axis=1)
    return Components(mean, directions, low, high, **chosen)


def _shown(components, features):
    """Values (count, n) of the patches that colours are chosen for."""
    maps, of_object = components.maps(features), components.foreground(features)
    return maps.reshape(len(maps), -1) if of_object is None else maps[:, of_object > 0]


def _fit(photos, count, object_mean=None, object_direction=None):
    """Mean (D,) and directions (count, D), of the foreground where there is one."""
    sums = _Sums()
    for features in photos:
        features = np.asarray(features, np.float64)
        chosen = np.ones(features.shape[:2], bool)
        if object_direction is not None:
            chosen = _project(features, object_mean, object_direction[None])[0] > 0
        sums.add(features, chosen)
    if sums.shift is None or (object_direction is not None and sums.count < FEWEST):
        raise UserError(
            f"{sums.count} patches to find components of; allowed: {FEWEST} or more, "
            "of one photo or several"
        )
    return sums.components(count)


class _Sums:
    """What is kept of the patches seen so far: sums alone, whatever their number."""

    def __init__(self):
        self.shift, self.count, self.border_count = None, 0, 0

    def add(self, features, chosen):
        """Adds the `chosen` (h, w) of the patches (h, w, D)."""
        if self.shift is None:
            width = features.shape[2]
            # Squares of what lies around a patch lose less than those of the features.
            self.shift = features[0, 0].copy()
            self.total, self.border = np.zeros(width), np.zeros(width)
            self.squares, self.size = np.zeros((width, width)), 0.0
        if features.shape[2:] != self.shift.shape:
            raise UserError(
                f"features have {features.shape[2]} channels after others of "
                f"{len(self.shift)}; allowed: photos seen by one network"
            )
        self.size += np.sum(features[chosen] ** 2)
        moved = features[chosen] - self.shift
        self.total += moved.sum(axis=0)
        self.squares += moved.T @ moved
        self.count += len(moved)
        edge = chosen & _border(*chosen.shape)
        self.border += (features[edge] - self.shift).sum(axis=0)
        self.border_count += np.count_nonzero(edge)

    def components(self, count):
        """Mean (D,) and directions (count, D), divided by their deviations."""
        mean = self.total / max(self.count, 1)
        covariance = self.squares / max(self.count, 1) - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(covariance)
        # What is left of equal patches is rounding.
        real = values > 1e-14 * self.size / max(self.count, 1)
        order = np.argsort(-values, kind="stable")[:count]
        directions = np.zeros((count, len(mean)))
        for place, i in enumerate(order):
            if real[i]:
                direction = vectors[:, i] / np.sqrt(values[i])
                directions[place] = direction * self._sign(direction, mean)
        return mean + self.shift, directions

    def _sign(self, direction, mean):
        outside = direction @ (self.border - self.border_count * mean)
        if abs(outside) > 1e-9 * max(self.border_count, 1):
            return -1.0 if outside > 0 else 1.0
        return 1.0 if direction[np.argmax(np.abs(direction))] > 0 else -1.0


def _project(features, mean, directions):
    features = np.asarray(features, np.float64)
    if features.shape[2:] != mean.shape:
        raise UserError(
            f"features are {features.shape}; allowed: (h, w, {len(mean)}), as those "
            "that the components were fitted on"
        )
    return np.moveaxis((features - mean) @ directions.T, -1, 0).astype(np.float32)


def _border(rows, columns):
    border = np.ones((rows, columns), dtype=bool)
    border[1:-1, 1:-1] = False
    return border
