"""Time and memory of k-NN on features drawn at random.

    python benchmarks/knn.py                        10,000 x 10,000 features
    python benchmarks/knn.py --train 1281167 --test 2000
    python benchmarks/knn.py --published dino/eval_knn.py --torch-python PYTHON

Prints one line of JSON: seconds of one search for the largest k and of the votes for
every k, and the largest memory beside the features themselves. With --published the
published function (facebookresearch/dino, `knn_classifier`, which searches anew for
every k) and ours take turns on the same features, each in a process of its own that
waits while the other works; medians and their ratio follow.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
TEMPERATURE = 0.07

# Reads features, then answers each line "10 20" with seconds and accuracies.
PUBLISHED = """
import json, pathlib, sys, time
import numpy as np, torch
program, folder = map(pathlib.Path, sys.argv[1:3])
sys.path.insert(0, str(program.parent))
from eval_knn import knn_classifier
names = ("train", "train_labels", "test", "test_labels")
arrays = [torch.from_numpy(np.load(folder / f"{name}.npy")) for name in names]
print(json.dumps({"threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    found = [knn_classifier(*arrays, int(k), float(sys.argv[3])) for k in line.split()]
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "accuracy": found}), flush=True)
"""


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


def ours(data, ks, classes, advance=None):
    """Seconds of search and of votes, and the accuracies for every k."""
    from dino_tf.analysis.neighbours import knn_accuracy, nearest, rank_classes

    train, train_labels, test, test_labels = data
    began, accuracy = time.perf_counter(), []
    similarities, indices = nearest(train, test, max(ks), advance)
    searched = time.perf_counter()
    for k in ks:
        voters = train_labels[indices[:, :k]]
        ranked = rank_classes(similarities[:, :k], voters, TEMPERATURE, classes)
        accuracy.append(knn_accuracy(ranked, test_labels))
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "search": searched - began,
        "votes": ended - searched,
        "accuracy": accuracy,
    }


def memory(what):
    """A figure of this process in bytes, "VmRSS" or "VmHWM"; Linux only."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{what}:\s+(\d+)", status)[1])


def measured(data, ks, classes):
    """What `ours` tells, with the largest memory beside the features."""
    # Five resets the peak; see proc_pid_clear_refs(5).
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    result = ours(data, ks, classes)
    result["beside_features_mb"] = round((memory("VmHWM") - before) / 2**20)
    result["all_mb"] = round(memory("VmHWM") / 2**20)
    return result


def in_turns(data, ks, classes, program, python, turns):
    """Medians of both over `turns` pairs of runs, for one k and for all."""
    names = ("train", "train_labels", "test", "test_labels")
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip(names, data, strict=True):
            np.save(pathlib.Path(folder) / f"{name}.npy", array)
        command = [python, "-c", PUBLISHED, program, folder, str(TEMPERATURE)]
        other = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield json.loads(other.stdout.readline())
            for some in ([20], ks):
                yield _compare(other, data, some, classes, turns)
        finally:
            other.stdin.close()
            other.wait()


def _compare(other, data, ks, classes, turns):
    times, found = {"published": [], "ours": []}, {}
    # The first turn of both warms up and does not count.
    for turn in range(turns + 1):
        print(*ks, file=other.stdin, flush=True)
        found["published"] = json.loads(other.stdout.readline())
        found["ours"] = ours(data, ks, classes)
        for who, result in found.items() if turn else ():
            times[who].append(result["seconds"])
    medians = {who: statistics.median(some) for who, some in times.items()}
    return {
        "k": ks,
        "seconds": {who: [round(t, 3) for t in some] for who, some in times.items()},
        "median": medians,
        "ours_over_published": medians["ours"] / medians["published"],
        "accuracy": {who: result["accuracy"] for who, result in found.items()},
    }


def main():
    """Reads the arguments and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=10000)
    parser.add_argument("--test", type=int, default=10000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--k", type=int, nargs="+", default=[10, 20, 100, 200])
    parser.add_argument("--published", metavar="PATH", help="its eval_knn.py")
    parser.add_argument("--torch-python", metavar="PATH", default=sys.executable)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    data = [
        array
        for count in (given.train, given.test)
        for array in features(count, given.classes, given.width, rng)
    ]
    print(json.dumps(measured(data, given.k, given.classes)), flush=True)
    if given.published:
        program, python = given.published, given.torch_python
        for line in in_turns(
            data, given.k, given.classes, program, python, given.turns
        ):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
