"""Forward passes against the published Vision Transformer."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.models.vit import VisionTransformer
from dino_tf.models.weights import assign_published

TOLERANCE = {"float32": 1e-4, "mixed_bfloat16": 2e-2}


@pytest.fixture(scope="module")
def arrays(reference_dir):
    return np.load(reference_dir / "vit_forward.npz")


def cases(arrays):
    return sorted({k.split("/")[0] for k in arrays.files if k.startswith("case")})


@pytest.fixture(scope="module", params=list(TOLERANCE))
def network(request, arrays):
    config = json.loads(str(arrays["config"]))
    vit = VisionTransformer(
        embed_dim=config["embed"],
        depth=config["depth"],
        num_heads=config["heads"],
        patch_size=config["patch"],
        image_size=config["img"],
        dtype=request.param,
    )
    vit.build()
    names = [k for k in arrays.files if k.startswith("weights/")]
    assign_published(vit, {k.removeprefix("weights/"): arrays[k] for k in names})
    return vit, TOLERANCE[request.param]


def close(got, expected, tolerance):
    got = keras.ops.convert_to_numpy(keras.ops.cast(got, "float32"))
    # bfloat16 carries 8 bits: its error goes with the largest value, not with each.
    scale = max(1.0, np.abs(expected).max()) if tolerance > 1e-3 else 1.0
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_cls(network, arrays, compiled):
    vit, tolerance = network
    forward = tf.function(vit, jit_compile=True) if compiled else vit
    for case in cases(arrays):
        close(forward(arrays[f"{case}/image"]), arrays[f"{case}/cls"], tolerance)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_last_block(network, arrays, compiled):
    vit, tolerance = network
    names = ("cls", "tokens", "attention", "keys")

    def extract(images):
        return vit.extract(images, names)

    extract = tf.function(extract, jit_compile=True) if compiled else extract
    for case in cases(arrays):
        found = extract(arrays[f"{case}/image"])
        close(found["cls"], arrays[f"{case}/cls"], tolerance)
        close(found["tokens"], arrays[f"{case}/last2_tokens"][1], tolerance)
        close(found["attention"], arrays[f"{case}/last_attention"], tolerance)
        close(found["keys"], arrays[f"{case}/last_keys"], tolerance)


def test_intermediate_tokens(network, arrays):
    vit, tolerance = network
    for case in cases(arrays):
        tokens = vit.intermediate_tokens(arrays[f"{case}/image"], n=2)
        close(keras.ops.stack(tokens), arrays[f"{case}/last2_tokens"], tolerance)


def test_position_table(network, arrays):
    vit, _ = network
    for case in cases(arrays):
        grid = vit.grid_of(arrays[f"{case}/image"].shape[1:3])
        close(vit.position_table(grid), arrays[f"{case}/pos_embed"], 1e-5)
