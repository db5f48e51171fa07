"""The published program on machines that it was not written for.

Its files are never changed: what has to differ is changed in a copy in a temporary
folder, and told.
"""

import functools
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
# Moments that `start.py` asks for, and an answer that is fetched from GitHub.
NOTED = {
    "main_dino.py": {
        'torch.hub.list("facebookresearch/xcit:main")': "[]",
        "import utils\n": "import marks\nimport utils\n",
        "def get_args_parser():": 'marks.mark("imported")\n\n\ndef get_args_parser():',
        '    print(f"Data loaded': '    marks.mark("data and settings")\n'
        '    print(f"Data loaded',
        '    print("Starting DINO training': '    marks.mark("built")\n'
        '    print("Starting DINO training',
        "        # move images to gpu": '        marks.mark("first batch")\n'
        "        # move images to gpu",
        "        metric_logger.update(loss=loss.item())": "        marks.step_done"
        "(loss.item())\n        metric_logger.update(loss=loss.item())",
    }
}
WITHOUT_GPU = {
    "main_dino.py": {
        ".cuda()": "",
        ".cuda(non_blocking=True)": "",
        "        torch.cuda.synchronize()\n": "",
        ", device_ids=[args.gpu]": "",
    },
    "utils.py": {
        'backend="nccl"': 'backend="gloo"',
        "    torch.cuda.set_device(args.gpu)\n": "",
    },
}


@functools.cache
def asked(python, expression):
    """What a Python that has PyTorch answers: whether an expression holds."""
    code = f"import importlib.util, torch; print(bool({expression}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise SystemExit(f"--torch-python {python}: {words[0]}")
    return done.stdout.strip() == "True"


def has_gpu(python):
    """Whether PyTorch sees a GPU."""
    return asked(python, "torch.cuda.is_available()")


def stand_in(python):
    """Folders to be searched for modules: ours where torchvision is missing."""
    there = asked(python, "importlib.util.find_spec('torchvision')")
    return [] if there else [str(HERE / "stand_in")]


def changes_told(python):
    """Lines for a person on what of the published program was changed."""
    lines = [
        "published program: a copy that notes moments and fetches no list of names"
    ]
    if not has_gpu(python):
        lines.append("  and without .cuda(), with gloo in place of NCCL: no GPU here")
    if stand_in(python):
        lines.append("  torchvision is missing: a stand-in makes the same Pillow calls")
    return lines


def changed(text, changes, name):
    """Text with every change made; SystemExit where one finds nothing to change."""
    for old, new in changes.items():
        if old not in text:
            raise SystemExit(f"{name} of the checkout has no {old.strip()!r}")
        text = text.replace(old, new)
    return text


def patched_training(checkout, folder, cpu):
    """A copy of the published training program in `folder`, with moments noted."""
    for file in pathlib.Path(checkout).glob("*.py"):
        shutil.copy(file, folder)
    for changes in (NOTED, WITHOUT_GPU if cpu else {}):
        for name, some in changes.items():
            path = pathlib.Path(folder) / name
            path.write_text(changed(path.read_text(), some, name))
