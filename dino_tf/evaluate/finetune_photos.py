"""Labelled photos of a source, and how well a classifier names their classes."""

import dataclasses

import numpy as np

from dino_tf.analysis.neighbours import knn_accuracy, mean_average_precision
from dino_tf.errors import Diverged, UserError
from dino_tf.evaluate.features import compiled, passes
from dino_tf.evaluate.labelled import Labelled, multi_hot
from dino_tf.pipeline import BadImages, evaluation_dataset


@dataclasses.dataclass
class Photos(Labelled):
    """Labelled photos of a source.

    Attributes:
        source: `Source` of those that have a label.
        labels: Of each, the tuple of its classes.
        bad: `BadImages` of those that cannot be read.
    """

    bad: BadImages = dataclasses.field(default_factory=BadImages)

    def note(self, notes):
        """Notes how many photos could not be read."""
        if self.bad.count:
            first = sorted(self.bad.names)[0]
            notes.append(
                f"unreadable in {self.source.name!r}, left out: {self.bad.count:,}, "
                f"such as {first}"
            )


class Judge:
    """Measures a classifier on test photos, as often as it is called.

    Args:
        classifier: `Classifier`.
        photos: `Photos` that are judged.
        size: Side of the central square, in pixels.
        subject: `Subject` with pixel statistics and batch size.
    """

    def __init__(self, classifier, photos, size, subject):
        self.classifier, self.photos = classifier, photos
        self.size, self.subject = size, subject
        self._forward = compiled(lambda x: {"logits": classifier(x, training=False)})

    def __call__(self):
        """{"finetune/...": percentage}."""
        logits, indices = self._logits()
        if not np.isfinite(logits).all():
            raise Diverged(
                "fine-tuning gave logits that are no finite numbers. Try a lower --lr"
            )
        labels = [self.photos.labels[i] for i in indices]
        return judge_logits(logits, labels, self.classifier.multi_label)

    def _logits(self):
        subject = self.subject
        dataset = evaluation_dataset(
            self.photos.source,
            self.size,
            subject.batch_size,
            bad_images=self.photos.bad,
            mean=subject.mean,
            std=subject.std,
        )
        logits, indices = [], []
        for batch, found in passes(self._forward, dataset):
            logits.append(found["logits"])
            indices.append(batch["index"].numpy())
        if not indices:
            raise UserError(
                f"no photo of {self.photos.source.name!r} can be read; at least one "
                "is needed"
            )
        return np.concatenate(logits), np.concatenate(indices)


def judge_logits(logits, labels, multi_label):
    """Numbers of `evaluate_finetune`.

    Args:
        logits: (T, C).
        labels: Of each photo the tuple of its classes.
        multi_label: Whether a photo may have several.
    """
    if multi_label:
        targets = multi_hot(labels, logits.shape[1])
        return {"finetune/map": mean_average_precision(logits, targets)}
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    top1, top5 = knn_accuracy(ranked, np.array(labels)[:, 0])
    return {"finetune/top1": top1, "finetune/top5": top5}
