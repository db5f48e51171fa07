"""From `python main.py` to the end of the first training step, stage by stage.

    python benchmarks/start.py
    python benchmarks/start.py --case vit_small --data folder:photos
    python benchmarks/start.py --published dino --torch-python PYTHON

Whole processes, from the moment a user starts them, the programs in turns. Ours runs
in a fresh copy of the sources with a home of its own, so that the first start finds
nothing that an earlier one left behind; the second is the same command again in the
same place. Each ends after its third step: a moment is when a stage came to its end,
"computing begins" the end of the first step less the seconds of the later ones. The
files of the Python packages are in the system's memory, as one start that does not
count comes before.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import marks  # noqa: E402  (found by the line above)
import peer  # noqa: E402
import photos  # noqa: E402
import turns  # noqa: E402

STEPS = 3
# In the order in which they mostly come.
MOMENTS = (
    "Python started",
    "TensorFlow imported",
    "imported",
    "data and settings",
    "built",
    "first batch",
    "traced",
    "computing begins",
    *(f"step {number}" for number in range(1, STEPS + 1)),
)
# "default" is what a user gets who says nothing but where the photos are.
CASES = {
    "vit_small": "--model.arch vit_small --model.patch_size 16 --views.global_size 224 "
    "--views.local_size 96 --views.num_local 8 --pipeline.batch_size {batch} "
    "--head.out_dim {out_dim}",
    "default": "",
}
PUBLISHED = (
    "--arch vit_small --patch_size 16 --local_crops_number 8 --use_fp16 false "
    "--batch_size_per_gpu {batch} --out_dim {out_dim} --num_workers {workers}"
)


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument(
        "--data", metavar="SPEC", help="photos; else 64 that are drawn, 640 x 480"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out-dim", type=int, default=4096)
    parser.add_argument(
        "--settings", default="", help="further settings of ours, in quotes"
    )
    turns.add_peer(parser)
    return parser.parse_args(words)


def copy_ours(folder):
    """A copy of the sources without anything compiled; its folder."""
    shutil.copytree(
        HERE.parent / "dino_tf",
        folder / "dino_tf",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(HERE.parent / "main.py", folder)
    return folder


def start(command, folder, extra=None):
    """Moments in seconds and losses of one process; it waits for its end."""
    file = folder / "moments.json"
    file.unlink(missing_ok=True)
    variables = os.environ | {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        marks.FILE: str(file),
        marks.STEPS: str(STEPS),
        **(extra or {}),
    }
    with (folder / "log").open("w") as log:
        variables[marks.BEGAN] = repr(time.time())
        words = [str(part) for part in command]
        subprocess.run(words, cwd=folder, env=variables, stdout=log, stderr=log)
    if not file.is_file():
        tail = (folder / "log").read_text(errors="replace").splitlines()[-8:]
        raise SystemExit("\n".join([f"{command[1]} ended:", *tail]))
    return turns.read(file)


def programs(given, case, spec, root):
    """{name: function of a new folder that returns a function that starts once}."""
    sizes = {"batch": given.batch, "out_dim": given.out_dim}
    words = CASES[case].format(**sizes).split() + given.settings.split()

    def ours(folder):
        copy_ours(folder)
        command = [sys.executable, HERE / "start_ours.py", "main.py"]
        return lambda: start([*command, "--data", spec, *words], folder)

    def published(folder):
        cpu = not peer.has_gpu(given.torch_python)
        peer.patched_training(given.published, folder, cpu)
        sizes["workers"] = turns.machine()["cores"]
        words = PUBLISHED.format(**sizes).split()
        words += ["--data_path", spec.removeprefix("folder:")]
        # A file in place of a port, so that two runs do not meet.
        words += ["--dist_url", f"file://{folder}/meeting"]
        paths = [str(HERE), *peer.stand_in(given.torch_python)]
        extra = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        extra["PYTHONPATH"] = os.pathsep.join(paths)

        def once():
            (folder / "meeting").unlink(missing_ok=True)
            command = [given.torch_python, "main_dino.py", *words]
            return start(command, folder, extra)

        return once

    found = {"ours": ours}
    if given.published and case == "vit_small":
        found["published"] = published
    return found


def measure(given, case, spec):
    """All starts of a case: {"ours, 1st": [moments and losses], ...}."""
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as stack:
        found = {}
        for turn in range(given.turns + 1):
            for name, make in programs(given, case, spec, root).items():
                folder = tempfile.TemporaryDirectory(dir=root)
                once = make(pathlib.Path(stack.enter_context(folder)))
                for when in ("1st", "2nd"):
                    if turn or when == "1st":
                        one = once()
                    if turn:
                        found.setdefault(f"{name}, {when}", []).append(one)
        return found


def summary(starts):
    """Medians of the moments of each program, in order of time.

    Args:
        starts: As `measure` returns.
    """
    result = {}
    for name, some in starts.items():
        for one in some:
            moments = one["moments"]
            steps = [moments[f"step {n}"] for n in range(1, STEPS + 1)]
            later = [b - a for a, b in zip(steps, steps[1:], strict=False)]
            moments["computing begins"] = steps[0] - statistics.median(later)
        moments = {
            key: statistics.median([one["moments"][key] for one in some])
            for key in some[0]["moments"]
        }
        result[name] = {
            "moments": moments,
            "first_step_ends": moments["step 1"],
            "computing_begins": moments["computing begins"],
            "all_first_step_ends": [one["moments"]["step 1"] for one in some],
            "losses": [one["losses"] for one in some],
        }
    return result


def tell(case, sides):
    """Prints the moments of a case, a column for each program and start."""
    rows = [(f"{case}, s", *sides)]
    for name in MOMENTS:
        cells = [side["moments"].get(name) for side in sides.values()]
        if any(cells):
            rows.append((name, *("" if c is None else f"{c:.2f}" for c in cells)))
    losses = [f"{side['losses'][0][0]:.3f}" for side in sides.values()]
    print(turns.table([*rows, ("loss of the first step", *losses)]))


def main():
    """Measures, prints and writes."""
    given = arguments()
    result = {"machine": turns.machine(), "batch": given.batch, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        spec = given.data or f"folder:{photos.drawn(pathlib.Path(folder) / 'photos')}"
        if given.published:
            print("\n".join(peer.changes_told(given.torch_python)))
        for case in given.case:
            sides = summary(measure(given, case, spec))
            result["cases"][case] = sides
            tell(case, sides)
            if "published, 1st" in sides:
                for when in ("1st", "2nd"):
                    pair = [sides[f"{n}, {when}"] for n in ("ours", "published")]
                    times = [one["first_step_ends"] for one in pair]
                    ratio = times[0] / times[1]
                    result[f"ours_over_published_{when}"] = ratio
                    print(f"seconds, ours over published, {when}: {ratio:.3f}")
    turns.write(result, given.out)


if __name__ == "__main__":
    main()
