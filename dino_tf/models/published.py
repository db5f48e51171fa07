"""Published weights by name: where they lie, and a cache that checks them."""

import difflib
import json
import os
import pathlib

from dino_tf.checksums import sha256_of
from dino_tf.download import DownloadError, download
from dino_tf.errors import UserError
from dino_tf.models.torch_file import is_torch_file
from dino_tf.progress import ByteLine

DINO_SERVER = "https://dl.fbaipublicfiles.com/dino"
DINOV2_SERVER = "https://dl.fbaipublicfiles.com/dinov2"
# Folders of the files (facebookresearch/dino, `hubconf.py`).
_DINO = {
    "dino_vits16": "dino_deitsmall16_pretrain",
    "dino_vits8": "dino_deitsmall8_pretrain",
    "dino_vitb16": "dino_vitbase16_pretrain",
    "dino_vitb8": "dino_vitbase8_pretrain",
    "dino_resnet50": "dino_resnet50_pretrain",
    "dino_xcit_small_12_p16": "dino_xcit_small_12_p16_pretrain",
    "dino_xcit_small_12_p8": "dino_xcit_small_12_p8_pretrain",
    "dino_xcit_medium_24_p16": "dino_xcit_medium_24_p16_pretrain",
    "dino_xcit_medium_24_p8": "dino_xcit_medium_24_p8_pretrain",
}
_DINOV2 = [f"dinov2_vit{size}14{reg}" for size in "sblg" for reg in ("", "_reg4")]
# "_full" is the whole training checkpoint, with both networks and their heads.
PATHS = (
    {name: f"{DINO_SERVER}/{folder}/{folder}.pth" for name, folder in _DINO.items()}
    | {
        f"{name}_full": f"{DINO_SERVER}/{folder}/{folder}_full_checkpoint.pth"
        for name, folder in _DINO.items()
    }
    | {
        name: f"{DINOV2_SERVER}/{name.removesuffix('_reg4')}/{name}_pretrain.pth"
        for name in _DINOV2
    }
)
HUB = "hf://"


def cache_folder():
    """Folder of downloaded weights: `DINO_TF_CACHE`, else in the user's cache."""
    default = pathlib.Path("~/.cache/dino_tf").expanduser()
    return pathlib.Path(os.environ.get("DINO_TF_CACHE") or default)


def nearest(name):
    """Published name that resembles `name`, or None."""
    return next(iter(difflib.get_close_matches(name.lower(), PATHS, 1, 0.7)), None)


def fetch_published(name, progress=None):
    """File of published weights, downloaded at the first use.

    Size and SHA-256 are noted beside the file at its first use; later uses check
    them, and download a file anew that was damaged on the disk.

    Args:
        name: Key of `PATHS`.
        progress: Called with (bytes so far, bytes in all or None); None shows a line
            on a terminal.

    Returns:
        Path of the file.

    Raises:
        DownloadError: No network, or the server sent something else; nothing
            unfinished stays under the file's name.
    """
    url = PATHS[name]
    file = cache_folder() / url.rpartition("/")[2]
    note = file.with_name(file.name + ".json")
    known, damaged = _read_note(note), ""
    if file.is_file():
        facts = _facts(file)
        if known in (None, facts) and is_torch_file(file):
            _write_note(note, facts)
            return file
        damaged = f"{file} is not as it was first downloaded; "
    fresh = file.with_name(file.name + ".new")
    try:
        download([url], fresh, progress=progress or ByteLine(name))
        if not is_torch_file(fresh):
            raise DownloadError(f"{url} gave no PyTorch file (a page of a proxy?)")
        facts = _facts(fresh)
        if known not in (None, facts):
            raise DownloadError(
                f"{url} gives another file than at first; remove {note} to take it"
            )
        _write_note(note, facts)
        fresh.replace(file)
    except DownloadError as error:
        raise DownloadError(
            f"{name}: {damaged}{error}; without a network, bring the file to {file} "
            "or give its path instead of the name"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return file


def fetch_from_hub(source):
    """Weights file of a Hugging Face repository.

    Args:
        source: "hf://owner/name"; the token is that of `HF_TOKEN` or of the login.

    Returns:
        Path of its `model.safetensors`, or else of `pytorch_model.bin`.

    Raises:
        UserError: Without huggingface_hub, a network, or such a repository.
    """
    name = source.removeprefix(HUB)
    if name.count("/") != 1 or not all(name.split("/")):
        raise UserError(f"{source}: expected hf://owner/name")
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(f"{source} needs: pip install huggingface_hub") from error
    reasons = []
    for file in ("model.safetensors", "pytorch_model.bin"):
        try:
            return pathlib.Path(huggingface_hub.hf_hub_download(name, file))
        except huggingface_hub.errors.EntryNotFoundError:
            reasons.append(f"no {file}")
        except Exception as error:  # network and hub raise many unrelated types
            reasons.append(" ".join(str(error).split())[:160])
            break
    raise UserError(f"{source} cannot be had: {', '.join(reasons)}")


def _facts(file):
    return {"size": file.stat().st_size, "sha256": sha256_of(file)}


def _write_note(note, facts):
    note.write_text(json.dumps(facts), encoding="utf-8")


def _read_note(note):
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
