"""Generates the notebooks from the scripts in `src`: python notebooks/build.py

Change the scripts, never the notebooks. Nothing that a run of a notebook produces is
stored, and a cell keeps its id, so that the generated files change only with the text.
"""

from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def sources():
    """Scripts from which notebooks are made, sorted."""
    return sorted((FOLDER / "src").glob("*.py"))


def target(source):
    """Path of the notebook made from a script."""
    return FOLDER / f"{source.stem}.ipynb"


def generate(source):
    """Text of the notebook made from a script in jupytext's percent format."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{source.stem}-{number:02d}"
        cell.metadata = {}
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def main():
    """Writes every notebook."""
    for source in sources():
        target(source).write_text(generate(source), encoding="utf-8")
        print(target(source).name)


if __name__ == "__main__":
    main()
