"""Given, preset and automatic settings of a fine-tuning."""

import types

import pytest

from dino_tf.errors import UserError
from dino_tf.evaluate.finetune_options import PRESETS, Settings, resolve

VIT = types.SimpleNamespace(patch_size=16, blocks=[1], drop_path_rate=0.0)
OTHER = types.SimpleNamespace(patch_size=32, arch="keras:Net", fixed_size=None)


def test_automatic_settings_on_a_processor():
    settings, notes = resolve(VIT, 2000, {})
    assert (settings.size, settings.epochs, settings.batch_size) == (112, 10, 32)
    assert (settings.layer_decay, settings.warmup_epochs) == (0.75, 1.0)
    assert (settings.lr, settings.peak_rate) == (0.008, 0.001)
    assert "by 2,000 photos and the machine: size 112, epochs 10" in notes[0]


def test_automatic_settings_on_a_gpu():
    settings, _ = resolve(VIT, 50_000, {}, gpu=True)
    assert (settings.size, settings.epochs, settings.batch_size) == (224, 20, 256)
    assert settings.warmup_epochs == 2.0


@pytest.mark.parametrize(
    ("photos", "epochs", "batch"),
    [(1, 50, 1), (30, 50, 8), (400, 50, 16), (5000, 4, 32), (10**6, 3, 32)],
)
def test_epochs_and_batch_by_the_number_of_photos(photos, epochs, batch):
    settings, _ = resolve(VIT, photos, {})
    assert (settings.epochs, settings.batch_size) == (epochs, batch)


def test_size_fits_the_patch_and_the_network():
    def size(patch, **kwargs):
        return resolve(types.SimpleNamespace(patch_size=patch, **kwargs), 99, {})[
            0
        ].size

    assert [size(8), size(14), size(16), size(32), size(128)] == [
        112,
        112,
        112,
        96,
        128,
    ]
    # A network made for small photos sees small ones.
    assert size(4, image_size=(32, 40)) == 32
    assert size(16, image_size=(224, 224)) == 112
    assert size(32, fixed_size=(160, 160)) == 160


def test_networks_without_blocks_have_one_rate_and_no_drop_path():
    settings, _ = resolve(OTHER, 99, {})
    assert (settings.layer_decay, settings.drop_path) == (1.0, 0.0)
    with pytest.raises(UserError, match="--drop-path: got 0.1, allowed for keras:Net"):
        resolve(OTHER, 99, {"drop_path": 0.1})


def test_presets_by_literal_numbers():
    settings, notes = resolve(VIT, 50_000, {}, "cifar10")
    assert settings == Settings(
        size=224,
        epochs=1000,
        batch_size=768,
        lr=3.75e-6,
        layer_decay=1.0,
        weight_decay=0.05,
        warmup_epochs=5.0,
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
        drop_path=0.1,
        jitter=0.4,
        smallest_crop=0.08,
        clip_norm=0.0,
        seed=0,
    )
    # DeiT's arithmetic: 7.5e-6 for 512 photos.
    assert settings.peak_rate == pytest.approx(7.5e-6 * 768 / 512)
    assert "size" not in "".join(notes)
    hundred, _ = resolve(VIT, 50_000, {}, "cifar100")
    assert hundred.peak_rate == pytest.approx(5e-6 * 768 / 512)


def test_given_values_win_over_the_preset():
    given = {"epochs": 2, "lr": None, "warmup_epochs": 0.5, "seed": 3}
    settings, _ = resolve(VIT, 50_000, given, "cifar10")
    assert (settings.epochs, settings.lr, settings.seed) == (2, 3.75e-6, 3)
    assert (settings.warmup_epochs, settings.size) == (0.5, 224)
    # The warm-up of a training that was made short is short as well.
    assert resolve(VIT, 50_000, {"epochs": 2}, "cifar10")[0].warmup_epochs == 0.2


def test_presets_name_every_setting():
    names = set(Settings.__dataclass_fields__) - {"seed"}
    assert {frozenset(preset) for preset in PRESETS.values()} == {frozenset(names)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lr": -1.0}, "--lr: got -1.0, allowed: above 0"),
        ({"lr": float("nan")}, "--lr: got nan"),
        ({"layer_decay": 0.0}, "--layer-decay: got 0.0, allowed: above 0, at most 1"),
        ({"layer_decay": 1.5}, "--layer-decay: got 1.5"),
        ({"mixup": -0.1}, "--mixup: got -0.1, allowed: 0 or more"),
        ({"cutmix": -1.0}, "--cutmix: got -1.0"),
        ({"label_smoothing": 1.0}, "--label-smoothing: got 1.0, allowed: 0 to below 1"),
        ({"drop_path": 1.0}, "--drop-path: got 1.0"),
        ({"weight_decay": -1.0}, "--weight-decay: got -1.0"),
        ({"epochs": 0}, "--epochs: got 0, allowed: 1 or more"),
        ({"epochs": 2, "warmup_epochs": 3}, "--warmup-epochs: got 3, allowed: 0 to 2"),
        ({"batch_size": 0}, "--batch-size: got 0"),
        ({"batch_size": 100}, "--batch-size: got 100, allowed: 1 to 99"),
        ({"jitter": -1.0}, "--jitter: got -1.0"),
        ({"smallest_crop": 0.0}, "--smallest-crop: got 0.0"),
        ({"clip_norm": -1.0}, "--clip-norm: got -1.0"),
        ({"seed": -1}, "--seed: got -1"),
        ({"momentum": 0.9}, "no option 'momentum'; allowed: epochs"),
    ],
)
def test_refuses_what_is_out_of_range(given, words):
    with pytest.raises(UserError, match=words.replace(".", r"\.")):
        resolve(VIT, 99, given)


def test_refuses_an_unknown_preset():
    with pytest.raises(UserError, match="--preset: got 'cifar', allowed: cifar10, cif"):
        resolve(VIT, 99, {}, "cifar")
