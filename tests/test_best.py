"""The best network of a run: chosen, kept over a restart, never half."""

import json
import zipfile

import pytest

from dino_tf.best import Best


class Network:
    """Saves its number."""

    def __init__(self, number, fails=False):
        self.number, self.fails = number, fails

    def save(self, path):
        if self.fails:
            path.write_text("half")
            raise OSError("disk full")
        # As Keras does, a zip.
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("number", str(self.number))


def kept_number(folder):
    with zipfile.ZipFile(folder / "backbone.keras") as file:
        return int(file.read("number"))


def offer(best, epoch, verdict="learning", **numbers):
    numbers = {k.replace("__", "/"): v for k, v in numbers.items()}
    record = {"epoch": epoch, "verdict": verdict, **numbers}
    return best.offer(Network(epoch), record)


def test_the_best_by_k_nn_is_kept(tmp_path):
    best = Best(tmp_path / "best")
    assert best.facts is None and not (tmp_path / "best").exists()
    offered = [40.0, 55.0, 50.0, 55.0, 54.0, 56.0]
    kept = [
        offer(best, n, knn__watched_top1=v, effective_rank=99.0 - n)
        for n, v in enumerate(offered)
    ]
    assert kept == [True, True, False, True, False, True]
    assert kept_number(tmp_path / "best") == 5
    facts = json.loads((tmp_path / "best" / "best.json").read_text())
    assert facts == {"epoch": 5, "measure": "knn/watched_top1", "value": 56.0}
    assert sorted(p.name for p in (tmp_path / "best").iterdir()) == [
        "backbone.keras",
        "best.json",
    ]


def test_without_labels_by_matched_views(tmp_path):
    best = Best(tmp_path)
    assert offer(best, 1, effective_rank=50.0)
    # Another rank says nothing once views are known to be matched.
    assert offer(best, 2, views__matched=4.0, effective_rank=9.0, views__chance=0.8)
    assert not offer(best, 3, views__matched=3.0, effective_rank=99.0)
    # Of equals the last.
    assert offer(best, 4, views__matched=4.0, effective_rank=1.0)
    assert offer(best, 5, views__matched=5.0, effective_rank=2.0)
    assert best.facts == {"epoch": 5, "measure": "views/matched", "value": 5.0}
    # Labels tell more.
    assert offer(best, 6, views__matched=1.0, knn__watched_map=20.0)


def test_without_labels_and_views_by_effective_rank(tmp_path):
    best = Best(tmp_path)
    assert offer(best, 1, effective_rank=5.0)
    assert not offer(best, 2, effective_rank=4.0)
    assert not offer(best, 3)


@pytest.mark.parametrize(
    "verdict",
    ["starting", "flat", "collapsing to uniform", "diverging", None],
)
def test_only_of_epochs_that_learn(tmp_path, verdict):
    assert not offer(Best(tmp_path), 1, verdict, knn__top1_k20=99.0)


def test_an_earlier_best_is_found_again(tmp_path):
    offer(Best(tmp_path), 7, knn__top1_k20=60.0)
    again = Best(tmp_path)
    assert again.facts["epoch"] == 7
    assert not offer(again, 8, knn__top1_k20=59.0)
    assert offer(again, 9, knn__top1_k20=61.0)


def test_the_wanted_measure_takes_over_and_stays(tmp_path):
    best = Best(tmp_path)
    offer(best, 1, knn__watched_top1=90.0)
    assert offer(best, 2, knn__watched_top1=10.0, knn__top1_k20=30.0)
    assert not offer(best, 3, knn__watched_top1=99.0)
    assert best.facts == {"epoch": 2, "measure": "knn/top1_k20", "value": 30.0}


def test_a_failed_save_leaves_the_last(tmp_path):
    best = Best(tmp_path)
    offer(best, 1, effective_rank=1.0)
    record = {"epoch": 2, "verdict": "learning", "effective_rank": 2.0}
    with pytest.raises(OSError, match="disk full"):
        best.offer(Network(2, fails=True), record)
    assert kept_number(tmp_path) == 1
    assert Best(tmp_path).facts["epoch"] == 1


def test_a_torn_file_of_facts_is_no_best(tmp_path):
    offer(Best(tmp_path), 1, effective_rank=1.0)
    (tmp_path / "best.json").write_text("{")
    assert Best(tmp_path).facts is None


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"epoch": "x", "measure": 1, "value": 2}', "[" * 10**5, "null"],
)
def test_facts_of_something_else_are_none(tmp_path, text):
    (tmp_path / "backbone.keras").touch()
    (tmp_path / "best.json").write_text(text)
    assert Best(tmp_path).facts is None
