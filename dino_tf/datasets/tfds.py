"""Data sets of the TensorFlow Datasets catalogue, as encoded images."""

import difflib
import re
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from dino_tf.datasets.source import Source, digest
from dino_tf.errors import UserError

# Data sets prepared earlier in a format without random access are held in memory up
# to this size.
MEMORY_LIMIT = 2 << 30
TIMEOUT = 10.0
TEST_SPLITS = ("test", "validation", "val")


class TFDS(Source):
    """One split of a prepared builder, undecoded.

    Args:
        builder: a `tfds.core.DatasetBuilder` whose data is on disk.
        split: a split in the syntax of TensorFlow Datasets, e.g. `"train[:10%]"`.

    Raises:
        UserError: There is no image feature, no such split, or the data has no random
            access and is larger than `MEMORY_LIMIT`.
    """

    def __init__(self, builder, split: str):
        self.name = f"{builder.info.full_name}/{split}"
        self._image, self._label = _feature_names(builder)
        if self._label:
            feature = builder.info.features[self._label]
            self.class_names = tuple(getattr(feature, "feature", feature).names)
        self._records = _random_access(builder, split, self._image)
        self._labels: dict[int, tuple[int, ...]] = {}

    def __len__(self):
        return len(self._records)

    def id(self, index):
        return f"{range(len(self))[index]:08d}"

    def image_bytes(self, index):
        return self._read(index)[self._image]

    def stamp(self):
        return digest([self.name, len(self)])

    def labels(self, index):
        """Class indices; the first call for an index reads its record undecoded."""
        if index not in self._labels:
            self._read(index)
        return self._labels[index]

    def _read(self, index):
        record = self._records[index]
        found = record[self._label] if self._label else ()
        values = [int(v) for v in (found if hasattr(found, "__len__") else [found])]
        # TensorFlow Datasets writes -1 where a split has no labels.
        self._labels[index] = tuple(sorted({v for v in values if v >= 0}))
        return record


def open_tfds(name: str, split: str = "train", data_dir="data") -> TFDS | None:
    """Opens a data set of the catalogue, downloading and preparing it if needed.

    Args:
        name: `NAME` or `NAME/CONFIG`, for example `"cifar10"` or `"voc/2007"`.
        split: "train", "test" (where there is none, "validation"), or a split of the
            data set such as "unlabelled" or "train[:10%]".
        data_dir: the data lies in `tensorflow_datasets` below it.

    Returns:
        The source, or None when `split` is "test" and there is none.

    Raises:
        UserError: The name or split is unknown, or the data cannot be had.
    """
    folder = Path(data_dir).expanduser() / "tensorflow_datasets"
    builder = _builder(name, folder)
    _prepare(builder, name, folder)
    splits = builder.info.splits
    if split == "test":
        split = next((s for s in TEST_SPLITS if s in splits), None)
        if split is None:
            return None
    if re.match(r"\w*", split).group() not in splits:
        allowed = ", ".join(sorted(splits))
        raise UserError(f"tfds:{name} has no split {split!r}; allowed: {allowed}")
    return TFDS(builder, split)


def _builder(name: str, folder: Path):
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"tfds:{name} needs the package tensorflow-datasets ({error})"
        ) from error
    # Anything else, "namespace:name" or a dotted path, could import foreign code.
    if not re.fullmatch(r"\w+(/[\w.\-]+)?", name):
        raise UserError(f"tfds:{name!r} is not of the form tfds:NAME or NAME/CONFIG")
    try:
        return tfds.builder(name, data_dir=str(folder))
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name.split("/")[0], known, n=3, cutoff=0)
        raise UserError(
            f"TensorFlow Datasets has no {name!r}; near: {', '.join(near)}"
        ) from error
    except ValueError as error:
        raise UserError(f"tfds:{name}: {_one_line(error)}") from error


def _prepare(builder, name: str, folder: Path) -> None:
    if builder.is_prepared():
        return
    if not (folder / "downloads").is_dir():  # else archives may lie there already
        _require_host(builder, name)
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # downloads and builders raise many unrelated types
        raise UserError(f"tfds:{name} cannot be had: {_one_line(error)}") from error


def _require_host(builder, name: str) -> None:
    """Stops in seconds where the builder's own retries would go on for minutes."""
    if urllib.request.getproxies():
        return
    addresses = [urlsplit(url) for url in builder.url_infos or ()]
    hosts = {(a.hostname, 80 if a.scheme == "http" else 443) for a in addresses}
    problem = None
    for address in sorted(hosts)[:3]:
        try:
            socket.create_connection(address, TIMEOUT).close()
            return
        except OSError as error:
            problem = problem or f"{address[0]}: {error}"
    if problem:
        raise UserError(f"tfds:{name} cannot be downloaded ({problem})")


def _feature_names(builder) -> tuple[str, str | None]:
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    labels = [
        key
        for key, feature in features.items()
        if isinstance(getattr(feature, "feature", feature), tfds.features.ClassLabel)
    ]
    if not images:
        raise UserError(f"tfds:{builder.name} has no images; it has {list(features)}")
    return images[0], labels[0] if labels else None


def _random_access(builder, split: str, image: str):
    """Records by index; `record[image]` is the encoded file."""
    import tensorflow_datasets as tfds

    decoders = {image: tfds.decode.SkipDecoding()}
    try:
        return builder.as_data_source(split, decoders=decoders)
    except (NotImplementedError, ImportError):
        size = builder.info.splits[split].num_bytes
        if size > MEMORY_LIMIT:
            raise UserError(
                f"{builder.info.full_name} lies on disk as {size / 1e9:.1f} GB of "
                f"{builder.info.file_format.value} files; without array_record files "
                f"the limit is {MEMORY_LIMIT / 1e9:.1f} GB"
            ) from None
        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        data = builder.as_dataset(
            split=split, decoders=decoders, read_config=config, shuffle_files=False
        )
        return list(data.as_numpy_iterator())


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
