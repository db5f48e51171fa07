"""The published side of `step.py`: the step of `train_one_epoch` on one fixed batch.

    PYTHON step_published.py CHECKOUT JSON

Networks, loss and every part of the update are the published program's own, in its
order; left out are its loader, its schedules and the copies to a GPU where there is
none.
"""

import json
import pathlib
import sys

import answers
import numpy as np
import torch


def import_published(checkout):
    """Modules (main_dino, utils, vision_transformer) of a checkout."""
    sys.path.insert(0, checkout)
    # Found only where torchvision is missing.
    sys.path.append(str(pathlib.Path(__file__).parent / "stand_in"))
    import main_dino
    import utils
    import vision_transformer

    return main_dino, utils, vision_transformer


def networks(work, main_dino, utils, vision_transformer, device):
    """Student and teacher with the weights that the other side has written."""
    make = vision_transformer.__dict__[work["arch"]]
    pair = []
    for changes in ({"drop_path_rate": work["drop_path"]}, {}):
        size = [work["global_size"]]
        backbone = make(img_size=size, patch_size=work["patch_size"], **changes)
        head = vision_transformer.DINOHead(backbone.embed_dim, work["out_dim"])
        pair.append(utils.MultiCropWrapper(backbone, head).to(device))
    stored = np.load(pathlib.Path(work["folder"]) / "weights.npz")
    weights = {name: torch.from_numpy(stored[name]) for name in stored.files}
    for network in pair:
        network.load_state_dict(weights, strict=True)
    for parameter in pair[1].parameters():
        parameter.requires_grad = False
    return pair


def batch_of(work, device):
    """The fixed batch as the published loader gives it: a list of (B, 3, S, S)."""
    rng, batch = np.random.default_rng(1), work["batch"]
    views = []
    for count, size in (
        (2, work["global_size"]),
        (work["num_local"], work["local_size"]),
    ):
        drawn = rng.standard_normal((batch, count, size, size, 3), np.float32)
        drawn = np.ascontiguousarray(drawn.transpose(1, 0, 4, 2, 3))
        views += [torch.from_numpy(view).to(device) for view in drawn]
    return views


def measures(device, dtype=None):
    """What `answers.serve` takes beside the work: the ceiling and the memory."""
    size = answers.matrix_size(device == "cuda")
    matrix = torch.randn(size, size, device=device, dtype=dtype or torch.float32)

    def multiply():
        float(torch.mm(matrix, matrix)[0, 0])

    return {
        "ceiling": lambda: answers.matrix_rate(multiply, size),
        "device_memory": lambda: (
            round(torch.cuda.max_memory_allocated() / 2**20)
            if device == "cuda"
            else None
        ),
        "facts": {"threads": torch.get_num_threads()},
        "forget_device": torch.cuda.reset_peak_memory_stats
        if device == "cuda"
        else None,
    }


def begin(folder):
    """The device, after the process group of one that the published loss needs."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"file://{pathlib.Path(folder) / 'meeting'}",
        rank=0,
        world_size=1,
    )
    return device


def main():
    """Answers requests, one training step each."""
    checkout, work = sys.argv[1], json.loads(sys.argv[2])
    device = begin(work["folder"])
    main_dino, utils, vision_transformer = import_published(checkout)
    student, teacher = networks(work, main_dino, utils, vision_transformer, device)
    images = batch_of(work, device)
    loss_of = main_dino.DINOLoss(work["out_dim"], len(images), 0.04, 0.04, 0, 100)
    loss_of = loss_of.to(device)
    optimizer = torch.optim.AdamW(utils.get_params_groups(student))
    for group, decay in zip(optimizer.param_groups, (0.04, 0.0), strict=True):
        group["lr"], group["weight_decay"] = 1e-4, decay
    low = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}
    dtype = low.get(work["precision"])
    scaler = torch.amp.GradScaler(device) if dtype is torch.float16 else None

    def run():
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            teacher_output = teacher(images[:2])
            student_output = student(images)
            loss = loss_of(student_output, teacher_output, 0)
        optimizer.zero_grad()
        (scaler.scale(loss) if scaler else loss).backward()
        if scaler:
            scaler.unscale_(optimizer)
        utils.clip_gradients(student, 3.0)
        utils.cancel_gradients_last_layer(1, student, 1)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        with torch.no_grad():
            pairs = zip(student.parameters(), teacher.parameters(), strict=True)
            for new, old in pairs:
                old.data.mul_(0.996).add_((1 - 0.996) * new.detach().data)
        return float(loss.item())

    answers.serve(run, **measures(device, dtype))


if __name__ == "__main__":
    main()
