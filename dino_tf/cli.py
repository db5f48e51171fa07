"""The command line: `main.py [train | attend | evaluate | ...] ...`.

Nothing here imports TensorFlow before a command needs it, so that help and mistakes
are answered at once.
"""

import argparse
import os
import sys
import textwrap

import jsonargparse

from dino_tf import checks, data_commands, presets, settings
from dino_tf.commands import ARGUMENTS, COMMANDS, EXAMPLES
from dino_tf.config import Config
from dino_tf.errors import (
    Diverged,
    ExportError,
    Interrupted,
    UserError,
    WorkerLost,
    plain,
)
from dino_tf.kinds import KINDS
from dino_tf.mistakes import explain
from dino_tf.tasks import TASKS


class _Formatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of descriptions and epilogs."""

    _fill_text = argparse.RawDescriptionHelpFormatter._fill_text


def main(argv=None):
    """Runs one command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        0 when done, 1 when an export differs from its source, another worker is gone,
        or a file cannot be read or written, 2 for a user's mistake, 3 when training
        diverged, 130 after Ctrl-C, 143 after SIGTERM. Anything else that fails raises,
        which Python ends with 1.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        return _complain(error, 2)
    except (ExportError, WorkerLost) as error:
        return _complain(error, 1)
    except Diverged as error:
        return _complain(error, 3)
    except Interrupted as error:
        print(f"{error}; the same command goes on from there", file=sys.stderr)
        return 128 + error.number
    except KeyboardInterrupt:
        return _complain("interrupted; a run goes on when started again", 130)
    except OSError as error:
        return _complain(_about_files(error), 1)


def _about_files(error):
    """What the system refused, such as a full disk, in words."""
    if error.strerror is None:
        return error
    names = [str(n) for n in (error.filename, error.filename2) if n is not None]
    return ": ".join([*names, error.strerror])


def _complain(error, code):
    print("error: " + plain(" ".join(str(error).split())), file=sys.stderr)
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
        raise explain(error, argv) from error
    # Progress and results are easier to read without the start-up notes.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    run = {
        "train": _train,
        "attend": _attend,
        "picture": _picture,
        "evaluate": _evaluate,
        "embed": _embed,
        "report": _report,
        "export": _export,
        "data": _data,
        "presets": _presets,
    }
    return run[argv[0]](parsed[argv[0]])


