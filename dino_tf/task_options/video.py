"""Options of `main.py evaluate video`."""

OPTIONS = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "shorter side of the frames that the network sees, in pixels; else "
        "480, as published, and 96 for films",
    },
    "--memory": {
        "type": int,
        "default": 7,
        "metavar": "N",
        "help": "last frames that are looked at besides the first one",
    },
    "--neighbourhood": {
        "type": int,
        "default": 12,
        "metavar": "N",
        "help": "patches up, down, left and right that a patch looks at in each of "
        "them; 0 is all",
    },
    "--topk": {
        "type": int,
        "default": 5,
        "metavar": "K",
        "help": "most similar patches that a patch takes its label from",
    },
    "--temperature": {
        "type": float,
        "default": 0.1,
        "help": "of the weights of these",
    },
    "--split": {
        "type": str,
        "metavar": "NAME",
        "help": "list of films, such as train or test-dev; else val of DAVIS, where "
        "there is one, and test of others",
    },
    "--sequences": {
        "type": str,
        "nargs": "+",
        "metavar": "FILM",
        "help": "names of single films; else all",
    },
}
