"""Training steps of 1, 2, n worker processes on this machine.

    python benchmarks/workers.py --workers 1 2
    python benchmarks/workers.py --workers 1 2 4 8 --arch vit_small --batch 64

Two questions: at a fixed batch for each worker (ideal: steps take as long as one
worker's) and at a fixed batch for all together (ideal: n workers take an n-th). Views
are drawn once, so that reading photos plays no part. GPUs of the machine are dealt out
to the workers, processor cores too; with fewer cores than workers the figures show only
that the machinery runs. Bytes are counted from the variables: what all replicas average
in a step, and what each worker sends for it round a ring.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
HEADER = "workers  batch  each  s/step  photos/s  scaling  MB reduced  MB sent"
KEYS = "workers batch of_each seconds photos_per_second scaling reduced_mb sent_mb"


def new_model(given):
    """`DINO` as the arguments ask for, compiled, and the spec of its views."""
    import keras

    from dino_tf.dino import DINO
    from dino_tf.loss import DINOLoss
    from dino_tf.models.backbones import create_backbone
    from dino_tf.models.head import DINOHead

    keras.config.set_dtype_policy(given.precision)
    keras.utils.set_random_seed(0)
    backbone = create_backbone(given.arch, image_size=given.global_size)
    head = DINOHead(given.out_dim, use_bn=given.use_bn)
    model = DINO(backbone, head, DINOLoss(given.out_dim))
    model.compile("adamw", jit_compile="auto")
    return model


def drawn_views(given, part, batch):
    """The same random batch again and again: this worker's rows of it."""
    import numpy as np
    import tensorflow as tf

    draw, (index, parts) = np.random.default_rng(1), part
    rows = slice(index * batch // parts, (index + 1) * batch // parts)
    views = {"global": (2, given.global_size), "local": (given.local, given.local_size)}
    arrays = {
        name: draw.normal(size=(batch, count, size, size, 3)).astype("float32")[rows]
        for name, (count, size) in views.items()
    }
    return tf.data.Dataset.from_tensors(arrays).repeat()


def bytes_reduced(model):
    """Bytes that replicas average in one step: gradients, center, batch statistics."""
    statistics_of = [v for v in model.weights if "/moving_" in v.path]
    averaged = [*model.trainable_variables, model.dino_loss.center, *statistics_of]
    return sum(4 * int(v.value.shape.num_elements()) for v in averaged)


def work(given, batch):
    """Steps of one worker; the chief's seconds, loss and bytes as a dictionary."""
    import keras
    import tensorflow as tf

    from dino_tf.cluster import find_cluster
    from dino_tf.distribute import make_strategy
    from dino_tf.multi_worker import share_batches, start

    tf.config.threading.set_intra_op_parallelism_threads(given.threads)
    cluster = find_cluster()
    several = len(tf.config.list_physical_devices("GPU")) > 1
    strategy = start(cluster) if cluster else None
    strategy = strategy or make_strategy("mirrored" if several else "none")

    class Times(keras.callbacks.Callback):
        ends, losses = [], []

        def on_train_batch_end(self, step, logs=None):
            # Reading the number waits for the step.
            self.losses.append(float(logs["loss"]))
            self.ends.append(time.perf_counter())

    with strategy.scope():
        model = new_model(given)
        if cluster:
            data = share_batches(lambda part: drawn_views(given, part, batch))
        else:
            data = drawn_views(given, (0, 1), batch)
    steps = {"steps_per_epoch": given.steps + given.warm_up, "shuffle": False}
    model.fit(data, verbose=0, callbacks=[Times()], **steps)
    ends = Times.ends[given.warm_up - 1 :]
    seconds = [b - a for a, b in zip(ends, ends[1:], strict=False)]
    return {
        "seconds": statistics.median(seconds),
        "loss": Times.losses[0],
        "replicas": strategy.num_replicas_in_sync,
        "bytes": bytes_reduced(model),
    }


def shares_of_gpus(count):
    """CUDA_VISIBLE_DEVICES of each of `count` workers; None without GPUs."""
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [None] * count
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = gpus.split(",") if gpus else answer.stdout.split()
    each = len(gpus) // count
    if not each:
        sys.exit(f"{count} workers, but {len(gpus)} GPUs: at most one worker for each")
    return [",".join(gpus[i * each : (i + 1) * each]) for i in range(count)]


def free_addresses(count):
    """Addresses of this machine that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def run_workers(count, batch):
    """What the chief of `count` workers measured."""
    addresses = free_addresses(count)
    running = []
    with tempfile.TemporaryDirectory() as folder:
        for index, gpus in enumerate(shares_of_gpus(count)):
            task = {"type": "worker", "index": index}
            cluster = {"cluster": {"worker": addresses}, "task": task}
            environ = {"TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "3"}
            if gpus is not None:
                environ["CUDA_VISIBLE_DEVICES"] = gpus
            out = pathlib.Path(folder) / f"{index}.json"
            command = [sys.executable, __file__, *sys.argv[1:]]
            command += ["--threads", str(max((os.cpu_count() or 1) // count, 1))]
            command += ["--measure", str(out), str(batch)]
            running.append(subprocess.Popen(command, env=os.environ | environ))
        try:
            if any([process.wait() for process in running]):
                sys.exit(f"{count} workers with batch {batch}: one failed")
        finally:
            for process in running:
                process.kill()
        return json.loads((pathlib.Path(folder) / "0.json").read_text())


def row(count, batch, found, first):
    """One line of the table, as a dictionary; scaling is 1 where it is ideal."""
    rate = batch / found["seconds"]
    ideal = count / first["workers"] if first else 1.0
    reduced = found["bytes"] / 1e6
    return {
        "workers": count,
        "batch": batch,
        "of_each": batch // count,
        "seconds": round(found["seconds"], 4),
        "photos_per_second": round(rate, 2),
        "scaling": round(rate / first["photos_per_second"] / ideal, 3)
        if first
        else 1.0,
        "reduced_mb": round(reduced, 2),
        "sent_mb": round(2 * (count - 1) / count * reduced, 2),
        "replicas": found["replicas"],
        "loss": found["loss"],
    }


def measure(given):
    """Both tables, printed while they grow."""
    tables = {}
    for name in ("batch of each worker fixed", "batch of all workers fixed"):
        print(f"\n{name}\n{HEADER}", flush=True)
        rows = tables[name] = []
        for count in given.workers:
            batch = given.batch * (count if name.startswith("batch of each") else 1)
            if batch % count:
                print(f"{count:>7}  {batch} photos cannot be shared equally")
                continue
            found = run_workers(count, batch)
            rows.append(row(count, batch, found, rows[0] if rows else None))
            widths = [len(word) for word in HEADER.replace("MB ", "MB_").split()]
            cells = [rows[-1][key] for key in KEYS.split()]
            print("  ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    fixed = [one["loss"] for one in tables["batch of all workers fixed"]]
    if max(fixed) - min(fixed) > 1e-3:
        sys.exit(f"the same batch gave the losses {fixed}: the work is not the same")
    return tables


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--arch", default="vit_tiny")
    parser.add_argument("--global-size", type=int, default=96)
    parser.add_argument("--local-size", type=int, default=48)
    parser.add_argument("--local", type=int, default=4)
    parser.add_argument("--out-dim", type=int, default=4096)
    parser.add_argument("--use-bn", action="store_true")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", help="new .json file for the tables")
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    """Measures, or is one of the workers that are measured."""
    given = arguments()
    if given.measure:
        out, batch = given.measure
        pathlib.Path(out).write_text(json.dumps(work(given, int(batch))))
        return
    if given.out and os.path.exists(given.out):
        sys.exit(f"{given.out} exists")
    tables = {"arguments": vars(given), "tables": measure(given)}
    text = json.dumps(tables, indent=2)
    if given.out:
        pathlib.Path(given.out).write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
