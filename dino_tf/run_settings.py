"""The section `run` of a configuration; the others are in `dino_tf.config`."""

from dataclasses import dataclass
from typing import Literal

from dino_tf.settings import setting


@dataclass
class Run:
    """Length, machine and output."""

    name: str | None = setting(
        None,
        "folder in run.result_dir; null: preset and data, as in quickstart-scenes. "
        "An unfinished run of that name goes on, beside a finished one -2 begins",
    )
    epochs: int = setting(100, "passes over the photos")
    schedule_epochs: int | None = setting(
        None, "length of all schedules, to stop early in a longer run; null: epochs"
    )
    high_res_epochs: int = setting(
        0,
        "of the epochs the last ones, with crops larger by views.high_res_scale: finer "
        "features for less time than large crops all along (DINOv2); 0: none",
    )
    recipe: Literal["auto", "published", "few_photos"] = setting(
        "auto",
        "loss, rate, head and crops where nothing else is asked for: as published for "
        "a million photos, or as measured on few of them in few updates",
    )
    seed: int = setting(0, "seed of weights, order of photos, and augmentation")
    strategy: Literal["auto", "none", "mirrored", "multi_worker", "tpu"] = setting(
        "auto",
        "one device (none), all of this machine (mirrored), all workers that TF_CONFIG "
        "or srun names (multi_worker), or a TPU",
    )
    wait: float = setting(600.0, "seconds to wait for the other workers to start")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = setting(
        "auto",
        "half precision is faster and smaller; go back to float32 if the loss is "
        "unstable, most likely with small patches or large ViTs",
    )
    xla: bool | None = setting(None, "compile the training step with XLA")
    recompute: bool = setting(
        False,
        "vit_*: compute the blocks again for the gradient instead of keeping them, for "
        "networks or batches that do not fit: less memory, up to a third more work",
    )
    result_dir: str = setting("result", "folder that holds one folder per run")
    save_every: int = setting(1, "epochs between checkpoints")
    save_minutes: float = setting(
        10.0, "minutes between checkpoints within an epoch, 0: none there"
    )
    keep_checkpoints: int = setting(2, "number of latest checkpoints kept")
    keep_every: int = setting(
        0, "epochs between checkpoints that are kept for good, 0: none are"
    )
    attention_every: int | None = setting(
        None, "epochs between attention pictures, 0: only at the end"
    )
    attention_photos: int = setting(8, "photos whose attention is drawn")
    attention_size: int = setting(480, "their shorter side for it, in pixels")
    knn_every: int = setting(0, "epochs between k-NN tests, 0: only at the end")
    eval_size: int | None = setting(None, "side of the photos in the k-NN test")
    tensorboard: bool = setting(True, "write TensorBoard files")
    resume: bool = setting(True, "go on with an unfinished run; false: new name")
    accept_changes: bool = setting(
        False,
        "go on although settings differ that change nothing of what is learned, such "
        "as those of pictures, threads and checkpoints",
    )
    report_every: int | None = setting(
        None,
        "epochs between updates of report.html, left out while they would take more "
        "than 2 % of the training; 0: only at the end",
    )
    health_photos: int | None = setting(
        None,
        "photos whose features tell after an epoch how it goes: rank, spread, how well "
        "their views are matched and, with labels, a quick k-NN; 0: none",
    )
    health_every: int | None = setting(None, "epochs between two looks at them")
    wandb: str | None = setting(
        None,
        "project on Weights & Biases that gets numbers and pictures, or ENTITY/PROJECT "
        "(pip install wandb); null: none",
    )
