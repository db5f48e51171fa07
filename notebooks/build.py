"""Makes the notebooks from the scripts in `src`: python notebooks/build.py [NAME ...]

Change the scripts, never the notebooks. Each notebook is run from top to bottom in a
fresh kernel and an empty folder, and stored with its output; `--check` runs nothing and
ends with 1 where the text of a notebook is not what its script says.
"""

import argparse
import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
LIMIT = 900  # seconds for one cell
# What is stored shows what there is without a network, and without earlier downloads.
NOT_DOWNLOADED = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "DINO_TF_CACHE": "cache",
}
MOST_PIXELS = 1000  # width of a stored picture
MOST_BYTES = 150_000  # of a picture in all its colours
# Places of one machine: they must not be stored.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:tmp|home|root|Users|work|var|private)/|\w:\\")


def sources():
    """Scripts from which notebooks are made, sorted."""
    return sorted((FOLDER / "src").glob("*.py"))


def target(source):
    """Path of the notebook made from a script."""
    return FOLDER / f"{source.stem}.ipynb"


def generate(source):
    """Notebook without output, made from a script in jupytext's percent format.

    A cell keeps its id, so that the file changes only with text and output.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{source.stem}-{number:02d}"
        cell.metadata = {}
    nbformat.validate(notebook)
    return notebook


def text_of(notebook):
    """The notebook as it is written to a file, less what a run of it gave."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(notebook)


def execute(notebook, folder):
    """Runs a notebook in a kernel of its own, where `folder` is the current one."""
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH")]
    environment = os.environ | NOT_DOWNLOADED
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    client = NotebookClient(
        notebook,
        timeout=LIMIT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    notebook.metadata = nbformat.from_dict(METADATA)


def tidy(notebook):
    """Makes output small, and tells nothing of a machine and a day.

    The error stream and Keras's progress bars are taken out, lines that came in several
    messages are joined, and pictures are made small.

    Returns:
        Lines of the error streams.
    """
    told = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.get("name") == "stderr":
                told += output.text.splitlines()
            elif kept and kept[-1].output_type == output.output_type == "stream":
                kept[-1].text += output.text
            else:
                kept.append(output)
        cell.outputs = [out for out in map(tidied, kept) if out.get("text") != ""]
    return told


def tidied(output):
    """Output of a cell as it is stored."""
    if output.output_type == "stream":
        output.text = without_bars(output.text)
    elif "image/png" in output.get("data", {}):
        # Pillow's pictures come as JPEG as well.
        output.data.pop("image/jpeg", None)
        output.data["image/png"] = small_png(output.data["image/png"])
    return output


def without_bars(text):
    """Text less the lines that draw a progress bar or announce an epoch of Keras."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", re.sub(r"\x1b\[[0-9;]*m", "", text))
    bar = re.compile(r"[\b\r━]|^Epoch \d+/\d+$")
    return "".join(line for line in lines if not bar.search(line.rstrip("\n")))


def small_png(encoded):
    """A PNG picture in base64, at most `MOST_PIXELS` wide; a large one in 256 colours.

    Few colours would be cheaper always, but a small red cross may become brown.
    """
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    picture.thumbnail((MOST_PIXELS, 10 * MOST_PIXELS))
    data = png_bytes(picture)
    if len(data) > MOST_BYTES:
        data = png_bytes(picture.quantize(256))
    return base64.b64encode(data).decode()


def png_bytes(picture):
    """The picture as a PNG file, as small as it gets."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def machine_paths(notebook):
    """Lines of the output that name a place of this machine."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts += [output.get("text", ""), *output.get("traceback", [])]
            found = output.get("data", {})
            texts += [text for kind, text in found.items() if kind.startswith("text/")]
    lines = "\n".join(texts).splitlines()
    return [line for line in lines if MACHINE_PATH.search(line)]


def build(source):
    """Runs the notebook of a script and stores it with its output.

    Raises:
        RuntimeError: The output names places of this machine.
    """
    notebook = generate(source)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, folder)
    told = tidy(notebook)
    if machine_paths(notebook):
        raise RuntimeError(f"{source.stem} shows {machine_paths(notebook)[0]!r}")
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    target(source).write_text(text, encoding="utf-8")
    for line in told:
        print(f"not stored: {line}", file=sys.stderr)
    print(f"{target(source).name}: {len(text) / 1e3:.0f} kB")


def outdated(source):
    """Whether the text of a notebook is not what its script says."""
    if not target(source).is_file():
        return True
    stored = nbformat.read(target(source), as_version=4)
    return text_of(stored) != text_of(generate(source))


def main():
    """Builds the notebooks, or checks them; returns the exit code."""
    names = [source.stem for source in sources()]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--check", action="store_true", help="compare the text only")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(names)
    if unknown:
        parser.error(f"got {min(unknown)!r}, allowed: {', '.join(names)}")
    chosen = [s for s in sources() if not asked.names or s.stem in asked.names]
    if asked.check:
        old = [source.stem for source in chosen if outdated(source)]
        for name in old:
            print(f"{name} is not what its script says: python notebooks/build.py")
        return 1 if old else 0
    for source in chosen:
        build(source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
