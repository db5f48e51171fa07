"""When a run measures its k-NN, and that nothing is measured twice."""

import dataclasses

import pytest

from dino_tf import run_measures
from dino_tf.config import Config
from dino_tf.datasets.scenes import Scenes
from dino_tf.run_measures import RunMeasures


@pytest.mark.parametrize(
    ("every", "measured"), [(0, []), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])]
)
def test_epochs_of_the_k_nn(monkeypatch, every, measured):
    calls = []

    def evaluate(backbone, *sources, **options):
        calls.append(backbone)
        return {"knn/top1_k10": float(len(calls))}

    monkeypatch.setattr(run_measures, "evaluate_knn", evaluate)
    config = Config()
    config.run = dataclasses.replace(config.run, epochs=5, knn_every=every)
    measures = RunMeasures(config, Scenes(count=20), Scenes(count=10, split="test"))
    found = {n: measures.knn_in_training(n, "teacher") for n in range(1, 6)}
    assert [n for n in found if found[n]] == measured
    # At the end of the run the numbers of its last epoch are there already.
    assert measures.knn("teacher") == (found[5] or {"knn/top1_k10": 1.0})
    assert calls == ["teacher"] * max(len(measured), 1)
    measures.knn("untrained")
    assert calls[-1] == "untrained"
