"""Which photos are looked at while a run goes on, by the data; a part of `recipe`."""

import math

FEWEST, MOST = 128, 512  # photos, for an effective rank that means something
# A forward pass of one photo is about a tenth of a training step's work for it, so
# that a tenth of the photos costs a hundredth of an epoch, and at most three with the
# two views of 128 of them.
SHARE = 10


def _health_photos(config, facts):
    share = facts.num_photos // SHARE
    count = min(max(share, FEWEST), MOST, facts.num_photos)
    if count == share:
        return count, f"a tenth of {facts.num_photos:,} photos, little of the time"
    words = "as few as tell" if count < MOST else "enough to tell"
    return count, f"{words} an effective rank"


def _health_every(config, facts):
    count = config.run.health_photos
    every = max(math.ceil(SHARE * count / facts.num_photos), 1)
    # A short run is to be judged as well.
    every = min(every, max(config.run.epochs // 10, 1))
    return every, f"{count} of {facts.num_photos:,} photos cost little enough so"


def _attention_every(config, facts):
    return max(config.run.epochs // 10, 1), "about ten times in a run"


def _report_every(config, facts):
    return config.run.attention_every, "with the attention pictures"


RULES = {
    "run.attention_every": _attention_every,
    "run.report_every": _report_every,
    "run.health_photos": _health_photos,
    "run.health_every": _health_every,
}
