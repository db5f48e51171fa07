"""Features of many photos in one file: `main.py embed`."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keras import ops

from dino_tf.datasets import open_source
from dino_tf.datasets.joined import Joined
from dino_tf.embed_formats import Table, format_of
from dino_tf.embed_rows import INDEX, Column, Rows
from dino_tf.errors import UserError
from dino_tf.evaluate.features import compiled
from dino_tf.evaluation import CACHE, check_writable, subject_of, untrained_like
from dino_tf.photos import BadImages
from dino_tf.pipeline import evaluation_dataset

TOKENS = ("cls", "mean", "patches")
DTYPES = ("float32", "float16")
NAMED = 5  # unreadable photos that are named


@dataclass(frozen=True)
class Embedded:
    """What `embed` wrote.

    Attributes:
        path: The file.
        photos: Rows in it.
        unreadable: Names of the photos that could not be read.
        resumed: Rows that an earlier, interrupted run had left.
    """

    path: Path
    photos: int
    unreadable: list
    resumed: int


def embed(
    weights,
    data,
    out,
    split="train",
    tokens=("cls",),
    size=None,
    batch_size=64,
    dtype="float32",
    num_heads=None,
    part=None,
    cache=CACHE,
    say=print,
):
    """Writes features of photos into a file, with names and labels.

    Memory does not grow with the number of photos. An interrupted run leaves
    `<out>.part` beside, and the same call goes on from there and ends in the same file.

    Args:
        weights: What `load_backbone` accepts.
        data: SPEC, see `open_source`, or {split: `Source`}.
        out: New file: `.npz`, `.csv` or `.parquet`.
        split: Name of a split, or "all" for train and, where there is one, test.
        tokens: Of "cls" (what `backbone(images)` gives), "mean" (of the patch tokens)
            and "patches" (every patch token), both after the final norm.
        size: Side of the central square in pixels; None is the evaluation size.
        batch_size: Photos in one forward pass.
        dtype: "float32" or "float16", of the numbers in the file.
        num_heads, part: See `load_backbone`.
        cache: Folder of features that evaluations have kept, which are taken where
            they are those wanted; None looks nowhere.
        say: Function that shows a line to the person.

    Returns:
        `Embedded`.

    Raises:
        UserError: The file is there already, an unfinished one was begun with other
            weights, data or options, an option is wrong, or no photo can be read.
    """
    tokens = _checked(tokens, batch_size, dtype)
    write, path = format_of(out, tokens), Path(out)
    if path.exists():
        raise UserError(f"--out: {path} is there already; allowed: a new name")
    check_writable("--out", path.parent)
    source = _opened(data, split)
    subject = _subject(weights, num_heads, part, cache, source)
    subject.batch_size = min(batch_size, len(source))
    wanted = _Wanted(subject, source, tokens, subject.side(size), dtype)
    facts = {"weights": str(weights)} | (
        {"data": data} if isinstance(data, str) else {}
    )
    done = _finish(wanted, write, path, facts, say)
    if done.unreadable:
        some = ", ".join(done.unreadable[:NAMED])
        say(f"{len(done.unreadable)} unreadable, passed over: {some}")
    say(f"written: {path} ({done.photos:,} photos, {wanted.describe()})")
    return done


def _subject(weights, num_heads, part, cache, source):
    """`Subject` of the weights; of "random:" the same each time, to go on with."""
    subject = subject_of(weights, num_heads, part, cache)
    if str(weights).startswith("random:"):
        return untrained_like(subject, source)
    return subject


def _finish(wanted, write, path, facts, say):
    """All rows, those of an unfinished run too, and the file of them: `Embedded`."""
    rows = Rows(path.with_name(path.name + ".part"), wanted.columns, wanted.settings)
    source, resumed, bad = wanted.source, rows.count, BadImages()
    with contextlib.closing(rows):
        if rows.next:
            say(f"going on after {rows.next:,} of {len(source):,} photos")
        wanted.fill(rows, bad)
        missing = _missing(source, rows)
        if not rows.count:
            rows.remove()
            reason = next(iter(bad.names.values()), "unknown")
            raise UserError(f"none of {len(source):,} photos can be read: {reason}")
        facts = wanted.facts | facts | {"unreadable": len(missing)}
        table = Table(rows, source.about, source.class_names, source.single, facts)
        _write(write, table, path)
    rows.remove()
    return Embedded(path, rows.count, missing, resumed)


def _checked(tokens, batch_size, dtype):
    """The kinds of tokens, each once and in our order."""
    tokens = (tokens,) if isinstance(tokens, str) else tuple(tokens)
    unknown = [name for name in tokens if name not in TOKENS]
    if unknown or not tokens:
        got = unknown[0] if unknown else "none"
        raise UserError(f"--tokens: got {got}, allowed: {', '.join(TOKENS)}")
    if dtype not in DTYPES:
        raise UserError(f"--dtype: got {dtype}, allowed: {', '.join(DTYPES)}")
    if batch_size < 1:
        raise UserError(f"--batch-size: got {batch_size}, allowed: 1 or more")
    return tuple(name for name in TOKENS if name in tokens)


def _opened(data, split):
    """`Joined` of the splits asked for."""
    opened = data.get if isinstance(data, dict) else lambda s: open_source(data, s)
    names = ("train", "test") if split == "all" else (split,)
    found = {name: opened(name) for name in names}
    found = {name: source for name, source in found.items() if source is not None}
    if not found:
        raise UserError(f"--split: got {split!r}, allowed: train, all")
    return Joined(found)


class _Wanted:
    """The features asked for, and how they come about.

    Args:
        subject: `Subject`.
        source: `Joined`.
        tokens: Of `TOKENS`.
        size: Side of the square in pixels.
        dtype: Of the numbers kept.
    """

    def __init__(self, subject, source, tokens, size, dtype):
        self.subject, self.source, self.tokens = subject, source, tokens
        self.size, self.dtype = size, dtype
        backbone = subject.backbone
        there = getattr(backbone, "result_names", ("cls",))
        if tokens != ("cls",) and "tokens" not in there:
            raise UserError(
                f"--tokens: got {' '.join(tokens)}, allowed for {backbone.name}: cls"
            )
        self._forward = compiled(_features(backbone, tokens))
        sample = np.zeros((subject.batch_size, size, size, 3), np.float32)
        shapes = self._forward(sample)
        self.columns = [
            Column(name, dtype, tuple(shapes[name].shape[1:])) for name in tokens
        ]
        self.settings = {
            "weights": subject.fingerprint,
            "data": source.stamp(),
            "tokens": list(tokens),
            "size": size,
            "batch_size": subject.batch_size,
            "dtype": dtype,
        }

    @property
    def facts(self):
        """What the features are of."""
        facts = {
            "network": self.subject.fingerprint,
            "splits": list(self.source.splits),
            "size": self.size,
            "tokens": list(self.tokens),
            "dtype": self.dtype,
            "class_names": list(self.source.class_names),
        }
        if "patches" in self.tokens:
            grid = self.subject.backbone.grid_of((self.size, self.size))
            facts["grid"] = [int(side) for side in grid]
        return facts

    def describe(self):
        """Names, shapes and type of the columns."""
        widths = ", ".join(f"{column.name} {column.shape}" for column in self.columns)
        return f"{widths} in {self.dtype}"

    def fill(self, rows, bad):
        """Appends the rows that are missing; unreadable photos go into `bad`."""
        bar = self.subject.progress(len(self.source), f"features of {self.source.name}")
        if not rows.next and self._take_kept(rows):
            return
        bar.add(rows.next)
        for index, arrays in self._computed(rows.next, bad):
            following = int(index[-1]) + 1
            bar.add(following - rows.next)
            rows.append(
                index, {n: self._narrow(a) for n, a in arrays.items()}, following
            )

    def _computed(self, start, bad):
        """Yields (places, {name: float32 (b, ...)}) of the photos from `start` on.

        Every pass has the same number of images, whose last may be empty: so a photo
        has the same features wherever a run was interrupted.
        """
        full, places = self.subject.batch_size, np.arange(start, len(self.source))
        if not len(places):
            return
        pixels = {"mean": self.subject.mean, "std": self.subject.std}
        photos = evaluation_dataset(self.source, self.size, full, places, bad, **pixels)
        for batch in photos:
            index, images = batch["index"].numpy(), batch["image"].numpy()
            padding = [(0, full - len(index)), (0, 0), (0, 0), (0, 0)]
            found = self._forward(np.pad(images, padding))
            yield index, {n: v.numpy()[: len(index)] for n, v in found.items()}

    def _narrow(self, values):
        with np.errstate(over="ignore"):
            values = values.astype(self.dtype)
        if not np.isfinite(values).all():
            allowed = "float32" if self.dtype == "float16" else "other weights"
            raise UserError(
                f"features of {self.source.name!r} are not finite in {self.dtype}; "
                f"allowed: {allowed}"
            )
        return values

    def _take_kept(self, rows):
        """Appends what evaluations have kept, where that is all; whether it was."""
        names = {"cls": "cls", "mean": "mean_patch"}
        if not set(self.tokens) <= set(names):
            return False
        found = []
        for source in self.source.splits.values():
            asked = [names[name] for name in self.tokens]
            found.append(self.subject.kept_summaries(source, self.size, asked))
            if found[-1] is None:
                return False
        begin = 0
        for source, kept in zip(self.source.splits.values(), found, strict=True):
            arrays = {name: self._narrow(kept[names[name]]) for name in self.tokens}
            following = begin + len(source)
            rows.append(kept["index"] + begin, arrays, following)
            begin = following
        return True


def _missing(source, rows):
    """Names of the photos that have no row."""
    absent = np.ones(len(source), bool)
    for chunk in rows.chunks((INDEX,)):
        absent[chunk[INDEX]] = False
    return [source.id(int(place)) for place in np.flatnonzero(absent)]


def _features(backbone, tokens):
    """Function from images (B, S, S, 3) to {name: float32 (B, ...)}."""

    def forward(images):
        if tokens == ("cls",):
            found = {"cls": backbone(images, training=False)}
        else:
            results = backbone.extract(images, ["cls", "tokens"])
            patches = results["tokens"][:, backbone.num_prefix_tokens :]
            found = {"cls": results["cls"], "patches": patches}
            found["mean"] = ops.mean(ops.cast(patches, "float32"), axis=1)
        return {name: ops.cast(found[name], "float32") for name in tokens}

    return forward


def _write(write, table, path):
    """The file in its place, once it is whole."""
    whole = table.rows.folder / f"whole{path.suffix}"
    try:
        write(table, whole)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{path} cannot be written: {reason}; the same command goes on"
        ) from error
    if path.exists():
        raise UserError(f"--out: {path} came to be meanwhile; allowed: a new name")
    os.replace(whole, path)
