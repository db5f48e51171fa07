"""The notebooks: made from their scripts, and running from top to bottom."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = [
    "how_good_are_the_features",
    "look_at_attention",
    "start_from_weights",
    "train_with_fit",
]


@pytest.fixture(scope="module")
def build():
    """The module `notebooks/build.py`."""
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_one_notebook_for_each_script(build):
    assert [source.stem for source in build.sources()] == NAMES
    assert sorted(p.stem for p in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_what_its_script_generates(build, name):
    source = FOLDER / "src" / f"{name}.py"
    committed = build.target(source).read_text(encoding="utf-8")
    assert committed == build.generate(source), "run: python notebooks/build.py"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_stores_no_results(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert all(not c.outputs and c.execution_count is None for c in code)
    ids = [cell.id for cell in notebook.cells]
    assert ids == [f"{name}-{number:02d}" for number in range(len(ids))]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("DINO_TF_NOTEBOOK_OUT", str(tmp_path))
    monkeypatch.setenv("DINO_TF_NOTEBOOK_STEPS", "12")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out.output_type == "error"]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    made = {
        "how_good_are_the_features": "discover/lost.json",
        "train_with_fit": "backbone.keras",
        "look_at_attention": "attention",
        "start_from_weights": "from-weights/summary.json",
    }
    assert (tmp_path / made[name]).exists()
