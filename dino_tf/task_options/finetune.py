"""Options of `main.py evaluate finetune`."""

from typing import Literal

# None is the preset's value, else an automatic one, which the result tells.
OPTIONS = {
    "--preset": {
        "type": Literal["cifar10", "cifar100"],
        "help": "settings that the authors of DINO named for this data set (--data "
        "tfds:cifar10 or tfds:cifar100, but any will do): 1,000 epochs at 224 pixels, "
        "for GPUs; ViT-S/16 reached 99.0 and 90.5, ViT-B/16 99.1 and 91.7; what is "
        "given beside it wins",
    },
    "--size": {
        "type": int,
        "help": "side of the square that the network sees, in pixels; else its own, "
        "at most 112, or 224 with a GPU",
    },
    "--epochs": {"type": int, "help": "else so many that it takes minutes"},
    "--batch-size": {
        "type": int,
        "help": "photos in a step, over all GPUs; else 8 to 32, or to 256 with a GPU",
    },
    "--lr": {
        "type": float,
        "help": "peak of the learning rate for a batch of 256, scaled to the batch; "
        "else so that the peak is 0.001",
    },
    "--layer-decay": {
        "type": float,
        "help": "factor of the rate from a block to the one before it; else 0.75, or "
        "1 for networks of Keras, which have no blocks that are known",
    },
    "--weight-decay": {"type": float, "help": "of AdamW; else 0.05"},
    "--warmup-epochs": {
        "type": float,
        "help": "epochs in which the rate rises; else a tenth, at most 5",
    },
    "--mixup": {
        "type": float,
        "help": "blends each photo with another; parameter of the beta distribution "
        "of its share; else 0, off",
    },
    "--cutmix": {
        "type": float,
        "help": "puts a box of another photo into each; parameter of the beta "
        "distribution of the area left; else 0, off",
    },
    "--label-smoothing": {
        "type": float,
        "help": "share of each target that is spread over all classes; else 0.1",
    },
    "--drop-path": {
        "type": float,
        "help": "chance to drop the last block's branches; else 0.1 where it is known",
    },
    "--jitter": {
        "type": float,
        "help": "largest change of brightness, contrast and saturation; else 0",
    },
    "--smallest-crop": {
        "type": float,
        "help": "smallest share of a photo's area in a crop; else 0.3",
    },
    "--clip-norm": {
        "type": float,
        "help": "largest norm of all gradients together, 0 for none; else 1",
    },
    "--seed": {
        "type": int,
        "default": 0,
        "help": "of order, crops, mixing, drop path and the new layer",
    },
}
