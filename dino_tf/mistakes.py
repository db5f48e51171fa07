"""What is wrong with a command line, in one line that tells what is allowed."""

import os
import re

from dino_tf import settings
from dino_tf.commands import ARGUMENTS, COMMANDS
from dino_tf.config import FIELDS
from dino_tf.errors import UserError
from dino_tf.kinds import KINDS
from dino_tf.tasks import TASKS


def explain(error, argv):
    """The `UserError` that says in one line what jsonargparse found.

    Args:
        error: `jsonargparse.ArgumentError`.
        argv: the arguments, the command first.
    """
    text = " ".join(str(error).split())
    command = argv[0]
    if command not in COMMANDS:
        hint = settings.nearest(command, COMMANDS)
        names = ", ".join(COMMANDS)
        if os.path.exists(command):
            hint = f"photos to train on are given by --data {command}"
        return UserError(f"no command {command!r}, allowed: {names}; {hint}")
    unknown = re.match(r"[Uu]nrecognized arguments: (\S+)", text)
    if unknown:
        return _unknown_argument(unknown.group(1), argv)
    key = (settings.key_in(error) or "").removeprefix(f"{command}.")
    if key in FIELDS and command == "train":
        return settings.wrong_value(key, FIELDS[key], _given_text(error))
    kind = _options(argv).get(key.rpartition(".")[2], {}).get("type")
    if kind:
        words = f"got {_given_text(error)!r}, allowed: {settings.allowed(kind)}"
        return UserError(f"--{key.rpartition('.')[2].replace('_', '-')}: {words}")
    missing = re.match("the following arguments are required: (.*)", text)
    if missing:
        names = [name.rpartition(".")[2] for name in missing.group(1).split(", ")]
        return UserError(f"{command}: missing are {', '.join(names)}; see --help")
    if command == "evaluate":
        return UserError(f"evaluate: allowed tasks are {', '.join(TASKS)}, all")
    if command == "picture":
        return UserError(f"picture: allowed kinds are {', '.join(KINDS)}")
    if command == "data":
        return UserError(
            "data: allowed are get NAME, check SPEC, coco SPEC, shards SPEC; see --help"
        )
    return UserError(text.removeprefix("argument "))


def _options(argv):
    """Arguments of the command in `argv`, by the names that parsed values have."""
    name = ".".join(argv[: 2 if argv[0] in ("data", "evaluate", "picture") else 1])
    named = ARGUMENTS.get(name, {}).items()
    return {key.lstrip("-").replace("-", "_"): options for key, options in named}


def _unknown_argument(argument, argv):
    if not argument.startswith("-"):
        takes_data = argv[0] == "train" or "data" in _options(argv)
        hint = f"did you mean --data {argument}?" if takes_data else "see --help"
        return UserError(f"{argv[0]}: got {argument!r} too much; {hint}")
    name = argument.lstrip("-").partition("=")[0]
    known = [*FIELDS, "config"] if argv[0] == "train" else _options(argv)
    if not known:
        return UserError(f"{argv[0]}: got --{name}, allowed: no option")
    known = (
        [option.replace("_", "-") for option in known] if argv[0] != "train" else known
    )
    hint = settings.nearest(name, known).replace("did you mean ", "did you mean --")
    return UserError(f"unknown option --{name}; {hint}")


def _given_text(error):
    found = re.search(r"(?:Got value|Given value): (.*)", str(error))
    return found.group(1).strip() if found else "a value of another type"
