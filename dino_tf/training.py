"""The main job: from a configuration to a trained model and its pictures."""

import contextlib
import dataclasses
import json
import logging
import time
from functools import partial

import keras

from dino_tf import callbacks as parts
from dino_tf import phases, recipe
from dino_tf.assemble import (
    build_model,
    estimate_seconds,
    new_dataset,
    untrained_backbone,
)
from dino_tf.best import Best
from dino_tf.boards import import_wandb, tell_full_disk
from dino_tf.checkpoint import Checkpoints, Place, all_state
from dino_tf.config import Config
from dino_tf.distribute import make_strategy, starting_sooner
from dino_tf.errors import Diverged, Interrupted, UserError
from dino_tf.keras_writer import save_keras
from dino_tf.launch import launched
from dino_tf.multi_worker import copy_from_chief, share_batches
from dino_tf.pipeline import BadImages, steps_per_epoch
from dino_tf.prepare import prepare
from dino_tf.progress import keras_verbosity
from dino_tf.report.write import Reporter
from dino_tf.run_folder import choose_folder, report, write_text
from dino_tf.run_lock import only_writer
from dino_tf.run_measures import RunMeasures
from dino_tf.run_pictures import RunPictures
from dino_tf.run_watch import RunWatch
from dino_tf.stalls import TimedSource, stalls_end
from dino_tf.stopping import StopRequest
from dino_tf.watch import Health
from dino_tf.workload import say_duration

BAD_IMAGES_EVERY = 50  # steps between two looks at the unreadable photos


@dataclasses.dataclass
class Run:
    """What `train` returns.

    Attributes:
        path: The run folder.
        config: The resolved configuration.
        model: The trained `DINO`.
        summary: Contents of `summary.json`.
    """

    path: object
    config: Config
    model: keras.Model
    summary: dict


def train(config=None, say=print):
    """Trains DINO by `config` and writes a run folder.

    Args:
        config: `Config`; None is the default one, which takes VOC 2007 where it can
            be had and the built-in scenes where not.
        say: Function that shows text to the person.

    Returns:
        `Run`.

    Raises:
        UserError: When the configuration or the data is wrong.
        Diverged: When the loss is no longer finite.
    """
    began = time.perf_counter()
    config = config or Config()
    with launched(config, say) as launch:
        workers = launch.workers
        say = say if workers.is_chief else _say_nothing
        prepared = prepare(config, say, workers, launch.num_tpu_cores)
        strategy = launch.strategy or make_strategy(prepared.config.run.strategy)
        return _train(prepared, say, workers, strategy, began)


def _train(prepared, say, workers, strategy, began):
    config = prepared.config
    if config.run.wandb is not None and workers.is_chief:
        import_wandb()
    with _open_folder(prepared, workers, say) as (folder, resumed, logger):
        say(recipe.describe(config, prepared.reasons))
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.run.precision)
        try:
            job = Job(prepared, folder, logger, say, workers, strategy)
            with starting_sooner():
                return job.run(began, resumed)
        except (Diverged, Interrupted, OSError, UserError) as error:
            with contextlib.suppress(OSError):
                logger.error("%s: %s", type(error).__name__, error)
            raise
        finally:
            keras.config.set_dtype_policy(previous)


@contextlib.contextmanager
def _open_folder(prepared, workers, say):
    """(run folder, whether an earlier start is continued, logger); the chief's alone.

    The others write nothing, wherever their disks are.
    """
    if not workers.is_chief:
        yield None, False, logging.getLogger("dino_tf.silent")
        return
    folder, resumed = choose_folder(prepared.config, say)
    with only_writer(folder.path, say):
        folder.clear_unfinished()
        text = recipe.to_yaml(prepared.config, prepared.reasons)
        write_text(folder.config, text)
        logger = folder.open_log()
        try:
            yield folder, resumed, logger
        finally:
            for handler in list(logger.handlers):
                handler.close()
                logger.removeHandler(handler)


def _say_nothing(text):
    """Takes the place of `say` on workers that are not the chief."""


