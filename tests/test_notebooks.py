"""The notebooks: made from their scripts, stored with output, and running."""

import base64
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
# What each leaves under `result/notebook`.
MADE = {
    "1_quick_start": "dino.keras",
    "2_your_own_photos": "own-photos/attend",
    "3_attention_and_films": "films/wander.mp4",
    "4_evaluate_and_discover": None,
    "5_another_backbone": "features",
    "6_published_weights": "safetensors/model.safetensors",
}
NAMES = list(MADE)


@pytest.fixture(scope="module")
def build():
    """The module `notebooks/build.py`."""
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs_of(notebook):
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def test_there_is_one_notebook_for_each_script(build):
    assert [source.stem for source in build.sources()] == NAMES
    assert sorted(p.stem for p in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_text_is_what_the_script_generates(build, name):
    source = FOLDER / "src" / f"{name}.py"
    assert not build.outdated(source), "run: python notebooks/build.py"
    assert build.text_of(read(name)) == build.text_of(build.generate(source))


def test_a_changed_script_is_noticed(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    source = tmp_path / "one.py"
    source.write_text("# %%\nprint(1)\n")
    assert build.outdated(source)
    notebook = build.generate(source)
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    nbformat.write(notebook, build.target(source))
    assert not build.outdated(source)
    source.write_text("# %%\nprint(2)\n")
    assert build.outdated(source)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_short_and_stores_its_output(build, name):
    notebook = read(name)
    assert len(notebook.cells) < 15
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    # Imports, and in one notebook a network that is only made, show nothing.
    silent = [cell for cell in code if not cell.outputs]
    assert code[0] in silent and len(silent) <= 3
    kinds = {out.output_type for out in outputs_of(notebook)}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert {out.get("name") for out in outputs_of(notebook)} <= {None, "stdout"}
    assert not build.machine_paths(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_stored_pictures_show_something(name):
    found = [out.get("data", {}).get("image/png") for out in outputs_of(read(name))]
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        for data in found
        if data
    ]
    assert len(pictures) >= 2
    for picture in pictures:
        assert picture.shape[1] <= 1000 and picture.std() > 10


def test_output_is_freed_of_what_a_machine_and_a_day_leave(build):
    cell = nbformat.v4.new_code_cell("1")
    text = "found\nEpoch 1/2\n\x1b[1m3/3\x1b[0m ━━━━ \x1b[1m2s\x1b[0m\b\b\b\nend\n"
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="a warning\n"),
        nbformat.v4.new_output("stream", name="stdout", text=text),
        nbformat.v4.new_output("stream", name="stdout", text="\r1 of 2\r2 of"),
        nbformat.v4.new_output("stream", name="stdout", text=" 2\n"),
        nbformat.v4.new_output("stream", name="stdout", text="more\n"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert build.tidy(notebook) == ["a warning"]
    assert [out.text for out in cell.outputs] == ["found\nend\nmore\n"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("saved /tmp/x7/a.png", True),
        ("/home/me/photos", True),
        (r"C:\photos", True),
        ("result/notebook/tmp/a.png", False),
        ("features/work of a day", False),
    ],
)
def test_places_of_a_machine_are_found(build, text, found):
    cell = nbformat.v4.new_code_cell("1")
    cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert bool(build.machine_paths(notebook)) == found


def test_a_wide_picture_is_made_smaller(build):
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 2000, 3), np.uint8)).save(file, "PNG")
    small = build.small_png(base64.b64encode(file.getvalue()).decode())
    assert Image.open(io.BytesIO(base64.b64decode(small))).size == (1000, 20)


# One import of TensorFlow for all folders; each has a process that has seen nothing of
# the package.
IN_FOLDERS = """
import json, os, sys
import keras, matplotlib.pyplot, numpy, tensorflow
code, *folders = sys.argv[1:]
sys.path.remove("")
for folder in folders:
    if os.fork() == 0:
        os.chdir(folder)
        sys.path.insert(0, "")
        assert "dino_tf" not in sys.modules
        exec(code)
        print(json.dumps([str(out), dino_tf.__file__]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, folder
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_first_cell_finds_the_package(tmp_path):
    cell = next(c for c in read(NAMES[2]).cells if c.cell_type == "code")
    folders = [FOLDER, FOLDER.parent]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", IN_FOLDERS, cell.source, *folders],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for folder, (out, package) in zip(folders, map(json.loads, lines), strict=True):
        assert (folder / out).resolve() == FOLDER.parent / "result" / "notebook"
        assert (folder / package).resolve().parents[1] == FOLDER.parent


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_in_a_clean_kernel(build, name, tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_TF_NOTEBOOK_STEPS", "6")
    notebook = build.generate(FOLDER / "src" / f"{name}.py")
    for cell in notebook.cells:
        # An epoch is all photos, however few the steps; 4 wants 40 to test with.
        cell.source = re.sub("scenes:(1000|640|600)", "scenes:160", cell.source)
        # A network with half the layers to trace.
        cell.source = cell.source.replace("keras:ResNet50", "keras:MobileNet")
    build.execute(notebook, tmp_path)
    kinds = {out.output_type for out in outputs_of(notebook)}
    assert "display_data" in kinds and "error" not in kinds
    if MADE[name]:
        assert (tmp_path / "result" / "notebook" / MADE[name]).exists()
    else:
        assert not list(tmp_path.iterdir())
