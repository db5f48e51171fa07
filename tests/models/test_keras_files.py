"""Hostile `.keras` files: one line each, nothing executed, read or made."""

import io
import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.models.loading import load_backbone

TINY = {"embed_dim": 12, "depth": 1, "num_heads": 2, "patch_size": 8, "image_size": 16}
LAMBDA = {"class_name": "__lambda__", "config": {"value": "4wAA"}}


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Contents of an honest file by name."""
    path = tmp_path_factory.mktemp("keras") / "good.keras"
    create_backbone("vit_tiny", **TINY).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_config(members, change):
    config = json.loads(members["config.json"])
    return {**members, "config.json": json.dumps(change(config) or config)}


def refused(path):
    with pytest.raises(UserError, match="cannot be read as a Keras model") as error:
        load_backbone(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    return str(error.value)


def test_an_honest_file_also_deflated(members, tmp_path):
    path = packed(tmp_path / "a.keras", members, zipfile.ZIP_DEFLATED)
    assert load_backbone(path).embed_dim == 12


def of_class(module, name, registered=None, **config):
    made = {"module": module, "class_name": name, "registered_name": registered}
    return made | {"config": config}


@pytest.mark.parametrize(
    "made",
    [
        of_class("os", "system", command="touch executed"),
        of_class("subprocess", "Popen", args="touch executed", shell=True),
        of_class("builtins", "function", config="eval"),
        of_class("keras.layers", "Lambda", function=LAMBDA, arguments={}),
        of_class("keras", "Sequential", layers=[]),
        of_class("keras.utils", "get_file", fname="a", origin="file:///etc/passwd"),
        of_class("keras.config", "enable_unsafe_deserialization"),
        of_class("keras.layers", "TFSMLayer", filepath="/tmp"),
        of_class("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
        of_class("keras.layers", "TorchModuleWrapper", pickled="gASV"),
        of_class("dino_tf.launch", "launch", "dino_tf>launch"),
        of_class("keras_hub.models", "from_preset", preset="hf://a/b"),
        of_class(["os"], {"a": 1}),
        of_class("keras", "DTypePolicyMap", policy_map={"(.*)*(.*)*=": "float32"}),
    ],
    ids=lambda made: str(made["class_name"]),
)
@pytest.mark.parametrize("inside", [False, True])
def test_other_classes(made, inside, members, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def change(config):
        if not inside:
            return made
        config["config"]["dtype"] = made

    path = packed(tmp_path / "a.keras", with_config(members, change))
    words = refused(path)
    assert "it asks for" in words or "names no class" in words
    assert [file.name for file in tmp_path.iterdir()] == ["a.keras"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 10**9}, "depth is 1000000000"),
        ({"embed_dim": 50_000}, "more weights than the file"),
        ({"image_size": [10**6, 10**6]}, "more weights than the file"),
        ({"embed_dim": "twelve"}, ""),
        ({"embed_dim": {"a": []}}, ""),
        ({"num_heads": 0}, ""),
        ({"num_registers": -1}, ""),
        ({"num_registers": [1, 2]}, ""),
        ({"patch_size": -1}, ""),
        ({"dtype": "float999"}, ""),
        ({"unknown": 1}, ""),
    ],
    ids=str,
)
def test_settings_that_the_weights_do_not_have(settings, words, members, tmp_path):
    def change(config):
        config["config"].update(settings)

    assert words in refused(packed(tmp_path / "a.keras", with_config(members, change)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"arch": "keras_hub:hf://a/b"}, "does not hold the network"),
        ({"arch": "keras:ResNet50", "weights": "imagenet"}, "weights of another file"),
        ({"arch": "keras:ResNet50", "options": {"weights": "/etc/passwd"}}, ""),
        ({"arch": "keras:VGG16"}, "more weights than the file"),
    ],
    ids=str,
)
def test_networks_from_elsewhere(settings, words, members, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", None)  # nothing reaches out
    made = of_class(
        "dino_tf.models.keras_networks",
        "KerasBackbone",
        "dino_tf>KerasBackbone",
        **settings,
    )
    path = packed(tmp_path / "a.keras", with_config(members, lambda config: made))
    assert words in refused(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m | {"../evil": b"x"}, "wrong is '../evil'"),
        (lambda m: m | {"/tmp/evil": b"x"}, "wrong is '/tmp/evil'"),
        (lambda m: m | {"assets/a/b.txt": b"x"}, "wrong is 'assets/a/b.txt'"),
        (lambda m: {"config.json": b"{}"}, "wrong is 'metadata.json'"),
        (lambda m: m | {"config.json": b" " * (2**24 + 1)}, "is larger than"),
        (lambda m: m | {"config.json": b"[" * 100_000}, ""),
        (lambda m: m | {"config.json": b"[]"}, "no dictionary"),
        (lambda m: m | {"config.json": b'{"a":' * 900 + b"1" + b"}" * 900}, ""),
        (lambda m: m | {"config.json": b'{"a": ' + b"1" * 5000 + b"}"}, ""),
        (lambda m: m | {"config.json": b"\xff\xfe"}, ""),
        (lambda m: m | {"model.weights.h5": b"no HDF5"}, ""),
        (lambda m: m | {"model.weights.h5": b""}, ""),
        (lambda m: m | {"model.weights.h5": m["model.weights.h5"][:5000]}, ""),
    ],
)
def test_archives(change, words, members, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    content = change(members)
    assert words in refused(packed(folder / "a.keras", content, zipfile.ZIP_DEFLATED))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.keras"]


def external(file, outside):
    file["link"] = h5py.ExternalLink(str(outside), "secret")


def soft(file, outside):
    file["link"] = h5py.SoftLink("/layers")


def stored_elsewhere(file, outside):
    file.create_dataset("far", (4,), "f4", external=[(str(outside), 0, 16)])


def virtual(file, outside):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(outside), "secret", (4,))
    file.create_virtual_dataset("far", layout)


def hollow(file, outside):
    file.create_dataset("huge", (10**12,), "f4", chunks=(10**6,))


def bomb(file, outside):
    zeros = np.zeros(10**7, "f4")
    file.create_dataset("bomb", data=zeros, compression="gzip", compression_opts=9)


def texts(file, outside):
    file["text"] = np.array(["a", "b"], object)


def cycle(file, outside):
    file["again"] = file["/"]


HOSTILE = {
    external: "is a link",
    soft: "is a link",
    stored_elsewhere: "lies in another file",
    virtual: "lies in another file",
    hollow: "claims 4000000000000 bytes",
    bomb: "claims 40000000 bytes",
    texts: "holds no numbers",
    cycle: "nested in each other",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_weights_that_lie_or_lead_elsewhere(make, members, tmp_path):
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["secret"] = np.ones(4, "f4")
    stored = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stored, "a") as file:
        make(file, outside)
    content = {**members, "model.weights.h5": stored.getvalue()}
    assert HOSTILE[make] in refused(packed(tmp_path / "a.keras", content))


def test_what_this_program_registered_is_taken(members, tmp_path):
    """Code of whoever calls is no stranger's."""

    @keras.saving.register_keras_serializable(package="mine")
    class Mine(type(create_backbone("vit_tiny", **TINY))):
        pass

    network = Mine(**TINY)
    network.build()
    network.save(tmp_path / "mine.keras")
    assert isinstance(load_backbone(tmp_path / "mine.keras"), Mine)
    shutil.copy(tmp_path / "mine.keras", tmp_path / "theirs.keras")
    del keras.saving.get_custom_objects()["mine>Mine"]
    assert "'mine>Mine'" in refused(tmp_path / "theirs.keras")
