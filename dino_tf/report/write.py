"""Writing `report.html`: of any run folder, or again and again while a run trains."""

import importlib.util
import pathlib
import time

import keras
from threadpoolctl import threadpool_limits

from dino_tf import settings
from dino_tf.assemble import build_model, new_backbone, new_heads
from dino_tf.checkpoint import Checkpoints, Place
from dino_tf.datasets import open_source
from dino_tf.errors import UserError, first_line, plain
from dino_tf.initial import LARGEST_SIZE
from dino_tf.models.backbones import like
from dino_tf.models.keras_files import count_weights
from dino_tf.models.loading import load_backbone
from dino_tf.pipeline import steps_per_epoch
from dino_tf.report import run_files
from dino_tf.report.network import Album, Network, views
from dino_tf.report.page import page
from dino_tf.report.run_records import read_text
from dino_tf.run_folder import RunFolder, write_text

# While a run trains, files and network may each take this share of the time that has
# passed; before they were measured, they are taken to need so many seconds.
SHARE, FIRST_FILES, FIRST_NETWORK = 0.01, 1.0, 5.0
METHODS = ("pca", "tsne")
# A stranger's config.yaml may name any size.
MOST = {
    "views.global_size": 4096,
    "views.local_size": 4096,
    "views.num_local": 100,
    "run.attention_size": 4096,
    "run.eval_size": LARGEST_SIZE,
    "run.attention_photos": 100_000,
    "model.image_size": 8192,
    "model.embed_dim": 8192,
    "model.depth": 200,
    "head.num_layers": 20,
}


def write_report(path, say=print, data=None):
    """Writes `report.html` of a run: finished, running, or of an older version.

    What the run folder does not have is left out, and the page says so.

    Args:
        path: Run folder.
        say: Function that shows a line to the person.
        data: SPEC of photos in the place of those that the run names; "none" opens
            none, and with them leaves out what the network makes of them.

    Returns:
        `pathlib.Path` of the page.

    Raises:
        UserError: When there is no run folder.
    """
    path = pathlib.Path(path)
    if not any((path / name).is_file() for name in ("config.yaml", "metrics.jsonl")):
        raise UserError(
            f"report: got {path}, allowed: a run folder, with config.yaml or "
            "metrics.jsonl"
        )
    folder, notes = RunFolder(path), []
    config = run_files.read_config(folder, notes)
    if config is not None and data is not None:
        config.data = data
    shown = config and _shows_photos(config, notes)
    source, test_source = _sources(config, notes) if shown else (None, None)
    parts = {}
    if source is not None:
        backbone, label = _backbone(folder, config, source, notes)
        shown = source if test_source is None else test_source
        album = Album(shown, config.run.attention_photos)
        methods = METHODS
        if importlib.util.find_spec("umap"):
            methods = (*METHODS, "umap")
        if backbone is not None:
            network = Network(backbone, album, config)
            parts = _look(network, methods, notes) | {"network": label}
        parts |= views(source, config)
    _write(folder, config, parts, notes)
    for line in notes:
        say(plain(f"not in the report: {line}"))
    size = folder.report.stat().st_size / 1e6
    say(f"written: {folder.report} ({size:.1f} MB)")
    return folder.report


class Reporter:
    """Keeps the report of a run up to date while it trains; never stops it.

    Args:
        folder: `RunFolder`.
        config: Resolved `Config`.
        source: Photos to train on.
        watched: Photos of which some are shown.
        logger: Logger that takes what goes wrong.
        say: Function that shows a line to the person.
        clock: Function that returns seconds.
    """

    def __init__(
        self, folder, config, source, watched, logger, say, clock=time.perf_counter
    ):
        self.folder, self.config = folder, config
        self.source, self.watched = source, watched
        self.logger, self.say, self.clock = logger, say, clock
        self.began, self.network, self.parts, self.notes = clock(), None, {}, []
        self.kept = {}
        self.spent = {"files": 0.0, "network": 0.0}
        self.last = {"files": FIRST_FILES, "network": FIRST_NETWORK}

    def update(self, epoch, model):
        """Writes the page after an epoch, with all that there is time for.

        Args:
            epoch: Epochs done.
            model: The `DINO`.
        """
        if self._affords("network"):
            self._safely(self._look_at, model.teacher_backbone, f"epoch {epoch}")
        if self._affords("files"):
            self._safely(self._write)

    def finish(self, backbone):
        """Writes the page of the finished run.

        Args:
            backbone: The trained network.
        """
        self._safely(self._look_at, backbone, "the end of the run")
        self._safely(self._write)

    def _affords(self, what):
        passed = self.clock() - self.began
        return self.spent[what] + self.last[what] <= SHARE * passed

    def _timed(self, what, began):
        self.last[what] = self.clock() - began
        self.spent[what] += self.last[what]

    def _look_at(self, backbone, label):
        began, notes = self.clock(), []
        if self.network is None or self.network.backbone is not backbone:
            photos = self.network and self.network.album
            album = photos or Album(self.watched, self.config.run.attention_photos)
            self.network = Network(backbone, album, self.config)
        found = views(self.source, self.config) | {"network": label}
        self.parts = found | _look(self.network, METHODS, notes)
        self.notes = notes
        self._timed("network", began)

    def _write(self):
        began = self.clock()
        _write(self.folder, self.config, self.parts, list(self.notes), self.kept)
        self._timed("files", began)

    def _safely(self, act, *arguments):
        """A picture of a training is not worth the training."""
        try:
            act(*arguments)
        except Exception as error:
            self.logger.exception("the report could not be written")
            self.say(f"the report could not be written: {first_line(error)}")


