"""How many photos a second one processor core turns into training views.

    python benchmarks/views.py
    python benchmarks/views.py --published dino --torch-python PYTHON
    python benchmarks/views.py --photo 4000x3000 --photos 16 --published dino ...
    python benchmarks/views.py --folder photos --stages --out views.json

From JPEG files to batches of normalised views: ours by `make_dataset` with one worker,
the published one by `DataAugmentationDINO` (torchvision on Pillow) in a `DataLoader`
without further processes. Each side has the same core to itself while the other waits;
seconds of the processor count all threads of a side. Without --folder photos are
generated: noise with the spectrum of photos, saved at quality 90 (4:2:0). Where others
use the processor too, seconds of the processor say more than photos a second.
"""

import argparse
import contextlib
import pathlib
import statistics
import sys
import tempfile

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import turns  # noqa: E402  (found by the line above)


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="photos to read; else they are generated")
    parser.add_argument("--photo", default="640x480", help="width x height, pixels")
    parser.add_argument("--photos", type=int, default=128, help="photos in a run")
    parser.add_argument("--runs", type=int, default=2, help="runs in a turn")
    parser.add_argument("--global-size", type=int, default=224)
    parser.add_argument("--local-size", type=int, default=96)
    parser.add_argument("--num-local", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="ours: threads, cores")
    parser.add_argument("--processes", type=int, default=0, help="ours: pipeline's")
    parser.add_argument(
        "--margin", type=float, default=None, help="ours: pipeline.decode_margin"
    )
    parser.add_argument(
        "--cache", default="none", choices=("none", "memory", "disk"), help="ours"
    )
    parser.add_argument("--stages", action="store_true", help="ours: parts of the time")
    turns.add_peer(parser)
    return parser.parse_args(words)


def write_photos(folder, count, width, height):
    """Writes `count` JPEG files, of a few different photos."""
    kinds = 16 if width * height < 1e6 else 2
    for number in range(min(count, kinds)):
        file = folder / f"{number:06d}.jpg"
        pixels = generated_photo(np.random.default_rng(number), width, height)
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        for copy in range(number + kinds, count, kinds):
            (folder / f"{copy:06d}.jpg").write_bytes(file.read_bytes())


def generated_photo(rng, width, height, falloff=1.15):
    """uint8 (height, width, 3) whose spectrum falls off as that of photos does.

    At 640 x 480 the file has about 155 kB, the mean of 128 photos of COCO of that size.
    """
    rows = np.fft.fftfreq(height)[:, None] * height
    columns = np.fft.rfftfreq(width) * width
    strength = np.maximum(np.hypot(rows, columns), 1.0) ** -falloff
    planes = []
    for _ in range(3):
        waves = rng.normal(size=strength.shape) + 1j * rng.normal(size=strength.shape)
        plane = np.fft.irfft2(waves * strength, s=(height, width))
        planes.append(plane / plane.std())
    shared, *others = planes
    planes = [shared, *(0.85 * shared + 0.5 * plane for plane in others)]
    return np.clip(120 + 50 * np.stack(planes, -1), 0, 255).astype(np.uint8)


def measure(given):
    """Runs the sides in turns; a dictionary of all figures."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        logs = pathlib.Path(temporary)
        folder = logs / "photos"
        if given.folder:
            folder = pathlib.Path(given.folder)
        else:
            folder.mkdir()
            sides = [int(side) for side in given.photo.split("x")]
            write_photos(folder, given.photos, *sides)
        keys = "photos global_size local_size num_local batch workers processes"
        work = turns.chosen(given, f"{keys} margin cache stages")
        work |= {"folder": str(folder), "cache_folder": str(logs / "cache")}
        sides = turns.started(turns.commands("views", given, work), logs, stack)
        return summary(work, turns.take_turns(sides, given.turns, given.runs))


def summary(work, found):
    """Figures of `take_turns` with rates, seconds of the processor and the ratios."""
    sides = {}
    for name, one in found.items():
        results = one["results"]
        photos = results[0]["photos"]
        others = [result.get("others", 0.0) for result in results]
        used = [a + b for a, b in zip(one["processor_seconds"], others, strict=True)]
        told = turns.figures(one)
        sides[name] = {
            **told,
            "photos_per_second": photos / told["median_seconds"],
            "processor_ms_per_photo": 1000 * statistics.median(used) / photos,
            "of_them_in_other_processes": 1000 * statistics.median(others) / photos,
            "mean_of_views": results[0]["mean"],
            "deviation_of_views": results[0]["deviation"],
        }
        stages = [result.get("stages") for result in results]
        if stages[0]:
            sides[name]["stages_ms_per_photo"] = {
                stage: 1000 * statistics.median(s[stage] for s in stages) / photos
                for stage in stages[0]
            }
    result = {"work": work, "machine": turns.machine(), "sides": sides}
    if len(sides) == 2:
        rates = [side["photos_per_second"] for side in sides.values()]
        used = [side["processor_ms_per_photo"] for side in sides.values()]
        result["ours_over_published"] = rates[0] / rates[1]
        result["processor_seconds_published_over_ours"] = used[1] / used[0]
    return result


def alike(ours, theirs):
    """Whether views of both sides, drawn by different chance, have like values."""
    keys = "mean_of_views", "deviation_of_views"
    return all(abs(ours[key] - theirs[key]) < 0.1 for key in keys)


def tell(result):
    """Prints a result as a table."""
    lines = {
        "photos per second": "{photos_per_second:.1f}",
        "processor, ms a photo": "{processor_ms_per_photo:.2f}",
        "of them in other processes": "{of_them_in_other_processes:.2f}",
        "peak memory, MiB": "{peak_mb}",
        "mean of the views": "{mean_of_views:.3f}",
        "their deviation": "{deviation_of_views:.3f}",
    }
    turns.tell(result["sides"], lines)
    if "ours_over_published" in result:
        print(f"ours over published: {result['ours_over_published']:.2f}")
        ratio = result["processor_seconds_published_over_ours"]
        print(f"by seconds of the processor: {ratio:.2f}")
        words = "alike" if alike(*result["sides"].values()) else "NOT ALIKE"
        print(f"views {words} in mean and deviation")
    stages = result["sides"]["ours"].get("stages_ms_per_photo", {})
    if stages:
        total = result["sides"]["ours"]["processor_ms_per_photo"]
        print("where ours spends them, ms a photo:")
        cells = [
            (stage, f"{ms:.2f}", f"{ms / total:.0%}") for stage, ms in stages.items()
        ]
        print(turns.table(cells))


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
