"""Numbers and pictures of a run for TensorBoard and Weights & Biases."""

import errno
import os
import uuid

import keras
import numpy as np
from PIL import Image

from dino_tf.errors import UserError, first_line

PICTURES, LONGEST_SIDE = 4, 1200  # of a look, and pixels of each


class TensorBoardPictures:
    """Writes sheets as images beside the scalars of TensorBoard.

    Args:
        folder: That of `keras.callbacks.TensorBoard`.
    """

    def __init__(self, folder):
        self.folder, self._writer = folder, None

    def __call__(self, sheets, epoch):
        """Adds some sheets (paths of PNG files) of the pictures after an epoch."""
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder / "pictures"))
        with self._writer.as_default():
            for sheet in sheets[:PICTURES]:
                # Keras counts epochs from 0.
                tf.summary.image(f"pictures/{sheet.stem}", read(sheet)[None], epoch - 1)
        self._writer.flush()

    def close(self, summary):
        """Closes the file; results are among the scalars already."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run on Weights & Biases, and what is sent there.

    Args:
        project: Name of the project; "entity/project" names another account's.
        folder: `RunFolder`; the run's identity lies in it, so that a training that
            goes on adds to the same run.
        config: Dictionary of all settings.

    Raises:
        UserError: The package is missing, or the service refuses.
    """

    def __init__(self, project, folder, config):
        self.wandb = import_wandb()
        file = folder.path / "wandb.id"
        if not file.is_file():
            file.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        entity, _, name = project.rpartition("/")
        try:
            self.run = self.wandb.init(
                project=name,
                entity=entity or None,
                name=folder.path.name,
                id=file.read_text(encoding="utf-8").strip(),
                resume="allow",
                dir=str(folder.path),
                config=config,
            )
        except Exception as error:  # its errors have no common class
            raise UserError(
                f"run.wandb: {project} cannot be begun ({first_line(error)}); allowed: "
                "a project of yours after `wandb login`, or WANDB_MODE=offline"
            ) from error

    def callback(self):
        """Keras callback that sends the numbers of every epoch."""
        return self.wandb.integration.keras.WandbMetricsLogger()

    def __call__(self, sheets, epoch):
        """Sends some sheets (paths of PNG files) of the pictures after an epoch."""
        images = {
            f"pictures/{sheet.stem}": self.wandb.Image(read(sheet))
            for sheet in sheets[:PICTURES]
        }
        self.run.log({**images, "epoch/epoch": epoch - 1})

    def close(self, summary):
        """Ends the run with a dictionary of its results."""
        self.run.summary.update(summary)
        self.run.finish()


def import_wandb():
    """The package `wandb` with its Keras part; one line where it is missing."""
    try:
        import wandb
        import wandb.integration.keras
    except ImportError as error:
        raise UserError(
            f"run.wandb needs: pip install wandb ({first_line(error)})"
        ) from error
    return wandb


def read(sheet):
    """uint8 (H, W, 3) of a PNG file, its longer side at most 1,200 pixels."""
    with Image.open(sheet) as image:
        image = image.convert("RGB")
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        return np.asarray(image)


def tensorboard_callback(folder):
    """`keras.callbacks.TensorBoard` of the scalars of every epoch."""
    return keras.callbacks.TensorBoard(folder, write_graph=False)


def tell_full_disk(error, folder):
    """Raises the `OSError` that an error of TensorFlow's stands for, if it does.

    Its writers tell of a full disk in a way of their own.

    Args:
        error: Any error.
        folder: Where TensorBoard's files lie.
    """
    words = os.strerror(errno.ENOSPC)
    if words in str(error) and not isinstance(error, OSError):
        raise OSError(errno.ENOSPC, words, str(folder)) from error
