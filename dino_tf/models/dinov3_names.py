"""DINOv3's weights as three programs name them, in the layout of our ViT.

The keys have no bias, or one that a mask makes 0; the largest network has none for
queries and values either. A bias of 0 is the same.

Reference:
    facebookresearch/dinov3, `models/vision_transformer.py`, `layers/attention.py`; timm
    1.0.31, `models/eva.py`; transformers 5.23, `modeling_dinov3_vit.py`.
"""

import re

import numpy as np

from dino_tf.errors import UserError
from dino_tf.models.rope import published_periods
from dino_tf.models.weights import PERIODS

NORM_EPSILON = 1e-5
# Heads that are not 64 channels wide, by the width of the network: that of 7B.
HEADS = {4096: 32}
GRID = 14  # patches along a side of the published networks' nominal 224 pixels

PREFIX = r"^(dinov3_vit\.)?(model\.)*"
# A name by which each program's files are known; none of them has `pos_embed`.
SIGNS = (
    {"storage_tokens", "blocks.0.ls1.gamma"},
    {PERIODS},
    {"reg_token", "blocks.0.gamma_1"},
    {"embeddings.patch_embeddings.weight", "layer.0.layer_scale1.lambda1"},
)
# Only training looks at these: hidden patches, and the norm of local crops.
TRAINING_ONLY = ("mask_token", "local_cls_norm.")
# Parts of names, and ours, in this order.
NAMES = (
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^layer\.", "blocks."),
    (r"^(storage_tokens|reg_token)$", "register_tokens"),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.(?:attention|attn)\.([qkv])_proj\.", r".attn.\1."),
    (r"\.attn\.([qkv])_bias$", r".attn.\1.bias"),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.gamma_(\d)$", r".ls\1.gamma"),
)
GATED = (
    (r"\.mlp\.(?:gate_proj|fc1_g)\.", ".mlp.w1."),
    (r"\.mlp\.(?:up_proj|fc1_x)\.", ".mlp.w2."),
    (r"\.mlp\.(?:down_proj|fc2)\.", ".mlp.w3."),
)
PLAIN = (
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)


def is_dinov3(arrays):
    """Whether {name: array} is a DINOv3 ViT as any of the three programs names it."""
    names = {re.sub(PREFIX, "", name) for name in arrays}
    return "pos_embed" not in names and any(sign <= names for sign in SIGNS)


def from_dinov3(arrays):
    """The arrays under our ViT's names, for what `is_dinov3` knows.

    `rope_embed.periods` is always among them; it is empty where a file does not tell
    the periods.

    Raises:
        UserError: When a part of a matrix is missing, or a bias in some blocks alone.
    """
    arrays = {re.sub(PREFIX, "", name): array for name, array in arrays.items()}
    gated = any(re.search(r"\.mlp\.(gate_proj|fc1_g|w1)\.", name) for name in arrays)
    patterns = (*NAMES, *(GATED if gated else PLAIN))
    renamed = {PERIODS: np.zeros(0, "float32")}
    for name, array in arrays.items():
        for pattern, ours in patterns:
            name = re.sub(pattern, ours, name)
        if not name.startswith(TRAINING_ONLY):
            renamed[name] = array
    _mask_biases(renamed)
    starts = {
        found[0] for name in renamed if (found := re.match(r"blocks\.\d+\.", name))
    }
    for start in starts:
        matrices = [f"{start}attn.{part}.weight" for part in "qkv"]
        _join(renamed, f"{start}attn.qkv.weight", matrices)
        for leaf in ("weight", "bias"):
            halves = [f"{start}mlp.w{half}.{leaf}" for half in (1, 2)]
            _join(renamed, f"{start}mlp.w12.{leaf}", halves)
    kinds = {_join_biases(renamed, start) for start in starts}
    if len(kinds) > 1:
        raise UserError(f"the blocks have different biases: {sorted(kinds)}")
    return renamed


def heads_told(arrays, width):
    """Heads of a network of `width` by its periods or by `HEADS`; None if neither."""
    told = np.size(arrays[PERIODS])
    return width // (4 * told) if told else HEADS.get(width)


def rope_periods(arrays, width, num_heads):
    """Periods of the rotary positions: the file's, else the published ones.

    A file rounds them to bfloat16, which timm and transformers do not.

    Args:
        arrays: What `from_dinov3` gives.
        width: Width D of the network.
        num_heads: Attention heads.

    Returns:
        Tuple of `width / num_heads / 4` periods.

    Raises:
        UserError: When the width or the file's periods are not those of so many heads.
    """
    periods = np.asarray(arrays[PERIODS])
    if width % num_heads:
        raise UserError(f"width {width} is not a multiple of {num_heads} heads")
    if not periods.size:
        return published_periods(width // num_heads)
    if periods.ndim != 1 or 4 * periods.size * num_heads != width:
        raise UserError(
            f"{PERIODS} has shape {periods.shape}, expected a quarter of the channels "
            f"of a head, of which {num_heads} have width {width}"
        )
    return tuple(map(float, periods))


def _mask_biases(arrays):
    for name in [name for name in arrays if name.endswith(".bias_mask")]:
        bias = name.removesuffix("_mask")
        mask, values = arrays.pop(name), arrays.get(bias)
        if np.shape(mask) != np.shape(values):
            raise UserError(
                f"{name} has shape {np.shape(mask)}, expected that of {bias}, "
                f"{np.shape(values)}"
            )
        arrays[bias] = values.astype("float32") * mask.astype("float32")


def _join_biases(arrays, start):
    """Makes one bias of a block's, 0 where there is none; tells which there were."""
    names = [f"{start}attn.{part}.bias" for part in "qkv"]
    there = [name for name in names if name in arrays]
    whole, weights = f"{start}attn.qkv.bias", f"{start}attn.qkv.weight"
    if whole in arrays:
        return whole.removeprefix(start)
    zeros = np.zeros(len(arrays[weights]) // 3 if weights in arrays else 0, "float32")
    arrays[whole] = np.concatenate([arrays.pop(name, zeros) for name in names])
    return " ".join(name.removeprefix(start) for name in there) or "none"


def _join(arrays, whole, parts):
    there = [name for name in parts if name in arrays]
    if not there:
        return
    if there != parts:
        lost = sorted(set(parts) - set(there))
        raise UserError(f"{there[0]} stands without {' and '.join(lost)}")
    shapes = {arrays[name].shape for name in parts}
    if len(shapes) > 1:
        raise UserError(f"{' and '.join(parts)} have shapes {sorted(shapes)}")
    arrays[whole] = np.concatenate([arrays.pop(name) for name in parts])
