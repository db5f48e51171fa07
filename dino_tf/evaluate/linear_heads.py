"""Linear classifiers trained side by side by the published rule."""

import math

import numpy as np
import tensorflow as tf

from dino_tf.errors import UserError

MOMENTUM = 0.9
INITIAL_DEVIATION = 0.01
# The learning rates are given for a batch of so many photos.
REFERENCE_BATCH = 256


class LinearHeads:
    """Linear classifiers of equal start that learn at rates of their own.

    They see the same features, so that one forward pass of the network serves all.
    Plain SGD with momentum 0.9 and no weight decay. The loss of photos of one class is
    the cross entropy of the softmax; of photos of several classes the sum over the
    classes of the binary cross entropy; averaged over the photos.

    Args:
        width: D, of the features.
        classes: C.
        rates: Learning rates, one for each head.
        single: Whether every photo has exactly one class.
        seed: Of the initial weights, normal with deviation 0.01.

    Reference:
        facebookresearch/dino, eval_linear.py, `LinearClassifier` and `train`;
        torch, `optim.SGD`.
    """

    def __init__(self, width, classes, rates, single=True, seed=0):
        self.rates, self.single = np.asarray(rates, np.float32), single
        normal = np.random.default_rng(seed).normal(0, 1, (width, classes))
        self.set_weights(INITIAL_DEVIATION * normal, np.zeros(classes))
        shape = (len(self.rates), width, classes)
        self._speed = tf.Variable(tf.zeros(shape))
        self._bias_speed = tf.Variable(tf.zeros((len(self.rates), classes)))

    def set_weights(self, weights, bias):
        """Gives all heads the same weights (D, C) and bias (C,)."""
        count = len(self.rates)
        self._weights = tf.Variable(np.stack([weights] * count).astype(np.float32))
        self._bias = tf.Variable(np.stack([bias] * count).astype(np.float32))

    @property
    def weights(self):
        """float32 (heads, D, C)."""
        return self._weights.numpy()

    @property
    def bias(self):
        """float32 (heads, C)."""
        return self._bias.numpy()

    def step(self, features, targets, share=1.0):
        """One step of every head.

        Args:
            features: (B, D).
            targets: (B, C) of zeros and ones.
            share: Of the learning rates; see `cosine_share`.

        Returns:
            float32 (heads,): the losses before the step.
        """
        rates = (share * self.rates).astype(np.float32)
        features = np.asarray(features, np.float32)
        return self._step(features, np.asarray(targets, np.float32), rates).numpy()

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None)),
            tf.TensorSpec((None, None)),
            tf.TensorSpec((None,)),
        ]
    )
    def _step(self, features, targets, rates):
        logits = tf.einsum("bd,hdc->hbc", features, self._weights)
        logits += self._bias[:, None]
        if self.single:
            answers = tf.nn.softmax(logits)
            losses = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=2)
        else:
            answers = tf.nn.sigmoid(logits)
            both = tf.nn.softplus(logits) - targets * logits
            losses = tf.reduce_sum(both, axis=2)
        error = (answers - targets) / tf.cast(tf.shape(features)[0], tf.float32)
        slopes = tf.einsum("bd,hbc->hdc", features, error)
        _move(self._weights, self._speed, slopes, rates[:, None, None])
        _move(self._bias, self._bias_speed, tf.reduce_sum(error, 1), rates[:, None])
        return tf.reduce_mean(losses, axis=1)


def train_heads(batches, classes, rates, epochs, single=True, seed=0):
    """Train heads on batches of features, at rates that fall to zero by a cosine.

    Args:
        batches: Yields (epoch from 0, features (B, D), targets (B, C)).
        classes: See `LinearHeads`.
        rates: Learning rates at the start, for the batch at hand.
        epochs: All epochs.
        single: See `LinearHeads`.
        seed: See `LinearHeads`.

    Returns:
        `LinearHeads` and float64 (epochs, heads): the mean loss of every epoch.

    Raises:
        UserError: An epoch has no batch.
    """
    heads, losses = None, [[] for _ in range(epochs)]
    for epoch, features, targets in batches:
        if heads is None:
            heads = LinearHeads(features.shape[1], classes, rates, single, seed)
        share = cosine_share(epoch, epochs)
        losses[epoch].append(heads.step(features, targets, share))
    if not all(losses):
        raise UserError("no photo to learn from; at least one must be readable")
    return heads, np.array([np.mean(one, axis=0, dtype=np.float64) for one in losses])


def cosine_share(epoch, epochs):
    """Share of the learning rate in an epoch: 1 in the first, towards 0.

    Reference:
        torch, `optim.lr_scheduler.CosineAnnealingLR`, stepped once an epoch.
    """
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def scaled_rates(rates, batch_size):
    """Learning rates for a batch of 256, for the batch at hand."""
    return [rate * batch_size / REFERENCE_BATCH for rate in rates]


def head_scores(weights, bias, features):
    """Scores (heads, T, C) of features (T, D)."""
    return np.einsum("td,hdc->htc", features, weights, optimize=True) + bias[:, None]


def _move(variable, speed, slope, rate):
    speed.assign(MOMENTUM * speed + slope)
    variable.assign_sub(rate * speed)
