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
from dino_tf.models.recognise import vit_arguments
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


DINOV3 = [
    "official",
    "official_gated",
    "timm",
    "timm_qkvb",
    "timm_gated",
    "timm_split",
    "hf",
    "hf_gated",
]


@pytest.fixture(scope="module")
def dinov3(request):
    """{network: (weights, heads, images, tokens, attention)} of tiny DINOv3s."""
    stored = np.load(request.path.parent / "data" / "dinov3.npz")
    networks = {}
    for name in DINOV3:
        flat, weights = stored[f"{name}/weights"], {}
        for key, shape in json.loads(str(stored[f"{name}/shapes"])).items():
            count = int(np.prod(shape))
            weights[key], flat = flat[:count].reshape(shape), flat[count:]
        assert not flat.size
        cases = part(stored, f"{name}/")
        images = [cases[f"image{i}"].astype("float32") / 32 for i in range(3)]
        tokens = [cases[f"tokens{i}"] for i in range(3)]
        networks[name] = (weights, int(cases["heads"]), images, tokens)
    return networks, stored["hf/attention1"]


@pytest.mark.parametrize("name", DINOV3)
def test_dinov3(name, dinov3, tmp_path):
    weights, heads, images, tokens = dinov3[0][name]
    file = write(tmp_path / "w.safetensors", weights)
    # The official files alone tell the heads, by the number of periods.
    told = None if name.startswith("official") else heads
    backbone = load_backbone(file, num_heads=told)
    assert (backbone.num_heads, backbone.patch_size) == (heads, 4)
    assert (backbone.num_registers, backbone.norm_epsilon) == (4, 1e-5)
    for image, expected in zip(images, tokens, strict=True):
        found = backbone.extract(image, ["tokens"])["tokens"]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(backbone(image), expected[:, 0], atol=1e-4)
        last = backbone.intermediate_tokens(image, 1)[0]
        np.testing.assert_allclose(last, expected, atol=1e-4)


def test_attention_of_dinov3(dinov3, tmp_path):
    weights, heads, images, _ = dinov3[0]["hf"]
    backbone = load_backbone(write(tmp_path / "w.safetensors", weights), heads)
    found = backbone.extract(images[1], ["attention"])["attention"]
    np.testing.assert_allclose(found, dinov3[1], atol=1e-5)


def test_dinov3_as_the_hub_names_it(dinov3, tmp_path):
    weights, heads, images, tokens = dinov3[0]["hf_gated"]
    hub = {name.removeprefix("model."): array for name, array in weights.items()}
    assert "layer.0.norm1.weight" in hub
    for named in (hub, {f"dinov3_vit.{name}": a for name, a in weights.items()}):
        backbone = load_backbone(write(tmp_path / "w.safetensors", named), heads)
        np.testing.assert_allclose(backbone(images[0]), tokens[0][:, 0], atol=1e-4)


def test_dinov3_kept_and_written_again(dinov3, tmp_path):
    weights, _, images, tokens = dinov3[0]["official"]
    backbone = load_backbone(write(tmp_path / "w.safetensors", weights))
    # 100^(4/8) = 10 is the same in bfloat16.
    assert backbone.rope_periods == (1.0, 10.0)
    backbone.save(tmp_path / "b.keras")
    again = write(tmp_path / "again.safetensors", published_weights(backbone))
    for source in (tmp_path / "b.keras", again):
        loaded = load_backbone(source)
        np.testing.assert_allclose(loaded(images[1]), tokens[1][:, 0], atol=1e-4)


def test_periods_of_the_file_go_before_the_published(dinov3, tmp_path):
    weights, _, images, tokens = dinov3[0]["official"]
    periods = np.array([2.0, 3.0], "float32")
    named = changed(weights, rope_embed__periods=periods)
    backbone = load_backbone(write(tmp_path / "w.safetensors", named))
    assert backbone.rope_periods == (2.0, 3.0)
    assert np.abs(backbone(images[0]) - tokens[0][:, 0]).max() > 1e-2


