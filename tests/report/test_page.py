"""The page from literal data: nothing escapes, nothing is missing, nothing is large."""

import base64
import hashlib
import html
import json
import re

import pytest

from dino_tf.report.page import ASSETS, SCRIPTS, page

HOSTILE = "</script><img src=x onerror=alert(1)> \" ' & <!-- \u2028 {{script}} é"
BARE = {"title": "run", "state": "Finished.", "facts": [], "notes": []}


def data_of(text):
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', text, re.S
    )
    return json.loads(found.group(1))


def test_hostile_names_stay_data():
    data = BARE | {
        "title": HOSTILE,
        "facts": [[HOSTILE, HOSTILE]],
        "configuration": [{"key": HOSTILE, "value": HOSTILE, "reason": HOSTILE}],
    }
    text = page(data)
    assert data_of(text) == data
    assert "<img" not in text and "<!--" not in text
    assert text.count("</script>") == 2
    assert f"<title>{html.escape(HOSTILE)}</title>" in text


def test_the_policy_allows_the_style_and_script_of_the_page_and_nothing_else():
    text = page(BARE)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    hashes = {
        kind: hashlib.sha256(re.search(pattern, text, re.S).group(1).encode()).digest()
        for kind, pattern in (
            ("script", r"<script>(.*?)</script>"),
            ("style", r"<style>(.*?)</style>"),
        )
    }
    named = {k: base64.b64encode(digest).decode() for k, digest in hashes.items()}
    assert policy == (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{named['script']}'; "
        f"style-src 'sha256-{named['style']}'"
    )


def test_the_page_names_no_other_file():
    text = page(BARE)
    # The namespace of SVG is a name, which no browser opens.
    text = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|innerHTML|eval\(", text)
    assert not re.search(r"<(link|iframe|object|base)\b", text)
    assert not re.search(r"<[^>]+ (on\w+|style)=", text)


def scripts():
    return "\n".join((ASSETS / f"{n}.js").read_text(encoding="utf-8") for n in SCRIPTS)


def test_every_id_that_the_script_asks_for_is_on_the_page():
    text = (ASSETS / "page.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    script = scripts()
    asked = set(re.findall(r'(?:byId|getElementById|show)\("([\w-]+)"', script))
    assert len(asked) > 30
    assert asked <= set(ids)
    labels = re.findall(r'\bfor="([\w-]+)"', text)
    assert set(labels) <= set(ids)


def test_every_script_of_the_folder_is_used():
    assert {f.stem for f in ASSETS.glob("*.js")} == set(SCRIPTS)


def test_a_bare_page_is_small():
    assert len(page(BARE).encode()) < 60_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_know_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant|Out of range float"):
        page(BARE | {"charts": [value]})
