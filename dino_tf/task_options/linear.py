"""Options of `main.py evaluate linear`."""

from typing import Literal

from dino_tf.task_options.size import SIZE

# None is the protocol's own value, and an error where the protocol has no such option.
OPTIONS = {
    **SIZE,
    "--protocol": {
        "type": Literal["quick", "published", "svm"],
        "default": "quick",
        "help": "quick: logistic regression, seconds; published: SGD on random crops; "
        "svm: the support vector machines of VOC 2007",
    },
    "--features": {
        "type": Literal["auto", "small", "base", "cls"],
        "default": "auto",
        "help": "small: CLS of the last four blocks; base: CLS and the mean patch; "
        "cls: what the network gives; auto: as published for the network",
    },
    "--lr": {
        "type": float,
        "nargs": "+",
        "metavar": "RATE",
        "help": "published: rates for a batch of 256, the best on photos held out is "
        "taken; else 0.001 to 1 in seven steps",
    },
    "--epochs": {"type": int, "help": "published: else 100"},
    "--batch-size": {
        "type": int,
        "help": "published: photos in a step; else 1024, at most all",
    },
    "--held-out": {
        "type": float,
        "metavar": "SHARE",
        "help": "of the training photos, for the choice of the penalty (quick, else "
        "0.2) or the rate (published, else 0.1)",
    },
    "--seed": {
        "type": int,
        "default": 0,
        "help": "of the photos held out, the crops and the first weights",
    },
}
