"""Vision Transformer as DINO trains it, for images of any size.

Layers carry the published names, so that `blocks.0/attn/qkv/kernel` is the published
`blocks.0.attn.qkv.weight`: importing weights is renaming and transposing.
"""

import keras
from keras import ops

from dino_tf.models import pieces
from dino_tf.models.block import (
    INITIAL_STD,
    LAYER_NORM_EPSILON,
    Block,
    DropPath,
    LayerNorm,
    PatchEmbed,
    check_positive,
    patch_grid,
)
from dino_tf.models.pos_embed import grid_matrices
from dino_tf.models.rope import Rotation, check_heads


@keras.saving.register_keras_serializable(package="dino_tf")
class VisionTransformer(keras.Model):
    """Vision Transformer for normalised images (B, H, W, 3) -> CLS features (B, D).

    One set of weights serves every image size that the patch divides: the position
    table is interpolated to the grid at hand, rotary positions are made for it.

    Args:
        embed_dim: Width D of the tokens; `num_heads` divides it.
        depth: Number of blocks.
        num_heads: Attention heads (published networks have 64 channels a head).
        patch_size: Side of a patch in pixels.
        image_size: Side, or (H, W), that the position table is made for, in pixels;
            rotary positions take no account of it.
        mlp_ratio: Width of the hidden MLP layer over D.
        drop_path_rate: Chance to drop the last block's branches; earlier blocks
            have proportionally less, the first none. In [0, 1).
        num_registers: Learnt tokens between CLS and patches, without position
            (Darcet et al. 2023, arXiv 2309.16588).
        seed: Seed of the drop path; None draws one.
        gated_mlp: Whether the MLPs are SwiGLUs, as in the largest DINOv2.
        layer_scale: Initial factor of each channel of a branch; None has none.
        position_antialias: Whether the position table is made smaller with
            antialiasing, as in DINOv2 with registers.
        rope_periods: Periods of rotary positions, a quarter of the head width in
            number, as in DINOv3 (see `rope.published_periods`); they replace the
            position table. None has a table.
        norm_epsilon: Added to the variance in every layer norm; 1e-5 in DINOv3.

    Raises:
        ValueError: For sizes below 1, or that do not divide one another.

    Reference:
        Caron et al. 2021, section 3.2; facebookresearch/dino,
        `vision_transformer.py`. Siméoni et al. 2025, arXiv 2508.10104, and
        facebookresearch/dinov3, `hub/backbones.py`.
    """

    result_names = ("cls", "tokens", "attention", "keys", "queries", "values")

    def __init__(
        self,
        embed_dim=384,
        depth=12,
        num_heads=6,
        patch_size=16,
        image_size=224,
        mlp_ratio=4.0,
        drop_path_rate=0.0,
        num_registers=0,
        seed=None,
        gated_mlp=False,
        layer_scale=None,
        position_antialias=False,
        rope_periods=None,
        norm_epsilon=LAYER_NORM_EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(
            embed_dim=embed_dim, depth=depth, num_heads=num_heads, patch_size=patch_size
        )
        check_heads(embed_dim, num_heads, rope_periods)
        if not isinstance(num_registers, int) or num_registers < 0:
            raise ValueError(f"num_registers={num_registers}: expected 0 or more")
        if not 0.0 <= drop_path_rate < 1.0:
            raise ValueError(f"drop_path_rate={drop_path_rate}: expected 0 <= rate < 1")
        size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
        self.embed_dim, self.depth, self.num_heads = embed_dim, depth, num_heads
        self.patch_size, self.image_size, self.mlp_ratio = patch_size, size, mlp_ratio
        self.drop_path_rate, self.num_registers = drop_path_rate, num_registers
        self.seed, self.gated_mlp, self.layer_scale = seed, gated_mlp, layer_scale
        self.position_antialias, self.norm_epsilon = position_antialias, norm_epsilon
        self.rope_periods = None if rope_periods is None else tuple(rope_periods)
        self.grid = self.grid_of(size)
        self._make_layers()

    def _make_layers(self):
        policy, depth = self.dtype_policy, self.depth
        self.patch_embed = PatchEmbed(
            self.patch_size, self.embed_dim, name="patch_embed", dtype=policy
        )
        self.blocks = [
            Block(
                self.embed_dim,
                self.num_heads,
                self.mlp_ratio,
                self.gated_mlp,
                self.layer_scale,
                self.norm_epsilon,
                name=f"blocks.{i}",
                dtype=policy,
            )
            for i in range(depth)
        ]
        # Both branches of a block have the same rate.
        rates = [
            self.drop_path_rate * (i // 2) / max(depth - 1, 1) for i in range(2 * depth)
        ]
        self.drop_path = DropPath(rates, self.seed, name="drop_path")
        self.norm = LayerNorm(self.norm_epsilon, name="norm")

    @property
    def num_prefix_tokens(self):
        """Tokens before the first patch: CLS and the registers."""
        return 1 + self.num_registers

    def grid_of(self, size):
        """(h, w) patches of an image of (H, W) pixels; ValueError if they don't fit."""
        return patch_grid(size, self.patch_size)

    def build(self, input_shape=None):
        dim, (rows, columns) = self.embed_dim, self.grid
        self.cls_token = self._token_weight("cls_token", 1)
        if self.rope_periods is None:
            self.pos_embed = self._token_weight("pos_embed", rows * columns + 1)
        if self.num_registers:
            self.register_tokens = self._token_weight(
                "register_tokens", self.num_registers
            )
        self.patch_embed.build((None, *self.image_size, 3))
        for block in self.blocks:
            block.build((None, None, dim))
        self.norm.build((None, None, dim))
        self.built = True

    def _token_weight(self, name, count):
        # Kept in float32 (no autocast), so that interpolation loses nothing.
        normal = keras.initializers.RandomNormal(stddev=INITIAL_STD)
        shape = (1, count, self.embed_dim)
        return self.add_weight(shape, normal, name=name, autocast=False)

    def position_table(self, grid):
        """Position embedding (1, 1 + h * w, D) for a grid of (h, w) patches."""
        antialias = self.position_antialias
        matrices = grid_matrices(self.grid, tuple(grid), antialias=antialias)
        table = ops.convert_to_tensor(self.pos_embed)
        if matrices is None:
            return table
        rows, columns = (ops.convert_to_tensor(m, table.dtype) for m in matrices)
        patches = ops.reshape(table[0, 1:], (*self.grid, self.embed_dim))
        patches = ops.tensordot(rows, patches, axes=1)
        patches = ops.einsum("xw,hwd->hxd", columns, patches)
        patches = ops.reshape(patches, (1, grid[0] * grid[1], self.embed_dim))
        return ops.concatenate([table[:, :1], patches], axis=1)

    def _tokens(self, images, masks=None, mask_token=None):
        """Tokens (B, prefix + h * w, D) that enter the first block."""
        grid = self.grid_of(images.shape[1:3])
        patches = ops.cast(self.patch_embed(images), "float32")
        patches = ops.reshape(patches, (-1, grid[0] * grid[1], self.embed_dim))
        if masks is not None:
            # Before positions are added: a hidden patch still tells where it lies.
            patches = ops.where(masks[..., None], mask_token, patches)
        cls_token = ops.convert_to_tensor(self.cls_token)
        if self.rope_periods is None:
            table = self.position_table(grid)
            cls_token, patches = cls_token + table[:, :1], patches + table[:, 1:]
        parts = [cls_token]
        if self.num_registers:
            parts.append(ops.convert_to_tensor(self.register_tokens))
        shape = (ops.shape(images)[0], self.num_prefix_tokens, self.embed_dim)
        prefix = ops.broadcast_to(ops.concatenate(parts, axis=1), shape)
        return ops.concatenate([prefix, patches], axis=1)

    def _rotation(self, images):
        """`Rotation` for the grid of `images`; None with a position table."""
        if self.rope_periods is None:
            return None
        grid = self.grid_of(images.shape[1:3])
        return Rotation(grid, self.rope_periods, self.num_prefix_tokens)

    def call(self, images, training=False):
        x, rotation = self._tokens(images), self._rotation(images)
        return self._through_blocks(x, rotation, training, cls_only=True)[:, 0]

    def _through_blocks(self, x, rotation, training, cls_only, inner=None):
        """Tokens (B, N, D) after all blocks and the norm; (B, 1, D) with `cls_only`.

        `inner` is a list that gets those after each block, before any norm.
        """
        inner = [] if inner is None else inner
        factors = self.drop_path(x, training=training)
        pairs = list(zip(factors[::2], factors[1::2], strict=True))
        run = pieces.traced_once(self.blocks[0], rotation=rotation)
        for block, pair in zip(self.blocks[:-1], pairs, strict=False):
            x = run(block, x) if pair[0] is None else run(block, x, pair)
            inner.append(x)
        last = self.blocks[-1](x, pairs[-1], cls_only=cls_only, rotation=rotation)
        inner.append(last)
        return self.norm(last)

    def patch_tokens(
        self, images, masks=None, mask_token=None, training=False, **options
    ):
        """CLS features and patches, some of which the network may not see.

        Args:
            images: (B, H, W, 3) normalised float.
            masks: (B, h * w) bool, True for patches in whose place `mask_token` comes;
                None hides none.
            mask_token: (1, D) float32.
            training: Whether drop path is active.
            options: `cls_only`, for less work where no patches are wanted; `inner`, a
                list that gets the tokens (B, N, D) after each block, before any norm.

        Returns:
            (B, D) and (B, h * w, D), both after the final norm; with `cls_only` no
            patches, (B, 0, D).

        Reference:
            facebookresearch/dinov2, `models/vision_transformer.py`,
            `prepare_tokens_with_masks`.
        """
        images = ops.cast(ops.convert_to_tensor(images), self.compute_dtype)
        x, rotation = self._tokens(images, masks, mask_token), self._rotation(images)
        options.setdefault("cls_only", False)
        x = self._through_blocks(x, rotation, training, **options)
        return x[:, 0], x[:, self.num_prefix_tokens :]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.embed_dim)

    def extract(self, images, names=("cls",)):
        """Named intermediate results of the last block, in inference mode.

        Args:
            images: (B, H, W, 3) normalised float.
            names: Any of "cls" (B, D) and "tokens" (B, N, D), both after the final
                norm; "attention" (B, heads, N, N) float32; "keys", "queries",
                "values" (B, N, D), heads side by side, before rotary positions:
                what a patch shows, not where it lies. N counts CLS, registers, then
                the patches row by row.

        Returns:
            Dictionary of the results asked for.

        Raises:
            ValueError: For an unknown name.
        """
        unknown = sorted(set(names) - set(self.result_names))
        if unknown:
            known = self.result_names
            raise ValueError(f"unknown names {unknown}: expected some of {known}")
        return self.extract_from(self.embed(images), names, self._rotation(images))

    def embed(self, images):
        """Tokens (B, N, D), float32, that enter the first block; see `extract`."""
        return self._tokens(ops.cast(ops.convert_to_tensor(images), self.compute_dtype))

    def extract_from(self, x, names=("cls",), rotation=None):
        """`extract` from the tokens of `embed`, which may be of any number N.

        Traced for an unknown N, it serves images of every size. Rotary positions know
        their grid: networks that have them need its `Rotation`.
        """
        for block in self.blocks[:-1]:
            x = block(x, rotation=rotation)
        last, found = self.blocks[-1], {}
        if set(names) & {"attention", "keys", "queries", "values"}:
            queries, keys, values = last.attn.project(last.norm1(x))
            found = {"queries": queries, "keys": keys, "values": values}
            if "attention" in names:
                found["attention"] = last.attn.weights_of(queries, keys, rotation)
        if set(names) & {"cls", "tokens"}:
            tokens = self.norm(last(x, rotation=rotation))
            found |= {"tokens": tokens, "cls": tokens[:, 0]}
        return {name: found[name] for name in names}

    def intermediate_tokens(self, images, n=1):
        """Tokens of the last `n` blocks, first to last, each after the final norm.

        Args:
            images: (B, H, W, 3) normalised float.
            n: Number of blocks, 1 to `depth`.

        Returns:
            List of `n` tensors (B, N, D).

        Raises:
            ValueError: For `n` outside 1 to `depth`.
        """
        if not 1 <= n <= self.depth:
            raise ValueError(f"n={n}: expected 1 to depth={self.depth}")
        x, rotation, outputs = self.embed(images), self._rotation(images), []
        for i, block in enumerate(self.blocks):
            x = block(x, rotation=rotation)
            if i >= self.depth - n:
                outputs.append(self.norm(x))
        return outputs

    def attention_by_block(self, images):
        """Attention of every block, one block at a time: all would fill the memory.

        Args:
            images: (B, H, W, 3) normalised float.

        Yields:
            (B, heads, N, N) float32, first block to last; the last one is "attention"
            of `extract`.
        """
        x, rotation = self.embed(images), self._rotation(images)
        for block in self.blocks:
            queries, keys, _ = block.attn.project(block.norm1(x))
            yield block.attn.weights_of(queries, keys, rotation)
            x = block(x, rotation=rotation)

    def get_config(self):
        return {
            **super().get_config(),
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "patch_size": self.patch_size,
            "image_size": list(self.image_size),
            "mlp_ratio": self.mlp_ratio,
            "drop_path_rate": self.drop_path_rate,
            "num_registers": self.num_registers,
            "seed": self.seed,
            "gated_mlp": self.gated_mlp,
            "layer_scale": self.layer_scale,
            "position_antialias": self.position_antialias,
            "rope_periods": self.rope_periods and list(self.rope_periods),
            "norm_epsilon": self.norm_epsilon,
        }
