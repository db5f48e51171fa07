"""Means and spreads over seeds, and differences to one setting seed by seed."""

import math
import statistics

from dino_tf.health import ONE, UNIFORM

MEASURES = {
    "knn": "k-NN, k 20",
    "knn_all": "k-NN of each photo by all others",
    "knn_all_classes": "its mean over classes",
    "corloc": "CorLoc (LOST)",
    "matched": "views matched in training",
}
# What chance in the choice of photos does to a measure, beside that of the seeds.
ERRORS = {name: f"{name}_error" for name in ("knn_all", "knn_all_classes")}
UNWELL = (UNIFORM, ONE, "diverging")


def words(result):
    """A line about one trial."""
    found = result["found"]
    numbers = [
        f"{name} {found[key]:.1f}"
        for key, name in MEASURES.items()
        if found.get(key) is not None
    ]
    loss = "" if found["loss"] is None else f"loss {found['loss']:.3f}"
    return ", ".join(filter(None, [*numbers, loss, result["verdicts"][-1]]))


def told_apart(results):
    """Results whose sources bear the name of their photos where one has several."""
    photos = {}
    for result in results:
        photos.setdefault(result["source"], set()).add(result.get("data"))
    return [
        {**r, "source": f"{r['source']} ({r.get('data') or 'unknown photos'})"}
        if len(photos[r["source"]]) > 1
        else r
        for r in results
    ]


def spread(values):
    """{"mean", "sd", "n"} of numbers; "sd" is None of fewer than two."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}


def summarise(results, against, settings):
    """Table of a study: for every source and setting a spread of each measure.

    Args:
        results: of `trials.collect`.
        against: Setting whose trials of the same seed and kind are taken away.
        settings: Names in their order, others come last.

    Returns:
        {"trials": [...], "final": [...]}, each a list of rows {"source", "setting",
        "photos_seen": as the grid has it, "seen": in whole epochs, measure: spread,
        measure + "_gain": spread of the differences, those of `ERRORS`: spread of the
        standard errors over photos, "unwell": number of trials that were uniform,
        collapsed or diverged after any of their epochs, "no_verdict": of those that
        ended before there was a verdict}.
    """
    order = {name: place for place, name in enumerate(settings)}
    return {
        kind: _rows([r for r in results if r["final"] == final], against, order)
        for kind, final in (("trials", False), ("final", True))
    }


def _rows(results, against, order):
    groups = {}
    for result in results:
        key = result["source"], result["setting"], result["photos_seen"]
        groups.setdefault(key, []).append(result)
    base = {
        (r["source"], r["photos_seen"], r["seed"]): r["found"]
        for r in results
        if r["setting"] == against
    }
    rows = []
    for (source, setting, seen), own in groups.items():
        row = {"source": source, "setting": setting, "photos_seen": seen}
        row["seen"] = max(map(seen_by, own))
        row["seeds"] = sorted(r["seed"] for r in own)
        for measure in MEASURES:
            row |= _spreads(own, measure, base)
        row |= _errors(own)
        row["unwell"] = sum(_is_unwell(r) for r in own)
        row["no_verdict"] = sum(r["verdicts"][-1] == "starting" for r in own)
        rows.append(row)
    last = len(order)
    rows.sort(
        key=lambda r: (r["source"], r["photos_seen"], order.get(r["setting"], last))
    )
    return rows


def seen_by(result):
    """Photos that a training saw: whole epochs of what its grid asks for."""
    if "photos" not in result:  # by an older version
        return result["photos_seen"]
    return result["photos"] * result["epochs"]


def _spreads(results, measure, base):
    values = [r["found"].get(measure) for r in results]
    if any(value is None for value in values):
        return {}
    gains = []
    for result, value in zip(results, values, strict=True):
        other = base.get((result["source"], result["photos_seen"], result["seed"]))
        # Trials of an older version have not all of the measures.
        if other is not None and other.get(measure) is not None:
            gains.append(value - other[measure])
    found = {measure: spread(values)}
    if gains:
        found[f"{measure}_gain"] = spread(gains)
    return found


def _errors(results):
    found = {key: [r["found"].get(key) for r in results] for key in ERRORS.values()}
    return {key: spread(x) for key, x in found.items() if None not in x}


def words_on_errors(rows):
    """A sentence on the standard errors of a table's rows, "" where there are none."""
    parts = []
    for measure, key in ERRORS.items():
        means = [row[key]["mean"] for row in rows if key in row]
        if means:
            parts.append(f"{MEASURES[measure]} ± {max(means):.1f}")
    if not parts:
        return ""
    return (
        f"Standard error from the choice of photos, at most: {', '.join(parts)} points "
        "for one network. A gain compares the same photos, and errs less than two "
        "independent numbers would. Spreads in the table (±) are over the seeds."
    )


def _is_unwell(result):
    # What diverged has no loss.
    unwell = not set(UNWELL).isdisjoint(result["verdicts"])
    return unwell or not math.isfinite(result["found"]["loss"])
