"""Any source into shards: `main.py data shards`.

A shard is written beside its place and renamed when it is whole, with its part of the
index beside it, until the last one is there and all parts become one. So nothing that
was finished is written twice, and an interrupted writing ends in the same bytes as any
other.
"""

import collections
import contextlib
import dataclasses
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from dino_tf.datasets import open_source
from dino_tf.datasets import shards as files
from dino_tf.distribute import available_cores
from dino_tf.errors import UserError
from dino_tf.progress import PhotoLine
from dino_tf.shard_parts import Part, join, read_facts, write_json
from dino_tf.shard_photos import prepare, read, reason_of

SHARD_MB = 256.0
QUALITY = 90
MOST_LEFT_OUT = 0.1  # share of the photos
NAMED = 1000  # photos left out that the index names
NOTES = {
    "left_out": "left out, as they cannot be read",
    "not_smaller": "kept as they are, as they cannot be decoded to be made smaller",
}


@dataclasses.dataclass(frozen=True)
class Written:
    """What lies in the folder of a split after writing.

    Attributes:
        folder: The folder.
        photos: Number of records.
        shards: Number of shards.
        bytes: Size of all shards together.
        left_out: [[id, reason], ...] of photos whose files could not be read.
        not_smaller: The same of photos that could not be decoded to be made smaller,
            and are kept as they are.
        counts: How many of both there are, by the two names; lists end at `NAMED`.
        was_there: All had been written before.
    """

    folder: Path
    photos: int
    shards: int
    bytes: int
    left_out: list
    not_smaller: list
    counts: dict
    was_there: bool


def write_shards(
    source,
    folder,
    split="train",
    shard_mb=SHARD_MB,
    max_side=None,
    quality=QUALITY,
    workers=None,
    progress=None,
):
    """Writes every record of a source into TFRecord shards with an index.

    Encoded bytes, ids, labels, class names, boxes and masks are kept as they are. So
    is a photo that is no image: whether it can be decoded is judged when it is read.
    Only where `image_bytes` fails the photo is left out, named and counted.

    Args:
        source: `Source` to write.
        folder: Folder of the data set; the split gets a folder in it.
        split: Name of the split in the SPEC `shards:FOLDER`.
        shard_mb: Size of a shard in megabytes (1e6 bytes), exceeded only by a single
            record that is larger.
        max_side: Photos whose longer side has more pixels are made smaller and
            written as JPEG, with boxes and masks to match; None keeps all.
        quality: Of those JPEG files, 1 to 95.
        workers: Threads that read; None is one for each core.
        progress: Function of (photos done, photos in all).

    Returns:
        `Written`.

    Raises:
        UserError: The folder holds another source, other options or other files, it
            cannot be written, or more than a tenth of the photos cannot be read.
    """
    _check(len(source), shard_mb, max_side, quality, workers)
    target = files.split_folder(folder, split)
    made = {
        "source": source.name,
        "photos": len(source),
        "shard_mb": shard_mb,
        "max_side": max_side,
        "quality": quality if max_side else None,
        "stamp": source.stamp(),
    }
    try:
        job = _Job(source, target, made)
        was_there = job.begin()
        if not was_there:
            job.write(workers or available_cores(), progress or (lambda *_: None))
            job.finish()
        job.clean()
    except UserError:
        raise
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{target} cannot be written: {reason_of(error)}") from error
    return _written(target, was_there)


def write_splits(spec, folder, splits=None, say=print, **options):
    """`write_shards` of the splits of a SPEC.

    Args:
        spec: As `open_source` takes it.
        folder: Folder of the data set.
        splits: Names; None takes "train" and, where there is one, "test".
        say: Function that shows text to the person.
        **options: Of `write_shards`.

    Returns:
        List of `Written`.

    Raises:
        UserError: As in `open_source` and `write_shards`.
    """
    done = []
    for split in splits or ("train", "test"):
        source = open_source(spec, split)
        if source is None and splits:
            raise UserError(f"{spec}: got split {split!r}, allowed: train")
        if source is not None:
            line = PhotoLine(f"{split} of {spec}")
            done.append(write_shards(source, folder, split, progress=line, **options))
            say(describe(done[-1]))
    return done


def describe(written):
    """Lines that tell a person what was written."""
    words = "were there already" if written.was_there else "written"
    lines = [
        f"{written.folder}: {written.photos:,} photos in {written.shards:,} shards, "
        f"{written.bytes / 1e6:,.1f} MB, {words}"
    ]
    for what, about in NOTES.items():
        if written.counts[what]:
            lines.append(f"{written.counts[what]:,} {about}:")
            some = getattr(written, what)[:20]
            lines += [f"  {name} ({reason})" for name, reason in some]
    return "\n".join(lines)


