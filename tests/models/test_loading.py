"""Networks from the files of other programs."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.models.head import DINOHead
from dino_tf.models.loading import head_of, load_backbone
from dino_tf.models.weight_files import read_weights
from dino_tf.models.weights import published_weights

OTHERS = "other_vits.npz"
TINY = {"embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 8, "image_size": 16}


@pytest.fixture(scope="module")
def others(request):
    """Arrays of tiny networks, computed by the programs that they are named after."""
    return np.load(request.path.parent / "data" / OTHERS)


def part(arrays, start):
    names = [name for name in arrays if name.startswith(start)]
    return {name.removeprefix(start): arrays[name] for name in names}


@pytest.fixture(scope="module")
def tiny():
    keras.utils.set_random_seed(3)
    return create_backbone("vit_tiny", **TINY)


def write(path, arrays):
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "dinov2",
        "dinov2_reg",
        "dinov2_swiglu",
        "timm_vit",
        "timm_reg",
        "timm_swiglu",
        "hf4_vit",
        "hf4_dinov2",
        "hf4_dinov2_reg",
        "hf5_vit",
        "hf5_dinov2_reg",
    ],
)
def test_other_programs_networks(name, others, tmp_path):
    file = write(tmp_path / "w.safetensors", part(others, f"{name}/weights/"))
    heads = json.loads(str(others[f"{name}/config"]))["heads"]
    backbone = load_backbone(file, num_heads=heads)
    count = 0
    while f"{name}/image{count}" in others:
        tokens = backbone.extract(others[f"{name}/image{count}"], ["tokens"])["tokens"]
        np.testing.assert_allclose(tokens, others[f"{name}/tokens{count}"], atol=1e-4)
        count += 1
    assert count


def pieces(data, key):
    """{published name: float32 array} of one flat array."""
    shapes = json.loads(str(data[f"{key}/shapes"]))
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    flat = np.split(data[key].astype("float32"), np.cumsum(sizes)[:-1])
    pairs = zip(shapes.items(), flat, strict=True)
    return {name: piece.reshape(shape) for (name, shape), piece in pairs}


def other_network(request, file, key):
    """Arrays of a network of `file`, and its features of the first case."""
    data = np.load(request.path.parent / "data" / file)
    image = data[f"{key}/case0/image"].astype("float32") / 32.0
    return pieces(data, f"{key}/weights"), image, data[f"{key}/case0/cls"]


@pytest.mark.parametrize(
    ("file", "key", "expected"),
    [
        (
            "xcit.npz",
            "p16",
            {
                "embed_dim": 16,
                "depth": 1,
                "num_heads": 4,
                "patch_size": 16,
                "mlp_ratio": 4.0,
                "cls_attn_layers": 2,
            },
        ),
        ("xcit.npz", "p8", {"depth": 2, "num_heads": 2, "patch_size": 8}),
        ("resnet.npz", "w3", {"stages": (1, 2, 1, 1), "width": 3, "embed_dim": 96}),
        ("resnet.npz", "w2", {"stages": (2, 1, 1, 2), "width": 2, "embed_dim": 64}),
    ],
)
def test_xcit_and_resnet_are_recognised(file, key, expected, request, tmp_path):
    named, image, features = other_network(request, file, key)
    backbone = load_backbone(write(tmp_path / "w.safetensors", named))
    for name, value in expected.items():
        assert getattr(backbone, name) == value, name
    np.testing.assert_allclose(backbone(image), features, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_of_a_resnet(request, tmp_path):
    named, image, features = other_network(request, "resnet.npz", "w3")
    checkpoint = {f"module.backbone.{k}": v for k, v in named.items()}
    checkpoint["module.backbone.bn1.num_batches_tracked"] = np.array(7)
    head = DINOHead(16, hidden_dim=8, bottleneck_dim=4)
    head.build((None, 96))
    head = published_weights(head)
    checkpoint |= {f"module.head.{k}": v for k, v in head.items()}
    file = write(tmp_path / "w.safetensors", checkpoint)
    np.testing.assert_allclose(load_backbone(file)(image), features, rtol=1e-5)
    assert head_of(read_weights(file)).out_dim == 16


def test_a_classifier_of_a_resnet_is_left_out(request, tmp_path):
    named, image, features = other_network(request, "resnet.npz", "w2")
    named |= {"fc.weight": np.ones((5, 64), "float32"), "fc.bias": np.ones(5)}
    backbone = load_backbone(write(tmp_path / "w.safetensors", named))
    np.testing.assert_allclose(backbone(image), features, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "key", "changes", "heads", "message"),
    [
        ("xcit.npz", "p16", {}, 2, "has 4 heads; asked for were 2"),
        ("resnet.npz", "w3", {}, 2, "a ResNet has no heads; asked for were 2"),
        ("resnet.npz", "w3", {"bn1.weight": None}, None, r"1 missing \(bn1.weight\)"),
        ("resnet.npz", "w3", {"conv1.weight": np.ones(3)}, None, r"has shape \(3,\)"),
        ("resnet.npz", "w3", {"layer1.0.conv3.weight": None}, None, "no network that"),
        ("resnet.npz", "w3", {"layer6.0.bn1.bias": np.ones(3)}, None, "unexpected"),
        ("xcit.npz", "p8", {"norm.bias": None}, None, r"1 missing \(norm.bias\)"),
        (
            "xcit.npz",
            "p8",
            {"patch_embed.proj.4.0.weight": None},
            None,
            "has 2 convolutions; expected 3 or 4",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    file, key, changes, heads, message, request, tmp_path
):
    named = {**other_network(request, file, key)[0], **changes}
    named = {k: v for k, v in named.items() if v is not None}
    path = write(tmp_path / "w.safetensors", named)
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(path, num_heads=heads)
    assert "w.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def arrays(tiny):
    return published_weights(tiny)


def head_arrays(**changes):
    head = DINOHead(16, hidden_dim=8, bottleneck_dim=4, **changes)
    head.build((None, 12))
    return published_weights(head)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "module.backbone.", "backbone.", "_orig_mod.module."]
)
def test_prefixes_of_training(prefix, arrays, tiny, tmp_path):
    named = {prefix + name: array for name, array in arrays.items()}
    head = {name: array for name, array in head_arrays().items()}
    start = prefix.replace("backbone.", "")
    named |= {f"{start}head.{name}": array for name, array in head.items()}
    file = write(tmp_path / "w.safetensors", named)
    loaded = load_backbone(file, num_heads=2)
    for one, two in zip(loaded.weights, tiny.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert loaded.image_size == (16, 16) and loaded.patch_size == 8
    assert set(read_weights(file).head) == set(head)


@pytest.mark.parametrize("part", [None, "student", "teacher"])
def test_two_networks_by_their_prefixes(part, arrays, tmp_path):
    named = {}
    for owner, factor in (("student", 1.0), ("teacher", 2.0)):
        for name, array in arrays.items():
            named[f"{owner}.backbone.{name}"] = array * np.float32(factor)
    file = write(tmp_path / "w.safetensors", named)
    factor = 1.0 if part == "student" else 2.0
    loaded = published_weights(load_backbone(file, num_heads=2, part=part))
    np.testing.assert_array_equal(loaded["cls_token"], arrays["cls_token"] * factor)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_bn": True},
        {"num_layers": 1},
        {"num_layers": 2},
        {"norm_last_layer": False},
    ],
)
def test_heads_are_recognised(changes, arrays, tmp_path):
    head = head_arrays(**changes)
    if "norm_last_layer" in changes:
        head["last_layer.weight_g"] = head["last_layer.weight_g"] * 1.5
    named = {f"backbone.{k}": v for k, v in arrays.items()}
    named |= {f"head.{k}": v for k, v in head.items()}
    loaded = head_of(read_weights(write(tmp_path / "w.safetensors", named)))
    for name, value in published_weights(loaded).items():
        np.testing.assert_array_equal(value, head[name])
    for name, value in changes.items():
        assert getattr(loaded, name) == value
    assert (loaded.out_dim, loaded.bottleneck_dim) == (16, 4)


def test_the_newer_names_of_a_weight_norm(arrays, tmp_path):
    named = {f"backbone.{k}": v for k, v in arrays.items()}
    for name, value in head_arrays().items():
        for number, old in enumerate(("weight_g", "weight_v")):
            new = f"parametrizations.weight.original{number}"
            name = name.replace(old, new)
        named[f"head.{name}"] = value
    assert head_of(read_weights(write(tmp_path / "w.safetensors", named)))


def changed(arrays, **changes):
    """Copy with entries replaced (None removes); "__" stands for a dot."""
    copy = dict(arrays)
    for name, value in changes.items():
        copy[name.replace("__", ".")] = value
    return {k: v for k, v in copy.items() if v is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm__weight": None}, r"1 missing \(norm.weight\)"),
        ({"extra": np.ones(3)}, r"1 unexpected \(extra\)"),
        ({"norm__bias": np.ones(5)}, r"norm.bias: has shape \(5,\), expected \(12,\)"),
        ({"norm__bias": np.full(12, np.nan, "float32")}, "norm.bias holds numbers"),
        ({"norm__bias": np.ones(12, bool)}, "norm.bias holds bool"),
        ({"pos_embed": np.zeros((1, 6, 12), "float32")}, "5 patches .* not square"),
        ({"cls_token": None}, "no network that is known"),
    ],
)
def test_anything_but_a_full_match_is_refused(changes, message, arrays, tmp_path):
    file = write(tmp_path / "w.safetensors", changed(arrays, **changes))
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(file, num_heads=2)
    assert "w.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_a_part_of_the_weights_when_asked_for(arrays, tmp_path):
    file = write(tmp_path / "w.safetensors", changed(arrays, norm__weight=None))
    loaded = published_weights(load_backbone(file, num_heads=2, strict=False))
    np.testing.assert_array_equal(loaded["pos_embed"], arrays["pos_embed"])


def test_half_precision_files(arrays, tmp_path):
    halves = {name: array.astype("float16") for name, array in arrays.items()}
    loaded = load_backbone(write(tmp_path / "w.safetensors", halves), num_heads=2)
    assert loaded.norm.gamma.dtype == "float32"
    np.testing.assert_allclose(
        published_weights(loaded)["pos_embed"], arrays["pos_embed"], atol=1e-3
    )


def test_heads_follow_the_published_rule(arrays, tmp_path):
    with pytest.raises(UserError, match="width 12 .* 64 channels .* give num_heads"):
        load_backbone(write(tmp_path / "w.safetensors", arrays))
    wide = create_backbone("vit_tiny", depth=1, patch_size=8, image_size=16)
    file = write(tmp_path / "wide.safetensors", published_weights(wide))
    assert load_backbone(file).num_heads == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "w.safetensors cannot be read as safetensors"),
        (b"<html>not found</html>" * 9, "w.safetensors cannot be read"),
        (b"\xff" * 100, "w.safetensors cannot be read"),
    ],
)
def test_damaged_safetensors(content, message, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)


def test_parts_that_are_not_there(arrays, tmp_path, tiny):
    file = write(tmp_path / "w.safetensors", arrays)
    with pytest.raises(UserError, match="one network, .* asked for was the student"):
        load_backbone(file, num_heads=2, part="student")
    with pytest.raises(UserError, match="expected 'student' or 'teacher'"):
        load_backbone(file, part="both")
    tiny.save(tmp_path / "t.keras")
    with pytest.raises(UserError, match="t.keras holds one network"):
        load_backbone(tmp_path / "t.keras", part="teacher")
    with pytest.raises(UserError, match="has 2 heads; asked for were 3"):
        load_backbone(tmp_path / "t.keras", num_heads=3)


def test_a_lambda_layer_is_refused(tmp_path, capsys):
    executed = keras.layers.Lambda(lambda x: print("executed") or x)
    keras.Sequential([keras.Input((4,)), executed]).save(tmp_path / "bad.keras")
    capsys.readouterr()
    with pytest.raises(UserError, match="bad.keras cannot be read as a Keras model"):
        load_backbone(tmp_path / "bad.keras")
    assert "executed" not in capsys.readouterr().out


def test_unknown_names_and_packages(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="did you mean dino_vits16"):
        load_backbone("dino_vit16")
    with pytest.raises(UserError, match="expected hf://owner/name"):
        load_backbone("hf://only")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        load_backbone("hf://owner/name")
