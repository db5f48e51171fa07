"""What each benchmark makes of given times: ratios, shares, whether work was alike."""

import math

import numpy as np
import pytest

WIDEST = 80


def told(program, result, capsys, *words):
    """Asserts that a result is told in 80 columns, with the words."""
    program.tell(result)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= WIDEST
    for word in words:
        assert word in out


def test_step(answer, capsys):
    import step

    work = {"arch": "vit_tiny", "patch_size": 16, "global_size": 64, "local_size": 32}
    work |= {"num_local": 1, "batch": 4, "out_dim": 64}
    found = {
        "ours": answer([0.5, 0.4, 0.6], [4.0, 3.9], 1e11),
        "published": answer([1.0], [4.0, 3.9], 2e11),
    }
    result = step.summary(work, found, dict.fromkeys(found, "float32"))
    ours = result["sides"]["ours"]
    assert ours["images_per_second"] == 8.0
    assert result["ours_over_published"] == 2.0
    # The better product of the two is the limit of both.
    assert ours["matrix_rate"] == 2e11
    share = ours["operations_per_step"] / 0.5 / 2e11
    assert math.isclose(ours["share_of_matrix_rate"], share)
    assert result["largest_loss_difference"] == 0.0
    told(step, result, capsys, "ours over published: 2.000", "losses alike")


def test_step_tells_unlike_losses(answer, capsys):
    import step

    work = {"arch": "vit_tiny", "patch_size": 16, "global_size": 64, "local_size": 32}
    work |= {"num_local": 1, "batch": 4, "out_dim": 64}
    found = {
        "ours": answer([1.0], [4.0], 1e11),
        "published": answer([1.0], [4.1], 1e11),
    }
    result = step.summary(work, found, dict.fromkeys(found, "float32"))
    told(step, result, capsys, "losses NOT ALIKE")


def test_step_with_parts_of_the_recipe(answer, capsys):
    import step

    work = {"arch": "vit_tiny", "patch_size": 16, "global_size": 64, "local_size": 32}
    work |= {"num_local": 1, "batch": 4, "out_dim": 64}
    found = {
        "ours": answer([1.0], [4.0], 1e11),
        step.WITH_PARTS: answer([1.25], [9.0], 1e11),
    }
    result = step.summary(work, found, dict.fromkeys(found, "float32"))
    assert "share_of_matrix_rate" not in result["sides"][step.WITH_PARTS]
    told(step, result, capsys, "with the parts over without: 0.800")


@pytest.mark.parametrize(
    ("has_bf16", "precision"), [(True, "mixed_bfloat16"), (False, "float32")]
)
def test_automatic_precision_is_that_of_a_training(has_bf16, precision, monkeypatch):
    import step

    from dino_tf import distribute

    found = distribute.Hardware(cpu_has_bf16=has_bf16)
    monkeypatch.setattr(distribute, "find_hardware", lambda: found)
    assert step.automatic_precision() == precision


def test_network(answer, capsys):
    import network

    work = {"patch_size": 16, "global_size": 64, "local_size": 32, "num_local": 2}
    work |= {"batch": 4, "out_dim": 64, "precision": "float32"}
    facts = {"width": 192, "depth": 12}
    sides = {
        "tensorflow": answer([0.5], [[4.0, 2.0]], 1e11, **facts),
        "tensorflow + XLA": answer([0.4], [[4.0, 2.0]], 1e11, **facts),
        "jax": answer([0.25], [[4.0, 2.0]], 1e11, device_peak_mb=7, **facts),
        "published": answer([1.0], [[4.0, 2.001]], 2e11),
    }
    result = network.summary(work, {"forward": sides, "both": sides})
    both, forward = result["passes"]["both"], result["passes"]["forward"]
    assert both["over_published"] == {
        "tensorflow": 2.0,
        "tensorflow + XLA": 2.5,
        "jax": 4.0,
        "published": 1.0,
    }
    assert both["matrix_rate"] == 2e11
    counted = {n: side["operations"] for n, side in both["sides"].items()}
    # The published network makes all of the last block.
    assert counted["jax"] < counted["published"]
    once = forward["sides"]["jax"]["operations"]
    assert 2 * once < counted["jax"] < 3 * once
    share = both["sides"]["jax"]["share_of_matrix_rate"]
    assert math.isclose(share, counted["jax"] / 0.25 / 2e11)
    assert both["apart"] == pytest.approx([0.0, 5e-4])
    assert both["alike"]
    told(network, result, capsys, "over published", "results alike")


