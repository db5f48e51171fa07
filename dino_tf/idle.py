"""Settings that do nothing by themselves: details of what has to be asked for first."""

import json

from dino_tf import settings
from dino_tf.config import FIELDS

# How it is asked for, the test of a configuration, and the details of it.
DETAILS = (
    (
        "optimizer.name muon",
        lambda config: config.optimizer.name == "muon",
        "optimizer.muon_lr optimizer.muon_query_key",
    ),
    (
        "a center",
        lambda config: config.loss.centering == "center",
        "loss.center_momentum",
    ),
    (
        "loss.ibot_weight",
        lambda config: config.loss.ibot_weight > 0,
        "loss.ibot_mask_ratio loss.ibot_mask_probability "
        "head.ibot_separate head.ibot_out_dim",
    ),
    (
        "run.high_res_epochs",
        lambda config: config.run.high_res_epochs > 0,
        "views.high_res_scale",
    ),
)


def first_idle(config):
    """The first setting that was changed and would do nothing.

    Args:
        config: resolved `Config`.

    Returns:
        Its dotted key, and what is allowed; or None.
    """
    for need, has, keys in DETAILS:
        for key in keys.split():
            default = FIELDS[key].default
            if not has(config) and settings.value_of(config, key) != default:
                return key, f"{json.dumps(default)} without {need}"
    return None
