"""Mimetic initial weights: products of matrices, and the table of positions."""

import keras
import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.models.mimetic import initialise_mimetic, sinusoids

WIDTH, HEADS, SIZE = 64, 4, 16


@pytest.fixture(scope="module")
def backbone():
    sizes = {"embed_dim": WIDTH, "depth": 2, "num_heads": HEADS, "patch_size": 8}
    keras.utils.set_random_seed(0)
    network = create_backbone("vit_tiny", image_size=(16, 24), **sizes)
    initialise_mimetic(network, seed=3)
    return network


def matrices(block):
    """Queries, keys (heads, D, d), values (D, D) and projection (D, D)."""
    queries, keys, values = np.split(block.attn.qkv.kernel.numpy(), 3, axis=1)
    by_head = [m.reshape(WIDTH, HEADS, SIZE).swapaxes(0, 1) for m in (queries, keys)]
    return *by_head, values, block.attn.proj.kernel.numpy()


def test_queries_and_keys_agree_in_every_head(backbone):
    for block in backbone.blocks:
        queries, keys, *_ = matrices(block)
        for query, key in zip(queries, keys, strict=True):
            product = query @ key.T
            # The 16 largest of 64 singular values: by NumPy the mean of the diagonal
            # is 0.314 with a deviation of 0.005 over 1,000 draws, and the whole
            # matrix would have 0.7.
            assert np.diag(product).mean() == pytest.approx(0.314, abs=0.02)
            beside = product - np.diag(np.diag(product))
            assert abs(beside.mean()) < 0.02
            # Both factors have the roots of the singular values.
            np.testing.assert_allclose(
                np.linalg.svd(query)[1], np.linalg.svd(key)[1], rtol=1e-4
            )
            assert np.linalg.svd(query)[1].min() > 1.0


def test_heads_and_blocks_have_noise_of_their_own(backbone):
    queries = np.concatenate([matrices(block)[0] for block in backbone.blocks])
    assert len({round(float(q[0, 0]), 6) for q in queries}) == 2 * HEADS


def test_values_and_projection_turn_the_sign(backbone):
    for block in backbone.blocks:
        *_, values, projection = matrices(block)
        noise = values @ projection + 0.4 * np.eye(WIDTH)
        assert noise.mean() == pytest.approx(0.0, abs=0.005)
        assert noise.std() == pytest.approx(0.4 / 8, rel=0.05)
        assert np.diag(noise).mean() == pytest.approx(0.0, abs=0.03)
        # Of each head its share: a quarter of -0.4, on the average.
        shares = [
            np.diag(values[:, i : i + SIZE] @ projection[i : i + SIZE]).mean()
            for i in range(0, WIDTH, SIZE)
        ]
        assert np.mean(shares) == pytest.approx(-0.1, abs=0.01)
        assert max(shares) < 0


def test_numbers_of_a_tiny_network():
    """The rule once more, written out for one head that has the whole width."""
    network = create_backbone("vit_tiny", 4, 4, embed_dim=8, depth=1, num_heads=1)
    initialise_mimetic(network, seed=5)
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 8, 8)) / 8**0.5
    kernel = network.blocks[0].attn.qkv.kernel.numpy()
    query, key, value = kernel[:, :8], kernel[:, 8:16], kernel[:, 16:]
    # With one head nothing is cut off.
    np.testing.assert_allclose(query @ key.T, 0.7 * first + 0.7 * np.eye(8), atol=1e-5)
    projection = network.blocks[0].attn.proj.kernel.numpy()
    wanted = 0.4 * second - 0.4 * np.eye(8)
    np.testing.assert_allclose(value @ projection, wanted, atol=1e-5)


def test_positions_are_sines():
    table = sinusoids((2, 3), 8)
    # Frequencies 1 and 1e-4; the last patch has column 2 and row 1.
    expected = [np.sin(2), 2e-4, np.cos(2), 1, np.sin(1), 1e-4, np.cos(1), 1]
    np.testing.assert_allclose(table[-1], expected, atol=1e-7)
    np.testing.assert_allclose(table[0], [0, 0, 1, 1, 0, 0, 1, 1])
    # The second patch is one column on.
    assert table[1][0] == pytest.approx(0.84147098) and table[1][4] == 0
    assert sinusoids((4, 4), 16)[1][1] == pytest.approx(np.sin(10_000 ** (-1 / 3)))


def test_table_of_the_network(backbone):
    table = backbone.pos_embed.numpy()[0]
    np.testing.assert_allclose(table[1:], sinusoids((2, 3), WIDTH), atol=1e-6)
    assert not table[0].any() and backbone.pos_embed.trainable


def test_same_seed_same_weights(backbone):
    sizes = {"embed_dim": WIDTH, "depth": 2, "num_heads": HEADS, "patch_size": 8}
    other = create_backbone("vit_tiny", image_size=(16, 24), **sizes)
    kernels = []
    for seed in (3, 4):
        initialise_mimetic(other, seed)
        kernels.append(other.blocks[1].attn.qkv.kernel.numpy())
    np.testing.assert_array_equal(
        kernels[0], backbone.blocks[1].attn.qkv.kernel.numpy()
    )
    assert np.abs(kernels[1] - kernels[0]).max() > 0.1


def test_other_weights_stay_as_they_were():
    sizes = {"embed_dim": 8, "depth": 1, "num_heads": 2, "patch_size": 8}
    network = create_backbone("vit_tiny", image_size=16, **sizes)
    before = {v.path: v.numpy() for v in network.weights}
    initialise_mimetic(network)
    changed = {p for v in network.weights for p in [v.path] if (before[p] != v).any()}
    ends = {path.partition("/")[2] for path in changed}
    assert ends == {
        "pos_embed",
        "blocks.0/attn/qkv/kernel",
        "blocks.0/attn/proj/kernel",
    }


def test_widths_that_have_no_table_of_sines():
    network = create_backbone("vit_tiny", 8, 16, embed_dim=6, depth=1, num_heads=2)
    with pytest.raises(UserError, match="got mimetic for width 6; allowed: published"):
        initialise_mimetic(network)
