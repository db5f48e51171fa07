"""Networks as `.keras` files: never half, and of equal bytes when they are equal."""

import json
import pathlib
import re
import shutil
import zipfile

from dino_tf.errors import naming
from dino_tf.run_folder import sync_folder

DATE = "1980-01-01@00:00:00"  # in the form that Keras has


def save_keras(network, path):
    """Saves a network beside its place and moves it there.

    Keras notes the moment of saving and places in memory; neither is kept, so that the
    same network gives the same bytes.

    Args:
        network: A `keras.Model`, or what has its `save`.
        path: The file, which ends in `.keras`; one that is there is replaced.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    path = pathlib.Path(path)
    # Keras insists on the ending, so the unfinished files differ in front.
    dated, part = (path.with_name(f"{n}-{path.name}") for n in ("dated", "part"))
    try:
        with naming(path):
            network.save(dated)
        with (
            naming(path),
            zipfile.ZipFile(dated) as old,
            zipfile.ZipFile(part, "w") as new,
        ):
            for name in old.namelist():
                _copy(old, new, name)
        part.replace(path)
    finally:
        for file in (dated, part):
            file.unlink(missing_ok=True)
    sync_folder(path.parent)


def _copy(old, new, name):
    # A fresh `ZipInfo` is of 1980, the earliest that the format knows.
    info = zipfile.ZipInfo(name)
    if name in PLAIN:
        new.writestr(info, PLAIN[name](old.read(name).decode()))
        return
    with old.open(name) as source, new.open(info, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _without_date(text):
    return json.dumps(json.loads(text) | {"date_saved": DATE})


def _renumbered(text):
    """Objects that parts share have numbers in order, not their places in memory."""
    numbers = {}

    def number(found):
        return f"{found[1]}{numbers.setdefault(found[2], len(numbers))}"

    return re.sub(r'("shared_object_id": )(\d+)', number, text)


PLAIN = {"metadata.json": _without_date, "config.json": _renumbered}
