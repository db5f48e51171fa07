"""Agreement with Pillow and torchvision on stored outcomes."""

import numpy as np
import pytest

from dino_tf.transforms import augment, image
from dino_tf.transforms.resample import Resampler

SCALES = {"glob": (0.4, 1.0), "local": (0.05, 0.4)}
DRAWS = 20_000


@pytest.fixture(scope="module")
def arrays(reference_dir):
    with np.load(reference_dir / "augment.npz") as stored:
        return {name: stored[name] for name in stored.files}


def operations():
    """Operation, its prefix in the file and its tolerance (of 255)."""
    return {
        "brightness/": (augment.brightness, 0.7),
        "contrast/": (augment.contrast, 0.7),
        "saturation/": (augment.saturation, 0.7),
        "hue/": (augment.hue, 2.0),
        "gaussian_blur_radius/": (augment.gaussian_blur, 0.8),
    }


def crop(picture, box, size, flip=False):
    return Resampler(picture, [box], [size]).crop(0, flip)


def difference(ours, stored):
    assert ours.shape == stored.shape
    return np.abs(np.asarray(ours, np.float64) - stored).mean()


@pytest.mark.parametrize("prefix", operations())
def test_operation_with_parameter(arrays, prefix):
    operation, tolerance = operations()[prefix]
    names = [name for name in arrays if name.startswith(prefix)]
    assert names
    for name in names:
        parameter = float(name.removeprefix(prefix))
        ours = operation(arrays["image"], parameter)
        assert difference(ours, arrays[name]) <= tolerance, name


@pytest.mark.parametrize(
    "name, operation, tolerance",
    [
        ("grayscale", augment.grayscale, 0.7),
        ("solarize", augment.solarize, 0.0),
    ],
)
def test_operation_without_parameter(arrays, name, operation, tolerance):
    assert difference(operation(arrays["image"]), arrays[name]) <= tolerance


def test_hflip(arrays):
    # Of a square, as views are.
    ours = crop(arrays["image"], (0, 20, 150, 150), 150, flip=True)
    assert difference(ours, arrays["hflip"][:, 30:180]) == 0


def test_normalize(arrays):
    ours = image.normalize(arrays["image"])
    np.testing.assert_allclose(ours, arrays["normalized"], atol=1e-5)


def test_resized_crop(arrays):
    suffix = "/top_left_height_width_size"
    names = [n.removesuffix(suffix) for n in arrays if n.endswith(suffix)]
    assert names
    for name in names:
        *box, size = (int(v) for v in arrays[name + suffix])
        ours = crop(arrays["image"], box, size)
        assert difference(ours, arrays[name]) <= 0.5, name


def test_random_boxes_quantiles(arrays):
    names = [n for n in arrays if n.startswith("random_resized_crop/")]
    assert names
    for name in names:
        _, shape, kind, _ = name.split("/")
        height, width = (int(v) for v in shape.split("x"))
        boxes = augment.random_boxes(
            augment.generator((3, 5)),
            DRAWS,
            height,
            width,
            SCALES[kind],
            (3 / 4, 4 / 3),
        )
        top, left, tall, wide = np.transpose(boxes).astype(np.float64)
        drawn = np.stack(
            [
                tall * wide / (height * width),
                wide / tall,
                (top + tall / 2) / height,
                (left + wide / 2) / width,
            ]
        )
        stored = arrays[name]
        # The extremes of 20,000 draws are chance, the quantiles between are not.
        levels = np.linspace(0, 1, stored.shape[1])
        ours = np.quantile(drawn, levels, axis=1).T
        spread = np.maximum(np.ptp(stored, axis=1, keepdims=True), 1e-3)
        distance = np.abs(ours - stored)[:, 1:-1] / spread
        assert distance.max() <= 0.02, (name, distance.max(axis=1))
