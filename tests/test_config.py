"""Settings: names, types, dictionaries and YAML."""

import dataclasses
import inspect

import pytest

from dino_tf import settings
from dino_tf.config import FIELDS, Config, Views
from dino_tf.errors import UserError


def message(values):
    with pytest.raises(UserError) as caught:
        Config.from_dict(values)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults_are_the_published_ones():
    config = Config()
    assert config.views.global_scale == (0.4, 1.0)
    assert config.optimizer.lr == 5e-4
    assert config.optimizer.weight_decay_end == 0.4
    assert config.loss.warmup_teacher_temp == 0.04
    assert config.head.out_dim is None


def test_every_setting_has_a_doc():
    assert len(FIELDS) > 70
    for key, field in FIELDS.items():
        assert len(field.metadata["doc"]) > 5, key


def test_dotted_nested_and_text_values_mean_the_same():
    dotted = Config.from_dict({"run.epochs": "3", "optimizer.lr": "1e-3"})
    nested = Config.from_dict({"run": {"epochs": 3}, "optimizer": {"lr": 0.001}})
    assert dotted == nested
    assert nested.run.epochs == 3
    assert nested.given == {"run.epochs", "optimizer.lr"}


def test_dictionary_round_trip():
    config = Config.from_dict({"data": "scenes", "views": {"global_scale": [0.1, 1]}})
    plain = config.to_dict()
    assert plain["views"]["global_scale"] == [0.1, 1.0]
    assert Config.from_dict(plain) == config
    assert config.views.global_scale == (0.1, 1.0)


def test_yaml(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("data: scenes\noptimizer:\n  lr: 1e-3\n  warmup_epochs: null\n")
    config = Config.from_yaml(file)
    assert config.optimizer.lr == 0.001
    assert config.given == {"data", "optimizer.lr", "optimizer.warmup_epochs"}
    file.write_text("")
    assert Config.from_yaml(file) == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: {arh: vit_tiny}", "'model.arh'; did you mean model.arch?"),
        ("model: vit_tiny", "model: got 'vit_tiny', allowed is a section"),
        ("scenes", "allowed are lines like 'data: scenes'"),
        ("x: [", "allowed is a YAML file"),
    ],
)
def test_bad_yaml_names_the_file(tmp_path, text, words):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        Config.from_yaml(file)
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_yaml(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        Config.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("run.epoch", "run.epochs"),
        ("epochs", "run.epochs"),
        ("model.patchsize", "model.patch_size"),
        ("optimizer.learning_rate", "optimizer"),
        ("lr", "optimizer.lr"),
        ("presett", "preset"),
    ],
)
def test_unknown_key_names_the_nearest(key, near):
    assert f"did you mean {near}" in message({key: 1})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("run.epochs", 2.5, "a whole number"),
        ("run.epochs", None, "a whole number"),
        ("run.epochs", True, "a whole number"),
        ("views.flip", "x", "a number"),
        ("views.mean", [1, 2], "3 numbers, as in [0.4,0.5,0.6]"),
        (
            "run.strategy",
            "mirored",
            "auto, none, mirrored, multi_worker, tpu",
        ),
        ("run.xla", 3, "true or false, or null (automatic)"),
        ("pipeline.workers", "many", "a whole number, or null (automatic)"),
        ("run.name", {}, "text, or null (automatic)"),
    ],
)
def test_wrong_type_says_what_was_got_and_what_is_allowed(key, value, words):
    assert message({key: value}) == f"{key}: got {value!r}, allowed: {words}"


def test_replace_keeps_what_was_asked_for():
    config = Config.from_dict({"run.epochs": 100})
    other = dataclasses.replace(config, data="scenes")
    assert other.given == {"run.epochs"}
    assert other.data == "scenes"


def test_assign_and_value_of():
    config = Config()
    settings.assign(config, "head.out_dim", 7)
    settings.assign(config, "data", "scenes")
    assert (config.head.out_dim, config.data) == (7, "scenes")
    assert settings.value_of(config, "head.out_dim") == 7


def test_views_are_the_arguments_of_multicrop():
    from dino_tf.transforms.multicrop import MultiCrop

    parameters = inspect.signature(MultiCrop).parameters
    for field in dataclasses.fields(Views):
        if field.name == "high_res_scale":
            continue  # says what other values become
        assert parameters[field.name].default == field.default, field.name
