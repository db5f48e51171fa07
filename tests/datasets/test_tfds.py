import io
import socket

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets import tfds as tfds_file
from dino_tf.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")


class TinyDots(tfds.core.GeneratorBasedBuilder):
    """Six training and two validation photos; the last validation label is unknown."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["dark", "light"]),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples([0, 40, 80, 120, 160, 200]),
            "validation": self._generate_examples([30, 255]),
        }

    def _generate_examples(self, values):
        for value in values:
            image = np.full((5, 7, 3), value, np.uint8)
            label = -1 if value == 255 else int(value > 100)
            yield f"{value:03d}", {"image": image, "label": label}


class TinyWords(tfds.core.GeneratorBasedBuilder):
    """No images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield "a", {"text": "word"}


def values(source):
    """Value and label of each photo, from the encoded bytes."""
    photos = [Image.open(io.BytesIO(source.image_bytes(i))) for i in range(len(source))]
    assert all(photo.size == (7, 5) for photo in photos)
    pixels = [photo.getpixel((0, 0))[0] for photo in photos]
    return sorted((p, source.labels(i)) for i, p in enumerate(pixels))


TRAIN = [(0, (0,)), (40, (0,)), (80, (0,)), (120, (1,)), (160, (1,)), (200, (1,))]


def test_random_access_to_encoded_images(tmp_path):
    source = open_source("tfds:tiny_dots", data_dir=str(tmp_path))
    assert source.class_names == ("dark", "light")
    assert source.name == "tiny_dots/1.0.0/train"
    assert source.image_bytes(0)[:4] == b"\x89PNG"
    assert values(source) == TRAIN
    assert [source.id(i) for i in (0, 5)] == ["00000000", "00000005"]
    with pytest.raises(IndexError):
        source.id(6)
    test = open_source("tfds:tiny_dots", "test", str(tmp_path))
    assert values(test) == [(30, (0,)), (255, ())]
    part = open_source("tfds:tiny_dots", "train[:2]", str(tmp_path))
    assert len(part) == 2


def test_labels_before_images_agree(tmp_path):
    one = open_source("tfds:tiny_dots", data_dir=str(tmp_path))
    labels = [one.labels(i) for i in range(6)]
    other = open_source("tfds:tiny_dots", data_dir=str(tmp_path))
    for index in range(6):
        other.image_bytes(index)
    assert labels == [other.labels(i) for i in range(6)]


def test_data_prepared_without_random_access_is_held_in_memory(tmp_path, monkeypatch):
    TinyDots(data_dir=str(tmp_path / "tensorflow_datasets")).download_and_prepare(
        file_format="tfrecord"
    )
    assert values(open_source("tfds:tiny_dots", data_dir=str(tmp_path))) == TRAIN
    monkeypatch.setattr(tfds_file, "MEMORY_LIMIT", 100)
    with pytest.raises(UserError, match="tfrecord files; without array_record"):
        open_source("tfds:tiny_dots", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    "spec, split, message",
    [
        ("tfds:tiny_dts", "train", "has no 'tiny_dts'; near: tiny_dots"),
        ("tfds:tiny_dots", "unlabelled", "allowed: train, validation"),
        ("tfds:tiny_words", "train", "has no images; it has \\['text'\\]"),
        ("tfds:space:name", "train", "not of the form"),
        ("tfds:a.b.c", "train", "not of the form"),
        ("tfds:", "train", "lacks a name: tfds:NAME"),
    ],
)
def test_wrong_names_are_one_line(tmp_path, spec, split, message):
    with pytest.raises(UserError, match=message) as error:
        open_source(spec, split, str(tmp_path))
    assert "\n" not in str(error.value)


def test_words_have_no_test_split(tmp_path):
    assert open_source("tfds:tiny_words", "test", str(tmp_path)) is None


def test_impossible_download_is_told_at_once(tmp_path, monkeypatch):
    def refuse(address, timeout):
        raise OSError("name not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(tfds_file.urllib.request, "getproxies", dict)
    with pytest.raises(UserError, match="tfds:cifar10 cannot be downloaded") as error:
        open_source("tfds:cifar10", data_dir=str(tmp_path))
    assert "name not known" in str(error.value)


def test_data_that_must_be_fetched_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_file, "_require_host", lambda builder, name: None)
    with pytest.raises(UserError, match="ILSVRC2012_img_train.tar") as error:
        open_source("tfds:imagenet2012", data_dir=str(tmp_path))
    assert "\n" not in str(error.value)
