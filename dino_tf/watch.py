"""A Keras callback that tells after every epoch whether a DINO model is learning."""

import math

import keras
import numpy as np
import tensorflow as tf

from dino_tf.callbacks import schedule_values
from dino_tf.errors import UserError
from dino_tf.evaluate.watched import WatchedPhotos
from dino_tf.health import advise, judge, line, words
from dino_tf.optimizers import unscaled
from dino_tf.schedules import value_at

# Photos taken of a source, and the largest side at which a network is looked at.
PHOTOS, LARGEST = 256, 224
# What a person who calls `fit` knows the options of the command line by.
IN_PYTHON = {
    "head.norm_last_layer": "norm_last_layer of DINOHead",
    "head.out_dim": "out_dim of DINOHead and DINOLoss",
    "loss.center_momentum": "center_momentum of DINOLoss",
    "loss.centering": "centering of DINOLoss",
    "loss.koleo_weight": "koleo_weight of DINO",
    "loss.teacher_temp": "teacher_temp of DINOLoss",
    "loss.warmup_teacher_temp": "first teacher_temp of DINOLoss",
    "optimizer.clip_grad": "clip_grad of DINO",
    "optimizer.freeze_last_layer_epochs": "freeze_last_layer_steps of DINO, in epochs",
    "optimizer.lr": "learning_rate of the optimizer",
    "optimizer.teacher_momentum": "teacher_momentum of DINO",
    "optimizer.warmup_epochs": "warmup_steps of the learning rate, in epochs",
    "pipeline.batch_size": "batch_size of make_dataset",
    "run.precision": "Keras's dtype policy",
}


class Health(keras.callbacks.Callback):
    """Adds signals of health to the logs of every epoch, and judges them.

    The numbers join the logs, so that `History`, `TensorBoard` and others that come
    later in the list have them. Under several workers every one of them needs this
    callback, as all take part in reading what their replicas have gathered.

    Args:
        photos: `Source` of photos whose features are looked at, 256 of them and
            normalised as ImageNet, or `dino_tf.evaluate.watched.WatchedPhotos`, whose
            `measure` names the numbers; None looks at none.
        every: Epochs between two looks at them, at least 1.
        objects_every: Epochs between two looks at the boxes and masks of photos, 0:
            never.
        settings: {option of the command line: value} that the advice shall name as
            they are now; None reads from the model what it tells, and the advice is in
            the words of Python.
        records: Records of the epochs that were done before, where a training goes on.
        say: Function that shows a line and, when the verdict becomes bad, advice to the
            person; None shows nothing.
        size: Side in pixels of the squares cut out of a `Source`; None takes that of
            the network's own images, at most 224 as evaluation does.
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
        size=None,
        norm=None,
    ):
        super().__init__()
        if every < 1 or objects_every < 0:
            raise UserError(
                f"every is {every} and objects_every {objects_every}; allowed: 1 or "
                "more, 0 or more epochs"
            )
        if size is not None and (size < 1 or isinstance(photos, WatchedPhotos | None)):
            raise UserError(
                f"size is {size}; allowed: 1 or more pixels, with a Source of photos"
            )
        self.photos, self.every, self.objects_every = photos, every, objects_every
        self.settings, self.say, self.size = settings, say, size
        self.records, self._unsaid = list(records), []
        self.verdict, self.advice = judge(self.records, 2), []
        self.norm, self._given = norm, norm

    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "signals"):
            kind = type(self.model).__name__
            raise UserError(f"Health watches training: got {kind}, allowed: DINO")
        if self.photos is not None and not isinstance(self.photos, WatchedPhotos):
            size = self.size or _own_size(self.model.teacher_backbone)
            self.photos = WatchedPhotos(self.photos, PHOTOS, size)
        self.out_dim = self.model.dino_loss.out_dim
        self.norm, self._given = self._given or self._weight_norm(), None

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
        self.advice = self._advice(found["step"])
        if self.say:
            self._unsaid.append(line(record | {"verdict": self.verdict}))
            if self.advice and self.verdict != before:
                self._unsaid.append(words(self.advice))

    def on_train_end(self, logs=None):
        self._tell()

    def _advice(self, steps):
        settings, names = self.settings, None
        if settings is None:
            settings = settings_of(self.model, (self.params or {}).get("steps"))
            names = IN_PYTHON
        return advise(self.verdict, settings, steps, names)

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
        """L2 norm of the student's weights, but for what Muon moves.

        Its steps have one length: these norms grow with their number, and tell nothing.
        """
        weights = self.model.trainable_variables
        parts = getattr(unscaled(self.model.optimizer), "parts", None)
        pairs = zip(weights, parts or [0] * len(weights), strict=True)
        squares = [tf.nn.l2_loss(v.value) for v, count in pairs if not count]
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


def _own_size(backbone):
    fixed = getattr(backbone, "fixed_size", None)
    if fixed:
        return fixed[0]
    return min(*(getattr(backbone, "image_size", None) or (LARGEST,)), LARGEST)


def settings_of(model, steps_per_epoch=None):
    """{option of the command line: value} as far as a `DINO` tells; see `IN_PYTHON`.

    Of a schedule the value that it is named by: the peak of a cosine after a warm-up,
    the end of a rise, else what it is now.

    Args:
        model: Compiled `DINO`.
        steps_per_epoch: Steps, for what is told in epochs; None leaves that out.
    """
    optimizer = unscaled(model.optimizer)
    step = max(int(optimizer.iterations.numpy()) - 1, 0)
    rate, loss = getattr(optimizer, "_learning_rate", None), model.dino_loss
    found = {
        "head.norm_last_layer": model.student_head.norm_last_layer,
        "head.out_dim": loss.out_dim,
        "loss.center_momentum": loss.center_momentum,
        "loss.centering": loss.centering,
        "loss.koleo_weight": model.koleo_weight,
        "loss.teacher_temp": _named_by(loss.teacher_temp, step),
        "loss.warmup_teacher_temp": getattr(loss.teacher_temp, "start", None),
        "optimizer.clip_grad": model.clip_grad,
        "optimizer.lr": None if rate is None else _named_by(rate, step),
        "optimizer.teacher_momentum": _named_by(model.teacher_momentum, step),
        "run.precision": model.student_backbone.dtype_policy.name,
    }
    if steps_per_epoch:
        frozen = model.freeze_last_layer_steps / steps_per_epoch
        found["optimizer.freeze_last_layer_epochs"] = frozen
        warm = getattr(rate, "warmup_steps", 0) / steps_per_epoch
        found["optimizer.warmup_epochs"] = warm
    return {option: value for option, value in found.items() if value is not None}


def _named_by(schedule, step):
    """The one number that stands for a schedule, or the number itself."""
    for name in ("base", "initial_learning_rate", "final"):
        if callable(schedule) and hasattr(schedule, name):
            return float(getattr(schedule, name))
    value = value_at(schedule, step)
    return float(value.numpy() if hasattr(value, "numpy") else value)
