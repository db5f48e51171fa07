"""What happens beside the training steps: progress, logs, pictures, checkpoints."""

import math
import time

import keras

from dino_tf.datasets.source import Source
from dino_tf.errors import Diverged, UserError
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.muon import Muon
from dino_tf.optimizers import unscaled
from dino_tf.schedules import value_at
from dino_tf.tasks import check_options, find_task
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD
from dino_tf.workload import say_duration


class StopWhenNotFinite(keras.callbacks.Callback):
    """Raises `Diverged` at the first loss that is not a finite number."""

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            step = int(self.model.optimizer.iterations.numpy())
            muon = ", --optimizer.muon_lr" if self._has_muon() else ""
            raise Diverged(
                f"the loss is {loss} at step {step}: training stopped. Try a lower "
                f"--optimizer.lr{muon}, --run.precision float32, or a lower "
                "--loss.teacher_temp"
            )

    def _has_muon(self):
        return isinstance(unscaled(self.model.optimizer), Muon)


class Throughput(keras.callbacks.Callback):
    """Adds images per second to the progress line and the logs.

    Args:
        batch_size: Photos in a global batch.
    """

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.steps = None, 0

    def on_train_batch_end(self, batch, logs=None):
        # The first step of a process traces and compiles; it would spoil the rate.
        if self.start is None:
            self.start = time.perf_counter()
            return
        self.steps += 1
        logs["images_per_second"] = self._rate()

    def on_epoch_end(self, epoch, logs=None):
        if self.steps:
            logs["images_per_second"] = self._rate()

    def _rate(self):
        seconds = max(time.perf_counter() - self.start, 1e-9)
        return round(self.steps * self.batch_size / seconds, 1)


class EpochRecord(keras.callbacks.Callback):
    """Writes one line per epoch to `metrics.jsonl` and says how long is left.

    Args:
        folder: `RunFolder`.
        logger: Logger of `train.log`.
        epochs: Epochs of the run.
        measure: Function of (epoch, model) that returns further metrics; the numbers
            among them join the logs, for callbacks that come later.
        say: Function that shows a line to the person.
        finish: Function of the record that is called last.
        passed: Seconds that the first epoch took before, where it goes on.
    """

    def __init__(
        self, folder, logger, epochs, measure, say=print, finish=None, passed=0.0
    ):
        super().__init__()
        self.passed = passed
        self.folder, self.logger, self.epochs = folder, logger, epochs
        self.measure, self.say, self.finish = measure, say, finish
        self.durations = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter() - self.passed
        self.passed = 0.0

    def seconds(self):
        """Seconds that the running epoch has taken so far."""
        return time.perf_counter() - self.began

    def on_epoch_end(self, epoch, logs=None):
        done, seconds = epoch + 1, self.seconds()
        record = {"epoch": done, **schedule_values(self.model), **(logs or {})}
        record |= {"seconds": round(seconds, 2), **self.measure(done, self.model)}
        self.folder.add_metrics(record)
        self.logger.info("epoch %d/%d: %s", done, self.epochs, record)
        self.durations.append(self.seconds())
        if logs is not None:
            numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
            logs.update(numbers)
        if self.finish:
            self.finish(record)
        if done < self.epochs:
            # The first epoch of a process compiles; later ones tell the pace.
            pace = self.durations[1:] or self.durations
            left = (self.epochs - done) * sum(pace) / len(pace)
            self.say(f"about {say_duration(left)} left")


def schedule_values(model):
    """Step, learning rate, weight decay, teacher momentum and temperature now."""
    optimizer = unscaled(model.optimizer)
    step = int(optimizer.iterations.numpy())
    last = max(step - 1, 0)
    decay = getattr(optimizer, "decay_schedule", optimizer.weight_decay)
    rate = getattr(optimizer, "_learning_rate", 0.0)
    if callable(rate):
        rate = rate(last)
    elif hasattr(rate, "numpy"):
        rate = rate.numpy()
    return {
        "step": step,
        "learning_rate": float(rate),
        "weight_decay": float(value_at(decay, last) or 0.0),
        "teacher_momentum": float(value_at(model.teacher_momentum, last)),
        "teacher_temp": float(value_at(model.dino_loss.teacher_temp, last)),
    }


class EveryBatches(keras.callbacks.Callback):
    """Calls `act()` every `every` batches of an epoch."""

    def __init__(self, every, act):
        super().__init__()
        self.every, self.act = every, act

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.every == 0:
            self.act()


class Every(keras.callbacks.Callback):
    """Calls `act(epoch, model)` every `every` epochs; never when `every` is 0."""

    def __init__(self, every, act):
        super().__init__()
        self.every, self.act = every, act

    def on_epoch_end(self, epoch, logs=None):
        if self.every and (epoch + 1) % self.every == 0:
            self.act(epoch + 1, self.model)


class EvaluateEvery(keras.callbacks.Callback):
    """Evaluates the network every `every` epochs while `fit` trains it.

    The numbers join the logs of the epoch, so that `History`, `CSVLogger`,
    `TensorBoard` and others that come later in the list have them.

    Args:
        tasks: Name in `dino_tf.tasks.TASKS`, or a dictionary from names to
            dictionaries of options.
        data: `Source` of photos, (train, test) sources, or
            `dino_tf.evaluate.subject.Data`.
        every: Epochs between two evaluations, at least 1.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.
        size: Side in pixels of the photos, where a task is asked for no other.

    Raises:
        UserError: Before training, for an unknown task or option, or photos that a
            task can do nothing with.
    """

    def __init__(
        self,
        tasks,
        data,
        every=1,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        size=224,
    ):
        super().__init__()
        if every < 1:
            raise UserError(f"every is {every}; allowed: 1 or more epochs")
        tasks = {tasks: {}} if isinstance(tasks, str) else dict(tasks)
        self.tasks = {
            name: find_task(name).defaults() | check_options(name, options)
            for name, options in tasks.items()
        }
        if isinstance(data, Source):
            data = (data,)
        self.data = data if isinstance(data, Data) else Data.of(*data)
        self.every, self.pixels = every, (mean, std, size)
        self.subject = None

    def on_train_begin(self, logs=None):
        for name in self.tasks:
            words = find_task(name).load().lacks(self._subject(), self.data)
            if words:
                raise UserError(f"{name} on {self.data.spec}: missing is {words}")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        for name, options in self.tasks.items():
            run = find_task(name).load().run_task
            numbers = run(self._subject(), self.data, **options).numbers
            if logs is not None:
                logs.update(numbers)

    def _subject(self):
        """The teacher of a `DINO`, else the model itself; as it is now."""
        backbone = getattr(self.model, "teacher_backbone", self.model)
        # One for all epochs, so that its forward pass is traced once; it keeps nothing
        # that depends on the weights.
        if self.subject is None or self.subject.backbone is not backbone:
            self.subject = Subject(backbone, *self.pixels)
        return self.subject
