"""Charts of records: grouping, unknown keys, numbers that are none."""

import math

from dino_tf.report.curves import MOST_POINTS, charts


def by_title(found):
    return {chart["title"]: chart for chart in found}


def test_loss_stands_beside_ln_k():
    records = [{"epoch": 1, "loss": 5.5}, {"epoch": 2, "loss": 5.25}]
    (loss,) = charts(records, uniform_loss=5.545)
    assert loss["group"] == "Learning" and loss["unit"] == "nats"
    assert loss["lines"] == [
        {"name": "loss", "reference": False, "points": [[1, 5.5], [2, 5.25]]},
        {"name": "ln K", "reference": True, "points": [[1, 5.545], [2, 5.545]]},
    ]


def test_recorded_ln_k_goes_before():
    records = [{"epoch": 1, "loss": 5.5, "uniform_loss": 6.0}]
    (loss,) = charts(records, uniform_loss=5.545)
    assert loss["lines"][1]["points"] == [[1, 6.0]]
    assert charts([{"epoch": 1, "uniform_loss": 6.0}]) == []


def test_matched_views_stand_beside_chance():
    records = [{"epoch": 3, "views/matched": 7.5, "views/chance": 0.78125}]
    (matched,) = charts(records)
    assert (matched["group"], matched["unit"]) == ("Learning", "%")
    assert matched["lines"] == [
        {"name": "matched", "reference": False, "points": [[3, 7.5]]},
        {"name": "chance", "reference": True, "points": [[3, 0.78125]]},
    ]
    assert charts([{"epoch": 1, "views/chance": 0.78125}]) == []


def test_every_numeric_key_has_a_place():
    record = {
        "epoch": 1,
        "step": 7,
        "loss": 1.0,
        "learning_rate": 0.1,
        "knn/top1_k20": 50.0,
        "knn/top5_k20": 80.0,
        "segment/jaccard": 20.0,
        "mine/one": 3,
        "verdict": "learning",
        "advice": [],
        "flag": True,
    }
    found = by_title(charts([record]))
    assert list(found) == [
        "Loss",
        "k-NN",
        "Segmentation by attention",
        "Learning rate",
        "mine",
    ]
    assert [line["name"] for line in found["k-NN"]["lines"]] == ["top1 k20", "top5 k20"]
    assert found["k-NN"]["unit"] == "%"
    assert found["mine"]["group"] == "More"


def test_what_is_no_number_is_a_gap():
    records = [
        {"epoch": 1, "loss": math.nan},
        {"epoch": 2, "loss": None},
        {"loss": 9.0},
        {"epoch": 3, "loss": 2.0},
    ]
    (loss,) = charts(records)
    assert loss["lines"][0]["points"] == [[3, 2.0]]
    assert charts([]) == []


def test_long_runs_are_thinned_and_keep_their_last_epoch():
    records = [{"epoch": i, "loss": 1.0} for i in range(1, 1001)]
    (loss,) = charts(records)
    points = loss["lines"][0]["points"]
    assert 200 < len(points) <= MOST_POINTS and points[-1] == [1000, 1.0]
