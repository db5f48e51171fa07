"""The page as a person uses it, in headless browsers without a network."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dino_tf.report.explorer import packed, reduce_features
from dino_tf.report.jpeg import jpeg_uri
from dino_tf.report.page import page
from dino_tf.visualize import draw


def load(name):
    """A module beside this one: tests are no package."""
    spec = importlib.util.spec_from_file_location(
        name, Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chromium, firefox = load("browser"), load("firefox")
BROWSERS = {
    "chromium": (chromium.Browser, chromium.find_browser()),
    "firefox": (firefox.Firefox, firefox.find_firefox()),
}
pytestmark = pytest.mark.slow
GREY = jpeg_uri(np.full((64, 96, 3), 128, np.uint8), 96)
HOSTILE = "</script><b onclick=x>\"'&"


def halves():
    """Features (4, 6, 2): the left half differs from the right one."""
    features = np.zeros((4, 6, 2))
    features[:, :3, 0], features[:, 3:, 1] = 1, 1
    return features


def whole_data():
    few = [packed(one) for one in reduce_features([halves(), halves()])]
    names = ["a", HOSTILE]
    return {
        "title": HOSTILE,
        "state": "Finished.",
        "facts": [["Photos", HOSTILE]],
        "notes": ["something is missing"],
        "health": {"verdict": "flat", "advice": ["Do."], "history": []},
        "charts": [
            {
                "group": "Learning",
                "title": "Loss",
                "about": "",
                "unit": "nats",
                "lines": [
                    {"name": "loss", "reference": False, "points": [[1, 5.5], [2, 5]]}
                ],
            }
        ],
        "attention": {
            "kind": "attention",
            "epochs": ["epoch 1", "epoch 2"],
            "views": ["attention_mean"],
            "photos": [
                {
                    "name": HOSTILE,
                    "original": GREY,
                    "frames": {"attention_mean": [None, GREY]},
                }
            ],
        },
        "explorer": {
            "photos": [
                {"name": n, "picture": GREY, **f}
                for n, f in zip(names, few, strict=True)
            ],
            "palette": draw.colour_table("inferno")[::5].tolist(),
        },
        "components": [{"name": n, "colours": GREY} for n in names],
        "boxes": [
            {
                "name": HOSTILE,
                "picture": GREY,
                "found": {"LOST": [[0, 0, 0.5, 0.5]]},
                "truth": [[0, 0, 1, 1]],
            }
        ],
        "map": {
            "names": names,
            "thumbnails": [GREY, GREY],
            "labels": [[0], [1]],
            "class_names": ["one", HOSTILE],
            "methods": {"PCA": [[-1, 0], [1, 0]], "t-SNE": [[0, 1], [0, -1]]},
            "near": [[1], [0]],
            "similarities": [[0.5], [0.5]],
            "samples": [0],
            "total": 9,
        },
        "views": {
            "name": HOSTILE,
            "picture": GREY,
            "draws": [{"global": [GREY, GREY], "local": [GREY]}],
            "sizes": [224, 96],
        },
        "evaluations": [
            {
                "title": HOSTILE,
                "about": "",
                "notes": [],
                "tasks": [
                    {
                        "name": "knn",
                        "failed": None,
                        "columns": ["ours", "untrained"],
                        "rows": [["knn/top1", 63.25, None]],
                        "published": [],
                        "notes": [],
                        "about": "k 20",
                        "pictures": [],
                    }
                ],
            }
        ],
        "configuration": [
            {"key": "data", "value": HOSTILE, "reason": "because"},
            {"key": "preset", "value": "null", "reason": ""},
        ],
    }


@pytest.fixture(scope="module", params=BROWSERS)
def opened(request, tmp_path_factory):
    kind, program = BROWSERS[request.param]
    if program is None:
        pytest.skip(f"no {request.param} is installed")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(whole_data()), encoding="utf-8")
    with kind(program) as window:
        window.open(path)
        yield window


@pytest.fixture(autouse=True)
def no_problem(opened):
    yield
    assert opened.problems == []


def pixel(window, photo, x, y):
    """Red, green, blue, opacity of the similarities over a photo, at shares of it."""
    # Of a copy: the page's own canvas is not made to be read.
    return window.run(
        f"(() => {{ const c = document.querySelectorAll('#explorer-photos canvas')"
        f"[{photo}], d = document.createElement('canvas');"
        "[d.width, d.height] = [c.width, c.height];"
        "const p = d.getContext('2d', {willReadFrequently: true});"
        "p.drawImage(c, 0, 0);"
        f"return [...p.getImageData({x} * c.width, {y} * c.height, 1, 1).data]; }})()"
    )


def text(window, selector):
    return window.run(f"document.querySelector({selector!r}).textContent")


def test_every_part_is_there_and_names_are_text(opened):
    assert opened.run("document.querySelectorAll('section[hidden]').length") == 0
    assert text(opened, "h1") == HOSTILE
    assert opened.run("document.querySelectorAll('b[onclick]').length") == 0
    assert text(opened, "#verdict") == "flat"
    assert text(opened, "#evaluation-list tbody tr") == "knn/top163.3–"


def test_click_in_the_explorer_colours_what_is_similar(opened):
    # At once: the page itself scrolls smoothly.
    where = "{behavior: 'instant'}"
    opened.run(f"document.getElementById('explorer').scrollIntoView({where})")
    left, top, wide, high = opened.run(
        "(() => { const b = document.querySelector('#explorer-photos .place')"
        ".getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
    )
    # The colours of the similar half are bright, those of the other dark.
    opened.click(left + 0.1 * wide, top + 0.1 * high)
    assert text(opened, "#explorer-told").startswith("a, row 1 of 4, column 1 of 6")
    for photo in (0, 1):
        assert sum(pixel(opened, photo, 0.4, 0.9)[:3]) > 400
        assert sum(pixel(opened, photo, 0.9, 0.9)[:3]) < 60
    opened.click(left + 0.95 * wide, top + 0.1 * high)
    assert sum(pixel(opened, 1, 0.4, 0.9)[:3]) < 60
    assert sum(pixel(opened, 1, 0.6, 0.9)[:3]) > 400


def test_explorer_by_keyboard(opened):
    opened.run("document.querySelectorAll('#explorer-photos .place')[1].focus()")
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft"):
        opened.press(key)
    told = text(opened, "#explorer-told")
    assert told.startswith(f"{HOSTILE}, row 2 of 4, column 2 of 6; most similar")
    assert "a, 1.00" in told


def test_slider_of_the_epochs(opened):
    assert text(opened, "#attention-epoch") == "epoch 2"
    opened.run("document.getElementById('attention-slider').focus()")
    opened.press("ArrowLeft")
    assert text(opened, "#attention-epoch") == "epoch 1"
    absent = "document.querySelector('#attention-photos .absent').hidden"
    assert opened.run(absent) is False
    opened.press("ArrowRight")
    assert opened.run(absent) is True


def test_curves_show_the_epoch_that_is_pointed_at(opened):
    opened.run("document.querySelector('.chart').focus()")
    opened.press("ArrowLeft")
    assert text(opened, ".chart h4 span") == "epoch 1"
    assert text(opened, ".readout").strip() == "loss 5.5"
    opened.press("ArrowRight")
    assert text(opened, ".readout").strip() == "loss 5"


def test_map_by_keyboard_adds_neighbours(opened):
    opened.run("document.querySelector('#map-methods button').click()")
    opened.run("document.getElementById('map-plot').focus()")
    opened.press("ArrowRight")
    assert text(opened, "#map-tip b") == HOSTILE
    opened.press("Enter")
    rows = "document.querySelectorAll('#neighbours-rows .row').length"
    assert opened.run(rows) == 2


def test_settings_are_filtered(opened):
    opened.run(
        "(() => { const f = document.getElementById('configuration-filter');"
        "f.value = 'pres'; f.dispatchEvent(new Event('input')); })()"
    )
    shown = "[...document.querySelectorAll('#configuration-rows tr')].filter("
    shown += "r => !r.hidden).length"
    assert opened.run(shown) == 1


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.resize(width, 800)
    wide = opened.run("document.documentElement.scrollWidth")
    assert wide <= width


def test_dark_and_light(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    opened.colours("dark")
    assert opened.run(colour) == "rgb(20, 22, 26)"
    opened.colours("light")
    assert opened.run(colour) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("parts", [(), ("charts",), ("map",), ("explorer",)])
def test_missing_parts_leave_no_error(opened, tmp_path, parts):
    whole = whole_data()
    data = {k: whole[k] for k in ("title", "state", "facts", "notes", *parts)}
    (tmp_path / "report.html").write_text(page(data), encoding="utf-8")
    opened.open(tmp_path / "report.html")
    shown = opened.run("document.querySelectorAll('section:not([hidden])').length")
    assert shown == 1 + len(parts) + ("map" in parts)
