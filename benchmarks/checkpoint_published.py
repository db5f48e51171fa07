"""The published side of `checkpoint.py`: its dictionary by torch.save, and back.

    PYTHON checkpoint_published.py CHECKOUT JSON

The dictionary is that of `train_dino`; loading is `utils.restart_from_checkpoint`, and
`utils.load_pretrained_weights` for the backbone alone.
"""

import argparse
import json
import pathlib
import sys

import answers
import torch
from checkpoint_ours import beside
from step_published import begin, import_published, networks


class Training:
    """What the published program saves, after a step that changed nothing."""

    def __init__(self, work, checkout):
        device = begin(work["folder"])
        main_dino, self.utils, self.vits = import_published(checkout)
        pair = networks(work, main_dino, self.utils, self.vits, device)
        optimizer = torch.optim.AdamW(self.utils.get_params_groups(pair[0]))
        for group in optimizer.param_groups:
            group["lr"] = group["weight_decay"] = 0.0
        for parameter in pair[0].parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        loss = main_dino.DINOLoss(work["out_dim"], 10, 0.04, 0.04, 0, 100).to(device)
        names = ("student", "teacher", "optimizer", "dino_loss")
        parts = (*pair, optimizer, loss)
        self.parts = dict(zip(names, parts, strict=True))

    def contents(self):
        """The dictionary that is saved."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        return {**states, "epoch": 1, "args": argparse.Namespace()}

    def numbers(self):
        """Numbers in it."""
        states = self.contents()
        slots = states.pop("optimizer")["state"].values()
        found = [t for slot in slots for t in slot.values() if torch.is_tensor(t)]
        for name in ("student", "teacher", "dino_loss"):
            found += states[name].values()
        return sum(tensor.numel() for tensor in found)


def main():
    """Answers requests: one saving, one loading, one backbone out of the file."""
    checkout, work = sys.argv[1], json.loads(sys.argv[2])
    # PyTorch of today asks for this before it reads the published program's files.
    torch.serialization.add_safe_globals([argparse.Namespace])
    training = Training(work, checkout)
    file = pathlib.Path(work["folder"]) / "published" / "checkpoint.pth"
    file.parent.mkdir()
    numbers = training.numbers()

    def save():
        _, extra = beside(lambda: torch.save(training.contents(), file))
        return {"bytes": file.stat().st_size, "extra_mb": extra, "numbers": numbers}

    def load():
        restart = training.utils.restart_from_checkpoint
        parts = training.parts
        _, extra = beside(lambda: restart(str(file), {"epoch": 0}, **parts))
        kernel = parts["teacher"].backbone.blocks[0].attn.qkv.weight
        told = {"bytes": file.stat().st_size, "extra_mb": extra}
        return {**told, "check": float(kernel.abs().sum())}

    def backbone():
        def load_one():
            make = training.vits.__dict__[work["arch"]]
            model = make(patch_size=work["patch_size"], num_classes=0)
            names = (work["arch"], work["patch_size"])
            read = training.utils.load_pretrained_weights
            read(model, str(file), "teacher", *names)
            return model

        model, extra = beside(load_one)
        told = {"bytes": file.stat().st_size, "extra_mb": extra}
        kernel = model.blocks[0].attn.qkv.weight
        return {**told, "check": float(kernel.detach().abs().sum())}

    answers.serve({"save": save, "load": load, "backbone": backbone})


if __name__ == "__main__":
    main()
