"""The records of a run, grouped into charts."""

import math
from dataclasses import dataclass

from dino_tf.report.run_records import MOST_ENTRIES, number, text

# More points than this no screen shows.
MOST_POINTS = 400
# What is no curve: it counts, or is the place of the others.
PLACES = ("epoch", "step")
# What is there to compare with, and what it is called.
REFERENCES = {"uniform_loss": "ln K", "views/chance": "chance"}


@dataclass(frozen=True)
class Chart:
    """Lines that belong together.

    Attributes:
        group: heading that it stands under.
        title: of the chart.
        about: how to read it, a sentence.
        keys: of the records.
        unit: of all lines.
    """

    group: str
    title: str
    about: str
    keys: tuple[str, ...]
    unit: str = ""


LEARNING, COLLAPSE, SCHEDULES, SPEED = "Learning", "Collapse", "Schedules", "Speed"
CHARTS = (
    Chart(
        LEARNING,
        "Loss",
        "A loss that rests at ln K has learnt nothing: every prototype is as likely "
        "as any other.",
        ("loss", "uniform_loss"),
        "nats",
    ),
    Chart(
        LEARNING,
        "Teacher entropy",
        "At ln K the teacher tells nothing, at 0 it names one prototype whatever it "
        "sees; a healthy run stays between.",
        ("teacher_entropy", "uniform_loss"),
        "nats",
    ),
    Chart(
        LEARNING,
        "KL divergence",
        "What the student does not yet say as the teacher does; 0 all along is a "
        "collapse.",
        ("kl",),
        "nats",
    ),
    Chart(
        LEARNING,
        "Matched views",
        "How often, of two strongly altered views of each photo, one is the most "
        "similar to the other. Guessing finds one in as many as there are photos "
        "(chance); a network that is not trained, a little more.",
        ("views/matched", "views/chance"),
        "%",
    ),
    Chart(
        LEARNING,
        "Masked patches",
        "Loss of the patches that the student does not see.",
        ("ibot",),
        "nats",
    ),
    Chart(
        LEARNING,
        "Histograms of gradients",
        "What the student's features leave unexplained of the edges in its crops; 1: "
        "they tell nothing.",
        ("histograms",),
    ),
    Chart(
        COLLAPSE,
        "Prototypes in use",
        "Share of the K prototypes that some photo is nearest to.",
        ("prototypes_used",),
    ),
    Chart(
        COLLAPSE,
        "Effective rank",
        "Directions that the features fill (RankMe); it falls when they collapse.",
        ("effective_rank",),
    ),
    Chart(
        COLLAPSE,
        "Spread of the features",
        "1: in all directions alike; 0: all photos have the same feature.",
        ("feature_std",),
    ),
    Chart(
        COLLAPSE,
        "KoLeo",
        "How near the features of a batch lie to each other; it falls as they spread.",
        ("koleo",),
        "nats",
    ),
    Chart(COLLAPSE, "Center norm", "Length of the center.", ("center_norm",)),
    Chart(
        COLLAPSE,
        "Gradient norm",
        "A jump goes before many a diverging run.",
        ("gradient_norm",),
    ),
    Chart(SCHEDULES, "Learning rate", "", ("learning_rate",)),
    Chart(SCHEDULES, "Weight decay", "", ("weight_decay",)),
    Chart(SCHEDULES, "Teacher momentum", "", ("teacher_momentum",)),
    Chart(SCHEDULES, "Teacher temperature", "", ("teacher_temp",)),
    Chart(SPEED, "Photos a second", "", ("images_per_second",)),
    Chart(SPEED, "Seconds an epoch", "", ("seconds",), "s"),
)
# Numbers of evaluations, by what stands before their slash.
FAMILIES = {
    "knn": "k-NN",
    "discover": "Object discovery",
    "segment": "Segmentation by attention",
    "linear": "Linear classification",
}
OTHER = "More"
GROUPS = (LEARNING, COLLAPSE, SCHEDULES, SPEED, OTHER)


def charts(records, uniform_loss=None):
    """Charts of everything numeric in the records.

    Args:
        records: dictionaries with "epoch", one for each, as in `metrics.jsonl`.
        uniform_loss: ln K, for records that do not tell it; None where unknown.

    Returns:
        List of {"group", "title", "about", "unit", "lines": [{"name", "reference",
        "points": [[epoch, value], ...]}]}, without charts that have no point.
        "reference" tells lines that are there to compare with.
    """
    lines = _lines(records)
    if uniform_loss is not None and "loss" in lines:
        epochs = [epoch for epoch, _ in lines["loss"]]
        lines.setdefault("uniform_loss", [[epoch, uniform_loss] for epoch in epochs])
    known = {key for chart in CHARTS for key in chart.keys}
    every = (*CHARTS, *_others([key for key in lines if key not in known]))
    found = [_chart(chart, lines) for chart in every]
    found = [chart for chart in found if chart]
    return sorted(found, key=lambda chart: GROUPS.index(chart["group"]))


def _lines(records):
    """{key: [[epoch, value], ...]} of all finite numbers."""
    step = max(1, math.ceil(len(records) / MOST_POINTS))
    # The last one always belongs to them.
    chosen = records[::-1][::step][::-1]
    lines = {}
    for record in chosen:
        epoch = record.get("epoch")
        if not _is_number(epoch):
            continue
        for key, value in record.items():
            if key not in PLACES and _is_number(value):
                lines.setdefault(text(key), []).append([epoch, value])
    return dict(list(lines.items())[:MOST_ENTRIES])


def _is_number(value):
    return number(value) is not None


def _others(keys):
    """Charts of keys that are in no chart: one for each family, one for each other."""
    families = {}
    for key in keys:
        family, slash, _ = key.partition("/")
        families.setdefault(family if slash else key, []).append(key)
    for family, own in families.items():
        if family in FAMILIES:
            yield Chart(LEARNING, FAMILIES[family], "", tuple(own), "%")
        else:
            yield Chart(OTHER, family.replace("_", " "), "", tuple(own))


def _chart(chart, lines):
    """The chart with its lines, None where it has none but those to compare with."""
    keys = [key for key in chart.keys if key in lines]
    if all(key in REFERENCES for key in keys):
        return None
    return {
        "group": chart.group,
        "title": chart.title,
        "about": chart.about,
        "unit": chart.unit,
        "lines": [
            {
                "name": REFERENCES.get(key) or _name(key),
                "reference": key in REFERENCES,
                "points": lines[key],
            }
            for key in keys
        ],
    }


def _name(key):
    return key.rpartition("/")[2].replace("_", " ")
