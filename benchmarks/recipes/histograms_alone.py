"""k-NN without a network: histograms of gradients of 4 x 4 regions as features.

    python benchmarks/recipes/histograms_alone.py shards:CUT --size 112

The few-photos recipe has the network guess just these. What they reach by themselves is
what a training has to surpass before it has found anything else.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import left_out  # noqa: E402

from dino_tf.analysis.neighbours import knn_accuracy, knn_predict  # noqa: E402
from dino_tf.errors import UserError  # noqa: E402

CELLS, REGIONS, BATCH = 14, 4, 64


def features_of(source, size):
    """Centred histograms of all readable photos.

    Returns:
        features: float32 (N, 144), L2-normalised.
        labels: int (N,).
        places: int (N,), in the source.
    """
    from dino_tf.evaluate.features import normalize
    from dino_tf.histograms import gradient_histograms, in_regions
    from dino_tf.pipeline import evaluation_dataset

    found, places = [], []
    for batch in evaluation_dataset(source, size, BATCH):
        cells = gradient_histograms(batch["image"], max(size // CELLS, 1))
        regions = np.asarray(in_regions(cells, REGIONS))
        found.append(regions.reshape(len(regions), -1))
        places.extend(np.asarray(batch["index"]))
    features = np.concatenate(found)
    labels = np.asarray([source.labels(int(i))[0] for i in places])
    return normalize(features - features.mean(axis=0)), labels, np.asarray(places)


def judge(data, size):
    """The measures of a study of a cut: {"knn", "knn_all", ...} in per cent.

    Raises:
        UserError: The photos have not one label each.
    """
    from dino_tf.datasets import open_source

    whole = left_out.both_splits(data)
    if not left_out.has_one_label_each(whole):
        raise UserError(f"{data}: expected one label for each photo, two classes")
    features, labels, places = features_of(whole, size)
    train = places < len(open_source(data, "train"))
    ranked = knn_predict(features[train], labels[train], features[~train], left_out.K)
    return {
        "knn": knn_accuracy(ranked, labels[~train])[0],
        **left_out.judge(features, labels, len(whole.class_names)),
    }


def main(argv=None):
    """Prints what was found; exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="SPEC of a cut, as a study leaves it in cuts/")
    parser.add_argument("--size", type=int, default=112, help="pixels a side")
    options = parser.parse_args(argv)
    try:
        print(json.dumps(judge(options.data, options.size), indent=1))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
