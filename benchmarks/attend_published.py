"""The published side of `attend.py`: its script's own lines, photo after photo.

    PYTHON attend_published.py CHECKOUT JSON

`visualize_attention.py` takes one photo a start. Its text is read here in two parts,
up to the photo and from there on; the first runs once, the second for each photo.
Between photos its figures are closed, which the end of the process did.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import sys
import textwrap
import time
import types

import answers
import numpy as np
from attend_ours import Parts, written

os.environ["MPLBACKEND"] = "Agg"
BETWEEN = "    # open image\n"


def import_what_is_needed(checkout):
    """Puts the checkout first, and stands in for what only downloads would use."""
    sys.path.insert(0, checkout)
    sys.path.append(str(pathlib.Path(__file__).parent / "stand_in"))
    if not importlib.util.find_spec("requests"):
        sys.modules["requests"] = types.ModuleType("requests")


def parts_of(checkout):
    """(definitions, preparation, lines for one photo) as code."""
    file = pathlib.Path(checkout) / "visualize_attention.py"
    top, _, main = file.read_text().partition("if __name__ == '__main__':\n")
    before, found, each = main.partition(BETWEEN)
    if not found:
        raise SystemExit(f"{file} has no line {BETWEEN.strip()!r}")
    texts = (top, *(textwrap.dedent(text) for text in (before, each)))
    return [compile(text, str(file), "exec") for text in texts]


def write_weights(folder):
    """The common weights as a PyTorch file; its path."""
    import torch

    stored = np.load(folder / "backbone.npz")
    weights = {name: torch.from_numpy(stored[name]) for name in stored.files}
    torch.save(weights, folder / "backbone.pth")
    return folder / "backbone.pth"


def main():
    """Answers requests, one part of the photos each."""
    checkout, work, began = sys.argv[1], json.loads(sys.argv[2]), time.perf_counter()
    folder = pathlib.Path(work["folder"])
    import_what_is_needed(checkout)
    definitions, preparation, each = parts_of(checkout)
    words = {
        "arch": work["arch"],
        "patch_size": work["patch_size"],
        "pretrained_weights": write_weights(folder),
        # One number is the shorter side, and keeps the photo's shape.
        "image_size": work["size"],
        "threshold": 0.6,
    }
    pairs = [(f"--{key}", str(value)) for key, value in words.items()]
    sys.argv = ["visualize_attention.py", *(word for pair in pairs for word in pair)]
    space = {"__name__": "visualize_attention"}
    with contextlib.redirect_stdout(sys.stderr):
        exec(definitions, space)
        exec(preparation, space)
    parts, out = Parts(work), folder / "published"

    def draw(path, to):
        space["args"].image_path, space["args"].output_dir = str(path), str(to)
        exec(each, space)
        space["plt"].close("all")

    def pictures():
        photos, name = parts.next()
        for path in photos:
            draw(path, out / name / path.stem)
        return written(out / name)

    def check():
        draw(work["check"], out / "check")
        patch = work["patch_size"]
        maps = space["attentions"][:, ::patch, ::patch]
        return [float(value) for value in maps.mean(axis=2).ravel()]

    facts = {"ready_seconds": time.perf_counter() - began}
    answers.serve({"pictures": pictures, "check": check}, facts=facts)


if __name__ == "__main__":
    main()
