"""The published side of `views.py`: `DataAugmentationDINO` behind a `DataLoader`.

    PYTHON views_published.py CHECKOUT JSON

Photos are opened as torchvision's `ImageFolder` does and put into batches by PyTorch's
own function; PyTorch has one thread.
"""

import json
import os
import sys

import answers

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

import torch  # noqa: E402
from PIL import Image  # noqa: E402


def main():
    """Answers requests; a run is one pass over the photos."""
    checkout, work = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(1)
    sys.path.insert(0, checkout)
    # Behind everything else, for where torchvision is missing.
    sys.path.append(str(answers.pathlib.Path(__file__).parent / "stand_in"))
    from main_dino import DataAugmentationDINO

    files = sorted(
        file
        for file in answers.pathlib.Path(work["folder"]).rglob("*")
        if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".webp")
    )
    files = files[: len(files[: work["photos"]]) // work["batch"] * work["batch"]]
    if (work["global_size"], work["local_size"]) != (224, 96):
        raise SystemExit("the published views have 224 and 96 pixels")
    augmentation = DataAugmentationDINO((0.4, 1.0), (0.05, 0.4), work["num_local"])

    class Photos(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            return augmentation(opened(files[index]))

    def run():
        loader = torch.utils.data.DataLoader(Photos(), work["batch"], shuffle=True)
        parts = [
            torch.stack([view[:, :, ::16, ::16] for view in views[:2]])
            for views in loader
        ]
        values = torch.stack(parts)
        return {
            "photos": len(files),
            "mean": float(values.mean()),
            "deviation": float(values.std()),
        }

    answers.serve(run)


def opened(file):
    """A photo as torchvision's `ImageFolder` opens it."""
    with open(file, "rb") as stream:
        return Image.open(stream).convert("RGB")


if __name__ == "__main__":
    main()
