"""XCiT as DINO trains it: cross-covariance attention, for images of any size.

Layers carry the published names, so that `blocks.0/local_mp/conv1/kernel` is the
published `blocks.0.local_mp.conv1.weight`: importing weights is renaming and
transposing.
"""

import difflib

import keras
from keras import ops

from dino_tf.errors import UserError
from dino_tf.models.block import (
    INITIAL_STD,
    DropPath,
    LayerNorm,
    check_positive,
    patch_grid,
)
from dino_tf.models.xcit_block import (
    ClassAttentionBlock,
    ConvPatchEmbed,
    FourierPositions,
    XCABlock,
)

# Width, depth, heads, first value of the layer scales (facebookresearch/xcit,
# `xcit.py`: the same for patches of 8 and of 16 pixels).
XCITS = {
    "xcit_small_12": (384, 12, 8, 1.0),
    "xcit_medium_24": (512, 24, 8, 1e-5),
}
PATCH_SIZES = (8, 16)


@keras.saving.register_keras_serializable(package="dino_tf")
class XCiT(keras.Model):
    """XCiT for normalised images (B, H, W, 3) -> CLS features (B, D).

    Patches exchange information by cross-covariance attention and depthwise
    convolutions; a CLS token joins them for the class-attention blocks at the end.
    One set of weights serves every image size that the patch divides.

    Args:
        embed_dim: Width D of the tokens; a multiple of `num_heads` and of half of
            `patch_size`.
        depth: Number of blocks of cross-covariance attention.
        num_heads: Attention heads.
        patch_size: Side of a patch in pixels, 8 or 16.
        mlp_ratio: Width of the hidden MLP layer over D.
        eta: First value of the factors of all branches, above 0 (published: 1 for
            12 blocks, 1e-5 for 24).
        cls_attn_layers: Number of class-attention blocks.
        drop_path_rate: Chance to drop a branch of a block of cross-covariance
            attention, the same for all of them, in [0, 1).
        seed: Seed of the drop path; None draws one.

    Raises:
        ValueError: For a number out of its range, or that does not divide another.

    Reference:
        El-Nouby et al. 2021, arXiv 2106.09681; facebookresearch/xcit, `xcit.py`.
    """

    num_prefix_tokens = 1
    result_names = ("cls", "tokens", "attention", "keys", "queries", "values")

    def __init__(
        self,
        embed_dim=384,
        depth=12,
        num_heads=8,
        patch_size=16,
        mlp_ratio=4.0,
        eta=1.0,
        cls_attn_layers=2,
        drop_path_rate=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check(embed_dim, depth, num_heads, patch_size, cls_attn_layers)
        if eta <= 0.0:
            raise ValueError(f"eta={eta}: expected above 0")
        if not 0.0 <= drop_path_rate < 1.0:
            raise ValueError(f"drop_path_rate={drop_path_rate}: expected 0 <= rate < 1")
        self.embed_dim, self.depth, self.num_heads = embed_dim, depth, num_heads
        self.patch_size, self.mlp_ratio, self.eta = patch_size, mlp_ratio, eta
        self.cls_attn_layers, self.drop_path_rate = cls_attn_layers, drop_path_rate
        self.seed = seed
        policy = self.dtype_policy
        sizes = (embed_dim, num_heads, mlp_ratio, eta)
        self.patch_embed = ConvPatchEmbed(
            patch_size, embed_dim, name="patch_embed", dtype=policy
        )
        self.pos_embeder = FourierPositions(embed_dim, name="pos_embeder")
        self.blocks = [
            XCABlock(*sizes, name=f"blocks.{i}", dtype=policy) for i in range(depth)
        ]
        # The published program drops nothing in the class-attention blocks.
        self.drop_path = DropPath([drop_path_rate] * 3 * depth, seed, name="drop_path")
        self.cls_attn_blocks = [
            ClassAttentionBlock(*sizes, name=f"cls_attn_blocks.{i}", dtype=policy)
            for i in range(cls_attn_layers)
        ]
        self.norm = LayerNorm(name="norm")

    def grid_of(self, size):
        """(h, w) patches of an image of (H, W) pixels; ValueError if they don't fit."""
        return patch_grid(size, self.patch_size)

    def build(self, input_shape=None):
        dim = self.embed_dim
        # Kept in float32 (no autocast), as the tokens that it joins.
        self.cls_token = self.add_weight(
            (1, 1, dim),
            keras.initializers.RandomNormal(stddev=INITIAL_STD),
            name="cls_token",
            autocast=False,
        )
        self.patch_embed.build((None, None, None, 3))
        self.pos_embeder.build()
        for layer in (*self.blocks, *self.cls_attn_blocks, self.norm):
            layer.build((None, None, dim))
        self.built = True

    def _patches(self, images, training=False, keep=1):
        """Patches (B, h * w, D) behind each of the last `keep` blocks of XCA."""
        grid = self.grid_of(images.shape[1:3])
        x = ops.cast(self.patch_embed(images, training=training), "float32")
        x = ops.reshape(self.pos_embeder(x), (-1, grid[0] * grid[1], self.embed_dim))
        factors, outputs = self.drop_path(x, training=training), []
        for i, block in enumerate(self.blocks):
            x = block(x, factors[3 * i : 3 * i + 3], grid=grid, training=training)
            if i >= self.depth - keep:
                outputs.append(x)
        return outputs

    def _with_cls(self, patches):
        """Tokens (B, 1 + h * w, D) that enter the last class-attention block."""
        shape = (ops.shape(patches)[0], 1, self.embed_dim)
        cls = ops.broadcast_to(ops.convert_to_tensor(self.cls_token), shape)
        x = ops.concatenate([cls, patches], axis=1)
        for block in self.cls_attn_blocks[:-1]:
            x = block(x)
        return x

    def call(self, images, training=False):
        (patches,) = self._patches(images, training)
        x = self.cls_attn_blocks[-1](self._with_cls(patches), cls_only=True)
        return self.norm(x)[:, 0]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.embed_dim)

    def extract(self, images, names=("cls",)):
        """Named intermediate results of the last class-attention block, at inference.

        Args:
            images: (B, H, W, 3) normalised float.
            names: Any of "cls" (B, D) and "tokens" (B, N, D), both after the final
                norm; "attention" (B, heads, 1, N) float32, that of CLS; "keys",
                "queries", "values" (B, N, D), heads side by side. N counts CLS, then
                the patches row by row.

        Returns:
            Dictionary of the results asked for.

        Raises:
            ValueError: For an unknown name.
        """
        unknown = sorted(set(names) - set(self.result_names))
        if unknown:
            raise ValueError(
                f"unknown names {unknown}: expected some of {self.result_names}"
            )
        (patches,) = self._patches(self._cast(images))
        x, last, found = self._with_cls(patches), self.cls_attn_blocks[-1], {}
        if set(names) & {"attention", "keys", "queries", "values"}:
            queries, keys, values = last.attn.project(last.norm1(x))
            found = {"queries": queries, "keys": keys, "values": values}
            if "attention" in names:
                found["attention"] = last.attn.weights_of(queries[:, :1], keys)
        if set(names) & {"cls", "tokens"}:
            tokens = self.norm(last(x))
            found |= {"tokens": tokens, "cls": tokens[:, 0]}
        return {name: found[name] for name in names}

    def intermediate_tokens(self, images, n=1):
        """Tokens of the last `n` blocks of cross-covariance attention, first to last.

        CLS arises behind these blocks alone, so each result is what the network would
        give if it ended there: its patches pass the class-attention blocks and the
        final norm. The published programs have no such function for XCiT.

        Args:
            images: (B, H, W, 3) normalised float.
            n: Number of blocks, 1 to `depth`.

        Returns:
            List of `n` tensors (B, N, D); the last is "tokens" of `extract`.

        Raises:
            ValueError: For `n` outside 1 to `depth`.
        """
        if not 1 <= n <= self.depth:
            raise ValueError(f"n={n}: expected 1 to depth={self.depth}")
        last = self.cls_attn_blocks[-1]
        patches = self._patches(self._cast(images), keep=n)
        return [self.norm(last(self._with_cls(x))) for x in patches]

    def _cast(self, images):
        return ops.cast(ops.convert_to_tensor(images), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "patch_size": self.patch_size,
            "mlp_ratio": self.mlp_ratio,
            "eta": self.eta,
            "cls_attn_layers": self.cls_attn_layers,
            "drop_path_rate": self.drop_path_rate,
            "seed": self.seed,
        }