def test_network_tells_unlike_results():
    import network

    sides = {name: {"per_second": 1.0, "results": [4.0]} for name in ("a", "b")}
    sides["b"]["results"] = [4.01]
    assert not network.compared(sides, (1e-4, 1e-3))["alike"]


def test_operations_of_a_forward_pass():
    import network

    work = {"patch_size": 16, "global_size": 32, "local_size": 16, "num_local": 0}
    work |= {"batch": 1, "out_dim": 10}
    # Two views of five tokens; 24 N D^2 + 4 N^2 D a block, patches, the head.
    block = 24 * 5 * 64**2 + 4 * 25 * 64
    head = 2 * (64 * 2048 + 2048 * 2048 + 2048 * 256 + 256 * 10)
    patches = 2 * 4 * 64 * 768
    counted = network.operations(work, 64, 3, cls_only=False)
    assert counted["forward"] == pytest.approx(2 * (3 * block + head + patches))
    assert counted["both"] == pytest.approx(6 * (3 * block + head) + 4 * patches)


def test_start(capsys):
    import start

    def one(first, step, **others):
        steps = {f"step {n}": first + step * (n - 1) for n in (1, 2, 3)}
        return {"moments": {"imported": 2.0, **others, **steps}, "losses": [4.0] * 3}

    starts = {
        "ours, 1st": [one(9.0, 1.0), one(11.0, 1.0), one(10.0, 2.0)],
        "published, 1st": [one(5.0, 2.0, **{"first batch": 3.0})],
    }
    sides = start.summary(starts)
    assert sides["ours, 1st"]["first_step_ends"] == 10.0
    assert sides["ours, 1st"]["computing_begins"] == 8.0
    assert sides["ours, 1st"]["all_first_step_ends"] == [9.0, 11.0, 10.0]
    assert sides["published, 1st"]["computing_begins"] == 3.0
    start.tell("vit_small", sides)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDEST - len("  ours, 2nd  published, 2nd")
    assert lines[1].split() == ["imported", "2.00", "2.00"]
    assert lines[2].split() == ["first", "batch", "3.00"]


def test_attend(answer, capsys):
    import attend

    found = {
        "ours": answer([2.0, 1.0], [[11, 100], [11, 200]], ready_seconds=1.0),
        "published": answer([4.0, 2.0], [[13, 50], [13, 60]], ready_seconds=1.0),
    }
    checks = {"ours": [0.5, 0.25], "published": [0.5, 0.250001]}
    result = attend.summary({"count": 6}, found, checks)
    assert result["sides"]["ours"]["per_second"] == 2.0
    assert result["sides"]["ours"]["files"] == 22
    assert result["sides"]["published"]["bytes"] == 110
    assert result["ours_over_published"] == 2.0
    told(attend, result, capsys, "attention alike: apart by 4.0e-06")
    checks["ours"][1] = 0.26
    assert not attend.summary({"count": 6}, found, checks)["alike"]


def test_views(answer, capsys):
    import views

    def one(others, **more):
        return {"photos": 4, "mean": 0.1, "deviation": 1.0, "others": others, **more}

    stages = [{"decode": 0.5, "resize": 1.5}, {"decode": 1.5, "resize": 0.5}]
    ours = [one(0.0, stages=stages[0]), one(2.0, stages=stages[1])]
    theirs = {"photos": 4, "mean": 0.15, "deviation": 1.05}
    found = {"ours": answer([1.0, 3.0], ours), "published": answer([4.0], [theirs])}
    result = views.summary({}, found)
    side = result["sides"]["ours"]
    assert side["photos_per_second"] == 2.0
    # 2 and 6 seconds of its own, 0 and 2 of other processes.
    assert side["processor_ms_per_photo"] == 1250
    assert side["of_them_in_other_processes"] == 250
    assert side["stages_ms_per_photo"] == {"decode": 250, "resize": 250}
    assert result["ours_over_published"] == 2.0
    assert result["processor_seconds_published_over_ours"] == 1.6
    told(views, result, capsys, "views alike", "by seconds of the processor: 1.60")
    found["published"]["results"][0]["mean"] = 0.3
    told(views, views.summary({}, found), capsys, "views NOT ALIKE")


