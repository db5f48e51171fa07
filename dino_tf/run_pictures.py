"""Pictures of a run: the same few photos, drawn again as the network learns."""

from functools import partial

from dino_tf.evaluate.splits import spread
from dino_tf.transforms.image import try_decode
from dino_tf.visualize.attention import write_attention
from dino_tf.visualize.features import write_features


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
        write, out = self.kind(backbone)
        run, views = self.config.run, self.config.views
        sheets = []
        for index in watch_list(len(self.source), run.attention_photos):
            image, reason = try_decode(partial(self.source.image_bytes, index))
            if image is None:
                self.logger.warning("not drawn: %s (%s)", self.source.id(index), reason)
                continue
            stem = self.source.id(index).replace("/", "_")
            sheets += write(
                backbone,
                image,
                stem,
                out / below,
                size=run.attention_size,
                mean=views.mean,
                std=views.std,
            )[:1]
        return sheets

    def kind(self, backbone):
        """(function that writes them, folder of them) for the kind of network."""
        if "attention" in backbone.result_names:
            return write_attention, self.folder.attention
        return write_features, self.folder.features


def watch_list(count, wanted):
    """`wanted` places (or all) spread evenly over `count` photos."""
    return spread(count, wanted).tolist()
