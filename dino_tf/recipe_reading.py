"""The automatic recipe's rules for reading photos; see `dino_tf.recipe`."""

import math

CACHE_SHARE = 0.1  # of the memory, for photos that are kept


def _workers(config, facts):
    return facts.num_cores, "one for each core"


def _processes(config, facts):
    if not facts.num_gpus:
        return 0, "on a CPU the network takes longer than the photos"
    return config.pipeline.workers, "a GPU wants more than threads of one Python give"


def needs_photo_mb(config, facts):
    """Whether a rule asks for `Facts.photo_mb`, for which photos are looked at."""
    return config.pipeline.cache == "auto" and facts.num_gpus > 0


def _cache(config, facts):
    if not facts.num_gpus:
        return "none", "on a CPU the network takes longer than the photos"
    if facts.photo_mb is None or facts.memory_gb is None:
        return "none", "how large memory or photos are is unknown"
    needed = facts.num_photos * facts.photo_mb / 1000
    if needed > CACHE_SHARE * facts.memory_gb:
        words = f"decoded they are {needed:.1f} GB, more than a tenth of the memory"
        return "none", words
    return "memory", f"decoded they are {needed:.1f} GB, at most a tenth of the memory"


def _cache_gb(config, facts):
    if config.pipeline.cache == "none":
        return 0.0, "nothing is kept"
    if config.pipeline.cache == "disk" or facts.memory_gb is None:
        return 10.0, "a round figure; more is of use where there is room"
    room = math.floor(10 * CACHE_SHARE * facts.memory_gb) / 10
    return room, f"a tenth of {facts.memory_gb:.0f} GB, for machines of many processes"


RULES = {
    "pipeline.workers": _workers,
    "pipeline.processes": _processes,
    "pipeline.cache": _cache,
    "pipeline.cache_gb": _cache_gb,
}
