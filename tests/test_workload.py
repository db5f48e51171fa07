"""Arithmetic of a training, by numbers computed by hand."""

from types import SimpleNamespace

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
