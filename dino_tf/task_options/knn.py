"""Options of `main.py evaluate knn`."""

from dino_tf.task_options.size import SIZE

OPTIONS = {
    **SIZE,
    "--k": {
        "type": int,
        "nargs": "+",
        "default": [10, 20, 100, 200],
        "metavar": "K",
        "help": "numbers of neighbours",
    },
    "--temperature": {
        "type": float,
        "default": 0.07,
        "help": "of the votes; small lets the nearest decide alone",
    },
}
