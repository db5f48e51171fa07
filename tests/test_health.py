"""Verdicts on records: of real runs as they were, and made up for a rule."""

import math

import pytest

from dino_tf.health import (
    ASIDES,
    BAD,
    MEANINGS,
    VERDICTS,
    advise,
    judge,
    line,
    words,
)

UNIFORM, ONE = "collapsing to uniform", "collapsing to one prototype"
NAMES = (
    "loss",
    "teacher_entropy",
    "batch_entropy",
    "weight_norm",
    "feature_std",
    "effective_rank",
)
# main.py --preset quickstart when it had a center, 31 steps an epoch, K 256; k-NN 63 %
# in the end.
QUICKSTART = [
    (4.813, 4.394, 4.724, 36.410, 0.367, 5.943),
    (5.250, 5.215, 5.257, 36.519, 0.446, 5.894),
    (5.431, 5.392, 5.440, 36.515, 0.511, 6.456),
    (5.430, 5.367, 5.455, 36.518, 0.571, 6.952),
    (5.457, 5.372, 5.494, 36.508, 0.619, 7.433),
    (5.450, 5.349, 5.500, 36.491, 0.639, 7.585),
    (5.421, 5.304, 5.488, 36.478, 0.662, 7.628),
    (5.377, 5.231, 5.460, 36.449, 0.681, 7.714),
    (5.337, 5.175, 5.440, 36.437, 0.694, 7.782),
    (5.311, 5.141, 5.430, 36.430, 0.702, 7.837),
    (5.272, 5.082, 5.405, 36.429, 0.708, 7.878),
]
# 1,792 photos of VOC 2007, 28 steps an epoch, K 4,096.
VOC = [
    (8.111, 7.564, 8.038, 83.924, 0.635, 24.396),
    (7.710, 7.321, 7.752, 84.102, 0.641, 14.254),
    (7.987, 7.692, 8.044, 84.127, 0.666, 12.099),
    (8.126, 7.878, 8.180, 84.088, 0.687, 11.582),
    (8.181, 7.954, 8.244, 84.021, 0.693, 11.366),
    (8.178, 7.949, 8.247, 83.940, 0.696, 11.301),
    (8.169, 7.927, 8.243, 83.878, 0.697, 11.343),
    (8.160, 7.922, 8.242, 83.834, 0.699, 11.393),
    (8.145, 7.904, 8.235, 83.816, 0.699, 11.420),
    (8.150, 7.912, 8.239, 83.812, 0.699, 11.425),
]


def verdicts(rows, out_dim, steps, names=NAMES):
    """The verdict after every epoch."""
    records = [
        {**dict(zip(names, row, strict=True)), "step": steps * (number + 1)}
        for number, row in enumerate(rows)
    ]
    return [judge(records[: n + 1], out_dim) for n in range(len(records))]


@pytest.mark.parametrize(
    ("rows", "out_dim", "steps"), [(QUICKSTART, 256, 31), (VOC, 4096, 28)]
)
def test_healthy_runs_start_and_learn(rows, out_dim, steps):
    assert verdicts(rows, out_dim, steps) == ["starting"] * 2 + ["learning"] * (
        len(rows) - 2
    )


@pytest.mark.parametrize("out_dim", [256, 1024, 65536])
def test_loss_at_ln_k_is_no_collapse_while_photos_are_told_apart(out_dim):
    most = math.log(out_dim)
    rows = [(most, most - 0.1, most, 10 + n, 0.5, 5.0 + n) for n in range(8)]
    assert verdicts(rows, out_dim, 60)[-1] == "learning"


def test_student_that_knows_nothing_is_a_collapse_whatever_the_teacher_says():
    # ViT-Ti/16 on 1,344 photos, 84 steps an epoch, Sinkhorn-Knopp, temperature 0.015, a
    # rate that is too high; k-NN 33.0, untrained 36.2.
    told = [
        (6.9402, 5.8124, 6.9228, 97.1359),
        (6.9149, 6.0975, 6.9305, 97.5742),
        (6.9123, 6.3231, 6.9310, 98.0230),
        (6.9198, 6.5010, 6.9313, 98.5448),
        (6.9281, 6.5851, 6.9314, 99.4553),
        (6.9299, 6.6713, 6.9315, 99.8675),
        (6.9291, 6.7221, 6.9315, 99.8650),
        (6.9299, 6.7624, 6.9315, 99.6606),
        (6.9296, 6.7798, 6.9315, 99.5721),
        (6.9293, 6.7840, 6.9315, 99.5545),
    ]
    found = verdicts(told, 1024, 84, NAMES[:4])
    assert found == ["starting"] * 2 + ["learning"] * 4 + [UNIFORM] * 4
    # Where it gets to know more, it learns.
    rising = [(7.0 - n / 500, 6.0, 7.0, 90.0 + n) for n in range(10)]
    assert UNIFORM not in verdicts(rising, 1100, 200, NAMES[:4])


