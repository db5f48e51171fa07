"""Attention pictures of a folder of photos: how many a second.

    python benchmarks/attend.py --photos DIR
    python benchmarks/attend.py --photos DIR --published dino --torch-python PYTHON
    python benchmarks/attend.py --patch-size 8 --count 8 --chunk 2 ...

With --published the lines that the published script (`visualize_attention.py`) runs
for one photo take turns with `main.py attend`, on the same photos at the same size
with the same weights; its start is not charged again for each photo. Ours draws one
sheet and single pictures (photo, mean, each head, the mask of 60 % of the attention,
the photo darkened outside of it), the published one photo, heads and the mask of each
head. Attention to each row of patches of one photo that needs no resizing is compared.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import photos  # noqa: E402  (found by the line above)
import turns  # noqa: E402

TOLERANCE = 1e-4  # of a row's attention


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", metavar="DIR", help="else drawn, 640 x 480")
    parser.add_argument("--arch", default="vit_small")
    parser.add_argument("--patch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--count", type=int, default=128, help="photos, each once")
    parser.add_argument("--chunk", type=int, default=32, help="photos in a turn")
    turns.add_sizes(parser)
    turns.add_peer(parser)
    given = parser.parse_args(words)
    if given.size % given.patch_size:
        parser.error(f"--size {given.size} is no multiple of {given.patch_size}")
    return given


def measure(given):
    """Runs both sides; a dictionary of all figures."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        work = turns.chosen(given, "arch patch_size size chunk sizes")
        work["folder"] = str(folder)
        source = given.photos or photos.drawn(folder / "drawn", given.count)
        work["count"] = photos.linked(source, folder / "photos", given.count)
        work["photos"] = str(folder / "photos")
        # Of a size that nobody resizes, so that the networks see the same pixels.
        size = (given.size, given.size)
        checked = photos.drawn(folder / "check", 1, size, classes=1, suffix="png")
        work["check"] = str(checked / "class0" / "00000.png")
        sides = turns.started(turns.commands("attend", given, work), folder, stack)
        checks = {
            side.name: side.ask(do="run", what="check", count=1)["results"][0]
            for side in sides
        }
        rounds = -(-work["count"] // given.chunk)
        found = turns.take_turns(sides, rounds, 1, 0, "pictures")
        return summary(work, found, checks)


def summary(work, found, checks):
    """Figures of `take_turns` with rates, the ratio, and whether maps are alike."""
    sides = {}
    for name, one in found.items():
        sides[name] = turns.figures(one)
        # The last part may be smaller than the others: all photos by all seconds.
        sides[name]["per_second"] = work["count"] / sum(one["seconds"])
        files, size = map(sum, zip(*one["results"], strict=True))
        sides[name] |= {"files": files, "bytes": size}
    result = {"work": work, "machine": turns.machine(), "sides": sides}
    if len(sides) == 2:
        rates = [side["per_second"] for side in sides.values()]
        result["ours_over_published"] = rates[0] / rates[1]
        pairs = zip(*checks.values(), strict=True)
        apart = max(abs(a - b) / max(abs(b), 1e-9) for a, b in pairs)
        result |= {"attention_apart": apart, "alike": apart <= TOLERANCE}
    return result


def tell(result):
    """Prints a result as a table, and whether the work was alike."""
    lines = {
        "photos per second": "{per_second:.3f}",
        "seconds of a turn": "{median_seconds:.2f}",
        "processor seconds of it": "{processor_seconds:.2f}",
        "seconds to get ready": "{ready_seconds:.1f}",
        "files": "{files}",
        "bytes": "{bytes:,}",
        "peak memory, MiB": "{peak_mb}",
    }
    turns.tell(result["sides"], lines)
    if "alike" in result:
        print(f"ours over published: {result['ours_over_published']:.3f}")
        alike = "alike" if result["alike"] else "NOT ALIKE"
        print(f"attention {alike}: apart by {result['attention_apart']:.1e}")


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
