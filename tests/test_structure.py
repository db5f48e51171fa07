"""The shape of the package: who imports whom, sizes, names, docstrings, TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dino_tf"
FILES = sorted(PACKAGE.rglob("*.py"))

# Rank by rank, from the lowest. In each rank, folder by folder ("" is `dino_tf`
# itself), the files in the order in which they build on each other. A file imports
# only from lower ranks, or from files named before it in its own line.
RANKS = (
    {
        "task_options": "__init__ size knn linear segment discover video retrieve copy "
        "finetune detect"
    },
    {
        "": "errors spreadsheets stopping health checksums pillow_errors photo_headers "
        "photo_files progress tasks kinds download schedules cluster guard workers "
        "rendezvous multi_worker distribute settings run_settings "
        "learning_settings config",
        # Also for ground truth that comes as a pickle.
        "models": "torch_tensors torch_objects torch_unpickler",
    },
    {
        "": "phases idle placement checks presets recipe_reading recipe_watching "
        "recipe_memory recipe_learning recipe",
        "datasets": "source arrays joined archive voc_archives folder masks voc tfds "
        "json_files coco bdd100k_labels bdd100k hf shard_records shards species "
        "habitats scene_drawing scenes film davis film_drawing film_scenes revisited "
        "instances copydays copies __init__",
        "transforms": "__init__ pixels first_frame image jpeg augment resample "
        "multicrop random_crop mixing shrink",
        "models": "__init__ pos_embed rope torch_legacy torch_file pieces block vit "
        "mimetic head xcit_block xcit resnet detector keras_sources keras_networks "
        "backbones classifier weights weight_files dinov3_names recognise published "
        "keras_files loading",
        "analysis": "__init__ boxes box_targets detection lost tokencut bilateral "
        "attention dino_seg feature_rank matching overlap saliency neighbours "
        "precision ranked whitening components embedding confusion patch_classes "
        "softmax_regression positions filters propagation mask_tracks",
    },
    {
        "": "stalls photo_cache photos view_worker view_processes reading masking "
        "pipeline views sinkhorn koleo histograms loss ibot passes optimizers "
        "muon layer_rates "
        "freezing updates signals workload shard_parts shard_photos shard_writer "
        "coco_conversion",
    },
    {"": "dino"},
    {
        "visualize": "__init__ draw masks attention features curves neighbours "
        "ranked classes class_masks figure heads components distance positions filters "
        "plane ffmpeg film_files film_writer film_pictures",
    },
    {
        "evaluate": "__init__ features splits labelled store subject published page "
        "patch_pass knn "
        "linear_scores linear_quick linear_svm linear_heads linear_photos "
        "linear_views linear_published linear "
        "patches object_boxes discovery_files discovery "
        "last_block masked segment_attention segment_saliency patch_tokens "
        "segment_linear segment watched "
        "whole_photos ranking retrieve copy "
        "label_propagation video_files video_tracks video "
        "finetune_options finetune_step finetune_photos finetune "
        "detect_photos detect_measures detect_files detect_training detect",
    },
    {
        "": "run_lock run_folder keras_writer checkpoint saving callbacks watch best "
        "boards assemble initial prepare"
    },
    {
        "report": "__init__ jpeg run_records verdicts curves explorer run_files "
        "network page write"
    },
    {
        "": "films attend evaluation embed_rows embed_formats embedding model_card "
        "formats export launch run_pictures run_measures run_watch training",
    },
    {"pictures": "request of_photos of_network of_data gallery __init__"},
    {"": "commands mistakes data_commands cli"},
)
# It names every public object, and loads each at its first use.
ROOT = "dino_tf.__init__"

# Input code, the training step and what surrounds it; all else is Keras or NumPy.
TENSORFLOW = {
    "dino_tf.datasets.tfds",
    "dino_tf.datasets.shard_records",
    "dino_tf.shard_parts",
    "dino_tf.shard_photos",
    "dino_tf.shard_writer",
    "dino_tf.transforms.image",
    "dino_tf.transforms.multicrop",
    "dino_tf.transforms.random_crop",
    "dino_tf.transforms.mixing",
    "dino_tf.reading",
    "dino_tf.pipeline",
    "dino_tf.cluster",
    "dino_tf.multi_worker",
    "dino_tf.distribute",
    "dino_tf.optimizers",
    "dino_tf.dino",
    "dino_tf.passes",
    "dino_tf.updates",
    "dino_tf.watch",
    "dino_tf.boards",
    "dino_tf.models.pieces",
    "dino_tf.workload",
    "dino_tf.evaluate.features",
    "dino_tf.evaluate.finetune",
    "dino_tf.evaluate.finetune_step",
    "dino_tf.evaluate.detect_training",
    "dino_tf.evaluate.patch_tokens",
    "dino_tf.evaluate.patch_pass",
    "dino_tf.evaluate.linear_heads",
    "dino_tf.evaluate.linear_views",
    "dino_tf.export",
    "dino_tf.formats",
}
PURE = ("dino_tf.analysis.",)
CATCH_ALLS = {"utils", "util", "helpers", "helper", "common", "misc"}
MOST_LINES, MOST_FUNCTION_LINES = 350, 60
# Methods whose meaning is told where they come from: Keras, or a class of ours.
TOLD_ELSEWHERE = {
    "build",
    "call",
    "compile_from_config",
    "compute_output_shape",
    "from_config",
    "get_compile_config",
    "get_config",
    "metrics",
    "update_step",
    "direction",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_end",
    "on_train_begin",
    "on_train_end",
    "about",
    "id",
    "image_bytes",
    "stamp",
    "damage",
    "labels",
    "boxes",
    "mask",
    "objects",
}


def name_of(file):
    """`dino_tf.models.vit` of a path; packages end with `.__init__`."""
    return ".".join(("dino_tf", *file.relative_to(PACKAGE).with_suffix("").parts))


def places():
    """{module: (rank, folder, place in the folder's line)} of the whole table."""
    table = {}
    for rank, folders in enumerate(RANKS):
        for folder, files in folders.items():
            for place, stem in enumerate(files.split()):
                module = ".".join(filter(None, ("dino_tf", folder, stem)))
                assert module not in table, f"{module} is listed twice"
                table[module] = (rank, folder, place)
    return table


PLACES = places()
NAMES = {name_of(file) for file in FILES}


def absolute(node, module):
    """Module that `from ... import` names, with the dots in front resolved."""
    if not node.level:
        return node.module
    package = module.split(".")[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])


def imports(module, tree):
    """Every module that a file imports anywhere, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = absolute(node, module)
            for alias in node.names:
                inner = f"{parent}.{alias.name}"
                is_module = {inner, f"{inner}.__init__"} & NAMES
                yield inner if is_module else parent


def own_imports(module, tree):
    """The files of the package among the imports."""
    for name in imports(module, tree):
        if name.split(".")[0] == "dino_tf":
            yield f"{name}.__init__" if f"{name}.__init__" in NAMES else name


def violations(module, tree):
    """What a file imports against the ranks."""
    rank, folder, place = PLACES[module]
    for name in own_imports(module, tree):
        other = PLACES.get(name)
        if other is None:
            yield f"{module} imports {name}, which has no rank"
        elif not (other[0] < rank or other[:2] == (rank, folder) and other[2] < place):
            yield f"{module} (rank {rank}) imports {name} (rank {other[0]})"


def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def test_every_file_has_a_rank():
    assert NAMES - {ROOT} == set(PLACES)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_follow_the_ranks(file):
    if name_of(file) != ROOT:
        assert not list(violations(name_of(file), parse(file)))


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("dino_tf.loss", "from dino_tf.schedules import value_at", 0),
        ("dino_tf.loss", "from dino_tf.dino import DINO", 1),
        ("dino_tf.loss", "def f():\n    import dino_tf.training", 1),
        ("dino_tf.loss", "from dino_tf import optimizers, pipeline", 1),
        ("dino_tf.transforms.jpeg", "from .image import decode", 0),
        ("dino_tf.transforms.image", "from . import augment", 1),
        ("dino_tf.transforms.image", "from ..errors import UserError", 0),
        ("dino_tf.models.vit", "from dino_tf.analysis.boxes import iou", 1),
        ("dino_tf.datasets.voc", "from dino_tf.datasets import open_source", 1),
        ("dino_tf.training", "from dino_tf.datasets import open_source", 0),
        ("dino_tf.training", "from dino_tf import create_backbone", 1),
    ],
)
def test_the_rank_check_sees_what_it_should(module, text, found):
    assert len(list(violations(module, ast.parse(text)))) == found


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_tensorflow_stays_where_it_belongs(file):
    module = name_of(file)
    first = {name.split(".")[0] for name in imports(module, parse(file))}
    if module not in TENSORFLOW:
        assert not first & {"tensorflow", "tensorflow_datasets"}
    if module.startswith(PURE):
        assert "keras" not in first


def test_list_of_tensorflow_files_has_no_spare_names():
    spare = set(TENSORFLOW)
    for file in FILES:
        first = {name.split(".")[0] for name in imports(name_of(file), parse(file))}
        if first & {"tensorflow", "tensorflow_datasets"}:
            spare.discard(name_of(file))
    assert not spare


@pytest.mark.parametrize("module", ["dino_tf", "dino_tf.cli", "dino_tf.recipe"])
def test_import_does_not_wait_for_tensorflow(module):
    code = f"import sys, {module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert done.stdout.strip() == "set()"


def test_public_names_can_be_loaded():
    import dino_tf

    assert {"DINO", "create_backbone", "load_backbone"} <= set(dino_tf.__all__)
    for name in dino_tf.__all__:
        assert getattr(dino_tf, name).__name__ == name
    assert set(dino_tf.__all__) <= set(dir(dino_tf))
    with pytest.raises(AttributeError, match="no attribute 'Dino'"):
        _ = dino_tf.Dino


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_are_short(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MOST_FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_no_file_or_folder_is_a_catch_all():
    parts = {part for file in FILES for part in name_of(file).split(".")}
    assert not parts & CATCH_ALLS


def undocumented(tree):
    """Public functions, classes and methods without a docstring."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                inner = set(undocumented(node))
                told = TOLD_ELSEWHERE if node.bases else set()
                yield from (f"{node.name}.{name}" for name in inner - told)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_public_names_have_docstrings(file):
    tree = parse(file)
    assert not list(undocumented(tree))
    assert ast.get_docstring(tree) or not tree.body


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    pass", ["f"]),
        ("class A:\n    'An A.'\n    def build(self):\n        pass", ["A.build"]),
        ("class A(B):\n    'An A.'\n    def build(self):\n        pass", []),
        ("class A(B):\n    'An A.'\n    def other(self):\n        pass", ["A.other"]),
        ("def _f():\n    pass", []),
    ],
)
def test_the_docstring_check_sees_what_it_should(text, found):
    assert list(undocumented(ast.parse(text))) == found
