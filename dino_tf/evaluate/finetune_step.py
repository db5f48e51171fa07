"""The training step of fine-tuning: loss, gradients of all weights, clipping."""

import math

import keras
import tensorflow as tf
from keras import ops

from dino_tf.distribute import mean_over_replicas, replicas_in_sync
from dino_tf.errors import Diverged
from dino_tf.optimizers import unscaled

CLIP_EPSILON = 1e-6  # as in `torch.nn.utils.clip_grad_norm_`


@keras.saving.register_keras_serializable(package="dino_tf")
class FineTuning(keras.Model):
    """Trains a classifier with all its weights, by `fit` on (images, targets).

    Args:
        classifier: `dino_tf.models.classifier.Classifier`, which is changed.
        clip_norm: Largest L2 norm of all gradients together; 0 does not clip.
    """

    def __init__(self, classifier, clip_norm=0.0, **kwargs):
        super().__init__(**{"dtype": classifier.dtype_policy, **kwargs})
        self.classifier, self.clip_norm = classifier, clip_norm
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.built = True

    def compile(self, optimizer, **kwargs):
        """As in Keras, without a loss; `optimizer` reduces no gradients itself."""
        super().compile(optimizer=optimizer, **kwargs)
        if not self.optimizer.built:
            self.optimizer.build(self.classifier.trainable_variables)

    def call(self, images, training=False):
        """Logits (B, C) of (B, H, W, 3) images."""
        return self.classifier(images, training=training)

    @property
    def metrics(self):
        if self.classifier.multi_label:
            return [self.loss_tracker]
        return [self.loss_tracker, self.accuracy_tracker]

    def train_step(self, data):
        """One step on (images (B, H, W, 3), targets (B, C))."""
        images, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.classifier.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.classifier(images, training=True)
            loss = classification_loss(logits, targets, self.classifier.multi_label)
            scaled = loss * self._loss_scale()
        gradients = tape.gradient(
            scaled, [v.value for v in variables], unconnected_gradients="zero"
        )
        gradients = self._clip(mean_over_replicas(gradients))
        inner = unscaled(self.optimizer)
        if getattr(inner, "reduces_gradients", True):
            # Keras sums over replicas what is averaged here already.
            gradients = [g / replicas_in_sync() for g in gradients]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.loss_tracker.update_state(loss)
        if not self.classifier.multi_label:
            hits = ops.equal(ops.argmax(logits, -1), ops.argmax(targets, -1))
            self.accuracy_tracker.update_state(ops.cast(hits, "float32"))
        return self.get_metrics_result()

    def _clip(self, gradients):
        if not self.clip_norm:
            return gradients
        norm = tf.linalg.global_norm(gradients) / self._loss_scale()
        share = tf.minimum(self.clip_norm / (norm + CLIP_EPSILON), 1.0)
        return [g * share for g in gradients]

    def _loss_scale(self):
        if hasattr(self.optimizer, "inner_optimizer"):
            return tf.cast(self.optimizer.scale_loss(1.0), "float32")
        return tf.ones(())


def classification_loss(logits, targets, multi_label):
    """Mean loss of a batch.

    Args:
        logits: (B, C) float32.
        targets: (B, C) in [0, 1]; without `multi_label` each row sums to 1.
        multi_label: Whether every class has a cross-entropy of its own, by the
            sigmoid, averaged over the classes; else one by the softmax.
    """
    if not multi_label:
        losses = -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)
        return ops.mean(losses)
    # log(1 + exp(x)) - t x, which is finite for every x.
    return ops.mean(ops.softplus(logits) - targets * logits)


class Watch(keras.callbacks.Callback):
    """Keeps the numbers of every epoch, shows progress, and stops what diverges.

    Args:
        batch_size: Photos in a step.
        advance: Function of the number of photos done since its last call.
        measure: Function of the number of epochs done that returns further numbers.

    Attributes:
        history: List of {"epoch", "loss", ...}, one for each epoch done.
    """

    def __init__(self, batch_size, advance, measure):
        super().__init__()
        self.batch_size, self.advance, self.measure = batch_size, advance, measure
        self.history = []

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            epoch = len(self.history) + 1
            raise Diverged(
                f"the loss is {logs['loss']} in epoch {epoch} of fine-tuning: stopped. "
                "Try a lower --lr, or --clip-norm 1"
            )
        self.advance(self.batch_size)

    def on_epoch_end(self, epoch, logs=None):
        numbers = {"loss": float(logs["loss"])}
        if "accuracy" in logs:
            numbers["accuracy"] = 100.0 * float(logs["accuracy"])
        self.history.append({"epoch": epoch + 1, **numbers, **self.measure(epoch + 1)})
