"""Data sets of the Hugging Face Hub, as encoded images: `hf:OWNER/NAME[:CONFIG]`."""

import functools
import os
import re
import threading
from pathlib import Path

import numpy as np

from dino_tf.datasets.source import Source, digest
from dino_tf.errors import UserError
from dino_tf.photo_files import read_photo_file

TEST_SPLITS = ("test", "validation", "val", "valid")
PAGE = "https://huggingface.co/datasets/"


class HF(Source):
    """One split of a `datasets.Dataset`, undecoded.

    Args:
        data: The split, with random access.
        name: For logs and tables.
        folders: Where files may lie that the data set names instead of holding them.

    Raises:
        UserError: The data set has no image column.
    """

    def __init__(self, data, name, folders=()):
        import datasets

        self.name = name
        self._image, self._label = _columns(data.features, name)
        self._folders = [os.path.realpath(folder) for folder in folders]
        photos = data.select_columns([self._image])
        photos = photos.cast_column(self._image, datasets.Image(decode=False))
        # Tables cost less to read than dictionaries, above all for labels.
        self._photos = photos.with_format("arrow")
        self._stamp = digest([name, len(data), data._fingerprint])
        self._lock, self._read_labels = threading.Lock(), None
        if self._label:
            feature = data.features[self._label]
            self.class_names = tuple(getattr(feature, "feature", feature).names)
            some = data.select_columns([self._label]).with_format("arrow")
            self._read_labels = functools.cache(functools.partial(_class_lists, some))

    def __len__(self):
        return len(self._photos)

    def id(self, index):
        return f"{range(len(self))[index]:08d}"

    def image_bytes(self, index):
        photo = self._photos[range(len(self))[index]][self._image][0].as_py() or {}
        if photo.get("bytes") is not None:
            return photo["bytes"]
        path = os.path.realpath(photo.get("path") or os.curdir)
        if not any(path.startswith(folder + os.sep) for folder in self._folders):
            raise OSError("the data set neither holds the photo nor a file of it")
        return read_photo_file(path)

    def stamp(self):
        return self._stamp

    def labels(self, index):
        """Class indices; the first call reads those of all photos."""
        place = range(len(self))[index]
        if self._read_labels is None:
            return ()
        with self._lock:
            ends, values = self._read_labels()
        found = values[ends[place] : ends[place + 1]]
        # The Hub has -1 where a split has no labels.
        return tuple(sorted({int(value) for value in found if value >= 0}))


def open_hf(argument: str, split: str = "train") -> HF | None:
    """Opens a data set of the Hub, downloading and preparing it if needed.

    It lies in the cache of Hugging Face (`HF_HOME`); the token is that of `HF_TOKEN`
    or of the login. No program of a data set is run.

    Args:
        argument: `OWNER/NAME` or `OWNER/NAME:CONFIG`; or a folder of Parquet files or
            any other that `datasets.load_dataset` takes.
        split: "train", "test" (the first of `TEST_SPLITS` that has labels, or that is
            there), or a split of the data set such as "validation" or "train[:10%]".

    Returns:
        The source, or None when `split` is "test" and there is none.

    Raises:
        UserError: The package is missing, the name or split is unknown, or the data
            cannot be had.
    """
    name, config, folder = _parse(argument)
    parts = _load(name, config)
    folders = [folder] if folder else []
    folders += _cache_folders()
    if split == "test":
        there = [part for part in TEST_SPLITS if part in parts]
        tests = [HF(parts[p], f"hf:{argument}/{p}", folders) for p in there]
        labelled = (t for t in tests if any(t.labels(i) for i in range(len(t))[:50]))
        return next(labelled, tests[0] if tests else None)
    if re.match(r"\w*", split).group() not in parts:
        allowed = ", ".join(parts)
        raise UserError(f"hf:{argument} has no split {split!r}; allowed: {allowed}")
    data = parts[split] if split in parts else _load(name, config, split)
    return HF(data, f"hf:{argument}/{split}", folders)


def _parse(argument):
    """(name or folder as text, configuration or None, folder or None)."""
    name, _, config = argument.rpartition(":")
    for path, rest in ((argument, None), (name, config)):
        folder = Path(path).expanduser()
        if path and folder.is_dir():
            return str(folder), rest, folder
    found = re.fullmatch(r"([\w.\-]+/[\w.\-]+)(?::([^:]+))?", argument)
    if not found:
        raise UserError(
            f"hf:{argument} is no folder, nor of the form hf:OWNER/NAME or "
            "hf:OWNER/NAME:CONFIG"
        )
    return *found.groups(), None


def _load(name, config, split=None):
    """Dictionary of splits, or one split, as `datasets.load_dataset` gives them."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"hf:{name} needs: pip install datasets") from error
    token = os.environ.get("HF_TOKEN") or None
    try:
        return datasets.load_dataset(name, config, split=split, token=token)
    except Exception as error:  # network, hub and formats raise many unrelated types
        raise UserError(_explain(name, error, token)) from error


def _explain(name, error, token):
    """What to do about an error of `load_dataset`, in one line."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    kinds = {type(one).__name__ for one in chain}
    if "GatedRepoError" in kinds or "gated dataset" in str(error):
        do = (
            "HF_TOKEN is of an account that has not agreed yet"
            if token
            else "set HF_TOKEN to a token of yours, huggingface.co/settings/tokens"
        )
        return (
            f"hf:{name} is handed out to those who agree to its terms: do so at "
            f"{PAGE}{name}, then try again ({do})"
        )
    if "Config name is missing" in str(error):
        return f"hf:{name} needs a configuration, hf:{name}:CONFIG; {_line(error)}"
    return f"hf:{name} cannot be had: {_line(error)}"


def _line(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def _cache_folders():
    import datasets
    import huggingface_hub

    return [datasets.config.HF_DATASETS_CACHE, huggingface_hub.constants.HF_HUB_CACHE]


def _columns(features, name):
    """Names of the image column and of the label column, which may be None."""
    import datasets

    images = [k for k, f in features.items() if isinstance(f, datasets.Image)]
    labels = [
        key
        for key, feature in features.items()
        if isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)
    ]
    if not images:
        raise UserError(f"{name} has no images; it has {list(features)}")
    return images[0], labels[0] if labels else None


def _class_lists(data):
    """int64 (N + 1,) ends and int64 values of the class indices of all photos."""
    import pyarrow

    (column,) = data[:].columns
    column = column.combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):  # older pyarrow, or no chunk at all
        column = pyarrow.concat_arrays(column.chunks)
    if pyarrow.types.is_integer(column.type):
        values = column.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.arange(len(values) + 1), values
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = column.flatten().fill_null(-1).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)]), values
