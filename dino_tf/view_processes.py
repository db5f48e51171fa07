"""Views drawn by processes of their own, for machines that train faster than threads.

Python runs one thread at a time, and drawing views returns to it some hundred times a
photo. One process of Python gives as many views as a few cores can make; a GPU, or
several, wants more. Files are read here, and bytes go to a process that is free, so
that every source will do and bad photos are known at once. Views come back through
memory that both share, anything else through pipes.
"""

import contextlib
import mmap
import os
import pickle
import queue
import struct
import subprocess
import sys
import tempfile
import threading
import weakref

import numpy as np

from .errors import UserError, first_line
from .view_worker import FAILED, REFUSED, REPLY, REQUEST

# The paths are those of this process, so that the package is found wherever it lies.
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from dino_tf.view_worker import main; main()"
)
# A process has one thread; a GPU is none of its business.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_SHARED_MEMORY = "/dev/shm"


class ViewProcesses:
    """A pool of processes that decode photos and draw their views.

    They start when the first views are asked for, and end with this object or with
    this process, however it ends. May be used by several threads.

    Args:
        count: Number of processes.
        views: A `MultiCrop`.
        decode_margin: See `pipeline.make_dataset`.

    Raises:
        UserError: The system cannot hand open files to a process (Windows).
    """

    def __init__(self, count, views, decode_margin=None):
        if os.name != "posix":
            raise UserError(f"pipeline.processes is {count}; allowed on this system: 0")
        self._count, self._views, self._margin = count, views, decode_margin
        self._free, self._started = queue.SimpleQueue(), False
        self._lock = threading.Lock()

    def take(self, source, bad_images, cache, seed, index):
        """Views of one photo, or None after a new entry in `bad_images`.

        Args:
            source: See `pipeline.make_dataset`.
            bad_images: `BadImages`; photos named there are not tried again.
            cache: See `dino_tf.photo_cache`; None keeps nothing.
            seed: Two integers, for the draws.
            index: Which photo.

        Returns:
            `{"global": (2, S, S, 3), "local": (V, s, s, 3)}`, uint8 arrays, or None.

        Raises:
            RuntimeError: A process has ended, or its program has failed.
        """
        name = source.id(index)
        if name in bad_images.names:
            return None
        image = None if cache is None else cache.get(index)
        if image is not None:
            return self._ask(seed, image)[0]
        try:
            data = source.image_bytes(index)
        except OSError as error:
            bad_images.add(name, first_line(error))
            return None
        views, image, reason = self._ask(seed, data, wanted=cache is not None)
        if views is None:
            bad_images.add(name, reason)
        elif image is not None:
            cache.put(index, image)
        return views

    def _ask(self, seed, photo, wanted=False):
        self._start()
        worker = self._free.get()
        try:
            return worker.ask(seed, photo, wanted)
        finally:
            self._free.put(worker)

    def _start(self):
        with self._lock:
            if not self._started:
                workers = [
                    _Worker(self._views, self._margin) for _ in range(self._count)
                ]
                for worker in workers:
                    self._free.put(worker)
                weakref.finalize(self, _close, workers)
                self._started = True


def _close(workers):
    for worker in workers:
        worker.close()


class _Worker:
    """This side of one process."""

    def __init__(self, views, margin):
        self._shapes = views.shapes()
        length = sum(int(np.prod(shape)) for shape in self._shapes.values())
        folder = _SHARED_MEMORY if os.path.isdir(_SHARED_MEMORY) else None
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(length)
            self._shared = mmap.mmap(file.fileno(), length)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[file.fileno()],
                env=os.environ | _ENVIRONMENT,
            )
            pickle.dump(sys.path, self._process.stdin)
            pickle.dump((views, margin, file.fileno()), self._process.stdin)
            self._process.stdin.flush()

    def ask(self, seed, photo, wanted):
        """(views or None, photo if `wanted` or None, reason of a refusal or None)."""
        pixels = isinstance(photo, np.ndarray)
        size = photo.shape[:2] if pixels else (0, 0)
        data = memoryview(np.ascontiguousarray(photo) if pixels else photo).cast("B")
        stdin, stdout = self._process.stdin, self._process.stdout
        try:
            stdin.write(REQUEST.pack(*seed, *size, wanted, len(data)))
            stdin.write(data)
            stdin.flush()
            state, height, width, length = REPLY.unpack(stdout.read(REPLY.size))
            answer = stdout.read(length)
        except (OSError, struct.error) as error:
            code = self._process.wait()
            raise RuntimeError(
                f"a process that draws views has ended with code {code}"
            ) from error
        if state == FAILED:
            raise RuntimeError(answer.decode())
        if state == REFUSED:
            return None, None, answer.decode()
        image = None
        if length:
            image = np.frombuffer(answer, np.uint8).reshape(height, width, 3)
        return self._copied(), image, None

    def _copied(self):
        views, place = {}, 0
        for name, shape in self._shapes.items():
            length = int(np.prod(shape))
            shared = np.frombuffer(self._shared, np.uint8, length, place)
            views[name] = shared.reshape(shape).copy()
            place += length
        return views

    def close(self):
        """Ends the process by ending its stream of requests."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
