"""Time and memory of shards by the number of records.

    python benchmarks/shards.py                     1,000, 10,000 and 100,000 records
    python benchmarks/shards.py --records 1281167 --out shards.json

For each number a data set of generated photos (JPEG of 32 x 32 pixels, 256 different
ones, each record with an id and a label of its own) is written into shards, and a
process of its own reads one shuffled epoch twice: the bytes alone, and through
`make_dataset`, that is with order, threads and decoding, but with one corner of the
photo for all views, as their arithmetic is the same wherever photos come from. It
prints

    write       seconds of writing, per record
    open        seconds until the source is open
    read        microseconds of processor and wall time per record, bytes alone
    dataset     the same through the whole pipeline, its first batch not counted
    before      resident memory after the first batch, MB
    peak, end   the largest while the rest of the epoch is read, and at its end, MB
    index       bytes of the index for each record

Resident memory counts the pages of the mapped index that were looked at. JSON follows
with `--out`.
"""

import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
DISTINCT, SIDE, CLASSES, BATCH = 256, 32, 100, 100


def write(count, folder, shard_mb):
    """Writes `count` records; returns seconds."""
    from PIL import Image

    from dino_tf.datasets.source import Source
    from dino_tf.shard_writer import write_shards

    files = []
    for seed in range(DISTINCT):
        rng, file = np.random.default_rng(seed), io.BytesIO()
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        photo = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        photo.save(file, "JPEG")
        files.append(file.getvalue())

    class Generated(Source):
        name = "generated"
        class_names = tuple(f"class {number}" for number in range(CLASSES))

        def __len__(self):
            return count

        def id(self, index):
            return f"{index % CLASSES:03d}/{index:08d}.JPEG"

        def image_bytes(self, index):
            return files[index % DISTINCT]

        def labels(self, index):
            return (index % CLASSES,)

        def stamp(self):
            return f"{count} generated photos"

    began = time.perf_counter()
    write_shards(Generated(), folder, shard_mb=shard_mb)
    return time.perf_counter() - began


def read(folder, records):
    """What one process finds that opens the shards and reads an epoch; a dictionary.

    Args:
        folder: Folder of shards.
        records: At most so many are read, of an epoch of all.
    """
    import tensorflow as tf

    from dino_tf.datasets import open_source
    from dino_tf.pipeline import make_dataset

    began = time.perf_counter()
    source = open_source(f"shards:{folder}")
    result = {"records": len(source), "open_seconds": time.perf_counter() - began}
    count = min(records, len(source))
    places = np.random.default_rng(0).permutation(len(source))[:count].tolist()
    with _Clock() as clock:
        total = sum(len(source.image_bytes(place)) for place in places)
    result |= {"photo_bytes": total / count, **clock.per_record("read", count)}
    del places

    def views(image, seed):
        corner = tf.cast(image[:8, :8], tf.float32)
        return {"global": tf.stack([corner, corner]), "local": corner[None]}

    data = iter(make_dataset(source, views, BATCH).take(count // BATCH))
    next(data)
    _reset_peak()
    result["before_mb"] = _memory("VmRSS")
    with _Clock() as clock:
        for batch in data:
            tf.debugging.assert_all_finite(batch["global"][0], "view")
    result |= clock.per_record("dataset", count - BATCH)
    result |= {"peak_mb": _memory("VmHWM"), "end_mb": _memory("VmRSS")}
    arrays = pathlib.Path(folder, "train").glob("*.npy")
    size = sum(file.stat().st_size for file in arrays)
    return result | {"index_bytes": size / len(source)}


class _Clock:
    """Wall and processor time of a block."""

    def __enter__(self):
        self.wall, self.processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall = time.perf_counter() - self.wall
        self.processor = time.process_time() - self.processor

    def per_record(self, name, count):
        """Both in microseconds for each of `count` records."""
        both = {"wall": self.wall, "processor": self.processor}
        return {f"{name}_{kind}_us": 1e6 * t / count for kind, t in both.items()}


def _memory(what):
    """A figure of this process in MB, "VmRSS" or "VmHWM"; Linux only."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{what}:"))
    return int(found.split()[1]) / 1024


def _reset_peak():
    # Five resets the peak; see proc_pid_clear_refs(5).
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def measure(count, records, shard_mb):
    """Writes and reads `count` records, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, __file__, "--folder", folder]
        common = [*program, "--shard-mb", str(shard_mb), "--most", str(records)]
        answers = []
        for step in (["--records", str(count)], []):
            done = subprocess.run(
                [*common, *step], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            answers.append(json.loads(done.stdout.splitlines()[-1]))
        shards = len(list(pathlib.Path(folder, "train").glob("*.tfrecord")))
    return {**answers[1], "write_us": 1e6 * answers[0] / count, "shards": shards}


COLUMNS = {
    "  records": "records",
    "shards": "shards",
    "write us": "write_us",
    "open ms": "open_ms",
    "read us": "read_wall_us",
    "(cpu)": "read_processor_us",
    "dataset us": "dataset_wall_us",
    "(cpu) ": "dataset_processor_us",
    "before MB": "before_mb",
    "peak MB": "peak_mb",
    "end MB": "end_mb",
    "index B": "index_bytes",
}


def main():
    """Reads the arguments and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+")
    parser.add_argument("--most", type=int, default=10**9, help="records to read")
    parser.add_argument("--shard-mb", type=float, default=8.0)
    parser.add_argument("--out", metavar="FILE.json")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        answer = (
            write(given.records[0], given.folder, given.shard_mb)
            if given.records
            else read(given.folder, given.most)
        )
        print(json.dumps(answer))
        return
    print("  ".join(COLUMNS))
    found = []
    for count in given.records or (1000, 10_000, 100_000):
        one = measure(count, given.most, given.shard_mb)
        one["open_ms"] = 1e3 * one["open_seconds"]
        found.append(one)
        cells = [
            f"{one[key]:>{len(name)},.{0 if one[key] >= 100 else 1}f}"
            for name, key in COLUMNS.items()
        ]
        print("  ".join(cells), flush=True)
    if given.out:
        pathlib.Path(given.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
