"""One writer for a run folder."""

import subprocess
import sys

import pytest

from dino_tf.errors import UserError
from dino_tf.run_lock import only_writer

HOLD = """
import sys
from dino_tf.run_lock import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_and_the_first_named(holder, tmp_path):
    with pytest.raises(UserError, match=f"by process {holder.pid} on .*since 20"):
        with only_writer(tmp_path):
            pass
    (tmp_path / ".holder.json").write_text("[")
    with pytest.raises(UserError, match="by another process"), only_writer(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.kill()
    holder.wait()
    said = []
    with only_writer(tmp_path, said.append):
        (words,) = said
        assert f"process {holder.pid} on" in words and "taken over" in words
    with only_writer(tmp_path, said.append):
        assert len(said) == 1


def test_nothing_is_left_and_errors_free_it(tmp_path):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path):
        1 / 0  # noqa: B018
    said = []
    with only_writer(tmp_path, said.append):
        pass
    assert not (tmp_path / ".holder.json").exists()


def test_a_holder_that_is_a_link_or_holds_anything(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".holder.json").symlink_to(tmp_path / "precious")
    with only_writer(tmp_path, print):
        assert not (tmp_path / ".holder.json").is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"
    for text in ('{"process":"\\u001b[2J","host":"a\\nb","since":"x"}', "[" * 200_000):
        (tmp_path / ".holder.json").write_text(text)
        said = []
        with only_writer(tmp_path, said.append):
            assert said[0].isprintable() and "taken over" in said[0]
