"""Fine-tuning of tiny networks on photos whose colour tells the class."""

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import Diverged, UserError
from dino_tf.evaluate.finetune import (
    copy_of,
    evaluate_finetune,
    finetune,
    lacks,
    run_task,
)
from dino_tf.evaluate.finetune_photos import judge_logits
from dino_tf.evaluate.finetune_step import FineTuning, classification_loss
from dino_tf.evaluate.published import figures_for
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.layer_rates import rate_shares
from dino_tf.models.backbones import create_backbone
from dino_tf.models.classifier import Classifier
from dino_tf.optimizers import AdamW
from dino_tf.tasks import TASKS

NAMES = ("red", "green", "blue")
ONE = [(i % 3,) for i in range(30)]
# Seconds instead of minutes, for the tiny network without attention.
QUICK = {"size": 8, "epochs": 4, "batch_size": 10, "lr": 3.0, "strategy": "none"}


def colours(labels, seed=0, names=NAMES):
    """Photos of one colour each, mixed of those of their classes."""
    noise = np.random.default_rng(seed).integers(0, 60, (len(labels), 3))
    images = []
    for label, colour in zip(labels, noise, strict=True):
        colour[list(label)] += 180
        images.append(np.broadcast_to(colour.astype(np.uint8), (12, 14, 3)))
    return ArraySource(images, labels, names)


class Broken(ArraySource):
    """Photos of which those at `broken` cannot be read."""

    broken = ()

    def image_bytes(self, index):
        return b"no picture" if index in self.broken else super().image_bytes(index)


def broken_colours(labels, broken):
    source = colours(labels)
    source.__class__, source.broken = Broken, broken
    return source


def dense_network(seed=0):
    """The cheapest network there is: the mean colour and a dense layer."""
    images = keras.Input((None, None, 3))
    uniform = keras.initializers.GlorotUniform(seed)
    x = keras.layers.GlobalAveragePooling2D()(images)
    x = keras.layers.Dense(8, "relu", kernel_initializer=uniform)(x)
    return keras.Model(images, x)


def tiny_vit(**kwargs):
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2}
    return create_backbone("vit_tiny", 4, 8, **sizes, **kwargs)


def outcome(subject=None, data=None, **options):
    data = data or Data.of(colours(ONE), colours(ONE[:9], 1))
    quick = {k: v for k, v in QUICK.items() if k != "strategy"}
    return run_task(subject or Subject(dense_network()), data, **{**quick, **options})


def test_colours_are_learned_and_the_network_is_left_alone():
    backbone = dense_network()
    before = [w.copy() for w in backbone.get_weights()]
    numbers = evaluate_finetune(backbone, colours(ONE), colours(ONE[:9], 1), **QUICK)
    assert numbers == {"finetune/top1": 100.0, "finetune/top5": 100.0}
    assert all(type(value) is float for value in numbers.values())
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_history_and_every_weight_moves():
    backbone = dense_network()
    classifier, history = finetune(backbone, colours(ONE), **QUICK)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert set(history[-1]) == {"epoch", "loss", "accuracy"}
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["accuracy"] > 95
    pairs = zip(backbone.get_weights(), classifier.backbone.get_weights(), strict=True)
    assert all((old != new).any() for old, new in pairs)
    assert (classifier.class_names, classifier.size) == (NAMES, 8)


def test_a_vision_transformer_with_everything_on_follows_the_seed():
    backbone, options = tiny_vit(), {**QUICK, "epochs": 1, "lr": 0.1}
    everything = {"mixup": 0.8, "cutmix": 1.0, "jitter": 0.2, "drop_path": 0.3}
    one, two = (
        finetune(backbone, colours(ONE), **options, **everything)[0].get_weights()
        for _ in range(2)
    )
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_another_seed_gives_other_weights():
    backbone, options = dense_network(), {**QUICK, "epochs": 1}
    one, other = (
        finetune(backbone, colours(ONE), **options, seed=seed)[0].get_weights()
        for seed in (1, 2)
    )
    assert all((a != b).any() for a, b in zip(one, other, strict=True))


