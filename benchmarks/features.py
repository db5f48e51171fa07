"""Features of a folder of photos, as k-NN takes them: how many photos a second.

    python benchmarks/features.py --photos DIR
    python benchmarks/features.py --photos DIR --published dino --torch-python PYTHON

With --published the published `eval_knn.extract_features` takes turns with the pass of
`main.py evaluate knn`, on the same photos with the same weights and batch, both in
float32; the features of both are compared photo by photo.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import photos  # noqa: E402  (found by the line above)
import turns  # noqa: E402

TOLERANCE = 1e-4  # of features of length one


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", metavar="DIR", help="else drawn, 640 x 480")
    parser.add_argument("--arch", default="vit_small")
    parser.add_argument("--patch-size", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--count", type=int, default=128, help="photos at most")
    turns.add_sizes(parser)
    turns.add_peer(parser)
    return parser.parse_args(words)


def measure(given):
    """Runs both sides; a dictionary of all figures."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        source = given.photos or photos.drawn(folder / "drawn", given.count)
        count = photos.linked(source, folder / "photos", given.count)
        work = turns.chosen(given, "arch patch_size batch sizes")
        work |= {"count": count, "photos": str(folder / "photos")}
        told = {**work, "folder": str(folder)}
        commands = turns.commands("features", given, told)
        sides = turns.started(commands, folder, stack)
        found = turns.take_turns(sides, given.turns, 1)
        files = [folder / f"{side.name}.npy" for side in sides]
        return summary(work, found, [np.load(file) for file in files])


def summary(work, found, features):
    """Figures of `take_turns` with rates, the ratio, and how alike features are."""
    sides = {name: turns.figures(one, work["count"]) for name, one in found.items()}
    result = {"work": work, "machine": turns.machine(), "sides": sides}
    if len(sides) == 2:
        rates = [side["per_second"] for side in sides.values()]
        apart = float(np.abs(features[0] - features[1]).max())
        result["ours_over_published"] = rates[0] / rates[1]
        result |= {"features_apart": apart, "alike": apart <= TOLERANCE}
    return result


def tell(result):
    """Prints a result as a table, and whether the work was alike."""
    lines = {
        "photos per second": "{per_second:.2f}",
        "seconds of a pass": "{median_seconds:.2f}",
        "seconds of the first": "{first_seconds:.2f}",
        "seconds to get ready": "{ready_seconds:.1f}",
        "peak memory, MiB": "{peak_mb}",
    }
    turns.tell(result["sides"], lines)
    if "alike" in result:
        print(f"ours over published: {result['ours_over_published']:.3f}")
        alike = "alike" if result["alike"] else "NOT ALIKE"
        print(f"features {alike}: apart by {result['features_apart']:.1e}")


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
