"""Fine-tuning: how well do all weights learn a task from where they are?

A copy of the network gets a linear layer on its features (CLS of the last block, where
it has CLS) and is trained as a whole. With fresh weights the same function trains from
scratch: same photos in the same order, same crops, same linear layer at the start.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from dino_tf.distribute import make_strategy
from dino_tf.errors import UserError
from dino_tf.evaluate.finetune_options import resolve
from dino_tf.evaluate.finetune_photos import Judge, Photos
from dino_tf.evaluate.finetune_step import FineTuning, Watch
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.layer_rates import rate_shares
from dino_tf.models.backbones import like
from dino_tf.models.classifier import Classifier
from dino_tf.optimizers import AdamW
from dino_tf.pipeline import labelled_dataset, steps_per_epoch
from dino_tf.schedules import WarmupCosine
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD
from dino_tf.transforms.mixing import Mixing
from dino_tf.transforms.random_crop import RandomCrop
from dino_tf.visualize.curves import learning_curve
from dino_tf.visualize.draw import save_png

MEASURED = 10  # times that the test photos are looked at, at most


def evaluate_finetune(backbone, train_source, test_source, **kwargs):
    """Test accuracy of a copy of a network that is trained as a whole.

    Args:
        backbone: (B, H, W, 3) normalised float -> (B, D); it is not changed.
        train_source: labelled photos to train on.
        test_source: labelled photos that are judged, of the same classes.
        **kwargs: as for `finetune`.

    Returns:
        Percentages. Where every photo has exactly one label: `finetune/top1` and
        `finetune/top5` ("five" is the number of classes, if smaller). Else the mean
        average precision of the classes: `finetune/map`.

    Raises:
        UserError: no labels, fewer than two classes, different classes in the two
            sources, no readable photo, or a value that is not allowed.
        Diverged: the loss is no longer finite.

    Reference:
        Caron et al. 2021, arXiv 2104.14294, table 6, after Touvron et al. 2021,
        arXiv 2012.12877.
    """
    subject, options = _subject(backbone, kwargs)
    return _finetune(subject, train_source, test_source, **options).numbers


def finetune(backbone, train_source, test_source=None, **kwargs):
    """Trains a copy of a network with a linear layer on its features, all weights.

    Args:
        backbone: (B, H, W, 3) normalised float -> (B, D); it is not changed.
        train_source: labelled photos; those without a label are left out.
        test_source: labelled photos to measure on about ten times, or None.
        **kwargs: `mean` and `std` of red, green, blue in 0 to 1, as in training;
            `strategy`: "none", "mirrored", or "auto", which takes all GPUs; `preset`:
            a name of `dino_tf.evaluate.finetune_options.PRESETS`; and the fields of
            `Settings` there. What is None or missing is the preset's, else automatic.

    Returns:
        Tuple (`dino_tf.models.classifier.Classifier`, list of {"epoch", "loss"; for
        photos of one label "accuracy" on the training crops, in percent; where
        measured the numbers of `evaluate_finetune`}).

    Raises:
        UserError: as for `evaluate_finetune`.
        Diverged: the loss is no longer finite.
    """
    subject, options = _subject(backbone, kwargs)
    tuned = _finetune(subject, train_source, test_source, **options)
    return tuned.classifier, tuned.history


def lacks(subject, data):
    """What fine-tuning needs and does not find, in words; None is nothing."""
    words = "labelled photos of two or more classes"
    sources = data.labelled()
    if sources is None:
        return words
    train, first = sources[0], None
    for i in range(len(train)):
        found = train.labels(i)
        if len(found) > 1 or (found and first not in (None, found)):
            return None
        first = found or first
    return words


def run_task(
    subject,
    data,
    preset=None,
    size=None,
    epochs=None,
    batch_size=None,
    lr=None,
    layer_decay=None,
    weight_decay=None,
    warmup_epochs=None,
    mixup=None,
    cutmix=None,
    label_smoothing=None,
    drop_path=None,
    jitter=None,
    smallest_crop=None,
    clip_norm=None,
    seed=0,
):
    """`evaluate_finetune` as a task: see `dino_tf.tasks.Task`."""
    given = {k: v for k, v in locals().items() if k not in ("subject", "data")}
    tuned = _finetune(subject, *data.labelled(), **given)
    details = {
        "settings": dataclasses.asdict(tuned.settings),
        "peak_learning_rate": tuned.settings.peak_rate,
        "classes": list(tuned.classifier.class_names),
        "multi_label": tuned.classifier.multi_label,
        "history": tuned.history,
    }
    return Outcome(tuned.numbers, details, tuned.write, tuned.notes)


@dataclasses.dataclass
class Tuned:
    """What a fine-tuning gave.

    Attributes:
        classifier: The trained `Classifier`.
        settings: `dino_tf.evaluate.finetune_options.Settings`.
        history: Numbers of every epoch; see `finetune`.
        numbers: Of the last epoch on the test photos; empty without any.
        notes: Lines for a person.
    """

    classifier: Classifier
    settings: object
    history: list
    numbers: dict
    notes: list

    def write(self, folder):
        """Learning curve and network as files of a folder; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        curve, network = folder / "learning_curve.png", folder / "finetuned.keras"
        save_png(learning_curve(self.history), curve)
        self.classifier.save(network)
        return [curve, network]


