"""How the workers of a training find each other, before TensorFlow starts."""

import contextlib
import json
import socket
import time

from dino_tf.errors import UserError
from dino_tf.workers import Workers

TELL_AFTER = 10.0  # seconds of waiting before a person hears who is waited for
HELLO = 5.0  # seconds that a newcomer has to say who it is
RETRY = 0.2


def join(cluster, wait=600.0, say=print, on_lost=None):
    """Connects this worker with all others; before TensorFlow starts.

    Args:
        cluster: `Cluster`.
        wait: Seconds to wait for the others.
        say: Function that shows a line to the person, after some seconds of waiting.
        on_lost: As for `Workers`.

    Returns:
        `Workers`.

    Raises:
        UserError: When the port of this worker is in use, a worker does not come in
            time, or another has another list of workers.
    """
    with _listener(cluster) as listener:
        if cluster.index == 0:
            links = _receive_all(cluster, listener, wait, say)
        else:
            listener.close()
            links = {0: _reach_chief(cluster, wait, say)}
    return Workers(cluster, links, on_lost)


def _listener(cluster):
    host, port = cluster.address(cluster.index)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Connections of an earlier start may still be fading away.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("", port))
        listener.listen(len(cluster))
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} of {cluster.name(cluster.index)} cannot be opened "
            f"({error.strerror}); allowed: a free port, and one process for each worker"
        ) from error
    return listener


def _receive_all(cluster, listener, wait, say):
    """{index: socket} of all others, once every one has come."""
    links, began, told = {}, time.monotonic(), False
    listener.settimeout(RETRY)
    while len(links) < len(cluster) - 1:
        waited = time.monotonic() - began
        if waited > TELL_AFTER and not told:
            say(f"waiting for {_missing(cluster, links)}")
            told = True
        if waited > wait:
            _dismiss(links, f"{_missing(cluster, links)} did not come")
            raise UserError(
                f"{_missing(cluster, links)} did not come within {wait:.0f} s; start "
                "the same command on every worker, or allow more by --run.wait"
            )
        try:
            link, _ = listener.accept()
        except TimeoutError:
            continue
        _welcome(cluster, link, links)
    # TensorFlow takes the port over as soon as the others are let in.
    listener.close()
    for link in links.values():
        with contextlib.suppress(OSError):
            link.sendall(b'{"welcome": true}\n')
    return links


def _welcome(cluster, link, links):
    """Takes one connection in, or turns it away."""
    link.settimeout(HELLO)
    try:
        hello = json.loads(_read_line(link))
        index, tasks = hello["index"], hello["tasks"]
    except (OSError, ValueError, KeyError, TypeError):
        # Not one of ours; TensorFlow's own servers knock here too.
        link.close()
        return
    own = [list(task) for task in cluster.tasks]
    if tasks != own:
        words = (
            f"worker {index} was given the workers {[t[2] for t in tasks]}, the chief "
            f"{[t[2] for t in own]}; allowed: the same list for all"
        )
    elif index in links or not 0 < index < len(cluster):
        words = f"{cluster.name(index)} has come twice; allowed: each worker once"
    else:
        links[index] = link
        return
    _dismiss({**links, "last": link}, words)
    raise UserError(words)


def _dismiss(links, words):
    for link in links.values():
        with contextlib.suppress(OSError):
            link.sendall(json.dumps({"refused": words}).encode() + b"\n")
            link.close()


def _missing(cluster, links):
    names = [cluster.name(i) for i in range(1, len(cluster)) if i not in links]
    return ", ".join(names)


def _reach_chief(cluster, wait, say):
    """Socket to the chief, once all workers have come."""
    hello = {"index": cluster.index, "tasks": cluster.tasks}
    began, told = time.monotonic(), False
    while (waited := time.monotonic() - began) < wait:
        if waited > TELL_AFTER and not told:
            say(f"waiting for {cluster.name(0)}")
            told = True
        try:
            link = socket.create_connection(cluster.address(0), timeout=HELLO)
            link.sendall(json.dumps(hello).encode() + b"\n")
            # The chief itself tells when it has waited too long.
            link.settimeout(wait + 2 * HELLO)
            answer = json.loads(_read_line(link) or b"{}")
        except (OSError, ValueError):
            time.sleep(RETRY)
            continue
        if "refused" in answer:
            raise UserError(answer["refused"])
        if "welcome" in answer:
            return link
        link.close()
        time.sleep(RETRY)
    raise UserError(
        f"{cluster.name(0)} did not answer within {wait:.0f} s; start the same command "
        "on every worker, or allow more by --run.wait"
    )


def _read_line(link):
    """Bytes up to the end of a line and no further: the rest is for another reader."""
    line = b""
    while not line.endswith(b"\n"):
        byte = link.recv(1)
        if not byte or len(line) > 1_000_000:
            return b""
        line += byte
    return line
