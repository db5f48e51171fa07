"""How a backbone is written in each format, and how each is read back."""

import dataclasses
import json
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dino_tf.model_card import write_card
from dino_tf.models.weights import assign_published, published_weights
from dino_tf.transforms.image import center_crop, decode

# The oldest one that all of tf2onnx and ONNX Runtime since 2022 know.
OPSET = 17


@dataclasses.dataclass(frozen=True)
class Job:
    """What is exported: a float32 backbone, (H, W), pixel statistics, where from."""

    backbone: keras.Model
    size: tuple
    mean: tuple
    std: tuple
    weights: str

    def facts(self):
        """What a user of the file must know, as {name: text}."""
        return {
            "size": json.dumps(list(self.size)),
            "patch_size": json.dumps(self.backbone.patch_size),
            "mean": json.dumps(list(self.mean)),
            "std": json.dumps(list(self.std)),
            "made_with": "dino_tf",
        }


@dataclasses.dataclass(frozen=True)
class Format:
    """How a format is written and read.

    Attributes:
        ending: Of the file; "" for a folder.
        any_size: Whether the export serves every size that the patch divides.
        packages: Modules that are needed and the packages that have them.
        reader: Name of the program that reads back.
        write: Function of (job, path).
        read: Function of (job, path) that returns {"images" or "photos": function
            from a batch of that kind to features}.
    """

    ending: str
    any_size: bool
    packages: dict
    reader: str
    write: Callable
    read: Callable


def trained_size(backbone):
    """(H, W) in pixels that the position table of a backbone was trained for."""
    return tuple(getattr(backbone, "image_size", (224, 224)))


def fresh_network(backbone, config, weights=None):
    """Another network of the same kind, in float32."""
    fresh = type(backbone).from_config({**config, "dtype": "float32"})
    fresh.build((None, *trained_size(backbone), 3))
    if weights is not None:
        fresh.set_weights(weights)
    return fresh


def _images_spec(job):
    return tf.TensorSpec((None, *job.size, 3), tf.float32, name="images")


def _constant_forward(job):
    """Function from images to features in which the weights are constants."""

    arrays = [(v, v.numpy()) for v in job.backbone.weights]

    @tf.function(input_signature=[_images_spec(job)])
    def forward(images):
        with keras.StatelessScope([(v, tf.constant(array)) for v, array in arrays]):
            return {"features": job.backbone(images, training=False)}

    return forward


def _write_keras(job, path):
    job.backbone.save(path)


def _read_keras_file(job, path):
    model = keras.saving.load_model(path, compile=False)
    return {"images": lambda images: model(images, training=False)}


def _write_savedmodel(job, path):
    module = tf.Module()
    # The variables alone: whoever loads the folder needs neither Keras nor dino_tf.
    module.weights = [v.value for v in job.backbone.weights]
    square = tf.TensorSpec((*job.size, 3), tf.float32)

    @tf.function(input_signature=[_images_spec(job)])
    def from_images(images):
        return {"features": job.backbone(images, training=False)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="photos")])
    def from_photos(photos):
        def prepare(photo):
            return center_crop(decode(photo), job.size, job.mean, job.std)

        return from_images(tf.map_fn(prepare, photos, fn_output_signature=square))

    signatures = {"serving_default": from_photos, "images": from_images}
    tf.saved_model.save(module, str(path), signatures)


def _read_savedmodel(job, path):
    loaded = tf.saved_model.load(str(path))

    def run(signature, **inputs):
        return loaded.signatures[signature](**inputs)["features"]

    return {
        "images": lambda images: run("images", images=tf.constant(images)),
        "photos": lambda photos: run("serving_default", photos=tf.constant(photos)),
    }


def _write_onnx(job, path):
    import onnx
    import tf2onnx

    spec = [_images_spec(job)]
    model, _ = tf2onnx.convert.from_function(_constant_forward(job), spec, opset=OPSET)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, job.facts())
    onnx.save(model, path)


def _read_onnx(job, path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return {"images": lambda images: session.run(["features"], {"images": images})[0]}


def _write_litert(job, path):
    traced = _constant_forward(job).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    # Without the operations of TensorFlow, which only its own interpreter has.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    path.write_bytes(converter.convert())


def _read_litert(job, path):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner()
    return {"images": lambda images: run(images=images)["features"]}


def _write_safetensors(job, path):
    import safetensors.numpy

    path.mkdir()
    arrays = published_weights(job.backbone)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    config = json.dumps(job.backbone.get_config())
    facts = {"format": "pt", **job.facts(), "config": config}
    # `save_file` would make a file that nobody else may read.
    (path / "model.safetensors").write_bytes(safetensors.numpy.save(arrays, facts))
    write_card(path, job.backbone, job.mean, job.std, job.weights)


def _read_safetensors(job, path):
    import safetensors.numpy

    with safetensors.safe_open(path / "model.safetensors", "numpy") as file:
        config = json.loads(file.metadata()["config"])
    fresh = fresh_network(job.backbone, config)
    arrays = safetensors.numpy.load_file(path / "model.safetensors")
    assign_published(fresh, arrays)
    return {"images": lambda images: fresh(images, training=False)}


FORMATS = {
    "keras": Format(".keras", True, {}, "Keras", _write_keras, _read_keras_file),
    "savedmodel": Format(
        "", False, {}, "TensorFlow", _write_savedmodel, _read_savedmodel
    ),
    "onnx": Format(
        ".onnx",
        False,
        {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
        "ONNX Runtime",
        _write_onnx,
        _read_onnx,
    ),
    "litert": Format(
        ".tflite",
        False,
        {"ai_edge_litert": "ai-edge-litert"},
        "LiteRT",
        _write_litert,
        _read_litert,
    ),
    "safetensors": Format(
        "",
        True,
        {"safetensors": "safetensors"},
        "a new network",
        _write_safetensors,
        _read_safetensors,
    ),
}
# Of files; a folder that has one of them is a slip.
ENDINGS = {kind.ending for kind in FORMATS.values()} - {""} | {".safetensors"}
