"""Masks, neighbours and found objects against the published programs."""

import numpy as np
import pytest

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.analysis.lost import lost
from dino_tf.analysis.neighbours import knn_accuracy, knn_predict
from dino_tf.analysis.tokencut import tokencut


@pytest.fixture(scope="module")
def attention(reference_dir):
    return np.load(reference_dir / "attention_threshold.npz")


@pytest.fixture(scope="module")
def knn(reference_dir):
    return np.load(reference_dir / "knn.npz")


@pytest.fixture(scope="module")
def cases(reference_dir):
    """The arrays of `discovery.npz`, one dictionary for each case."""
    arrays = np.load(reference_dir / "discovery.npz")
    found = {}
    for key in arrays:
        case, name = key.split("/", 1)
        found.setdefault(case, {})[name] = arrays[key]
    assert found
    return list(found.values())


def place(case):
    return tuple(case["grid"]), int(case["patch_size"]), tuple(case["image_hw"])


def test_mask_keeps_the_published_places(attention):
    mask = keep_mass_mask(attention["attention"], float(attention["keep_mass"]))
    np.testing.assert_array_equal(mask, attention["mask"].astype(bool))


def test_knn_accuracy_is_the_published_one_to_a_sample(knn):
    one_sample = 100 / len(knn["test_labels"]) + 1e-6
    ks = [int(key[1:]) for key in knn if key[0] == "k" and key[1:].isdigit()]
    assert ks
    for k in ks:
        ranked = knn_predict(
            knn["train_features"],
            knn["train_labels"],
            knn["test_features"],
            k=k,
            temperature=float(knn["temperature"]),
            num_classes=int(knn["num_classes"]),
        )
        accuracy = knn_accuracy(ranked, knn["test_labels"])
        np.testing.assert_allclose(accuracy, knn[f"k{k}"], atol=one_sample)


def test_lost_finds_the_published_boxes(cases):
    for case in cases:
        found = lost(case["patch_features"], *place(case))
        np.testing.assert_array_equal(found.box, case["lost_box_xyxy"])
        # Equally lonely patches come in any order from the published sort.
        assert found.score[found.seed] == case["lost_score"][case["lost_seed"]]
        np.testing.assert_array_equal(found.score, case["lost_score"])


def test_tokencut_finds_the_published_boxes(cases):
    for case in cases:
        found = tokencut(
            case["patch_features"], *place(case), tau=float(case["tokencut_tau"])
        )
        np.testing.assert_array_equal(found.box, case["tokencut_box_xyxy"])
        np.testing.assert_array_equal(found.mask, case["tokencut_mask"].astype(bool))
        published = case["tokencut_eigenvector"]
        sign = np.sign(np.sum(found.eigenvector * published))
        np.testing.assert_allclose(found.eigenvector, sign * published, atol=1e-6)
