"""Checkpoints: all that a training needs to go on, written so that none is half."""

import json
import pathlib

import numpy as np

from dino_tf.errors import UserError, first_line
from dino_tf.run_folder import write_text


class Checkpoints:
    """Checkpoints `epoch-0003.weights.h5` with `epoch-0003.json` in one folder.

    The weights file holds student, teacher, center and optimizer; the JSON file,
    written last, holds the place in the training and the states of random layers.

    Args:
        folder: Where they lie; made when the first is saved.
        keep: Number of the latest ones kept, at least 1.
    """

    def __init__(self, folder, keep=2):
        self.folder, self.keep = pathlib.Path(folder), keep

    def save(self, model, epoch):
        """Saves `model` as it is after `epoch` epochs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        weights, state = self._files(epoch)
        # Keras insists on the ending, so the unfinished file differs in front.
        part = weights.with_name(f"part-{weights.name}")
        model.save_weights(part)
        part.replace(weights)
        text = json.dumps(
            {
                "epoch": epoch,
                "step": int(model.optimizer.iterations.numpy()),
                "seeds": [v.numpy().tolist() for v in _seed_states(model)],
            }
        )
        write_text(state, text)
        for old in self.epochs()[: -self.keep]:
            for file in reversed(self._files(old)):
                file.unlink(missing_ok=True)

    def epochs(self):
        """Epochs of the complete checkpoints, ascending."""
        names = self.folder.glob("epoch-*.json")
        numbers = sorted(int(p.stem.removeprefix("epoch-")) for p in names)
        return [n for n in numbers if self._files(n)[0].is_file()]

    def restore(self, model):
        """Puts the latest checkpoint into a built and compiled model.

        Returns:
            Epochs done, 0 when there is no checkpoint.

        Raises:
            UserError: When the file is damaged or does not fit the model.
        """
        epochs = self.epochs()
        if not epochs:
            return 0
        weights, state = self._files(epochs[-1])
        record = json.loads(state.read_text(encoding="utf-8"))
        try:
            model.load_weights(weights)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{weights} is damaged or of another network ({first_line(error)}); "
                "remove it and its .json file to go on from the checkpoint before it, "
                "or start another run with --run.name"
            ) from error
        # Keras only warns when the optimizer's part does not fit, and leaves it out.
        step = int(model.optimizer.iterations.numpy())
        if step != record["step"]:
            raise UserError(
                f"{weights} is of step {record['step']}, but its optimizer state does "
                "not fit this optimizer; start another run with --run.name"
            )
        states = _seed_states(model)
        for variable, value in zip(states, record["seeds"], strict=True):
            variable.assign(np.asarray(value, dtype="uint32"))
        return record["epoch"]

    def _files(self, epoch):
        stem = f"epoch-{epoch:04d}"
        return self.folder / f"{stem}.weights.h5", self.folder / f"{stem}.json"


def all_state(model):
    """Variables of a compiled model that a training goes on from."""
    counted = {id(v) for metric in model.metrics for v in metric.variables}
    own = [v for v in model.variables if id(v) not in counted]
    return own + list(model.optimizer.variables)


def _seed_states(model):
    """Counters of the random layers, which Keras leaves out of weights files."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]
