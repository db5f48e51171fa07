"""The network alone: backbone, head and loss, forward, and forward and backward.

    python benchmarks/network.py --arch vit_small --batch 8 --out-dim 4096
    python benchmarks/network.py --backend tensorflow jax --jax-python PYTHON
    python benchmarks/network.py --published dino --torch-python PYTHON

The student's pass over all crops, from given images to the loss against given logits
of a teacher; no optimizer, no augmentation. All sides have the same weights and
images; losses and norms of the gradient stand beside each other.

On a machine with a GPU nothing changes; TensorFlow need not be installed where JAX
alone is asked for (`pip install keras jax[cuda13] h5py`), and this program itself
needs NumPy alone:

    python benchmarks/network.py --backend jax --batch 256 --out-dim 65536 \\
        --precision mixed_bfloat16 --published dino --out network.json

A pass has ended when its results lie in main memory or the device says so. Memory of
the device is what the framework tells.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import turns  # noqa: E402  (found by the line above)

# Largest relative difference of losses, and of norms of the gradient.
TOLERANCE = {
    "float32": (1e-4, 1e-3),
    "mixed_bfloat16": (1e-2, 5e-2),
    "mixed_float16": (1e-2, 5e-2),
}
PASSES = {"forward": "forward", "both": "forward and backward"}


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_network(parser, TOLERANCE)
    parser.add_argument(
        "--backend", nargs="+", default=["tensorflow"], choices=("tensorflow", "jax")
    )
    parser.add_argument(
        "--xla",
        default="both",
        choices=("off", "on", "both"),
        help="TensorFlow without XLA, with it, or each",
    )
    for name in ("tensorflow", "jax"):
        parser.add_argument(
            f"--{name}-python",
            metavar="PATH",
            default=sys.executable,
            help=f"Python for the side of {name}, if another than this one",
        )
    parser.add_argument("--passes", type=int, default=2, help="passes in a turn")
    turns.add_peer(parser)
    return parser.parse_args(words)


def work_of(given, folder):
    """What every side is told: a dictionary."""
    work = turns.chosen(given, turns.NETWORK)
    return {**work, "drop_path": 0.0, "folder": str(folder)}


def commands(given, work):
    """{name of a side: its command}, ours first, as it writes the weights."""
    found = {}
    for backend in given.backend:
        both = {"off": [False], "on": [True], "both": [False, True]}[given.xla]
        for xla in both if backend == "tensorflow" else [False]:
            told = json.dumps({**work, "backend": backend, "xla": xla})
            python = getattr(given, f"{backend}_python")
            name = f"{backend} + XLA" if xla else backend
            found[name] = [python, HERE / "network_ours.py", told]
    return found | turns.published("network", given, work)


def operations(work, width, depth, cls_only):
    """Multiplications and additions of matrix products: {pass: number} of one run."""
    from dino_tf.workload import step_flops

    crops = [(2, work["global_size"]), (work["num_local"], work["local_size"])]
    views = [(*crop, False) for crop in crops]
    head = (width, 2048, 2048, 256, work["out_dim"])
    sizes = (views, work["patch_size"], width, depth, head)
    both = work["batch"] * step_flops(*sizes, cls_only=cls_only)
    # Backward is twice the work of forward, but for the images' own gradient.
    patches = sum(n * (side // work["patch_size"]) ** 2 for n, side in crops)
    first = 2 * patches * width * 3 * work["patch_size"] ** 2 * work["batch"]
    return {"forward": (both + first) / 3, "both": both}


def measure(given):
    """Runs all sides; a dictionary of all figures."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        work = work_of(given, folder)
        sides = turns.started(commands(given, work), folder, stack)
        found = {
            what: turns.take_turns(sides, given.turns, given.passes, 2, what)
            for what in PASSES
        }
    return summary(work, found)


def summary(work, found):
    """Figures of `take_turns` for each kind of pass, with rates, shares, ratios."""
    result = {"work": work, "machine": turns.machine(), "passes": {}}
    facts = next(iter(found["both"].values()))["memory"]
    for what, sides in found.items():
        limit = max((one["ceiling"] or 0 for one in sides.values()), default=0)
        told = {}
        for name, one in sides.items():
            told[name] = turns.figures(one, work["batch"])
            told[name]["results"] = one["results"][0]
            if "width" in facts and limit:
                size = (facts["width"], facts["depth"], name != "published")
                counted = operations(work, *size)[what]
                told[name]["operations"] = counted
                rate = counted / told[name]["median_seconds"]
                told[name]["share_of_matrix_rate"] = rate / limit
        result["passes"][what] = {"sides": told, "matrix_rate": limit or None}
        result["passes"][what] |= compared(told, TOLERANCE[work["precision"]])
    return result


def compared(sides, tolerance):
    """Ratios of speed to the last side's, and how far results lie apart."""
    *_, last = sides
    rates = {name: side["per_second"] for name, side in sides.items()}
    results = [side["results"] for side in sides.values()]
    apart = [
        max(abs(value / column[0] - 1) for value in column)
        for column in zip(*results, strict=True)
    ]
    alike = all(a <= most for a, most in zip(apart, tolerance, strict=False))
    ratios = {name: rate / rates[last] for name, rate in rates.items()}
    return {f"over_{last}": ratios, "apart": apart, "alike": alike}


def tell(result):
    """Prints a table for each kind of pass, and whether the work was alike."""
    for what, one in result["passes"].items():
        sides = one["sides"]
        ratios = next(v for k, v in one.items() if k.startswith("over_"))
        lines = {
            "images per second": "{per_second:.2f}",
            "seconds": "{median_seconds:.3f}",
            "share of the matrix rate": "{share_of_matrix_rate:.0%}",
            "peak memory, MiB": "{peak_mb}",
            "of the device, MiB": "{device_peak_mb}",
            f"over {[*sides][-1]}": "{ratio:.3f}",
            "loss": "{results[0]:.5g}",
        }
        if what == "both":
            lines["|gradient|"] = "{results[1]:.5g}"
        told = {name: {**sides[name], "ratio": ratios[name]} for name in sides}
        turns.tell(told, lines, PASSES[what])
        apart = ", ".join(f"{value:.1e}" for value in one["apart"])
        print(f"results {'alike' if one['alike'] else 'NOT ALIKE'}: apart by {apart}")
        if one["matrix_rate"]:
            print(f"matrix rate {one['matrix_rate'] / 1e9:,.0f} GFLOP/s\n")


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
