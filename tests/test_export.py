"""`export`: every format read back by an independent reader, with tiny networks."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf import cli
from dino_tf.errors import ExportError, UserError
from dino_tf.export import export
from dino_tf.formats import FORMATS
from dino_tf.model_card import timm_config
from dino_tf.models.backbones import create_backbone
from dino_tf.models.loading import load_backbone
from dino_tf.transforms.image import center_crop

ROOT = Path(__file__).resolve().parents[1]
# Extras in pyproject.toml; a format that is not named needs no more than requirements.
EXTRAS = {"onnx": "onnx", "litert": "litert"}
OUT = {f: f"new{kind.ending}" for f, kind in FORMATS.items()}
# (source, size, tried) of the sources below; the position table is for 16 x 16.
SIZES = [("plain", None, (16, 16)), ("registers", (12, 20), (12, 20))]


def skip_without(format):
    """Skips where the packages of a format's extra are not installed."""
    for module in FORMATS[format].packages:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is missing: pip install '.[{EXTRAS[format]}]'")


def save(path, **kwargs):
    """Tiny backbone whose features depend on the photo, unlike an untrained one's."""
    sizes = {"embed_dim": 12, "depth": 2, "num_heads": 2, **kwargs}
    backbone = create_backbone("vit_tiny", 4, 16, **sizes)
    draw = np.random.default_rng(1)
    for v in backbone.weights:
        v.assign(draw.normal(float("gamma" in v.path), 0.3, v.shape))
    backbone.save(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """{name: `.keras` file} of the tiny backbones."""
    folder = tmp_path_factory.mktemp("sources")
    save(folder / "plain.keras")
    more = {"num_registers": 3, "gated_mlp": True, "layer_scale": 0.1}
    save(folder / "registers.keras", drop_path_rate=0.5, **more)
    save(folder / "mixed.keras", dtype="mixed_bfloat16")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def images():
    """Function from (H, W) to three normalised images, others than `export` tries."""
    draw = np.random.default_rng(2)
    return lambda size: draw.normal(size=(3, *size, 3)).astype("float32")


def features_of(source, images):
    return np.asarray(load_backbone(source)(images))


@pytest.mark.parametrize(("source", "size", "tried"), SIZES)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_features_of_its_source(
    sources, images, tmp_path, format, source, size, tried
):
    skip_without(format)
    said = []
    out = export(sources[source], format, tmp_path / OUT[format], size, say=said.append)
    assert out == tmp_path / OUT[format]
    assert [p.name for p in tmp_path.iterdir()] == [OUT[format]]
    sizes = "16 x 16, 24 x 16, 8 x 12" if FORMATS[format].any_size else "16 x 16"
    if size:
        sizes = "12 x 20" + (f", {sizes}" if FORMATS[format].any_size else "")
    assert f"at {sizes}, batches of 1, 2, 5: largest difference" in said[1]
    assert float(said[1].rpartition(" ")[2]) < 1e-5
    assert said[2].startswith(f"{out}: ")
    given = images(tried)
    expected = features_of(sources[source], given)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    found = READ[format](out)(given)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def read_keras(path):
    return keras.saving.load_model(path)


def read_savedmodel(path):
    loaded = tf.saved_model.load(str(path))
    return lambda x: loaded.signatures["images"](images=tf.constant(x))["features"]


def read_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (entrance,), (way_out,) = session.get_inputs(), session.get_outputs()
    assert entrance.shape[0] == way_out.shape[0] == "batch"
    assert session.get_modelmeta().custom_metadata_map["patch_size"] == "4"
    return lambda x: session.run([way_out.name], {entrance.name: x})[0]


def read_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (entrance,), (way_out,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    assert entrance["shape_signature"][0] == -1

    def run(x):
        interpreter.resize_tensor_input(entrance["index"], x.shape, strict=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entrance["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(way_out["index"])

    return run


def read_safetensors(path):
    """The lines of the card itself, run in its folder."""
    card = (path / "README.md").read_text(encoding="utf-8")
    code = card.rpartition("```python\n")[2].partition("```")[0]

    def run(x):
        code_here = code.replace('"model.safetensors"', f'"{path}/model.safetensors"')
        names = {"images": x}
        exec(code_here, names)
        return names["features"]

    return run


READ = {
    "keras": read_keras,
    "savedmodel": read_savedmodel,
    "onnx": read_onnx,
    "litert": read_litert,
    "safetensors": read_safetensors,
}


def in_a_new_process(code, cwd):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1]), "float32")


def test_savedmodel_needs_no_dino_tf_and_takes_photos(sources, tmp_path):
    run = run_of(sources["plain"], tmp_path / "run")
    export(run, "savedmodel", tmp_path / "m", (12, 20), say=str)
    draw = np.random.default_rng(3)
    pixels = [draw.integers(0, 256, s, "uint8") for s in ((40, 30, 3), (15, 50, 3))]
    files = [tf.io.encode_png(p).numpy() for p in pixels]
    for number, file in enumerate(files):
        (tmp_path / f"{number}.png").write_bytes(file)
    found = in_a_new_process(
        "import json, sys, tensorflow as tf\n"
        f"sys.path = [p for p in sys.path if p != {str(ROOT)!r}]\n"
        "loaded = tf.saved_model.load('m')\n"
        "files = [open(f'{n}.png', 'rb').read() for n in (0, 1)]\n"
        "found = loaded.signatures['serving_default'](photos=tf.constant(files))\n"
        "assert not [m for m in sys.modules if m.startswith('dino_tf')]\n"
        "print(json.dumps(found['features'].numpy().tolist()))",
        tmp_path,
    )
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    crops = np.stack([center_crop(p, (12, 20), mean, std) for p in pixels])
    np.testing.assert_allclose(found, features_of(sources["plain"], crops), atol=1e-5)


def test_keras_file_loads_after_one_import(sources, images, tmp_path):
    out = export(sources["registers"], "keras", tmp_path / "k.keras", say=str)
    given = images((16, 16))
    np.save(tmp_path / "images.npy", given)
    found = in_a_new_process(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import json, keras, numpy; from dino_tf import load_backbone\n"
        "model = keras.saving.load_model('k.keras')\n"
        "features = model(numpy.load('images.npy'))\n"
        "print(json.dumps(numpy.asarray(features).tolist()))",
        tmp_path,
    )
    np.testing.assert_allclose(found, features_of(out, given), atol=1e-5)


def test_half_precision_is_exported_in_float32(sources, images, tmp_path):
    said = []
    out = export(sources["mixed"], "keras", tmp_path / "k.keras", say=said.append)
    assert said[0].startswith("the weights are of a mixed_bfloat16 network; exported")
    model = load_backbone(out)
    assert model.compute_dtype == model.blocks[0].attn.qkv.compute_dtype == "float32"
    # The same weights as those of `plain`, which is in float32 from the start.
    given = images((16, 16))
    expected = features_of(sources["plain"], given)
    np.testing.assert_allclose(model(given), expected, atol=1e-5)


def run_of(source, folder):
    """Run folder around a backbone file, with settings and a summary."""
    folder.mkdir()
    (folder / "backbone.keras").write_bytes(source.read_bytes())
    (folder / "config.yaml").write_text(
        "data: folder:/home/me/birds\n"
        "run: {epochs: 7}\n"
        "views: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}\n"
    )
    summary = {"photos": 30, "loss": 1.5, "knn/k": 61.25, "untrained/knn/k": 40.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_card_tells_how_the_run_was_trained(sources, tmp_path):
    run = run_of(sources["plain"], tmp_path / "run")
    out = export(run, "safetensors", tmp_path / "st", say=str)
    assert {p.name for p in out.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\ntags:\n- image-feature-extraction\n")
    for words in (
        "library_name: timm\n---",
        "| patch size | 4 |",
        "| width | 12 |",
        "| depth | 2 |",
        "| attention heads | 2 |",
        "| image size trained at | 16 x 16 pixels |",
        "mean [0.5, 0.5, 0.5], deviation [0.25, 0.25, 0.25] |",
        "labels on `folder:birds`: 7 epochs in batches of",
        "30 photos; loss at the end 1.5. knn/k: 61.2 %, untrained 40.0 %.",
        "img_size=[16], patch_size=4, embed_dim=12, depth=2,",
        'timm.create_model("local-dir:',
    ):
        assert words in card
    assert "/home/me" not in card
    config = json.loads((out / "config.json").read_text())
    assert config["model_args"] == {
        "img_size": [16, 16],
        "patch_size": 4,
        "embed_dim": 12,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 4.0,
    }
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]


def test_safetensors_has_published_names_layout_and_facts(sources, tmp_path):
    import safetensors

    out = export(sources["plain"], "safetensors", tmp_path / "st", say=str)
    backbone = load_backbone(sources["plain"])
    with safetensors.safe_open(out / "model.safetensors", "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        facts = file.metadata()
    assert len(arrays) == 4 + 12 * 2 + 2
    assert {a.dtype for a in arrays.values()} == {np.dtype("float32")}
    kernel = backbone.blocks[1].attn.qkv.kernel.numpy()
    np.testing.assert_array_equal(arrays["blocks.1.attn.qkv.weight"], kernel.T)
    kernel = backbone.patch_embed.proj.kernel.numpy()
    expected = kernel.transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(arrays["patch_embed.proj.weight"], expected)
    assert facts["format"] == "pt"
    assert json.loads(facts["mean"]) == [0.485, 0.456, 0.406]
    assert json.loads(facts["config"])["num_heads"] == 2


def test_card_of_registers_names_no_program_that_has_none(sources, tmp_path):
    out = export(sources["registers"], "safetensors", tmp_path / "st", say=str)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| registers | 3 |" in card
    assert "library_name: dino_tf" in card
    assert "timm" not in card and "vision_transformer.py" not in card
    assert not (out / "config.json").exists()


def test_card_of_random_weights_says_so(tmp_path, monkeypatch):
    save(tmp_path / "a.keras")
    tiny = load_backbone(tmp_path / "a.keras")
    monkeypatch.setattr("dino_tf.export.load_backbone", lambda *_: tiny)
    out = export("random:vit_tiny/4", "safetensors", tmp_path / "st", say=str)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "Not at all: the weights are random (`random:vit_tiny/4`)." in card


@pytest.mark.parametrize("wrong", [2e-3, np.nan, "shape"])
@pytest.mark.parametrize("format", ["keras", "savedmodel"])
def test_an_export_that_differs_leaves_nothing(
    sources, tmp_path, monkeypatch, format, wrong
):
    kind = FORMATS[format]

    def read(job, path):
        assert path.exists()

        def spoilt(forward, given):
            features = np.array(forward(given))
            if wrong == "shape":
                return features[..., None]
            # One feature of one photo of the largest batch.
            features[-1, 3] += wrong * (len(features) == 5)
            return features

        forwards = kind.read(job, path).items()
        return {k: lambda given, f=f: spoilt(f, given) for k, f in forwards}

    monkeypatch.setitem(FORMATS, format, dataclasses.replace(kind, read=read))
    words = {2e-3: r"2\.0e-03", "shape": "inf"}.get(wrong, "nan")
    with pytest.raises(ExportError, match=f"difference {words}, allowed: up to 0.001"):
        export(sources["plain"], format, tmp_path / "deep" / OUT[format], say=str)
    assert not list((tmp_path / "deep").iterdir())


def test_an_export_that_differs_ends_with_one(sources, tmp_path, monkeypatch, capsys):
    def read(job, path):
        return {"images": lambda images: np.zeros((len(images), 12))}

    kind = dataclasses.replace(FORMATS["keras"], read=read)
    monkeypatch.setitem(FORMATS, "keras", kind)
    argv = ["export", "--weights", str(sources["plain"]), "--format", "keras", "--out"]
    assert cli.main([*argv, str(tmp_path / "a.keras")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: images read back by Keras at 16 x 16, 24 x 16")
    assert error.endswith("nothing was written\n") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_writer_that_fails_leaves_nothing(sources, tmp_path, monkeypatch):
    def write(job, path):
        path.write_text("half")
        raise RuntimeError("no room")

    kind = dataclasses.replace(FORMATS["keras"], write=write)
    monkeypatch.setitem(FORMATS, "keras", kind)
    with pytest.raises(RuntimeError, match="no room"):
        export(sources["plain"], "keras", tmp_path / "a.keras", say=str)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_what_exists_is_never_overwritten(sources, tmp_path, format):
    out = tmp_path / OUT[format]
    out.write_text("mine")
    with pytest.raises(UserError, match=f"{out.name} exists already, allowed: a new"):
        export(sources["plain"], format, out, say=str)
    assert out.read_text() == "mine"


def test_what_appears_meanwhile_is_not_overwritten(sources, tmp_path, monkeypatch):
    kind, out = FORMATS["keras"], tmp_path / "a.keras"

    def read(job, path):
        out.write_text("another's")
        return kind.read(job, path)

    monkeypatch.setitem(FORMATS, "keras", dataclasses.replace(kind, read=read))
    with pytest.raises(UserError, match="exists already"):
        export(sources["plain"], "keras", out, say=str)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["another's"]


@pytest.mark.parametrize(
    ("format", "module", "words"),
    [
        ("onnx", "tf2onnx", "tf2onnx, which .*: pip install tf2onnx onnx onnxruntime"),
        ("onnx", "onnxruntime", "the package onnxruntime, which is missing"),
        ("litert", "ai_edge_litert", "pip install ai-edge-litert"),
        ("safetensors", "safetensors", "pip install safetensors"),
    ],
)
def test_missing_packages_are_named(
    sources, tmp_path, monkeypatch, format, module, words
):
    if module != "tf2onnx":
        for other in FORMATS[format].packages:
            monkeypatch.setitem(sys.modules, other, sys)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=words):
        export(sources["plain"], format, tmp_path / OUT[format], say=str)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--format pt --out a.pt", "--format: got 'pt', allowed: keras, savedmodel,"),
        ("--format onnx --out a.keras", "allowed for onnx: a new .onnx file"),
        ("--format savedmodel --out a.onnx", "allowed for savedmodel: a new folder"),
        ("--format safetensors --out a.safetensors", "for safetensors: a new folder"),
        (
            "--format keras --out /dev/null/a.keras",
            "a path in a folder of yours (",
        ),
        ("--format keras --out a.keras --size 18", "--size: got 18, allowed: one side"),
        ("--format keras --out a.keras --size 16 18", "got 16 x 18, allowed: one side"),
        ("--format keras --out a.keras --size 0", "multiples of the patch (4 pixels)"),
        ("--format keras --out a.keras --size 4 4 4", "got 4 x 4 x 4, allowed: one"),
        ("--format keras --out a.keras --size x", "--size: got 'x', allowed: a whole"),
        ("--format keras --out a.keras --sise 4", "did you mean --size?"),
        ("--format keras", "export: missing are out; see --help"),
        ("", "missing are format, out; see --help"),
    ],
)
def test_mistakes_are_told_in_one_line(
    sources, tmp_path, monkeypatch, capsys, argv, words
):
    monkeypatch.chdir(tmp_path)
    argv = ["export", "--weights", str(sources["plain"]), *argv.split()]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_command_line_exports(sources, tmp_path, capsys):
    out = tmp_path / "st"
    argv = f"export --weights {sources['plain']} --format safetensors --out {out}"
    assert cli.main([*argv.split(), "--size", "12", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("safetensors: images (B, H, W, 3) with H and W any mul")
    assert "at 12 x 20, 16 x 16, 24 x 16, 8 x 12, batches" in lines[1]
    assert (out / "model.safetensors").is_file()


@pytest.mark.parametrize("changes", [{"rope_periods": (1.0,)}, {"norm_epsilon": 1e-5}])
def test_timm_is_not_named_for_what_its_vit_has_not(changes):
    sizes = {"embed_dim": 8, "depth": 1, "num_heads": 2, "patch_size": 8}
    statistics = [0.5] * 3, [0.5] * 3
    assert timm_config(create_backbone("vit_tiny", **sizes), *statistics)
    other = create_backbone("vit_tiny", **sizes, **changes)
    assert timm_config(other, *statistics) is None


def test_networks_of_keras_have_no_published_names(tmp_path, tiny_application):
    with pytest.raises(UserError, match="TinyNet has no published names"):
        export(f"random:{tiny_application}", "safetensors", tmp_path / "x", say=print)
    assert not (tmp_path / "x").exists()
