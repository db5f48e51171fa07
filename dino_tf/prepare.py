"""Before a training: the data, the weights to start from, every automatic value."""

import contextlib
import dataclasses
import importlib.metadata

from dino_tf import checks, presets, recipe, recipe_reading
from dino_tf.assemble import inspect_network, photo_reduction
from dino_tf.config import Config
from dino_tf.datasets import open_source
from dino_tf.datasets.source import digest
from dino_tf.datasets.voc import find_voc
from dino_tf.datasets.voc_archives import get_voc
from dino_tf.distribute import Hardware, find_hardware
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import spread
from dino_tf.initial import Initial, fit_config, read_initial, recipe_of
from dino_tf.photo_headers import photo_header
from dino_tf.progress import ByteLine
from dino_tf.workers import Alone

# Names of photos that workers compare, so that a million of them cost no time.
COMPARED_IDS = 1000

LOOKED_AT = 16  # photos whose size is looked at


@dataclasses.dataclass
class Prepared:
    """What a training works with.

    Attributes:
        config: `Config` without anything automatic.
        reasons: Dotted keys of what was chosen, and why.
        source: Photos to train on.
        hardware: `Hardware` of this machine.
        test_source: Photos of the test split, or None.
        initial: `Initial` of `--init`, or None.
    """

    config: Config
    reasons: dict
    source: object
    hardware: Hardware
    test_source: object = None
    initial: Initial | None = None


def prepare(config, say=print, workers=None, num_tpu_cores=0):
    """Data and every automatic value.

    Args:
        config: `Config` as asked for.
        say: Function that shows text to the person.
        workers: `Workers`, None for this process alone. All resolve their settings
            by the same facts: the least that any of them has.
        num_tpu_cores: Cores of the TPU that the training runs on.

    Returns:
        `Prepared`.

    Raises:
        UserError: When the configuration, the data or the weights are wrong, or
            differ between workers.
    """
    workers = workers or Alone()
    require_same(workers, config.flatten() | _versions())
    hardware = find_hardware()
    machine = shared_facts(workers, hardware) | {"num_tpu_cores": num_tpu_cores}
    if config.preset is not None:
        config = presets.apply_preset(config, config.preset)
    # The others find what the chief has downloaded, where they share a disk.
    with workers.chief_first():
        config, why = choose_data(config, say)
        source = open_source(config.data, "train")
        test_source = open_source(config.data, "test")
    facts = recipe.Facts(num_photos=len(source), **machine)
    if config.preset is None:
        name, reason = recipe.choose_preset(facts, config.data)
        config, why["preset"] = presets.apply_preset(config, name), reason
    initial = None
    if config.init is not None:
        asked = "model.num_heads" in config.given
        heads = config.model.num_heads if asked else None
        with workers.chief_first():
            initial = read_initial(config.init, heads)
        config, followed = fit_config(config, initial)
        why |= followed
        facts = dataclasses.replace(facts, init_recipe=recipe_of(config.init))
    checks.check_values(config)
    facts = dataclasses.replace(facts, network=inspect_network(config))
    if recipe_reading.needs_photo_mb(config, facts):
        photo_mb = mean_photo_mb(source, photo_reduction(config))
        facts = dataclasses.replace(facts, photo_mb=photo_mb)
    config, reasons = recipe.resolve(config, facts)
    if workers.cluster is not None:
        require_same(workers, config.flatten() | _photos(source))
    reasons = {**why, **reasons}
    return Prepared(config, reasons, source, hardware, test_source, initial)


def shared_facts(workers, hardware):
    """Facts about every worker's machine, by name, as `recipe.Facts` takes them.

    Args:
        workers: `Workers`; all of them must call this.
        hardware: `Hardware` of this one.

    Returns:
        Dictionary of what the weakest of them has.

    Raises:
        UserError: When the numbers of GPUs differ, or two workers use the same GPUs.
    """
    every = workers.gather(dataclasses.asdict(hardware))
    facts = {name: _least([one[name] for one in every]) for name in every[0]}
    seen = facts.pop("gpus")
    if len(every) == 1:
        return facts
    cluster = workers.cluster
    counts = [one["num_gpus"] for one in every]
    if len(set(counts)) > 1:
        workers.end_together()
        words = ", ".join(f"{cluster.name(i)} {n}" for i, n in enumerate(counts))
        raise UserError(f"GPUs: got {words}; allowed: equally many on every worker")
    if seen is not None:
        _require_own_gpus(workers, [one["gpus"] for one in every])
    return facts | {"num_workers": len(every), "workers_reason": cluster.reason}


def _least(values):
    known = [tuple(v) if isinstance(v, list) else v for v in values if v is not None]
    if not known or isinstance(known[0], str):
        return known[0] if known else None
    return min(known)


def _require_own_gpus(workers, seen):
    cluster = workers.cluster
    for index, gpus in enumerate(seen):
        if gpus in seen[:index]:
            workers.end_together()
            both = f"{cluster.name(seen.index(gpus))} and {cluster.name(index)}"
            raise UserError(
                f"{both} use the same GPUs ({gpus}); allowed: GPUs of its own for each "
                "(CUDA_VISIBLE_DEVICES, or srun --ntasks-per-node=1 or "
                "--gpus-per-task)"
            )


def require_same(workers, facts):
    """Refuses workers that know other facts than the chief does.

    Args:
        workers: `Workers`; all of them must call this, and all refuse.
        facts: Dictionary from words to values.

    Raises:
        UserError: One line with every difference.
    """
    first, *others = workers.gather({key: str(value) for key, value in facts.items()})
    different = []
    for index, other in enumerate(others, 1):
        found = [
            f"{k} {other[k]}, not {first[k]}" for k in first if other[k] != first[k]
        ]
        if found:
            different.append(f"{workers.cluster.name(index)} has {'; '.join(found)}")
    if different:
        workers.end_together()
        raise UserError(
            f"{'. '.join(different)}. Allowed: the same command, data and versions on "
            "every worker"
        )


def _versions():
    names = ("dino-tf", "tensorflow", "keras")
    return {f"version of {name}": _version(name) for name in names}


def _photos(source):
    names = [source.id(i) for i in spread(len(source), COMPARED_IDS).tolist()]
    return {"number of photos": len(source), "digest of names": digest(names)[:12]}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of a source folder"


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
        with contextlib.suppress(OSError):
            photo = photo_header(source.image_bytes(int(index)))
            reduced = reduction and photo.kind == "JPEG"
            ratio = reduction(photo.height, photo.width) if reduced else 1
            ratio = max(ratio, photo.scale)
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
        get_voc(2007, "data", ByteLine("voc2007"))
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
