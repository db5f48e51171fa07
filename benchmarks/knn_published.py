"""The published side of `knn.py`: `knn_classifier`, which searches anew for each k.

PYTHON knn_published.py CHECKOUT JSON
"""

import json
import pathlib
import sys

import answers
import torch
from knn_ours import TEMPERATURE, data_of


def main():
    """Answers requests, the whole classification each."""
    checkout, work = sys.argv[1], json.loads(sys.argv[2])
    sys.path.insert(0, checkout)
    sys.path.append(str(pathlib.Path(__file__).parent / "stand_in"))
    from eval_knn import knn_classifier

    data = [torch.from_numpy(array) for array in data_of(work)]
    facts = {"features_mb": answers.memory("VmRSS")}

    def classify(ks):
        found = [knn_classifier(*data, int(k), TEMPERATURE) for k in ks]
        return {"accuracy": [[float(n) for n in pair] for pair in found]}

    runs = {name: lambda ks=ks: classify(ks) for name, ks in work["k"].items()}
    answers.serve(runs, facts=facts | {"threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()
