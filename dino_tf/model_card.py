"""The card and configuration that go with published weights."""

import json
import pathlib

from dino_tf import phases
from dino_tf.config import Config
from dino_tf.errors import plain
from dino_tf.models.block import LAYER_NORM_EPSILON
from dino_tf.models.vit import VisionTransformer
from dino_tf.report.run_records import members, number, read_object

CARD = """\
---
{front}
---

# {title}

{about} It turns normalised images into features of width {width}, without a classifier.

| | |
|---|---|
{table}

## How it was trained

{training}

## How to load it

`model.safetensors` holds the published names and layout (those of PyTorch).
{loading}"""
TIMM = """
With timm, from this folder, or from `hf-hub:USER/NAME` once it lies on the Hub:

```python
import timm

model = timm.create_model("local-dir:PATH/TO/THIS/FOLDER", pretrained=True).eval()
features = model(images)  # (B, 3, H, W) -> (B, {width})
```

The features are the same at {height} x {width_px}. For other sizes timm resizes the
position table in a way of its own, and the features differ a little.
"""
PUBLISHED = """
With the published program, `vision_transformer.py` of facebookresearch/dino, at any
size that the patch divides:

```python
import functools

import torch
from safetensors.torch import load_file
from vision_transformer import VisionTransformer

model = VisionTransformer(
    img_size=[{height}], patch_size={patch}, embed_dim={width}, depth={depth},
    num_heads={heads}, mlp_ratio={mlp}, qkv_bias=True, num_classes=0,
    norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
)
model.load_state_dict(load_file("model.safetensors"), strict=True)
features = model.eval()(images)  # (B, 3, H, W) -> (B, {width})
```
"""
OURS = """
With dino_tf:

```python
import json

import safetensors.numpy
from dino_tf.models.{module} import {name}
from dino_tf.models.weights import assign_published

with safetensors.safe_open("model.safetensors", "numpy") as file:
    model = {name}.from_config(json.loads(file.metadata()["config"]))
model.build((None, {height}, {width_px}, 3))
assign_published(model, safetensors.numpy.load_file("model.safetensors"))
features = model(images)  # (B, H, W, 3) -> (B, {width})
```
"""
# Entries of a network's configuration that a reader of the card looks for.
TOLD = {
    "patch_size": "patch size",
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "attention heads",
    "mlp_ratio": "hidden width of the MLP over the width",
    "num_registers": "registers",
    "gated_mlp": "SwiGLU in place of the MLP",
    "layer_scale": "initial layer scale",
}


