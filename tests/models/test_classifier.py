"""A backbone with a linear layer."""

import keras
import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.models.classifier import Classifier
from dino_tf.models.loading import load_backbone

IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def tiny(**kwargs):
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2}
    return create_backbone("vit_tiny", 4, 8, **sizes, **kwargs)


def test_logits_are_a_linear_function_of_the_features():
    classifier = Classifier(tiny(), ["cat", "dog", "cow"])
    kernel, bias = classifier.head.get_weights()
    assert kernel.std() == pytest.approx(0.01, rel=0.3)
    assert not bias.any()
    expected = classifier.backbone(IMAGES).numpy() @ kernel + bias
    np.testing.assert_allclose(classifier(IMAGES), expected, atol=1e-6)
    assert classifier.compute_output_shape((5, 8, 8, 3)) == (5, 3)


def test_first_weights_follow_the_seed():
    one, two, other = (
        Classifier(tiny(), ["a", "b"], seed=seed).head.get_weights()[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0


def test_no_classes():
    with pytest.raises(ValueError, match="class_names is empty"):
        Classifier(tiny(), [])


def test_save_and_load(tmp_path):
    facts = {"multi_label": True, "size": 8, "mean": (0.1, 0.2, 0.3), "std": (1, 2, 3)}
    classifier = Classifier(tiny(drop_path_rate=0.1), ["cat", "dog"], **facts)
    classifier.save(tmp_path / "finetuned.keras")
    again = keras.saving.load_model(tmp_path / "finetuned.keras")
    assert type(again) is Classifier
    assert again.class_names == ("cat", "dog")
    assert {name: getattr(again, name) for name in facts} == facts
    np.testing.assert_allclose(again(IMAGES), classifier(IMAGES), atol=1e-6)


def test_its_backbone_is_weights_like_any_other(tmp_path):
    classifier = Classifier(tiny(), ["cat", "dog"])
    classifier.save(tmp_path / "finetuned.keras")
    backbone = load_backbone(tmp_path / "finetuned.keras")
    expected = classifier.backbone(IMAGES)
    np.testing.assert_allclose(backbone(IMAGES), expected, atol=1e-6)
    with pytest.raises(UserError, match="has 2 heads; asked for were 4"):
        load_backbone(tmp_path / "finetuned.keras", num_heads=4)


def test_works_in_lower_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        classifier = Classifier(tiny(), ["a", "b"])
    finally:
        keras.config.set_dtype_policy("float32")
    assert classifier.dtype_policy.name == "mixed_bfloat16"
    assert classifier(IMAGES).dtype == "float32"
