"""Weights that a new run starts from (`--init`); resuming is another matter.

Of a published training checkpoint student, teacher, both heads and the center are
taken, so that its training goes on; of everything else the backbone, for both networks.
"""

import dataclasses
import json
import math
import pathlib

import keras
import numpy as np

from dino_tf import checks, settings
from dino_tf.config import FIELDS, Config
from dino_tf.errors import UserError
from dino_tf.freezing import share_frozen
from dino_tf.models.backbones import VITS
from dino_tf.models.block import LAYER_NORM_EPSILON
from dino_tf.models.keras_networks import KerasBackbone
from dino_tf.models.loading import backbone_of, find_file, head_of, load_backbone
from dino_tf.models.resnet import RESNETS, ResNet
from dino_tf.models.vit import VisionTransformer
from dino_tf.models.weight_files import read_weights, safetensors_facts
from dino_tf.models.xcit import XCITS, XCiT
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD

# Side in pixels that the configuration of somebody else's run may ask for.
LARGEST_SIZE = 4096
SIZE_KEYS = ("model.embed_dim", "model.depth", "model.num_heads")
HEAD_KEYS = (
    "out_dim",
    "hidden_dim",
    "bottleneck_dim",
    "num_layers",
    "use_bn",
    "norm_last_layer",
)


@dataclasses.dataclass
class Initial:
    """Networks that a run starts from.

    Attributes:
        source: What was asked for.
        student, teacher: Backbones; the same one where there is one only.
        student_head, teacher_head: Heads; None where there are none.
        center: Center (1, K); None where there is none.
        left: What of the source is not taken, and why, for a person.
    """

    source: str
    student: keras.Model
    teacher: keras.Model
    student_head: keras.Layer | None = None
    teacher_head: keras.Layer | None = None
    center: np.ndarray | None = None
    left: str = ""

    def put_into(self, model):
        """Gives the weights to a `DINO` made for them."""
        model.student_backbone.set_weights(self.student.get_weights())
        if self.student_head:
            model.student_head.set_weights(self.student_head.get_weights())
        model.reset_teacher()
        model.teacher_backbone.set_weights(self.teacher.get_weights())
        if self.teacher_head:
            model.teacher_head.set_weights(self.teacher_head.get_weights())
        if self.student_head and self.center is not None:
            model.dino_loss.center.assign(np.reshape(self.center, (1, -1)))
        share_frozen(model)

    def describe(self):
        """One line on what is taken."""
        one = self.student is self.teacher
        taken = "the backbone" if one else "the backbones of student and teacher"
        if self.student_head:
            taken = "student and teacher with their heads"
            if self.center is not None:
                taken = "student and teacher with their heads, and the center"
        return f"starting from {self.source}: {taken}{self.left}"


def read_initial(source, num_heads=None):
    """`Initial` of anything that `load_backbone` takes.

    Raises:
        UserError: As `load_backbone`, and for networks that cannot be trained here.
    """
    source = str(source)
    # Once: a published file is checked by its SHA-256 each time that it is found.
    file = None if source.startswith("random:") else find_file(source)
    if file is None or file.suffix == ".keras":
        backbone = load_backbone(file or source, num_heads)
        return Initial(source, backbone, backbone)
    teacher = read_weights(file)
    backbone, _ = backbone_of(teacher, num_heads)
    if teacher.part != "teacher" or not teacher.head:
        return Initial(source, backbone, backbone)
    try:
        student = read_weights(file, "student")
    except UserError:  # a teacher by itself
        return Initial(source, backbone, backbone)
    student_backbone, _ = backbone_of(student, num_heads)
    if not student.head:
        return Initial(source, student_backbone, backbone)
    heads, center = (head_of(student), head_of(teacher)), teacher.center
    if center is not None and center.size != heads[0].out_dim:
        raise UserError(f"{file}: center of {center.shape} for K {heads[0].out_dim}")
    return Initial(source, student_backbone, backbone, *heads, center)


def pixel_statistics(source):
    """Mean and deviation that weights were trained with; else those of ImageNet.

    A run tells them in its `config.yaml`, an exported safetensors in its metadata.
    """
    path, config = pathlib.Path(str(source)), _config_of_run(source)
    if config:
        return config.views.mean, config.views.std
    file = path / "model.safetensors" if path.is_dir() else path
    facts = safetensors_facts(file)
    if {"mean", "std"} <= set(facts):
        return tuple(_three_numbers(file, facts, name) for name in ("mean", "std"))
    return IMAGENET_MEAN, IMAGENET_STD


def _three_numbers(file, facts, name):
    try:
        numbers = json.loads(facts[name])
        red, green, blue = (float(number) for number in numbers)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{file}: its metadata has {name} {str(facts[name])[:80]!r}; allowed: "
            "three numbers"
        ) from error
    if (
        not all(map(math.isfinite, (red, green, blue)))
        or name == "std"
        and (min(red, green, blue) <= 0)
    ):
        raise UserError(f"{file}: its metadata has {name} {numbers}")
    return red, green, blue


