"""Pictures of what any network makes of any photos and films, with any weights."""

import os
import pathlib
from functools import partial

from dino_tf.datasets.folder import EXTENSIONS, find_images
from dino_tf.errors import UserError, plain
from dino_tf.films import FilmOptions, open_film, write_film
from dino_tf.initial import pixel_statistics
from dino_tf.models.loading import load_backbone
from dino_tf.photo_files import read_photo_file
from dino_tf.transforms.image import try_decode
from dino_tf.visualize.attention import write_attention
from dino_tf.visualize.features import write_features
from dino_tf.visualize.ffmpeg import ffmpeg_program
from dino_tf.visualize.film_files import FILM_SUFFIXES, Unreadable

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
    film=False,
    **film_options,
):
    """Writes the sheet and single pictures of each photo, and a film of each film.

    What lies in `out` already stays: where a name is taken, "-2" is added, or "-3".

    Args:
        paths: Photos, folders of photos, and films.
        weights: What `load_backbone` accepts.
        out: Folder for the pictures; None makes `attend/` in a run folder given
            as `weights`, else `result/attend`.
        size: Shorter side of the photo for the network, in pixels.
        keep_mass: Share of the attention that the mask keeps, in (0, 1]; None: 0.6,
            and all of it in films.
        num_heads: Attention heads; see `load_backbone`.
        part: "student" or "teacher"; see `load_backbone`.
        say: Function that shows a line to the person.
        kind: "attention", for networks that have it, or "features": the principal
            components of the patch features, for every network, of photos alone.
        film: Whether each folder among `paths` holds the frames of a film.
        **film_options: Of `FilmOptions`: fps, drawing, head and frames, for films.

    Returns:
        List of the written sheets and films.

    Raises:
        UserError: For missing paths, nothing readable, wrong numbers, a network
            without attention, or an `out` that holds the photos themselves.
    """
    if kind == "features" and keep_mass is not None:
        raise UserError(f"keep_mass: got {keep_mass}, allowed: with attention only")
    photos, films = find_inputs(paths, film)
    # Not by equality: 0 is False, but a head too, and no rate of frames.
    given = {k: v for k, v in film_options.items() if not (v is None or v is False)}
    _check_films(films, given, kind)
    for line in _passed_over(paths, film):
        say(line)
    options = FilmOptions(size, keep_mass=keep_mass, **given)
    out = pathlib.Path(out) if out else _default_out(weights)
    _spare_originals(photos, out)
    photos, films = _with_new_stems(photos, films, out)
    backbone = load_backbone(weights, num_heads, part)
    _check_kind(backbone, kind)
    options.mean, options.std = pixel_statistics(weights)
    draw_photo = _photo_drawer(backbone, kind, out, options)
    draw_film = _film_drawer(backbone, out, options)
    work = [(draw_photo, *p) for p in photos] + [(draw_film, *f) for f in films]
    return _draw_all(work, "photo or film" if films else "photo", say)


def _draw_all(work, kinds, say):
    """Paths written by a list of (function, path, stem); says what it is doing."""
    written, bad = [], []
    for number, (draw, path, stem) in enumerate(work, 1):
        try:
            file, about = draw(path, stem)
        except Unreadable as error:
            bad.append(f"{plain(path)} ({error})")
            continue
        written.append(file)
        say(f"{number}/{len(work)} {file}{about}")
    if bad:
        say(f"{len(bad)} unreadable, passed over: {', '.join(bad[:5])}")
    if not written:
        raise UserError(f"none of {len(work)} files is a readable {kinds}: {bad[0]}")
    return written


def _photo_drawer(backbone, kind, out, options):
    """Function of (path, stem) that draws a photo: (its sheet, nothing to add)."""
    pixels = {"size": options.size, "mean": options.mean, "std": options.std}
    mass = KEEP_MASS if options.keep_mass is None else options.keep_mass

    def draw(path, stem):
        image, reason = try_decode(partial(read_photo_file, path))
        if image is None:
            raise Unreadable(reason)
        if kind == "features":
            return write_features(backbone, image, stem, out, **pixels)[0], ""
        return write_attention(backbone, image, stem, out, mass, **pixels)[0], ""

    return draw


def _film_drawer(backbone, out, options):
    """Function of (path, stem) that draws a film: (the new film, what to add)."""

    def draw(path, stem):
        film = open_film(path)
        file, line, lost = write_film(backbone, film, stem, out, options)
        about = f"{line.done:,} frames, {line.rate:.1f} a second"
        return file, f" ({'; '.join([about, *lost])})"

    return draw


