"""Forward passes against the published projection head."""

import numpy as np
import pytest
import tensorflow as tf

from dino_tf.models.head import DINOHead
from dino_tf.models.weights import assign_published

VARIANTS = {
    "default": {},
    "bn": {"use_bn": True},
    "free_g": {"norm_last_layer": False},
    "one_layer": {"num_layers": 1},
}


def build_head(arrays, variant, dtype="float32"):
    prefix = f"{variant}/weights/"
    weights = {
        k.removeprefix(prefix): arrays[k] for k in arrays.files if k.startswith(prefix)
    }
    out_dim, bottleneck = weights["last_layer.weight_v"].shape
    hidden = weights.get("mlp.0.weight", np.zeros((1, 1))).shape[0]
    dense = [k for k, v in weights.items() if k.startswith("mlp") and v.ndim == 2]
    sizes = {"num_layers": len(dense), **VARIANTS[variant]}
    head = DINOHead(out_dim, hidden, bottleneck, dtype=dtype, **sizes)
    head.build((None, arrays[f"{variant}/x"].shape[-1]))
    assign_published(head, weights)
    return head


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
def test_logits(reference_dir, variant, compiled):
    arrays = np.load(reference_dir / "head_forward.npz")
    head = build_head(arrays, variant)

    def forward(x):
        return head(x, training=variant == "bn")

    forward = tf.function(forward, jit_compile=True) if compiled else forward
    logits = forward(arrays[f"{variant}/x"])
    np.testing.assert_allclose(logits, arrays[f"{variant}/y"], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_in_bfloat16(reference_dir, variant):
    arrays = np.load(reference_dir / "head_forward.npz")
    head = build_head(arrays, variant, "mixed_bfloat16")
    logits = head(arrays[f"{variant}/x"], training=variant == "bn")
    logits = tf.cast(logits, "float32")
    np.testing.assert_allclose(logits, arrays[f"{variant}/y"], atol=2e-2)
