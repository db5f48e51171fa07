"""Schedules as functions of the step, on one clock (`optimizer.iterations`).

Each schedule accepts a Python integer (and computes in float64) or a tensor (and
computes in float32), so that the same object serves logs, tests and graphs.
"""

import math

import keras
from keras import ops


def _is_number(step):
    return isinstance(step, int | float) or not hasattr(step, "dtype")


@keras.saving.register_keras_serializable(package="dino_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from `start` to `base`, then half a cosine towards `final`.

    Args:
        base: Value at the end of the warm-up.
        final: Value that the cosine tends to; reached at step `total_steps`.
        total_steps: Steps of the whole schedule, warm-up included; at least 1.
        warmup_steps: Steps of the warm-up, 0 to `total_steps`. Its last step has
            the value `base` exactly, its first the value `start`.
        start: Value at step 0 when there is a warm-up.

    Raises:
        ValueError: For a schedule without steps or a warm-up longer than it.

    Reference:
        facebookresearch/dino, `utils.py`, `cosine_scheduler`. A warm-up there spans
        `linspace(start, base, warmup_steps)`, both ends included.
    """

    def __init__(self, base, final, total_steps, warmup_steps=0, start=0.0):
        if total_steps < 1 or not 0 <= warmup_steps <= total_steps:
            raise ValueError(
                f"total_steps={total_steps}, warmup_steps={warmup_steps}: expected "
                "total_steps >= 1 and 0 <= warmup_steps <= total_steps"
            )
        self.base, self.final, self.start = float(base), float(final), float(start)
        self.total_steps, self.warmup_steps = int(total_steps), int(warmup_steps)

    def __call__(self, step):
        """Value at `step` (a scalar)."""
        warm = self.start + (self.base - self.start) * self._warmup_fraction(step)
        cosine_steps = max(self.total_steps - self.warmup_steps, 1)
        if _is_number(step):
            if step < self.warmup_steps:
                return warm
            part = min((step - self.warmup_steps) / cosine_steps, 1.0)
            return self._cosine(math.cos(math.pi * part))
        step = ops.cast(step, "float32")
        part = ops.clip((step - self.warmup_steps) / cosine_steps, 0.0, 1.0)
        cosine = self._cosine(ops.cos(math.pi * part))
        return ops.where(step < self.warmup_steps, warm, cosine)

    def _warmup_fraction(self, step):
        step = step if _is_number(step) else ops.cast(step, "float32")
        return step / max(self.warmup_steps - 1, 1)

    def _cosine(self, cosine):
        return self.final + 0.5 * (self.base - self.final) * (1.0 + cosine)

    def get_config(self):
        return {
            "base": self.base,
            "final": self.final,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "start": self.start,
        }


@keras.saving.register_keras_serializable(package="dino_tf")
class EpochLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A value that rises linearly over the first epochs, constant within each.

    Args:
        start: Value in the first epoch.
        final: Value in epoch `warmup_epochs - 1` and from then on.
        warmup_epochs: Epochs of the rise; 0 means `final` throughout.
        steps_per_epoch: Steps in an epoch; at least 1.

    Reference:
        facebookresearch/dino, `main_dino.py`, `DINOLoss.teacher_temp_schedule`.
    """

    def __init__(self, start, final, warmup_epochs, steps_per_epoch):
        if warmup_epochs < 0 or steps_per_epoch < 1:
            raise ValueError(
                f"warmup_epochs={warmup_epochs}, steps_per_epoch={steps_per_epoch}: "
                "expected warmup_epochs >= 0 and steps_per_epoch >= 1"
            )
        self.start, self.final = float(start), float(final)
        self.warmup_epochs = int(warmup_epochs)
        self.steps_per_epoch = int(steps_per_epoch)

    def __call__(self, step):
        """Value at `step` (a scalar)."""
        span = max(self.warmup_epochs - 1, 1)
        if _is_number(step):
            epoch = step // self.steps_per_epoch
            if epoch >= self.warmup_epochs:
                return self.final
            return self.start + (self.final - self.start) * epoch / span
        epoch = ops.cast(ops.floor_divide(step, self.steps_per_epoch), "float32")
        rising = self.start + (self.final - self.start) * epoch / span
        return ops.where(epoch >= self.warmup_epochs, self.final, rising)

    def get_config(self):
        return {
            "start": self.start,
            "final": self.final,
            "warmup_epochs": self.warmup_epochs,
            "steps_per_epoch": self.steps_per_epoch,
        }


def value_at(schedule, step):
    """Value of `schedule` at `step`; a plain number is its own schedule."""
    return schedule(step) if callable(schedule) else schedule


def saved(schedule):
    """What stands in a configuration for a number or a schedule; see `restored`."""
    if callable(schedule):
        return keras.saving.serialize_keras_object(schedule)
    return schedule


def restored(config, keys, custom_objects=None):
    """A copy of a configuration in which what was `saved` is itself again.

    Args:
        config: Dictionary of a layer, model or optimizer.
        keys: That may hold serialised objects; others stay as they are.
        custom_objects: As for Keras.
    """
    config = dict(config)
    for key in keys:
        if isinstance(config.get(key), dict):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
    return config