class Job:
    """One training: what `train` holds while it runs.

    Under several workers each has its own: all of them train, and only the chief has a
    folder, evaluates and draws.
    """

    def __init__(self, prepared, folder, logger, say, workers, strategy):
        self.workers, self.strategy = workers, strategy
        self.config, self.initial = prepared.config, prepared.initial
        self.source = TimedSource(prepared.source)
        self.test_source = prepared.test_source
        self.hardware = prepared.hardware
        self.folder, self.logger, self.say = folder, logger, say
        batch_size = self.config.pipeline.batch_size
        self.steps = steps_per_epoch(len(self.source), batch_size)
        self.bad_images, self.told_bad = BadImages(), 0
        self.watch, self.stop = None, StopRequest()
        self.measures = RunMeasures(self.config, self.source, self.test_source)
        watched = self.test_source or self.source
        self.pictures = RunPictures(self.config, watched, folder, logger)
        self.reporter = Reporter(folder, self.config, self.source, watched, logger, say)

    def run(self, began, resumed):
        """Trains, evaluates, draws; returns `Run`."""
        config = self.config
        keras.utils.set_random_seed(config.run.seed)
        chief = self.workers.is_chief
        with self.strategy.scope():
            model = build_model(config, self.steps)
        # Outside of the scope: Keras makes variables while it loads others, and each
        # one made within it waits for all workers.
        place = self._begin(model, resumed) if chief else Place()
        if self.workers.cluster is not None:
            # Within epochs nothing is saved then.
            place = Place(self.workers.gather(place.epoch)[0])
            with self.strategy.scope():
                copy_from_chief(all_state(model))
        if chief:
            self._announce(place, resumed, model.student_backbone)
            self.folder.cut_metrics(place.epoch, self.say)
        self._fit(model, place)
        if chief:
            return self._finish(model, began)
        return Run(None, config, model, {})

    def _checkpoints(self):
        run, folder = self.config.run, self.folder.checkpoints
        return Checkpoints(folder, run.keep_checkpoints, run.keep_every, self.say)

    def _begin(self, model, resumed):
        """Puts the weights to start from into the model; `Place` that it is at."""
        place = self._checkpoints().restore(model) if resumed else Place()
        if self.initial and place == Place():
            self.initial.put_into(model)
            self.say(self.initial.describe())
        for name, reason in place.beside.get("unreadable", {}).items():
            self.bad_images.add(name, reason)
        self.told_bad = self.bad_images.count
        return place

    def _announce(self, place, resumed, backbone):
        config = self.config
        if resumed:
            self.say(f"continuing {self.folder.path} after {place}")
        steps = self.steps * (config.run.epochs - place.epoch) - place.step
        large = min(steps, self.steps * config.run.high_res_epochs)
        # Parts of one CPU make no more of it.
        several = config.run.strategy != "none"
        devices = max(self.hardware.num_gpus, 1) if several else 1
        devices *= len(self.workers.cluster or [self])
        seconds, words = estimate_seconds(config, steps, backbone, devices, large)
        photos = f"{len(self.source):,} photos, {self.steps} steps an epoch"
        self.say(
            f"run folder: {self.folder.path}\n{photos}, {config.run.epochs} epochs"
            f"{phases.words(config)}: "
            f"about {say_duration(seconds)} of training, by {words}"
        )
        if "attention" not in backbone.result_names:
            self.say(
                f"{config.model.arch} has no attention: its pictures show the "
                f"principal components of its features, in {self.folder.features}"
            )
        self.logger.info("start after %s: %s; data %s", place, photos, config.data)

    def _batches(self, place):
        """Batches from a `Place` on; of several workers each makes its part."""
        steps = place.epoch * self.steps + place.step
        make = partial(
            new_dataset,
            self.config,
            self.source,
            self.bad_images,
            steps * self.config.pipeline.batch_size,
            epochs=place.epoch,
            replicas=self.strategy.num_replicas_in_sync,
        )
        if self.workers.cluster is None:
            return make()
        with self.strategy.scope():
            return share_batches(lambda part: make(part=part))

    def _fit(self, model, place):
        epochs = self.config.run.epochs
        if place.epoch >= epochs:
            return
        callbacks = self._callbacks(place)
        alone = self.workers.cluster is None
        listening = self.stop.listening(self.say) if alone else contextlib.nullcontext()
        patience = self.config.pipeline.stall_seconds
        try:
            with listening, stalls_end(self.source, patience, self.logger.error):
                if place.step:
                    # The rest of an epoch is an epoch of fewer steps to Keras.
                    self._fit_epochs(model, place, place.epoch + 1, callbacks)
                    place = Place(place.epoch + 1)
                larger = phases.large_from(self.config)
                self._fit_epochs(model, place, larger, callbacks)
                # Or Keras would trace one step for crops of all sizes.
                model.train_function = None
                place = Place(max(place.epoch, larger))
                self._fit_epochs(model, place, epochs, callbacks)
        except Diverged:
            if self.watch:
                self.watch.diverged()
            raise
        except Interrupted:
            raise
        except Exception as error:
            # What the pipeline refuses arrives as an error of TensorFlow's.
            self.tell_bad_images()
            if self.folder:
                tell_full_disk(error, self.folder.tensorboard)
            raise

    def _fit_epochs(self, model, place, epochs, callbacks):
        if place.epoch >= epochs:
            return
        try:
            model.fit(
                self._batches(place),
                epochs=epochs,
                initial_epoch=place.epoch,
                steps_per_epoch=self.steps - place.step,
                shuffle=False,
                callbacks=callbacks,
                verbose=keras_verbosity() if self.workers.is_chief else 0,
            )
        except BaseException:
            # The progress line is not at its end.
            self.say("")
            raise

    def _callbacks(self, place):
        """What happens beside the steps; what the chief does alone sums nothing up."""
        listed = [
            parts.StopWhenNotFinite(),
            parts.EveryBatches(BAD_IMAGES_EVERY, self.tell_bad_images),
            parts.Every(1, self._share_bad_images),
        ]
        if not self.workers.is_chief:
            return [*listed, Health(say=None)]
        self.watch = RunWatch(self, place)
        return listed + self.watch.callbacks(self._checkpoints())

    def tell_bad_images(self):
        """Names the newly found ones in the log; stops when there are too many."""
        # The names keep the order in which they were found.
        found = list(self.bad_images.names.items())
        for name, reason in found[self.told_bad :]:
            self.logger.warning("unreadable, passed over: %s (%s)", name, reason)
        self.told_bad = len(found)
        self.bad_images.check(len(self.source), self.config.pipeline.max_bad_share)

    def _share_bad_images(self, epoch, model):
        """Each worker sees a part of the photos; the limit is on those of all."""
        for names in self.workers.gather(self.bad_images.names):
            for name, reason in names.items():
                self.bad_images.add(name, reason)
        self.tell_bad_images()

    def _finish(self, model, began):
        config, backbone = self.config, model.teacher_backbone
        save_keras(backbone, self.folder.backbone)
        sheets = self.pictures.draw(backbone)
        trained = self.measures.knn(backbone)
        keras.utils.set_random_seed(config.run.seed)
        start, floor = "initial" if self.initial else "untrained", {}
        if trained:
            before = self.initial and self.initial.teacher
            floor = self.measures.knn(before or untrained_backbone(config, self.source))
        records = self.folder.read_metrics()
        summary = {
            "data": config.data,
            "photos": len(self.source),
            "epochs": config.run.epochs,
            "loss": records[-1].get("loss") if records else None,
            "verdict": records[-1].get("verdict") if records else None,
            "best": Best(self.folder.best).facts,
            **trained,
            **{f"{start}/{k}": v for k, v in floor.items()},
            "seconds": round(time.perf_counter() - began, 1),
            "training_seconds": round(sum(r["seconds"] for r in records), 1),
            "unreadable": self.bad_images.count,
        }
        write_text(self.folder.summary, json.dumps(summary, indent=2) + "\n")
        self.logger.info("done: %s", summary)
        self.reporter.finish(backbone)
        if self.watch:
            self.watch.close(summary)
        self.say(report(self.folder, summary, sheets, self.pictures.kind(backbone)[1]))
        return Run(self.folder.path, config, model, summary)
