"""Every reader of files of ours, as a function of bytes that anybody may have written.

A target returns whatever it reads, or raises `UserError` (of which `DownloadError` and
`DamagedRecord` are kinds), or what its docstring in the package says. All else is a
mistake of ours.
"""

import contextlib
import io
import json
import pickle
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from dino_tf.errors import UserError

TARGETS = {}
MEBI = 2**20


def target(*seeds, allowed=(UserError,)):
    """Registers a function of (bytes, empty folder) with valid contents for it."""

    def register(function):
        TARGETS[function.__name__] = (function, seeds, allowed)
        return function

    return register


def run(name, data):
    """One call of a target; raises what it may not raise."""
    function, _, allowed = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        with contextlib.suppress(*allowed):
            function(data, Path(folder))


def seeds(name):
    """Valid contents of a target."""
    return [seed() if callable(seed) else seed for seed in TARGETS[name][1]]


def written(folder, name, data):
    file = folder / name
    file.write_bytes(data)
    return file


def packed(data):
    """An archive of one member and one of two, by what `zipfile` calls them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in data.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def in_tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("a/b")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
    return file.getvalue()


def arrays(**named):
    file = io.BytesIO()
    np.savez(file, **named)
    return file.getvalue()


def array(value):
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def png(mode="L"):
    file = io.BytesIO()
    Image.new(mode, (4, 3)).save(file, "PNG")
    return file.getvalue()


# torch.save({"a": torch.ones(2)}) has no shorter form than these operations.
PICKLE = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02"
    b"((X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05"
    b"X\x03\x00\x00\x00cpuq\x06K\x02tq\x07QK\x00K\x02\x85q\x08K\x01\x85q\t\x89"
    b"ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
TORCH = {"a/data.pkl": PICKLE, "a/data/0": bytes(8), "a/version": b"3\n"}
STREAM = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    b"\x80\x02}q\x00X\r\x00\x00\x00little_endianq\x01\x88s."
    b"\x80\x02}q\x00.\x80\x02]q\x00."
)
HEADER = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
SAFE = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)
FACTS = (
    b'{"__metadata__":{"config":"{\\"num_heads\\":2}","mean":"[0.5,0.5,0.5]",'
    b'"std":"[1,1,1]"},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
)
TOLD = len(FACTS).to_bytes(8, "little") + FACTS


@target(lambda: packed(TORCH), STREAM)
def torch_file(data, folder):
    from dino_tf.models.weight_files import read_weights

    return read_weights(written(folder, "a.pth", data))


@target(PICKLE)
def torch_pickle(data, folder):
    from dino_tf.models.weight_files import read_weights

    return read_weights(written(folder, "a.pth", packed({**TORCH, "a/data.pkl": data})))


@target(SAFE, TOLD)
def safetensors(data, folder):
    from dino_tf.initial import pixel_statistics
    from dino_tf.models.weight_files import read_weights, safetensors_facts

    file = written(folder, "a.safetensors", data)
    safetensors_facts(file)
    pixel_statistics(file)
    return read_weights(file)


@target(b'{"num_heads": 2, "model_args": {"num_heads": 3}}')
def config_json(data, folder):
    from dino_tf.models.weight_files import read_weights

    written(folder, "config.json", data)
    return read_weights(written(folder, "model.safetensors", SAFE))


@target(
    b'{"module": "dino_tf.models.vit", "class_name": "VisionTransformer", "config": '
    b'{"embed_dim": 8, "depth": 1, "num_heads": 1, "patch_size": 8, "image_size": '
    b'[16, 16], "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": '
    b'{"name": "float32"}, "registered_name": null}}, "registered_name": '
    b'"dino_tf>VisionTransformer", "build_config": {"shapes_dict": {}}}'
)
def keras_config(data, folder):
    import h5py

    import dino_tf.models.vit  # noqa: F401  registers the class
    from dino_tf.models.keras_files import check_keras_file

    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        file["a"] = np.zeros(2, "f4")
    members = {"metadata.json": b"{}", "config.json": data}
    members["model.weights.h5"] = stored.getvalue()
    return check_keras_file(written(folder, "a.keras", packed(members)))


@target(b"data: scenes\nrun:\n  epochs: 3\nviews:\n  mean: [0.4, 0.5, 0.6]\n")
def settings(data, folder):
    from dino_tf.config import Config

    return Config.from_yaml(written(folder, "config.yaml", data)).flatten()


@target(b"a.png\tcat\nb/../a.png\n")
def list_file(data, folder):
    from dino_tf.datasets.folder import open_list

    written(folder, "a.png", png())
    return open_list(written(folder, "list.txt", data))


@target(b"000005\n000007  1\r\n")
def voc_image_set(data, folder):
    from dino_tf.datasets.voc import open_voc

    (folder / "JPEGImages").mkdir()
    (folder / "ImageSets/Main").mkdir(parents=True)
    written(folder, "ImageSets/Main/trainval.txt", data)
    source = open_voc(2007, folder)
    return [source.id(index) for index in range(len(source))], source.stamp()


@target(
    b"<annotation><size><width>9</width><height>9</height></size><object><name>cat"
    b"</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5"
    b"</xmax><ymax>5</ymax></bndbox></object></annotation>"
)
def voc_boxes(data, folder):
    from dino_tf.datasets.voc import read_annotation

    return read_annotation(written(folder, "a.xml", data))


@target(png, lambda: png("P"))
def voc_mask(data, folder):
    from dino_tf.datasets.voc import VOC

    for name in ("JPEGImages", "ImageSets/Main", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    written(folder, "ImageSets/Main/a.txt", b"one")
    written(folder, "SegmentationClass/one.png", data)
    return VOC(folder, "a").mask(0)


@target(png, lambda: png("RGB"), lambda: png("I;16"))
def binary_mask(data, folder):
    from dino_tf.datasets.masks import read_binary_mask

    return read_binary_mask(written(folder, "a.png", data))


def shard(folder, **changed):
    """A split of one record, with other contents for some of its files."""
    import zlib

    from dino_tf.datasets.shards import FORMAT, ROW

    example = record()
    facts = {"bytes": len(example) + 16, "sha256": ""}
    index = {"format": FORMAT, "name": "a", "class_names": ["b"], "records": 1}
    index |= {"shards": [facts], "arrays": {"records": "", "names": "", "labels": ""}}
    row = (0, 0, len(example), zlib.crc32(example), 0, 4, 1, 1)
    files = {
        "index": json.dumps(index).encode(),
        "records": array(np.array([row], ROW)),
        "names": array(np.frombuffer(b"a", "u1")),
        "labels": array(np.zeros(1, "<i4")),
        **changed,
    }
    written(folder, "index.json", files.pop("index"))
    for name, content in files.items():
        written(folder, f"{name}.npy", content)
    written(folder, "00000.tfrecord", bytes(12) + example + bytes(4))
    return files


def record():
    from dino_tf.datasets.shard_records import encode
    from dino_tf.datasets.source import Boxes, Record

    mask, boxes = np.zeros((2, 2), "<i4"), Boxes.of([[0, 0, 1, 1]], [0], [False])
    return encode(Record("a", b"abcd", (0,), boxes, mask), mask)


def seed_of(name):
    def read():
        with tempfile.TemporaryDirectory() as folder:
            shard(Path(folder))
            ending = "json" if name == "index" else "npy"
            return (Path(folder) / f"{name}.{ending}").read_bytes()

    return read


def look_at(folder):
    from dino_tf.datasets.shards import ShardSource

    source = ShardSource(folder)
    source.stamp(), source.damage(), source.id(0), source.labels(0)
    return source.image_bytes(0), source.boxes(0), source.mask(0), source.objects(0)


@target(seed_of("index"))
def shard_index(data, folder):
    shard(folder, index=data)
    return look_at(folder)


@target(seed_of("records"))
def shard_rows(data, folder):
    shard(folder, records=data)
    return look_at(folder)


@target(seed_of("names"))
def shard_names(data, folder):
    shard(folder, names=data)
    return look_at(folder)


@target(seed_of("labels"))
def shard_labels(data, folder):
    shard(folder, labels=data)
    return look_at(folder)


@target(record)
def shard_record(data, folder):
    from dino_tf.datasets.shard_records import array_of, boxes_of

    for read in (boxes_of, lambda d: array_of(d, "mask")):
        with contextlib.suppress(UserError):
            read(data)
    return array_of(data, "objects")


@target(
    lambda: arrays(
        mean=np.zeros(2), directions=np.zeros((1, 2)), low=np.zeros(1), high=np.ones(1)
    )
)
def components(data, folder):
    from dino_tf.visualize.components import load_components

    return load_components(written(folder, "a.npz", data))


@target(
    b'{"epoch": 1, "loss": 2.0, "verdict": "flat", "advice": ["a"], "seconds": 1}\n'
)
def metrics(data, folder):
    from dino_tf.report.page import page
    from dino_tf.report.run_files import progress
    from dino_tf.run_folder import RunFolder

    run = RunFolder(folder)
    run.metrics.write_bytes(data)
    run.summary.write_bytes(data)
    found = progress(run, None)
    return page({"title": "", "state": "", **found})


@target(
    b'{"tasks": {"knn": {"numbers": {"ours": {"a": 1.0}}, "files": ["eval/a.png"], '
    b'"options": {"k": 1}, "published": [{"name": "a"}], "notes": ["b"]}}}'
)
def evaluation(data, folder):
    from dino_tf.report.page import page
    from dino_tf.report.run_files import evaluations
    from dino_tf.run_folder import RunFolder

    (folder / "eval").mkdir()
    written(folder, "eval/a.json", data)
    found = evaluations(RunFolder(folder), [])
    return page({"title": "", "state": "", "evaluations": found})


@target(lambda: packed({"a/b": b"one"}), in_tar)
def archive(data, folder):
    from dino_tf.datasets.archive import extract

    (folder / "in" / "out").mkdir(parents=True)
    file = written(folder, "a", data)
    try:
        extract(file, folder / "in" / "out")
    finally:
        outside = {path.name for path in folder.iterdir()} - {"in", "a"}
        assert not outside and len(list((folder / "in").iterdir())) == 1


TRUTH = {"easy": [1], "hard": [], "junk": [0], "bbx": [0.0, 0.0, 2.0, 2.0]}
TRUTH = {"imlist": ["a", "b"], "qimlist": ["c"], "gnd": [TRUTH]}


def with_photo(folder):
    (folder / "jpg").mkdir()
    written(folder, "jpg/a.jpg", b"")
    return folder


@target(json.dumps(TRUTH).encode())
def ground_truth_json(data, folder):
    from dino_tf.datasets.revisited import open_revisited

    folder = with_photo(folder)
    return open_revisited(written(folder, "gnd_a.json", data)).queries


@target(pickle.dumps(TRUTH, 2), pickle.dumps(TRUTH, 5))
def ground_truth_pickle(data, folder):
    from dino_tf.datasets.revisited import open_revisited

    folder = with_photo(folder)
    return open_revisited(written(folder, "gnd_a.pkl", data)).queries


@target(b"a\nb\r\n", b"/JPEGImages/480p/a/00000.jpg /Annotations/480p/a/00000.png\n")
def davis_list(data, folder):
    from dino_tf.datasets.davis import read_list

    return [folder / name for name in read_list(written(folder, "val.txt", data))]


@target(png, lambda: png("P"))
def davis_mask(data, folder):
    from dino_tf.datasets.davis import read_numbers

    return read_numbers(written(folder, "00000.png", data))


INSTANCES = (
    b'{"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 3}], '
    b'"annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 1], '
    b'"iscrowd": 0}], "categories": [{"id": 2, "name": "dog"}]}'
)


@target(INSTANCES)
def coco_instances(data, folder):
    from dino_tf.datasets.coco import CocoPhotos

    written(folder, "a.png", png("RGB"))
    source = CocoPhotos(folder, written(folder, "a.json", data))
    for index in range(len(source)):
        boxes = source.boxes(index)
        assert boxes is None or (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
        assert folder in (folder / source.file_names[index]).resolve().parents
    return source.about()


@target(
    b'[{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1, "y1": 2, '
    b'"x2": 3, "y2": 4}, "attributes": {"crowd": true}}]}]',
    b'{"name": "a", "frames": [{"objects": [{"category": "lane", "poly2d": []}]}]}',
)
def bdd100k_labels(data, folder):
    from dino_tf.datasets.bdd100k_labels import read_labels

    for _, boxes in read_labels(written(folder, "a.json", data)):
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
