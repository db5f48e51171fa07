"""Presets hold known settings, and give way to what a person asked for."""

import pytest

from dino_tf import presets, recipe, settings
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.presets import PRESETS, apply_preset


@pytest.mark.parametrize("name", PRESETS)
def test_preset_lists_only_differences_of_the_right_type(name):
    values = presets.differences(name)
    assert len(PRESETS[name]["about"]) > 20
    checked = settings.check(Config, values)
    assert checked == values
    defaults = Config().flatten()
    same = [key for key in values if values[key] == defaults[key]]
    # Automatic values depend on the data; equal fixed defaults are no difference.
    assert [key for key in same if defaults[key] is not None] == []


@pytest.mark.parametrize("name", PRESETS)
def test_preset_resolves(name):
    facts = recipe.Facts(num_photos=5011, num_cores=2)
    config, _ = recipe.resolve(apply_preset(Config(), name), facts)
    assert config.preset == name
    assert config.data == PRESETS[name]["data"]


def test_published_numbers():
    config = apply_preset(Config(), "imagenet")
    assert config.head.out_dim == 65536
    assert config.head.norm_last_layer is False
    assert config.pipeline.batch_size == 1024
    assert (config.loss.teacher_temp, config.run.epochs) == (0.07, 300)
    assert config.optimizer.teacher_momentum == 0.996


def test_published_numbers_of_resnet():
    config = apply_preset(Config(), "resnet50")
    optimizer, views = config.optimizer, config.views
    assert (optimizer.name, optimizer.lr) == ("sgd", 0.03)
    assert (optimizer.weight_decay, optimizer.weight_decay_end) == (1e-4, 1e-4)
    assert (views.global_scale, views.local_scale) == ((0.14, 1.0), (0.05, 0.14))
    # What the command leaves at the program's defaults, on 8 GPUs of 64 photos.
    assert (config.pipeline.batch_size, views.num_local) == (512, 8)
    assert (config.run.epochs, optimizer.clip_grad) == (100, 3.0)
    assert (config.head.out_dim, config.head.norm_last_layer) == (65536, True)
    assert (config.head.use_bn, config.loss.teacher_temp) == (False, 0.04)


def test_another_network_does_without_the_patches_of_a_preset():
    asked = Config.from_dict({"model.arch": "keras:ResNet50"})
    config = apply_preset(asked, "quickstart")
    assert config.model == asked.model
    assert config.views.global_size == 32


def test_asked_for_values_stay():
    asked = Config()
    asked.run.epochs = 7
    config = apply_preset(asked, "imagenet")
    assert config.run.epochs == 7
    assert config.pipeline.batch_size == 1024
    assert asked.pipeline.batch_size is None


def test_asked_for_default_stays():
    config = apply_preset(Config.from_dict({"run.epochs": 100}), "imagenet")
    assert config.run.epochs == 100
    assert config.given == {"run.epochs"}


def test_unknown_preset():
    with pytest.raises(UserError, match="got 'quikstart'.*did you mean quickstart"):
        apply_preset(Config(), "quikstart")
