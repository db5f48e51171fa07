"""Our side of `network.py`: backbone, head and loss under one backend of Keras.

    KERAS_BACKEND=jax PYTHON network_ours.py JSON

The first of our sides writes the weights that all sides compute with.
"""

import json
import os
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

import answers  # noqa: E402  (found by the line above, as is dino_tf)
import numpy as np  # noqa: E402


def parts_of(work):
    """Backbone, head and loss with the common weights."""
    import keras

    import dino_tf
    from dino_tf.models.weights import assign_published, published_weights

    keras.config.set_dtype_policy(work["precision"])
    keras.utils.set_random_seed(0)
    backbone = dino_tf.create_backbone(
        work["arch"], work["patch_size"], work["global_size"], **work["sizes"]
    )
    head = dino_tf.DINOHead(work["out_dim"])
    head.build((None, backbone.embed_dim))
    file = pathlib.Path(work["folder"]) / "weights.npz"
    if not file.is_file():
        arrays = {
            f"{part}.{name}": array
            for part, layer in (("backbone", backbone), ("head", head))
            for name, array in published_weights(layer).items()
        }
        np.savez(file, **arrays)
    stored = np.load(file)
    for part, layer in (("backbone", backbone), ("head", head)):
        start = f"{part}."
        names = [name for name in stored.files if name.startswith(start)]
        arrays = {name.removeprefix(start): stored[name] for name in names}
        assign_published(layer, arrays)
    return backbone, head, dino_tf.DINOLoss(work["out_dim"])


def batch_of(work):
    """([images of one size, views outermost (V * B, S, S, 3)], logits (2, B, K))."""
    rng, batch, groups = np.random.default_rng(1), work["batch"], []
    crops = [(2, work["global_size"]), (work["num_local"], work["local_size"])]
    for count, size in crops:
        if count:
            shape = (count * batch, size, size, 3)
            groups.append(rng.standard_normal(shape, np.float32))
    logits = rng.standard_normal((2, batch, work["out_dim"]), np.float32)
    return groups, logits / 10


def loss_function(work, backbone, head, loss):
    """Function (groups, teacher's logits) -> scalar of the student's whole pass."""
    from keras import ops

    def loss_of(groups, teacher):
        features = [backbone(images, training=True) for images in groups]
        logits = head(ops.concatenate(features, axis=0), training=True)
        views = 2 + work["num_local"]
        shape = (views, work["batch"], work["out_dim"])
        return loss.compute(ops.reshape(logits, shape), teacher)

    return loss_of


def on_tensorflow(work, parts):
    """The two kinds of work, and what `answers.serve` takes beside them."""
    import tensorflow as tf
    from step_ours import measures

    # Products in float32 are in float32 on every side, on GPUs too.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    loss_of = loss_function(work, *parts)
    layers = parts[:2]
    variables = [v.value for layer in layers for v in layer.trainable_variables]

    def pass_back(groups, teacher):
        with tf.GradientTape() as tape:
            loss = loss_of(groups, teacher)
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        return loss, tf.linalg.global_norm(gradients), gradients

    compiled = {"jit_compile": True} if work["xla"] else {}
    there = tf.function(loss_of, autograph=False, **compiled)
    back = tf.function(pass_back, autograph=False, **compiled)
    batch = tf.nest.map_structure(tf.constant, batch_of(work))

    def both():
        loss, norm, _ = back(*batch)
        return [float(loss), float(norm)]

    runs = {"forward": lambda: [float(there(*batch))], "both": both}
    return runs, measures(dtype_of(work))


def on_jax(work, parts):
    """The same as `on_tensorflow`, without any of it."""
    import jax
    import keras
    from jax import numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")
    if work["precision"] != "float32":
        # "highest" would say nothing else for low precisions, but be plain.
        jax.config.update("jax_default_matmul_precision", None)
    loss_of = loss_function(work, *parts)
    trained = [v for layer in parts[:2] for v in layer.trainable_variables]
    others = [v for layer in parts for v in layer.non_trainable_variables]

    def pure(weights, rest, groups, teacher):
        values = zip(trained + others, weights + rest, strict=True)
        with keras.StatelessScope(state_mapping=values):
            return loss_of(groups, teacher)

    def pass_back(*arguments):
        loss, gradients = jax.value_and_grad(pure)(*arguments)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in gradients))
        return loss, norm, gradients

    there, back = jax.jit(pure), jax.jit(pass_back)
    weights, rest = ([v.value for v in some] for some in (trained, others))
    batch = jax.device_put((weights, rest, *batch_of(work)))

    def both():
        loss, norm, _ = jax.block_until_ready(back(*batch))
        return [float(loss), float(norm)]

    runs = {"forward": lambda: [float(there(*batch))], "both": both}
    return runs, jax_measures(dtype_of(work))


def jax_measures(dtype):
    """What `answers.serve` takes beside the work: the ceiling and the memory."""
    import jax

    device = jax.devices()[0]
    size = answers.matrix_size(device.platform != "cpu")
    matrix = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(lambda x: x @ x)

    def device_memory():
        # The highest since the start: JAX does not let it begin anew.
        told = device.memory_stats() or {}
        peak = told.get("peak_bytes_in_use")
        return None if peak is None else round(peak / 2**20)

    return {
        "ceiling": lambda: answers.matrix_rate(
            lambda: product(matrix).block_until_ready(), size
        ),
        "device_memory": device_memory,
    }


def dtype_of(work):
    """Type of the products: "float32", "bfloat16" or "float16"."""
    return work["precision"].removeprefix("mixed_")


def facts_of(backbone):
    """Sizes by which `network.py` counts operations; none for others than ViTs."""
    from dino_tf.models.vit import VisionTransformer

    if not isinstance(backbone, VisionTransformer):
        return {}
    return {"width": backbone.embed_dim, "depth": backbone.depth}


def main():
    """Answers requests, one pass each."""
    work = json.loads(sys.argv[1])
    os.environ["KERAS_BACKEND"] = work["backend"]
    parts = parts_of(work)
    make = {"tensorflow": on_tensorflow, "jax": on_jax}[work["backend"]]
    runs, measures = make(work, parts)
    facts = {"device": str(device_name(work)), **facts_of(parts[0])}
    facts["tensorflow_imported"] = "tensorflow" in sys.modules
    answers.serve(runs, facts=facts, **measures)


def device_name(work):
    """Name of the device that computes."""
    if work["backend"] == "jax":
        import jax

        return jax.devices()[0].device_kind
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    details = tf.config.experimental.get_device_details(gpus[0])
    return details.get("device_name", "gpu")


if __name__ == "__main__":
    main()
