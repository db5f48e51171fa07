"""The forward passes of student and teacher, from batches of views to logits."""

import tensorflow as tf
from keras import ops

from dino_tf.distribute import replicas_in_sync
from dino_tf.models.keras_networks import has_batch_norm
from dino_tf.views import views_outermost


def views_of(data):
    """Views of what `fit` hands to a step: a batch, or a tuple that begins with it."""
    return data[0] if isinstance(data, tuple | list) else data


class Passes:
    """Mixin of `DINO`: what its networks make of views.

    It reads `student_backbone`, `student_head`, the same of the teacher, `patches` (a
    `PatchPrediction` or None), `histograms`, `dino_loss` and `accumulate_steps`.
    """

    @property
    def student_heads(self):
        """Head of the CLS features, and that of the patches where there is one."""
        own = self.patches.student_head if self.patches else None
        return [self.student_head, *([own] if own else [])]

    @property
    def teacher_heads(self):
        """The same of the teacher."""
        own = self.patches.teacher_head if self.patches else None
        return [self.teacher_head, *([own] if own else [])]

    def student_features(self, global_views, local_views, training=True):
        """Student's CLS features (V, B, D), global first, one pass per crop size."""
        return self.student_tokens(global_views, local_views, None, training)[0]

    def student_tokens(self, global_views, local_views, hidden, training=True):
        """`student_features`, and what the student makes of patches.

        Args:
            global_views: (B, G, S, S, 3).
            local_views: (B, V - G, s, s, 3).
            hidden: `ibot.Hidden` of the global views, or None.
            training: As in `call` of the backbone.

        Returns:
            (V, B, D), those of the hidden patches (U, D) or None, and with `histograms`
            a list of what they are guessed from, of the global views and of the local
            ones; see `HistogramPrediction.known`.
        """
        batch, num_local = global_views.shape[0], local_views.shape[1]
        groups = [global_views, local_views] if num_local else [global_views]
        images, masks = [views_outermost(group) for group in groups], [hidden, None]
        found = [
            self._seen(*pair, training) for pair in zip(images, masks, strict=False)
        ]
        features, tokens, known = zip(*found, strict=True)
        features = ops.concatenate(features, axis=0)
        shape = (global_views.shape[1] + num_local, batch or -1, features.shape[-1])
        patches = hidden and self.patches.take(tokens[0], hidden)
        return ops.reshape(features, shape), patches, list(known)

    def _seen(self, images, hidden, training):
        """CLS (n, D), patches (n, h * w, D), and what histograms are guessed from.

        None in the place of what nobody asks for.
        """
        backbone, inner = self.student_backbone, []
        if hidden is None and not self.histograms:
            return backbone(images, training=training), None, None
        masks = (None, None) if hidden is None else self.patches.masks(hidden)
        options = {"cls_only": hidden is None and backbone.depth > 1, "inner": inner}
        found = backbone.patch_tokens(images, *masks, training=training, **options)
        return *found, self.histograms and self.histograms.known(backbone, inner)

    def student_logits(self, features, patches=None, training=True):
        """Student's logits (V, B, K) and (U, K) of what `student_tokens` gives."""
        rows = ops.reshape(features, (-1, features.shape[-1]))
        logits, guesses = self._logits("student", rows, patches, training)
        return ops.reshape(logits, (features.shape[0], -1, logits.shape[-1])), guesses

    def teacher_logits(self, global_views, training=True):
        """Teacher's logits (G, B, K) of the global views."""
        return self.teacher(global_views, None, training)[0]

    def teacher(self, global_views, hidden, training=True):
        """Teacher's logits (G, B, K), and (U, K) of the hidden patches or None."""
        images, patches = views_outermost(global_views), None
        if hidden is None:
            features = self.teacher_backbone(images, training=training)
        else:
            found = self.teacher_backbone.patch_tokens(images, training=training)
            features, patches = found[0], self.patches.take(found[1], hidden)
        logits, patches = self._logits("teacher", features, patches, training)
        shape = (global_views.shape[1], -1, logits.shape[-1])
        return ops.reshape(logits, shape), patches

    def _logits(self, who, features, patches, training):
        head = getattr(self, f"{who}_head")
        if patches is None:
            return head(features, training=training), None
        own = getattr(self.patches, f"{who}_head")
        return self.patches.logits(head, own, features, patches, training)

    def hidden(self, masks, parts=1):
        """`ibot.Hidden` of masks of so many lists; None for None."""
        return None if masks is None else self.patches.hidden(masks, parts)

    def masks_of(self, views):
        """Masks of a batch, None where no patches are predicted."""
        if ("masks" in views) != bool(self.patches):
            raise ValueError(
                f"batch of {sorted(views)}: expected masks with `patches`, none without"
            )
        if not self.patches:
            return None
        counts, most = self.patches.counts(views["masks"], self.accumulate_steps)
        # Outside of what XLA compiles, where nothing can be checked.
        tf.debugging.assert_less_equal(
            counts,
            most,
            "more hidden patches than the mask ratio and probability of `patches` "
            "allow in a part of a batch: `PatchMasks` wants as many `parts` as there "
            "are replicas times accumulate_steps",
        )
        return views["masks"]

    def sums_that_cross(self):
        """What sums over several replicas in the middle of the passes; "": nothing."""
        if replicas_in_sync() == 1:
            return ""
        sinkhorn = self.dino_loss.centering == "sinkhorn"
        return "batch norm" if has_batch_norm(self) else "sinkhorn" if sinkhorn else ""

    def centered(self):
        """Losses that have a center, in the order of the centers of a step."""
        return [self.dino_loss, *([self.patches.patch_loss] if self.patches else [])]

    def update_centers(self, centers):
        """Moves each towards what its `batch_center` has told."""
        for loss, center in zip(self.centered(), centers, strict=True):
            loss.update_center(center)
