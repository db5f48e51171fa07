"""The published classifier, against numbers that PyTorch computed."""

from pathlib import Path

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.evaluate.linear_heads import (
    LinearHeads,
    cosine_share,
    head_scores,
    scaled_rates,
    train_heads,
)

DATA = Path(__file__).parent / "data" / "linear_sgd.npz"


def test_two_rates_at_once_as_two_published_runs():
    """`LinearClassifier`, SGD and CosineAnnealingLR of torch on 4 epochs of 2 batches.

    From facebookresearch/dino, eval_linear.py, at rates of 0.5 and 0.05.
    """
    run = np.load(DATA)
    x, y = run["features"], run["labels"]
    heads = LinearHeads(5, 3, (0.5, 0.05))
    heads.set_weights(run["initial"].T, np.zeros(3))
    losses = [
        heads.step(x[e, b], np.eye(3)[y[e, b]], cosine_share(e, 4))
        for e in range(4)
        for b in range(2)
    ]
    for i in range(2):
        np.testing.assert_allclose(heads.weights[i].T, run[f"weight{i}"], atol=1e-5)
        np.testing.assert_allclose(heads.bias[i], run[f"bias{i}"], atol=1e-5)
        np.testing.assert_allclose(np.array(losses)[:, i], run[f"losses{i}"], atol=1e-5)


def test_the_start():
    heads = LinearHeads(500, 40, (1, 2), seed=1)
    assert heads.weights.shape == (2, 500, 40)
    assert heads.weights.std() == pytest.approx(0.01, rel=0.02)
    np.testing.assert_array_equal(heads.weights[0], heads.weights[1])
    assert not heads.bias.any()
    np.testing.assert_array_equal(
        LinearHeads(500, 40, (1,), seed=1).weights[0], heads.weights[0]
    )
    assert (LinearHeads(500, 40, (1,), seed=2).weights[0] != heads.weights[0]).any()


def test_one_step_for_photos_of_several_classes():
    heads = LinearHeads(1, 2, (1.0,), single=False)
    heads.set_weights(np.zeros((1, 2)), np.zeros(2))
    loss = heads.step([[2.0], [0.0]], [[1, 1], [0, 1]])
    # Answers are 1/2: errors -1/2 -1/2, 1/2 -1/2, each over two photos.
    np.testing.assert_allclose(heads.weights[0], [[0.5, 0.5]])
    np.testing.assert_allclose(heads.bias[0], [0, 0.5])
    np.testing.assert_allclose(loss, [2 * np.log(2)], rtol=1e-6)


def test_rates():
    assert scaled_rates([0.001, 0.1], 1024) == [0.004, 0.4]
    shares = [cosine_share(e, 4) for e in range(4)]
    np.testing.assert_allclose(shares, [1, 0.853553, 0.5, 0.146447], atol=1e-6)


def test_training_learns_and_tells_its_losses():
    x = np.eye(3, dtype=np.float32)
    batches = [(epoch, x, np.eye(3)) for epoch in range(20)]
    heads, losses = train_heads(batches, 3, (1.0, 0.01), 20)
    assert losses.shape == (20, 2)
    assert losses[-1, 0] < 0.2 < losses[-1, 1] < losses[0, 1]
    scores = head_scores(heads.weights, heads.bias, x)
    assert scores.shape == (2, 3, 3)
    assert scores[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_nothing_to_learn_from():
    with pytest.raises(UserError, match="no photo to learn from"):
        train_heads([], 3, (1.0,), 1)
