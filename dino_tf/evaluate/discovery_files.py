"""Found boxes as pictures, and as annotations that detectors are trained on."""

import json
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from dino_tf.coco_conversion import file_name
from dino_tf.evaluate.splits import spread
from dino_tf.transforms.image import try_decode
from dino_tf.visualize import draw

TITLES = {
    "lost": ("LOST", draw.COLOURS[0]),
    "tokencut": ("TokenCut", draw.COLOURS[1]),
    "tokencut_refined": ("TokenCut, refined", draw.COLOURS[3]),
    "attention": ("attention", draw.COLOURS[2]),
}
TRUTH = ("annotated", (255, 255, 255))
SHEETS, ROWS, COLUMNS, SHEET_WIDTH, HIGHEST = 2, 3, 4, 1320, 420


def write_files(folder, source, facts, boxes, truth):
    """Writes sheets of photos with boxes, and one COCO file for each method.

    Args:
        folder: new folder.
        source: the photos.
        facts: "index", "size" and "extension" of the readable ones; see
            `dino_tf.evaluate.object_boxes.find_boxes`.
        boxes: {method: {index: (4,)}}.
        truth: {index: (n, 4)} of annotated objects, which are drawn in white.

    Returns:
        List of the files' paths, the sheets first.
    """
    indices = facts["index"].tolist()
    shown = [indices[i] for i in spread(len(indices), SHEETS * ROWS * COLUMNS)]
    paths = []
    for start in range(0, len(shown), ROWS * COLUMNS):
        sheet = draw_sheet(source, shown[start : start + ROWS * COLUMNS], boxes, truth)
        path = folder / f"boxes-{1 + start // (ROWS * COLUMNS)}.png"
        paths.append(draw.save_png(sheet, path))
    for method, found in boxes.items():
        content = coco_annotations(source, facts, found, TITLES[method][0])
        path = folder / f"{method}.json"
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def coco_annotations(source, facts, boxes, method):
    """Boxes in COCO's form, as ground truth for a detector of one class, "object".

    Args:
        source: the photos.
        facts: see `write_files`.
        boxes: {index: (4,)}, xmin, ymin, xmax, ymax in pixels; cut at the photo.
        method: name of the method, for people.

    Returns:
        Dictionary: "images", "annotations" (`bbox` is left, top, width, height), and
        "categories". `file_name` is the photo's id in its source and, where that does
        not end with one, the extension of its format. `score` is 1 throughout: the
        methods find one box in every photo and give none.

    Reference:
        cocodataset.org, "Data format", object detection.
    """
    images, annotations = [], []
    rows = zip(
        *(facts[k].tolist() for k in ("index", "size", "extension")), strict=True
    )
    for index, (height, width), extension in rows:
        name, number = file_name(source.id(index), extension), index + 1
        image = {"id": number, "file_name": name, "width": width, "height": height}
        images.append(image)
        left, top, right, bottom = cut_at_photo(boxes[index], (height, width))
        annotation = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
        annotation["bbox"] = [left, top, right - left, bottom - top]
        annotation["area"] = (right - left) * (bottom - top)
        annotations.append(annotation | {"score": 1.0})
    return {
        "info": {"description": f"{source.name}: objects found by {method}, no labels"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
    }


def cut_at_photo(box, image_hw):
    """The box as integers within (height, width)."""
    height, width = image_hw
    return np.clip(box, 0, [width, height, width, height]).tolist()


def draw_sheet(source, indices, boxes, truth):
    """Photos in rows of one width, their boxes drawn, the colours told below.

    Args:
        source: the photos.
        indices: those to draw, all readable.
        boxes: {method: {index: (4,)}}.
        truth: {index: (n, 4)}, drawn first and thin.

    Returns:
        Pillow image.
    """
    photos = []
    for index in indices:
        image, _ = try_decode(partial(source.image_bytes, index))
        # A photo that went away since its boxes were kept leaves a gap.
        photos.append(
            (index, np.zeros((3, 4, 3), np.uint8) if image is None else image)
        )
    rows = []
    for start in range(0, len(photos), COLUMNS):
        row = photos[start : start + COLUMNS]
        height = _row_height([image for _, image in row])
        rows.append([_tile(source, *one, height, boxes, truth) for one in row])
    legend = [TITLES[method] for method in boxes] + ([TRUTH] if truth else [])
    title = f"{source.name}: objects found without labels"
    return with_legend(draw.compose(rows, title), legend)


def draw_boxes(image, boxes):
    """The picture with frames.

    Args:
        image: uint8 (H, W, 3).
        boxes: list of ((4,) in pixels of this picture, colour, width of the line).

    Returns:
        uint8 (H, W, 3).
    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    for box, colour, width in boxes:
        left, top, right, bottom = (round(float(edge)) for edge in box)
        edges = (left, top, max(right - 1, left), max(bottom - 1, top))
        # A dark rim keeps every colour apart from every photo.
        pen.rectangle(_grown(edges, 1, image.shape), outline=draw.INK)
        pen.rectangle(edges, outline=colour, width=width)
    return np.asarray(canvas)


def with_legend(sheet, entries):
    """The sheet with a line of coloured squares and their names below."""
    taller = Image.new("RGB", (sheet.width, sheet.height + draw.LINE), draw.PAPER)
    taller.paste(sheet)
    pen, left, top = ImageDraw.Draw(taller), draw.GAP, sheet.height - 4
    for text, colour in entries:
        square = (left, top + 3, left + 14, top + 17)
        pen.rectangle(square, fill=colour, outline=draw.INK)
        pen.text((left + 22, top), text, fill=draw.INK, font=draw.font(17))
        left += 22 + int(draw.font(17).getlength(text)) + 2 * draw.GAP
    return taller


def _row_height(images):
    """Pixels, so that the photos of a row fill the sheet's width."""
    width = SHEET_WIDTH - (COLUMNS + 1) * draw.GAP
    shapes = sum(image.shape[1] / image.shape[0] for image in images)
    # An unfinished last row is as high as a row of its photos would be.
    return max(min(int(width / (shapes * COLUMNS / len(images))), HIGHEST), 1)


def _tile(source, index, image, height, boxes, truth):
    scale = height / image.shape[0]
    width = max(round(image.shape[1] * scale), 1)
    frames = [(box * scale, TRUTH[1], 1) for box in truth.get(index, ())]
    for place, (method, found) in enumerate(boxes.items(), 1):
        box = np.array(cut_at_photo(found[index], image.shape[:2]))
        # Thinner ones on top, so that equal boxes are all seen.
        line = 2 + 2 * (len(boxes) - place)
        frames.append((box * scale, TITLES[method][1], line))
    picture = draw_boxes(draw.resize(image, (height, width)), frames)
    return draw.Tile(picture, source.id(index))


def _grown(edges, by, shape):
    left, top, right, bottom = edges
    return (left - by, top - by, min(right + by, shape[1]), min(bottom + by, shape[0]))
