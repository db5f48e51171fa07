"""When checkpoints are saved, and what a wish to stop does."""

import signal
from types import SimpleNamespace

import pytest

from dino_tf import saving
from dino_tf.checkpoint import Place
from dino_tf.errors import Interrupted
from dino_tf.saving import Saving
from dino_tf.stopping import StopRequest


class Noted:
    """Stands for `Checkpoints`: notes the places."""

    def __init__(self, fail_at=None):
        self.places, self.fail_at, self.waited = [], fail_at, 0

    def save(self, model, place):
        self.places.append(place)

    def check(self):
        if self.fail_at is not None and len(self.places) == self.fail_at:
            raise OSError("disk full")

    def wait(self):
        self.waited += 1


def run(callback, epochs, steps, first=0, passed=0, ask=None):
    """Calls what `fit` calls; `ask` is the (epoch, batch) after which a signal came."""
    callback.set_model(SimpleNamespace())
    for epoch in range(first, epochs):
        left = steps - (passed if epoch == first else 0)
        callback.set_params({"steps": left})
        callback.on_epoch_begin(epoch)
        for batch in range(left):
            if ask == (epoch, batch):
                callback.stop.asked = signal.SIGTERM
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(epoch)


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3]), (2, [2, 3])])
def test_after_epochs_and_the_last(every, epochs):
    noted = Noted()
    run(Saving(noted, Place(), 3, every), 3, 4)
    assert noted.places == [Place(epoch) for epoch in epochs]


def test_now_and_then_within_an_epoch(monkeypatch):
    clock = iter(range(0, 10_000, 20))  # seconds at each look
    monkeypatch.setattr(saving.time, "monotonic", lambda: next(clock))
    noted = Noted()
    seconds = iter([1.5, 2.5])
    run(
        Saving(noted, Place(), 1, 1, 1.0, beside={"seconds": lambda: next(seconds)}),
        1,
        9,
    )
    within = [place for place in noted.places if place.step]
    assert [place.step for place in within] == [4, 8]
    assert within[0].beside == {"seconds": 1.5} and within[1].beside == {"seconds": 2.5}
    assert noted.places[-1] == Place(1)


def test_steps_count_from_where_the_epoch_was_left():
    noted, stop = Noted(), StopRequest()
    callback = Saving(noted, Place(2, 3), 9, stop=stop)
    with pytest.raises(Interrupted, match="SIGTERM after epoch 2 and 5 steps"):
        run(callback, 9, 10, first=2, passed=3, ask=(2, 1))
    assert noted.places == [Place(2, 5)] and noted.waited == 1


@pytest.mark.parametrize(("at", "place"), [(0, Place(0, 1)), (2, Place(1))])
def test_a_stop_saves_first(at, place):
    noted, callback = Noted(), None
    callback = Saving(noted, Place(), 2, every=2, stop=StopRequest())
    with pytest.raises(Interrupted) as caught:
        run(callback, 2, 3, ask=(0, at))
    assert noted.places == [place] and caught.value.number == signal.SIGTERM


def test_a_stop_at_the_very_end_is_none():
    noted = Noted()
    run(Saving(noted, Place(), 1, stop=StopRequest()), 1, 2, ask=(0, 1))
    assert noted.places == [Place(1)]


def test_what_could_not_be_written_is_told_at_the_next_step():
    with pytest.raises(OSError, match="disk full"):
        run(Saving(Noted(fail_at=1), Place(), 2), 2, 2)
