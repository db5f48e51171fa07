"""What the detector found, as pictures beside the truth and as COCO JSON."""

import json
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from dino_tf.evaluate.discovery_files import draw_boxes
from dino_tf.evaluate.splits import spread
from dino_tf.transforms.image import try_decode
from dino_tf.visualize import draw

SHEETS, ROWS, PAIRS, HEIGHT = 2, 3, 2, 240
SHOWN_FROM = 0.3  # score; where no box has so much, the best one is shown
MOST_SHOWN = 5


def write_files(folder, photos, found, truth, results):
    """Writes sheets of photos, `detections.json` and `truth.json`.

    Args:
        folder: New folder.
        photos: `BoxedPhotos` that were judged.
        found: {place: (boxes, scores, classes)}, the best scored first.
        truth: Ground truth in COCO's form.
        results: Detections in COCO's form of results, for `COCO.loadRes`.

    Returns:
        List of the files' paths, the sheets first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, each = [], ROWS * PAIRS
    places = photos.places[spread(len(photos.places), SHEETS * each)].tolist()
    for start in range(0, len(places), each):
        sheet = draw_sheet(photos, found, places[start : start + each])
        path = folder / f"detections-{1 + start // each}.png"
        paths.append(draw.save_png(sheet, path))
    for name, content in (("detections", results), ("truth", truth)):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def draw_sheet(photos, found, places):
    """Each photo twice: with its annotated boxes, and with those found.

    Args:
        photos: `BoxedPhotos`.
        found: {place: (boxes, scores, classes)}.
        places: Those to draw.

    Returns:
        Pillow image.
    """
    tiles = [tile for place in places for tile in _pair(photos, found, place)]
    step = 2 * PAIRS
    rows = [tiles[start : start + step] for start in range(0, len(tiles), step)]
    return draw.compose(rows, f"{photos.source.name}: annotated, and found")


def _pair(photos, found, place):
    image, _ = try_decode(partial(photos.source.image_bytes, place))
    # A photo that went away meanwhile leaves a gap.
    image = np.zeros((3, 4, 3), np.uint8) if image is None else image
    height, width = photos.sizes[place]
    # Its sides may have been halved while it was decoded.
    scale = HEIGHT / height
    picture = draw.resize(image, (HEIGHT, max(round(width * scale), 1)))
    known = photos.boxes[place]
    names = [photos.class_names[kind] for kind in known.classes]
    texts = [
        f"{n} (not counted)" if hard else n
        for n, hard in zip(names, known.difficult.tolist(), strict=True)
    ]
    yield draw.Tile(
        _labelled(picture, known.xyxy * scale, texts, known.classes),
        photos.source.id(place),
    )
    boxes, scores, kinds = found.get(place, (np.zeros((0, 4)), np.zeros(0), ()))
    count = min(max(int((scores >= SHOWN_FROM).sum()), 1), MOST_SHOWN, len(scores))
    texts = [
        f"{photos.class_names[kind]} {score:.2f}"
        for kind, score in zip(kinds[:count], scores[:count], strict=True)
    ]
    drawn = _labelled(picture, boxes[:count] * scale, texts, kinds[:count])
    yield draw.Tile(drawn, "found" if count else "nothing found")


def _labelled(picture, boxes, texts, kinds):
    """The picture with frames in the classes' colours, and their names on them."""
    colours = [draw.COLOURS[int(kind) % len(draw.COLOURS)] for kind in kinds]
    frames = [(box, colour, 2) for box, colour in zip(boxes, colours, strict=True)]
    canvas = Image.fromarray(draw_boxes(picture, frames))
    pen, letters = ImageDraw.Draw(canvas), draw.font(12)
    for box, text, colour in zip(boxes, texts, colours, strict=True):
        length = letters.getlength(text) + 4
        left = max(min(float(box[0]), canvas.width - length), 0)
        top = max(float(box[1]) - 16, 0)
        pen.rectangle((left, top, left + length, top + 15), fill=colour)
        pen.text((left + 2, top), text, fill=draw.INK, font=letters)
    return np.asarray(canvas)
