"""How workers find each other, in threads of one process."""

import socket
import threading

import pytest

from dino_tf import rendezvous
from dino_tf.cluster import Cluster
from dino_tf.errors import UserError
from dino_tf.rendezvous import join


def clusters(count):
    """One `Cluster` for each of `count` workers on free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    tasks = tuple(("worker", i, f"127.0.0.1:{p}") for i, p in enumerate(ports))
    return [Cluster(tasks, i, "a test") for i in range(count)]


def joined(some, wait=10.0, say=print):
    """What `join` gives or raises for each cluster, all at once."""
    results = [None] * len(some)

    def one(place):
        try:
            results[place] = join(some[place], wait, say, lambda *told: None)
        except UserError as error:
            results[place] = str(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(some))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def close_all(workers):
    threads = [threading.Thread(target=w.close) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_three_workers_find_each_other():
    workers = joined(clusters(3))
    assert [w.is_chief for w in workers] == [True, False, False]
    assert sorted(workers[0].links) == [1, 2]
    assert [sorted(w.links) for w in workers[1:]] == [[0], [0]]
    close_all(workers)


def test_the_ports_are_free_for_tensorflow_afterwards():
    some = clusters(2)
    workers = joined(some)
    for cluster in some:
        # As TensorFlow's server does, while the connections last.
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("0.0.0.0", cluster.address(cluster.index)[1]))
            server.listen()
    close_all(workers)


@pytest.mark.parametrize("index", [0, 1])
def test_port_in_use(index):
    cluster = clusters(2)[index]
    port = cluster.address(index)[1]
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(UserError, match=f"port {port} of worker {index} .*in use"):
            join(cluster, 1.0)


def test_a_worker_that_never_comes(monkeypatch):
    monkeypatch.setattr(rendezvous, "TELL_AFTER", 0.1)
    some, said = clusters(3), []
    chief, here = joined(some[:2], 1.0, said.append)
    missing = some[0].name(2)
    # On a busy machine the other worker may be late as well.
    assert said and all(line.endswith((missing, some[0].name(0))) for line in said)
    assert any(missing in line for line in said)
    assert chief.startswith(f"{missing} did not come within 1 s")
    assert here == f"{missing} did not come"


def test_a_chief_that_never_comes(monkeypatch):
    monkeypatch.setattr(rendezvous, "TELL_AFTER", 0.1)
    some, said = clusters(2), []
    (told,) = joined(some[1:], 1.0, said.append)
    assert said == [f"waiting for {some[0].name(0)}"]
    assert told.startswith(f"{some[0].name(0)} did not answer within 1 s")


def test_workers_of_different_lists():
    chief, _ = clusters(2)
    tasks = (chief.tasks[0], ("worker", 1, clusters(1)[0].tasks[0][2]))
    results = joined([chief, Cluster(tasks, 1, "another list")])
    assert results[0] == results[1]
    assert "worker 1 was given the workers" in results[0]


def test_the_same_worker_twice(monkeypatch):
    some = clusters(3)
    # Two machines may have the same port free.
    results = joined([some[0], some[1], some[1]])
    assert (
        results == [f"{some[0].name(1)} has come twice; allowed: each worker once"] * 3
    )


def test_strangers_are_turned_away(monkeypatch):
    monkeypatch.setattr(rendezvous, "HELLO", 0.3)
    some = clusters(2)
    address = some[0].address(0)

    def knock():
        for words in (b"GET / HTTP/1.0\r\n\r\n\n", b"{}\n", b""):
            link = socket.create_connection(address)
            link.sendall(words)
            links.append(link)

    links, results = [], []
    chief = threading.Thread(target=lambda: results.extend(joined(some[:1])))
    chief.start()
    while True:
        try:
            knock()
            break
        except ConnectionRefusedError:
            continue
    results += joined(some[1:])
    chief.join()
    close_all(results)
