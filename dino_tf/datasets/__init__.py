"""Data sets: `open_source` turns one string, the SPEC, into a `Source`."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dino_tf.datasets.bdd100k import open_bdd100k
from dino_tf.datasets.coco import open_coco
from dino_tf.datasets.copies import open_copies
from dino_tf.datasets.copydays import open_copydays
from dino_tf.datasets.davis import open_davis2016, open_davis2017
from dino_tf.datasets.film_scenes import open_films
from dino_tf.datasets.folder import open_folder, open_list
from dino_tf.datasets.hf import open_hf
from dino_tf.datasets.instances import open_instances
from dino_tf.datasets.masks import open_masks
from dino_tf.datasets.revisited import open_revisited
from dino_tf.datasets.scenes import open_scenes
from dino_tf.datasets.shards import open_shards
from dino_tf.datasets.source import Boxes, Record, Source, Subset
from dino_tf.datasets.tfds import open_tfds
from dino_tf.datasets.voc import open_voc2007, open_voc2012
from dino_tf.errors import UserError

__all__ = ["KINDS", "Boxes", "Kind", "Record", "Source", "Subset", "open_source"]


@dataclass(frozen=True)
class Kind:
    """One kind of data set.

    Args:
        form: how the SPEC is written, shown in error messages.
        open: called with (text after the colon, split, data folder); returns a
            `Source`, or None when the split "test" does not exist.
        needs: what must follow the colon, empty when nothing need to.
    """

    form: str
    open: Callable[[str, str, str], Source | None]
    needs: str = ""


KINDS: dict[str, Kind] = {
    "voc2007": Kind("voc2007[:ROOT]", lambda a, s, d: open_voc2007(a or d, s)),
    "voc2012": Kind("voc2012[:ROOT]", lambda a, s, d: open_voc2012(a or d, s)),
    "folder": Kind("folder:PATH", lambda a, s, d: open_folder(a, s), "a folder"),
    "list": Kind("list:FILE", lambda a, s, d: open_list(a, s), "a text file"),
    "tfds": Kind("tfds:NAME", lambda a, s, d: open_tfds(a, s, d), "a name"),
    "hf": Kind(
        "hf:OWNER/NAME[:CONFIG]", lambda a, s, d: open_hf(a, s), "a name or folder"
    ),
    "shards": Kind("shards:PATH", lambda a, s, d: open_shards(a, s), "a folder"),
    "masks": Kind(
        "masks:PHOTOS:MASKS", lambda a, s, d: open_masks(a, s), "two folders"
    ),
    "coco": Kind(
        "coco:IMAGES:JSON", lambda a, s, d: open_coco(a, s), "a folder and a file"
    ),
    "bdd100k": Kind(
        "bdd100k[:ROOT]", lambda a, s, d: open_bdd100k(a or Path(d) / "bdd100k", s)
    ),
    "scenes": Kind("scenes[:COUNT]", lambda a, s, d: open_scenes(a, s)),
    "revisited": Kind(
        "revisited:ROOT", lambda a, s, d: open_revisited(a, s), "a folder"
    ),
    "instances": Kind("instances[:COUNT]", lambda a, s, d: open_instances(a, s)),
    "copydays": Kind("copydays:ROOT", lambda a, s, d: open_copydays(a, s), "a folder"),
    "copies": Kind("copies[:COUNT]", lambda a, s, d: open_copies(a, s)),
    "davis2016": Kind("davis2016[:ROOT]", lambda a, s, d: open_davis2016(a or d, s)),
    "davis2017": Kind("davis2017[:ROOT]", lambda a, s, d: open_davis2017(a or d, s)),
    "films": Kind("films[:COUNT]", lambda a, s, d: open_films(a, s)),
}


def open_source(
    spec: str, split: str = "train", data_dir: str = "data"
) -> Source | None:
    """Opens the data set that a SPEC names.

    Args:
        spec: `KIND` or `KIND:ARGUMENT`, see `KINDS`; a bare path means `folder:PATH`.
        split: "train", "test", or a name that the data set itself gives to a split.
        data_dir: where `voc2007`, `voc2012`, `tfds`, `davis2016`, `davis2017` and
            `bdd100k` look by default.

    Returns:
        The source, or None when `split` is "test" and the data set has no such split.

    Raises:
        UserError: The SPEC, the data or the split is wrong.
    """
    kind, colon, argument = spec.partition(":")
    if kind in KINDS:
        chosen = KINDS[kind]
        if chosen.needs and not argument:
            raise UserError(f"data {spec!r} lacks {chosen.needs}: {chosen.form}")
        return chosen.open(argument, split, data_dir)
    if Path(spec).expanduser().exists():
        return open_folder(spec, split)
    raise UserError(_unknown(spec, kind, bool(colon)))


def _unknown(spec: str, kind: str, has_kind: bool) -> str:
    received = f"kind {kind!r}" if has_kind else f"folder or kind {spec!r}"
    near = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.5)
    hint = f"; nearest: {KINDS[near[0]].form}" if near else ""
    allowed = ", ".join(entry.form for entry in KINDS.values())
    return f"no data {received}{hint}; allowed: {allowed}, or the path of a folder"
