"""What workers tell each other, over socket pairs in one process."""

import socket
import threading
import time

import pytest

from dino_tf import workers as module
from dino_tf.cluster import Cluster
from dino_tf.errors import Diverged, UserError, WorkerLost
from dino_tf.workers import Alone, Workers

TASKS = tuple(("worker", i, f"10.0.0.{i}:22") for i in range(3))


class UnavailableError(Exception):
    """Stands for TensorFlow's error of a sum that another worker left."""


@pytest.fixture
def three(monkeypatch):
    """Three workers, the list of what each was told of losses, and their sockets."""
    monkeypatch.setattr(module, "LEAVE_TIME", 0.05)
    told = [[], [], []]
    pairs = {1: socket.socketpair(), 2: socket.socketpair()}
    links = [{i: pair[0] for i, pair in pairs.items()}]
    links += [{0: pairs[1][1]}, {0: pairs[2][1]}]
    found = [
        Workers(Cluster(TASKS, i, ""), links[i], lambda *a, i=i: told[i].append(a))
        for i in range(3)
    ]
    yield found, told, links
    for each in found:
        each.end_together()
    for pair in pairs.values():
        for one in pair:
            one.close()


def together(functions):
    """Results of functions that wait for each other."""
    results = [None] * len(functions)

    def one(place):
        try:
            results[place] = functions[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


def until(ready):
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_gather_gives_all_values_in_order(three):
    workers, _, _ = three
    for turn in range(3):
        values = [{"turn": turn, "of": i} for i in range(3)]
        calls = [
            lambda w=w, v=v: w.gather(v) for w, v in zip(workers, values, strict=True)
        ]
        assert together(calls) == [values] * 3
    assert together([w.gather for w in workers]) == [[None] * 3] * 3


def test_the_chief_goes_first(three):
    workers, _, _ = three
    order = []

    def of(worker):
        with worker.chief_first():
            time.sleep(0.1 if worker.is_chief else 0.0)
            order.append(worker.cluster.index)

    together([lambda w=w: of(w) for w in reversed(workers)])
    assert order[0] == 0 and sorted(order) == [0, 1, 2]


def test_a_lost_worker_is_told_to_all(three):
    workers, told, links = three
    links[2][0].shutdown(socket.SHUT_RDWR)
    until(lambda: told[0] and told[1])
    line = ("worker 2 (10.0.0.2:22) is gone", 1)
    assert told[:2] == [[line], [line]]
    # Whoever waits for values is not left waiting.
    for result in together([workers[0].gather, workers[1].gather]):
        assert isinstance(result, WorkerLost) and str(result) == line[0]


def test_a_lost_chief_is_told(three):
    _, told, links = three
    links[0][1].shutdown(socket.SHUT_RDWR)
    until(lambda: told[1])
    assert told[1] == [("worker 0 (10.0.0.0:22) is gone", 1)]


def test_silence_is_a_loss(monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.2)
    told, (here, there) = [], socket.socketpair()
    cluster = Cluster(TASKS[:2], 0, "")
    worker = Workers(cluster, {1: here}, lambda *a: told.append(a))
    until(lambda: told)
    assert told == [("worker 1 (10.0.0.1:22) has been silent for 0 s", 1)]
    worker.end_together()
    there.close()


def test_signs_of_life_are_enough(monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 1.5)
    monkeypatch.setattr(module, "BEAT", 0.05)
    told, pair = [], socket.socketpair()
    both = [
        Workers(Cluster(TASKS[:2], i, ""), {1 - i: pair[i]}, lambda *a: told.append(a))
        for i in range(2)
    ]
    time.sleep(2.0)
    assert not told
    for worker in both:
        worker.end_together()
    for one in pair:
        one.close()


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (
            UserError("5 of 16 images\ncannot be read"),
            "stopped (5 of 16 images cannot",
            2,
        ),
        (KeyboardInterrupt(), "was interrupted", 130),
        (KeyError(), "stopped (KeyError)", 1),
    ],
)
def test_last_words_reach_all(three, error, words, code):
    workers, told, _ = three
    workers[2].explain(error)
    until(lambda: told[0] and told[1])
    for heard in told[:2]:
        ((line, ends_with),) = heard
        assert line.startswith(f"worker 2 (10.0.0.2:22) {words}") and ends_with == code
    assert not told[2]


def test_the_echo_of_anothers_end_waits_for_the_cause(three):
    workers, told, links = three
    threading.Timer(0.2, lambda: links[2][0].shutdown(socket.SHUT_RDWR)).start()
    workers[0].explain(UnavailableError("Connection reset by peer"))
    assert told[0] == [("worker 2 (10.0.0.2:22) is gone", 1)]


def test_nobody_is_lost_when_all_diverge(three):
    workers, told, links = three
    together([lambda w=w: w.explain(Diverged("the loss is nan")) for w in workers])
    for link in links[0].values():
        link.shutdown(socket.SHUT_RDWR)
    time.sleep(0.1)
    assert told == [[], [], []]


def test_goodbye_is_no_loss(three):
    workers, told, links = three
    workers[1].close()
    workers[2].close()
    links[1][0].shutdown(socket.SHUT_RDWR)
    workers[0].close()
    time.sleep(0.1)
    assert told == [[], [], []]


def test_the_chief_stays_until_all_have_left(three):
    workers, _, _ = three
    began = time.monotonic()
    threading.Timer(0.3, lambda: [w.close() for w in workers[1:]]).start()
    workers[0].close()
    assert time.monotonic() - began >= 0.25


def test_guard_while_no_thread_can_run(three):
    workers, _, _ = three
    with workers[0].guarded(60.0):
        pass
    # It is gone, and its copies of the sockets with it.
    assert together([w.gather for w in workers]) == [[None] * 3] * 3


def test_alone():
    alone = Alone()
    assert alone.is_chief and alone.gather(3) == [3]
    with alone.chief_first():
        pass
    alone.explain(ValueError())
    alone.close()
