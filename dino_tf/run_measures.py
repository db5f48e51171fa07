"""What a run measures of its network beside the loss, on a few photos."""

from dino_tf.evaluate.knn import evaluate_knn
from dino_tf.evaluate.splits import labelled_split
from dino_tf.evaluate.watched import WatchedPhotos

# Photos that the k-NN numbers of a run look at, so that they take seconds.
KNN_TRAIN, KNN_TEST = 5000, 2000


class RunMeasures:
    """Measures of one run.

    Args:
        config: Resolved `Config`.
        source: Photos trained on.
        test_source: Photos of the test split, or None.
    """

    def __init__(self, config, source, test_source):
        self.config = config
        self.source, self.knn_sources = source, labelled_split(source, test_source)
        self._last = None, {}

    def knn(self, backbone):
        """{"knn/...": per cent}; empty without labels."""
        if not self.knn_sources:
            return {}
        if self._last[0] is backbone:
            return self._last[1]
        fewest = min(len(self.knn_sources[0]), KNN_TRAIN)
        k = tuple(n for n in (10, 20) if n <= fewest)
        return evaluate_knn(
            backbone,
            *self.knn_sources,
            self.config.run.eval_size,
            k=k or (1,),
            max_train=KNN_TRAIN,
            max_test=KNN_TEST,
            mean=self.config.views.mean,
            std=self.config.views.std,
        )

    def knn_in_training(self, epoch, backbone):
        """`knn` where it is due after `epoch` epochs; of the last it is kept.

        The last is due as well, so that the best network is chosen among all that were
        compared by the same numbers.
        """
        run = self.config.run
        is_last = epoch == run.epochs
        if not run.knn_every or (epoch % run.knn_every and not is_last):
            return {}
        found = self.knn(backbone)
        if is_last:
            self._last = backbone, found
        return found

    def watched(self):
        """`WatchedPhotos` of the run, None where it watches none."""
        run, views = self.config.run, self.config.views
        if not run.health_photos:
            return None
        # As attention is judged: 480 pixels for networks evaluated at 224.
        patch = self.config.model.patch_size
        side = max(round(run.eval_size * 480 / 224 / patch), 1) * patch
        return WatchedPhotos(
            self.source, run.health_photos, run.eval_size, views.mean, views.std, side
        )