@pytest.mark.parametrize("out_dim", [256, 65536])
@pytest.mark.parametrize(
    ("entropy", "verdict"), [(1.0, UNIFORM), (0.8, UNIFORM), (0.3, ONE), (0.0, ONE)]
)
def test_answers_that_tell_nothing_are_a_collapse(out_dim, entropy, verdict):
    told = entropy * math.log(out_dim)
    rows = [(told, told, told + 0.004, 10 + n, 0.5, 5.0 - n / 10) for n in range(6)]
    assert verdicts(rows, out_dim, 200) == ["starting"] * 2 + [verdict] * 4


@pytest.mark.parametrize("out_dim", [256, 65536])
def test_of_few_steps_only_a_sure_collapse_is_told(out_dim):
    most = math.log(out_dim)

    def told(information, steps):
        rows = [(most, most - information, most, 10 + n, 0.5, 5 + n) for n in range(6)]
        return verdicts(rows, out_dim, steps)[-1]

    assert told(0.004, 80) == "starting"
    assert told(0.004, 90) == UNIFORM
    # As it was after 56 steps of a run without sharpening.
    assert told(0.001, 20) == UNIFORM
    assert told(0.02, 20) == "learning"


def test_two_prototypes_are_a_collapse_though_they_tell_something():
    rows = [(0.3, 0.1, 0.6, 10 + n, 0.5, 5.0) for n in range(4)]
    assert verdicts(rows, 1024, 100)[-1] == ONE


def test_a_collapse_must_last_and_may_end():
    told = [0.5, 0.3, 0.008, 0.008, 0.008, 0.009, 0.012, 0.03]
    rows = [(5.0, 5.0, 5.0 + i, 10 + n, 0.5, 5.0 + n) for n, i in enumerate(told)]
    found = verdicts(rows, 256, 100)
    assert found[2:4] == ["learning"] * 2
    assert found[4] == UNIFORM
    assert found[-2:] == ["learning"] * 2


def test_information_on_its_way_up_is_no_collapse():
    told = [0.001, 0.002, 0.004, 0.008]
    rows = [(5.0, 5.0, 5.0 + i, 10 + n, 0.5, 5.0 + n) for n, i in enumerate(told)]
    assert verdicts(rows, 256, 100)[-1] == "learning"
    # Rounding about zero is no way up.
    rows = [(5.0, 5.0, 5.0 + i / 1e3, 10 + n, 0.5, 5.0) for n, i in enumerate(told)]
    assert verdicts(rows, 256, 100)[-1] == UNIFORM


def test_flat_when_neither_weights_nor_features_move():
    moving = [(5.0, 4.0, 4.5, 10 + n, 0.5 + n / 10, 5.0) for n in range(4)]
    assert verdicts(moving, 256, 100)[-1] == "learning"
    still = [(5.0, 4.0, 4.5, 10 + n, 0.5, 5.0 + n / 100) for n in range(4)]
    assert verdicts(still, 256, 100)[-1] == "flat"
    frozen = [(5.0 + n, 4.0, 4.5, 10.0) for n in range(4)]
    assert verdicts(frozen, 256, 100, NAMES[:4])[-1] == "flat"


def test_a_run_that_has_learnt_is_not_flat_at_its_end():
    rows = VOC + [VOC[-1]] * 50
    assert set(verdicts(rows, 4096, 28)[3:]) == {"learning"}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"loss": math.nan}, "diverging"),
        ({"kl": math.inf}, "diverging"),
        ({"gradient_norm": math.nan}, "diverging"),
        ({"weight_growth": 3.1}, "diverging"),
        ({"weight_growth": 1.4}, "starting"),
        ({}, "starting"),
    ],
)
def test_divergence_is_told_at_once(changes, verdict):
    healthy = {"loss": 5.0, "kl": 0.4, "gradient_norm": 99.0, "weight_growth": 1.0}
    assert judge([healthy | changes], 256) == verdict


def test_thrown_weights_are_not_forgotten():
    records = [{"weight_growth": g, "step": 500} for g in (1.9, 1.0, 1.0, 1.0)]
    assert judge(records, 256) == "diverging"


def test_a_rising_rate_is_a_start():
    records = [{"learning_rate": n, "step": 100 * n} for n in (1, 2, 3, 4)]
    assert judge(records, 256) == "starting"
    assert judge([*records, {"learning_rate": 3.9, "step": 500}], 256) == "learning"


def test_records_of_older_versions_are_judged_by_what_they_have():
    old = [{"epoch": n, "loss": 5.0 - n / 10, "step": 50 * n} for n in range(1, 6)]
    assert judge(old, 256) == "learning"
    assert judge([], 256) == "starting"


def test_every_bad_verdict_has_advice():
    assert set(MEANINGS) == set(BAD) == set(VERDICTS) - {"starting", "learning"}
    assert set(ASIDES) == set(VERDICTS) - set(BAD)
    for verdict in VERDICTS:
        assert bool(advise(verdict)) == (verdict in BAD)


