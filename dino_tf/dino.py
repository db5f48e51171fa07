"""DINO: a student learns to predict an averaged copy of itself across views.

Read this file first. One training step is `DINO.train_step`, from top to bottom.
"""

import keras
import tensorflow as tf

from dino_tf.distribute import mean_over_replicas
from dino_tf.freezing import freeze_for_good
from dino_tf.koleo import koleo_by_view
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.pieces import one_pass
from dino_tf.multi_worker import FitOnWorkers
from dino_tf.passes import Passes, views_of
from dino_tf.schedules import restored, saved, value_at
from dino_tf.signals import Signals, no_signals, teacher_signals
from dino_tf.updates import (
    clip_each,
    mean_over_parts,
    norms_of,
    update_student,
    update_teacher,
)


@keras.saving.register_keras_serializable(package="dino_tf")
class DINO(FitOnWorkers, Passes, keras.Model):
    """Self-distillation with no labels, trained by `fit` on batches of views.

    A batch is `{"global": (B, G, S, S, 3), "local": (B, V - G, s, s, 3)}`, normalised
    float (see `transforms.multicrop`); G is 2 as published. `model(images)` and
    `model.predict(images)` give the teacher's CLS features (B, D).

    Args:
        backbone: Student network, (B, H, W, 3) -> (B, D); see `create_backbone`.
        head: `DINOHead` of the student; None makes the published one with K 65,536.
        loss: `DINOLoss` with the head's K; None makes the published one.
        teacher_momentum: Share of the teacher kept at each step: a number in [0, 1]
            or a schedule of the step (published: a cosine from 0.996 to 1).
        clip_grad: Largest L2 norm of the gradient of each variable by itself; 0 does
            not clip.
        freeze_last_layer_steps: Steps at the start in which the head's last layer
            stays as it is (published: one epoch).
        accumulate_steps: Number of parts that a batch is computed in, one after the
            other; B is a multiple of it. Gradients and center are those of the whole
            batch (except for batch norm, Sinkhorn-Knopp centering, KoLeo and
            histograms, which see the parts).
        recompute: Compute the blocks of a `VisionTransformer` once more for the
            gradient instead of keeping them: less memory, up to a third more work.
        koleo_weight: Weight of `koleo.koleo` of the student's CLS features, summed
            over the global views (DINOv2: 0.1); the loss that is told is without it.
        freeze_patch_embed: Whether the patch projection of a `VisionTransformer` stays
            as it is, as do its first `freeze_blocks` blocks with all that comes before
            them; see `freezing`.
        freeze_blocks: Number of them.
        freeze_backbone_steps: Steps at the start in which the head alone learns.
        patches: `ibot.PatchPrediction`, for batches with "masks" (B, G, h * w)
            (see `make_dataset`); its loss is told as "ibot"; None does without.
        histograms: `histograms.HistogramPrediction`, by which the student's features
            tell the gradients in each view; None does without.

    Raises:
        ValueError: When loss and head differ in K, or a number is out of its range.

    Reference:
        Caron et al. 2021, arXiv 2104.14294, algorithm 1; facebookresearch/dino,
        `main_dino.py`, `train_one_epoch`.

    Example:
        >>> model = DINO(create_backbone("vit_tiny"), DINOHead(4096))
        >>> model.compile("adamw")
        >>> data = make_dataset(open_source("folder:photos"), MultiCrop(), 64)
        >>> model.fit(data, epochs=10, steps_per_epoch=100)
    """

    def __init__(
        self,
        backbone,
        head=None,
        loss=None,
        teacher_momentum=0.996,
        clip_grad=3.0,
        freeze_last_layer_steps=0,
        accumulate_steps=1,
        recompute=False,
        koleo_weight=0.0,
        freeze_patch_embed=False,
        freeze_blocks=0,
        freeze_backbone_steps=0,
        patches=None,
        histograms=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        head = head or DINOHead()
        loss = loss or DINOLoss(head.out_dim)
        _check(head, loss, teacher_momentum, clip_grad, accumulate_steps, koleo_weight)
        self.student_backbone, self.student_head, self.dino_loss = backbone, head, loss
        self.teacher_momentum, self.clip_grad = teacher_momentum, clip_grad
        self.freeze_last_layer_steps = freeze_last_layer_steps
        self.accumulate_steps, self.recompute = accumulate_steps, recompute
        self.koleo_weight = koleo_weight
        self.patches, self.histograms = patches, histograms
        self.freeze_patch_embed, self.freeze_blocks = freeze_patch_embed, freeze_blocks
        self.freeze_backbone_steps = freeze_backbone_steps
        for part in filter(None, (patches, histograms)):
            part.check(backbone, head)
        self.teacher_backbone = _copy_of(backbone, drop_path_rate=0.0)
        self.teacher_head = _copy_of(head)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.ibot_tracker = keras.metrics.Mean(name="ibot") if patches else None
        terms = {"koleo": koleo_weight, "histograms": histograms}
        self.signals = Signals(loss.out_dim, tuple(t for t in terms if terms[t]))
        self._compiled_compute = None
        self.build()
        freeze_for_good(backbone, freeze_patch_embed, freeze_blocks)

    def build(self, input_shape=None):
        """Builds both networks; the teacher starts as a copy of the student."""
        for part in (self.student_backbone, self.teacher_backbone):
            if not part.built:
                size = getattr(part, "image_size", (224, 224))
                part.build((None, *size, 3))
        width = self.student_backbone.compute_output_shape((None, 224, 224, 3))[-1]
        for part in (self.student_head, self.teacher_head):
            if not part.built:
                part.build((None, width))
        for part in filter(None, (self.patches, self.histograms)):
            if not part.built:
                part.build((None, width))
        self.reset_teacher()
        self.teacher_backbone.trainable = False
        self.teacher_head.trainable = False
        self.built = True

    def reset_teacher(self):
        """Makes the teacher a copy of the student."""
        self.teacher_backbone.set_weights(self.student_backbone.get_weights())
        self.teacher_head.set_weights(self.student_head.get_weights())
        if self.patches:
            self.patches.reset_teacher()

    def compile(self, optimizer="adamw", jit_compile=False, **kwargs):
        """As in Keras, without a loss: DINO has its own.

        Args:
            optimizer: Any Keras optimizer, or one of `dino_tf.optimizers`.
            jit_compile: Whether forward and backward pass are compiled by XLA; works
                under a `tf.distribute` strategy too (except with batch norm or
                Sinkhorn-Knopp, whose sums cross replicas). "auto" means: on a GPU.
            **kwargs: Other arguments of `keras.Model.compile`.
        """
        if jit_compile == "auto":
            jit_compile = bool(tf.config.list_physical_devices("GPU"))
        # Keras would compile the whole step, and not at all under a strategy.
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        if not self.optimizer.built:
            # Variables that are made in the middle of a step have it traced twice.
            self.optimizer.build(self.trainable_variables)
        compiled = tf.function(self._compute, jit_compile=True)
        jit_compile = jit_compile and not self.sums_that_cross()
        self._compiled_compute = compiled if jit_compile else None

    def get_compile_config(self):
        if not self.compiled:
            return None
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        jit_compile = self._compiled_compute is not None
        return {"optimizer": optimizer, "jit_compile": jit_compile}

    def compile_from_config(self, config):
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(optimizer=optimizer, jit_compile=config["jit_compile"])

    def call(self, images, training=False):
        """Teacher's CLS features (B, D) of (B, H, W, 3) images."""
        return self.teacher_backbone(images, training=False)

    @property
    def metrics(self):
        return [self.loss_tracker, *([self.ibot_tracker] if self.patches else [])]

    def train_step(self, data):
        """One step on a batch of views; see the class for its form."""
        views = views_of(data)
        step = self._clock()
        compute = self._compiled_compute or self._compute
        scale = self._loss_scale()
        loss, gradients, centers, signals = compute(
            views["global"], views["local"], step, scale, self.masks_of(views)
        )
        # Nothing may be counted when the stream ends in the place of a batch.
        with tf.control_dependencies([loss]):
            gradients = mean_over_replicas(gradients)
            norms = norms_of(gradients, scale)
            update_student(self, clip_each(gradients, norms, self.clip_grad), step)
            self.update_centers(centers)
            update_teacher(self, value_at(self.teacher_momentum, step))
            self._track(loss, signals)
            self.signals.update_state(loss, signals, tf.norm(norms))
        return self.get_metrics_result()

    def test_step(self, data):
        """Loss of a batch of views with neither drop path nor any update."""
        views, step = views_of(data), self._clock()
        hidden = self.hidden(self.masks_of(views), self.accumulate_steps)
        images = views["global"], views["local"]
        teacher, patches = self.teacher(images[0], hidden, training=False)
        found = self.student_tokens(*images, hidden, training=False)[:2]
        student, guesses = self.student_logits(*found, training=False)
        parts = {}
        if hidden is not None:
            parts["ibot"] = self.patches.patch_loss(guesses, patches, hidden, step)
        self._track(self.dino_loss.compute(student, teacher, step), parts)
        return self.get_metrics_result()

    def _compute(self, global_views, local_views, step, loss_scale, masks=None):
        """Loss, gradients times `loss_scale`, centers, signals of a batch; for XLA."""
        views = [global_views, local_views, *([] if masks is None else [masks])]
        if self.accumulate_steps == 1:
            return self._compute_part(step, loss_scale, *views)
        if crossing := self.sums_that_cross():
            raise ValueError(
                f"accumulate_steps={self.accumulate_steps} with {crossing} over "
                "several replicas: expected one of the three to be given up"
            )
        terms = (*self.signals.terms, *(["ibot"] if self.patches else []))
        zeros = (
            tf.zeros(()),
            [tf.zeros(v.shape) for v in self.trainable_variables],
            [loss.no_center() for loss in self.centered()],
            no_signals(self.dino_loss.out_dim, terms),
        )

        def compute(*views):
            return self._compute_part(step, loss_scale, *views)

        return mean_over_parts(compute, views, self.accumulate_steps, zeros)

    def _compute_part(self, step, loss_scale, global_views, local_views, masks=None):
        with one_pass(self.recompute):
            hidden = self.hidden(masks)
            teacher, patches = self.teacher(global_views, hidden)
            targets = self.dino_loss.teacher_probabilities(teacher, step)
            centers = [self.dino_loss.batch_center(teacher)]
            signals, patch_targets = teacher_signals(targets), ()
            if hidden is not None:
                patch_loss = self.patches.patch_loss
                patch_targets = patch_loss.patch_probabilities(patches, hidden, step)
                centers.append(patch_loss.batch_center(patches, hidden))
            ready = tf.nest.flatten((targets, centers, signals, patch_targets))
            variables = [v.value for v in self.trainable_variables]
            # One after the other, so that both are never in memory at once.
            with (
                tf.GradientTape(watch_accessed_variables=False) as tape,
                tf.control_dependencies(ready),
            ):
                tape.watch(variables)  # nothing else: what is frozen costs nothing
                images = global_views, local_views
                features, seen, known = self.student_tokens(*images, hidden)
                student, guesses = self.student_logits(features, seen)
                loss = self.dino_loss.cross_entropy(student, targets)
                scaled = loss * loss_scale
                if self.koleo_weight:
                    apart = koleo_by_view(features[: targets.shape[0]])
                    signals |= {"koleo": tf.reduce_mean(apart)}
                    scaled += self.koleo_weight * tf.reduce_sum(apart) * loss_scale
                if self.histograms:
                    left = self.histograms.loss(known, *images)
                    signals |= {"histograms": left}
                    scaled += self.histograms.weighted(left, step) * loss_scale
                if hidden is not None:
                    ibot = patch_loss.cross_entropy(guesses, patch_targets, hidden)
                    signals |= {"ibot": ibot}
                    scaled += self.patches.weight * ibot * loss_scale
            gradients = tape.gradient(scaled, variables, unconnected_gradients="zero")
        return loss, gradients, centers, signals

    def _track(self, loss, parts):
        self.loss_tracker.update_state(loss)
        if self.patches:
            self.ibot_tracker.update_state(parts["ibot"])

    def _clock(self):
        # A copy: the optimizer advances its counter in the middle of the step.
        return tf.identity(self.optimizer.iterations.value)

    def _loss_scale(self):
        if hasattr(self.optimizer, "inner_optimizer"):
            return tf.cast(self.optimizer.scale_loss(1.0), "float32")
        return tf.ones(())

    def get_config(self):
        parts = {
            "backbone": self.student_backbone,
            "head": self.student_head,
            "loss": self.dino_loss,
            "patches": self.patches,
            "histograms": self.histograms,
        }
        numbers = (
            "name clip_grad freeze_last_layer_steps accumulate_steps recompute "
            "koleo_weight freeze_patch_embed freeze_blocks freeze_backbone_steps"
        )
        return {
            **{name: getattr(self, name) for name in numbers.split()},
            **{
                name: part and keras.saving.serialize_keras_object(part)
                for name, part in parts.items()
            },
            "teacher_momentum": saved(self.teacher_momentum),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        keys = "backbone head loss teacher_momentum patches histograms".split()
        return cls(**restored(config, keys, custom_objects))


def _check(head, loss, teacher_momentum, clip_grad, accumulate_steps, koleo_weight):
    if head.out_dim != loss.out_dim:
        raise ValueError(
            f"head.out_dim={head.out_dim} and loss.out_dim={loss.out_dim} differ"
        )
    if not callable(teacher_momentum) and not 0.0 <= teacher_momentum <= 1.0:
        raise ValueError(f"teacher_momentum={teacher_momentum}: expected 0 to 1")
    if clip_grad < 0 or accumulate_steps < 1 or koleo_weight < 0:
        raise ValueError(
            f"clip_grad={clip_grad}, accumulate_steps={accumulate_steps}, "
            f"koleo_weight={koleo_weight}: expected clip_grad >= 0, "
            "accumulate_steps >= 1 and koleo_weight >= 0"
        )


def _copy_of(layer, **changes):
    """A new layer of the same configuration, but for `changes` it knows of."""
    config = layer.get_config()
    config.update({k: v for k, v in changes.items() if k in config})
    config["name"] = f"teacher_{layer.name}"
    return layer.__class__.from_config(config)
