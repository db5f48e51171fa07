"""Options of `main.py evaluate detect`."""

OPTIONS = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "side of the square that photos are squeezed into; else that "
        "of the run's own evaluation, or 224",
    },
    "--epochs": {
        "type": int,
        "default": 12,
        "help": "passes over the training photos",
    },
    "--batch-size": {"type": int, "default": 16, "help": "photos in a step"},
    "--lr": {
        "type": float,
        "help": "peak of the learning rate; else 0.002, and 0.0005 with --tune",
    },
    "--tune": {
        "type": bool,
        "default": False,
        "help": "whether all weights are trained, not the detector alone; takes many "
        "times as long",
    },
    "--boxes": {
        "type": str,
        "metavar": "FILE",
        "help": "COCO JSON of boxes of the training photos, such as lost.json of "
        "evaluate discover: learnt as one class in the place of annotated ones",
    },
    "--split": {
        "type": str,
        "metavar": "NAME",
        "help": "photos that are judged; else test where it has boxes, or every fifth",
    },
    "--train-split": {
        "type": str,
        "metavar": "NAME",
        "help": "photos to learn from; else train",
    },
    "--score-threshold": {
        "type": float,
        "default": 0.05,
        "help": "lowest score of a detection",
    },
    "--max-detections": {
        "type": int,
        "default": 100,
        "metavar": "N",
        "help": "detections of one photo that count",
    },
    "--seed": {
        "type": int,
        "default": 0,
        "help": "of the detector's weights, the order and the mirroring",
    },
}
