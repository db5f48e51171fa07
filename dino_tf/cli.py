"""The command line: `main.py [train | attend | data | presets] ...`.

Nothing here imports TensorFlow before a command needs it, so that help and mistakes
are answered at once.
"""

import argparse
import os
import re
import sys
import textwrap

import jsonargparse

from dino_tf import checks, presets, settings
from dino_tf.config import FIELDS, Config
from dino_tf.errors import Diverged, UserError

COMMANDS = {
    "train": "train on photos, then draw what the network attends to (the default)",
    "attend": "draw what trained weights attend to in photos",
    "data": "download a data set, or look into one",
    "presets": "list the presets",
}
# Arguments of the commands other than train, as jsonargparse takes them.
ARGUMENTS = {
    "attend": {
        "paths": {"nargs": "+", "metavar": "PATH", "help": "photos or folders"},
        "--weights": {
            "type": str,
            "required": True,
            "metavar": "SRC",
            "help": "a run folder, a weights file, or random:vit_small/16",
        },
        "--out": {
            "type": str,
            "default": "result/attend",
            "metavar": "DIR",
            "help": "folder for the pictures",
        },
        "--size": {
            "type": int,
            "default": 480,
            "help": "shorter side given to the network, in pixels",
        },
        "--keep-mass": {
            "type": float,
            "default": 0.6,
            "help": "share of the attention that the mask keeps",
        },
    },
    "data.get": {
        "name": {"metavar": "NAME", "help": "voc2007 or voc2012"},
        "--data-dir": {
            "type": str,
            "default": "data",
            "metavar": "DIR",
            "help": "folder that will hold VOCdevkit",
        },
    },
    "data.check": {
        "spec": {"metavar": "SPEC", "help": "data, as in --data of train"},
        "--split": {"type": str, "default": "train", "help": "train or test"},
    },
    "presets": {},
}
EXAMPLES = """\
examples:
  main.py                                VOC 2007, the preset by the machine
  main.py --preset quickstart            a few minutes on two CPU cores
  main.py --data photos/ --run.epochs 50     your own folder of photos
  main.py train --help                   every setting, with advice
  main.py attend photos/ --weights result/quickstart-scenes

Settings come from the defaults, then the preset, then --config files, then the
command line; the later one wins.
"""


class _Formatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of descriptions and epilogs."""

    _fill_text = argparse.RawDescriptionHelpFormatter._fill_text


def main(argv=None):
    """Runs one command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        0 when done, 2 for a user's mistake, 3 when training diverged, 130 when
        interrupted. Anything else that fails raises, which Python ends with 1.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _complain(error, 2)
    except Diverged as error:
        return _complain(error, 3)
    except KeyboardInterrupt:
        return _complain("interrupted; a run goes on when started again", 130)


def _complain(error, code):
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _run(argv):
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["train", *argv]
    try:
        # Without defaults, what is left of `train` is what a person asked for.
        parsed = build_parser().parse_args(argv, defaults=argv[0] != "train")
    except SystemExit as stop:
        return stop.code or 0
    except jsonargparse.ArgumentError as error:
        raise _explain(error, argv) from error
    # Progress and results are easier to read without the start-up notes.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    run = {"train": _train, "attend": _attend, "data": _data, "presets": _presets}
    return run[argv[0]](parsed[argv[0]])


def build_parser():
    """The whole command line as one `jsonargparse.ArgumentParser`."""
    parser = _parser(
        usage="%(prog)s [train] [--preset NAME] [--data SPEC] [--section.key VALUE ...]"
        "\n       %(prog)s {attend,data,presets} ...",
        description="Self-supervised vision transformers (DINO) from your own photos.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subcommands(required=False, metavar="COMMAND")
    commands.add_subcommand("train", _train_parser(), help=COMMANDS["train"])
    commands.add_subcommand("attend", _command("attend"), help=COMMANDS["attend"])
    data = _parser(description=COMMANDS["data"])
    commands.add_subcommand("data", data, help=COMMANDS["data"])
    actions = data.add_subcommands(dest="action", metavar="ACTION")
    actions.add_subcommand("get", _command("data.get"), help="download VOC")
    actions.add_subcommand("check", _command("data.check"), help="count and decode")
    commands.add_subcommand("presets", _command("presets"), help=COMMANDS["presets"])
    return parser


def _parser(**kwargs):
    return jsonargparse.ArgumentParser(
        exit_on_error=False, allow_abbrev=False, formatter_class=_Formatter, **kwargs
    )


def _command(name):
    parser = _parser(description=COMMANDS.get(name))
    for argument, options in ARGUMENTS[name].items():
        parser.add_argument(argument, **options)
    return parser


def _train_parser():
    parser = _parser(
        usage="main.py [train] [--preset NAME] [--config FILE] [--section.key VALUE ...]",
        description=f"{COMMANDS['train']}.\nnull means automatic: the choice and its "
        "reason are printed at the start.",
    )
    parser.add_argument(
        "--config",
        action="append",
        type=str,
        metavar="FILE",
        help="YAML file of settings, such as config.yaml of a run; may be repeated",
    )
    settings.add_settings(parser, Config)
    return parser


def _train(parsed):
    values = {}
    for file in parsed.pop("config", None) or []:
        values |= settings.read_yaml(Config, file)
    config = Config.from_dict(values | settings.flatten(Config, parsed.as_dict()))
    if config.preset is not None:
        config = presets.apply_preset(config, config.preset)
    checks.check_values(config)
    from dino_tf.train import train

    train(config)
    return 0


def _attend(parsed):
    from dino_tf.attend import attend

    attend(parsed.paths, parsed.weights, parsed.out, parsed.size, parsed.keep_mass)
    return 0


def _data(parsed):
    action = {"get": _data_get, "check": _data_check}
    return action[parsed.action](parsed[parsed.action])


def _data_get(parsed):
    years = {"voc2007": 2007, "voc2012": 2012}
    if parsed.name not in years:
        names = ", ".join(years)
        raise UserError(f"data get: got {parsed.name!r}, allowed: {names}")
    from dino_tf.datasets.download import get_voc

    print(get_voc(years[parsed.name], parsed.data_dir, _Progress()))
    return 0
