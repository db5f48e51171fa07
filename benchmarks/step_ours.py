"""Our side of `step.py`: `DINO.train_step` on one fixed batch of views."""

import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

import answers  # noqa: E402  (found by the line above, as is dino_tf)


def build(work):
    """The compiled `DINO` of a piece of work."""
    import keras

    import dino_tf
    from dino_tf.distribute import make_strategy
    from dino_tf.histograms import HistogramPrediction
    from dino_tf.muon import Muon, matrix_parts
    from dino_tf.optimizers import AdamW

    keras.config.set_dtype_policy(work["precision"])
    keras.utils.set_random_seed(0)
    changes = work.get("sizes", {})
    with make_strategy(work["strategy"]).scope():
        backbone = dino_tf.create_backbone(
            work["arch"],
            work["patch_size"],
            work["global_size"],
            drop_path_rate=work["drop_path"],
            **changes,
        )
        parts = work.get("parts", ())
        head = dino_tf.DINOHead(work["out_dim"])
        centering = "sinkhorn" if "sinkhorn" in parts else "center"
        loss = dino_tf.DINOLoss(work["out_dim"], centering=centering)
        model = dino_tf.DINO(
            backbone,
            head,
            loss,
            recompute=work["recompute"],
            koleo_weight=0.1 if "koleo" in parts else 0.0,
            histograms=HistogramPrediction(20.0) if "histograms" in parts else None,
        )
        rates = {"learning_rate": 1e-4, "weight_decay": 0.04}
        optimizer = AdamW(**rates)
        if "muon" in parts:
            optimizer = Muon(**rates, parts=matrix_parts(model, backbone))
        if work["precision"] == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, jit_compile=work["xla"])
    return model


def views(work):
    """The fixed batch: {"global": (B, 2, S, S, 3), "local": (B, V, s, s, 3)}."""
    import numpy as np

    rng, batch = np.random.default_rng(1), work["batch"]
    large = (batch, 2, work["global_size"], work["global_size"], 3)
    small = (batch, work["num_local"], work["local_size"], work["local_size"], 3)
    return {
        "global": rng.standard_normal(large, np.float32),
        "local": rng.standard_normal(small, np.float32),
    }


def write_weights(model, folder):
    """Student's weights under the published names, for the other side."""
    import numpy as np

    from dino_tf.models.weights import published_weights

    parts = {"backbone": model.student_backbone, "head": model.student_head}
    arrays = {
        f"{part}.{name}": array
        for part, layer in parts.items()
        for name, array in published_weights(layer).items()
    }
    np.savez(pathlib.Path(folder) / "weights.npz", **arrays)


def measures(dtype="float32"):
    """What `answers.serve` takes beside the work: the ceiling and the memory."""
    import tensorflow as tf

    gpus = [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    size, experimental = answers.matrix_size(gpus), tf.config.experimental
    matrix = tf.cast(tf.random.normal((size, size)), dtype)

    def multiply():
        tf.linalg.matmul(matrix, matrix)[0, 0].numpy()

    def device_memory():
        peaks = [experimental.get_memory_info(name)["peak"] for name in gpus]
        return round(max(peaks) / 2**20) if peaks else None

    def forget_device():
        for name in gpus:
            experimental.reset_memory_stats(name)

    return {
        "ceiling": lambda: answers.matrix_rate(multiply, size),
        "device_memory": device_memory,
        "forget_device": forget_device,
    }


def main():
    """Answers requests, one training step each."""
    work = json.loads(sys.argv[1])
    from dino_tf.distribute import starting_sooner

    with starting_sooner():
        serve(work)


def step_of(model, batch):
    """Function that trains one step on the batch and gives the loss."""
    import tensorflow as tf

    model.make_train_function()
    strategy = model.distribute_strategy
    data = tf.data.Dataset.from_tensors(batch).repeat()
    stream = iter(strategy.experimental_distribute_dataset(data))

    def run():
        model.reset_metrics()
        return float(model.train_function(stream)["loss"])

    return run


def serve(work):
    """`answers.serve` of training steps."""
    model, batch = build(work), views(work)
    write_weights(model, work["folder"])
    dtype = "float32" if work["precision"] == "float32" else work["precision"][6:]
    answers.serve(step_of(model, batch), **measures(dtype))


if __name__ == "__main__":
    main()
