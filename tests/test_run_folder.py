"""Run folders: found, continued, never overwritten."""

import json

import pytest

from dino_tf import recipe
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.run_folder import (
    RunFolder,
    choose_folder,
    default_name,
    differences,
    write_text,
)


@pytest.fixture
def configure(tmp_path):
    """Function that makes a configuration whose runs lie in `tmp_path`."""

    def make(**values):
        start = {"data": "scenes", "preset": "quickstart", "run.result_dir": tmp_path}
        given = {**start, **values}
        return Config.from_dict(
            {k: v if v is None else str(v) for k, v in given.items()}
        )

    return make


def start(config):
    """What a training does first; returns (name of the folder, resumed)."""
    folder, resumed = choose_folder(config)
    folder.config.write_text(recipe.to_yaml(config, {}))
    return folder.path.name, resumed


def finish(config, name):
    write_text(RunFolder(f"{config.run.result_dir}/{name}").summary, "{}")


@pytest.mark.parametrize(
    ("preset", "data", "name"),
    [
        ("quickstart", "scenes", "quickstart-scenes"),
        ("quickstart", "scenes:500", "quickstart-scenes"),
        ("voc2007", "voc2007", "voc2007"),
        ("voc2007_cpu", "voc2007:/data", "voc2007_cpu"),
        ("voc2007_cpu", "folder:photos", "voc2007_cpu-folder"),
        ("imagenet", "tfds:imagenet2012", "imagenet-tfds"),
        (None, "my/photos/", "custom-my-photos"),
    ],
)
def test_default_names(configure, preset, data, name):
    config = configure(data=data)
    config.preset = preset
    assert default_name(config) == name


def test_a_first_start_makes_the_folder(configure, tmp_path):
    assert start(configure()) == ("quickstart-scenes", False)
    assert (tmp_path / "quickstart-scenes" / "config.yaml").is_file()


def test_an_unfinished_equal_run_goes_on(configure):
    start(configure())
    assert start(configure()) == ("quickstart-scenes", True)


def test_beside_a_finished_run_a_new_one_begins(configure):
    config = configure()
    start(config)
    finish(config, "quickstart-scenes")
    assert start(config) == ("quickstart-scenes-2", False)
    assert start(config) == ("quickstart-scenes-2", True)
    finish(config, "quickstart-scenes-2")
    assert start(config) == ("quickstart-scenes-3", False)


def test_other_settings_begin_a_new_run(configure):
    start(configure())
    assert start(configure(**{"run.seed": 1})) == ("quickstart-scenes-2", False)
    # Both can still be continued.
    assert start(configure()) == ("quickstart-scenes", True)
    assert start(configure(**{"run.seed": 1})) == ("quickstart-scenes-2", True)


def test_a_named_run_with_other_settings_is_refused(configure):
    start(configure(**{"run.name": "mine"}))
    with pytest.raises(UserError, match=r"mine.*\(run.seed 0 -> 1\).*run.resume false"):
        start(configure(**{"run.name": "mine", "run.seed": 1}))


def test_resume_can_be_declined(configure):
    start(configure(**{"run.name": "mine"}))
    values = {"run.name": "mine", "run.resume": "false"}
    assert start(configure(**values)) == ("mine-2", False)


def test_a_folder_without_a_run_is_used(configure, tmp_path):
    (tmp_path / "mine").mkdir()
    assert start(configure(**{"run.name": "mine"})) == ("mine", False)


def test_what_is_no_run_is_left_alone(configure, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.jsonl").write_text("keep")
    (tmp_path / "mine-2").write_text("a file")
    assert start(configure(**{"run.name": "mine"})) == ("mine-3", False)
    assert (tmp_path / "mine" / "metrics.jsonl").read_text() == "keep"


def test_name_and_place_make_no_difference(configure):
    one = configure(**{"run.name": "a"})
    two = configure(**{"run.name": "b", "run.result_dir": "other"})
    assert differences(one, two) == {}
    three = configure(**{"head.out_dim": 64})
    assert differences(one, three) == {"head.out_dim": (None, 64)}


def test_metrics_are_appended_and_cut(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.read_metrics() == []
    for epoch in (1, 2, 3):
        folder.add_metrics({"epoch": epoch, "loss": 5.0 - epoch})
    folder.cut_metrics(2)
    assert folder.read_metrics() == [
        {"epoch": 1, "loss": 4.0},
        {"epoch": 2, "loss": 3.0},
    ]
    folder.cut_metrics(0)
    assert folder.read_metrics() == []


def test_a_torn_last_line_of_metrics_is_passed_over(tmp_path):
    folder = RunFolder(tmp_path)
    folder.add_metrics({"epoch": 1})
    with folder.metrics.open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert folder.read_metrics() == [{"epoch": 1}]
    folder.cut_metrics(1)
    folder.add_metrics({"epoch": 2})
    lines = folder.metrics.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_the_log_is_appended(tmp_path):
    for word in ("first", "second"):
        logger = RunFolder(tmp_path).open_log()
        logger.info("the %s start", word)
        for handler in list(logger.handlers):
            handler.close()
            logger.removeHandler(handler)
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split()[-2] for line in lines] == ["first", "second"]


def test_finished_means_that_there_is_a_summary(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.finished
    write_text(folder.summary, "{}")
    assert folder.finished
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_only_what_was_being_written_is_cleared(tmp_path):
    folder = RunFolder(tmp_path / "run")
    gone = ["best/part-backbone.keras", "checkpoints/part-epoch-0001.safetensors"]
    gone += ["summary.json.part", "attention/photo/tmpab12.unfinished"]
    kept = ["mine/thesis.part", "features.npz.part/0.npz", "part-2.keras.txt"]
    kept += ["metrics.jsonl", "best/backbone.keras", "attention/part-of-a-photo.png"]
    for name in gone + kept:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).touch()
    folder.clear_unfinished()
    assert not any((folder.path / name).exists() for name in gone)
    assert all((folder.path / name).exists() for name in kept)


def test_a_run_that_was_ended_while_it_finished_is_not_finished(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (folder.path / ".holder.json").touch()
    assert not folder.finished
    folder.summary.touch()
    assert not folder.finished
    (folder.path / ".holder.json").unlink()
    assert folder.finished


@pytest.mark.parametrize(
    "line",
    ["[]", '{"loss": 1}', '{"epoch": "2"}', "[" * 10**5],
    ids=["list", "none", "text", "deep"],
)
def test_wrong_lines_among_records_are_told_and_kept_beside(tmp_path, line):
    folder = RunFolder(tmp_path / "run")
    folder.metrics.write_text('{"epoch": 1}\n' + line + '\n{"epoch": 3}\n')
    records, said = [{"epoch": 1}, {"epoch": 3}], []
    assert folder.read_metrics() == records
    before = folder.metrics.read_bytes()
    folder.cut_metrics(3, said.append)
    assert folder.read_metrics() == records and "1 line damaged" in said[0]
    assert (folder.path / "metrics.damaged.jsonl").read_bytes() == before
    folder.cut_metrics(3, said.append)
    assert len(said) == 1


def test_a_log_that_is_a_link_is_not_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "precious").write_text("mine")
    folder.log_file.symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="train.log is a link"):
        folder.open_log()
    assert (tmp_path / "precious").read_text() == "mine"
