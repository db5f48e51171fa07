"""The published side of `network.py`: its networks, head and loss on the same batch.

PYTHON network_published.py CHECKOUT JSON
"""

import json
import sys

import numpy as np
import torch
from network_ours import batch_of
from step_published import begin, import_published, measures, networks


def main():
    """Answers requests, one pass each."""
    checkout, work = sys.argv[1], json.loads(sys.argv[2])
    device = begin(work["folder"])
    # Products in float32 are in float32 on every side, on GPUs too.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    main_dino, utils, vision_transformer = import_published(checkout)
    student = networks(work, main_dino, utils, vision_transformer, device)[0]
    groups, teacher = batch_of(work)
    images = [
        torch.from_numpy(np.ascontiguousarray(view.transpose(0, 3, 1, 2))).to(device)
        for group in groups
        for view in np.split(group, len(group) // work["batch"])
    ]
    teacher = torch.from_numpy(teacher.reshape(-1, work["out_dim"])).to(device)
    loss_of = main_dino.DINOLoss(work["out_dim"], len(images), 0.04, 0.04, 0, 1)
    loss_of = loss_of.to(device)
    low = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}
    dtype = low.get(work["precision"])

    def loss():
        # It moves with every call, and losses are to be compared.
        loss_of.center.zero_()
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            return loss_of(student(images), teacher, 0)

    def forward():
        with torch.no_grad():
            return [float(loss())]

    def both():
        student.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        found = [p.grad for p in student.parameters() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)))
        return [float(value), float(norm)]

    runs = {"forward": forward, "both": both}
    answers_to(runs, device, dtype)


def answers_to(runs, device, dtype):
    """Answers requests until the stream ends."""
    import answers

    told = measures(device, dtype)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    told["facts"]["device"] = name
    answers.serve(runs, **told)


if __name__ == "__main__":
    main()
