"""Options of a configuration reach the objects that they are for."""

import keras
import numpy as np
import pytest

from dino_tf.assemble import build_model, new_backbone
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.models.weights import published_name
from dino_tf.recipe import Facts, resolve

SIZES = {
    "model": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
    "views": {"global_size": 16, "local_size": 8, "num_local": 1},
    "head": {"out_dim": 16, "hidden_dim": 12, "bottleneck_dim": 8},
    "pipeline": {"batch_size": 16},
    "run": {"epochs": 10, "eval_size": 16, "precision": "float32"},
}


def config_of(**options):
    options = {key.replace("__", "."): value for key, value in options.items()}
    flat = {f"{s}.{k}": v for s, part in SIZES.items() for k, v in part.items()}
    return resolve(Config.from_dict({**flat, **options}), Facts(1000))[0]


def built(steps=5, **options):
    keras.utils.set_random_seed(0)
    return build_model(config_of(**options), steps)


def by_name(model, values):
    """{published name: value} of the trainable variables of backbone and head."""
    values = dict(zip(map(id, model.trainable_variables), values, strict=True))
    return {
        published_name(v, part): values[id(v)]
        for part in (model.student_backbone, model.student_head)
        for v in part.trainable_variables
    }


def refused(**options):
    with pytest.raises(UserError) as error:
        config_of(**options)
    return str(error.value)


@pytest.mark.parametrize(
    ("scaling", "lr", "peak"),
    [("linear", 5e-4, 3.125e-5), ("sqrt", 4e-3, 5e-4)],
)
def test_rate_follows_the_batch(scaling, lr, peak):
    config = {"optimizer__lr_scaling": scaling, "optimizer__lr": lr}
    optimizer = built(**config, optimizer__warmup_epochs=0).optimizer
    # 16 photos: a sixteenth of 256, an eighth of the root of 1024.
    assert float(optimizer.learning_rate) == pytest.approx(peak)
    assert optimizer.shares is None
    words = f"up to the peak of the rate, {peak:g}"
    assert words in refused(**config, optimizer__min_lr=2e-3)


def test_rates_of_layers():
    model = built(optimizer__layer_decay=0.9, optimizer__patch_embed_lr=0.2)
    named = by_name(model, model.optimizer.shares)
    expected = {
        "cls_token": 0.729,
        "patch_embed.proj.weight": 0.1458,
        "blocks.0.attn.qkv.weight": 0.81,
        "blocks.1.attn.qkv.weight": 0.9,
        "norm.weight": 1.0,
        "mlp.0.weight": 1.0,
        "last_layer.weight_v": 1.0,
    }
    assert {name: named[name] for name in expected} == pytest.approx(expected)


def test_shares_of_the_rate_are_those_of_the_steps():
    """With a decay of 0.5 the front moves by an eighth, the head as before."""
    steps = {}
    for decay in (1.0, 0.5):
        model = built(
            optimizer__layer_decay=decay,
            optimizer__warmup_epochs=0,
            optimizer__weight_decay=0.0,
            optimizer__weight_decay_end=0.0,
            optimizer__lr=1.0,
        )
        before = [v.numpy() for v in model.trainable_variables]
        views = np.random.default_rng(0).normal(size=(4, 3, 16, 16, 3))
        views = views.astype("float32")
        model.train_on_batch({"global": views[:, :2], "local": views[:, 2:, :8, :8]})
        pairs = zip(model.trainable_variables, before, strict=True)
        steps[decay] = by_name(model, [v.numpy() - b for v, b in pairs])
    for name, share in {"pos_embed": 0.125, "norm.bias": 1, "mlp.0.weight": 1}.items():
        expected = share * steps[1.0][name]
        np.testing.assert_allclose(steps[0.5][name], expected, rtol=1e-3, atol=1e-6)
        assert np.abs(expected).max() > 1e-5


def test_terms_of_the_loss():
    model = built(loss__centering="sinkhorn", loss__koleo_weight=0.1)
    assert model.dino_loss.centering == "sinkhorn" and model.koleo_weight == 0.1
    plain = built(run__recipe="published")
    assert plain.dino_loss.centering == "center" and plain.koleo_weight == 0


