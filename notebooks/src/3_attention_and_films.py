# %% [markdown]
# # 3 · Attention: what a vision transformer looks at, in photos and films
#
# A vision transformer cuts a photo into patches, and each layer lets every patch,
# and one extra token called CLS, look at all others. What CLS looks at in the last
# layer is famous: after training with DINO it falls on the objects, although nobody
# ever told the network what an object is.
#
# About three minutes on two CPU cores, most of them for a small training.

# %%
import os
import sys
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image

import dino_tf
from dino_tf.attend import attend
from dino_tf.datasets.scenes import Scenes
from dino_tf.films import open_film
from dino_tf.transforms.image import decode, normalize, resize_to_patch
from dino_tf.visualize.attention import write_attention
from dino_tf.visualize.film_writer import FilmWriter

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 240))
root = next((p for p in map(Path, (".", "..")) if (p / "dino_tf").is_dir()), Path("."))
out = root / "result" / "notebook"

# %% [markdown]
# ## The network
#
# `WEIGHTS` may be any run folder or `.keras` file of yours, or a published name such
# as `"dino_vits8"`. Else the network of `python main.py --preset quickstart` is taken
# if it is there, and if not, one is trained here in two minutes.

# %%
WEIGHTS = os.environ.get("DINO_TF_NOTEBOOK_WEIGHTS")

if WEIGHTS is None and (root / "result/quickstart-scenes/backbone.keras").exists():
    WEIGHTS = root / "result/quickstart-scenes"
if WEIGHTS is None:
    config = {
        "data": "scenes:640",
        "preset": "quickstart",
        "pipeline": {"batch_size": 32},
        "head": {"out_dim": 128},
        "optimizer": {
            "lr": 0.016,
            "teacher_momentum": 0.95,
            "teacher_momentum_end": 0.99,
        },
        "run": {
            "name": "for-attention",
            "result_dir": str(out),
            "epochs": max(STEPS // 20, 1),
            "attention_photos": 1,
            "tensorboard": False,
        },
    }
    run = dino_tf.train(dino_tf.Config.from_dict(config), say=lambda text: None)
    WEIGHTS = run.path
backbone = dino_tf.load_backbone(WEIGHTS)
patch = backbone.patch_size
print(
    f"{WEIGHTS}: {backbone.depth} blocks, {backbone.num_heads} heads, width "
    f"{backbone.embed_dim}, {patch}-pixel patches"
)

# %% [markdown]
# ## Attention by hand
#
# `extract` gives the results of the last block by name. The photo is enlarged first,
# so that the map of patches gets finer; both sides must be multiples of the patch.
# Attention has one map per *head*: row 0 is what CLS looks at, and the tokens before
# the first patch (CLS itself, and registers where there are any) are cut off.
#
# Set `PHOTO` to the path of a photo of yours; `None` takes a generated scene.

# %%
PHOTO = None

scenes = dino_tf.open_source("scenes", "test")
photo = decode(Path(PHOTO).read_bytes() if PHOTO else scenes.image_bytes(12)).numpy()
size = 32 * patch
pixels = resize_to_patch(photo, size, patch)
found = backbone.extract(normalize(pixels)[None], ["attention", "keys"])
grid = (pixels.shape[0] // patch, pixels.shape[1] // patch)
prefix = backbone.num_prefix_tokens
attention = found["attention"].numpy()[0, :, 0, prefix:].reshape(-1, *grid)
print(f"attention {tuple(found['attention'].shape)}: photo, heads, from, to")

figure, axes = plt.subplots(
    1, 1 + len(attention), figsize=(11, 3.2), layout="constrained"
)
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
# all else darkened. For many photos: `python main.py attend PHOTOS --weights RUN`.

# %%
paths = write_attention(backbone, photo, "photo", out / "attention", size=size)
print("and by themselves:", ", ".join(path.name for path in paths[1:]))
display(Image.open(paths[0]))

# %% [markdown]
# ## Which patches resemble each other?
#
# Every patch also has a *key*, what it offers to those that look for something. Pick
# one patch (the cross) and compare its key with all others: a trained network gives
# high values on the same thing, and low ones elsewhere. Boxes around objects can be
# found so, without labels; see `4_evaluate_and_discover`.

# %%
keys = found["keys"].numpy()[0, prefix:]
keys = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).reshape(*grid, -1)
row, column = np.unravel_index(attention.mean(0).argmax(), grid)
picks = {"the most attended": (row, column), "one in a corner": (2, 2)}

figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
axes[0].imshow(pixels.numpy().astype(np.uint8))
axes[0].set_title("photo")
for axis, (name, (row, column)) in zip(axes[1:], picks.items(), strict=True):
    drawn = axis.imshow(keys @ keys[row, column], cmap="viridis", vmin=-1, vmax=1)
    axis.plot(column, row, "rx", markersize=10, markeredgewidth=2)
    axis.set_title(f"similarity to {name}")
figure.colorbar(drawn, ax=axes, shrink=0.7, label="cosine")
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## A film
#
# Films go the same way: `python main.py attend FILM --weights RUN`, or `attend` as
# here, with a film of yours as `FILM`. `None` makes one of two seconds: a window that
# wanders over a scene. (Films need ffmpeg: `pip install imageio-ffmpeg`.)
#
# The new film shows both side by side. Its colours have one scale that moves slowly, so
# that they do not flicker. `drawing="overlay"` lays them over the frames,
# `keep_mass=0.6` draws only the strongest, `head="all"` shows every head.

# %%
FILM = None

if FILM is None:
    FILM = out / "wander.mp4"
    FILM.unlink(missing_ok=True)
    wide = decode(Scenes("test", size=320).image_bytes(12)).numpy()
    with FilmWriter(FILM, (160, 240), 12) as writer:
        for t in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            top, left = round(80 - 80 * np.cos(t)), round(40 + 40 * np.sin(t))
            writer.add(wide[top : top + 160, left : left + 240])
        writer.close()

number = 2
folder = out / "films"
while folder.exists():  # nothing is ever overwritten
    folder, number = out / f"films-{number}", number + 1
options = {"size": 20 * patch, "drawing": "side", "say": lambda line: None}
drawn = attend([FILM], WEIGHTS, folder, **options)[0]
print(drawn)

# %%
film = open_film(drawn)
frames = list(islice(film.frames(film.shape, film.rate, []), 0, 24, 5))
middle = film.shape[1] // 2
figure, axes = plt.subplots(2, 5, figsize=(11, 3.4), layout="constrained")
for number, (frame, (above, below)) in enumerate(zip(frames, axes.T, strict=False)):
    above.imshow(frame[:, :middle])
    below.imshow(frame[:, middle:])
    above.set_title(f"frame {5 * number}")
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Try this
#
# * Set `WEIGHTS` to something trained for longer, and compare the sheets: short
#   trainings give maps that follow edges and single marks.
# * A larger `size` gives finer maps and takes longer: twice the side is four times the
#   patches and sixteen times the attention.
# * `python main.py picture gallery --weights RUN --data SPEC` draws more on one page:
#   how far each layer looks, all heads in one picture by colour, a map of the photos,
#   and others; `python main.py picture --help` names each.
# * `attend(..., kind="features")` shows the principal components of the patches, for
#   networks without attention too (`5_another_backbone`).
