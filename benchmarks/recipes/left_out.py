"""k-NN of every photo of a cut by all the others: finer than the validation photos.

    python benchmarks/recipes/left_out.py RUN --data shards:CUT --out FILE.json

Training looks at no label, so photos that were trained on can be judged too: each by
its nearest among all the others, those of validation included. That tells smaller
differences from chance, as it judges several times as many photos. It is no number of
photos that the network has never seen: `knn` is.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from dino_tf.analysis.neighbours import nearest, rank_classes  # noqa: E402
from dino_tf.datasets import open_source  # noqa: E402
from dino_tf.datasets.joined import Joined  # noqa: E402
from dino_tf.errors import UserError  # noqa: E402
from dino_tf.run_folder import write_text  # noqa: E402

K, TEMPERATURE = 20, 0.07


def both_splits(data):
    """All photos of a cut as one source, those to train on first."""
    return Joined({split: open_source(data, split) for split in ("train", "test")})


def has_one_label_each(source):
    """Whether every photo has exactly one label, and there are two classes or more."""
    if len(source.class_names) < 2:
        return False
    return all(len(source.labels(i)) == 1 for i in range(len(source)))


def judge(features, labels, classes):
    """Accuracy of the votes of all other photos, and how far chance may move it.

    Args:
        features: (N, D), L2-normalised, N of 2 or more.
        labels: int (N,), each in 0..classes - 1.
        classes: Number of classes.

    Returns:
        {"photos", "k"} and, in per cent, {"knn_all", "knn_all_classes"}: accuracy over
        the photos, and its mean over the classes that a photo shows; each with its
        standard error, name + "_error", as of photos drawn and judged one by one.

    Raises:
        UserError: There are fewer than two photos, or a feature is not finite.
    """
    count, labels = len(features), np.asarray(labels)
    if count < 2:
        raise UserError(f"got {count} photos, allowed: 2 or more")
    k = min(K, count - 1)
    similarities, indices = nearest(features, features, k + 1)
    own = indices == np.arange(count)[:, None]
    # Among more than k photos that are all alike it may not have found itself.
    own[~own.any(axis=1), -1] = True
    similarities, indices = (x[~own].reshape(count, k) for x in (similarities, indices))
    ranked = rank_classes(similarities, labels[indices], TEMPERATURE, classes)
    hits = ranked[:, 0] == labels
    photos = np.bincount(labels, minlength=classes)
    shown = photos > 0
    photos, right = photos[shown], np.bincount(labels[hits], minlength=classes)[shown]
    share, shares = hits.mean(), right / photos
    errors = shares * (1 - shares) / photos
    return {
        "photos": count,
        "k": k,
        "knn_all": 100.0 * float(share),
        "knn_all_error": 100.0 * math.sqrt(share * (1 - share) / count),
        "knn_all_classes": 100.0 * float(shares.mean()),
        "knn_all_classes_error": 100.0 * math.sqrt(errors.sum()) / len(shares),
    }


def judge_run(run, source):
    """`judge` of the backbone of a run, at the size at which it is evaluated.

    Photos that cannot be read are left out.

    Raises:
        UserError: There is no such run, or it gives features that are not finite.
    """
    from dino_tf.evaluate.features import normalize
    from dino_tf.evaluation import subject_of

    found = subject_of(run).summaries(source, None)
    labels = [source.labels(int(i))[0] for i in found["index"]]
    return judge(normalize(found["cls"]), labels, len(source.class_names))


def main(argv=None):
    """Writes what was found; exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--data", required=True, help="SPEC of the cut")
    parser.add_argument("--out", required=True, help="JSON file")
    options = parser.parse_args(argv)
    try:
        found = judge_run(options.run, both_splits(options.data))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_text(pathlib.Path(options.out), json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
