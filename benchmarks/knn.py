"""Time and memory of k-NN on features drawn at random.

    python benchmarks/knn.py                        10,000 x 10,000 features
    python benchmarks/knn.py --train 1281167 --test 2000
    python benchmarks/knn.py --published dino --torch-python PYTHON

Seconds of one search for the largest k and of the votes for every k, and the largest
memory beside the features themselves (and the libraries). With --published (the
checkout, or its eval_knn.py) the published `knn_classifier`, which searches anew for
every k, takes turns with ours on the same features, once for the first k alone and
once for all of them; the accuracies of both stand in the JSON and are compared.
"""

import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import turns  # noqa: E402  (found by the line above)


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=10000)
    parser.add_argument("--test", type=int, default=10000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--k", type=int, nargs="+", default=[20, 10, 100, 200])
    turns.add_peer(parser)
    return parser.parse_args(words)


def measure(given):
    """Runs both sides; a dictionary of all figures."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        work = turns.chosen(given, "train test width classes")
        work["k"] = {"one k": given.k[:1], "every k": given.k}
        sides = turns.started(turns.commands("knn", given, work), folder, stack)
        found = {
            name: turns.take_turns(sides, given.turns, 1, 1, name) for name in work["k"]
        }
    return summary(work, found)


def summary(work, found):
    """Figures of `take_turns` for one k and for all, with the ratio of seconds."""
    result = {"work": work, "machine": turns.machine(), "parts": {}}
    for what, sides in found.items():
        told = {name: turns.figures(one, work["test"]) for name, one in sides.items()}
        for name, one in sides.items():
            told[name]["accuracy"] = one["results"][0]["accuracy"]
            if told[name]["peak_mb"] is not None:
                beside = told[name]["peak_mb"] - told[name]["features_mb"]
                told[name]["beside_features_mb"] = beside
            for key in ("search", "votes"):
                if key in one["results"][0]:
                    some = [result[key] for result in one["results"]]
                    told[name][f"{key}_seconds"] = statistics.median(some)
        part = {"sides": told}
        if len(sides) == 2:
            times = [side["median_seconds"] for side in told.values()]
            part["ours_over_published_seconds"] = times[0] / times[1]
            pairs = zip(*(side["accuracy"] for side in told.values()), strict=True)
            part["accuracy_apart"] = max(
                abs(a - b) for pair in pairs for a, b in zip(*pair, strict=True)
            )
            # One photo of them may be judged otherwise where neighbours are equal.
            part["alike"] = part["accuracy_apart"] <= 100.0 / work["test"] + 1e-6
        result["parts"][what] = part
    return result


def tell(result):
    """Prints a table for one k and for all, and whether answers were alike."""
    lines = {
        "test features per second": "{per_second:,.0f}",
        "seconds": "{median_seconds:.3f}",
        "of them the search": "{search_seconds:.3f}",
        "of them the votes": "{votes_seconds:.3f}",
        "top-1, %": "{accuracy[0][0]:.2f}",
        "memory beside features, MiB": "{beside_features_mb}",
        "all memory, MiB": "{peak_mb}",
    }
    for what, part in result["parts"].items():
        ks = " ".join(map(str, result["work"]["k"][what]))
        turns.tell(part["sides"], lines, f"k {ks}")
        if "alike" in part:
            print(
                f"seconds, ours / published: {part['ours_over_published_seconds']:.3f}"
            )
            alike = "alike" if part["alike"] else "NOT ALIKE"
            print(f"accuracies {alike}: apart by {part['accuracy_apart']:.3f} points\n")


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
