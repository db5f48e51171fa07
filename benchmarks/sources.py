"""How many photos a second a source gives: `python benchmarks/sources.py [SPEC ...]`.

Prints one line of JSON for each source, by processor time, so that other work on the
machine matters little.
"""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def measure(spec, photos=500):
    """Photos per second of processor time, reading bytes in order."""
    from dino_tf.datasets import open_source

    source = open_source(spec)
    source.image_bytes(0)
    count = min(photos, len(source))
    start = time.process_time()
    for index in range(count):
        source.image_bytes(index)
    rate = count / max(time.process_time() - start, 1e-9)
    return {"source": spec, "photos": count, "per_second": round(rate, 1)}


if __name__ == "__main__":
    for name in sys.argv[1:] or ["scenes"]:
        print(json.dumps(measure(name)), flush=True)
