"""Trains a detector on tokens of a frozen network, or with all its weights."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from dino_tf.analysis.box_targets import Places, targets
from dino_tf.analysis.detection import keep_best
from dino_tf.errors import Diverged, UserError
from dino_tf.evaluate.features import compiled
from dino_tf.evaluate.finetune import copy_of
from dino_tf.evaluate.patch_tokens import PatchTokens
from dino_tf.layer_rates import depths, has_layers
from dino_tf.models.detector import Detector, boxes_of, detection_loss
from dino_tf.optimizers import AdamW
from dino_tf.schedules import WarmupCosine

# With the network frozen every place sees its own token alone: with convolutions random
# weights came as far as trained ones (31.5 and 31.4 AP on 2,000 photos of `scenes`).
HEADS = {
    False: {"width": 96, "depth": 1, "reach": 1},
    True: {"width": 64, "depth": 2, "reach": 3},
}
LAYER_DECAY = 0.75
WEIGHT_DECAY = 0.05
CLIP_NORM = 1.0
WARMUP = 0.1  # share of all steps
CANDIDATES = 400  # best scored of a photo, ahead of the suppression


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a detector is trained and what it gives.

    Attributes:
        size: Side of the square that photos are squeezed into, in pixels.
        epochs: Passes over the training photos.
        batch_size: Photos in a step.
        lr: Peak of the learning rate.
        tune: Whether the network's weights are trained too.
        seed: Of weights, order and mirroring.
        score_threshold: Lowest score of a detection.
        max_detections: Of one photo.
    """

    size: int
    epochs: int
    batch_size: int
    lr: float
    tune: bool = False
    seed: int = 0
    score_threshold: float = 0.05
    max_detections: int = 100


class DetectorTraining:
    """A detector with the network it looks through.

    Args:
        subject: `Subject`; its network is not changed.
        classes: Number of classes.
        plan: `Plan`.

    Raises:
        UserError: The network takes no such square.
    """

    def __init__(self, subject, classes, plan):
        self.subject = dataclasses.replace(subject, batch_size=plan.batch_size)
        self.plan, self.classes = plan, classes
        grid = PatchTokens(self.subject, None, np.zeros(0), plan.size).grid
        self.grid, patch = grid, plan.size / grid[0]
        self.places = Places.of(plan.size, patch)
        strides = [stride / patch for stride in self.places.strides]
        self.backbone = copy_of(subject.backbone) if plan.tune else subject.backbone
        self.detector = Detector(classes, strides, **HEADS[plan.tune], seed=plan.seed)
        self.detector.build((None, *grid, subject.backbone.embed_dim))
        self._forward = compiled(lambda x: self._said(x, False))

    def fit(self, photos):
        """Trains on `BoxedPhotos`; returns the mean loss of every epoch.

        Raises:
            Diverged: The loss is no longer finite.
        """
        steps = -(-len(photos.places) // self.plan.batch_size)
        total = steps * self.plan.epochs
        rate = WarmupCosine(self.plan.lr, 0.0, total, round(WARMUP * total))
        optimizer = AdamW(rate, WEIGHT_DECAY, shares=self._shares())
        optimizer.build(self._variables())
        step = self._step(optimizer)
        rng = np.random.default_rng(self.plan.seed)
        bar = self.subject.progress(
            self.plan.epochs * len(photos.places), f"detector on {photos.source.name}"
        )
        history, batches = [], Batches(self.subject, photos, self.plan)
        for epoch in range(self.plan.epochs):
            losses = []
            for inputs, index, mirrored in batches.shuffled(rng):
                wanted = self._targets(photos, index, mirrored)
                losses.append(float(step(tf.constant(inputs), *wanted)))
                if not math.isfinite(losses[-1]):
                    raise Diverged(
                        f"the loss is {losses[-1]} in epoch {epoch + 1} of the "
                        "detector: stopped. Try a lower --lr"
                    )
                bar.add(len(index))
            if not losses:
                raise UserError(f"no photo of {photos.source.name!r} can be read")
            history.append(float(np.mean(losses)))
        return history

    def detect(self, photos):
        """{place: (boxes float32 (n, 4) in pixels of the photo, scores, classes)}.

        The best scored come first.

        Args:
            photos: `BoxedPhotos`.
        """
        found = {}
        bar = self.subject.progress(
            len(photos.places), f"boxes in {photos.source.name}"
        )
        for inputs, index in Batches(self.subject, photos, self.plan).in_order():
            said = self._forward(tf.constant(inputs)).numpy()
            for place, one in zip(index.tolist(), said, strict=True):
                found[place] = self._kept(one, photos.sizes[place])
            bar.add(len(index))
        return found

    def _kept(self, said, image_hw):
        """Boxes, scores and classes of what all places of one photo say."""
        chances = _sigmoid(said[:, : self.classes + 1].astype(np.float64))
        scores = np.sqrt(chances[:, :-1] * chances[:, -1:])
        place, kind = np.nonzero(scores >= self.plan.score_threshold)
        score = scores[place, kind]
        best = np.argsort(-score, kind="stable")[:CANDIDATES]
        place, kind, score = place[best], kind[best], score[best]
        centres, stride = self.places.centres[place], self.places.stride[place]
        boxes = np.asarray(boxes_of(said[place, -4:], centres, stride))
        height, width = image_hw
        scale = np.array([width, height] * 2, np.float32) / self.plan.size
        boxes = np.clip(boxes * scale, 0, [width, height, width, height])
        # Of boxes that lie outside nothing is left.
        some = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
        most = self.plan.max_detections
        kept = some[keep_best(boxes[some], score[some], kind[some], most=most)]
        return boxes[kept].astype(np.float32), score[kept], kind[kept]

    def _targets(self, photos, index, mirrored):
        size, rows = self.plan.size, []
        for place, mirror in zip(index.tolist(), mirrored.tolist(), strict=True):
            boxes, known = photos.squeezed(place, size), photos.boxes[place]
            if mirror:
                boxes = np.stack(
                    [size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]],
                    axis=1,
                )
            rows.append(targets(self.places, boxes, known.classes, ~known.difficult))
        kinds, boxes = zip(*rows, strict=True)
        return tf.constant(np.stack(kinds)), tf.constant(np.stack(boxes))

    def _said(self, inputs, training):
        """What the detector says of tokens, or of photos where all is trained."""
        if self.plan.tune:
            inputs = self.backbone.extract(inputs, ["tokens"])["tokens"]
            inputs = inputs[:, self.backbone.num_prefix_tokens :]
        maps = tf.reshape(
            tf.cast(inputs, "float32"), (-1, *self.grid, inputs.shape[-1])
        )
        return self.detector(maps, training=training)

    def _variables(self):
        own = self.detector.trainable_variables
        return [*own, *self.backbone.trainable_variables] if self.plan.tune else own

    def _shares(self):
        """Share of the rate of each variable; smaller towards the pixels."""
        shares = [1.0] * len(self.detector.trainable_variables)
        if self.plan.tune and has_layers(self.backbone):
            found, last = depths(self.backbone)
            shares += [LAYER_DECAY ** (last - depth) for depth in found]
        elif self.plan.tune:
            shares += [1.0] * len(self.backbone.trainable_variables)
        return shares

    def _step(self, optimizer):
        variables, places = self._variables(), self.places

        def step(inputs, kinds, boxes):
            with tf.GradientTape() as tape:
                found = self._said(inputs, True)
                loss = detection_loss(
                    found, kinds, boxes, places.centres, places.stride
                )
            gradients = tape.gradient(
                loss, [v.value for v in variables], unconnected_gradients="zero"
            )
            gradients, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        # One trace for all batches; the last one is smaller.
        side, count = self.plan.size, len(places)
        width = self.subject.backbone.embed_dim
        tokens = tf.TensorSpec((None, math.prod(self.grid), width), tf.float16)
        images = tf.TensorSpec((None, side, side, 3), tf.float32)
        signature = [
            images if self.plan.tune else tokens,
            tf.TensorSpec((None, count), tf.int32),
            tf.TensorSpec((None, count, 4), tf.float32),
        ]
        return tf.function(step, signature, autograph=False)


