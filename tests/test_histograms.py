"""Histograms of gradients by images whose edges are known."""

import keras
import numpy as np
import pytest

from dino_tf.histograms import (
    BINS,
    GREY,
    HistogramPrediction,
    gradient_histograms,
    in_regions,
)
from dino_tf.models.vit import VisionTransformer


def ramp(degrees, size=16):
    """(1, S, S, 3), brighter by one a pixel in a direction."""
    rows, columns = np.mgrid[:size, :size]
    turn = np.deg2rad(degrees)
    image = columns * np.cos(turn) + rows * np.sin(turn)
    return np.repeat(image[None, ..., None], 3, axis=-1).astype("float32")


@pytest.mark.parametrize("degrees", [10, 50, 90, 170, 190, 350])
def test_a_direction_in_the_middle_of_a_bin_is_all_its(degrees):
    found = gradient_histograms(ramp(degrees, 24), 8)[0, 1, 1].numpy()
    expected = np.eye(BINS)[degrees % 180 // 20]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_direction_between_bins_is_shared():
    # 45 degrees are a quarter of the way from the middle of bin 1 to that of bin 2.
    found = gradient_histograms(ramp(45, 24), 8)[0, 1, 1].numpy()
    np.testing.assert_allclose(found[2] / found[1], 3.0, rtol=1e-3)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    # 0 degrees are as near to the last bin as to the first.
    found = gradient_histograms(ramp(0, 24), 8)[0, 1, 1].numpy()
    np.testing.assert_allclose(found[[0, 8]], 0.5**0.5, atol=1e-3)


def test_light_and_contrast_do_not_count_and_flat_cells_are_empty():
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
    plain = gradient_histograms(image, 8).numpy()
    np.testing.assert_allclose(gradient_histograms(3 * image + 5, 8), plain, atol=1e-3)
    assert np.abs(gradient_histograms(np.ones((1, 16, 16, 3)), 8)).max() < 1e-3


def test_strength_is_told_by_the_length_where_it_is_small():
    step = 1e-3
    found = gradient_histograms(step * ramp(10, 24), 8)[0, 1, 1].numpy()
    strength = 64 * 2 * step * GREY
    assert found[0] == pytest.approx(strength / (strength**2 + 1e-2) ** 0.5, rel=1e-3)


def test_what_does_not_fill_a_cell_is_left_out():
    image = np.random.default_rng(0).normal(size=(2, 20, 17, 3)).astype("float32")
    assert gradient_histograms(image, 8).shape == (2, 2, 2, BINS)


def test_regions_are_means():
    cells = np.arange(2 * 6 * 4 * 1.0).reshape(2, 6, 4, 1).astype("float32")
    found = np.asarray(in_regions(cells, 2))
    assert found.shape == (2, 2, 2, 1)
    assert found[1, 0, 1, 0] == pytest.approx(cells[1, :3, 2:].mean())
    uneven = np.asarray(in_regions(cells[:, :5], 2))
    assert uneven[0, 1, 0, 0] == pytest.approx(cells[0, 2:5, :2].mean())


def prediction(width=6):
    made = HistogramPrediction()
    made.build((None, width))
    return made


def batch(photos=4, local=1):
    """Views whose patches of 4 pixels have quarters of 2, as the cells are."""
    rng = np.random.default_rng(0)
    large = rng.normal(size=(photos, 2, 16, 16, 3)).astype("float32")
    return large, rng.normal(size=(photos, local, 8, 8, 3)).astype("float32")


def truths(views):
    """Regions (n, 144) and patches (n, 16, 36) of global views."""
    images = views.transpose(1, 0, 2, 3, 4).reshape(-1, 16, 16, 3)
    cells = np.asarray(gradient_histograms(images, 2))
    patches = [
        [cells[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for j in range(4)]
        for i in range(4)
    ]
    patches = np.stack([p.reshape(len(cells), 36) for row in patches for p in row], 1)
    return np.asarray(in_regions(cells, 4)).reshape(len(cells), -1), patches


def test_truth_leaves_nothing_and_the_mean_all():
    made, (large, small) = prediction(144), batch(local=0)
    regions, patches = truths(large)
    some = np.zeros((144, 36), "float32")
    some[:36] = np.eye(36)
    # What features share is taken away, and the bias brings the mean back.
    made.layers["large"].set_weights([np.eye(144), regions.mean(0)])
    made.layers["patch"].set_weights([some, patches.mean((0, 1))])
    tokens = np.zeros((8, 16, 144), "float32")
    tokens[..., :36] = patches
    mean = np.tile(regions.mean(0), (8, 1))
    flat = np.tile(tokens.mean((0, 1)), (8, 16, 1))
    for known, seen, left in (
        (regions, tokens, 0.0),
        (mean, flat, 1.0),
        (regions, flat, 0.5),
    ):
        found = made.loss([(known, seen)], large, small)
        assert float(found) == pytest.approx(left, abs=1e-5)


def test_local_crops_are_guessed_too():
    made, (large, small) = prediction(), batch()
    rng = np.random.default_rng(1)
    known = [
        tuple(rng.normal(size=size).astype("float32") for size in sizes)
        for sizes in (((8, 6), (8, 16, 6)), ((4, 6), (4, 4, 6)))
    ]
    both = float(made.loss(known, large, small))
    alone = float(made.loss(known[:1], large, small[:, :0]))
    made.layers["small"].set_weights([np.ones((6, 36)), np.zeros(36)])
    assert float(made.loss(known, large, small)) > 2 * both
    again = made.loss(known[:1], large, small[:, :0])
    assert float(again) == alone


def test_what_all_features_share_is_no_matter():
    made, (large, small) = prediction(), batch(local=0)
    rng = np.random.default_rng(1)
    features = rng.normal(size=(8, 6)).astype("float32")
    tokens = rng.normal(size=(8, 16, 6)).astype("float32")
    found = made.loss([(features, tokens)], large, small)
    moved = made.loss([(features + 9.0, tokens - 7.0)], large, small)
    assert float(moved) == pytest.approx(float(found), abs=1e-4)


def test_the_guess_begins_near_the_mean_of_edges():
    # Of noise the truth hardly differs from the mean, which 0.25 is not far from.
    made, (large, small) = prediction(), batch(64, 0)
    known = [(np.zeros((128, 6), "float32"), np.zeros((128, 16, 6), "float32"))]
    assert float(made.loss(known, large, small)) < 2


@pytest.mark.parametrize(("depth", "place"), [(1, 0), (2, 0), (3, 1), (4, 2), (12, 8)])
def test_what_is_asked_lies_after_three_quarters_of_the_blocks(depth, place):
    sizes = {"embed_dim": 8, "num_heads": 2, "patch_size": 4, "num_registers": 3}
    vit = VisionTransformer(image_size=8, depth=depth, **sizes)
    vit.build()
    images, inner = batch()[0][:, 0, :8, :8], []
    cls, patches = vit.patch_tokens(images, inner=inner)
    assert [len(tokens[0]) for tokens in inner] == [8] * depth
    np.testing.assert_allclose(vit.norm(inner[-1])[:, 0], cls, atol=1e-6)
    found = HistogramPrediction().known(vit, inner)
    assert [part.shape for part in found] == [(4, 8), (4, 4, 8)]
    plain = inner[place].numpy()[:, [0, 4, 5, 6, 7]]
    plain -= plain.mean(-1, keepdims=True)
    plain /= (plain.var(-1, keepdims=True) + 1e-6) ** 0.5
    np.testing.assert_allclose(found[0], plain[:, 0], atol=1e-5)
    np.testing.assert_allclose(found[1], plain[:, 1:], atol=1e-5)
    cut = []
    again, nothing = vit.patch_tokens(images, cls_only=True, inner=cut)
    np.testing.assert_allclose(again, cls, atol=1e-5)
    assert nothing.shape == (4, 0, 8) and len(cut) == depth


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (
            VisionTransformer(patch_size=5, image_size=10, embed_dim=12, depth=1),
            "VisionTransformer, patch size 5",
        ),
        (keras.layers.Dense(3), "a Dense, patch size None"),
    ],
)
def test_what_it_cannot_be_for(backbone, words):
    with pytest.raises(ValueError, match=words):
        HistogramPrediction().check(backbone)


