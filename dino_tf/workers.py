"""What the workers of a training tell each other beside TensorFlow, and who is lost.

Before TensorFlow starts, every worker joins the first one, the chief, at the chief's
own address. These connections stay: over them go the values that all must agree on,
and the news of a worker that ends, which TensorFlow reports late, without a name, or
never when it waits for others to start.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

from dino_tf.errors import Diverged, UserError, WorkerLost

BEAT = 5.0  # seconds between two signs of life
SILENCE = 40.0  # seconds without one after which a worker counts as lost
# What collective operations fail with when a worker is gone.
ECHOES = {
    "UnavailableError",
    "AbortedError",
    "CancelledError",
    "InternalError",
    "UnknownError",
    "DeadlineExceededError",
    "FailedPreconditionError",
}
LEAVE_TIME = 1.0  # seconds in which last words reach the others


class Alone:
    """The only worker: takes the place of `Workers` without a cluster."""

    is_chief, cluster = True, None

    def gather(self, value=None):
        """[value]."""
        return [value]

    @contextlib.contextmanager
    def chief_first(self):
        """Nothing to wait for."""
        yield

    def explain(self, error):
        """Nothing to add to an error."""

    def close(self):
        """Nothing to close."""


class Workers:
    """The connections of this worker: a star around the chief.

    Args:
        cluster: `Cluster`.
        links: {index of a worker: connected socket}: all others for the chief, the
            chief alone for the others.
        on_lost: Function of (words, exit code), called in a thread when a worker is
            gone; the default prints the words and ends the process, as the main
            thread may hang in TensorFlow.

    Attributes:
        cluster: `Cluster`.
        is_chief: Whether this is the first worker.
    """

    def __init__(self, cluster, links, on_lost=None):
        self.cluster, self.links = cluster, links
        self.is_chief = cluster.index == 0
        self.on_lost = on_lost or leave
        self._sending, self._changed = threading.Lock(), threading.Condition()
        self._round, self._told, self._answers = 0, {}, {}
        self._gone, self._lost, self._closed = set(), None, False
        for index in links:
            threading.Thread(target=self._listen, args=(index,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def gather(self, value=None):
        """Values of all workers, in their order; every worker must call it.

        Args:
            value: Anything that JSON holds.

        Raises:
            WorkerLost: When a worker is gone, and `on_lost` came back.
        """
        self._round += 1
        number = self._round
        if not self.is_chief:
            self._send(0, {"round": number, "value": value})
            return self._wait(lambda: self._answers.pop(number, None))
        others = self._wait(lambda: self._complete(number))
        values = [value, *others]
        for index in self.links:
            self._send(index, {"round": number, "values": values})
        return json.loads(json.dumps(values))

    @contextlib.contextmanager
    def chief_first(self):
        """Lets the chief do the inside before the others, as for downloads."""
        if not self.is_chief:
            self.gather()
        yield
        if self.is_chief:
            self.gather()

    @contextlib.contextmanager
    def guarded(self, seconds):
        """Ends this process when a worker is lost inside, where no thread can run.

        Args:
            seconds: Time that the inside may take.
        """
        sockets = {link.fileno(): index for index, link in self.links.items()}
        named = [(str(fd), self.cluster.name(i)) for fd, i in sockets.items()]
        program = pathlib.Path(__file__).with_name("guard.py")
        guard = subprocess.Popen(
            [sys.executable, "-I", str(program), str(os.getpid()), str(seconds)]
            + [text for pair in named for text in pair],
            stdin=subprocess.PIPE,
            pass_fds=list(sockets),
        )
        try:
            yield
        finally:
            guard.stdin.close()
            guard.wait()

    def explain(self, error):
        """Tells the others why this worker ends; waits when another one is the cause.

        Args:
            error: What ends the training here.
        """
        if isinstance(error, Diverged):
            # The loss is the same for all.
            self.end_together()
        if self._closed:
            time.sleep(LEAVE_TIME)
            return
        if not _of_another(error):
            self.stop(*_last_words(error))
            return
        with self._changed:
            self._changed.wait_for(lambda: self._lost, SILENCE + BEAT)
        self._wait_for_end()

    def end_together(self):
        """All workers are about to end by the same error: nobody is lost."""
        self._closed = True

    def stop(self, words, code):
        """Tells all others that this worker ends, and the exit code it ends with."""
        index = self.cluster.index
        self._tell_all({"lost": index, "words": words, "code": code}, but=index)
        self._closed = True
        time.sleep(LEAVE_TIME)

    def close(self):
        """Says goodbye: from here on, silence of this worker is no loss.

        The chief waits until all others have said so, as TensorFlow needs it longest.
        """
        if self.is_chief:
            self._wait(lambda: self._gone >= set(self.links))
        self._tell_all({"bye": True})
        self._closed = True

    def _complete(self, number):
        values = [self._told.get((index, number)) for index in sorted(self.links)]
        if None in values:
            return None
        for index in self.links:
            del self._told[index, number]
        return [value["value"] for value in values]

    def _wait(self, ready):
        """The first value of `ready()` that is not empty."""
        with self._changed:
            while not (found := ready()):
                if self._lost:
                    break
                self._changed.wait(1.0)
        if not found:
            self._wait_for_end()
            raise WorkerLost(self._lost)
        return found

    def _wait_for_end(self):
        # `on_lost` ends the process in a thread of its own, with one line.
        time.sleep(2 * LEAVE_TIME)

    def _send(self, index, message):
        with self._sending, contextlib.suppress(OSError):
            # The listening thread notices a broken connection.
            self.links[index].sendall(json.dumps(message).encode() + b"\n")

    def _tell_all(self, message, but=None):
        for index in self.links:
            if index != but:
                self._send(index, message)

    def _beat(self):
        while not self._closed:
            self._tell_all({"beat": True})
            time.sleep(BEAT)

    def _listen(self, index):
        """Takes in what one worker says, until it leaves or is lost."""
        link = self.links[index]
        link.settimeout(SILENCE)
        try:
            with link.makefile("rb") as lines:
                for line in lines:
                    self._hear(index, json.loads(line))
        except TimeoutError:
            self._lose(index, f"has been silent for {SILENCE:.0f} s")
        except (OSError, ValueError):
            self._lose(index, "is gone")
        else:
            self._lose(index, "is gone")

    def _hear(self, index, message):
        with self._changed:
            if "values" in message:
                self._answers[message["round"]] = message["values"]
            elif "round" in message:
                self._told[index, message["round"]] = message
            elif "bye" in message:
                self._gone.add(index)
            self._changed.notify_all()
        if "lost" in message:
            self._lose(message["lost"], message["words"], message["code"])

    def _lose(self, index, words, code=1):
        with self._changed:
            if self._closed or self._lost or index in self._gone:
                return
            told = {"lost": index, "words": words, "code": code}
            self._lost = f"{self.cluster.name(index)} {words}"
            self._changed.notify_all()
        if self.is_chief:
            self._tell_all(told, but=index)
        self.on_lost(self._lost, code)


def leave(words, code):
    """Prints the line about a lost worker and ends the process at once."""
    text = (
        f"error: {words}; training stopped: start all workers again, and it goes on "
        "from the last checkpoint"
    )
    print(text, file=sys.stderr, flush=True)
    # The main thread may wait in TensorFlow for what never comes, and what TensorFlow
    # says to that would only hide the line above.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    time.sleep(LEAVE_TIME)
    os._exit(code)


def _of_another(error):
    """Whether an error of TensorFlow's may be the echo of another worker's end."""
    # By name: this file does without TensorFlow.
    return type(error).__name__ in ECHOES


def _last_words(error):
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted", 130
    code = 2 if isinstance(error, UserError) else 1
    text = " ".join(str(error).split())[:500]
    return f"stopped ({text or type(error).__name__})", code
