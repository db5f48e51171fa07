# %% [markdown]
# # Look at what a vision transformer looks at
#
# A vision transformer cuts a photo into patches, and each layer lets every patch,
# and one extra token called CLS, look at all others. What CLS looks at in the last
# layer is famous: after training with DINO it falls on the objects, although nobody
# ever told the network what an object is.
#
# This notebook opens a network, shows that attention, compares patches by their
# *keys*, and draws a box around an object with LOST, without any label.

# %%
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from matplotlib.patches import Rectangle

import dino_tf
from dino_tf.analysis.boxes import iou
from dino_tf.analysis.lost import lost
from dino_tf.transforms.image import decode, normalize, resize_to_patch
from dino_tf.visualize.attention import write_attention

here = Path.cwd()
root = next((p for p in (here, here.parent) if (p / "dino_tf").is_dir()), here)
out = Path(os.environ.get("DINO_TF_NOTEBOOK_OUT", root / "result" / "notebook"))

# %% [markdown]
# ## The network and a photo
#
# By default the network is **untrained**, so that the notebook runs at once: expect
# noise that follows edges and colours. Set `WEIGHTS` to something trained and run the
# notebook again, for example
#
# * `"result/quickstart-scenes"`, where `python main.py --preset quickstart` leaves it,
# * `"result/notebook/backbone.keras"` from the other notebook,
# * any run folder or `.keras` file of yours.
#
# `PHOTO` may be the path of a photo of yours; `None` takes a generated scene, which
# has the advantage that we know where its objects are.

# %%
WEIGHTS = os.environ.get("DINO_TF_NOTEBOOK_WEIGHTS", "random:vit_tiny/8")
PHOTO = None
SCENE = 12

saved = root / WEIGHTS
backbone = dino_tf.load_backbone(saved if saved.exists() else WEIGHTS)
patch = backbone.patch_size
print(f"{backbone.depth} blocks, width {backbone.embed_dim}, {patch}-pixel patches")

scenes = dino_tf.open_source("scenes", "test")
data = Path(PHOTO).read_bytes() if PHOTO else scenes.image_bytes(SCENE)
photo = decode(data).numpy()
plt.imshow(photo)
plt.axis("off")
plt.show()

# %% [markdown]
# ## Attention by hand
#
# `extract` gives the results of the last block by name. The photo is enlarged first,
# so that the map of patches gets finer; both sides must be multiples of the patch.
# Attention has one map per *head*: row 0 is what CLS looks at, and the tokens before
# the first patch (CLS itself, and registers where there are any) are cut off.

# %%
size = 32 * patch
pixels = resize_to_patch(photo, size, patch)
found = backbone.extract(normalize(pixels)[None], ["attention", "keys"])
grid = (pixels.shape[0] // patch, pixels.shape[1] // patch)
prefix = backbone.num_prefix_tokens
attention = np.array(found["attention"])[0, :, 0, prefix:].reshape(-1, *grid)
print(f"attention {tuple(found['attention'].shape)}: photo, heads, from, to")

figure, axes = plt.subplots(1, 1 + len(attention), figsize=(11, 3.4))
axes[0].imshow(photo)
axes[0].set_title("photo")
for head, (axis, values) in enumerate(zip(axes[1:], attention, strict=True)):
    axis.imshow(values, cmap="inferno")
    axis.set_title(f"head {head}")
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## The whole sheet
#
# `write_attention` draws all of this properly and saves it: the mean over the heads,
# each head, the smallest region that holds 60 % of the attention, and the photo with
# all else darkened. `python main.py attend PHOTOS --weights RUN` does it for many.

# %%
paths = write_attention(backbone, photo, "photo", out / "attention", size=size)
for path in paths:
    print(path.relative_to(out))
display(Image(filename=str(paths[0]), width=1000))

# %% [markdown]
# ## Which patches resemble each other?
#
# Every patch also has a *key*, what it offers to those that look for something. Pick
# one patch (the cross) and compare its key with all others: a trained network gives
# high values on the same object, and low ones elsewhere.

# %%
keys = np.array(found["keys"])[0, prefix:]
directions = keys / np.linalg.norm(keys, axis=1, keepdims=True)


def similarity_to(row, column):
    """Cosine similarity of all patches with one of them, as a map."""
    chosen = directions.reshape(*grid, -1)[row, column]
    return (directions @ chosen).reshape(grid)


picks = [(grid[0] // 2, grid[1] // 2), (grid[0] // 8, grid[1] // 8)]
figure, axes = plt.subplots(1, 2, figsize=(8, 4))
for axis, (row, column) in zip(axes, picks, strict=True):
    drawn = axis.imshow(similarity_to(row, column), cmap="viridis", vmax=1)
    axis.plot(column, row, "rx", markersize=10, markeredgewidth=2)
    axis.set_title(f"patch in row {row}, column {column}")
    axis.axis("off")
    figure.colorbar(drawn, ax=axis, shrink=0.7)
plt.show()

# %% [markdown]
# ## A box without labels
#
# LOST turns this similarity into a detector: patches of an object resemble few
# others, those of the background resemble many. It starts at the loneliest patch
# (the cross), adds what resembles it, and draws a box around that region.

# %%
result = lost(keys, grid, patch, pixels.shape[:2])
scale = photo.shape[0] / pixels.shape[0]
left, top, right, bottom = result.box * scale

figure, axes = plt.subplots(1, 2, figsize=(8, 4))
axes[0].imshow(result.mask, cmap="gray")
axes[0].plot(result.seed % grid[1], result.seed // grid[1], "rx", markersize=10)
axes[0].set_title("patches of the object")
axes[1].imshow(photo)
box = Rectangle((left, top), right - left, bottom - top, fill=False, color="red", lw=2)
axes[1].add_patch(box)
axes[1].set_title("LOST in red")
if not PHOTO:
    truth = scenes.boxes(SCENE).xyxy
    for x0, y0, x1, y1 in truth:
        known = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="cyan", lw=2)
        axes[1].add_patch(known)
    overlap = iou((left, top, right, bottom), truth).max()
    axes[1].set_title(f"LOST in red, objects in cyan: overlap {overlap:.2f}")
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# An overlap of at least one half counts as found. For the share over a whole data
# set (CorLoc) see `main.py evaluate discover`.
#
# ## Try this
#
# * Run it with trained weights, and compare the sheets.
# * Change `SCENE`, or set `PHOTO` to a photo of yours.
# * A larger `size` gives finer maps and takes longer: twice the side is four times the
#   patches and sixteen times the attention.
