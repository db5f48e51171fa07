"""What a run looks at after its epochs: health, best network, pictures, boards."""

import keras

from dino_tf import callbacks as parts
from dino_tf.best import Best
from dino_tf.boards import TensorBoardPictures, WeightsAndBiases, tensorboard_callback
from dino_tf.health import advise, line, words
from dino_tf.saving import Saving
from dino_tf.watch import Health


class RunWatch:
    """The chief's view on a training.

    Args:
        job: `training.Job`.
        place: `Place` that the training goes on from.
    """

    def __init__(self, job, place):
        self.job, self.config, run = job, job.config, job.config.run
        self.place, self.settings = place, self.config.flatten()
        records = job.folder.read_metrics()
        self.records = [r for r in records if r["epoch"] <= place.epoch]
        self.health = Health(
            job.measures.watched(),
            run.health_every,
            run.attention_every,
            self.settings,
            self.records,
            say=None,
            norm=place.beside.get("weight_norm"),
        )
        self.told = self.records[-1].get("verdict") if self.records else None
        self.best, self.senders = Best(job.folder.best), []

    def callbacks(self, checkpoints):
        """Keras callbacks of the chief, in their order.

        Args:
            checkpoints: `Checkpoints` of the run.
        """
        run, job = self.config.run, self.job
        record = parts.EpochRecord(
            job.folder,
            job.logger,
            run.epochs,
            self.measure,
            job.say,
            self.finish,
            self.place.beside.get("seconds", 0.0),
        )
        beside = {
            "seconds": record.seconds,
            "weight_norm": lambda: self.health.norm,
            "unreadable": lambda: dict(job.bad_images.names),
        }
        # Several workers would have to agree on the step.
        minutes = run.save_minutes if job.workers.cluster is None else 0
        saving = (self.place, run.epochs, run.save_every, minutes, job.stop, beside)
        return [
            parts.Throughput(self.config.pipeline.batch_size),
            # Here, so that its line ends before others are written, and does not show
            # all the numbers that come.
            keras.callbacks.ProgbarLogger(),
            self.health,
            record,
            parts.Every(run.attention_every, self.draw),
            *self.boards(),
            parts.Every(run.report_every, job.reporter.update),
            Saving(checkpoints, *saving),
        ]

    def measure(self, epoch, model):
        """Numbers and verdict of an epoch beside those in the logs."""
        job = self.job
        job.tell_bad_images()
        return {
            **job.measures.knn_in_training(epoch, model.teacher_backbone),
            "verdict": self.health.verdict,
            "advice": self.health.advice,
        }

    def finish(self, record):
        """Says how an epoch went, and keeps its network where it is the best."""
        self.job.say(line(record))
        if record["advice"] and record["verdict"] != self.told:
            self.job.say(words(record["advice"]))
        self.told = record["verdict"]
        if self.best.offer(self.health.model.teacher_backbone, record):
            self.job.logger.info("best so far: %s", self.best.facts)

    def diverged(self):
        """Writes the epoch in which the loss was no longer finite, and what helps."""
        job, advice = self.job, advise("diverging", self.settings)
        records = job.folder.read_metrics()
        epoch = records[-1]["epoch"] + 1 if records else 1
        record = {"epoch": epoch, "verdict": "diverging", "advice": advice}
        job.folder.add_metrics(record)
        job.say(words(advice))

    def draw(self, epoch, model):
        """Sheets of an epoch, in the run's folder and on the boards."""
        sheets = self.job.pictures.draw_epoch(epoch, model)
        for send in self.senders:
            send(sheets, epoch)

    def boards(self):
        """Keras callbacks of TensorBoard and Weights & Biases, where asked for."""
        run, folder, listed = self.config.run, self.job.folder, []
        if run.tensorboard:
            listed.append(tensorboard_callback(folder.tensorboard))
            self.senders.append(TensorBoardPictures(folder.tensorboard))
        if run.wandb is not None:
            sender = WeightsAndBiases(run.wandb, folder, self.config.to_dict())
            listed.append(sender.callback())
            self.senders.append(sender)
        return listed

    def close(self, summary):
        """Ends what the boards hold open."""
        for sender in self.senders:
            sender.close(summary)
