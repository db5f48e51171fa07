"""What judges the networks of a study: all other photos, and histograms alone."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "recipes"
sys.path.insert(0, str(FOLDER))

import cuts  # noqa: E402
import histograms_alone  # noqa: E402
import left_out  # noqa: E402


def test_each_photo_is_judged_by_all_the_others():
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [40, 25, 1])
    features = draw.normal(size=(66, 4)) + np.eye(4)[labels]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    hits = []
    for i, cosines in enumerate(features @ features.T):
        cosines[i] = -np.inf
        nearest = np.argsort(-cosines)[:20]
        weights = np.exp(cosines[nearest] / 0.07)
        votes = np.bincount(labels[nearest], weights, minlength=4)
        hits.append(votes.argmax() == labels[i])
    found = left_out.judge(features.astype("float32"), labels, 4)
    share, first, second = np.mean(hits), np.mean(hits[:40]), np.mean(hits[40:65])
    assert 0.5 < share < 1 and first != second and not hits[-1]
    assert (found["photos"], found["k"]) == (66, 20)
    assert found["knn_all"] == pytest.approx(100 * share)
    assert found["knn_all_classes"] == pytest.approx(100 * (first + second) / 3)
    error = 100 * np.sqrt(share * (1 - share) / 66)
    assert found["knn_all_error"] == pytest.approx(error)
    error = np.sqrt(first * (1 - first) / 40 + second * (1 - second) / 25)
    assert found["knn_all_classes_error"] == pytest.approx(100 * error / 3)


def test_no_photo_votes_for_itself_however_many_are_like_it():
    # A photo comes last among 30 equals: it is not among its own 21 nearest.
    features, labels = np.tile([[1.0, 0.0]], (30, 1)), [0] * 29 + [1]
    found = left_out.judge(features, labels, 2)
    assert found["knn_all"] == pytest.approx(100 * 29 / 30)
    assert left_out.judge(features[:3], [0, 0, 1], 2)["k"] == 2
    with pytest.raises(UserError, match="got 1 photos, allowed: 2"):
        left_out.judge(features[:1], [0], 2)


@pytest.mark.parametrize(
    ("labels", "alike"),
    [([0, 1], True), ([(0,), (0, 1)], False), ([(), (1,)], False)],
)
def test_all_others_judge_where_each_photo_has_one_label(labels, alike):
    images = [np.zeros((8, 8, 3), np.uint8)] * 2
    source = ArraySource(images, labels, class_names=("a", "b"))
    assert left_out.has_one_label_each(source) == alike


def test_histograms_are_judged_without_a_network(tmp_path, capsys):
    cuts.cut("scenes:32", tmp_path / "cut")
    assert histograms_alone.main([f"shards:{tmp_path / 'cut'}", "--size", "56"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 32 and 0 < found["knn_all"] < 100
    assert found["knn"] * 8 % 100 == 0


def test_histograms_of_no_cut_are_refused_in_one_line(tmp_path, capsys):
    assert histograms_alone.main([f"shards:{tmp_path / 'cut'}"]) == 1
    assert capsys.readouterr().err.startswith("error: ")
