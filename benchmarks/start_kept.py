"""How soon a second start could compute, had the first kept its traced step on disk.

    python benchmarks/start_kept.py
    python benchmarks/start_kept.py --precision float32 --turns 5

A bound for `start.py`, not a way that the program goes: the training step of a ViT is
traced and saved with its weights, then loaded by fresh processes that need neither
build nor trace it. What is left is importing TensorFlow and Keras, reading the step,
and what TensorFlow itself does to a graph before its first operation.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import turns  # noqa: E402  (found by the line above)

MOMENTS = ("imported", "loaded", "computing begins", "first step ends")


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_network(parser, ("float32", "mixed_bfloat16"))
    parser.set_defaults(precision="mixed_bfloat16")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", metavar="FILE", help="the figures as JSON")
    return parser.parse_args(words)


def keep(work, folder):
    """Saves the traced step with all that it changes."""
    import step_ours
    import tensorflow as tf

    model, batch = step_ours.build(work), step_ours.views(work)
    parts = (model, model.optimizer, model.loss_tracker, model.signals)
    kept = tf.Module()
    kept.held = [v.value for part in parts for v in part.variables]
    specs = {name: tf.TensorSpec(views.shape) for name, views in batch.items()}
    kept.step = tf.function(model.train_step, autograph=False)
    kept.step.get_concrete_function(specs)
    tf.saved_model.save(kept, folder)


def use(work, folder, began):
    """Moments of a process that loads the step and runs it twice."""
    import keras  # noqa: F401  (a start needs it)
    import step_ours
    import tensorflow as tf

    from dino_tf.distribute import starting_sooner

    moments = {"imported": time.time() - began}
    with starting_sooner():
        batch = step_ours.views(work)
        kept = tf.saved_model.load(folder)
        moments["loaded"] = time.time() - began
        float(kept.step(batch)["loss"])
        moments["first step ends"] = time.time() - began
        second = time.perf_counter()
        float(kept.step(batch)["loss"])
        seconds = time.perf_counter() - second
    moments["computing begins"] = moments["first step ends"] - seconds
    return moments


def measure(given):
    """Starts as many processes as there are turns; a dictionary of all figures."""
    work = turns.chosen(given, turns.NETWORK)
    work |= {"drop_path": 0.1, "xla": False, "recompute": False, "strategy": "none"}
    with tempfile.TemporaryDirectory() as folder:
        _run("keep", work, folder)
        found = [json.loads(_run("use", work, folder)) for _ in range(given.turns)]
    moments = {key: statistics.median(one[key] for one in found) for key in MOMENTS}
    return {"work": work, "machine": turns.machine(), "moments": moments, "all": found}


def _run(what, work, folder):
    told = json.dumps([what, work, folder, time.time()])
    command = [sys.executable, __file__, "--process", told]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit("\n".join(done.stderr.strip().splitlines()[-8:]))
    return done.stdout.strip().rpartition("\n")[2]


def tell(result):
    """Prints the moments."""
    rows = [(name, f"{result['moments'][name]:.2f}") for name in MOMENTS]
    print(turns.table([("seconds after the start", ""), *rows]))


def main():
    """Measures, prints and writes; or is one of the processes."""
    if sys.argv[1:2] == ["--process"]:
        what, *others, began = json.loads(sys.argv[2])
        print(json.dumps(use(*others, began) if what == "use" else keep(*others)))
        return
    turns.main(arguments, measure, tell)


if __name__ == "__main__":
    main()
