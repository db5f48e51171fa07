"""The page of a study: its table, and the curves of every setting."""

import base64
import html
import io
import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from findings import MEASURES, seen_by, spread, words_on_errors  # noqa: E402

from dino_tf.run_folder import write_text  # noqa: E402

CURVES = {
    "knn/watched_top1": "k-NN of some photos as training goes on, %",
    "views/matched": "views of some photos that find each other, % (dashed: chance)",
    "kl": "what the student does not yet say as the teacher does (KL), nats",
    "teacher_entropy": "teacher entropy, nats (dashed: ln K)",
    "effective_rank": "effective rank of the features",
}
# What a curve is compared with.
BESIDE = {"teacher_entropy": "uniform_loss", "views/matched": "views/chance"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto;
  padding: 0 1rem; color: #222; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
"""


def write(file, about, summary, results):
    """Writes the page at once, or leaves the one before.

    Args:
        file: Path of it.
        about: What the study is for.
        summary: of `findings.summarise`.
        results: of `trials.collect`.
    """
    parts = [f"<h1>{html.escape(about or 'Study of recipes')}</h1>"]
    titles = {"trials": "On validation photos", "final": "On test photos"}
    for kind, title in titles.items():
        if not summary[kind]:
            continue
        parts.append(f"<h2>{title}</h2>")
        own = [r for r in results if r["final"] == (kind == "final")]
        for source in sorted({row["source"] for row in summary[kind]}):
            rows = [row for row in summary[kind] if row["source"] == source]
            parts.append(f"<h3>{html.escape(source)}</h3>{_table(rows)}")
            words = words_on_errors(rows)
            parts += [f"<p>{html.escape(words)}</p>"] if words else []
            chosen = [r for r in own if r["source"] == source]
            parts.append(_curves(chosen, [row["setting"] for row in rows]))
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        "content='width=device-width'><title>Study of recipes</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )
    write_text(file, text)


def words_of(found, sign=""):
    """A spread in words: mean, and the standard deviation where there is one."""
    if found is None:
        return ""
    mean = format(found["mean"], f"{sign}.1f")
    return mean if found["sd"] is None else f"{mean} ± {found['sd']:.1f}"


def _table(rows):
    heads = ["setting", "photos seen", "seeds"]
    for name in MEASURES.values():
        heads += [name, "gain"]
    lines = [
        "".join(
            f"<th>{html.escape(head)}</th>" for head in [*heads, "unwell", "no verdict"]
        )
    ]
    for row in rows:
        cells = [row["setting"], f"{row['seen']:,}", len(row["seeds"])]
        for measure in MEASURES:
            gain = row.get(f"{measure}_gain")
            cells += [words_of(row.get(measure)), words_of(gain, "+")]
        cells += [row["unwell"] or "", row["no_verdict"] or ""]
        lines.append("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells))
    return f"<div class=wide><table><tr>{'<tr>'.join(lines)}</table></div>"


def _curves(results, settings):
    """One chart for each of `CURVES`; a line is the mean over the seeds."""
    rows = math.ceil(len(CURVES) / 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(11, 3.75 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(CURVES) :]:
        axis.remove()
    colours = plt.get_cmap("tab20").colors
    for axis, (key, title) in zip(axes.flat, CURVES.items(), strict=False):
        for place, setting in enumerate(dict.fromkeys(settings)):
            own = [r for r in results if r["setting"] == setting]
            colour = colours[place % len(colours)]
            x, y = _mean_curve(own, key)
            axis.plot(x, y, color=colour, label=setting)
            if key in BESIDE:
                x, y = _mean_curve(own, BESIDE[key])
                axis.plot(x, y, color=colour, linestyle=":", linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("photos seen")
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='Curves of every setting' src='data:image/svg+xml;base64,{data}'>"


def _mean_curve(results, key):
    """(photos seen, mean over the trials) where all of them tell it."""
    curves = []
    for result in results:
        # One that diverged told of fewer epochs than it was to have.
        epochs = result.get("epochs") or len(result["curves"])
        step = seen_by(result) / max(epochs, 1)
        points = {r["epoch"] * step: r.get(key) for r in result["curves"]}
        curves.append({x: y for x, y in points.items() if y is not None})
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return shared, [spread([curve[x] for curve in curves])["mean"] for x in shared]
