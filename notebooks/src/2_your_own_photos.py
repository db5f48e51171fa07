# %% [markdown]
# # 2 · Your own photos: from a folder to pictures
#
# Any folder of JPEG, PNG, GIF, BMP or WebP files will do, however deep; labels are not
# needed. Set `PHOTOS` to yours and run the notebook. As long as it is `None`, a folder
# of generated photos is written and taken. That takes about three minutes on two CPU
# cores.
#
# All of it is there on the command line as well:
# `python main.py --data path/to/photos`.

# %%
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import json

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from PIL import Image

import dino_tf
from dino_tf.attend import attend
from dino_tf.datasets.folder import find_images
from dino_tf.evaluate.subject import Subject
from dino_tf.health import line
from dino_tf.pipeline import unreadable
from dino_tf.transforms.image import decode

PHOTOS = None
STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 320))
root = next((p for p in map(Path, (".", "..")) if (p / "dino_tf").is_dir()), Path("."))
out = root / "result" / "notebook"

if PHOTOS is None:
    PHOTOS = out / "photos"
    PHOTOS.mkdir(parents=True, exist_ok=True)
    scenes = dino_tf.open_source("scenes:640")
    for i in range(len(scenes)):
        picture = Image.fromarray(decode(scenes.image_bytes(i)).numpy())
        picture.save(PHOTOS / f"photo_{i:04d}.jpg", quality=95)
    # One file is damaged, so that you see what becomes of it.
    (PHOTOS / "photo_0007.jpg").write_bytes(b"half a photo")

# %% [markdown]
# ## Look at the folder first
#
# `unreadable` decodes every file and names those that cannot be read. They need not
# be removed: training passes over them and says how many there were, and stops if
# they are too many. On the command line: `python main.py data check PHOTOS`.

# %%
photos = dino_tf.open_source(f"folder:{PHOTOS}")
bad = unreadable(photos)
print(f"{len(photos)} photos, unreadable: {', '.join(bad) or 'none'}")

good = [i for i in range(len(photos)) if photos.id(i) not in bad]
figure, axes = plt.subplots(2, 8, figsize=(11, 3), layout="constrained")
for axis in axes.flat:
    axis.axis("off")
for axis, index in zip(axes.flat, good, strict=False):
    axis.imshow(decode(photos.image_bytes(index)))
figure.suptitle("the first photos of the folder")
plt.show()

# %% [markdown]
# ## Train
#
# A `Config` needs the photos and nothing else: sizes, batch and schedules then follow
# from their number and from your machine. For a real training write
#
# ```python
# run = dino_tf.train(dino_tf.Config.from_dict({"data": "folder:path/to/photos"}))
# ```
#
# and give it time: minutes on a GPU, hours without one. Here the preset `quickstart`
# and what follows it keep all of it small. `python main.py train --help` lists every
# setting with advice.
#
# `train` tells what it has chosen and why (below: what was chosen automatically), shows
# how far it is, and writes a folder of its own under `result`. If you stop it, the same
# cell goes on from the last epoch; when it has come to its end, the next start gets a
# new folder (`own-photos-2`).

