"""Attention maps and sheets, with a backbone whose attention is known."""

import numpy as np
import pytest
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.visualize import attention


class Bright:
    """Every head attends to bright patches; head i to the power of i + 1."""

    patch_size = 8
    num_prefix_tokens = 3

    def __init__(self, heads):
        self.heads = heads

    def extract(self, images, names):
        assert list(names) == ["attention"]
        images = np.asarray(images)
        _, height, width, _ = images.shape
        grid = images.reshape(1, height // 8, 8, width // 8, 8, 3).mean(axis=(2, 4, 5))
        bright = np.maximum(grid.reshape(-1), 0)
        rows = np.stack([bright ** (i + 1) for i in range(self.heads)])
        rows = 0.7 * rows / rows.sum(axis=1, keepdims=True)
        rows = np.concatenate([np.full((self.heads, 3), 0.1), rows], axis=1)
        tokens = rows.shape[1]
        full = np.zeros((1, self.heads, tokens, tokens), np.float32)
        full[0, :, 0] = rows
        return {"attention": full}


@pytest.fixture
def photo():
    """Dark, with a bright rectangle right of the middle."""
    image = np.full((60, 90, 3), 20, np.uint8)
    image[20:40, 60:80] = 250
    return image


@pytest.mark.parametrize(
    "image_hw, patch, size, grid",
    [
        ((480, 640), 16, 480, (30, 40)),
        ((375, 500), 16, 480, (30, 40)),
        ((500, 333), 16, 480, (45, 30)),
        ((64, 64), 16, 480, (30, 30)),
        ((480, 640), 8, 480, (60, 80)),
        ((64, 64), 4, 480, (69, 69)),
        ((200, 4000), 16, 480, (15, 309)),
        ((100, 150), 16, 16, (1, 1)),
    ],
)
def test_grid_keeps_the_shape_and_stays_affordable(image_hw, patch, size, grid):
    assert attention.attention_grid(image_hw, patch, size) == grid
    assert grid[0] * grid[1] <= attention.MOST_TOKENS


def test_grid_refuses_less_than_a_patch():
    with pytest.raises(UserError, match="size is 8; allowed: at least one patch, 16"):
        attention.attention_grid((100, 100), 16, 8)


def test_maps_leave_out_cls_and_registers(photo):
    maps = attention.attention_maps(Bright(2), photo, size=120)
    assert maps.shape == (2, 15, 22)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), [0.7, 0.7], rtol=1e-5)
    row, column = np.unravel_index(maps[0].argmax(), maps[0].shape)
    assert 5 <= row < 10 and 14 <= column < 20


def test_maps_of_a_real_backbone_follow_the_photo():
    backbone = create_backbone(
        "vit_tiny", 8, 32, embed_dim=32, depth=2, num_heads=4, num_registers=2
    )
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.uint8)
    maps = attention.attention_maps(backbone, image, size=40)
    assert maps.shape == (4, 5, 8)
    assert (maps > 0).all() and (maps.sum(axis=(1, 2)) < 1).all()


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), "u1")],
)
def test_maps_refuse_other_than_rgb(image):
    with pytest.raises(UserError, match=r"allowed: uint8 \(H, W, 3\)"):
        attention.attention_maps(Bright(1), image)


def test_the_mask_is_where_the_attention_is(photo):
    maps = attention.attention_maps(Bright(3), photo, size=120)
    pictures = attention.single_pictures(photo, maps, keep_mass=0.6)
    mask, masked = pictures["mask"], pictures["masked"]
    assert set(np.unique(mask)) == {0, 255}
    assert mask[25:35, 65:75].mean() > 200
    assert mask[:, :50].max() == 0
    assert masked[29:31, 69:71].min() > 240
    assert masked[5, 5].tolist() == [4, 4, 4]


@pytest.mark.parametrize("heads", [1, 3, 4, 6, 12, 16])
@pytest.mark.parametrize("hw", [(480, 640), (640, 427), (300, 1200), (900, 300)])
def test_blocks_end_at_the_same_pixel(heads, hw):
    blocks = attention.sheet_blocks(hw, 2 + heads)
    ends = {b.columns * b.shape[1] + (b.columns - 1) * 14 for b in blocks}
    assert len(ends) == 1
    for block in blocks:
        assert block.shape[1] / block.shape[0] == pytest.approx(hw[1] / hw[0], rel=0.02)


@pytest.mark.parametrize("heads, columns", [(3, 5), (4, 6), (6, 4), (12, 7), (16, 6)])
def test_usual_numbers_of_heads_fill_their_rows(heads, columns):
    _, small = attention.sheet_blocks((480, 640), 2 + heads)
    assert small.columns == columns
    assert (2 + heads) % columns == 0


@pytest.mark.parametrize("heads", [3, 12])
def test_writes_a_sheet_and_every_picture(tmp_path, photo, heads):
    paths = attention.write_attention(Bright(heads), photo, "cats/one", tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in paths}
    single = ["original", "attention_mean", "mask", "masked"]
    single += [f"attention_head{i}" for i in range(heads)]
    assert names == {"cats/one.png"} | {f"cats/one/{name}.png" for name in single}
    assert paths[0] == tmp_path / "cats" / "one.png"
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(paths)
    for path in paths[1:]:
        assert Image.open(path).size == (720, 480)
    assert Image.open(paths[0]).width > 1500


def test_large_photos_keep_their_own_size():
    assert attention.drawn_shape((600, 800), 480) == (600, 800)
    assert attention.drawn_shape((64, 64), 480) == (480, 480)
    assert attention.drawn_shape((3000, 4000), 480) == (1536, 2048)
    assert attention.drawn_shape((100, 2000), 480) == (102, 2048)


def test_a_head_that_looks_at_no_patch_draws_an_empty_picture(photo):
    maps = np.zeros((3, 6, 9), np.float32)
    maps[1:, 2:4, 6:8] = 0.1
    with np.errstate(all="raise"):
        pictures = attention.single_pictures(photo, maps)
        attention.attention_sheet(photo, maps)
    assert pictures["attention_head0"].max() < 10
    assert pictures["attention_head1"].max() > 200
