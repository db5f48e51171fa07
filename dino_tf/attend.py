"""Pictures of what any network makes of any photos, with the weights of any run."""

import pathlib

from dino_tf.datasets.folder import find_images
from dino_tf.errors import UserError
from dino_tf.initial import pixel_statistics
from dino_tf.models.loading import load_backbone
from dino_tf.transforms.image import try_decode
from dino_tf.visualize.attention import write_attention
from dino_tf.visualize.features import write_features

KEEP_MASS = 0.6


def attend(
    paths,
    weights,
    out=None,
    size=480,
    keep_mass=None,
    num_heads=None,
    part=None,
    say=print,
    kind="attention",
):
    """Writes the sheet and single pictures of each photo.

    Args:
        paths: Photos or folders of photos.
        weights: What `load_backbone` accepts.
        out: Folder for the pictures; None makes `attend/` in a run folder given
            as `weights`, else `result/attend`.
        size: Shorter side of the photo for the network, in pixels.
        keep_mass: Share of the attention that the mask keeps, in (0, 1]; None: 0.6.
        num_heads: Attention heads; see `load_backbone`.
        part: "student" or "teacher"; see `load_backbone`.
        say: Function that shows a line to the person.
        kind: "attention", for networks that have it, or "features": the principal
            components of the patch features, for every network.

    Returns:
        List of the written sheets.

    Raises:
        UserError: For missing paths, no readable photo, wrong numbers, or a network
            without attention.
    """
    if kind == "features" and keep_mass is not None:
        raise UserError(f"keep_mass: got {keep_mass}, allowed: with attention only")
    photos = list_photos(paths)
    backbone = load_backbone(weights, num_heads, part)
    _check_kind(backbone, kind)
    out = pathlib.Path(out) if out else _default_out(weights)
    _spare_originals(photos, out)
    mean, std = pixel_statistics(weights)
    sheets, bad = [], []
    for number, (path, stem) in enumerate(photos, 1):
        image, reason = try_decode(path.read_bytes)
        if image is None:
            bad.append(f"{path} ({reason})")
            continue
        options = {"size": size, "mean": mean, "std": std}
        if kind == "features":
            pictures = write_features(backbone, image, stem, out, **options)
        else:
            mass = KEEP_MASS if keep_mass is None else keep_mass
            pictures = write_attention(backbone, image, stem, out, mass, **options)
        sheets.append(pictures[0])
        say(f"{number}/{len(photos)} {sheets[-1]}")
    if bad:
        say(f"{len(bad)} unreadable, passed over: {', '.join(bad[:5])}")
    if not sheets:
        raise UserError(f"none of {len(photos)} files is a readable photo: {bad[0]}")
    return sheets


def _check_kind(backbone, kind):
    if kind not in ("attention", "features"):
        raise UserError(f"kind: got {kind!r}, allowed: attention, features")
    if kind == "attention" and "attention" not in backbone.result_names:
        name = getattr(backbone, "arch", type(backbone).__name__)
        raise UserError(
            f"{name} has no attention to draw; allowed for it: --kind features"
        )


def list_photos(paths):
    """Photos under `paths` as a list of (path, stem), every stem its own.

    Raises:
        UserError: When a path does not exist or a folder holds no photo.
    """
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            inside = find_images(path)
            if not inside:
                raise UserError(f"no photos in the folder {path}")
            found += [pathlib.Path(p) for p in inside]
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"no such photo or folder: {path}")
    if not found:
        raise UserError("no photos given: expected photos or folders of photos")
    taken, photos = set(), []
    for path in found:
        stem, number = path.stem, 2
        while stem in taken:
            stem, number = f"{path.stem}-{number}", number + 1
        taken.add(stem)
        photos.append((path, stem))
    return photos


def _spare_originals(photos, out):
    """Refuses a file, and a folder where a picture would take a photo's place."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file, allowed: a folder")
    originals = {path.resolve() for path, _ in photos}
    folders = {path.parent for path in originals}
    for _, stem in photos:
        picture, folder = (out / f"{stem}.png").resolve(), (out / stem).resolve()
        if picture in originals or folder in folders:
            raise UserError(
                f"--out {out} holds photos that the pictures of {stem!r} would "
                "overwrite; allowed: another folder"
            )


def _default_out(weights):
    path = pathlib.Path(str(weights))
    return path / "attend" if path.is_dir() else pathlib.Path("result") / "attend"
