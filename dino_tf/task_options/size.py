"""The side of photos, an option of several evaluations."""

SIZE = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "side of the central square that the network sees, in pixels; else "
        "that of the run's own evaluation, or 224",
    },
}
