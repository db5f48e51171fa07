"""Arithmetic of a training, by numbers computed by hand."""

from types import SimpleNamespace

import keras
import pytest

from dino_tf import workload


def test_one_small_block_by_hand():
    # Products 12 * 2 * 9 = 216, attention 2 * 4 * 3 = 24, two operations each.
    assert workload.vit_flops(tokens=2, width=3, depth=1) == 480
    # A narrow MLP: 8 * 2 * 9 = 144 instead of 216.
    assert workload.vit_flops(tokens=2, width=3, depth=5, mlp_ratio=2.0) == 1680


def test_published_size():
    # ViT-S/16 at 224 pixels is published as 4.6 billion multiply-adds.
    flops = workload.vit_flops(tokens=197, width=384, depth=12)
    assert flops == 9_081_391_104
    assert flops / 2 == pytest.approx(4.6e9, rel=0.02)


def test_step_of_one_photo_by_hand():
    # Head 2 * 3 * 5 = 30. Global: 5 tokens, 1380 + 30, twice, four passes.
    # Local: 2 tokens, 480 + 30, once, three passes.
    flops = workload.flops_per_photo([(2, 8, True), (1, 4, False)], 4, 3, 1, [3, 5])
    assert flops == 2 * 1410 * 4 + 510 * 3


def test_exact_step_of_one_photo_by_hand():
    views = [(2, 8, True), (1, 4, False)]
    # Projection of 4 patches 2 * 4 * 3 * 48, three of four passes; of 1, two of three.
    patches = 2 * 1152 * 3 + 288 * 2
    every = workload.step_flops(views, 4, 3, 1, [3, 5], cls_only=False)
    assert every == 2 * 1410 * 4 + 510 * 3 + patches
    # Left out: 10 * 4 * 9 + 2 * 4 * 5 * 3 = 480, 10 * 9 + 2 * 2 * 3 = 102.
    less = workload.step_flops(views, 4, 3, 1, [3, 5])
    assert every - less == 2 * 4 * 2 * 480 + 3 * 2 * 102


def test_masked_patches_of_one_photo_by_hand():
    views = [(2, 8, True), (1, 4, False)]
    # What is left out above, of the global views alone, and a head of 30 for half of
    # their 4 patches.
    found = workload.masked_flops(views, 4, 3, [3, 5], 0.5)
    assert found == 2 * 4 * (2 * 480 + 2 * 30)


def test_orthogonalised_matrices_by_hand():
    # 2 x 2: three products of 8 multiplications; 2 x 8: two of 32 and one of 8.
    assert workload.muon_flops(2, 3, 5) == 3 * 5 * 2 * (4 * 3 * 8 + 2 * (2 * 32 + 8))


@pytest.mark.parametrize(
    ("width", "dtype", "measured"),
    [
        (384, "float32", 0.78),
        (384, "bfloat16", 0.62),
        (96, "float32", 0.29),
        (96, "bfloat16", 0.22),
    ],
)
def test_share_of_a_step_is_near_what_was_measured(width, dtype, measured):
    assert 1 / 1.4 < workload.step_share(width, dtype) / measured < 1.4


def test_half_of_a_step_at_the_even_width():
    assert workload.step_share(150) == 0.5
    assert workload.step_share(300, "float16") == 0.5


def test_numbers_of_a_network_by_hand():
    layers = [
        keras.layers.Conv2D(3, 3, padding="same", use_bias=False),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
    ]
    network = keras.Sequential([keras.Input((None, None, 3)), *layers])
    # The image and two maps of three channels, and three means.
    numbers = workload.count_numbers(network, (4, 5))
    assert numbers == 3 * 3 * 4 * 5 + 3


def test_seconds_of_a_photo_by_a_clock(monkeypatch):
    # Global: passes of 5, 3 and 4 seconds; local: 9, 2 and 1.
    times = iter([0, 5, 5, 8, 8, 12, 0, 9, 9, 11, 11, 12])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr(workload, "time", clock)

    def network(images, training):
        assert images.shape[0] == 2 and not training
        return images[:, 0, 0]

    views = [(2, 8, True), (6, 4, False), (0, 2, False)]
    seconds = workload.seconds_per_photo(network, views, batch=2)
    # Two crops of 3 / 2 seconds four times, six of 1 / 2 seconds three times.
    assert seconds == 2 * 1.5 * 4 + 6 * 0.5 * 3


def test_rate_counts_whole_products(monkeypatch):
    # Start, three looks at the clock (the third ends the loop), and the end.
    times = iter([0.0, 0.1, 0.2, 0.35, 0.5])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr(workload, "time", clock)
    # Two products of 2 * 4^3 operations in half a second.
    assert workload.matmul_rate(size=4, seconds=0.3) == 512


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rate_of_this_machine(dtype):
    assert workload.matmul_rate(dtype, size=64, seconds=0.02) > 1e6


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (12 * 60, "12 min"),
        (90 * 60, "1 h 30 min"),
        (12_000, "3 h 20 min"),
        (47 * 3600 + 59 * 60, "47 h 59 min"),
        (48 * 3600, "2 days 0 h"),
        (53 * 3600, "2 days 5 h"),
    ],
)
def test_durations_in_words(seconds, words):
    assert workload.say_duration(seconds) == words
