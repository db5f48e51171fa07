"""A Keras callback that tells after every epoch whether a DINO model is learning."""

import math

import keras
import numpy as np
import tensorflow as tf

from dino_tf.callbacks import schedule_values
from dino_tf.errors import UserError
from dino_tf.evaluate.watched import WatchedPhotos
from dino_tf.health import advise, judge, line, words


class Health(keras.callbacks.Callback):
    """Adds signals of health to the logs of every epoch, and judges them.

    The numbers join the logs, so that `History`, `TensorBoard` and others that come
    later in the list have them. Under several workers every one of them needs this
    callback, as all take part in reading what their replicas have gathered.

    Args:
        photos: `Source` of photos whose features are looked at, 256 of them, or
            `dino_tf.evaluate.watched.WatchedPhotos`; None looks at none.
        every: Epochs between two looks at them, at least 1.
        objects_every: Epochs between two looks at the boxes and masks of photos, 0:
            never.
        settings: {name: value} of settings that the advice shall name as they are now.
        records: Records of the epochs that were done before, where a training goes on.
        say: Function that shows a line and, when the verdict becomes bad, advice to the
            person; None shows nothing.
        norm: L2 norm of the weights where the first epoch began; None: as they are.

    Attributes:
        norm: The same where the running epoch began.
        verdict: One of `dino_tf.health.VERDICTS`, of the last epoch.
        advice: List of sentences on what to try; empty when all is well.
        records: One dictionary of numbers for each epoch.

    Example:
        >>> health = Health(open_source("folder:photos"))
        >>> model.fit(data, epochs=10, steps_per_epoch=100, callbacks=[health])
    """

    def __init__(
        self,
        photos=None,
        every=1,
        objects_every=0,
        settings=None,
        records=(),
        say=print,
        norm=None,
    ):
        super().__init__()
        if every < 1 or objects_every < 0:
            raise UserError(
                f"every is {every} and objects_every {objects_every}; allowed: 1 or "
                "more, 0 or more epochs"
            )
        if photos is not None and not isinstance(photos, WatchedPhotos):
            photos = WatchedPhotos(photos, 256, 224)
        self.photos, self.every, self.objects_every = photos, every, objects_every
        self.settings, self.say = dict(settings or {}), say
        self.records, self._unsaid = list(records), []
        self.verdict, self.advice = judge(self.records, 2), []
        self.norm = norm

    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "signals"):
            kind = type(self.model).__name__
            raise UserError(f"Health watches training: got {kind}, allowed: DINO")
        self.out_dim = self.model.dino_loss.out_dim
        if self.norm is None:
            self.norm = self._weight_norm()

    def on_epoch_begin(self, epoch, logs=None):
        self._tell()
        self.model.signals.reset_state()

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        found = schedule_values(self.model) | self._signals()
        logs.update(found | self._measures(epoch + 1))
        record = {"epoch": epoch + 1, **logs}
        self.records.append({k: float(v) for k, v in record.items()})
        before, self.verdict = self.verdict, judge(self.records, self.out_dim)
        self.advice = advise(self.verdict, self.settings)
        if self.say:
            self._unsaid.append(line(record | {"verdict": self.verdict}))
            if self.advice and self.verdict != before:
                self._unsaid.append(words(self.advice))

    def on_train_end(self, logs=None):
        self._tell()

    def _tell(self):
        """Says what is to be said once the progress line of the epoch has ended."""
        for text in self._unsaid:
            self.say(text)
        self._unsaid.clear()

    def _signals(self):
        model = self.model
        # Read on every worker: their sums meet here.
        found = {name: float(v) for name, v in model.signals.result().items()}
        before, self.norm = self.norm, self._weight_norm()
        return {
            "uniform_loss": math.log(self.out_dim),
            **found,
            "center_norm": float(np.linalg.norm(model.dino_loss.center.numpy())),
            "weight_norm": self.norm,
            "weight_growth": self.norm / before,
        }

    def _weight_norm(self):
        """L2 norm of the student's weights."""
        squares = [tf.nn.l2_loss(v.value) for v in self.model.trainable_variables]
        return float(np.sqrt(2.0 * np.sum(np.asarray(squares, np.float64))))

    def _measures(self, epoch):
        if self.photos is None:
            return {}
        teacher, found = self.model.teacher_backbone, {}
        if epoch % self.every == 0:
            found |= self.photos.measure(teacher)
        if self.objects_every and epoch % self.objects_every == 0:
            found |= self.photos.objects(teacher)
        return found
