"""The best network of a run so far, kept beside its last."""

import json
import pathlib

from dino_tf.keras_writer import save_keras
from dino_tf.run_folder import write_text

# What networks are compared by, the first of them that a run measures; all are the
# better the larger.
MEASURES = (
    "knn/top1_k20",
    "knn/top1_k10",
    "knn/map_k20",
    "knn/map_k10",
    "knn/watched_top1",
    "knn/watched_map",
    "views/matched",
    "effective_rank",
)


class Best:
    """`backbone.keras` of the best epoch in a folder, and `best.json` on why.

    By k-NN where photos have labels, else by how many views of photos are matched, of
    epochs whose verdict is "learning": features of a network that has hardly begun may
    spread wide and mean nothing, which is why effective rank comes last, for records
    that have nothing else. The choice is as rough as its measure: of 128 watched
    photos, half of them classified or matched rightly, the standard error is 4.4
    points, and the largest of many epochs is in part the luckiest.

    Args:
        folder: Where they lie; made when the first is kept.
        measures: Names of numbers to compare by, the one most wanted first.
    """

    def __init__(self, folder, measures=MEASURES):
        self.folder, self.measures = pathlib.Path(folder), measures
        self.file = self.folder / "backbone.keras"
        self.facts = self._read() if self.file.is_file() else None

    def _read(self):
        """What `best.json` holds; None where it is missing or something else."""
        try:
            facts = json.loads((self.folder / "best.json").read_text(encoding="utf-8"))
            kept = {"epoch": int(facts["epoch"]), "measure": str(facts["measure"])}
            return facts | kept | {"value": float(facts["value"])}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def offer(self, backbone, record):
        """Keeps a network where its epoch is the best so far.

        Args:
            backbone: Has `save(path)`.
            record: Of the epoch: "epoch", "verdict" and its numbers.

        Returns:
            Whether it is kept.
        """
        name = next((name for name in self.measures if name in record), None)
        if name is None or record.get("verdict") != "learning":
            return False
        value = record[name]
        if self.facts and not self._improves(name, value):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        # The network first: a stop between the two leaves a better one than the file
        # tells of, never a worse.
        save_keras(backbone, self.file)
        self.facts = {"epoch": record["epoch"], "measure": name, "value": value}
        text = json.dumps(self.facts, indent=2) + "\n"
        write_text(self.folder / "best.json", text)
        return True

    def _improves(self, name, value):
        kept = self.facts["measure"]
        if kept == name:
            # Of equals the later, which has learned from more photos.
            return value >= self.facts["value"]
        # A run of k-NN every few epochs measures the wanted one later than the other.
        order = list(self.measures)
        return kept not in order or order.index(name) < order.index(kept)