def test_parts_of_the_recipe_for_few_photos():
    model = built(
        run__recipe="few_photos",
        loss__histogram_weight=3.0,
        optimizer__muon_lr=0.05,
        optimizer__warmup_epochs=2,
        views__std=(0.2, 0.3, 0.4),
    )
    weights = [float(model.histograms.weight(step)) for step in (0, 25, 50)]
    assert weights == pytest.approx([3.0, 1.5, 0.0])
    assert model.histograms.deviation == pytest.approx(0.3)
    optimizer = model.optimizer
    assert sorted(optimizer.parts)[-8:] == [1] * 6 + [3] * 2
    assert (optimizer.query_key, optimizer.momentum) == (0.2, 0.95)
    ends = [float(model.teacher_momentum(step)) for step in (0, 50)]
    assert ends == pytest.approx([0.98, 0.995])
    lengths = [float(optimizer.matrix_rate(step)) for step in (10, 50)]
    assert lengths == pytest.approx([0.05, 0.05 / 200])
    # 16 photos of 256, at 1.6e-3.
    rates = [float(optimizer._learning_rate(step)) for step in (10, 50)]
    assert rates == pytest.approx([1e-4, 1e-6])
    plain = built(run__recipe="published")
    assert plain.histograms is None and type(plain.optimizer).__name__ == "AdamW"


def test_what_is_frozen():
    model = built(
        optimizer__freeze_blocks=1,
        optimizer__freeze_patch_embed=True,
        optimizer__freeze_backbone_epochs=2,
    )
    assert model.freeze_backbone_steps == 10
    paths = [v.path for v in model.student_backbone.trainable_variables]
    assert paths and all("blocks.1" in path or "/norm/" in path for path in paths)


def test_layer_scale_and_registers():
    backbone = built(model__layer_scale=1e-5, model__num_registers=2).student_backbone
    assert backbone.layer_scale == 1e-5 and backbone.num_registers == 2
    factor = backbone.blocks[1].ls2.factor
    np.testing.assert_allclose(factor.numpy(), 1e-5)
    assert new_backbone(config_of()).blocks[0].ls1 is None


def test_mimetic_start_is_that_of_the_seed():
    kernels = [
        new_backbone(config_of(model__init=init, run__seed=seed)).blocks[0].attn.qkv
        for init, seed in (("mimetic", 0), ("mimetic", 0), ("mimetic", 1))
    ]
    first, again, other = (layer.kernel.numpy() for layer in kernels)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    model = built(model__init="mimetic")
    for backbone in (model.student_backbone, model.teacher_backbone):
        np.testing.assert_array_equal(backbone.blocks[0].attn.qkv.kernel, first)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer__freeze_blocks": 3}, "got 3, allowed: up to 2, the blocks of"),
        ({"optimizer__freeze_backbone_epochs": 11}, "got 11, allowed: at most 10"),
        ({"optimizer__layer_decay": 1.5}, "got 1.5, allowed: above 0, up to 1"),
        ({"optimizer__patch_embed_lr": 0.0}, "got 0.0, allowed: above 0"),
        (
            {"optimizer__muon_lr": 0.1, "optimizer__name": "adamw"},
            "got 0.1, allowed: 0.03 without optimizer.name muon",
        ),
        (
            {"optimizer__muon_query_key": 0.1, "optimizer__name": "adamw"},
            "got 0.1, allowed: 1.0 without optimizer.name muon",
        ),
        ({"optimizer__muon_query_key": 0.0}, "got 0.0, allowed: above 0"),
        (
            {"optimizer__patch_embed_lr": 0.5, "optimizer__freeze_patch_embed": True},
            "got 0.5, allowed: 1 for a frozen patch projection",
        ),
        ({"optimizer__lr_scaling": "cubic"}, "got 'cubic', allowed: linear, sqrt"),
        ({"model__layer_scale": 0.0}, "got 0.0, allowed: above 0"),
        ({"model__init": "zeros"}, "got 'zeros', allowed: published, mimetic"),
        (
            {"model__init": "mimetic", "model__embed_dim": 18},
            "got mimetic, allowed: published for the width 18",
        ),
        (
            {"model__init": "mimetic", "init": "dino_vits16"},
            "got mimetic, allowed: published, as --init brings its weights",
        ),
    ],
)
def test_contradictions_are_refused(options, words):
    assert words in refused(**options)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("optimizer.layer_decay", 0.9, "1.0"),
        ("optimizer.patch_embed_lr", 0.2, "1.0"),
        ("optimizer.freeze_patch_embed", True, "false"),
        ("optimizer.freeze_blocks", 1, "0"),
        ("run.recompute", True, "false"),
    ],
)
def test_options_of_vision_transformers(option, value, allowed):
    config = Config.from_dict({"model.arch": "keras:ResNet50", option: value})
    with pytest.raises(UserError) as error:
        resolve(config, Facts(1000))
    words = f"{option}: got {value}, allowed: {allowed}, as others are for vit_* only"
    assert str(error.value) == words
