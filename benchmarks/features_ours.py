"""Our side of `features.py`: the pass of `main.py evaluate knn` over a folder."""

import json
import pathlib
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

import answers  # noqa: E402  (found by the line above, as is dino_tf)
import numpy as np  # noqa: E402


def main():
    """Answers requests, one pass each."""
    work, began = json.loads(sys.argv[1]), time.perf_counter()
    import keras

    import dino_tf
    from dino_tf.evaluate.features import normalize
    from dino_tf.evaluate.subject import Subject
    from dino_tf.models.weights import published_weights

    keras.utils.set_random_seed(0)
    folder = pathlib.Path(work["folder"])
    backbone = dino_tf.create_backbone(
        work["arch"], work["patch_size"], **work["sizes"]
    )
    np.savez(folder / "backbone.npz", **published_weights(backbone))
    source = dino_tf.open_source(f"folder:{work['photos']}")
    subject = Subject(backbone, size=224, batch_size=work["batch"])
    order = np.argsort([source.id(i) for i in range(len(source))])

    def run():
        features = normalize(subject.summaries(source, 224)["cls"])
        np.save(folder / "ours.npy", features[order])
        return list(features.shape)

    facts = {"ready_seconds": time.perf_counter() - began}
    answers.serve(run, facts=facts)


if __name__ == "__main__":
    main()
