"""A whole training's checkpoint: seconds to save and load, bytes, memory.

    python benchmarks/checkpoint.py --arch vit_small --out-dim 65536
    python benchmarks/checkpoint.py --published dino --torch-python PYTHON

Student, teacher, heads, center and optimizer (AdamW's two moments). With --published
torch.save and `utils.restart_from_checkpoint` take turns with ours on the same
weights, and "backbone" is the teacher's backbone alone out of the published .pth file:
by `load_backbone` here, by `utils.load_pretrained_weights` there. Memory is what the
work took beside what was there before it.
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

TOLERANCE = 1e-5  # of a sum of weights
WORDS = {"save": "save", "load": "load", "backbone": "backbone out of a .pth"}


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="vit_small")
    parser.add_argument("--patch-size", type=int, default=16)
    parser.add_argument("--out-dim", type=int, default=65536)
    parser.add_argument("--folder", metavar="DIR", help="for the files; else /tmp's")
    turns.add_sizes(parser)
    turns.add_peer(parser)
    return parser.parse_args(words)


def measure(given):
    """Runs both sides; a dictionary of all figures."""
    folders = tempfile.TemporaryDirectory(dir=given.folder)
    with folders as folder, contextlib.ExitStack() as stack:
        work = turns.chosen(given, "arch patch_size out_dim sizes")
        rest = {"global_size": 224, "drop_path": 0.0, "precision": "float32"}
        rest |= {"xla": False, "recompute": False, "strategy": "none"}
        told = {**work, **rest, "folder": folder}
        commands = turns.commands("checkpoint", given, told)
        sides = turns.started(commands, folder, stack)
        names = [*WORDS] if given.published else ["save", "load"]
        found = {
            name: turns.take_turns(sides, given.turns, 1, 1, name) for name in names
        }
    return summary(work, found)


def summary(work, found):
    """Figures of `take_turns` for each kind of work, with ratios."""
    result = {"work": work, "machine": turns.machine(), "parts": {}}
    for what, sides in found.items():
        told, checks = {}, []
        for name, one in sides.items():
            told[name] = turns.figures(one)
            told[name] |= one["results"][0]
            extra = [r["extra_mb"] for r in one["results"] if r["extra_mb"] is not None]
            told[name]["extra_mb"] = statistics.median(extra) if extra else None
            told[name]["mb_per_second"] = (
                told[name]["bytes"] / 1e6 / told[name]["median_seconds"]
            )
            checks += [r.get("check", r.get("numbers")) for r in one["results"]]
        part = {"sides": told}
        if len(sides) == 2:
            times = [side["median_seconds"] for side in told.values()]
            part["published_over_ours_seconds"] = times[1] / times[0]
            apart = max(checks) / min(checks) - 1
            part |= {"apart": apart, "alike": apart <= TOLERANCE}
        result["parts"][what] = part
    return result


def tell(result):
    """Prints a table for each kind of work, and whether it was alike."""
    lines = {
        "seconds": "{median_seconds:.3f}",
        "bytes of the file": "{bytes:,}",
        "MB per second": "{mb_per_second:.0f}",
        "memory beside, MiB": "{extra_mb}",
        "numbers": "{numbers:,}",
    }
    for what, part in result["parts"].items():
        turns.tell(part["sides"], lines, WORDS[what])
        if "alike" in part:
            ratio = part["published_over_ours_seconds"]
            print(f"seconds, published over ours: {ratio:.3f}")
            alike = "alike" if part["alike"] else "NOT ALIKE"
            print(f"contents {alike}: apart by {part['apart']:.1e}\n")


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
