"""Details of what was not asked for are refused, and say what they need."""

import pytest

from dino_tf import settings
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.idle import DETAILS, first_idle
from dino_tf.recipe import Facts, resolve


@pytest.mark.parametrize(
    ("key", "value", "words", "needed"),
    [
        (
            "optimizer.muon_lr",
            0.1,
            "0.03 without optimizer.name muon",
            {"optimizer.name": "muon"},
        ),
        (
            "optimizer.muon_query_key",
            0.5,
            "1.0 without optimizer.name muon",
            {"optimizer.name": "muon"},
        ),
        (
            "loss.center_momentum",
            0.5,
            "0.9 without a center",
            {"loss.centering": "center"},
        ),
        (
            "loss.ibot_mask_ratio",
            (0.2, 0.4),
            "[0.1, 0.5] without loss.ibot_weight",
            {"loss.ibot_weight": 1.0},
        ),
        (
            "loss.ibot_mask_probability",
            0.25,
            "0.5 without loss.ibot_weight",
            {"loss.ibot_weight": 1.0},
        ),
        (
            "head.ibot_separate",
            False,
            "true without loss.ibot_weight",
            {"loss.ibot_weight": 1.0},
        ),
        (
            "head.ibot_out_dim",
            128,
            "null without loss.ibot_weight",
            {"loss.ibot_weight": 1.0},
        ),
        (
            "views.high_res_scale",
            2.0,
            "1.5 without run.high_res_epochs",
            {"run.high_res_epochs": 2},
        ),
    ],
)
def test_details_need_what_they_are_of(key, value, words, needed):
    basis = {
        "run.recipe": "published",
        "run.epochs": 20,
        "loss.centering": "sinkhorn",
        "model.arch": "vit_tiny",
    }
    with pytest.raises(UserError) as caught:
        resolve(Config.from_dict({**basis, key: value}), Facts(500))
    assert str(caught.value).startswith(f"{key}: got ")
    assert str(caught.value).endswith(f", allowed: {words}")
    config, _ = resolve(Config.from_dict({**basis, **needed, key: value}), Facts(500))
    assert settings.value_of(config, key) == value and first_idle(config) is None


def test_every_detail_is_tried_above():
    (mark,) = test_details_need_what_they_are_of.pytestmark
    tried = [key for key, *_ in mark.args[1]]
    assert tried == [key for *_, keys in DETAILS for key in keys.split()]
