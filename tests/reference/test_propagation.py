"""Propagated labels against the published program.

`propagation.npz` holds, for three sizes, what `label_propagation`, the enlargement
after it and `norm_mask` of facebookresearch/dino, eval_video_segmentation.py, make of
random features and labels, two features of each case being alike to the bit.
"""

import numpy as np
import pytest

from dino_tf.analysis.propagation import label_map, propagate_labels, unit_vectors

CASES = {"wide": 3, "all": 2, "first": 2}
PATCH = 4


@pytest.mark.parametrize("case", CASES)
def test_labels_are_the_published_ones(reference_dir, case):
    arrays = np.load(reference_dir / "propagation.npz")
    found = {name: arrays[f"{case}/{name}"] for name in ("features", "labels")}
    target, *memory = unit_vectors(found["features"])
    labels = list(np.eye(CASES[case], dtype=np.float32)[found["labels"]])
    radius, k = (int(arrays[f"{case}/{name}"]) for name in ("radius", "k"))
    shares = propagate_labels(target, memory, labels, radius, k)
    np.testing.assert_allclose(shares, arrays[f"{case}/shares"], atol=2e-6)
    np.testing.assert_array_equal(label_map(shares, PATCH), arrays[f"{case}/map"])