def copy_of(backbone, drop_path=0.0, seed=0):
    """A new network of the same form and weights, all of which can be trained.

    Args:
        backbone: Any backbone.
        drop_path: Drop path of the copy, for networks that have it.
        seed: Seed of the drop path.
    """
    copy = like(backbone, drop_path_rate=drop_path, seed=seed)
    copy.set_weights(backbone.get_weights())
    copy.trainable = True
    return copy


def _subject(backbone, kwargs):
    kept = dict(kwargs)
    mean, std = kept.pop("mean", IMAGENET_MEAN), kept.pop("std", IMAGENET_STD)
    return Subject(backbone, mean, std), kept


def _finetune(subject, train, test, preset=None, strategy="auto", **given):
    notes = []
    train, test = _labelled(train, test, notes)
    gpus = len(tf.config.list_physical_devices("GPU"))
    settings, told = resolve(
        subject.backbone, len(train.source), given, preset, gpus > 0
    )
    if strategy == "auto":
        strategy = "mirrored" if gpus > 1 else "none"
    strategy = make_strategy(strategy)
    _check_replicas(settings, strategy.num_replicas_in_sync)
    with strategy.scope():
        classifier = Classifier(
            copy_of(subject.backbone, settings.drop_path, settings.seed),
            train.source.class_names,
            not all(photos.single for photos in (train, test) if photos),
            settings.size,
            subject.mean,
            subject.std,
            settings.seed,
        )
        model = _compiled(classifier, settings, len(train.source))
    history = _fit(model, train, test, settings, subject)
    for photos in filter(None, (train, test)):
        photos.note(notes)
    numbers = {k: v for k, v in history[-1].items() if k.startswith("finetune/")}
    return Tuned(classifier, settings, history, numbers, [*told, *notes])


def _labelled(train, test, notes):
    """`Photos` of both sources, of the second where it is not None."""
    if test is not None and tuple(train.class_names) != tuple(test.class_names):
        raise UserError(
            f"fine-tuning received the classes of {train.name!r} and of "
            f"{test.name!r}; allowed: two sources of the same classes"
        )
    train = Photos.of(train, notes)
    shown = set().union(*train.labels)
    if len(shown) < 2:
        only = train.source.class_names[min(shown)]
        raise UserError(
            f"all training photos are {only!r}; allowed: two or more classes"
        )
    return train, None if test is None else Photos.of(test, notes)


def _check_replicas(settings, replicas):
    if settings.batch_size % replicas:
        raise UserError(
            f"--batch-size: got {settings.batch_size}, allowed: multiples of "
            f"{replicas}, the devices that share it"
        )


def _compiled(classifier, settings, photos):
    """`FineTuning` with its optimizer, ready for `fit`."""
    steps = steps_per_epoch(photos, settings.batch_size)
    rate = WarmupCosine(
        settings.peak_rate,
        0.0,
        settings.epochs * steps,
        round(settings.warmup_epochs * steps),
    )
    shares = rate_shares(classifier, classifier.backbone, settings.layer_decay)
    model = FineTuning(classifier, settings.clip_norm)
    model.compile(AdamW(rate, settings.weight_decay, shares=shares))
    return model


def _fit(model, train, test, settings, subject):
    """Trains, measures now and then; returns the history."""
    steps = steps_per_epoch(len(train.source), settings.batch_size)
    photos = settings.epochs * steps * settings.batch_size
    bar = subject.progress(photos, f"fine-tuning on {train.source.name}")
    judge = test and Judge(model.classifier, test, settings.size, subject)
    every = -(-settings.epochs // MEASURED)

    def measure(done):
        due = done % every == 0 or done == settings.epochs
        return judge() if judge and due else {}

    watch = Watch(settings.batch_size, bar.add, measure)
    try:
        model.fit(
            training_batches(train, model.classifier, settings),
            epochs=settings.epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[watch],
        )
    except tf.errors.OpError as error:
        # What the pipeline refuses arrives as an error of TensorFlow's.
        if train.bad.count == len(train.source):
            raise UserError(
                f"none of the {len(train.source)} labelled photos of "
                f"{train.source.name!r} can be read; at least one is needed"
            ) from error
        raise
    return watch.history


def training_batches(photos, classifier, settings):
    """Endless (images (B, S, S, 3), targets (B, C)) of the training.

    Args:
        photos: `dino_tf.evaluate.finetune_photos.Photos`.
        classifier: `Classifier` with pixel statistics and size.
        settings: `dino_tf.evaluate.finetune_options.Settings`.
    """
    classes = len(classifier.class_names)
    count = None if classifier.multi_label else classes
    labels = [row[0] for row in photos.labels] if count else photos.targets()
    view = RandomCrop(
        classifier.size,
        (settings.smallest_crop, 1.0),
        jitter=settings.jitter,
        mean=classifier.mean,
        std=classifier.std,
    )
    return labelled_dataset(
        photos.source,
        np.array(labels),
        view,
        settings.batch_size,
        settings.seed,
        Mixing(count, settings.label_smoothing, settings.mixup, settings.cutmix),
        bad_images=photos.bad,
    )
