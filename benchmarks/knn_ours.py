"""Our side of `knn.py`: one search for the largest k, then the votes for every k."""

import json
import pathlib
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

import answers  # noqa: E402  (found by the line above, as is dino_tf)
import numpy as np  # noqa: E402

TEMPERATURE = 0.07


def features(count, classes, width, rng):
    """Normalised float32 (count, width) around centers, and int64 labels (count,)."""
    centers = np.random.default_rng(0).standard_normal((classes, width), np.float32)
    labels = rng.integers(0, classes, count)
    found = np.empty((count, width), np.float32)
    for start in range(0, count, 16384):
        rows = slice(start, start + 16384)
        # So much noise that about half of the photos are recognised.
        noise = rng.standard_normal((len(labels[rows]), width), np.float32)
        some = centers[labels[rows]] + 3 * noise
        found[rows] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return found, labels


def data_of(work):
    """[training features, their labels, test features, their labels]; both sides'."""
    rng = np.random.default_rng(1)
    return [
        array
        for count in (work["train"], work["test"])
        for array in features(count, work["classes"], work["width"], rng)
    ]


def searched(data, ks, classes):
    """Accuracies for every k, seconds of the search and of the votes."""
    from dino_tf.analysis.neighbours import knn_accuracy, nearest, rank_classes

    train, train_labels, test, test_labels = data
    began, accuracy = time.perf_counter(), []
    similarities, indices = nearest(train, test, max(ks))
    between = time.perf_counter()
    for k in ks:
        voters = train_labels[indices[:, :k]]
        ranked = rank_classes(similarities[:, :k], voters, TEMPERATURE, classes)
        accuracy.append([float(n) for n in knn_accuracy(ranked, test_labels)])
    ended = time.perf_counter()
    seconds = {"search": between - began, "votes": ended - between}
    return {"accuracy": accuracy, **seconds}


def main():
    """Answers requests, the whole classification each."""
    work = json.loads(sys.argv[1])
    # Before memory is looked at, of which libraries take more than small searches.
    import dino_tf.analysis.neighbours  # noqa: F401

    data = data_of(work)
    facts = {"features_mb": answers.memory("VmRSS")}

    def classify(ks):
        return lambda: searched(data, ks, work["classes"])

    runs = {name: classify(ks) for name, ks in work["k"].items()}
    answers.serve(runs, facts=facts)


if __name__ == "__main__":
    main()
