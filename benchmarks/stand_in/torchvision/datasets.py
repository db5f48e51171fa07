"""Photos in class folders."""

import pathlib

from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".pgm"}


class ImageFolder:
    """Photos of a folder of class folders, in the order of their names.

    Attributes:
        samples: List of (path, number of the class).
    """

    def __init__(self, root, transform=None):
        self.root, self.transform, self.samples = pathlib.Path(root), transform, []
        folders = sorted(p for p in self.root.iterdir() if p.is_dir())
        for number, folder in enumerate(folders):
            files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
            self.samples += [(str(path), number) for path in files]
        if not self.samples:
            raise FileNotFoundError(f"no photos in class folders in {root}")

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, number = self.samples[index]
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        return (self.transform(image) if self.transform else image), number
