"""Is it learning? A verdict in words on what the epochs so far have told.

Pure: records of numbers in, words out. The rules, the first that holds:

* **diverging**: a number is not finite, or in some epoch the student's weights grew by
  more than `GROWTH` (those that Muon moves left out: its steps have one length).
* **starting**: fewer than `EPOCHS` epochs or `STEPS` steps, or the learning rate still
  rises; in the first `YOUNG` steps also where a collapse to uniform is near and not yet
  sure: above `SURE` a healthy training may come through there.
* **flat**: in all epochs the student's weights have kept their length.
* **collapsing**: in the last `EPOCHS` epochs the teacher's answer tells (nearly)
  nothing about which photo it saw: its information, the entropy of the mean answer of
  a batch less the mean entropy of an answer, is below `INFORMATION`, and not on its way
  up. To **uniform** where the mean answer is nearer to all prototypes than to one, else
  to **one prototype**; the second also where a batch shares `FEW` prototypes.
* **flat**, too: in all epochs the features of the watched photos have kept their rank
  and their deviation.
* **learning**: none of these.

A loss near ln K alone means nothing: a healthy training spends its first epochs there.
"""

import math
import textwrap

UNIFORM, ONE = "collapsing to uniform", "collapsing to one prototype"
VERDICTS = ("starting", "learning", "flat", UNIFORM, ONE, "diverging")
BAD = ("flat", UNIFORM, ONE, "diverging")

EPOCHS = 3  # that a state must last
STEPS = 50  # before which the head has not found its first answers
GROWTH = 1.5  # of the weights' L2 norm in one epoch; healthy ones grow by some percent
INFORMATION = 0.01  # nats; see `tests/test_health.py` for what runs have shown
RISING = 1.1, 1e-3  # times, plus nats: above the least before is on its way up
FEW = 2.0  # prototypes, by the exponential of the entropy of a batch's mean answer
GAIN = 5e-3  # nats; two runs that failed had 0.002 and -0.0003, healthy ones 0.09
YOUNG = 500  # steps before which a state that looks like a collapse may still pass
SURE = INFORMATION / 5  # nats; what runs made to fail are below before 50 steps
STILL_WEIGHTS = 1e-6  # relative change of the weights' norm
STILL_FEATURES = 1e-2  # relative change of rank and deviation
WIDEST = 80  # columns

MEANINGS = {
    "flat": "Flat: the student hardly changes.",
    UNIFORM: "Collapsing to uniform: the teacher gives every photo nearly the same "
    "answer, spread over all prototypes; a loss at ln K is its sign.",
    ONE: "Collapsing to one prototype: the teacher gives every photo nearly the same "
    "answer, a single prototype or a few; a loss at 0 is its sign.",
    "diverging": "Diverging: the weights have been thrown far off, or numbers are no "
    "longer finite.",
}


# What the other verdicts mean, where there is room for it.
ASIDES = {
    "starting": "It is too early to tell: a verdict takes 3 epochs and 50 steps after "
    "the learning rate has risen, and hundreds of steps where little is told yet.",
    "learning": "The teacher tells photos apart, and weights and features move.",
}


def judge(records, out_dim):
    """One of `VERDICTS` on the epochs so far.

    Args:
        records: Dictionaries of numbers, one for each epoch, in order, as in
            `metrics.jsonl`. What is missing is not judged by.
        out_dim: Number of prototypes K.
    """
    if not records:
        return "starting"
    if _diverges(records):
        return "diverging"
    if _starts(records):
        return "starting"
    if _is_frozen(records):
        return "flat"
    collapse = _collapse(records, out_dim, INFORMATION)
    if records[-1].get("step", YOUNG) < YOUNG:
        collapse = collapse and (_collapse(records, out_dim, SURE) or "starting")
    elif not collapse and _knows_nothing(records):
        collapse = UNIFORM
    return collapse or ("flat" if _is_still(records) else "learning")


