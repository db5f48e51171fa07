"""Before a training: the data, the weights to start from, every automatic value."""

import contextlib
import dataclasses
import io

from PIL import Image

from dino_tf import checks, presets, recipe
from dino_tf.assemble import inspect_network, photo_reduction
from dino_tf.config import Config
from dino_tf.datasets import open_source
from dino_tf.datasets.voc import find_voc
from dino_tf.datasets.voc_archives import get_voc
from dino_tf.distribute import find_hardware
from dino_tf.download import ProgressLine
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import spread
from dino_tf.initial import Initial, fit_config, read_initial

# Photos whose size is looked at, and what Pillow raises for those it cannot read.
LOOKED_AT = 16
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclasses.dataclass
class Prepared:
    """What a training works with.

    Attributes:
        config: `Config` without anything automatic.
        reasons: Dotted keys of what was chosen, and why.
        source: Photos to train on.
        test_source: Photos of the test split, or None.
        initial: `Initial` of `--init`, or None.
    """

    config: Config
    reasons: dict
    source: object
    test_source: object = None
    initial: Initial | None = None


def prepare(config, say=print):
    """Data and every automatic value.

    Returns:
        `Prepared`.

    Raises:
        UserError: When the configuration, the data or the weights are wrong.
    """
    hardware = find_hardware()
    if config.preset is not None:
        config = presets.apply_preset(config, config.preset)
    config, why = choose_data(config, say)
    source = open_source(config.data, "train")
    test_source = open_source(config.data, "test")
    facts = recipe.Facts(num_photos=len(source), **dataclasses.asdict(hardware))
    if config.preset is None:
        name, reason = recipe.choose_preset(facts, config.data)
        config, why["preset"] = presets.apply_preset(config, name), reason
    initial = None
    if config.init is not None:
        asked = "model.num_heads" in config.given
        initial = read_initial(config.init, config.model.num_heads if asked else None)
        config, followed = fit_config(config, initial)
        why |= followed
    checks.check_values(config)
    facts = dataclasses.replace(
        facts,
        network=inspect_network(config),
        photo_mb=mean_photo_mb(source, photo_reduction(config)),
    )
    config, reasons = recipe.resolve(config, facts)
    return Prepared(config, {**why, **reasons}, source, test_source, initial)


def mean_photo_mb(source, reduction=None):
    """Mean size in MB of some photos as the pipeline decodes them.

    Args:
        source: Photos.
        reduction: See `dino_tf.transforms.jpeg.try_decode_photo`.

    Returns:
        The mean, or None where no photo that was looked at can be read.
    """
    sizes = []
    for index in spread(len(source), LOOKED_AT):
        with contextlib.suppress(*UNREADABLE):
            data = source.image_bytes(int(index))
            with Image.open(io.BytesIO(data)) as photo:
                reduced = reduction and photo.format == "JPEG"
                ratio = reduction(photo.height, photo.width) if reduced else 1
                sizes.append(3e-6 * photo.width * photo.height / ratio**2)
    return sum(sizes) / len(sizes) if sizes else None


def choose_data(config, say=print):
    """Settles `data: auto`: VOC 2007 if here, else downloaded, else the scenes.

    Returns:
        Tuple (config with a data SPEC, {"data": reason} when it was automatic).
    """
    if config.data != "auto":
        return config, {}
    if find_voc(2007, "data"):
        return dataclasses.replace(config, data="voc2007"), {
            "data": "VOC 2007 lies in data/"
        }
    say("PASCAL VOC 2007 is not in data/: downloading it (about 0.9 GB) ...")
    try:
        get_voc(2007, "data", ProgressLine("voc2007"))
    except UserError as error:
        say(
            f"VOC 2007 could not be downloaded ({error}). Training goes on with "
            "`scenes`, the built-in generated photos, so that you can see everything "
            "work. To use your own photos: python main.py --data folder:PATH. To "
            "fetch VOC 2007 later: python main.py data get voc2007."
        )
        return dataclasses.replace(config, data="scenes"), {
            "data": "VOC 2007 is not here and could not be downloaded"
        }
    return dataclasses.replace(config, data="voc2007"), {
        "data": "VOC 2007, just downloaded"
    }