def test_features(answer, capsys):
    import features

    found = {
        "ours": answer([2.0], [[6, 4]], ready_seconds=1.0),
        "published": answer([3.0], [[6, 4]], ready_seconds=1.0),
    }
    some = np.eye(4, dtype="float32")
    result = features.summary({"count": 6}, found, [some, some + 2e-5])
    assert result["sides"]["ours"]["per_second"] == 3.0
    assert result["ours_over_published"] == 1.5
    told(features, result, capsys, "features alike: apart by 2.0e-05")
    assert not features.summary({"count": 6}, found, [some, some + 2e-3])["alike"]


def test_checkpoint(answer, capsys):
    import checkpoint

    ours = [{"bytes": 10**7, "extra_mb": n, "check": 8.0} for n in (1, 9, 2)]
    theirs = [{"bytes": 2 * 10**7, "extra_mb": 4, "check": 8.0}]
    sides = {"ours": answer([2.0], ours), "published": answer([1.0], theirs)}
    part = checkpoint.summary({}, {"load": sides})["parts"]["load"]
    assert part["sides"]["ours"]["extra_mb"] == 2
    assert part["sides"]["ours"]["mb_per_second"] == 5.0
    assert part["published_over_ours_seconds"] == 0.5
    assert part["alike"]
    told(checkpoint, {"parts": {"load": part}}, capsys, "contents alike")
    ours[0]["check"] = 8.1
    assert not checkpoint.summary({}, {"load": sides})["parts"]["load"]["alike"]


def test_knn(answer, capsys):
    import knn

    first = {"accuracy": [[50.0, 70.0]], "search": 1.5, "votes": 0.5}
    sides = {
        "ours": answer([2.0], [first], features_mb=60),
        "published": answer([4.0], [{"accuracy": [[50.1, 70.0]]}], features_mb=90),
    }
    work = {"test": 1000, "k": {"one k": [20]}}
    result = knn.summary(work, {"one k": sides})
    part = result["parts"]["one k"]
    assert part["ours_over_published_seconds"] == 0.5
    assert part["sides"]["ours"]["beside_features_mb"] == 40
    assert part["sides"]["ours"]["search_seconds"] == 1.5
    assert part["sides"]["ours"]["per_second"] == 500
    assert part["alike"]
    told(knn, result, capsys, "k 20", "accuracies alike: apart by 0.100 points")
    work["test"] = 2000
    assert not knn.summary(work, {"one k": sides})["parts"]["one k"]["alike"]


def test_step_floor_counts_a_block_as_the_workload_does():
    import step_floor

    from dino_tf.workload import vit_flops

    shapes = step_floor.block_products(images=6, tokens=10, width=32, heads=4)
    assert sum(map(step_floor.count, shapes)) == 6 * vit_flops(10, 32, depth=1)


def test_step_floor_bytes():
    import step_floor

    work = {"patch_size": 16, "global_size": 32, "local_size": 16, "num_local": 1}
    work |= {"batch": 3}
    # 6 images of 5 tokens, student and teacher; 3 of 2 tokens, student alone.
    moved = 9 * 100 + 6 * 5 * (52 + 24) * 8 + 6 * 2 * 25 * (5 + 2)
    moved += 3 * 2 * 52 * 8 + 3 * 2 * 4 * 5
    assert step_floor.bytes_moved(work, 8, 1, 2, 100) == 4 * moved


def test_step_floor(capsys):
    import step_floor

    found = {"step": 5.0, "products": 2.0, "ceiling": 2e11, "memory": 1e10}
    result = step_floor.summary({}, found, 8e11, 3e11, 1e9)
    assert result["seconds"]["products"] == 8e11 / 1.5e11
    assert result["seconds"]["passes"] == 0.1
    shares = result["share_of_matrix_rate"]
    assert shares["step"] == 0.8
    assert math.isclose(shares["products"], 0.75)
    assert math.isclose(shares["floor"], 4 / (8 / 1.5 + 0.1))
    told(step_floor, result, capsys, "step as it is", "80.0%", "1.00 GB")


def test_soak(capsys):
    import soak

    def noted(memory):
        return {"memory_mb": memory, "files": 10, "threads": 4}

    result = soak.summary(40, [noted(100 + i) for i in range(40)])
    memory = result["held"]["memory_mb"]
    assert memory["quarters"] == [104.5, 114.5, 124.5, 134.5]
    assert math.isclose(memory["growth"], 134.5 / 114.5 - 1)
    assert result["held"]["files"] == {"quarters": [10] * 4, "growth": 0.0}
    told(soak, result, capsys, "open files", "+17.5%", "+0.0%")