def _diverges(records):
    names = ("loss", "kl", "gradient_norm", "weight_norm")
    numbers = [records[-1][name] for name in names if name in records[-1]]
    growth = [record.get("weight_growth", 1.0) for record in records]
    return not all(map(math.isfinite, numbers)) or max(growth) > GROWTH


def _starts(records):
    last, rates = records[-1], _values(records[-2:], "learning_rate")
    few = len(records) < EPOCHS or last.get("step", STEPS) < STEPS
    return few or len(rates) == 2 and rates[1] > rates[0]


def _is_frozen(records):
    stopped = _values(records[-1:], "learning_rate") == [0.0]
    return stopped or _moved(records, "weight_norm") < STILL_WEIGHTS


def _is_still(records):
    moved = [_moved(records, name) for name in ("effective_rank", "feature_std")]
    return max(moved) < STILL_FEATURES


def _moved(records, name):
    """Largest relative distance from the first value; infinite for want of values."""
    first, *others = _values(records, name) or [0.0]
    if len(others) < EPOCHS - 1:
        return math.inf
    return max(abs(value - first) for value in others) / max(abs(first), 1e-12)


def _collapse(records, out_dim, least):
    """Where a collapse has gone to, None where there is none."""
    told = [r for r in records if {"batch_entropy", "teacher_entropy"} <= r.keys()]
    if len(told) < EPOCHS:
        return None
    shared = _values(told, "batch_entropy")[-EPOCHS:]
    if max(shared) < math.log(FEW):
        return ONE
    information = [r["batch_entropy"] - r["teacher_entropy"] for r in told]
    recent, before = information[-EPOCHS:], information[-EPOCHS - 1 : -1]
    factor, margin = RISING
    if max(recent) > least or recent[-1] > factor * min(before) + margin:
        return None
    return UNIFORM if shared[-1] > math.log(out_dim) / 2 else ONE


def _knows_nothing(records):
    """Whether the student does no better than one answer to all photos, nor gets to."""
    told = [r for r in records if {"batch_entropy", "loss"} <= r.keys()]
    gains = [r["batch_entropy"] - r["loss"] for r in told]
    if len(gains) <= EPOCHS or max(gains[-EPOCHS:]) > GAIN:
        return False
    return gains[-1] < min(gains[-EPOCHS - 1 : -1]) + RISING[1]


def _values(records, name):
    return [record[name] for record in records if name in record]


def advise(verdict, settings=None, steps=None, names=None):
    """What to try, the first thing first.

    Args:
        verdict: One of `VERDICTS`.
        settings: {option: value as it is now}, such as `Config.flatten()` gives;
            what is missing is named without a value.
        steps: Steps done. Of fewer than `YOUNG` a collapse is told with the hint that
            it may be no more than a beginning: healthy trainings look like one on
            their way from one prototype to many.
        names: {option: what to call it} in place of its name on the command line.

    Returns:
        List of sentences; the first tells what the verdict means. Empty for "starting"
        and "learning".
    """
    if verdict not in MEANINGS:
        return []
    sentences, told = [MEANINGS[verdict]], set()
    if verdict in (UNIFORM, ONE) and steps is not None and steps < YOUNG:
        sentences[0] += (
            f" After only {steps:.0f} steps it may be too early to tell: a longer "
            "training may get over it, with nothing changed."
        )
    settings = settings or {}
    for remedy, option, is_worth in _remedies(verdict, settings):
        value = settings.get(option)
        worth = value is None or is_worth is None or is_worth(value)
        if worth and option not in told:
            told.add(option)
            name = names.get(option, option) if names else f"--{option}"
            now = "" if value is None else f" (now {_short(value)})"
            sentences.append(f"{remedy}: {name}{now}")
    return sentences


def _remedies(verdict, settings):
    """Those of a verdict; with Muon also the rate of its matrices."""
    for remedy in REMEDIES[verdict]:
        yield remedy
        words, option, is_worth = remedy
        if option == "optimizer.lr" and settings.get("optimizer.name") == "muon":
            yield f"{words}, that of the blocks", "optimizer.muon_lr", is_worth


