"""Runs a grid of short trainings and compares them: what settings learn most?

    python benchmarks/recipes/study.py benchmarks/recipes/grids/automatic_small.yaml \
        --data cifar=path/to/photos --out recipes

Each training is a run of `main.py` in a folder of its own, and one that was stopped
goes on. Validation photos are cut from the training split; `--final NAME` trains on all
of it and looks at the test photos, once. `study.json` and `study.html` in the folder
tell what was found so far, with means and spreads over the seeds.
"""

import argparse
import json
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import findings  # noqa: E402
import grid as grids  # noqa: E402
import page  # noqa: E402
import trials  # noqa: E402

from dino_tf.errors import UserError  # noqa: E402
from dino_tf.run_folder import write_text  # noqa: E402


def main(argv=None):
    """Exit status: 0; 1 after an error of the person's or a training that failed; 130
    after Ctrl-C, 143 after SIGTERM."""
    options = _options(argv)
    try:
        grid = grids.read(options.grid, options.data, options.set)
        return _study(grid, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, trials.Terminated) as error:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 143 if isinstance(error, trials.Terminated) else 130


def _options(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="YAML file; see grids/")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=SPEC",
        help="where the photos of a source of the grid are",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="in place of a value of the grid's base, such as init=RUN",
    )
    parser.add_argument("--out", required=True, help="folder of all runs and findings")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--only", nargs="+", metavar="NAME", help="settings to run")
    parser.add_argument("--sources", nargs="+", metavar="NAME", help="sources to run")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the grid's")
    chosen.add_argument(
        "--final",
        nargs="+",
        metavar="NAME",
        help="settings that were chosen: train on all training photos, then look at "
        "the test photos",
    )
    parser.add_argument(
        "--list", action="store_true", help="tell what would run, and run nothing"
    )
    return parser.parse_args(argv)


def _study(grid, options):
    out = pathlib.Path(options.out)
    chosen = options.final or options.only
    wanted = list(grid.trials(chosen, options.sources, options.seeds, options.final))
    failed = 0
    for number, trial in enumerate(wanted, 1):
        state = trials.state(trial, out)
        print(f"[{number}/{len(wanted)}] {trial.name}: {state}", flush=True)
        if options.list or state == trials.DONE:
            continue
        try:
            result = trials.run(trial, out)
            print(f"    {findings.words(result)}", flush=True)
        except trials.Failed as error:
            failed += 1
            print(f"    {error}", file=sys.stderr, flush=True)
        _tell(grid, out)
    if wanted and not options.list:
        _tell(grid, out)
    return 1 if failed else 0


def _tell(grid, out):
    """Writes `study.json` and `study.html` of everything that has ended."""
    results = findings.told_apart([r for r in trials.collect(out) if grid.has(r)])
    if not results:
        return
    summary = findings.summarise(results, grid.against, grid.settings)
    text = json.dumps({"grid": grid.about, **summary}, indent=1)
    write_text(out / "study.json", text + "\n")
    page.write(out / "study.html", grid.about, summary, results)


def _terminate(number, frame):
    raise trials.Terminated


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    raise SystemExit(main())