def test_advice_names_options_that_exist_and_their_values():
    from dino_tf.config import FIELDS, Config

    settings = Config().flatten() | {"loss.teacher_temp": 0.07, "head.out_dim": 65536}
    for verdict in BAD:
        for sentence in advise(verdict, settings)[1:]:
            assert sentence.split(": --")[1].split()[0] in FIELDS
    advice = advise(UNIFORM, settings)
    assert "lower the teacher temperature, to 0.04 or less: " in advice[1]
    assert advice[1].endswith("--loss.teacher_temp (now 0.07)")
    assert any(s.endswith("--head.out_dim (now 65536)") for s in advice)
    # Nothing is advised that is so already.
    assert not any("warmup_teacher_temp" in s for s in advice)
    assert not any("center_momentum" in s for s in advise(ONE, settings))
    center = advise(ONE, {"loss.center_momentum": 1.0})[1]
    assert center.endswith("--loss.center_momentum (now 1.0)")


def test_advice_names_both_rates_of_muon():
    settings = {
        "optimizer.name": "muon",
        "optimizer.lr": 1e-3,
        "optimizer.muon_lr": 0.03,
    }
    for verdict in BAD:
        told = advise(verdict, settings)
        own = next(i for i, s in enumerate(told) if "--optimizer.lr (now 0.001)" in s)
        assert told[own + 1].endswith(
            ", that of the blocks: --optimizer.muon_lr (now 0.03)"
        )
        assert not any(
            "muon" in s for s in advise(verdict, {"optimizer.name": "adamw"})
        )


def test_advice_asks_for_what_is_not_so_already():
    def first(value):
        return advise(UNIFORM, {"loss.teacher_temp": value})[1]

    assert first(0.07).startswith("lower the teacher temperature, to 0.04 or less: ")
    assert first(0.04) == (
        "lower the teacher temperature further: --loss.teacher_temp (now 0.04)"
    )
    named = [s for s in advise(UNIFORM) if s.endswith("--loss.teacher_temp")]
    assert named == [
        "lower the teacher temperature, to 0.04 or less: --loss.teacher_temp"
    ]


def test_advice_names_what_keeps_answers_and_features_apart():
    off = {"loss.centering": "center", "loss.koleo_weight": 0.0}
    for verdict, option in (
        (UNIFORM, "centering"),
        (UNIFORM, "koleo_weight"),
        (ONE, "centering"),
    ):
        assert any(f"--loss.{option} (now" in s for s in advise(verdict, off))
    on = {"loss.centering": "sinkhorn", "loss.koleo_weight": 0.1}
    for verdict in (UNIFORM, ONE):
        told = " ".join(advise(verdict, on))
        assert "centering" not in told and "koleo" not in told


def test_advice_after_few_steps_says_so():
    for verdict in (UNIFORM, ONE):
        assert "only 96 steps" in advise(verdict, steps=96)[0]
        assert "steps" not in advise(verdict, steps=500)[0]
    assert "steps" not in " ".join(advise("diverging", steps=96))


def test_advice_in_the_words_of_python():
    names = {"optimizer.lr": "the optimizer's learning_rate"}
    advice = advise("diverging", {"optimizer.lr": 0.1 / 3}, names=names)
    assert advice[1] == (
        "lower the learning rate, to a tenth: the optimizer's learning_rate "
        "(now 0.03333)"
    )


def test_line_of_an_epoch():
    record = {
        "verdict": ONE,
        "loss": 11.0904,
        "uniform_loss": 11.0904,
        "teacher_entropy": 11.0904,
        "kl": 0.0,
        "knn/watched_top1": 50.123,
        "effective_rank": 312.7,
    }
    text = line(record)
    assert text == (
        "collapsing: loss 11.09 of 11.09, entropy 11.09, KL 0.00, k-NN 50.1 %, rank 313"
    )
    assert len(text) <= 80
    assert line({"verdict": "starting"}) == "starting: "
    assert line({"verdict": "learning", "loss": 2.0}) == "learning: loss 2.00"


def test_line_of_an_epoch_whose_views_are_matched():
    record = {
        "verdict": "learning",
        "loss": 11.0904,
        "uniform_loss": 11.0904,
        "teacher_entropy": 10.0904,
        "kl": 1.0,
        "knn/watched_top1": 50.123,
        "effective_rank": 312.7,
        "views/matched": 7.8,
        "views/chance": 0.78,
    }
    text = line(record)
    assert text == (
        "learning: loss 11.09 of 11.09, entropy 10.09, k-NN 50.1 %, rank 313, "
        "matched 8 %"
    )
    assert len(text) == 80
    worst = {"verdict": ONE, "knn/watched_top1": 100.0, "views/matched": 100.0}
    assert line(record | worst) == (
        "collapsing: loss 11.09 of 11.09, entropy 10.09, k-NN 100.0 %, matched 100 %"
    )
    told = {"verdict": "learning", "views/matched": 0.4}
    assert line(told) == "learning: matched 0 %"


def test_advice_as_lines():
    text = words(advise("diverging", {"optimizer.lr": 0.05}))
    assert text.startswith("Diverging: ") and "  try: lower the learning rate" in text
    assert all(len(row) <= 80 for row in text.splitlines())
    assert words([]) == ""
