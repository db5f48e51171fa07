"""Larger crops in the last epochs: what they change of settings and estimates."""

import dataclasses

import pytest

from dino_tf import phases
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.recipe import Facts, Network, resolve
from dino_tf.recipe_memory import gigabytes_per_photo

FACTS = Facts(num_photos=500, num_cores=2, memory_gb=16.0)


def configured(**settings):
    chosen = {
        "data": "scenes",
        "views.global_size": 112,
        "views.local_size": 48,
        "model.arch": "vit_tiny",
        "run.epochs": 10,
        **settings,
    }
    return Config.from_dict(chosen)


def test_sizes_are_whole_patches():
    config = configured(**{"run.high_res_epochs": 2})
    large = phases.large_views(config)
    # 1.5 * 112 = 168 is 10.5 patches, of which the even one is taken; 1.5 * 48 = 72.
    assert (large.global_size, large.local_size) == (160, 64)
    assert large.num_local == config.views.num_local
    config.views.high_res_scale = 1.7
    assert phases.large_views(config).global_size == 192


def test_the_last_epochs_are_the_large_ones():
    config = configured(**{"run.high_res_epochs": 3})
    sizes = [phases.views_after(config, epoch).global_size for epoch in range(10)]
    assert sizes == [112] * 7 + [160] * 3
    assert phases.words(config) == " (the last 3 with crops of 160 and 64 pixels)"


def test_without_them_nothing_changes():
    config = configured()
    assert phases.largest_views(config) is config.views
    assert phases.views_after(config, 9) is config.views
    assert phases.words(config) == ""


def test_crop_options_are_those_of_multicrop():
    views = Config().views
    names = {field.name for field in dataclasses.fields(views)}
    assert names - set(phases.crop_options(views)) == {"high_res_scale"}


def test_the_recipe_knows_of_them():
    tokens_alone = {"loss.histogram_weight": 0.0}
    plain, _ = resolve(configured(**tokens_alone), FACTS)
    last = configured(**tokens_alone, **{"run.high_res_epochs": 2})
    large, reasons = resolve(last, FACTS)
    assert (plain.run.eval_size, large.run.eval_size) == (112, 160)
    assert reasons["run.eval_size"] == "the size of the global crops of the last epochs"
    assert large.model.image_size == 112
    ratio = gigabytes_per_photo(large) / gigabytes_per_photo(plain)
    # Tokens 2 * 101 + 8 * 17 over 2 * 50 + 8 * 10.
    assert ratio == pytest.approx(338 / 180)


def test_the_recipe_knows_of_masked_patches():
    plain, masked = configured(), configured(**{"loss.ibot_weight": 1.0})
    for config in (plain, masked):
        config.run.precision, config.head.out_dim = "float32", 1000
    more = gigabytes_per_photo(masked) - gigabytes_per_photo(plain)
    # 2 * 49 * 0.5 * 0.3 rows of 3 * 4 * 2048 * 2 and 1000 * 24 bytes.
    assert more == pytest.approx(14.7 * (49_152 + 24_000) / 1e9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"run.high_res_epochs": 10}, "got 10, allowed: fewer than run.epochs 10"),
        ({"run.high_res_epochs": -1}, "got -1, allowed: 0 or more"),
        ({"views.high_res_scale": 0.5}, "got 0.5, allowed: 1 or more"),
        (
            {"run.high_res_epochs": 1, "model.arch": "resnet50"},
            "run.high_res_epochs: got 1, allowed: 0",
        ),
        (
            {"loss.ibot_weight": 1.0, "model.arch": "resnet50"},
            "loss.ibot_weight: got 1.0, allowed: 0.0",
        ),
        ({"loss.ibot_weight": -1.0}, "loss.ibot_weight: got -1.0"),
        ({"loss.ibot_mask_ratio": (0.5, 0.1)}, "the smaller number first"),
        ({"loss.ibot_mask_probability": 0.0}, "above 0, up to 1"),
        ({"loss.ibot_weight": 1.0, "head.use_bn": True}, "head.use_bn: got True"),
        (
            {
                "loss.ibot_weight": 1.0,
                "head.ibot_out_dim": 64,
                "head.ibot_separate": False,
            },
            "head.ibot_out_dim: got 64, allowed: null without",
        ),
        (
            {"loss.ibot_weight": 1.0, "loss.ibot_mask_ratio": (0.0, 0.01)},
            "that is a patch of the 49 or more",
        ),
        (
            {
                "loss.ibot_weight": 1.0,
                "loss.ibot_mask_probability": 0.1,
                "pipeline.batch_size": 4,
            },
            "got 0.1, allowed: 0.125 or more, for one of 8 global crops",
        ),
    ],
)
def test_refusals(settings, words):
    config = configured(**settings)
    network = None if config.model.arch == "vit_tiny" else Network(1e6, True)
    with pytest.raises(UserError) as caught:
        resolve(config, dataclasses.replace(FACTS, network=network))
    assert words in str(caught.value) and "\n" not in str(caught.value)
