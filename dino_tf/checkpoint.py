"""Checkpoints: all that a training needs to go on, written so that none is half."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import threading

import numpy as np
from safetensors import SafetensorError, safe_open

from dino_tf.checksums import sha256_of
from dino_tf.errors import UserError, first_line, naming
from dino_tf.run_folder import sync_folder, write_text

# Names of safetensors for the types that variables have.
TYPES = {
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
}
DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError)
DAMAGED += (AttributeError, RecursionError)
WITHIN = 2  # checkpoints kept within an epoch
OLDER = "epoch-*.weights.h5"  # before there were steps


@dataclasses.dataclass(frozen=True)
class Place:
    """A place between two steps of a training.

    Attributes:
        epoch: Whole epochs before it.
        step: Steps since then, fewer than an epoch has.
        beside: What the observers of the steps since then have to remember, a
            dictionary for JSON.
    """

    epoch: int = 0
    step: int = 0
    beside: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        steps = "1 step" if self.step == 1 else f"{self.step} steps"
        return f"epoch {self.epoch}" + (f" and {steps}" if self.step else "")


class Checkpoints:
    """Checkpoints `epoch-0003-step-000000.safetensors` with a `.json` in one folder.

    The large file holds student, teacher, center, optimizer, random layers and, within
    epochs, what metrics have gathered, as safetensors with nothing else in it, so that
    equal trainings give equal bytes. The JSON file, written last, holds the place and
    the checksum of the other.

    Args:
        folder: Where they lie; made when the first is saved.
        keep: Number of the latest ones after whole epochs that are kept, at least 1.
            Beside them are the latest two within an epoch, until it is over.
        keep_every: Epochs between checkpoints that are kept for good, 0: none.
        say: Function that is told of checkpoints that are damaged.
    """

    def __init__(self, folder, keep=2, keep_every=0, say=print):
        self.folder, self.keep = pathlib.Path(folder), keep
        self.keep_every, self.say = keep_every, say
        self._writer, self._error = None, None

    def save(self, model, place):
        """Saves `model` as it is at `place`; the file is written meanwhile.

        Raises:
            OSError: This or the last one could not be written; the ones before are
                whole.
        """
        self.wait()
        values = {name: v.numpy() for name, v in state_of(model, place).items()}
        self._writer = threading.Thread(target=self._write, args=(values, place))
        self._writer.start()

    def wait(self):
        """Waits until the last checkpoint lies on disk.

        Raises:
            OSError: It could not be written.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        self.check()

    def check(self):
        """Raises the `OSError` of a checkpoint that could not be written."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, values, place):
        weights, record = self._files(place)
        part = weights.with_name(f"part-{weights.name}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with naming(weights):
                checksum = write_tensors(values, part)
            # A place that is reached again: without its record it does not count.
            record.unlink(missing_ok=True)
            part.replace(weights)
            facts = dataclasses.asdict(place)
            facts |= {"bytes": weights.stat().st_size, "sha256": checksum}
            facts["record_sha256"] = _checksum_of(facts)
            write_text(record, json.dumps(facts, indent=1) + "\n")
            self._forget()
        except OSError as error:
            part.unlink(missing_ok=True)
            self._error = error

    def _forget(self):
        """Removes what need not be kept."""
        places = self.places()
        whole = [place for place in places if not place.step]
        within = [p for p in places if p.step and p.epoch == places[-1].epoch]
        kept = {str(place) for place in whole[-self.keep :] + within[-WITHIN:]}
        for old in places:
            forever = self.keep_every and not old.step
            if str(old) in kept or (forever and not old.epoch % self.keep_every):
                continue
            for file in reversed(self._files(old)):
                file.unlink(missing_ok=True)

    def places(self):
        """`Place` of each checkpoint, without what is beside it, in order."""
        found = []
        for file in self.folder.glob("epoch-*-step-*.json"):
            numbers = file.stem.split("-")
            if len(numbers) == 4 and (numbers[1] + numbers[3]).isdecimal():
                found.append(Place(int(numbers[1]), int(numbers[3])))
        return sorted(found, key=lambda place: (place.epoch, place.step))

    def restore(self, model):
        """Puts the latest whole checkpoint into a built and compiled model.

        Returns:
            `Place` that it is of, the beginning when there is no checkpoint.

        Raises:
            UserError: None is whole, or the latest whole one does not fit the model.
        """
        self.wait()
        places = self.places()
        if not places and any(self.folder.glob(OLDER)):
            raise UserError(
                f"{self.folder} holds checkpoints of an older version of dino_tf; "
                "allowed: going on with that version, or another --run.name"
            )
        for place in reversed(places):
            weights, _ = self._files(place)
            try:
                whole, values = self._read(place)
            except DAMAGED as error:
                self.say(f"{weights} is damaged ({first_line(error)}): passed over")
                continue
            put_state(state_of(model, place), values, weights)
            return whole
        if places:
            raise UserError(
                f"no checkpoint in {self.folder} is whole; allowed: another --run.name"
            )
        return Place()

    def _read(self, place):
        """(`Place` with what is beside it, {name: array}) of a whole checkpoint."""
        weights, record = self._files(place)
        facts = json.loads(record.read_text(encoding="utf-8"))
        if facts.pop("record_sha256") != _checksum_of(facts):
            raise ValueError(f"the checksum of {record.name} differs")
        size, checksum = facts.pop("bytes"), facts.pop("sha256")
        whole = Place(**facts)
        if (whole.epoch, whole.step) != (place.epoch, place.step):
            raise ValueError(f"{record.name} is of {whole}")
        if weights.stat().st_size != size:
            raise ValueError(f"{weights.stat().st_size} bytes, not {size}")
        if sha256_of(weights) != checksum:
            raise ValueError("its checksum differs")
        with safe_open(weights, "numpy") as file:
            return whole, {name: file.get_tensor(name) for name in file.keys()}

    def _files(self, place):
        stem = f"epoch-{place.epoch:04d}-step-{place.step:06d}"
        return self.folder / f"{stem}.safetensors", self.folder / f"{stem}.json"


def _checksum_of(facts):
    """SHA-256 of what a record tells, in hexadecimal."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_tensors(arrays, path):
    """Writes a safetensors file to disk, one array after the other.

    `safetensors` itself would copy all arrays first.

    Args:
        arrays: {name: array of one of `TYPES`}.
        path: The file; one that is there is replaced.

    Returns:
        SHA-256 of the file in hexadecimal.

    Reference:
        https://huggingface.co/docs/safetensors, "Format".
    """
    header, end = {}, 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    checksum = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in (len(words).to_bytes(8, "little"), words, *arrays.values()):
            if isinstance(piece, np.ndarray):
                piece = np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
            file.write(piece)
            checksum.update(piece)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return checksum.hexdigest()


