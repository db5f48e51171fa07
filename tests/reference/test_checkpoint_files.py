"""Files of `torch.save` as the published program writes them, and what they give."""

import json

import numpy as np
import pytest

from dino_tf.models.loading import head_of, load_backbone
from dino_tf.models.weight_files import read_weights

FILES = {
    "student": ("checkpoint_full.pth", "student"),
    "teacher": ("checkpoint_full.pth", None),
    "backbone_only": ("backbone_only.pth", None),
}


@pytest.mark.parametrize("name", FILES)
def test_outputs(name, reference_dir):
    file, part = FILES[name]
    path = reference_dir / file
    expected = np.load(reference_dir / "checkpoint_outputs.npz")
    heads = json.loads(str(expected["config"]))["heads"]
    backbone = load_backbone(path, num_heads=heads, part=part)
    results = backbone.extract(expected["image"], ["cls", "attention"])
    np.testing.assert_allclose(results["cls"], expected[f"{name}/cls"], atol=1e-4)
    attention = expected[f"{name}/last_attention"]
    np.testing.assert_allclose(results["attention"], attention, atol=1e-4)
    weights = read_weights(path, part)
    assert weights.part == (None if name == "backbone_only" else name)
    head = head_of(weights)
    if f"{name}/head_logits" in expected:
        logits = expected[f"{name}/head_logits"]
        np.testing.assert_allclose(head(results["cls"]), logits, atol=1e-4)
        assert weights.center.shape == (1, logits.shape[-1])
    else:
        assert head is None