def _short(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


SPREAD = (
    "spread the teacher's answers over the prototypes (sinkhorn)",
    "loss.centering",
    lambda value: value != "sinkhorn",
)
# (words, option, and of its value now: whether it is worth a word; None always is). Of
# an option that is named twice the first that is worth a word is told.
REMEDIES = {
    "flat": (
        ("raise the learning rate", "optimizer.lr", None),
        ("lower the teacher's momentum", "optimizer.teacher_momentum", None),
        (
            "let the last layer go sooner",
            "optimizer.freeze_last_layer_epochs",
            lambda value: value > 1,
        ),
        (
            "let the prototypes have lengths (false)",
            "head.norm_last_layer",
            lambda value: value,
        ),
    ),
    UNIFORM: (
        (
            "lower the teacher temperature, to 0.04 or less",
            "loss.teacher_temp",
            lambda value: value > 0.04,
        ),
        ("lower the teacher temperature further", "loss.teacher_temp", None),
        SPREAD,
        (
            "push the features of the photos apart (0.1)",
            "loss.koleo_weight",
            lambda value: value == 0,
        ),
        (
            "let it start lower",
            "loss.warmup_teacher_temp",
            lambda value: value > 0.04,
        ),
        (
            "take fewer prototypes, about one a photo",
            "head.out_dim",
            lambda value: value > 256,
        ),
        ("raise the teacher's momentum", "optimizer.teacher_momentum", None),
        ("take a larger batch", "pipeline.batch_size", None),
        ("lower the learning rate", "optimizer.lr", None),
    ),
    ONE: (
        (
            "let the center move (0.9)",
            "loss.center_momentum",
            lambda value: value > 0.9,
        ),
        SPREAD,
        ("raise the teacher temperature a little", "loss.teacher_temp", None),
        ("raise the teacher's momentum", "optimizer.teacher_momentum", None),
        ("take a larger batch", "pipeline.batch_size", None),
        ("lower the learning rate", "optimizer.lr", None),
    ),
    "diverging": (
        ("lower the learning rate, to a tenth", "optimizer.lr", None),
        ("warm it up for longer", "optimizer.warmup_epochs", None),
        (
            "clip gradients shorter (1.0 or 0.3)",
            "optimizer.clip_grad",
            lambda value: value == 0 or value > 1,
        ),
        (
            "compute in float32",
            "run.precision",
            lambda value: value != "float32",
        ),
        ("lower the teacher temperature", "loss.teacher_temp", None),
    ),
}


def line(record):
    """One line of at most 80 columns on an epoch.

    Where views are matched, KL is left out: it is the loss less the entropy. Where the
    line would still be too long, the rank is as well.

    Args:
        record: Of the epoch, with its "verdict"; what is missing is left out.
    """
    loss, most = record.get("loss"), record.get("uniform_loss")
    parts = [] if loss is None else [f"loss {loss:.2f}"]
    if parts and most is not None:
        parts = [f"loss {loss:.2f} of {most:.2f}"]
    near = next((v for k, v in record.items() if k.startswith("knn/")), None)
    matched = record.get("views/matched")
    shown = (
        ("entropy {:.2f}", record.get("teacher_entropy")),
        ("KL {:.2f}", record.get("kl") if matched is None else None),
        ("k-NN {:.1f} %", near),
        ("rank {:.0f}", record.get("effective_rank")),
        ("matched {:.0f} %", matched),
    )
    parts += [form.format(value) for form, value in shown if value is not None]
    text = f"{record['verdict'].split()[0]}: {', '.join(parts)}"
    if len(text) > WIDEST and matched is not None and "effective_rank" in record:
        return line({k: v for k, v in record.items() if k != "effective_rank"})
    return text


def words(advice):
    """Sentences of `advise` as lines of at most 80 columns; "" without any."""
    lines = []
    for number, sentence in enumerate(advice):
        first, then = ("  try: ", "    ") if number == 1 else ("       ", "         ")
        if number == 0:
            first, then = "", "  "
        lines += textwrap.wrap(
            sentence,
            WIDEST,
            initial_indent=first,
            subsequent_indent=then,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
