"""Our side of `attend.py`: `main.py attend` on part after part of the photos."""

import json
import pathlib
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

import answers  # noqa: E402  (found by the line above, as is dino_tf)
import numpy as np  # noqa: E402


def network(work):
    """The untrained network, its weights written for the other side."""
    import keras

    from dino_tf.models.backbones import create_backbone
    from dino_tf.models.weights import published_weights

    keras.utils.set_random_seed(0)
    weights = pathlib.Path(work["folder"]) / "backbone.keras"
    backbone = create_backbone(work["arch"], work["patch_size"], **work["sizes"])
    for variable in backbone.trainable_variables:
        # Attention that has something to look at: a fresh network's is even.
        variable.assign(variable * (3.0 if "/attn/qkv/kernel" in variable.path else 1))
    backbone.save(weights)
    np.savez(weights.with_suffix(".npz"), **published_weights(backbone))
    return weights, backbone


class Parts:
    """Consecutive parts of the photos, from the start again after the end."""

    def __init__(self, work):
        photos = sorted(pathlib.Path(work["photos"]).rglob("*.*"))
        size, self.turn = work["chunk"], 0
        self.parts = [photos[i : i + size] for i in range(0, len(photos), size)]

    def next(self):
        """(paths of the next part, name of a folder for its pictures)."""
        number = self.turn % len(self.parts)
        self.turn += 1
        return self.parts[number], f"part{number}"


def written(folder):
    """[files, bytes] of a folder and all below it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [len(files), sum(path.stat().st_size for path in files)]


def main():
    """Answers requests, one part of the photos each."""
    work, began = json.loads(sys.argv[1]), time.perf_counter()
    from dino_tf.attend import attend
    from dino_tf.transforms.image import try_decode
    from dino_tf.visualize.attention import attention_maps

    weights, backbone = network(work)
    parts, out = Parts(work), pathlib.Path(work["folder"]) / "ours"

    def pictures():
        photos, name = parts.next()
        attend(photos, weights, out / name, work["size"], say=lambda line: None)
        return written(out / name)

    def check():
        image, _ = try_decode(pathlib.Path(work["check"]).read_bytes)
        maps = attention_maps(backbone, image, work["size"])
        return [float(value) for value in maps.mean(axis=2).ravel()]

    facts = {"ready_seconds": time.perf_counter() - began}
    answers.serve({"pictures": pictures, "check": check}, facts=facts)


if __name__ == "__main__":
    main()
