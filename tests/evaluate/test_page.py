"""The page that shows a result."""

import html
import re
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from dino_tf.evaluate.page import page
from dino_tf.evaluate.published import data_name, figures_for

TASK = {
    "options": {"k": [5]},
    "numbers": {"ours": {"knn/top1": 50.04, "x": 1.0}, "untrained": {"knn/top1": 9}},
    "published": [
        {"name": "knn/top1", "value": 74.5, "network": "ViT", "source": "table 2"}
    ],
    "notes": ["three photos <b>left out</b>"],
    "files": ["eval/knn/sheet <1>.png", "eval/knn/boxes.json"],
    "seconds": 1.5,
}
RESULT = {
    "weights": "runs/<script>alert(1)</script>",
    "data": "folder:a&b",
    "photos": {"train": 1200},
    "notes": ["a & b have other classes"],
    "network": "0123456789abcdef",
    "tasks": {"knn": TASK, "other": {"failed": "no <masks>"}},
}


def test_page_shows_numbers_figures_notes_and_pictures():
    text = page(RESULT, "eval")
    for words in (
        "50.0",
        "9.0",
        "–",
        "74.5",
        "table 2",
        "1,200 train",
        "1.5 s",
        "a &amp; b have",
    ):
        assert words in text, words
    assert "src='knn/sheet%20%3C1%3E.png'" in text
    assert "boxes.json" not in text


@pytest.mark.parametrize(
    "name", ["50% #1?.png", "masks:a.png", "a'b\"<c>&.png", "é漢.png"]
)
def test_links_lead_to_the_file_whatever_its_name(name):
    task = {**TASK, "files": [f"eval/{name}"]}
    text = page({**RESULT, "tasks": {"knn": task}}, "eval")
    (link,) = re.findall("src='([^']*)'", text)
    address = urljoin("file:///at/eval/page.html", html.unescape(link))
    assert unquote(urlsplit(address).path) == f"/at/eval/{name}"
    assert not urlsplit(address).query and not urlsplit(address).fragment


def test_names_from_outside_are_text():
    text = page(RESULT, "eval")
    assert "<script" not in text and "<b>" not in text and "<masks>" not in text
    assert "&lt;script&gt;" in text and "no &lt;masks&gt;" in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("voc2007", "voc2007"),
        ("voc2012:some/where", "voc2012"),
        ("tfds:cifar10", "cifar10"),
        ("tfds:imagenet2012/5.1", "imagenet2012"),
        ("folder:some/DUT-OMRON/", "dutomron"),
        ("hf:ILSVRC/imagenet-1k", "imagenet2012"),
        ("photos/mine", "mine"),
        ("scenes:40", "scenes"),
    ],
)
def test_data_name(spec, name):
    assert data_name(spec) == name


def test_figures_stand_beside_their_own_data_and_number_only():
    (figure, other) = figures_for("tfds:imagenet2012", ["knn/top1_k20"])
    assert (figure.value, other.value) == (74.5, 76.1)
    assert not figures_for("tfds:imagenet2012", ["knn/top1_k10"])
    assert not figures_for("scenes", ["knn/top1_k20"])


def test_films_can_be_played_from_the_page():
    text = page(
        {**RESULT, "tasks": {"v": {**TASK, "files": ["eval/v/a b.mp4"]}}}, "eval"
    )
    assert "<video controls preload='metadata' src='v/a%20b.mp4'></video>" in text
    assert "media-src 'self' file:;" in text and ">a b</figcaption>" in text