def test_copy_has_its_own_drop_path_and_weights():
    backbone = tiny_vit(drop_path_rate=0.1)
    backbone.trainable = False
    copy = copy_of(backbone, 0.3, 7)
    assert (copy.drop_path_rate, copy.seed) == (0.3, 7)
    assert len(copy.trainable_variables) == len(copy.weights)
    for a, b in zip(backbone.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    copy.cls_token.assign(copy.cls_token + 1.0)
    assert (copy.cls_token.numpy() != backbone.cls_token.numpy()).all()


def test_loss_by_hand():
    logits = tf.constant([[0.0, 0.0], [np.log(3.0), 0.0]])
    targets = tf.constant([[1.0, 0.0], [0.5, 0.5]])
    # ln 2, and half of ln(4/3) with half of ln 4.
    soft = (np.log(2) + 0.5 * (np.log(4 / 3) + np.log(4))) / 2
    assert float(classification_loss(logits, targets, False)) == pytest.approx(soft)
    # Three logits of 0: ln 2 each; one of ln 3 at target 1/2: ln 4 - ln(3) / 2.
    several = (3 * np.log(2) + np.log(4) - np.log(3) / 2) / 4
    assert float(classification_loss(logits, targets, True)) == pytest.approx(several)
    far = classification_loss(tf.constant([[200.0, -200.0]]), tf.eye(2)[:1], True)
    assert float(far) == pytest.approx(0.0, abs=1e-6)


def stepped(clip_norm=0.0, rate=0.01, optimizer=None):
    """A classifier and its weights before one real training step."""
    classifier = Classifier(tiny_vit(), ["a", "b"])
    # A linear layer of full size, so that gradients reach every layer.
    classifier.head.kernel.assign(np.sin(np.arange(32)).reshape(16, 2))
    before = [v.numpy() for v in classifier.trainable_variables]
    model = FineTuning(classifier, clip_norm)
    shares = rate_shares(classifier, classifier.backbone, 0.5)
    model.compile(optimizer or AdamW(rate, 0.0, shares=shares), run_eagerly=True)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    model.train_on_batch(images, tf.one_hot([0, 1, 0, 0], 2))
    return classifier, before


def test_the_optimizer_really_applies_the_layer_rates():
    classifier, before = stepped()
    moved = {}
    for old, new in zip(before, classifier.trainable_variables, strict=True):
        moved[new.path.partition("/")[2]] = np.abs(new.numpy() - old).max()
    # Adam's first step is the rate: 0.01 * 0.5 ** (3 - depth).
    assert moved["pos_embed"] == pytest.approx(0.00125, rel=0.01)
    assert moved["patch_embed/proj/kernel"] == pytest.approx(0.00125, rel=0.01)
    assert moved["blocks.0/mlp/fc1/kernel"] == pytest.approx(0.0025, rel=0.01)
    assert moved["blocks.1/attn/proj/kernel"] == pytest.approx(0.005, rel=0.01)
    assert moved["norm/gamma"] == pytest.approx(0.01, rel=0.01)
    head = np.abs(classifier.head.kernel.numpy() - before[-2]).max()
    assert head == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("clip_norm", [1e-3, 1e3])
def test_gradients_are_clipped_together(clip_norm):
    classifier, before = stepped(clip_norm, optimizer=keras.optimizers.SGD(1.0))
    variables = classifier.trainable_variables
    moves = [b - v.numpy() for b, v in zip(before, variables, strict=True)]
    norm = np.sqrt(sum(np.sum(m.astype("float64") ** 2) for m in moves))
    if clip_norm == 1e-3:
        assert norm == pytest.approx(1e-3, rel=0.01)
    else:
        assert norm > 0.01


def test_photos_of_several_classes_get_a_mean_average_precision():
    labels = [(0,), (1,), (2,), (0, 1), (1, 2)] * 6
    tuned = outcome(data=Data.of(colours(labels), colours(labels[:10], 1)), epochs=8)
    assert list(tuned.numbers) == ["finetune/map"]
    assert tuned.numbers["finetune/map"] > 95
    assert tuned.details["multi_label"]
    assert set(tuned.details["history"][0]) == {"epoch", "loss", "finetune/map"}


def test_numbers_by_hand():
    logits = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    single = judge_logits(logits, [(0,), (1,)], False)
    assert single == {"finetune/top1": 50.0, "finetune/top5": 100.0}
    # Class 0: second of two photos; class 1: a tie; class 2: first.
    several = judge_logits(logits, [(1,), (0, 2)], True)
    assert several == {"finetune/map": pytest.approx(100 * (0.5 + 0.5 + 1) / 3)}


def test_photos_without_label_are_left_out_with_a_note():
    labels = [*ONE, (), ()]
    tuned = outcome(data=Data.of(colours(labels), colours([(0,), ()], 1)))
    assert "arrays: 2 photos without a label left out" in tuned.notes
    assert "arrays: 1 photos without a label left out" in tuned.notes
    assert tuned.numbers["finetune/top1"] == 100.0


def test_unreadable_photos_bring_no_wrong_label():
    # All of the red ones but two are broken; a green one stands in for each.
    train = broken_colours(ONE, range(0, 24, 3))
    test = broken_colours(ONE[:9], (0, 4))
    tuned = outcome(data=Data.of(train, test), label_smoothing=0.0)
    assert tuned.details["history"][-1]["accuracy"] == 100.0
    assert tuned.numbers["finetune/top1"] == 100.0
    assert tuned.notes[-2:] == [
        "unreadable in 'arrays', left out: 8, such as 00000000",
        "unreadable in 'arrays', left out: 2, such as 00000000",
    ]


def test_nothing_readable():
    whole, none = colours(ONE), broken_colours(ONE, range(30))
    with pytest.raises(UserError, match="none of the 30 labelled photos of 'arrays'"):
        evaluate_finetune(dense_network(), none, whole, **QUICK)
    with pytest.raises(UserError, match="no photo of 'arrays' can be read"):
        evaluate_finetune(dense_network(), whole, none, **QUICK)


@pytest.mark.parametrize(
    ("train", "test", "options", "words"),
    [
        (colours([(), ()]), None, {}, "'arrays' has no labels"),
        (colours(ONE), colours([()]), {}, "'arrays' has no labels"),
        (colours([(1,)] * 9), None, {}, "all training photos are 'green'"),
        (colours(ONE), colours(ONE, 1, "abc"), {}, "two sources of the same classes"),
        (colours(ONE), None, {"batch_size": 31}, "--batch-size: got 31, allowed: 1 to"),
        (colours(ONE), None, {"lr": -1.0}, "--lr: got -1.0"),
        (colours(ONE), None, {"layer_decay": 0.5}, "--layer-decay: got 0.5"),
        (colours(ONE), None, {"drop_path": 0.5}, "--drop-path: got 0.5"),
        (colours(ONE), None, {"preset": "cifar"}, "--preset: got 'cifar'"),
        (
            colours(ONE),
            None,
            {"strategy": "mirrored", "batch_size": 5},
            "--batch-size: got 5, allowed: multiples of",
        ),
    ],
)
def test_refuses_what_cannot_be_trained(train, test, options, words):
    with pytest.raises(UserError, match=words):
        finetune(dense_network(), train, test, **{**QUICK, **options})


def test_size_that_the_patch_does_not_divide():
    with pytest.raises(UserError, match="--size: got 10; image size 10 x 10"):
        finetune(tiny_vit(), colours(ONE), **{**QUICK, "size": 10})


def test_a_loss_that_is_no_number_stops_the_training():
    backbone = dense_network()
    backbone.layers[-1].bias.assign([np.inf] * 8)
    with pytest.raises(Diverged, match="the loss is nan in epoch 1"):
        finetune(backbone, colours(ONE), **QUICK)


def test_what_the_task_needs():
    subject = Subject(dense_network())

    def lacking(labels, names=NAMES):
        return lacks(subject, Data.of(colours(labels, names=names)))

    words = "labelled photos of two or more classes"
    assert lacking(ONE) is None
    assert lacking([(), (0, 1), ()] * 3) is None
    assert lacking([(1,)] * 9) == words
    assert lacking([()] * 9) == words
    assert lacking([()] * 9, ()) == words


def test_task_and_function_have_the_same_options():
    parameters = inspect.signature(run_task).parameters
    own = {k: p.default for k, p in parameters.items() if k not in ("subject", "data")}
    assert own == TASKS["finetune"].defaults()


def test_files_and_details(tmp_path):
    tuned = outcome(preset="cifar10", layer_decay=None, drop_path=0.0)
    json.dumps(tuned.details)
    settings = tuned.details["settings"]
    assert (settings["epochs"], settings["mixup"], settings["lr"]) == (4, 0.8, 3.0)
    assert tuned.details["peak_learning_rate"] == pytest.approx(3.0 * 10 / 256)
    paths = tuned.write(tmp_path / "new")
    assert [p.name for p in paths] == ["learning_curve.png", "finetuned.keras"]
    classifier = keras.saving.load_model(paths[1])
    assert classifier.class_names == NAMES
    red = (np.array([[[[0.9, 0.1, 0.1]]]]) - classifier.mean) / classifier.std
    logits = classifier(np.broadcast_to(red, (1, 8, 8, 3)).astype("float32"))
    assert NAMES[int(np.argmax(logits))] == "red"


def test_networks_of_keras(tiny_application):
    options = {**QUICK, "size": 16, "epochs": 8, "lr": 0.5}
    backbone = create_backbone(tiny_application)
    numbers = evaluate_finetune(backbone, colours(ONE), colours(ONE[:9], 1), **options)
    assert numbers["finetune/top1"] == 100.0


def test_two_replicas_train_as_one():
    options = {**QUICK, "epochs": 2, "mixup": 0.5}
    one, two = (
        finetune(dense_network(), colours(ONE), **{**options, "strategy": name})
        for name in ("none", "mirrored")
    )
    pairs = zip(one[0].get_weights(), two[0].get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert two[1][-1]["loss"] == pytest.approx(one[1][-1]["loss"], rel=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_lower_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        tuned = outcome(subject=Subject(dense_network()))
    finally:
        keras.config.set_dtype_policy("float32")
    assert tuned.numbers["finetune/top1"] == 100.0


def test_published_figures():
    found = figures_for("tfds:cifar100", {"finetune/top1": 80.0})
    assert [(f.network, f.value) for f in found] == [
        ("DINO ViT-S/16", 90.5),
        ("DINO ViT-B/16", 91.7),
    ]