class _Job:
    """The writing of one split."""

    def __init__(self, source, folder, made):
        self.source, self.folder, self.made = source, folder, made
        self.finished = []  # `Part.facts`

    def begin(self):
        """Looks at what is there; True where nothing remains to be done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (files.INDEX, files.UNFINISHED):
            if (self.folder / name).is_file():
                self._require_same(self.folder / name)
                if name == files.UNFINISHED:
                    self._find_finished()
                return name == files.INDEX
        if any(file.suffix != ".tmp" for file in self.folder.iterdir()):
            raise UserError(
                f"{self.folder} holds other files; allowed: a new folder, or one that "
                "the same command began to write"
            )
        write_json(self.folder / files.UNFINISHED, self.made)
        return False

    def _require_same(self, file):
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            before = before["made_from"] if file.name == files.INDEX else before
            other = [key for key in self.made if before[key] != self.made[key]]
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"{file} was not written by data shards") from error
        if other:
            key = other[0]
            raise UserError(
                f"{self.folder} holds shards of {before['source']} with {key} "
                f"{before[key]}; asked for: {self.made['source']} with {key} "
                f"{self.made[key]}; allowed: the same again, or another folder"
            )

    def _find_finished(self):
        """Up to the first shard without a photo that can be read by now."""
        start = 0
        while (facts := read_facts(self.folder, len(self.finished))) is not None:
            if any(read(self.source, start + k)[0] for k, *_ in facts["left_out"]):
                return
            self.finished.append(facts)
            start += facts["visited"]

    def write(self, workers, progress):
        """Writes the shards that are missing."""
        total = len(self.source)
        done = sum(facts["visited"] for facts in self.finished)
        left_out = sum(len(facts["left_out"]) for facts in self.finished)
        part, limit = None, self.made["shard_mb"] * 1e6
        with contextlib.closing(self._ready(done, workers)) as ready:
            for record in ready:
                if part is not None and not part.fits(record, limit):
                    self.finished.append(part.close())
                    part = None
                part = part or Part(self.folder, len(self.finished))
                part.add(record)
                done, left_out = done + 1, left_out + (record.data is None)
                if left_out > MOST_LEFT_OUT * total:
                    raise UserError(
                        f"{left_out} of {total} photos cannot be read (such as "
                        f"{record.name}: {record.left_out}); allowed is a share of "
                        f"{MOST_LEFT_OUT:g}"
                    )
                progress(done, total)
        if part is not None:
            self.finished.append(part.close())

    def _ready(self, start, workers):
        """`Ready` of each record from `start` on, in order, some made ahead."""
        size = {key: self.made[key] for key in ("max_side", "quality")}
        make = functools.partial(prepare, self.source, **size)
        with ThreadPoolExecutor(workers) as pool:
            waiting = collections.deque()
            for index in range(start, len(self.source)):
                waiting.append(pool.submit(make, index))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def finish(self):
        """Joins the parts of the index, and writes it."""
        sums = join(self.folder, len(self.finished))
        notes = {
            what: [note[1:] for facts in self.finished for note in facts[what]]
            for what in NOTES
        }
        index = {
            "format": files.FORMAT,
            "name": self.source.name,
            "class_names": list(self.source.class_names),
            "records": sum(facts["rows"] for facts in self.finished),
            "shards": [
                {key: facts[key] for key in ("bytes", "sha256")}
                for facts in self.finished
            ],
            "arrays": sums,
            "counts": {what: len(found) for what, found in notes.items()},
            **{what: found[:NAMED] for what, found in notes.items()},
            "made_from": self.made,
        }
        write_json(self.folder / files.INDEX, index)

    def clean(self):
        """Removes what only an unfinished writing needs."""
        for file in self.folder.iterdir():
            if file.suffix in (".npz", ".tmp") or file.name == files.UNFINISHED:
                file.unlink()


def _check(photos, shard_mb, max_side, quality, workers):
    if photos < 1:
        raise UserError("the source has no photos; allowed: 1 or more")
    if not shard_mb > 0:
        raise UserError(f"--shard-mb: got {shard_mb}, allowed: above 0")
    if not 1 <= quality <= 95:
        raise UserError(f"--quality: got {quality}, allowed: 1 to 95")
    for name, value in (("max-side", max_side), ("workers", workers)):
        if value is not None and value < 1:
            raise UserError(f"--{name}: got {value}, allowed: 1 or more")


def _written(folder, was_there):
    index = files.read_index(folder)
    return Written(
        folder=folder,
        photos=index["records"],
        shards=len(index["shards"]),
        bytes=sum(shard["bytes"] for shard in index["shards"]),
        left_out=index["left_out"],
        not_smaller=index["not_smaller"],
        counts=index["counts"],
        was_there=was_there,
    )
