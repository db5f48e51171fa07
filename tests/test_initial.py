"""Runs that start from weights."""

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from dino_tf.assemble import build_model, inspect_network
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.initial import (
    Initial,
    evaluation_size,
    fit_config,
    pixel_statistics,
    read_initial,
    recipe_of,
)
from dino_tf.models.backbones import create_backbone
from dino_tf.models.weights import published_weights
from dino_tf.prepare import prepare
from dino_tf.presets import apply_preset
from dino_tf.recipe import Facts, resolve
from dino_tf.training import train
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD

FULL = "reference/data/checkpoint_full.pth"
WIDTH, DEPTH = 192, 1


@pytest.fixture
def small(tmp_path):
    """`.safetensors` of a ViT of one block, with a table of 3 x 3 patches."""
    keras.utils.set_random_seed(4)
    backbone = create_backbone("vit_tiny", 8, 24, depth=DEPTH)
    arrays = published_weights(backbone)
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    save_file(arrays, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors", arrays


def config_of(**changes):
    values = {
        "data": "scenes:40",
        "preset": "quickstart",
        "pipeline.batch_size": 8,
        "pipeline.workers": 1,
        "views.num_local": 1,
        "run.epochs": 1,
        "run.attention_photos": 1,
        "run.attention_size": 32,
        "run.tensorboard": False,
        "views.global_size": 32,
        "views.local_size": 16,
        "run.eval_size": 32,
    }
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return Config.from_dict({**values, **changes})


def test_sizes_of_a_strangers_run(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {eval_size: 1000000000}")
    with pytest.raises(UserError, match="run.eval_size 1000000000, allowed: 4096"):
        evaluation_size(tmp_path, None)


@pytest.mark.parametrize("mean", ["3", "[1, 2]", "[1, 2, NaN]", "x", "[" * 100_000])
def test_pixel_statistics_of_strangers(mean, tmp_path):
    facts = {"mean": mean, "std": "[1, 1, 1]"}
    save_file({"a": np.ones(1, "f4")}, tmp_path / "a.safetensors", facts)
    with pytest.raises(UserError, match="its metadata has mean"):
        pixel_statistics(tmp_path / "a.safetensors")


def test_the_network_follows_the_weights(small):
    config, reasons = fit_config(config_of(), read_initial(small[0]))
    assert (config.model.patch_size, config.model.image_size) == (8, 24)
    assert (config.model.embed_dim, config.model.depth) == (192, 1)
    assert reasons["model.patch_size"] == f"that of {small[0]}"


def test_whoever_asks_for_another_network_is_told(small):
    config = config_of(model__patch_size=16)
    with pytest.raises(UserError, match="patch_size: got 16, allowed: 8, as in --init"):
        fit_config(config, read_initial(small[0]))
    config, _ = fit_config(config_of(model__patch_size=8), read_initial(small[0]))
    assert config.model.patch_size == 8


def test_a_run_begins_with_the_weights(small, tmp_path):
    said = []
    config = config_of(
        init=str(small[0]), optimizer__lr=1e-12, optimizer__min_lr=0.0,
            head__hidden_dim=16,
        run__result_dir=str(tmp_path / "result"),
    )  # fmt: skip
    run = train(config, said.append)
    assert f"starting from {small[0]}: the backbone" in said
    for network in (run.model.student_backbone, run.model.teacher_backbone):
        for name, array in published_weights(network).items():
            np.testing.assert_allclose(array, small[1][name], atol=1e-6, err_msg=name)
    trained, initial = (
        run.summary[f"{start}knn/top1_k10"] for start in ("", "initial/")
    )
    assert trained == initial
    assert "(initial network" in said[-1]
    assert Config.from_yaml(run.path / "config.yaml").init == str(small[0])


def test_a_published_checkpoint_goes_on(request):
    file = request.path.parent / FULL
    initial = read_initial(file, num_heads=3)
    assert "with their heads, and the center" in initial.describe()
    config, reasons = fit_config(config_of(init=str(file)), initial)
    assert config.head.out_dim == initial.student_head.out_dim
    assert "head.out_dim" in reasons
    config, _ = resolve(config, Facts(num_photos=40))
    model = build_model(config, 5)
    initial.put_into(model)
    pairs = (
        (model.student_backbone, initial.student),
        (model.teacher_backbone, initial.teacher),
        (model.student_head, initial.student_head),
        (model.teacher_head, initial.teacher_head),
    )
    for ours, theirs in pairs:
        for one, two in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(one, two)
    different = [
        np.abs(a - b).max()
        for a, b in zip(
            model.student_backbone.get_weights(),
            model.teacher_backbone.get_weights(),
            strict=True,
        )
    ]
    assert max(different) > 0
    center = np.array(model.dino_loss.center)
    np.testing.assert_array_equal(center, initial.center)


def test_another_head_is_made_when_asked_for(request):
    initial = read_initial(request.path.parent / FULL, num_heads=3)
    config, _ = fit_config(config_of(head__out_dim=128), initial)
    assert config.head.out_dim == 128 and initial.student_head is None
    told = "the backbones of student and teacher; not its heads and center, as "
    assert told + "head.out_dim 128 was asked for" in initial.describe()


def test_layer_scale_goes_on():
    backbone = create_backbone("vit_tiny", 8, 16, depth=1, layer_scale=0.1)
    config, reasons = fit_config(config_of(), Initial("x", backbone, backbone))
    assert config.model.layer_scale == 0.1
    assert reasons["model.layer_scale"] == "that of x"
    plain = create_backbone("vit_tiny", 8, 16, depth=1)
    config, _ = fit_config(config_of(), Initial("x", plain, plain))
    assert config.model.layer_scale is None


@pytest.mark.parametrize(
    "changes", [{"gated_mlp": True}, {"position_antialias": True}, {"mlp_ratio": 2.0}]
)
def test_networks_that_are_only_looked_at(changes):
    backbone = create_backbone("vit_tiny", 8, 16, depth=1, **changes)
    with pytest.raises(UserError, match="looked at and evaluated, not trained"):
        fit_config(config_of(), Initial("x", backbone, backbone))


@pytest.mark.parametrize("changes", [{"rope_periods": (1.0,)}, {"norm_epsilon": 1e-5}])
def test_what_sets_dinov3_apart_is_not_trained_further(changes):
    sizes = {"embed_dim": 8, "depth": 1, "num_heads": 2, "patch_size": 8}
    plain = create_backbone("vit_tiny", **sizes)
    config, _ = fit_config(config_of(), Initial("plain", plain, plain))
    assert config.model.embed_dim == 8
    other = create_backbone("vit_tiny", **sizes, **changes)
    with pytest.raises(UserError, match="rotary positions .* not trained further"):
        fit_config(config_of(), Initial("other", other, other))


@pytest.mark.parametrize(
    ("arch", "options", "patch"),
    [
        ("resnet50", {}, 16),
        ("xcit_small_12", {"patch_size": 8}, 8),
        ("keras:MobileNetV3Small", {}, 16),
    ],
)
def test_other_networks_go_on(arch, options, patch):
    backbone = create_backbone(arch, image_size=32, **options)
    initial = Initial("x", backbone, backbone)
    # The preset's own sizes of a ViT are given up.
    views = {"views.global_size": 64, "views.local_size": 32, "run.eval_size": 32}
    config = apply_preset(Config.from_dict(views), "quickstart")
    config, _ = fit_config(config, initial)
    assert (config.model.arch, config.model.patch_size) == (arch, patch)
    assert config.model.embed_dim is None
    config, _ = resolve(config, Facts(num_photos=400, network=inspect_network(config)))
    model = build_model(config, 5)
    initial.put_into(model)
    for network in (model.student_backbone, model.teacher_backbone):
        for one, two in zip(network.weights, backbone.weights, strict=True):
            np.testing.assert_array_equal(one, two)


def test_networks_without_a_name_are_refused():
    backbone = create_backbone("resnet50", image_size=32, stages=(1, 1, 1, 1), width=4)
    with pytest.raises(UserError, match="a ResNet of these sizes cannot be trained"):
        fit_config(config_of(), Initial("x", backbone, backbone))


def test_pixel_statistics_follow_the_weights(small, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("views: {mean: [0.1, 0, 0], std: [1, 1, 2]}")
    create_backbone("vit_tiny", 8, 24, depth=DEPTH).save(run / "backbone.keras")
    expected = (0.1, 0, 0), (1, 1, 2)
    for source in (run, run / "backbone.keras"):
        assert pixel_statistics(source) == expected
        config, _ = fit_config(config_of(), read_initial(source))
        assert (config.views.mean, config.views.std) == expected
    asked = config_of(views__mean=[0.2, 0.2, 0.2])
    config, _ = fit_config(asked, read_initial(run))
    assert config.views.mean == (0.2, 0.2, 0.2)
    facts = {"mean": "[0.1, 0, 0]", "std": "[1, 1, 2]"}
    save_file(small[1], tmp_path / "told.safetensors", facts)
    assert pixel_statistics(tmp_path / "told.safetensors") == expected
    assert pixel_statistics(small[0]) == (IMAGENET_MEAN, IMAGENET_STD)
    assert pixel_statistics("dino_vits16") == (IMAGENET_MEAN, IMAGENET_STD)


def test_recipe_follows_the_run_weights_are_from(small, tmp_path, monkeypatch):
    assert recipe_of(small[0]) is None and recipe_of("dino_vits16") is None
    # A run may have the name of a run's folder.
    run = tmp_path / "best"
    (run / "best").mkdir(parents=True)
    create_backbone("vit_tiny", 8, 24, depth=DEPTH).save(run / "backbone.keras")
    for recipe in ("few_photos", "published"):
        (run / "config.yaml").write_text(f"run: {{recipe: {recipe}}}")
        for source in (run, run / "best", run / "backbone.keras"):
            assert recipe_of(source) == recipe
            monkeypatch.chdir(source if source.is_dir() else run)
            assert recipe_of(".") == recipe_of("backbone.keras") == recipe
        prepared = prepare(config_of(init=str(run)), lambda text: None)
        assert prepared.config.run.recipe == recipe


def test_an_empty_init_is_no_init(tmp_path):
    config = config_of(init="", run__result_dir=str(tmp_path))
    with pytest.raises(UserError, match="no weights at ''"):
        train(config, lambda text: None)