def build_parser():
    """The whole command line as one `jsonargparse.ArgumentParser`."""
    prog = os.path.basename(sys.argv[0]) or "dino-tf"
    parser = _parser(
        f"{prog} [train] [--preset NAME] [--data SPEC] [--section.key VALUE ...]\n"
        f"       {prog} {{attend,picture,evaluate,embed,report,export,data,presets}} "
        "...",
        description="Self-supervised vision transformers (DINO) from your own photos.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subcommands(required=False, metavar="COMMAND")
    commands.add_subcommand("train", _train_parser(prog), help=COMMANDS["train"])
    attend = _command(f"{prog} attend PATH ... --weights SRC [--out DIR] ...", "attend")
    commands.add_subcommand("attend", attend, help=COMMANDS["attend"])
    picture = _parser(
        f"{prog} picture KIND [PATH ...] --weights SRC [--data SPEC] ...",
        description=COMMANDS["picture"],
    )
    commands.add_subcommand("picture", picture, help=COMMANDS["picture"])
    _add_kinds(picture, prog)
    evaluate = _parser(
        f"{prog} evaluate TASK --weights SRC --data SPEC [--out FILE.json] ...",
        description=COMMANDS["evaluate"],
    )
    commands.add_subcommand("evaluate", evaluate, help=COMMANDS["evaluate"])
    _add_tasks(evaluate, prog)
    embed = _command(f"{prog} embed --weights SRC --data SPEC --out FILE ...", "embed")
    commands.add_subcommand("embed", embed, help=COMMANDS["embed"])
    report = _command(f"{prog} report RUN [--data SPEC]", "report")
    commands.add_subcommand("report", report, help=COMMANDS["report"])
    export = _command(
        f"{prog} export --weights SRC --format FORMAT --out PATH [--size N [N]]",
        "export",
    )
    commands.add_subcommand("export", export, help=COMMANDS["export"])
    names = ",".join(data_commands.ABOUT)
    data = _parser(f"{prog} data {{{names}}} ...", description=COMMANDS["data"])
    commands.add_subcommand("data", data, help=COMMANDS["data"])
    actions = data.add_subcommands(dest="action", metavar="")
    for name, (usage, about) in data_commands.ABOUT.items():
        action = _command(f"{prog} data {usage}", f"data.{name}", about)
        actions.add_subcommand(name, action, help=about)
    listing = _command(f"{prog} presets", "presets")
    commands.add_subcommand("presets", listing, help=COMMANDS["presets"])
    return parser


def _add_tasks(evaluate, prog):
    listed = evaluate.add_subcommands(dest="task", metavar="TASK")
    abouts = {name: task.about for name, task in TASKS.items()}
    abouts["all"] = "every task that network and data allow, on one page"
    for name, about in abouts.items():
        usage = f"{prog} evaluate {name} --weights SRC --data SPEC [--out FILE.json]"
        parser = _command(usage, f"evaluate.{name}", about)
        listed.add_subcommand(name, parser, help=about)


def _add_kinds(picture, prog):
    listed = picture.add_subcommands(dest="kind", metavar="KIND")
    for name, kind in KINDS.items():
        path = " [PATH ...]" if "paths" in kind.options else ""
        usage = f"{prog} picture {name}{path} --weights SRC ..."
        parser = _command(usage, f"picture.{name}", kind.about)
        listed.add_subcommand(name, parser, help=kind.about)


def _parser(usage, **kwargs):
    return jsonargparse.ArgumentParser(
        usage=usage,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_Formatter,
        **kwargs,
    )


def _command(usage, name, about=None):
    parser = _parser(usage, description=about or COMMANDS.get(name))
    for argument, options in ARGUMENTS[name].items():
        parser.add_argument(argument, **options)
    return parser


def _train_parser(prog):
    parser = _parser(
        f"{prog} [train] [--preset NAME] [--config FILE] [--section.key VALUE ...]",
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
    from dino_tf.training import train

    train(config)
    return 0


def _attend(parsed):
    from dino_tf.attend import attend

    attend(**parsed.as_dict())
    return 0


def _picture(parsed):
    from dino_tf.pictures import make_pictures

    given = parsed[parsed.kind].as_dict()
    plain = {key: given.pop(key) for key in ("weights", "out", "num_heads", "part")}
    make_pictures(parsed.kind, **plain, options=given)
    return 0


def _evaluate(parsed):
    from dino_tf.evaluation import evaluate_weights

    given = parsed[parsed.task].as_dict()
    task = TASKS.get(parsed.task)
    options = {name: given[name] for name in (task.defaults() if task else ())}
    evaluate_weights(
        parsed.task,
        given["weights"],
        given["data"],
        given["out"],
        options,
        num_heads=given["num_heads"],
        part=given["part"],
        untrained=given["untrained"],
        cache=None if given["cache"] == "none" else given["cache"],
        skip=given.get("skip", ()),
    )
    return 0


def _embed(parsed):
    from dino_tf.embedding import embed

    options = parsed.as_dict()
    options["cache"] = None if options["cache"] == "none" else options["cache"]
    embed(**options)
    return 0


def _report(parsed):
    from dino_tf.report.write import write_report

    write_report(parsed.run, data=parsed.data)
    return 0


def _export(parsed):
    from dino_tf.export import export

    export(
        parsed.weights,
        parsed.format,
        parsed.out,
        parsed.size,
        num_heads=parsed.num_heads,
        part=parsed.part,
    )
    return 0


def _data(parsed):
    data_commands.ACTIONS[parsed.action](parsed[parsed.action])
    return 0


def _presets(parsed):
    for name, preset in presets.PRESETS.items():
        about = textwrap.wrap(
            preset["about"],
            80,
            initial_indent=f"{name:<18}",
            subsequent_indent=" " * 18,
        )
        print("\n".join(about))
    return 0
