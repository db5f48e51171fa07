"""What is evaluated: a network, its view of pixels, and the features it gave before."""

import dataclasses
import functools
import hashlib
import json

import keras
import numpy as np

from dino_tf.errors import UserError
from dino_tf.evaluate.features import (
    compiled_summarizer,
    extract_summaries,
    summaries_of,
)
from dino_tf.evaluate.splits import labelled_split, why_held_out
from dino_tf.evaluate.store import Store
from dino_tf.pipeline import evaluation_dataset
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD

# To be raised when the same weights and photos give other features than before.
FEATURES_VERSION = 3
# Up to so many bytes all summaries of a pass are kept, not only those asked for.
KEEP_ALL = 1 << 30


@dataclasses.dataclass
class Subject:
    """A network under evaluation.

    Args:
        backbone: Any backbone; see `dino_tf.models.backbones`.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.
        size: Side in pixels of the photos, where a task is asked for no other.
        store: `Store` that keeps features between tasks.
        track: Function of (label, number of photos) that returns an object with
            `add(n)`, which shows progress; None shows none.
        batch_size: Photos in one forward pass.
    """

    backbone: keras.Model
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    size: int = 224
    store: Store = dataclasses.field(default_factory=Store)
    track: object = None
    batch_size: int = 64

    @functools.cached_property
    def fingerprint(self):
        """SHA-256 of the weights and of all else that features depend on."""
        digest = hashlib.sha256()
        config = dict(keras.saving.serialize_keras_object(self.backbone)["config"])
        # Keras counts networks of one kind in their names.
        config.pop("name", None)
        policy = keras.config.dtype_policy().name
        facts = [config, list(self.mean), list(self.std), policy, FEATURES_VERSION]
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        for array in self.backbone.get_weights():
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @functools.cached_property
    def _compiled(self):
        return {}

    def _forward(self, names):
        """One compiled function for all passes that ask for the same."""
        if names not in self._compiled:
            self._compiled[names] = compiled_summarizer(self.backbone, names)
        return self._compiled[names]

    def depends(self, source, **options):
        """What arrays computed from this network and a source depend on.

        Nothing is looked at where nothing is kept.
        """
        if self.store.folder is None:
            return options
        return {"network": self.fingerprint, "data": source.stamp(), **options}

    def side(self, size=None):
        """Side in pixels of the square that the network sees; None is the subject's.

        Raises:
            UserError: The network takes no such square.
        """
        size = self.size if size is None else size
        try:
            if size < 1:
                raise ValueError("allowed: 1 or more")
            if hasattr(self.backbone, "grid_of"):
                self.backbone.grid_of((size, size))
        except ValueError as error:
            raise UserError(f"--size: got {size}; {error}") from error
        return size

    def progress(self, count, label):
        """Object with `add(n)` that shows how many of `count` photos are done."""
        return self.track(label, count) if self.track else _Silent()

    def summaries(self, source, size, names=("cls",), indices=None):
        """Features of whole photos, from one pass over them or from the store.

        Args:
            source: Photos.
            size: Side of the central square, in pixels; None is that of the subject.
            names: Of `dino_tf.evaluate.features.summaries_of`.
            indices: Places in the source; None takes all.

        Returns:
            Dictionary of each name to float32 (N, ...), as the network gives them,
            and "index" to int64 (N,): the places of the readable photos.

        Raises:
            UserError: No photo can be read, or the network has no such features, or
                takes no such square.
        """
        size = self.side(size)
        there = summaries_of(self.backbone)
        unknown = [name for name in names if name not in there]
        if unknown:
            raise UserError(
                f"{getattr(self.backbone, 'name', 'network')} has no {unknown[0]!r}; "
                f"allowed: {', '.join(there)}"
            )
        chosen = np.arange(len(source)) if indices is None else np.asarray(indices)
        wanted = self._wanted(len(chosen), names)
        depends = {"size": size, "names": sorted(wanted)}
        if indices is not None:
            depends["indices"] = chosen

        def compute():
            photos = evaluation_dataset(
                source, size, self.batch_size, indices, mean=self.mean, std=self.std
            )
            bar = self.progress(len(chosen), f"features of {source.name}")
            forward = self._forward(wanted)
            return extract_summaries(self.backbone, photos, wanted, bar.add, forward)

        depends = self.depends(source, **depends)
        kept = self.store.arrays("features", depends, compute)
        return {name: kept[name] for name in (*names, "index")}

    def _wanted(self, count, names):
        """Names of the summaries that one pass over `count` photos is to give."""
        there = summaries_of(self.backbone)
        everything = 4 * sum(there.values()) * count <= KEEP_ALL
        if self.store.folder is None or not everything:
            return tuple(names)
        return tuple(there)

    def kept_summaries(self, source, size, names):
        """What `summaries` of all photos has kept; None where it has not, yet."""
        wanted = self._wanted(len(source), names)
        if self.store.folder is None or not set(names) <= set(wanted):
            return None
        options = {"size": self.side(size), "names": sorted(wanted)}
        return self.store.kept("features", self.depends(source, **options))


class Data:
    """Photos to evaluate on, split by split, opened when first asked for.

    Args:
        spec: The SPEC, for people and file names.
        opened: Function of a split's name that returns a `Source`, None where there
            is no test split; see `open_source`.

    Attributes:
        notes: Lines for a person on which photos are judged.
    """

    def __init__(self, spec, opened):
        self.spec = spec
        self._open, self._splits, self.notes = opened, {}, []

    @classmethod
    def of(cls, train, test=None, spec=None):
        """Data of two sources."""
        return cls(spec or train.name, {"train": train, "test": test}.get)

    def split(self, name):
        """`Source` of a split; None where the data set has no test split."""
        if name not in self._splits:
            self._splits[name] = self._open(name)
        return self._splits[name]

    @property
    def train(self):
        """Photos to fit on."""
        return self.split("train")

    @property
    def test(self):
        """Photos that are judged, None where there is no test split."""
        return self.split("test")

    def labelled(self):
        """`labelled_split` of the two splits: (teaching, judged), or None.

        `notes` tells where training photos are judged.
        """
        pair = labelled_split(self.train, self.test)
        why = why_held_out(self.train, self.test)
        if pair and why and why not in self.notes:
            self.notes.append(why)
        return pair


@dataclasses.dataclass
class Outcome:
    """What a task found.

    Attributes:
        numbers: {"task/name": number}; see `dino_tf.evaluate`.
        details: What else belongs into the JSON file: per class, per photo, chosen
            values. Anything that JSON can write.
        write: Function of a new folder that writes pictures and further files into
            it and returns their paths; None where there are none.
        notes: Lines for a person: what was left out, and why.
    """

    numbers: dict
    details: dict = dataclasses.field(default_factory=dict)
    write: object = None
    notes: list = dataclasses.field(default_factory=list)


class _Silent:
    def add(self, count):
        """Shows nothing."""