def test_a_masked_bias_is_none(dinov3, tmp_path):
    weights = dinov3[0]["official"][0]
    stored = weights["blocks.1.attn.qkv.bias"]
    assert np.abs(stored[16:32]).max() > 0.1
    backbone = load_backbone(write(tmp_path / "w.safetensors", weights))
    bias = backbone.blocks[1].attn.qkv.bias
    np.testing.assert_array_equal(bias[16:32], np.zeros(16))
    np.testing.assert_array_equal(bias[:16], stored[:16])
    np.testing.assert_array_equal(bias[32:], stored[32:])


@pytest.mark.parametrize(
    ("width", "heads"), [(384, 6), (768, 12), (1024, 16), (1280, 20), (4096, 32)]
)
def test_heads_of_the_published_dinov3(width, heads):
    # facebookresearch/dinov3, hub/backbones.py: S and S+, B, L, H+, 7B.
    arrays = {
        "patch_embed.proj.weight": np.zeros((width, 3, 16, 16), "int8"),
        "register_tokens": np.zeros((1, 4, width), "int8"),
        "blocks.0.mlp.fc2.weight": np.zeros((width, 4 * width), "int8"),
        "rope_embed.periods": np.zeros(0),
    }
    arguments = vit_arguments(arrays)
    assert arguments["num_heads"] == heads
    assert len(arguments["rope_periods"]) == width // heads // 4
    assert arguments["rope_periods"][1] == 100 ** (4 * heads / width)


