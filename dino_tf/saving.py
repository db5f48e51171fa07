"""When a training is saved: after epochs, now and then within them, and at a stop."""

import time

import keras

from dino_tf.checkpoint import Place, gathered_by
from dino_tf.errors import Interrupted
from dino_tf.stopping import STOPPING


class Saving(keras.callbacks.Callback):
    """Saves checkpoints, and ends the training between two steps where that is asked.

    It comes last in the list: what an epoch ends with is done before it is saved, so
    that an epoch whose checkpoint exists lacks nothing, and one without is done again.

    Args:
        checkpoints: `Checkpoints`.
        start: `Place` that the training goes on from.
        epochs: Epochs of the run.
        every: Epochs between two checkpoints, at least 1.
        minutes: Minutes between checkpoints within an epoch; 0: none there.
        stop: `StopRequest`; None: nobody asks.
        beside: Functions that give what observers of the running epoch have to
            remember, by name.
    """

    def __init__(
        self, checkpoints, start, epochs, every=1, minutes=0, stop=None, beside=()
    ):
        super().__init__()
        self.checkpoints, self.start, self.epochs = checkpoints, start, epochs
        self.every, self.minutes, self.stop = every, minutes, stop
        self.beside = dict(beside)
        self.saved = time.monotonic()
        self.gathered = None

    def on_train_begin(self, logs=None):
        # Keras and `Health` let metrics begin anew with the epoch.
        if self.start.step and self.gathered is None:
            self.gathered = [(v, v.numpy()) for v in gathered_by(self.model)]

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.start.epoch:
            for variable, value in self.gathered or ():
                variable.assign(value)
        self.epoch = epoch
        self.passed = self.start.step if epoch == self.start.epoch else 0
        self.last = self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        self.checkpoints.check()
        if batch + 1 == self.last:
            return
        due = self.minutes and time.monotonic() - self.saved > 60 * self.minutes
        if due or self._asked():
            self._save(Place(self.epoch, self.passed + batch + 1, self._beside()))

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        if done % self.every == 0 or done == self.epochs or self._asked():
            self._save(Place(done))

    def _beside(self):
        return {name: tell() for name, tell in self.beside.items()}

    def _asked(self):
        return self.stop is not None and self.stop.asked is not None

    def _save(self, place):
        self.checkpoints.save(self.model, place)
        self.saved = time.monotonic()
        if self._asked() and place.epoch < self.epochs:
            self.checkpoints.wait()
            number = self.stop.asked
            raise Interrupted(
                f"stopped by {STOPPING[number]} after {place}, which is saved", number
            )

    def on_train_end(self, logs=None):
        self.checkpoints.wait()