def evaluation_size(source, backbone):
    """Side in pixels of the photos on which a network is to be evaluated.

    That of the run (`run.eval_size`), the only one that a network takes, or 224.

    Raises:
        UserError: The run's is larger than `LARGEST_SIZE`.
    """
    fixed, config = getattr(backbone, "fixed_size", None), _config_of_run(source)
    if fixed:
        return fixed[0]
    size = config.run.eval_size if config and config.run.eval_size else 224
    if size > LARGEST_SIZE:
        raise UserError(f"{source}: run.eval_size {size}, allowed: {LARGEST_SIZE}")
    return size


def recipe_of(source):
    """`run.recipe` of the run that weights are from, None where they are from none."""
    config = _config_of_run(source)
    return config.run.recipe if config else None


def _config_of_run(source):
    """`Config` of the run that weights are from, None where they are from none."""
    path = pathlib.Path(str(source)).absolute()
    folder = path.parent if path.name == "backbone.keras" else path
    # The best network of a run lies in a folder of its own, without a `config.yaml`.
    inner = folder.name in ("best", "checkpoints")
    for place in [folder, folder.parent] if inner else [folder]:
        if (place / "config.yaml").is_file():
            return Config.from_yaml(place / "config.yaml")
    return None


def fit_config(config, initial):
    """A configuration whose network and head are those of `initial`.

    Args:
        config: `Config` with its preset applied; keys in `config.given` are a
            person's own.
        initial: `Initial`. Its heads are given up where the person asked for others.

    Returns:
        Tuple (new `Config`, {dotted key: reason}).

    Raises:
        UserError: When the person asked for another network.
    """
    config = dataclasses.replace(config)
    wanted = _model_settings(initial.student)
    reasons, why = {}, f"that of {initial.source}"
    for key, value in wanted.items():
        given = settings.value_of(config, key)
        if key in config.given and given not in (None, value):
            raise UserError(
                f"{key}: got {given}, allowed: {'null' if value is None else value}, "
                f"as in --init {initial.source}"
            )
    heads = {}
    if initial.student_head:
        own = initial.student_head.get_config()
        heads = {f"head.{key}": own[key] for key in HEAD_KEYS}
        asked = {k: settings.value_of(config, k) for k in heads if k in config.given}
        other = [k for k, value in asked.items() if value not in (None, heads[k])]
        if other:
            initial.student_head = initial.teacher_head = initial.center = None
            heads = {}
            words = f"{other[0]} {asked[other[0]]} was asked for"
            initial.left = f"; not its heads and center, as {words}"
    pixels = zip(("mean", "std"), pixel_statistics(initial.source), strict=True)
    pixels = {f"views.{name}": value for name, value in pixels}
    pixels = {k: v for k, v in pixels.items() if k not in config.given}
    for key, value in {**wanted, **heads, **pixels}.items():
        section, _, name = key.partition(".")
        part = dataclasses.replace(getattr(config, section), **{name: value})
        setattr(config, section, part)
        reasons[key] = why
    return config, reasons


def _model_settings(backbone):
    """{dotted key: value} that make a network like `backbone`."""
    if not isinstance(backbone, VisionTransformer):
        return _other_settings(backbone)
    differs = (
        backbone.gated_mlp,
        backbone.position_antialias,
        backbone.mlp_ratio != 4.0,
        backbone.rope_periods,
        backbone.norm_epsilon != LAYER_NORM_EPSILON,
        backbone.image_size[0] != backbone.image_size[1],
    )
    if any(differs):
        raise UserError(
            "a ViT with SwiGLU, another MLP width, rotary positions (DINOv3), another "
            "epsilon of its norms, or a position table that is not square or is "
            "antialiased (DINOv2 with registers) can be looked at and evaluated, not "
            "trained further"
        )
    sizes = (backbone.embed_dim, backbone.depth, backbone.num_heads)
    arch = next((name for name, own in VITS.items() if own == sizes), None)
    own = sizes if arch is None else (None, None, None)
    return {
        "model.arch": arch or "vit_small",
        "model.patch_size": backbone.patch_size,
        "model.num_registers": backbone.num_registers,
        "model.layer_scale": backbone.layer_scale,
        "model.image_size": backbone.image_size[0],
        **dict(zip(SIZE_KEYS, own, strict=True)),
    }


def _other_settings(backbone):
    """The same for networks that are known by their name alone."""
    name, patch = None, {}
    if isinstance(backbone, KerasBackbone) and not backbone.options:
        name = backbone.arch
    elif isinstance(backbone, ResNet):
        sizes = (tuple(backbone.stages), backbone.width)
        name = next((n for n, own in RESNETS.items() if own == sizes), None)
    elif isinstance(backbone, XCiT):
        sizes = (backbone.embed_dim, backbone.depth, backbone.num_heads)
        name = next((n for n, own in XCITS.items() if own[:3] == sizes), None)
        patch = {"model.patch_size": backbone.patch_size}
    if name is None:
        kind = type(backbone).__name__
        raise UserError(f"a {kind} of these sizes cannot be trained from --init")
    taken = {f"model.{key}" for key in checks.settings_of(name)}
    keys = [key for key in FIELDS if key.startswith("model.")]
    plain = {key: FIELDS[key].default for key in keys if key not in taken}
    return {**plain, "model.arch": name, **patch}
