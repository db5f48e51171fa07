"""A linear map from features to shares of classes."""

from dataclasses import dataclass

import numpy as np

from dino_tf.errors import UserError

AT_ONCE = 16384


@dataclass(frozen=True)
class LinearMap:
    """Features, standardised, times a matrix.

    Attributes:
        mean: float32 (D,), of the features it was fitted to.
        scale: float32 (D,), one over their standard deviation.
        kernel: float32 (D, C).
        bias: float32 (C,).
    """

    mean: np.ndarray
    scale: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, features):
        """Logits float32 (..., C) of features (..., D)."""
        kernel = self.scale[:, None] * self.kernel
        bias = self.bias - self.mean @ kernel
        return np.asarray(features, np.float32) @ kernel + bias


def fit_softmax(
    features,
    shares,
    epochs=10,
    learning_rate=5e-3,
    weight_decay=1e-4,
    batch_size=None,
    seed=0,
    advance=None,
):
    """Fits logits whose softmax comes close to given shares, by cross-entropy.

    The features are standardised with the mean and deviation of all of them, which is
    what a batch norm in front of a linear layer comes to; AdamW then goes through
    them in new orders, its rate falling linearly to zero.

    Args:
        features: (N, D), float16 or float32, finite.
        shares: (N, C), at least 0; the loss of a row is weighted by its sum, and rows
            of zeros take no part.
        epochs: passes over the features, at least 1.
        learning_rate: at the first step, above 0.
        weight_decay: of the matrix, not of the bias, per unit of learning rate.
        batch_size: rows in a step; None takes a hundredth of them, 16 to 4096.
        seed: of the orders.
        advance: function of the number of rows done since its last call.

    Returns:
        `LinearMap`.

    Raises:
        UserError: no row has any share, a feature is not finite, or `epochs` is
            below 1.

    Reference:
        Loshchilov and Hutter 2019, arXiv 1711.05101 (AdamW).
    """
    if epochs < 1:
        raise UserError(f"epochs: got {epochs}, allowed: from 1")
    rows = np.flatnonzero(shares.any(axis=1))
    if not rows.size:
        raise UserError("nothing to learn from: no row has the share of any class")
    mean, scale = _standard(features, rows)
    kernel = np.zeros((features.shape[1], shares.shape[1]), np.float32)
    bias = np.zeros(shares.shape[1], np.float32)
    optimizer, rng = _Adam([kernel, bias]), np.random.default_rng(seed)
    batch_size = batch_size or min(max(len(rows) // 100, 16), 4096)
    steps, step = epochs * -(-len(rows) // batch_size), 0
    for _ in range(epochs):
        order = rng.permutation(rows)
        for start in range(0, len(rows), batch_size):
            chosen = np.sort(order[start : start + batch_size])
            x = (features[chosen].astype(np.float32) - mean) * scale
            rate = learning_rate * (1 - step / steps)
            kernel *= 1 - rate * weight_decay
            optimizer.apply(_gradients(x, shares[chosen], kernel, bias), rate)
            step += 1
            if advance:
                advance(len(chosen))
    return LinearMap(mean, scale, kernel, bias)


def _standard(features, rows):
    """float32 mean and one over the deviation of each channel, in two passes."""
    pieces = [rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE)]
    total = sum(features[piece].sum(axis=0, dtype=np.float64) for piece in pieces)
    if not np.isfinite(total).all():
        raise UserError("a feature is not finite; allowed: finite numbers")
    mean = (total / len(rows)).astype(np.float32)
    squares = 0
    for piece in pieces:
        difference = features[piece].astype(np.float32) - mean
        squares = squares + np.einsum("nd,nd->d", difference, difference)
    # A channel that is the same everywhere stays zero.
    return mean, 1 / np.sqrt(np.maximum(squares / len(rows), 1e-10))


def _gradients(x, shares, kernel, bias):
    """Gradients of the mean cross-entropy for the matrix and the bias."""
    shares = shares.astype(np.float32)
    logits = x @ kernel + bias
    logits -= logits.max(axis=1, keepdims=True)
    softmax = np.exp(logits)
    softmax /= softmax.sum(axis=1, keepdims=True)
    weight = shares.sum(axis=1, keepdims=True)
    error = (softmax * weight - shares) / weight.sum()
    return [x.T @ error, error.sum(axis=0)]


class _Adam:
    """Adam on arrays, which it changes in place."""

    def __init__(self, arrays, betas=(0.9, 0.999), epsilon=1e-8):
        self.arrays, self.betas, self.epsilon = arrays, betas, epsilon
        self.first = [np.zeros_like(a) for a in arrays]
        self.second = [np.zeros_like(a) for a in arrays]
        self.steps = 0

    def apply(self, gradients, rate):
        self.steps += 1
        one, two = self.betas
        large, small = 1 - one**self.steps, 1 - two**self.steps
        moments = zip(self.arrays, gradients, self.first, self.second, strict=True)
        for array, gradient, first, second in moments:
            first += (1 - one) * (gradient - first)
            second += (1 - two) * (gradient**2 - second)
            array -= rate * (first / large) / (np.sqrt(second / small) + self.epsilon)
