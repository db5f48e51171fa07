"""Arrays in memory as a data set: in notebooks, and for photos from elsewhere."""

import io

import numpy as np
from PIL import Image

from dino_tf.datasets.source import Source, digest, digest_of_array
from dino_tf.errors import UserError


class ArraySource(Source):
    """Images that are arrays already, with what is known about them.

    Args:
        images: uint8 (H, W, 3) each, RGB; sizes may differ.
        labels: For each image a class index, or a sequence of several; None: unknown.
        class_names: Names of the classes; None numbers them.
        boxes: For each image `Boxes` or None.
        masks: For each image a class mask uint8 (H, W), see `Source.mask`, or None.
        objects: For each image an instance mask (H, W), see `Source.objects`, or None.
        name: For logs and tables.

    Raises:
        UserError: Lengths differ, an image has another form, or a label has no name.
    """

    def __init__(
        self,
        images,
        labels=None,
        class_names=None,
        boxes=None,
        masks=None,
        objects=None,
        name="arrays",
    ):
        self.name, self._images = name, [_checked(image) for image in images]
        given = {
            "labels": labels,
            "boxes": boxes,
            "masks": masks,
            "objects": objects,
        }
        for what, values in given.items():
            if values is not None and len(values) != len(self._images):
                raise UserError(
                    f"{len(values)} {what} for {len(self._images)} images; allowed: "
                    "as many"
                )
        nothing = [None] * len(self._images)
        labels, self._boxes, self._masks, self._objects = (
            nothing if values is None else values for values in given.values()
        )
        self._labels = [_classes(label) for label in labels]
        largest = max((max(label, default=-1) for label in self._labels), default=-1)
        if class_names is None:
            class_names = [str(i) for i in range(largest + 1)]
        self.class_names = tuple(class_names)
        lowest = min((min(label, default=0) for label in self._labels), default=0)
        if lowest < 0 or largest >= len(self.class_names):
            raise UserError(
                f"labels from {lowest} to {largest}; allowed: 0 to "
                f"{len(self.class_names) - 1}, the classes"
            )

    def __len__(self):
        return len(self._images)

    def id(self, index):
        return f"{range(len(self))[index]:08d}"

    def image_bytes(self, index):
        """A BMP file: exact, and the cheapest to write and to read."""
        file = io.BytesIO()
        Image.fromarray(self._images[index]).save(file, "BMP")
        return file.getvalue()

    def stamp(self):
        parts = zip(self._images, self._masks, self._objects, strict=True)
        return digest([digest_of_array(array) for array in part] for part in parts)

    def labels(self, index):
        return self._labels[index]

    def boxes(self, index):
        return self._boxes[index]

    def mask(self, index):
        return self._masks[index]

    def objects(self, index):
        return self._objects[index]


def _checked(image):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"an image is {image.dtype} {image.shape}; allowed: uint8 (H, W, 3)"
        )
    return image


def _classes(label):
    """Sorted tuple of class indices."""
    if label is None:
        return ()
    return tuple(sorted({int(index) for index in np.atleast_1d(label)}))