@pytest.mark.parametrize(
    ("name", "changes", "heads", "message"),
    [
        ("official", {"norm__weight": None}, None, r"1 missing \(norm.weight\)"),
        ("official", {"cls_norm__weight": np.ones(16)}, None, "1 unexpected .cls_norm"),
        ("official", {}, 4, r"periods has shape \(2,\), .* of which 4 have width 16"),
        ("official", {"rope_embed__periods": np.ones(3)}, None, r"shape \(3,\)"),
        ("official", {"rope_embed__periods": np.zeros(2)}, None, "each above 0"),
        (
            "official",
            {"blocks__0__attn__qkv__bias_mask": np.ones(5)},
            None,
            r"bias_mask has shape \(5,\), expected that of .* \(48,\)",
        ),
        ("official_gated", {"blocks__1__mlp__w2__bias": None}, None, "w1.bias stands"),
        ("timm", {"blocks__1__attn__q_bias": np.ones(16)}, 2, "different biases"),
        ("timm_qkvb", {"blocks__0__attn__v_bias": None}, 2, "different biases"),
        ("timm_split", {"blocks__0__attn__k_proj__weight": None}, 1, "q.weight stands"),
        (
            "timm_gated",
            {"blocks__0__mlp__fc1_x__weight": np.ones((3, 16))},
            4,
            r"have shapes \[\(3, 16\), ",
        ),
        ("hf", {}, 3, "width 16 is not a multiple of 3 heads"),
        ("hf", {}, 8, "a head of 2 channels"),
        ("hf", {}, None, "give num_heads"),
    ],
)
def test_damaged_dinov3(name, changes, heads, message, dinov3, tmp_path):
    named = changed(dinov3[0][name][0], **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(write(tmp_path / "w.safetensors", named), heads)
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
    with pytest.warns(UserWarning, match=r"loaded; 1 missing \(norm.weight\)"):
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


def lying(header=None, length=None, offsets=(0, 16), shape=(4,), dtype="F32", twice=()):
    """A file of one array of 16 bytes whose header says something else."""
    one = {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}
    two = {"b": {**one, "data_offsets": list(twice)}} if twice else {}
    header = header or json.dumps({"a": one, **two}).encode()
    length = len(header) if length is None else length
    return length.to_bytes(8, "little") + header + bytes(16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "w.safetensors cannot be read as safetensors"),
        (b"<html>not found</html>" * 9, "w.safetensors cannot be read"),
        (b"\xff" * 100, "w.safetensors cannot be read"),
        (lying(length=2**63), "header too large"),
        (lying(length=99_000_000), "invalid header length"),
        (lying(offsets=(0, 400)), "w.safetensors cannot be read"),
        (lying(offsets=(8, 24)), "w.safetensors cannot be read"),
        (lying(offsets=(-16, 0)), "w.safetensors cannot be read"),
        (lying(shape=[10**9]), "w.safetensors cannot be read"),
        (lying(shape=[2**40, 2**40]), "w.safetensors cannot be read"),
        (lying(shape=[-4]), "w.safetensors cannot be read"),
        (lying(dtype="F99"), "w.safetensors cannot be read"),
        (lying(dtype="F8_E4M3"), "w.safetensors cannot be read"),
        (lying(twice=(0, 16)), "w.safetensors cannot be read"),
        (lying(header=b'{"a":' * 100_000), "w.safetensors cannot be read"),
        (lying(header=b"[" * 100_000), "w.safetensors cannot be read"),
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


def test_heads_that_are_told_beside_the_weights(arrays, tmp_path):
    told = {"config": json.dumps({"num_heads": 6})}
    plain = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    save_file(plain, tmp_path / "model.safetensors", told)
    assert load_backbone(tmp_path / "model.safetensors").num_heads == 6
    # The folder of an export or of a repository will do.
    assert load_backbone(tmp_path).num_heads == 6
    assert load_backbone(tmp_path, num_heads=3).num_heads == 3
    write(tmp_path / "model.safetensors", arrays)
    for config in ({"num_attention_heads": 4}, {"model_args": {"num_heads": 4}}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert load_backbone(tmp_path).num_heads == 4
    for text in ("no json", "[" * 100_000, '{"num_heads": true}', "3", "\0"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="give num_heads"):
            load_backbone(tmp_path)


@pytest.mark.parametrize("heads", [0, -1, 5])
def test_impossible_heads(heads, arrays, tmp_path):
    with pytest.raises(UserError, match="num_heads"):
        load_backbone(write(tmp_path / "w.safetensors", arrays), num_heads=heads)


def test_files_are_known_by_their_content(arrays, tmp_path, request):
    for name in ("w.SAFETENSORS", "w.pth", "w"):
        assert load_backbone(write(tmp_path / name, arrays), num_heads=2).depth == 2
    torch = request.path.parents[1] / "reference" / "data" / "backbone_only.pth"
    (tmp_path / "t.safetensors").write_bytes(torch.read_bytes())
    assert load_backbone(tmp_path / "t.safetensors", num_heads=3).patch_size == 8


def test_whole_numbers_are_no_weights(arrays, tmp_path):
    file = write(
        tmp_path / "w.safetensors", changed(arrays, norm__bias=np.ones(12, "int8"))
    )
    with pytest.raises(UserError, match="norm.bias holds int8"):
        load_backbone(file, num_heads=2)


def test_keras_files_with_broken_numbers(tmp_path):
    backbone = create_backbone("vit_tiny", **TINY)
    backbone.norm.beta.assign(np.full(12, np.nan))
    backbone.save(tmp_path / "nan.keras")
    with pytest.raises(UserError, match="nan.keras holds weights that are not finite"):
        load_backbone(tmp_path / "nan.keras")


def test_a_run_that_has_not_come_to_its_end(tmp_path):
    (tmp_path / "config.yaml").write_text("data: scenes")
    with pytest.raises(UserError, match="has not come to its end"):
        load_backbone(tmp_path)


def test_a_part_that_there_is_not(tmp_path):
    with pytest.raises(UserError, match="part 'techer': expected"):
        load_backbone("random:vit_tiny/16", part="techer")


def test_a_lone_block_of_a_large_number_makes_no_deep_network(tmp_path):
    vit = create_backbone("vit_tiny", 8, 32, embed_dim=24, depth=1, num_heads=3)
    named = published_weights(vit) | {"blocks.99999999.norm1.weight": np.zeros(24)}
    with pytest.raises(UserError, match="1 unexpected .blocks.99999999"):
        load_backbone(write(tmp_path / "w.safetensors", named), 3)