def _check_films(films, given, kind):
    """Refuses what would otherwise be passed over in silence."""
    if given and not films:
        raise UserError(f"{next(iter(given))}: allowed with films only")
    if films and kind == "features":
        path = films[0][0]
        raise UserError(f"kind: got features, allowed for films ({path}): attention")
    if films:
        ffmpeg_program()


def _check_kind(backbone, kind):
    if kind not in ("attention", "features"):
        raise UserError(f"kind: got {kind!r}, allowed: attention, features")
    if kind == "attention" and "attention" not in backbone.result_names:
        name = getattr(backbone, "arch", type(backbone).__name__)
        raise UserError(
            f"{name} has no attention to draw; allowed for it: --kind features"
        )


def find_inputs(paths, film=False):
    """Photos and films among `paths`.

    A film is told by its suffix, a file whose suffix is of neither by trying. Films in
    folders are not taken: a photo takes a second, a film may take hours.

    Args:
        paths: Files and folders.
        film: Whether each folder holds the frames of a film.

    Returns:
        (photos, films), two lists of (path, stem), every stem its own.

    Raises:
        UserError: When a path does not exist or a folder holds no photo.
    """
    photos, films = [], []
    for path in map(pathlib.Path, paths):
        if path.is_dir() and not film:
            photos += _photos_in(path)
        elif path.is_dir() or path.is_file() and _is_film(path):
            films.append(path)
        elif path.is_file():
            photos.append(path)
        else:
            raise UserError(f"no such photo, film or folder: {path}")
    if not photos and not films:
        raise UserError("no photos given: expected photos, folders of photos, or films")
    taken = set()
    return _with_stems(photos, taken), _with_stems(films, taken)


def _photos_in(folder):
    inside = find_images(folder)
    if not inside:
        words = f"no photos in the folder {folder}"
        film = next((f for f in sorted(folder.iterdir()) if _named_film(f)), None)
        if film is not None:
            words += f"; a film is given by its own name, such as {film}"
        raise UserError(words)
    return [pathlib.Path(path) for path in inside]


def _passed_over(paths, film):
    """A line for each folder whose films are not taken.

    Raises:
        UserError: Folders are said to be films, and there are none.
    """
    folders = [path for path in map(pathlib.Path, paths) if path.is_dir()]
    if film and not folders:
        raise UserError(f"film: got {paths[0]}, allowed: with folders of frames")
    for folder in [] if film else folders:
        films = sorted(path for path in folder.iterdir() if _named_film(path))
        if films:
            yield f"films in {folder} ({len(films)}), passed over: give them by name"


def _named_film(path):
    return path.suffix.lower() in FILM_SUFFIXES


def _is_film(path):
    if _named_film(path) or path.suffix.lower() in EXTENSIONS:
        return _named_film(path)
    if try_decode(partial(read_photo_file, path))[0] is not None:
        return False
    try:
        open_film(path)
    except (Unreadable, UserError):
        return False
    return True


def _with_stems(paths, taken):
    """(path, stem) of each path; the stems are added to those that are `taken`.

    Some file systems ignore case, and so does `taken`: it holds casefolded stems.
    """
    named = []
    for path in paths:
        # A folder may be called by what is no name, such as "..".
        first = path.resolve().name if path.is_dir() else path.stem
        first = "".join(c if c.isprintable() else "_" for c in first)
        stem, number = first, 2
        while stem.casefold() in taken:
            stem, number = f"{first}-{number}", number + 1
        taken.add(stem.casefold())
        named.append((path, stem))
    return named


def _with_new_stems(photos, films, out):
    """The same (path, stem), with stems of which nothing lies in `out` yet."""
    there = list(out.iterdir()) if out.is_dir() else []
    taken = {(p.name if p.is_dir() else p.stem).casefold() for p in there}
    groups = [[path for path, _ in group] for group in (photos, films)]
    return [_with_stems(group, taken) for group in groups]


def _spare_originals(photos, out):
    """Refuses a file, and a folder where a picture would take a photo's place."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file, allowed: a folder")
    # `Path.resolve` raises for a link to itself.
    originals = {os.path.realpath(path) for path, _ in photos}
    folders = {os.path.dirname(path) for path in originals}
    for _, stem in photos:
        picture = os.path.realpath(out / f"{stem}.png")
        folder = os.path.realpath(out / stem)
        if picture in originals or folder in folders:
            raise UserError(
                f"--out {out} holds photos that the pictures of {stem!r} would "
                "overwrite; allowed: another folder"
            )


def _default_out(weights):
    path = pathlib.Path(str(weights))
    return path / "attend" if path.is_dir() else pathlib.Path("result") / "attend"