def write_card(folder, backbone, mean, std, weights):
    """Writes `README.md` beside weights and, where timm has the network, `config.json`.

    Args:
        folder: Where `model.safetensors` lies.
        backbone: The network.
        mean: Mean of each channel that images are normalised by, in 0..1.
        std: Deviation of each channel, in 0..1.
        weights: Where the weights come from; `config.yaml` and `summary.json` of a
            run folder tell how they were trained.
    """
    folder = pathlib.Path(folder)
    card = model_card(backbone, mean, std, weights)
    (folder / "README.md").write_text(card, encoding="utf-8")
    config = timm_config(backbone, mean, std)
    if config:
        text = json.dumps(config, indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")


def timm_config(backbone, mean, std):
    """`config.json` by which timm makes the network, or None where it has no such.

    Given for plain Vision Transformers alone: what DINOv2 adds, and other networks,
    have other names or another position table there.

    Reference:
        timm 1.0, `timm/models/_hub.py`: `load_model_config_from_hf` and
        `save_config_for_hf`.
    """
    if not _plain_vit(backbone):
        return None
    height, width = backbone.image_size
    return {
        "architecture": "vit_small_patch16_224",
        "num_classes": 0,
        "num_features": backbone.embed_dim,
        "global_pool": "token",
        "model_args": {
            "img_size": [height, width],
            "patch_size": backbone.patch_size,
            "embed_dim": backbone.embed_dim,
            "depth": backbone.depth,
            "num_heads": backbone.num_heads,
            "mlp_ratio": backbone.mlp_ratio,
        },
        "pretrained_cfg": {
            "tag": "dino",
            "num_classes": 0,
            "input_size": [3, height, width],
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def model_card(backbone, mean, std, weights):
    """Text of the card; see `write_card`."""
    config, name = backbone.get_config(), type(backbone).__name__
    height, width = getattr(backbone, "image_size", (None, None))
    rows = {"architecture": name}
    rows |= {words: config[key] for key, words in TOLD.items() if key in config}
    if hasattr(backbone, "image_size"):
        rows["image size trained at"] = f"{height} x {width} pixels"
    rows["other image sizes"] = f"multiples of {backbone.patch_size} pixels"
    rows["normalisation"] = (
        f"(pixel / 255 - mean) / deviation, mean {list(mean)}, deviation {list(std)}"
    )
    front = ["tags:", "- image-feature-extraction", "- self-supervised", "- dino"]
    front.append("pipeline_tag: image-feature-extraction")
    front.append(f"library_name: {'timm' if _plain_vit(backbone) else 'dino_tf'}")
    return CARD.format(
        front="\n".join(front),
        title=f"{name} of width {backbone.embed_dim}, DINO",
        about="An image backbone for DINO, self-distillation with no labels "
        "([Caron et al. 2021](https://arxiv.org/abs/2104.14294)), made with dino_tf.",
        width=backbone.embed_dim,
        table="\n".join(f"| {key} | {value} |" for key, value in rows.items()),
        training=_training(str(weights)),
        loading=_loading(backbone),
    )


def _plain_vit(backbone):
    """Whether timm and the published program have such a network."""
    if not isinstance(backbone, VisionTransformer):
        return False
    own = (backbone.num_registers, backbone.gated_mlp, backbone.position_antialias)
    kept = backbone.norm_epsilon == LAYER_NORM_EPSILON and not backbone.rope_periods
    return not any(own) and backbone.layer_scale is None and kept


def _loading(backbone):
    height, width = getattr(backbone, "image_size", (224, 224))
    names = {
        "height": height,
        "width_px": width,
        "width": backbone.embed_dim,
        "name": type(backbone).__name__,
        "module": type(backbone).__module__.rpartition(".")[2],
    }
    texts = [OURS]
    if _plain_vit(backbone):
        names |= {"patch": backbone.patch_size, "depth": backbone.depth}
        names |= {"heads": backbone.num_heads, "mlp": backbone.mlp_ratio}
        # The published position table is a square.
        texts = [TIMM, *([PUBLISHED] if height == width else []), OURS]
    return "".join(text.format(**names) for text in texts)


def _training(weights):
    """What is known about the training, in sentences."""
    run = pathlib.Path(weights)
    if weights.startswith("random:"):
        return f"Not at all: the weights are random (`{weights}`)."
    if not (run / "config.yaml").is_file():
        return "Not known: the weights came without the settings of a run."
    config = Config.from_yaml(run / "config.yaml")
    views, model, optimizer = config.views, config.model, config.optimizer
    matrices = ""
    if optimizer.name == "muon":
        matrices = f" ({optimizer.muon_lr} for the matrices of the blocks)"
    text = (
        f"By self-distillation without labels on `{_data_name(config.data)}`: "
        f"{config.run.epochs} epochs{phases.words(config)} in batches of "
        f"{config.pipeline.batch_size}, two global crops of "
        f"{views.global_size} and {views.num_local} local crops of "
        f"{views.local_size} pixels, {config.head.out_dim} prototypes, "
        f"{optimizer.name} with a learning rate of {optimizer.lr} for 256 photos"
        f"{matrices}, drop path {model.drop_path_rate}, seed {config.run.seed}."
    )
    summary = members(read_object(run / "summary.json"))
    numbers = {key: number(value) for key, value in summary.items()}
    if None not in (numbers.get("photos"), numbers.get("loss")):
        text += f" {numbers['photos']} photos; loss at the end {numbers['loss']}."
    for key, value in numbers.items():
        before = numbers.get(f"untrained/{key}")
        if key.startswith("knn/") and None not in (value, before):
            text += f" {plain(key)}: {value:.1f} %, untrained {before:.1f} %."
    return text


def _data_name(data):
    """Data as it was named, without the folders that lead to it."""
    kind, colon, place = data.rpartition(":")
    return kind + colon + pathlib.PurePath(place).name
