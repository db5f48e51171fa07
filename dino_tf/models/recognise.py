"""Which network a set of weights belongs to, read off its names and shapes."""

import collections
import math
import re

import numpy as np

from dino_tf.errors import UserError
from dino_tf.models import dinov3_names

HEAD_CHANNELS = 64  # a head of all published networks
# Patch size of an XCiT by its convolutions of stride 2.
XCIT_PATCHES = {3: 8, 4: 16}

# Parts of names of the `transformers` library (4 and 5), and ours, in this order.
TRANSFORMERS = (
    (r"^(vit|dinov2|dinov2_with_registers)\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.", ""),
    (r"^layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(?:attention\.query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:attention\.key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:attention\.value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.(?:weights_out|down_proj)\.", ".mlp.w3."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
)
# What is one matrix here: its first part, the others in order, and the whole.
JOINED = (
    (".attn.q.", (".attn.k.", ".attn.v."), ".attn.qkv."),
    (".mlp.gate_proj.", (".mlp.up_proj.",), ".mlp.w12."),
)


def vit_arguments(arrays, num_heads=None):
    """Arguments of the `VisionTransformer` that `arrays` belong to.

    Args:
        arrays: {published name: array}, see `published_names`.
        num_heads: Attention heads, which no file tells but the official ones of
            DINOv3; None follows the published rule of 64 channels a head (128 in
            DINOv3's largest).

    Raises:
        UserError: When the shapes are not those of a ViT, or the rule does not fit.
    """
    width, _, patch, patch_width = _shape(arrays, "patch_embed.proj.weight", 4)
    rotary = dinov3_names.PERIODS in arrays
    tokens = dinov3_names.GRID**2
    if not rotary:
        tokens = _shape(arrays, "pos_embed", 3)[1] - 1
    side = math.isqrt(tokens)
    if side * side != tokens or patch != patch_width:
        raise UserError(
            f"a position table of {tokens} patches of {patch} x {patch_width} pixels "
            "is not square; expected a square one"
        )
    gated = "blocks.0.mlp.w3.weight" in arrays
    last = "blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"
    registers = "register_tokens" in arrays
    told = dinov3_names.heads_told(arrays, width) if rotary else None
    heads = told or _published_heads(width) if num_heads is None else num_heads
    arguments = {
        "embed_dim": width,
        # Each of them is in the file: a lone large number makes no deep network.
        "depth": len(set(_block_numbers(arrays))),
        "num_heads": heads,
        "patch_size": patch,
        "image_size": side * patch,
        "mlp_ratio": _shape(arrays, last, 2)[1] / width,
        "num_registers": arrays["register_tokens"].shape[1] if registers else 0,
        "gated_mlp": gated,
        "layer_scale": 1.0 if "blocks.0.ls1.gamma" in arrays else None,
        "position_antialias": registers and not rotary,
    }
    if rotary:
        periods = dinov3_names.rope_periods(arrays, width, heads)
        arguments["rope_periods"] = periods
        arguments["norm_epsilon"] = dinov3_names.NORM_EPSILON
    return arguments


def xcit_arguments(arrays, num_heads=None):
    """Arguments of the `XCiT` that `arrays` belong to.

    Args:
        arrays: {published name: array}.
        num_heads: Attention heads, which the file tells; None takes its word.

    Raises:
        UserError: When the shapes are not those of an XCiT, or it has other heads.
    """
    width = _shape(arrays, "cls_token", 3)[2]
    heads = _shape(arrays, "blocks.0.attn.temperature", 3)[0]
    if num_heads not in (None, heads):
        raise UserError(f"the file has {heads} heads; asked for were {num_heads}")
    convs = [k for k in arrays if re.fullmatch(r"patch_embed\.proj\.\d+\.0\.weight", k)]
    if len(convs) not in XCIT_PATCHES:
        raise UserError(
            f"patch_embed.proj has {len(convs)} convolutions; expected 3 or 4, for "
            "patches of 8 or 16 pixels"
        )
    return {
        "embed_dim": width,
        "depth": len(set(_block_numbers(arrays))),
        "num_heads": heads,
        "patch_size": XCIT_PATCHES[len(convs)],
        "mlp_ratio": _shape(arrays, "blocks.0.mlp.fc2.weight", 2)[1] / width,
        "cls_attn_layers": len(set(_block_numbers(arrays, "cls_attn_blocks"))),
    }


def resnet_arguments(arrays, num_heads=None):
    """Arguments of the `ResNet` that `arrays` belong to.

    Raises:
        UserError: When the shapes are not those of a ResNet, or heads are asked for.
    """
    if num_heads is not None:
        raise UserError(f"a ResNet has no heads; asked for were {num_heads}")
    blocks = re.findall(r"(?m)^layer(\d+)\.(\d+)\.", "\n".join(arrays))
    counts = collections.Counter(int(stage) for stage, _ in set(blocks))
    return {
        "stages": tuple(counts[stage] for stage in sorted(counts)),
        "width": _shape(arrays, "conv1.weight", 4)[0],
    }


def head_arguments(arrays):
    """Arguments of the `DINOHead` that {published name: array} belong to.

    The lengths `weight_g` tell whether they were trained: fixed ones are 1.

    Raises:
        UserError: When the shapes are not those of a head.
    """
    out_dim, bottleneck = _shape(arrays, "last_layer.weight_v", 2)
    single = "mlp.weight" in arrays
    dense = [k for k in arrays if re.fullmatch(r"mlp\.\d+\.weight", k)]
    dense = [k for k in dense if arrays[k].ndim == 2]
    hidden = bottleneck if single else _shape(arrays, "mlp.0.weight", 2)[0]
    lengths = arrays.get("last_layer.weight_g")
    return {
        "out_dim": out_dim,
        "hidden_dim": hidden,
        "bottleneck_dim": bottleneck,
        "num_layers": 1 if single else len(dense),
        "use_bn": any(name.endswith("running_mean") for name in arrays),
        "norm_last_layer": lengths is None or bool(np.all(lengths == 1)),
    }


def head_input(arrays):
    """Width D of the features that a head takes."""
    single = "mlp.weight" in arrays
    return _shape(arrays, "mlp.weight" if single else "mlp.0.weight", 2)[1]


def is_vit(arrays):
    """Whether the names are those of a Vision Transformer."""
    return {"cls_token", "patch_embed.proj.weight"} <= set(arrays)


def is_xcit(arrays):
    """Whether the names are those of an XCiT."""
    return "cls_attn_blocks.0.attn.qkv.weight" in arrays


def is_resnet(arrays):
    """Whether the names are those of a ResNet with bottlenecks."""
    return {"conv1.weight", "layer1.0.conv3.weight"} <= set(arrays)


def published_names(arrays):
    """The same arrays under the names of the published programs.

    Understands the names of `transformers` (ViT, DINOv2 with and without registers)
    and what timm names otherwise, and DINOv3's (see `dinov3_names`); others stay as
    they are. A ResNet's classifier is left out.
    """
    if is_resnet(arrays):
        return {k: v for k, v in arrays.items() if not k.startswith("fc.")}
    if dinov3_names.is_dinov3(arrays):
        return dinov3_names.from_dinov3(arrays)
    if any(re.search(r"(^|\.)layers?\.\d", name) for name in arrays):
        if any(".attention." in name for name in arrays):
            arrays = _from_transformers(arrays)
    return _from_timm({k: v for k, v in arrays.items() if k != "mask_token"})


def _from_transformers(arrays):
    renamed = {}
    for name, array in arrays.items():
        for pattern, ours in TRANSFORMERS:
            name = re.sub(pattern, ours, name)
        renamed[name] = array
    return _joined(renamed)


def _joined(arrays):
    """Queries, keys and values as one matrix, and the two halves of a SwiGLU."""
    joined = {}
    for name, array in arrays.items():
        for first, others, whole in JOINED:
            names = [name.replace(first, other) for other in (first, *others)]
            if first in name:
                if not all(n in arrays for n in names):
                    raise UserError(f"{name} stands without {' and '.join(others)}")
                whole = name.replace(first, whole)
                joined[whole] = np.concatenate([arrays[n] for n in names])
                break
            if any(other in name for other in others):
                break
        else:
            joined[name] = array
    return joined


def _from_timm(arrays):
    arrays = dict(arrays)
    if "reg_token" in arrays:
        arrays["register_tokens"] = arrays.pop("reg_token")
        table = arrays.get("pos_embed")
        if table is not None and math.isqrt(table.shape[1]) ** 2 == table.shape[1]:
            # CLS has its position added already.
            arrays["pos_embed"] = np.pad(table, [(0, 0), (1, 0), (0, 0)])
    first, second = (arrays.get(f"blocks.0.mlp.fc{n}.weight") for n in (1, 2))
    if first is not None and second is not None:
        if first.shape[0] == 2 * second.shape[-1]:
            swaps = {"mlp.fc1.": "mlp.w12.", "mlp.fc2.": "mlp.w3."}
            for old, new in swaps.items():
                arrays = {k.replace(old, new): v for k, v in arrays.items()}
    return arrays


def _published_heads(width):
    if width % HEAD_CHANNELS:
        raise UserError(
            f"width {width} is not a multiple of {HEAD_CHANNELS} channels a head, and "
            "the file does not tell the number of heads: give num_heads (--num-heads, "
            "with --init --model.num_heads)"
        )
    return width // HEAD_CHANNELS


def _block_numbers(arrays, prefix="blocks"):
    found = re.findall(rf"(?m)^{prefix}\.(\d+)\.", "\n".join(arrays))
    if not found:
        raise UserError(f"the weights have no {prefix}")
    return found


def _shape(arrays, name, dims):
    shape = arrays[name].shape if name in arrays else ()
    if len(shape) != dims or 0 in shape:
        raise UserError(f"{name} has shape {shape}, expected {dims} sizes above 0")
    return shape