# %%
epochs = max(STEPS // 20, 1)
config = dino_tf.Config.from_dict(
    {
        "data": f"folder:{PHOTOS}",
        "preset": "quickstart",
        # To learn something within three minutes; leave these out for a real training.
        "pipeline": {"batch_size": 32},
        "head": {"out_dim": 128},
        "optimizer": {
            "lr": 0.016,
            "teacher_momentum": 0.95,
            "teacher_momentum_end": 0.99,
        },
        "run": {
            "name": "own-photos",
            "result_dir": str(out),
            "epochs": epochs,
            "attention_photos": 4,
            "attention_every": max(epochs // 2, 1),
            "tensorboard": False,
        },
    }
)
said = []
run = dino_tf.train(config, say=said.append)
settings = said[0].replace("\n" + 31 * " ", " ").splitlines()
print("\n".join(line for line in settings if " - " in line))

# %% [markdown]
# ## What lies where
#
# Open `report.html` in a browser: how the run went, the attention of the same photos
# over the epochs, a map of the photos, and an explorer, where a click on one place of a
# photo shows what is like it. It is one file that needs no network.
#
# `metrics.jsonl` has a line for every epoch, and a verdict: *learning* is good; with
# *flat*, *collapsing* and *diverging*, which are not, advice is printed. The loss alone
# does not tell: it falls at once, climbs towards ln K (K is `head.out_dim`), and only
# then falls slowly, for as long as you train. Better signs are the rank, the number of
# directions in which the features of some photos spread, and *matched*: how often, of
# two altered views of each of these photos, one finds the other. Guessing would find 1
# of 128; so few photos know it to 2 points, more than so short a training can show.

# %%
print(run.path)
for path in sorted(run.path.iterdir()):
    print("   ", path.name + ("/" if path.is_dir() else ""))

records = (run.path / "metrics.jsonl").read_text().splitlines()
records = [json.loads(record) for record in records]
for record in records:
    print(f"epoch {record['epoch']:>2} {line(record)}")

K = run.config.head.out_dim
numbers = [record["epoch"] for record in records]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
left.plot(numbers, [record["loss"] for record in records], "o-")
left.axhline(np.log(K), color="grey", linestyle="--", label=f"ln {K}")
left.set(title="loss", xlabel="epoch")
left.legend()
ranks = [record["effective_rank"] for record in records]
right.plot(numbers, ranks, "o-", color="tab:red")
right.set(title="rank", xlabel="epoch")
plt.show()

# %% [markdown]
# ## What the network attends to
#
# The folder `attention` has a sheet of a few photos, and `attention/epoch-0007` and
# the like the same photos on the way. Sheets of any other photos come from `attend`, or
# from `python main.py attend PHOTOS --weights RUN`.
#
# So short a training already parts things from their background, but which of both is
# bright is a matter of chance; that attention settles on the things takes longer.

# %%
chosen = find_images(Path(PHOTOS))[:2]
sheets = attend(chosen, run.path, run.path / "attend", size=128)
for sheet in sheets:
    display(Image.open(sheet))

# %% [markdown]
# ## Which photos resemble each other?
#
# The trained network, loaded from the run's folder, turns every photo into a list of
# numbers, its *features*. Photos with similar features look alike to the network: sort
# a collection by them, find doubles, or search.

# %%
network = Subject(dino_tf.load_backbone(run.path), size=run.config.run.eval_size)
found = network.summaries(photos, size=None)
features, index = found["cls"], found["index"]
features -= features.mean(axis=0)  # what all photos share tells nothing
features /= np.linalg.norm(features, axis=1, keepdims=True)

figure, axes = plt.subplots(3, 7, figsize=(10, 5.2), layout="constrained")
for row, place in zip(axes, np.linspace(0, len(index) - 1, 3).astype(int), strict=True):
    nearest = np.argsort(-(features @ features[place]))[:7]
    for axis, other in zip(row, nearest, strict=True):
        axis.imshow(decode(photos.image_bytes(int(index[other]))))
        axis.set_title(f"{features[other] @ features[place]:.2f}", fontsize=10)
        axis.axis("off")
    row[0].set_title("this photo", fontsize=10)
figure.suptitle("nearest photos, by cosine similarity of the centred features")
plt.show()

# %% [markdown]
# ## How to go on
#
# * **Longer, larger**: leave `preset` out, or raise `run.epochs`. A run with other
#   settings wants another `run.name`.
# * **From these weights, with other photos**: `"init": str(run.path)`, a new run.
# * **Features of all photos in a file**: `python main.py embed --weights RUN --data
#   PHOTOS --out features.csv`.
# * **Numbers**: `4_evaluate_and_discover`; class folders serve as labels.
# * **Few photos?** Start from published weights: `6_published_weights`.