@pytest.mark.parametrize("photos", [1, 4])
def test_photos_without_edges_and_single_ones_leave_a_bounded_share(photos):
    made, (large, small) = prediction(), batch(photos)
    known = [
        (np.ones((photos * n, 6), "float32"), np.ones((photos * n, p, 6), "float32"))
        for n, p in ((2, 16), (1, 4))
    ]
    for views in ((large, small), (0 * large, 0 * small)):
        assert 0.5 < float(made.loss(known, *views)) < 40


def test_the_deviation_is_that_of_the_pixels():
    images = batch()[0][:, 0]
    found = gradient_histograms(0.1 * images, 2, 0.5)
    expected = gradient_histograms(0.05 * images, 2, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - gradient_histograms(0.1 * images, 2)).max() > 0.01


@pytest.mark.parametrize("value", [0, float("inf"), -1.0])
def test_numbers_out_of_range_are_refused(value):
    for name in ("weight", "deviation"):
        with pytest.raises(ValueError, match=f"{name}={value}: expected above 0"):
            HistogramPrediction(**{name: value})


def test_made_again_from_its_configuration():
    made = HistogramPrediction(3.0, 0.3)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(made)
    )
    assert (again.weight, again.deviation) == (3.0, 0.3)
    assert again.dtype_policy.name == "float32"