def _check(embed_dim, depth, num_heads, patch_size, cls_attn_layers):
    check_positive(
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        cls_attn_layers=cls_attn_layers,
    )
    if patch_size not in PATCH_SIZES:
        raise ValueError(f"patch_size={patch_size}: expected 8 or 16")
    if embed_dim % num_heads or embed_dim % (patch_size // 2):
        raise ValueError(
            f"embed_dim={embed_dim} is not a multiple of num_heads={num_heads} and of "
            f"patch_size // 2 = {patch_size // 2}"
        )


def create_xcit(arch, patch_size, image_size=224, **kwargs):
    """A new XCiT with random weights.

    Args:
        arch: A name of `XCITS`.
        patch_size: Side of a patch in pixels, 8 or 16.
        image_size: Side, or (H, W), of the images that it is made for. The weights do
            not depend on it: a size that the patch does not divide is told here.
        **kwargs: Other arguments of `XCiT`; `embed_dim`, `depth`, `num_heads` and
            `eta` replace those of `arch`, None leaves them.

    Returns:
        A built backbone.

    Raises:
        UserError: For an unknown name or sizes that do not divide one another.
    """
    if arch not in XCITS:
        near = difflib.get_close_matches(arch, XCITS, 1, 0.0)[0]
        raise UserError(
            f"unknown architecture {arch!r}; nearest is {near!r}, "
            f"known are {', '.join(XCITS)}"
        )
    names = ("embed_dim", "depth", "num_heads", "eta")
    sizes = dict(zip(names, XCITS[arch], strict=True))
    sizes |= {k: v for k, v in kwargs.items() if v is not None}
    try:
        backbone = XCiT(patch_size=patch_size, **sizes)
        backbone.grid_of(
            (image_size,) * 2 if isinstance(image_size, int) else image_size
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    backbone.build()
    return backbone
