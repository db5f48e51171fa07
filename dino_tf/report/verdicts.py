"""What the records of a run tell about its health, in words."""

from dino_tf.health import ASIDES
from dino_tf.report.run_records import number, text, texts


def health(records):
    """The verdict of the last epoch that has one, and when it was another.

    Args:
        records: Dictionaries, one for each epoch, as in `metrics.jsonl`.

    Returns:
        {"verdict", "about", "advice": sentences, "history": [{"verdict", "first",
        "last"}]}, the last two of which are epochs; None where no epoch was judged.
    """
    judged = [r for r in records if r.get("verdict")]
    if not judged:
        return None
    changes = []
    for record in judged:
        verdict = text(record["verdict"])
        if not changes or changes[-1]["verdict"] != verdict:
            changes.append({"verdict": verdict, "first": record.get("epoch")})
        changes[-1]["last"] = record.get("epoch")
    about = ASIDES.get(changes[-1]["verdict"]), _matched(records)
    return {
        "verdict": changes[-1]["verdict"],
        "about": " ".join(filter(None, about)),
        "advice": texts(judged[-1].get("advice")),
        "history": changes,
    }


def _matched(records):
    """How well views of a photo are matched, at first and last; "" where unknown.

    No verdict follows from it: a run does not look at its network before it trains,
    untrained ones differ in it, and short trainings learn classes by colours, which
    these views take away.
    """
    name, least = "views/matched", "views/chance"
    told = [r for r in records if None not in (number(r.get(k)) for k in (name, least))]
    if not told:
        return ""
    first, last = told[0], told[-1]
    words = f"Two altered views of a photo find each other in {last[name]:.1f} %"
    if len(told) > 1:
        words += f", after epoch {text(first.get('epoch'))} in {first[name]:.1f} %"
    return (
        f"{words}; by chance it would be {last[least]:.1f} %. Where this stays near "
        "chance, as it was at first, the network does not yet know a photo again under "
        "other light and colours."
    )
