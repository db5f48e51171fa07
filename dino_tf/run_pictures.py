"""Pictures of a run: the same few photos, drawn again as the network learns."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dino_tf.evaluate.splits import spread
from dino_tf.transforms.image import try_decode
from dino_tf.visualize.attention import write_attention
from dino_tf.visualize.features import write_features

# Much of the time goes into PNG files; more at once take more memory in the network.
AT_ONCE = 2


class RunPictures:
    """Draws the watch list of a run.

    Args:
        config: Resolved `Config`.
        source: Photos of which some are watched, the test split where there is one.
        folder: `RunFolder`.
        logger: Logger of `train.log`.
    """

    def __init__(self, config, source, folder, logger):
        self.config, self.source = config, source
        self.folder, self.logger = folder, logger

    def draw_epoch(self, epoch, model):
        """Sheets of the teacher after `epoch` epochs."""
        return self.draw(model.teacher_backbone, f"epoch-{epoch:04d}")

    def draw(self, backbone, below=""):
        """Paths of the sheets of all watched photos, in a folder `below`."""
        places = watch_list(len(self.source), self.config.run.attention_photos)
        draw = partial(self._draw_photo, backbone, below)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return [sheet for sheet in threads.map(draw, places) if sheet]

    def _draw_photo(self, backbone, below, index):
        """The sheet of one photo; None where it cannot be read."""
        image, reason = try_decode(partial(self.source.image_bytes, index))
        if image is None:
            self.logger.warning("not drawn: %s (%s)", self.source.id(index), reason)
            return None
        write, out = self.kind(backbone)
        run, views = self.config.run, self.config.views
        stem = self.source.id(index).replace("/", "_")
        pixels = {"mean": views.mean, "std": views.std}
        size = run.attention_size
        return write(backbone, image, stem, out / below, size=size, **pixels)[0]

    def kind(self, backbone):
        """(function that writes them, folder of them) for the kind of network."""
        if "attention" in backbone.result_names:
            return write_attention, self.folder.attention
        return write_features, self.folder.features


def watch_list(count, wanted):
    """`wanted` places (or all) spread evenly over `count` photos."""
    return spread(count, wanted).tolist()
