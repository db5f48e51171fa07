"""Pictures of single photos: attention by head, as heat, by block, and components."""

import pathlib

import numpy as np

from dino_tf.analysis.components import fit_components
from dino_tf.errors import UserError
from dino_tf.pictures.request import Photos, find_photos, spare_originals
from dino_tf.progress import PhotoLine
from dino_tf.visualize import draw
from dino_tf.visualize.attention import attention_maps, drawn_shape
from dino_tf.visualize.components import (
    ABOUT,
    PAIRS,
    component_sheet,
    load_components,
    paint_components,
    save_components,
)
from dino_tf.visualize.features import feature_map
from dino_tf.visualize.heads import (
    block_maps,
    heads_sheet,
    layers_sheet,
    overlay_sheet,
)

KEPT = 1 << 30  # bytes of features that are kept between passes
OTHERS = "picture components, filters, neighbours, map"


def heads(request, paths, data, split, count, size, keep_mass):
    """Writes `heads/<photo>.png`: all heads in one picture by colour."""
    _needs_attention(request)

    def sheet(photo, stem):
        maps = attention_maps(request.backbone, photo, size, request.mean, request.std)
        return heads_sheet(photo, maps, keep_mass, stem)

    return _each(request, "heads", find_photos(paths, data, split, count), paths, sheet)


def overlay(request, paths, data, split, count, size):
    """Writes `overlay/<photo>.png`: attention as heat on the photo."""
    _needs_attention(request)

    def sheet(photo, stem):
        maps = attention_maps(request.backbone, photo, size, request.mean, request.std)
        return overlay_sheet(photo, maps, stem)

    source = find_photos(paths, data, split, count)
    return _each(request, "overlay", source, paths, sheet)


def layers(request, paths, data, split, count, size):
    """Writes `layers/<photo>.png`: attention of CLS in every block."""
    request.needs(
        hasattr(request.backbone, "attention_by_block"),
        "attention among patches in its blocks",
        "picture heads, " + OTHERS if _has_attention(request) else OTHERS,
    )

    def sheet(photo, stem):
        maps = block_maps(request.backbone, photo, size, request.mean, request.std)
        return layers_sheet(photo, maps, stem)

    source = find_photos(paths, data, split, count)
    return _each(request, "layers", source, paths, sheet)


def _has_attention(request):
    return "attention" in request.backbone.result_names


def _needs_attention(request):
    request.needs(_has_attention(request), "attention to draw", OTHERS)


def _each(request, kind, source, paths, sheet):
    """Writes the sheet of every photo; list of their paths."""
    photos, folder, written = Photos(source, request.say), request.out / kind, []
    spare_originals(paths, [folder / f"{stem}.png" for stem in photos.stems])
    for number, (stem, photo) in enumerate(zip(photos.stems, photos, strict=True), 1):
        path = draw.save_png(sheet(photo, stem), folder / f"{stem}.png")
        request.say(f"{number}/{len(photos)} {path}")
        written.append(path)
    return written


def components(
    request, paths, data, split, count, size, foreground=False, save=None, use=None
):
    """Writes `components.png`, a sheet of all photos, and `components/<photo>.png`."""
    if use and (save or foreground):
        raise UserError("--use: got with --save or --foreground, allowed: without")
    if save and (pathlib.Path(save).suffix != ".npz" or pathlib.Path(save).exists()):
        raise UserError(f"--save: got {save}, allowed: a new .npz file")
    found = load_components(use) if use else None
    photos = Photos(find_photos(paths, data, split, count), request.say)
    folder = request.out / "components"
    files = [folder / f"{stem}.png" for stem in photos.stems]
    spare_originals(paths, [*files, request.out / "components.png"])
    features = _Features(request, photos, size)
    found = found or fit_components(features, 3, foreground)
    if save:
        request.say(f"components for other photos: {save_components(found, save)}")
    for i, (photo, file) in enumerate(zip(photos, files, strict=True)):
        shape = drawn_shape(photo.shape[:2], size)
        draw.save_png(paint_components(found, features[i], shape), file)
    shown = min(len(photos), PAIRS[1])
    of_whom = f"of {use}" if use else f"fitted on {len(photos)} photos"
    if len(photos) > shown:
        of_whom += f", the first {shown}"
    about = ABOUT if found.object_direction is None else f"{ABOUT} of the foreground"
    sheet = component_sheet(
        [photos[i] for i in range(shown)],
        lambda i, shape: paint_components(found, features[i], shape),
        photos.stems[:shown],
        f"Principal components 1 to 3 of patch features as R, G, B, {of_whom}",
        about,
    )
    sheet = draw.save_png(sheet, request.out / "components.png")
    request.say(f"{sheet}, and {len(files)} single ones in {folder}")
    return [sheet, *files]


class _Features:
    """Patch features (h, w, D) of photos; computed again where they are too many."""

    def __init__(self, request, photos, size):
        self.request, self.photos, self.size = request, photos, size
        self.kept, self.room = {}, KEPT
        self.line = PhotoLine("features", len(photos))

    def __getitem__(self, number):
        if number in self.kept:
            return self.kept[number]
        found = feature_map(
            self.request.backbone,
            self.photos[number],
            self.size,
            self.request.mean,
            self.request.std,
        )
        found = np.ascontiguousarray(found)
        if found.nbytes <= self.room:
            self.kept[number], self.room = found, self.room - found.nbytes
        return found

    def __iter__(self):
        for number in range(len(self.photos)):
            yield self[number]
            if self.line.done < len(self.photos):
                self.line.add(1)
