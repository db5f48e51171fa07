"""One whole training step: how long, how near the machine's limit, how much memory.

    python benchmarks/step.py --arch vit_small --batch 8 --out-dim 4096
    python benchmarks/step.py --published dino --torch-python PYTHON
    python benchmarks/step.py --precision mixed_bfloat16 --published dino ...
    python benchmarks/step.py --as-started --published dino ...
    python benchmarks/step.py --parts muon histograms sinkhorn koleo

With --published the published training step (facebookresearch/dino, `train_one_epoch`)
takes turns with ours on the same weights and the same views. The losses of the first
steps stand beside each other, so that nobody compares unlike work. --as-started gives
each program what it starts with when nobody says otherwise: ours its automatic
precision for this machine, the published one float32. --parts has ours take turns with
ours and those parts of the recipe for few photos.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import turns  # noqa: E402  (found by the line above)

PARTS = ("muon", "histograms", "sinkhorn", "koleo")
WITH_PARTS = "with the parts"
LOSS_TOLERANCE = {"float32": 2e-3, "mixed_bfloat16": 2e-2, "mixed_float16": 2e-2}


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_network(parser, LOSS_TOLERANCE)
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--as-started", action="store_true")
    parser.add_argument("--xla", action="store_true", help="ours through XLA")
    parser.add_argument("--recompute", action="store_true", help="ours: less memory")
    parser.add_argument("--strategy", default="none", choices=("none", "mirrored"))
    parser.add_argument("--parts", nargs="+", default=[], choices=PARTS)
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn")
    turns.add_peer(parser)
    return parser.parse_args(words)


def work_of(given):
    """What both sides are told: a dictionary."""
    return turns.chosen(given, f"{turns.NETWORK} drop_path xla recompute strategy")


def operations(work):
    """Multiplications and additions of one step's matrix products: (ours, published).

    Ours leaves out what the CLS token alone does not need in the last block.
    """
    from dino_tf.checks import ARCHITECTURES
    from dino_tf.workload import step_flops

    views = [
        (2, work["global_size"], True),
        (work["num_local"], work["local_size"], False),
    ]
    width, depth, _ = ARCHITECTURES[work["arch"]]
    depth = work.get("sizes", {}).get("depth", depth)
    head = (width, 2048, 2048, 256, work["out_dim"])
    photo = (views, work["patch_size"], width, depth, head)
    return [work["batch"] * step_flops(*photo, cls_only=cls) for cls in (True, False)]


def automatic_precision():
    """What `python main.py` chooses on this machine."""
    from dino_tf.config import Config
    from dino_tf.distribute import find_hardware
    from dino_tf.prepare import shared_facts
    from dino_tf.recipe import FIRST_RULES, Facts
    from dino_tf.workers import Alone

    facts = Facts(num_photos=5011, **shared_facts(Alone(), find_hardware()))
    return FIRST_RULES["run.precision"](Config(), facts)[0]


def measure(given):
    """Runs both sides; a dictionary of all figures."""
    work = work_of(given)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ours, theirs = ({**work, "folder": folder} for _ in range(2))
        if given.as_started:
            ours["precision"], theirs["precision"] = automatic_precision(), "float32"
        commands = turns.commands("step", given, ours, theirs)
        if given.parts:
            more = pathlib.Path(folder) / "parts"
            more.mkdir()
            more = {**ours, "parts": given.parts, "folder": str(more)}
            commands[WITH_PARTS] = turns.commands("step", given, more)["ours"]
        sides = turns.started(commands, folder, stack)
        found = turns.take_turns(sides, given.turns, given.steps, warm_up=3)
    precisions = dict.fromkeys(found, ours["precision"])
    precisions["published"] = theirs["precision"]
    return summary(work, found, precisions)


def summary(work, found, precisions):
    """Figures of `take_turns` with rates, shares and the ratios."""
    counted = dict(zip(("ours", "published"), operations(work), strict=True))
    ceilings = [one["ceiling"] for one in found.values() if one["ceiling"]]
    same = len(set(precisions[name] for name in found)) == 1
    sides = {}
    for name, one in found.items():
        told = turns.figures(one)
        # One limit for both where they work alike: the better product of the two.
        ceiling = max(ceilings) if same else one["ceiling"]
        sides[name] = {
            "precision": precisions[name],
            **told,
            "images_per_second": work["batch"] / told["median_seconds"],
            "matrix_rate": ceiling,
            "first_losses": one["first"]["results"],
        }
        # The parts have products of their own, which are not counted.
        if name in counted:
            rate = counted[name] / told["median_seconds"]
            sides[name]["operations_per_step"] = counted[name]
            sides[name]["share_of_matrix_rate"] = rate / ceiling
    result = {"work": work, "machine": turns.machine(), "sides": sides}
    rates = {name: side["images_per_second"] for name, side in sides.items()}
    if WITH_PARTS in sides:
        result["parts_over_ours"] = rates[WITH_PARTS] / rates["ours"]
    if "published" in sides:
        result["ours_over_published"] = rates["ours"] / rates["published"]
        losses = [sides[name]["first_losses"] for name in ("ours", "published")]
        result["largest_loss_difference"] = max(
            abs(a - b) for a, b in zip(*losses, strict=True)
        )
    return result


def tell(result):
    """Prints a result as a table, and whether the work was alike."""
    lines = {
        "precision": "{precision}",
        "images per second": "{images_per_second:.3f}",
        "seconds a step": "{median_seconds:.3f}",
        "share of the matrix rate": "{share_of_matrix_rate:.0%}",
        "matrix rate, GFLOP/s": "{gflops:.0f}",
        "peak memory, MiB": "{peak_mb}",
        "loss of the first steps": "{losses}",
    }
    told = {
        name: {
            **side,
            "losses": " ".join(f"{loss:.4f}" for loss in side["first_losses"]),
            "gflops": side["matrix_rate"] / 1e9,
        }
        for name, side in result["sides"].items()
    }
    turns.tell(told, lines)
    if "parts_over_ours" in result:
        print(f"with the parts over without: {result['parts_over_ours']:.3f}")
    if "ours_over_published" in result:
        print(f"ours over published: {result['ours_over_published']:.3f}")
        precisions = {side["precision"] for side in result["sides"].values()}
        allowed = max(LOSS_TOLERANCE[p] for p in precisions)
        largest = result["largest_loss_difference"]
        alike = "alike" if largest <= allowed else "NOT ALIKE"
        print(f"losses {alike}: largest difference {largest:.2g}")


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