class Batches:
    """Tokens of a frozen network, or photos where it is trained, batch by batch.

    Tokens are computed once and kept where they fit, else anew in every epoch.

    Args:
        subject: `Subject`, whose batch size is that of the training.
        photos: `BoxedPhotos`.
        plan: `Plan`.
    """

    def __init__(self, subject, photos, plan):
        self.subject, self.photos, self.plan = subject, photos, plan
        self._kept = None

    def in_order(self):
        """(inputs, places) of all photos."""
        tokens = self._tokens(self.photos.places)
        if not self.plan.tune:
            for index, some in tokens.batches():
                yield some, index
            return
        for batch in tokens.squares():
            yield batch["image"].numpy(), batch["index"].numpy()

    def shuffled(self, rng):
        """(inputs, places, bool whether mirrored) of all photos, in another order.

        Args:
            rng: `numpy.random.Generator`.
        """
        order = rng.permutation(len(self.photos.places))
        if self.plan.tune:
            for batch in self._tokens(self.photos.places[order]).squares():
                images, index = batch["image"].numpy(), batch["index"].numpy()
                mirrored = rng.random(len(index)) < 0.5
                images[mirrored] = images[mirrored, :, ::-1]
                yield images, index, mirrored
            return
        for inputs, index in self._shuffled_tokens(order):
            yield inputs, index, np.zeros(len(index), bool)

    def _shuffled_tokens(self, order):
        everything = self._tokens(self.photos.places)
        if not everything.fits:
            for index, some in self._tokens(self.photos.places[order]).batches():
                yield some, index
            return
        if self._kept is None:
            parts = list(everything.batches())
            self._kept = [np.concatenate(column) for column in zip(*parts, strict=True)]
        index, some = self._kept
        # A photo may have turned out to be damaged below its header.
        order = order[order < len(index)] if len(index) < len(order) else order
        for start in range(0, len(order), self.plan.batch_size):
            rows = order[start : start + self.plan.batch_size]
            yield some[rows], index[rows]

    def _tokens(self, places):
        return PatchTokens(self.subject, self.photos.source, places, self.plan.size)


def check(plan):
    """UserError for a value of a `Plan` that is not allowed."""
    for name, words, good in (
        ("epochs", "1 or more", plan.epochs >= 1),
        ("batch-size", "1 or more", plan.batch_size >= 1),
        ("lr", "above 0", 0 < plan.lr < math.inf),
        ("score-threshold", "from 0 to below 1", 0 <= plan.score_threshold < 1),
        ("max-detections", "1 or more", plan.max_detections >= 1),
    ):
        if not good:
            value = getattr(plan, name.replace("-", "_"))
            raise UserError(f"--{name}: got {value}, allowed: {words}")


def _sigmoid(logits):
    return 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
