"""YAML of strangers: settings or one line, and nothing executed."""

import pytest

from dino_tf.config import Config
from dino_tf.errors import UserError, plain
from dino_tf.settings import MOST_TEXT

# Nine lists of nine of the one before: a billion letters where they are shown.
BOMB = "data:\n- &a [x]\n" + "".join(
    f"- &{b} [{','.join(9 * ['*' + a])}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: !!python/object/apply:os.system ['touch executed']", "python/object"),
        ("data: !!python/name:os.system", "python/name"),
        ("data: !!python/module:os", "python/module"),
        (BOMB, "references"),
        ("&a data: *a", "references"),
        ("data: &a [*a]", "references"),
        ("data: " + "[" * 100_000, "nested more than 8"),
        ("{a: " * 100_000, "nested more than 8"),
        ("- " * 100_000, "nested more than 8"),
        ("a" * (MOST_TEXT + 1), "longer than"),
        ("views: 0x" + "f" * 8000, "a number of more than a hundred digits"),
        ("run:\n  epochs: " + "1:" * 3000 + "1", "more than a hundred digits"),
        ("data: 2001-99-99", "month"),
        ("run: {epochs: 0b_}", "invalid literal"),
        ("run: {epochs: " + "9" * 5000 + "}", "digits"),
        ("run: {epochs: " + "9" * 100 + "}", "a whole number"),
        ("optimizer: {lr: .nan}", "got nan, allowed: a number"),
        ("optimizer: {lr: .inf}", "got inf, allowed: a number"),
        ("views: {mean: [.nan, 0, 0]}", "allowed: 3 numbers"),
        ('data: "\\ud800"', ""),
        ("data: \0", ""),
        ("data: {class_path: os.system, init_args: {command: touch executed}}", "text"),
        ("run: {__default_config__: /etc/passwd}", "unknown setting"),
        ("config: /etc/passwd", "unknown setting"),
        ("? [a]\n: b", "unhashable"),
        ("data: !!binary AAAA", "allowed: text"),
        ("data: [" + "x, " * 10_000 + "x]", "allowed: text"),
        ("[" + "x, " * 10_000 + "x]", "lines like"),
        ("x" * 500 + ": 1", "unknown setting"),
        ('"\\e[31m": 1', "unknown setting '\\x1b[31m'"),
    ],
    ids=lambda text: plain(text[:24]),
)
def test_a_stranger_settings(text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        Config.from_yaml(tmp_path / "config.yaml")
    assert words in str(error.value) and len(str(error.value)) < 900
    assert plain(error.value) == str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
