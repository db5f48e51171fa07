"""Our side of `views.py`: batches of `make_dataset` out of a folder."""

import contextlib
import json
import os
import sys
import threading
import time

import answers

WORK = json.loads(sys.argv[1])
# Before anything starts threads.
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: WORK["workers"]])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(answers.pathlib.Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from dino_tf.datasets import open_source  # noqa: E402
from dino_tf.photo_cache import DiskCache, MemoryCache  # noqa: E402
from dino_tf.transforms.multicrop import MultiCrop  # noqa: E402

TIMES = {}
INSIDE = threading.local()


def timed(stage, owner, name):
    """Adds a thread's time in a function to a stage, less that of stages inside it."""
    function = getattr(owner, name)

    def call(*args, **kwargs):
        outer, INSIDE.seconds = getattr(INSIDE, "seconds", 0.0), 0.0
        start = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent = time.thread_time() - start
            TIMES[stage] += spent - INSIDE.seconds
            INSIDE.seconds = outer + spent

    TIMES[stage] = 0.0
    setattr(owner, name, call)


def watch_stages():
    """Times the parts of the pipeline from here on; meant for one worker."""
    from dino_tf import reading
    from dino_tf.datasets.folder import FileSource
    from dino_tf.transforms import augment, multicrop

    timed("read the file", FileSource, "image_bytes")
    timed("decode", reading, "try_decode_photo")
    timed("draws and calls", multicrop.MultiCrop, "draw")
    timed("resize", multicrop.Resampler, "crop")
    timed("resize", multicrop, "Resampler")
    timed("jitter and hue", augment, "color_jitter")
    timed("blur", augment, "gaussian_blur")
    timed("grey and solarise", augment, "grayscale")
    timed("grey and solarise", augment, "solarize")
    timed("normalise", multicrop, "normalize_array")


def new_cache():
    """The cache that was asked for, large enough for all."""
    if WORK["cache"] == "disk":
        return DiskCache(WORK["cache_folder"], "views", 100)
    return MemoryCache(100) if WORK["cache"] == "memory" else None


def seconds_of_others():
    """Seconds of the processor that the processes started from here have used."""
    total = 0
    for file in answers.pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def main():
    """Answers requests; a run is one pass over the photos."""
    source = open_source(f"folder:{WORK['folder']}")
    count = min(WORK["photos"], len(source)) // WORK["batch"] * WORK["batch"]
    source = source.subset(range(count))
    sizes = {key: WORK[key] for key in ("global_size", "local_size", "num_local")}
    if WORK["stages"]:
        watch_stages()
    from dino_tf import pipeline

    # Traced once, as in a training.
    data = pipeline.make_dataset(
        source,
        MultiCrop(**sizes),
        WORK["batch"],
        repeat=False,
        workers=WORK["workers"],
        processes=WORK["processes"],
        decode_margin=WORK["margin"],
        cache=new_cache(),
    )

    def run():
        TIMES.update(dict.fromkeys(TIMES, 0.0))
        start, before = time.process_time(), seconds_of_others()
        batches = [first_view(batch) for batch in data.as_numpy_iterator()]
        values = np.stack(batches)
        answer = {
            "photos": count,
            "mean": float(values.mean()),
            "deviation": float(values.std()),
            "others": seconds_of_others() - before,
        }
        if WORK["stages"]:
            rest = time.process_time() - start - sum(TIMES.values())
            answer["stages"] = TIMES | {"tf.data and batches": rest}
        return answer

    answers.serve(run)


def first_view(batch):
    """A few pixels of each batch, so that something is done with it."""
    return batch["global"][:, :, ::16, ::16]


if __name__ == "__main__":
    main()
