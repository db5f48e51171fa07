"""Networks, head and loss where TensorFlow is not installed, by Keras' JAX backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import dino_tf
from dino_tf.models.weights import published_weights

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"embed_dim": 12, "depth": 1, "num_heads": 2}
HEAD = {"out_dim": 16, "hidden_dim": 8, "bottleneck_dim": 4, "num_layers": 2}
# Refuses TensorFlow as if it were not there, then computes a loss and its gradient.
PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
import jax, keras, numpy as np
from keras import ops
import dino_tf
from dino_tf.models.weights import assign_published

folder, sizes, head_sizes = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
given = np.load(f"{folder}/given.npz")
backbone = dino_tf.create_backbone("vit_tiny", 8, 32, **sizes)
head, loss = dino_tf.DINOHead(**head_sizes), dino_tf.DINOLoss(head_sizes["out_dim"])
head.build((None, sizes["embed_dim"]))
for part, layer in (("backbone", backbone), ("head", head)):
    names = [n for n in given.files if n.startswith(part)]
    assign_published(layer, {n.removeprefix(f"{part}."): given[n] for n in names})
trained = backbone.trainable_variables + head.trainable_variables
rest = backbone.non_trainable_variables + head.non_trainable_variables + loss.variables

def compute(weights):
    mapping = zip(trained + rest, weights + [v.value for v in rest], strict=True)
    with keras.StatelessScope(state_mapping=mapping):
        logits = ops.reshape(head(backbone(given["images"])), (2, 2, -1))
        maps = backbone.extract(given["images"], ["attention"])
        return loss.compute(logits, ops.convert_to_tensor(given["teacher"])), maps

# One compiled function: operation by operation takes three times as long.
both = jax.jit(jax.value_and_grad(compute, has_aux=True))
(value, maps), gradients = both([v.value for v in trained])
found = {"loss": value, **maps}
found |= {f"gradient{i}": g for i, g in enumerate(gradients)}
assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
np.savez(f"{folder}/found.npz", **{n: np.asarray(v) for n, v in found.items()})
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """(folder with weights and images, what TensorFlow makes of them)."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("given")
    keras.utils.set_random_seed(0)
    backbone = dino_tf.create_backbone("vit_tiny", 8, 32, **SIZES)
    head, loss = dino_tf.DINOHead(**HEAD), dino_tf.DINOLoss(HEAD["out_dim"])
    draw = np.random.default_rng(0)
    given = {"images": draw.standard_normal((4, 32, 32, 3), np.float32)}
    given["teacher"] = draw.standard_normal((2, 2, HEAD["out_dim"]), np.float32)
    with tf.GradientTape() as tape:
        logits = tf.reshape(head(backbone(given["images"])), (2, 2, -1))
        value = loss.compute(logits, tf.constant(given["teacher"]))
    layers = (backbone, head)
    trained = [v.value for layer in layers for v in layer.trainable_variables]
    found = {"loss": value.numpy()}
    found["attention"] = backbone.extract(given["images"], ["attention"])["attention"]
    for i, gradient in enumerate(tape.gradient(value, trained)):
        found[f"gradient{i}"] = gradient.numpy()
    for part, layer in (("backbone", backbone), ("head", head)):
        given |= {f"{part}.{n}": a for n, a in published_weights(layer).items()}
    np.savez(folder / "given.npz", **given)
    return folder, found


def test_networks_head_and_loss_run_on_jax_alone(expected):
    pytest.importorskip("jax", reason="JAX is not installed")
    folder, there = expected
    subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, repr(SIZES), repr(HEAD)],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        check=True,
    )
    found = np.load(folder / "found.npz")
    assert set(found.files) == set(there)
    for name in there:
        np.testing.assert_allclose(found[name], there[name], rtol=1e-4, atol=1e-4)
