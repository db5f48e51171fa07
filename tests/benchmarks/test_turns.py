"""Sides that take turns, by a side that only counts."""

import sys
from types import SimpleNamespace

import pytest

COUNTING = """
import sys
sys.path.insert(0, sys.argv[1])
import answers
count = 0

def run():
    global count
    count += 1
    print("not an answer")
    return count

answers.serve({None: run, "other": lambda: -1}, lambda: 5.0, None, {"fact": 1})
"""


def side(tmp_path, name, code=COUNTING):
    import turns

    command = [sys.executable, "-c", code, turns.HERE]
    return turns.Side(name, command, tmp_path / f"{name}.log")


def test_sides_take_turns_and_warm_up_runs_do_not_count(tmp_path):
    import turns

    with side(tmp_path, "a") as a, side(tmp_path, "b") as b:
        found = turns.take_turns([a, b], turns=2, count=3, warm_up=2)
        other = turns.take_turns([b], turns=1, count=1, warm_up=0, what="other")
    assert list(found) == ["a", "b"]
    for one in found.values():
        assert one["first"]["results"] == [1, 2]
        assert one["results"] == [3, 4, 5, 6, 7, 8]
        assert len(one["seconds"]) == len(one["processor_seconds"]) == 6
        assert one["ceiling"] == 5.0
        assert one["memory"]["fact"] == 1
    assert other["b"]["results"] == [-1]
    assert "not an answer" in (tmp_path / "a.log").read_text()


def test_commands_of_both_sides(tmp_path):
    import turns

    given = SimpleNamespace(published=None, torch_python="peer")
    command = [sys.executable, turns.HERE / "step_ours.py", '{"a": 1}']
    assert turns.commands("step", given, {"a": 1}) == {"ours": command}
    given.published = str(tmp_path)
    both = turns.commands("step", given, {"a": 1}, {"a": 2})
    theirs = ["peer", turns.HERE / "step_published.py", tmp_path, '{"a": 2}']
    assert both == {"ours": command, "published": theirs}
    file = tmp_path / "eval_knn.py"
    file.touch()
    given.published = str(file)
    assert turns.published("step", given, {"a": 2}) == {"published": theirs}


@pytest.mark.parametrize("name", ["step", "network"])
def test_programs_of_a_network_share_its_arguments(name):
    import turns

    given = __import__(name).arguments(["--batch", "2", "--sizes", '{"depth": 1}'])
    assert turns.chosen(given, turns.NETWORK) == {
        "arch": "vit_small",
        "patch_size": 16,
        "global_size": 224,
        "local_size": 96,
        "num_local": 8,
        "batch": 2,
        "out_dim": 4096,
        "precision": "float32",
        "sizes": {"depth": 1},
    }


def test_a_side_that_ends_is_named_with_its_last_words(tmp_path):
    with side(tmp_path, "a", "raise ValueError('no such photo')") as broken:
        with pytest.raises(SystemExit, match="(?s)a ended:.*no such photo"):
            broken.ask(do="memory")


def test_figures(answer):
    import turns

    told = turns.figures(answer([1.0, 4.0, 2.0], [0]), items=8)
    assert told["median_seconds"] == 2.0
    assert told["per_second"] == 4.0
    assert told["processor_seconds"] == 4.0
    assert told["first_seconds"] == 9.0
    assert told["peak_mb"] == 100


def test_a_table_leaves_out_rows_without_figures(capsys):
    import turns

    sides = {"ours": {"seconds": 1.5, "peak": None}, "published": {"seconds": 12.0}}
    turns.tell(sides, {"seconds": "{seconds:.2f}", "peak": "{peak}"}, "step")
    assert capsys.readouterr().out == (
        "step     ours  published\nseconds  1.50      12.00\n"
    )


def test_what_is_told_of_the_machine():
    import turns

    told = turns.machine()
    assert told["cores"] >= 1
    assert set(told) == {"processor", "cores", "system", "python", "load_before"}


def test_a_rate_of_products():
    import answers

    assert answers.matrix_rate(lambda: None, size=1000, seconds=0.01) > 2e9


def test_drawn_photos_are_photos_and_differ(tmp_path):
    import photos
    from PIL import Image

    folder = photos.drawn(tmp_path / "drawn", 3, (40, 30))
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.jpg"))]
    assert names == ["class0/00000.jpg", "class0/00002.jpg", "class1/00001.jpg"]
    assert len({(folder / name).read_bytes() for name in names}) == 3
    with Image.open(folder / names[0]) as image:
        assert image.size == (40, 30)
    assert photos.linked(folder, tmp_path / "links", 2) == 2
    assert len(list((tmp_path / "links" / "class0").iterdir())) == 2
    with pytest.raises(SystemExit, match="no photos in"):
        photos.linked(tmp_path / "links" / "none", tmp_path / "more", 2)
