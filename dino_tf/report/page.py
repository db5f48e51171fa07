"""The page of a run: a pure function from plain data to one text of HTML."""

import base64
import hashlib
import html
import json
from pathlib import Path

ASSETS = Path(__file__).with_name("assets")
# One script: a file uses what those before it define, and the last one begins.
SCRIPTS = (
    "start",
    "curves",
    "attention",
    "explorer",
    "map",
    "photos",
    "tables",
    "end",
)


def page(data):
    """The page, which needs no other file and asks for none.

    Everything in the data is shown as text, never as HTML. The browser runs the one
    script and takes the one style whose hashes the page names, and opens nothing else.

    Args:
        data: {"title": text, "state": text, "facts": [[name, text], ...], "notes":
            [text, ...]} and, as far as there is something to show: "health" and
            "charts" of `run_files.progress`, "attention" of `run_files.watched`,
            "evaluations" and "configuration" of those functions; "explorer",
            "components", "map", "boxes" and "views" of `dino_tf.report.network`.
            Finite numbers only.

    Returns:
        A whole HTML document.

    Raises:
        ValueError: A number in the data is not finite.
    """
    script = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    style = _asset("page.css")
    parts = {
        "policy": _policy(script, style),
        "title": html.escape(str(data["title"])),
        "style": style,
        "data": _in_script(data),
        "script": script,
    }
    text = _asset("page.html")
    # In one pass, so that braces within a part are not taken for a place.
    pieces = text.replace("}}", "{{").split("{{")
    pieces[1::2] = [parts[name] for name in pieces[1::2]]
    return "".join(pieces)


def _asset(name):
    return (ASSETS / name).read_text(encoding="utf-8")


def _policy(script, style):
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    )


def _hash(text):
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _in_script(data):
    """JSON without `<`, so that nothing in it can end the element around it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
