"""Maps of features: known directions, groups that stay together, refusals."""

import sys
import types

import numpy as np
import pytest

from dino_tf.analysis.embedding import embed_2d
from dino_tf.errors import UserError


def groups(size=12):
    """Two groups of points far from each other: (2 * size, 5)."""
    rng = np.random.default_rng(0)
    centers = np.repeat([[0.0] * 5, [40.0] * 5], size, axis=0)
    return centers + rng.normal(size=(2 * size, 5))


def test_pca_turns_the_plane_of_the_points():
    expected = [[4, 0], [-2, 0], [-2, 0], [0, 2], [0, -1], [0, -1]]
    turned = [[short, 9, long] for long, short in expected]
    np.testing.assert_allclose(embed_2d(turned), expected, atol=1e-6)


def test_pca_of_hardly_anything():
    np.testing.assert_array_equal(embed_2d([[5.0, 6.0]]), [[0, 0]])
    np.testing.assert_array_equal(embed_2d(np.ones((3, 4))), np.zeros((3, 2)))
    places = embed_2d([[1.0], [3.0], [8.0]])
    np.testing.assert_allclose(places, [[-3, 0], [-1, 0], [4, 0]], atol=1e-6)


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_groups_stay_apart_and_calls_agree(method):
    if method == "umap":
        pytest.importorskip("umap", reason="umap-learn is not installed")
    places = embed_2d(groups(), method)
    assert places.dtype == np.float32 and places.shape == (24, 2)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-4)
    near = np.linalg.norm(places[:12] - places[:12].mean(axis=0), axis=1).max()
    far = np.linalg.norm(places[:12].mean(axis=0) - places[12:].mean(axis=0))
    assert far > near
    np.testing.assert_array_equal(places, embed_2d(groups(), method))


def test_umap_is_asked_for_a_seed_and_few_neighbours(monkeypatch):
    asked = {}

    class Stand:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, features):
            return features[:, :2]

    module = types.ModuleType("umap")
    module.UMAP = Stand
    monkeypatch.setitem(sys.modules, "umap", module)
    embed_2d(groups(3), "umap", seed=7)
    assert asked == {
        "n_neighbors": 5,
        "init": "random",
        "random_state": 7,
        "n_jobs": 1,
    }


def test_umap_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        embed_2d(groups(), "umap")


@pytest.mark.parametrize(
    ("features", "method", "words"),
    [
        (np.zeros((0, 3)), "pca", r"\(0, 3\)"),
        (np.zeros(3), "pca", r"\(3,\)"),
        ([[np.nan, 1.0]], "pca", "finite"),
        (np.zeros((9, 3)), "mds", "'mds', allowed: pca, tsne, umap"),
        (np.zeros((3, 3)), "tsne", "tsne of 3 photos; allowed: 4 or more"),
    ],
)
def test_refusals(features, method, words):
    with pytest.raises(UserError, match=words):
        embed_2d(features, method)
