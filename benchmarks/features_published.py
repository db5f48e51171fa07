"""The published side of `features.py`: `extract_features` over the same folder.

    PYTHON features_published.py CHECKOUT JSON

The loader has the transforms and the options of `extract_feature_pipeline`, with as
many workers as there are cores.
"""

import json
import os
import pathlib
import sys
import time

import answers
import numpy as np
import torch
from peer import changed
from step_published import begin

CUDA = {".cuda(non_blocking=True)": ""}


def import_published(checkout, folder, device):
    """Its modules (eval_knn, vision_transformer), without .cuda() where no GPU is."""
    sys.path.insert(0, checkout)
    sys.path.append(str(pathlib.Path(__file__).parent / "stand_in"))
    file = pathlib.Path(checkout) / "eval_knn.py"
    text = file.read_text()
    copy = folder / "published" / "eval_knn.py"
    copy.parent.mkdir()
    copy.write_text(changed(text, CUDA, str(file)) if device == "cpu" else text)
    sys.path.insert(0, str(copy.parent))
    import eval_knn
    import vision_transformer

    return eval_knn, vision_transformer


def loader_of(eval_knn, work):
    """Photos as `extract_feature_pipeline` reads them."""
    steps = eval_knn.pth_transforms
    transform = steps.Compose(
        [
            steps.Resize(256, interpolation=3),
            steps.CenterCrop(224),
            steps.ToTensor(),
            steps.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    photos = eval_knn.ReturnIndexDataset(work["photos"], transform=transform)
    return torch.utils.data.DataLoader(
        photos,
        batch_size=work["batch"],
        num_workers=len(os.sched_getaffinity(0)),
        pin_memory=torch.cuda.is_available(),
    )


def main():
    """Answers requests, one pass each."""
    checkout, work, began = sys.argv[1], json.loads(sys.argv[2]), time.perf_counter()
    folder = pathlib.Path(work["folder"])
    device = begin(folder)
    eval_knn, vision_transformer = import_published(checkout, folder, device)
    make = vision_transformer.__dict__[work["arch"]]
    model = make(patch_size=work["patch_size"], num_classes=0).to(device).eval()
    stored = np.load(folder / "backbone.npz")
    weights = {name: torch.from_numpy(stored[name]) for name in stored.files}
    model.load_state_dict(weights, strict=True)
    loader = loader_of(eval_knn, work)

    def run():
        features = eval_knn.extract_features(model, loader, device == "cuda")
        features = torch.nn.functional.normalize(features, dim=1, p=2)
        np.save(folder / "published.npy", features.cpu().numpy())
        return list(features.shape)

    facts = {"ready_seconds": time.perf_counter() - began}
    answers.serve(run, facts=facts)


if __name__ == "__main__":
    main()
