"""Photos for benchmarks where none are given: drawn, of the size of common ones."""

import pathlib

import numpy as np

KINDS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def drawn(folder, count=64, size=(640, 480), classes=2, seed=0, suffix="jpg"):
    """A folder of pictures in class folders, each different; gives the folder.

    Args:
        folder: New folder.
        count: Number of photos.
        size: (width, height) in pixels.
        classes: Number of class folders.
        seed: Seed of the drawing.
        suffix: "jpg" or "png".
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    for number in range(count):
        # Smooth shapes with some noise compress about as photos do.
        small = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        large = np.asarray(Image.fromarray(small).resize(size, Image.BICUBIC), int)
        noisy = large + rng.normal(0, 12, (size[1], size[0], 1))
        path = (
            pathlib.Path(folder) / f"class{number % classes}" / f"{number:05d}.{suffix}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        noisy = np.clip(noisy, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=90)
    return folder


def linked(photos, folder, count):
    """The first `count` photos of a tree as links in one class folder; their number.

    Raises:
        SystemExit: When there is no photo.
    """
    files = sorted(
        path for path in pathlib.Path(photos).rglob("*") if path.suffix.lower() in KINDS
    )[:count]
    if not files:
        raise SystemExit(f"no photos in {photos}")
    inside = pathlib.Path(folder) / "class0"
    inside.mkdir(parents=True)
    for number, path in enumerate(files):
        (inside / f"{number:06d}{path.suffix.lower()}").symlink_to(path.resolve())
    return len(files)
