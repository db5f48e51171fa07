"""Our side of `checkpoint.py`: `Checkpoints` of a whole training, and its way back."""

import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

import answers  # noqa: E402  (found by the line above, as is dino_tf)
import numpy as np  # noqa: E402
import step_ours  # noqa: E402


def beside(work):
    """What `work()` returns, and the most memory in MiB that it took meanwhile."""
    answers.forget_peak()
    before = answers.memory("VmRSS")
    result = work()
    peak = answers.memory("VmHWM")
    return result, None if peak is None else peak - before


def main():
    """Answers requests: one saving, one loading, one backbone out of a file."""
    work = json.loads(sys.argv[1])
    from dino_tf.checkpoint import Checkpoints, Place
    from dino_tf.models.loading import load_backbone

    folder = pathlib.Path(work["folder"])
    model = step_ours.build(work)
    step_ours.write_weights(model, folder)
    checkpoints = Checkpoints(folder / "ours", keep=1)
    variables = [*model.variables, *model.optimizer.variables]
    numbers = sum(int(np.prod(v.shape)) for v in variables if v.dtype == "float32")

    def size():
        return sum(path.stat().st_size for path in (folder / "ours").iterdir())

    def whole_save():
        # With the wait that a training spares.
        checkpoints.save(model, Place(1))
        checkpoints.wait()

    def save():
        _, extra = beside(whole_save)
        return {"bytes": size(), "extra_mb": extra, "numbers": numbers}

    def load():
        _, extra = beside(lambda: checkpoints.restore(model))
        return {"bytes": size(), "extra_mb": extra, "check": check(model)}

    def backbone():
        file = folder / "published" / "checkpoint.pth"
        found, extra = beside(lambda: load_backbone(file))
        kernel = found.blocks[0].attn.qkv.kernel.numpy()
        told = {"bytes": file.stat().st_size, "extra_mb": extra}
        return {**told, "check": float(np.abs(kernel).sum())}

    answers.serve({"save": save, "load": load, "backbone": backbone})


def check(model):
    """A number that tells whether the weights are the common ones."""
    return float(np.abs(model.teacher_backbone.blocks[0].attn.qkv.kernel).sum())


if __name__ == "__main__":
    main()
