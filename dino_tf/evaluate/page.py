"""All that an evaluation found on one page that a browser opens from disk."""

import html
import os
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; }
th, td { padding: .2rem 1.2rem .2rem 0; text-align: right;
         font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
@media (max-width: 30rem) { th, td { padding-right: .7rem; } }
figure { margin: 0; }
thead th { border-bottom: 1px solid #8888; font-weight: 600; }
.figures, .notes, .facts { color: #777; font-size: .9rem; }
img, video { max-width: 100%; height: auto; margin: .6rem 0; border-radius: 4px; }
code { font-size: .9em; }
"""
PICTURES = (".png", ".jpg", ".svg")
FILMS = (".mp4",)
# Nothing on the page comes from elsewhere, and nothing in it runs.
POLICY = (
    "default-src 'none'; img-src 'self' file: data:; media-src 'self' file:; "
    "style-src 'unsafe-inline'"
)


def page(result, folder):
    """HTML of a result; see `dino_tf.evaluation.evaluate_weights`.

    Args:
        result: Dictionary with "weights", "data", "photos" and "tasks".
        folder: Where the page will lie; pictures are linked relative to it.

    Returns:
        A whole HTML document. All names in it are escaped.
    """
    title = f"{result['weights']} on {result['data']}"
    counts = ", ".join(f"{n:,} {name}" for name, n in result["photos"].items())
    parts = [_task(name, task, folder) for name, task in result["tasks"].items()]
    facts = (
        f"<p class='facts'>Photos: {safe(counts)}. Network "
        f"<code>{safe(result['network'][:12])}</code>.</p>\n"
    )
    lines = [*_list("notes", "Notes", result["notes"]), *parts]
    return document(title, facts + "\n".join(lines))


def document(title, body):
    """A whole HTML document that reaches nothing and runs nothing.

    Args:
        title: Its heading; escaped here.
        body: HTML below the heading.
    """
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{safe(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{safe(title)}</h1>\n{body}\n</body></html>\n"
    )


def _task(name, task, folder):
    """Heading, table, published figures, notes, pictures and films of one task."""
    if "failed" in task:
        return f"<h2>{safe(name)}</h2>\n<p>Not done: {safe(task['failed'])}</p>"
    given = [f"{k} {v}" for k, v in task["options"].items() if v is not None]
    facts = ", ".join([*given, f"{task['seconds']} s"])
    figures = [
        f"{f['name']} {f['value']:g}: {f['network']} ({f['source']})"
        for f in task["published"]
    ]
    pictures, films = (
        [file for file in task["files"] if file.lower().endswith(endings)]
        for endings in (PICTURES, FILMS)
    )
    return "\n".join(
        [
            f"<h2>{safe(name)}</h2>",
            _table(task["numbers"]),
            *_list("figures", "Published", figures),
            *_list("notes", "Notes", task["notes"]),
            f"<p class='facts'>{safe(facts)}</p>",
            *(image(file, folder, name) for file in pictures),
            *(_film(file, folder) for file in films),
        ]
    )


def _table(numbers):
    head = "".join(f"<th>{safe(who)}</th>" for who in ("", *numbers))
    rows = []
    for key in numbers["ours"]:
        found = (values.get(key) for values in numbers.values())
        cells = "".join(f"<td>{'–' if v is None else f'{v:.1f}'}</td>" for v in found)
        rows.append(f"<tr><td>{safe(key)}</td>{cells}</tr>")
    body = "".join(rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def image(file, folder, name):
    """HTML of a picture, linked relative to a folder, whatever its name's letters."""
    return f"<img src='{_link(file, folder)}' alt='{safe(name)}'>"


def _film(file, folder):
    """HTML of a film, of which a browser reads no more than its size beforehand."""
    link, name = _link(file, folder), os.path.splitext(os.path.basename(file))[0]
    return (
        f"<figure><video controls preload='metadata' src='{link}'></video>"
        f"<figcaption class='facts'>{safe(name)}</figcaption></figure>"
    )


def _link(file, folder):
    return safe(quote(os.path.relpath(file, folder).replace(os.sep, "/")))


def _list(kind, title, lines):
    if not lines:
        return []
    items = "".join(f"<li>{safe(line)}</li>" for line in lines)
    return [f"<div class='{kind}'>{title}:<ul>{items}</ul></div>"]


def safe(text):
    """HTML of a text, also within the marks of an attribute."""
    return html.escape(str(text), quote=True)
