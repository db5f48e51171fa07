"""Two programs measured in turns (A B A B) in one run, and what is told of it.

A *side* is a process of its own that answers requests, one line of JSON each, by the
loop in `answers.py`. While one works the other waits, so that both see the same
machine: their ratio means something where single times do not.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


class Side:
    """A process that answers requests.

    Args:
        name: What it is called in the tables.
        command: Program and arguments; it starts at once.
        log: File that takes what it writes to its error stream.
    """

    def __init__(self, name, command, log):
        self.name, self.log = name, pathlib.Path(log)
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, **request):
        """Its answer to a request, a dictionary; waits for it.

        Raises:
            SystemExit: When it has ended, with the last lines of its error stream.
        """
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            words = self.log.read_text(errors="replace").strip().splitlines()[-8:]
            raise SystemExit("\n".join([f"{self.name} ended:", *words]))
        return json.loads(line)

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def main(arguments, measure, tell):
    """A benchmark from its command line to its table and its JSON.

    Args:
        arguments: Function that reads the command line.
        measure: Function of what it gave; the result, a dictionary.
        tell: Function that prints the result.
    """
    given = arguments()
    result = measure(given)
    tell(result)
    write(result, given.out)


def commands(name, given, ours, theirs=None):
    """Commands of the programs `<name>_ours.py` and `<name>_published.py`.

    Args:
        name: Name of the benchmark.
        given: The command line, with the arguments of `add_peer`.
        ours: What our side is told, a dictionary.
        theirs: What the published side is told; None: the same.

    Returns:
        {"ours": command, "published": command}; the second where it is asked for.
    """
    command = [sys.executable, HERE / f"{name}_ours.py", json.dumps(ours)]
    theirs = ours if theirs is None else theirs
    return {"ours": command, **published(name, given, theirs)}


def published(name, given, work):
    """{"published": command of `<name>_published.py`}, empty where not asked for.

    Args:
        name: Name of the benchmark.
        given: The command line; its checkout may be named by one of its files.
        work: What the side is told, a dictionary.
    """
    if not given.published:
        return {}
    path = pathlib.Path(given.published)
    checkout = path.parent if path.is_file() else path
    program = [given.torch_python, HERE / f"{name}_published.py"]
    return {"published": [*program, checkout, json.dumps(work)]}


def started(commands, folder, stack):
    """Sides that are ready, one after the other: later ones read what ours write.

    Args:
        commands: {name: program and arguments}.
        folder: Where their logs go.
        stack: `contextlib.ExitStack` that ends them.
    """
    sides = []
    for name, command in commands.items():
        log = pathlib.Path(folder) / f"side{len(sides)}.log"
        sides.append(stack.enter_context(Side(name, command, log)))
        sides[-1].ask(do="memory")
    return sides


def take_turns(sides, turns, count, warm_up=1, what=None):
    """Asks every side for `count` runs, `turns` times, one side after the other.

    Args:
        sides: `Side` objects.
        turns: Turns of each side.
        count: Runs in a turn.
        warm_up: Runs before the first turn that do not count.
        what: Name of the work, for sides that know several kinds.

    Returns:
        {side's name: {"first": answer to the warm-up, "seconds": seconds of every run,
        "processor_seconds": the processor's in every run, "results": of every run,
        "ceiling": best rate of a matrix product in operations per second or None,
        "memory": answer to "memory"}}.
    """
    found, request = {}, {"do": "run", "what": what}
    for side in sides:
        found[side.name] = {"first": side.ask(**request, count=warm_up)}
        side.ask(do="forget_peak")
    rates = {side.name: [] for side in sides}
    for _ in range(turns):
        for side in sides:
            rates[side.name].append(side.ask(do="ceiling").get("rate"))
            for key, values in side.ask(**request, count=count).items():
                found[side.name].setdefault(key, []).extend(values)
    for side in sides:
        known = [rate for rate in rates[side.name] if rate]
        found[side.name]["ceiling"] = statistics.median(known) if known else None
        found[side.name]["memory"] = side.ask(do="memory")
    return found


def figures(one, items=None):
    """What is told of one side of `take_turns`: a dictionary for JSON.

    Args:
        one: Its entry in the answer of `take_turns`.
        items: How many of something one run works off; None has no rate.
    """
    seconds = statistics.median(one["seconds"])
    rate = {} if items is None else {"per_second": items / seconds}
    return {
        "median_seconds": seconds,
        **rate,
        "seconds": [round(s, 4) for s in one["seconds"]],
        "processor_seconds": statistics.median(one["processor_seconds"]),
        "first_seconds": (one["first"]["seconds"] or one["seconds"])[0],
        **one["memory"],
    }


def table(rows):
    """Text of rows, each a sequence of words; columns are as wide as they need."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def tell(sides, lines, title=""):
    """Prints a table of sides; rows that no side has a figure for are left out.

    Args:
        sides: {name: figures}.
        lines: {first cell: format of the others}.
        title: First cell of the first row.
    """
    rows = [(title, *sides)]
    for label, text in lines.items():
        cells = [_cell(text, side) for side in sides.values()]
        if any(cells):
            rows.append((label, *cells))
    print(table(rows))


def _cell(text, side):
    try:
        words = text.format(**side)
    except KeyError:
        return ""
    return "" if words == "None" else words


def machine():
    """What the figures were measured on, as far as the system tells."""
    import os

    words = pathlib.Path("/proc/cpuinfo")
    names = words.read_text().splitlines() if words.is_file() else []
    models = {n.partition(":")[2].strip() for n in names if n.startswith("model name")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "processor": ", ".join(sorted(models)) or platform.processor(),
        "cores": cores or os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def read(path):
    """What a JSON file holds."""
    return json.loads(pathlib.Path(path).read_text())


def write(result, out):
    """Writes a result as JSON to `out`, a path or None."""
    if out:
        pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(out).write_text(json.dumps(result, indent=2) + "\n")


def chosen(given, keys):
    """Dictionary of the arguments that are named in `keys`, a text."""
    return {key: getattr(given, key) for key in keys.split()}


# What `add_network` adds, as `chosen` takes it.
NETWORK = (
    "arch patch_size global_size local_size num_local batch out_dim precision sizes"
)


def add_network(parser, precisions):
    """Arguments of benchmarks of a whole network on views.

    Args:
        parser: `argparse.ArgumentParser`.
        precisions: Names that are allowed.
    """
    parser.add_argument("--arch", default="vit_small")
    parser.add_argument("--patch-size", type=int, default=16)
    parser.add_argument("--global-size", type=int, default=224)
    parser.add_argument("--local-size", type=int, default=96)
    parser.add_argument("--num-local", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out-dim", type=int, default=4096)
    parser.add_argument("--precision", default="float32", choices=precisions)
    add_sizes(parser)


def add_sizes(parser):
    """`--sizes`: changes to the network's form as JSON, for tests."""
    parser.add_argument("--sizes", type=json.loads, default={}, help=argparse.SUPPRESS)


def add_peer(parser):
    """Arguments of every benchmark that can be run beside the published program."""
    parser.add_argument(
        "--published", metavar="FOLDER", help="checkout of facebookresearch/dino"
    )
    parser.add_argument(
        "--torch-python",
        metavar="PATH",
        default=sys.executable,
        help="Python that has PyTorch",
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", help="the figures as JSON")