def state_of(model, place):
    """{name: variable} of all that a step of a compiled `DINO` reads and changes.

    What metrics have gathered is among it within epochs only, after which they begin
    anew; on several machines all would have to take part in reading it.

    A name is the variable's number and, for people, its path without the numbers that
    Keras gives to the layers of one process.
    """
    roles = {
        model.student_backbone.name: "backbone",
        model.student_head.name: "head",
        model.optimizer.name: "optimizer",
        model.name: "dino",
    }
    variables, named = all_state(model), {}
    if place.step:
        variables += gathered_by(model)
    for number, variable in enumerate(variables):
        path = variable.path
        for name in sorted(roles, key=len, reverse=True):
            path = path.replace(name, roles[name])
        path = re.sub(r"_\d+(?=/)", "", path)
        named[f"{number:05d}/{path}"] = variable
    return named


def put_state(named, values, file):
    """Gives the variables of `state_of` the values of a file.

    Raises:
        UserError: They are of another network or optimizer; nothing is changed then.
    """
    variables = list(named.values())
    arrays = [values[name] for name in sorted(values)]
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise UserError(
            f"{file} is of another network or optimizer; allowed: the settings it was "
            "saved with, or another --run.name"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def all_state(model):
    """Variables of a compiled model that a training goes on from."""
    counted = {id(v) for metric in model.metrics for v in metric.variables}
    own = [v for v in model.variables if id(v) not in counted]
    return own + list(model.optimizer.variables)


def gathered_by(model):
    """Variables of a `DINO` that gather over an epoch what its record tells."""
    own = [v for metric in model.metrics for v in metric.variables]
    return [*own, *model.signals.variables]