def _look(network, methods, notes):
    """All parts that a network gives; what one of them refuses is noted."""
    found = {}
    for part, arguments in (
        (network.patches, ()),
        (network.map, (methods,)),
        (network.boxes, ()),
    ):
        try:
            # Views may be drawn meanwhile: on busy cores threads that wait for each
            # other take many times as long as one.
            with threadpool_limits(1):
                found |= part(*arguments, notes)
        except UserError as error:
            notes.append(f"{part.__name__}: {error}")
    return found


def _sources(config, notes):
    """(training photos, test photos or None); (None, None) where they are gone."""
    try:
        return open_source(config.data, "train"), open_source(config.data, "test")
    except UserError as error:
        notes.append(f"nothing that needs the photos: {error}")
        return None, None


def _backbone(folder, config, source, notes):
    """(backbone in float32, what it is) of a run; (None, "") where there is none."""
    try:
        if folder.backbone.is_file():
            return _in_float32(load_backbone(folder.path)), "the end of the run"
        _check_checkpoints(folder, config)
        steps = steps_per_epoch(len(source), config.pipeline.batch_size)
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.run.precision)
        try:
            model = build_model(config, steps)
            place = Checkpoints(folder.checkpoints, say=notes.append).restore(model)
        finally:
            keras.config.set_dtype_policy(previous)
        if place != Place():
            return _in_float32(model.teacher_backbone), str(place)
        notes.append("nothing that needs the network: no checkpoint is there yet")
    # An older configuration may lack what a newer network asks for, a running
    # training may remove the checkpoint that is read, and a stranger's hold anything.
    except Exception as error:
        notes.append(f"nothing that needs the network: {first_line(error)}")
    return None, ""


def _shows_photos(config, notes):
    """Whether a report opens the photos; not at sizes that would fill the memory."""
    if config.data == "none":
        notes.append("nothing that needs the photos: --data is none")
        return False
    for key, most in MOST.items():
        value = settings.value_of(config, key)
        if value is not None and not 0 <= value <= most:
            notes.append(f"nothing that needs the photos: {key} is {value}")
            return False
    return True


def _check_checkpoints(folder, config):
    """Refuses a network that is larger than the checkpoints, or not on this disk."""
    sizes = [file.stat().st_size for file in folder.checkpoints.glob("*.safetensors")]
    if config.model.arch.startswith("keras_hub:"):
        raise UserError(f"{config.model.arch} would have to be fetched")

    def head(number):
        made = new_heads(config)[number] or keras.layers.Identity()
        made.build((None, 1))
        return made

    parts = lambda: new_backbone(config), lambda: head(0), lambda: head(1)
    numbers = sum(map(count_weights, parts))
    # No number takes less than a byte.
    if sizes and numbers > max(sizes):
        raise UserError("config.yaml has a larger network than the checkpoints")


def _in_float32(backbone):
    if backbone.dtype_policy.name == "float32":
        return backbone
    exact = like(backbone, dtype="float32")
    exact.set_weights(backbone.get_weights())
    return exact


def _write(folder, config, parts, notes, kept=None):
    found = run_files.progress(folder, config)
    text = read_text(folder.config)
    data = {
        "title": plain(folder.path.resolve().name),
        "state": _state(found, parts.get("network")),
        "attention": run_files.watched(folder, config, kept),
        "evaluations": run_files.evaluations(folder, notes),
        "configuration": run_files.configuration(text),
        "notes": [plain(note) for note in notes],
        **{key: found[key] for key in ("facts", "health", "charts")},
        **parts,
    }
    write_text(folder.report, page(data))


def _state(found, network):
    done, epochs = found["done"], found["epochs"]
    of = f" of {epochs}" if epochs else ""
    words = f"Finished after {done} epoch{'' if done == 1 else 's'}."
    if not found["finished"]:
        words = (
            f"Not finished: {done}{of} epochs are done. While it trains this page is "
            "written anew from time to time; reload it."
        )
    if network:
        words += f" Features are those of the network at {network}."
    written = time.strftime("%Y-%m-%d %H:%M")
    return f"{words} Written {written}."
