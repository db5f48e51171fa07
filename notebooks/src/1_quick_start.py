# %% [markdown]
# # 1 · Quick start: train DINO with `model.fit`
#
# DINO teaches a vision transformer to see without a single label: a *student* looks
# at small and large crops of a photo and learns to predict what its *teacher*, a slow
# average of itself, says about the large crops.
#
# Here everything is an ordinary Keras object, so that you can put your own hands on
# each part. The photos are generated (`scenes`); nothing is downloaded. The notebook
# takes about three minutes on two CPU cores. The same for a folder of your photos,
# with checkpoints and pictures, is in `2_your_own_photos`.

# %%
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import keras
import matplotlib.pyplot as plt
import numpy as np

import dino_tf
from dino_tf.evaluate.subject import Subject
from dino_tf.evaluate.watched import WatchedPhotos
from dino_tf.optimizers import AdamW
from dino_tf.schedules import WarmupCosine
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, decode

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 240))
root = next((p for p in map(Path, (".", "..")) if (p / "dino_tf").is_dir()), Path("."))
out = root / "result" / "notebook"
out.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The photos
#
# A source knows how many photos it has and gives the bytes of each. Yours would be
# `dino_tf.open_source("folder:PATH")`. Training looks at no label; the scenes have
# some, and we use them only to *test* the features.

# %%
photos = dino_tf.open_source("scenes:1000", "train")
test_photos = dino_tf.open_source("scenes:1000", "test")
print(len(photos), "photos to train on,", len(test_photos), "to test with")

figure, axes = plt.subplots(2, 8, figsize=(11, 3.4), layout="constrained")
for index, axis in enumerate(axes.flat):
    axis.imshow(decode(photos.image_bytes(index)))
    axis.set_title(photos.class_names[photos.labels(index)[0]], fontsize=10)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## The views
#
# From every photo come two *global* crops, which both networks see, and several small
# *local* crops for the student alone; each is flipped, coloured, blurred or made grey
# by chance. The defaults of `MultiCrop` are those of the paper. Here the crops are
# smaller, and differ more in light, as these photos do.

# %%
views = dino_tf.MultiCrop(
    global_size=32,
    local_size=16,
    num_local=4,
    brightness=0.7,
    contrast=0.7,
    saturation=0.5,
)
data = dino_tf.make_dataset(photos, views, batch_size=32, seed=0)
batch = next(iter(data))
for name, value in batch.items():
    print(f"{name:>7}: {tuple(value.shape)}  (photos, views, height, width, colours)")

figure, axes = plt.subplots(3, 6, figsize=(9, 4.8), layout="constrained")
for row, photo in zip(axes, range(3), strict=True):
    crops = [*batch["global"][photo], *batch["local"][photo]]
    for number, (axis, crop) in enumerate(zip(row, crops, strict=True)):
        axis.imshow(np.clip(np.array(crop) * IMAGENET_STD + IMAGENET_MEAN, 0, 1))
        axis.set_title("global" if number < 2 else "local", fontsize=10)
        axis.axis("off")
plt.show()

# %% [markdown]
# ## The model
#
# * The **backbone** is what you keep in the end. This one is tiny; leave the last
#   three arguments out for the full ViT-Ti, or say `"vit_small"`.
# * The **head** turns features into scores over K *prototypes*.
# * The **loss** compares student and teacher, view by view.
# * `DINO` ties them together and makes the teacher, a copy of the student.
#
# The test photos are *watched*: each is classed by the vote of the ten others that
# resemble it most. Guessing gives 10 %; an untrained network is better than that,
# because photos of one class also resemble each other in plain colours.

# %%
K = 128
backbone = dino_tf.create_backbone(
    "vit_tiny", patch_size=4, image_size=32, embed_dim=96, depth=4, num_heads=3
)
head = dino_tf.DINOHead(K, hidden_dim=512, bottleneck_dim=128)
loss = dino_tf.DINOLoss(K, teacher_temp=0.04)
momentum = WarmupCosine(0.95, 0.99, STEPS)
model = dino_tf.DINO(backbone, head, loss, teacher_momentum=momentum)

watched = WatchedPhotos(test_photos, count=250, size=32)
untrained = watched.measure(model.teacher_backbone)["knn/watched_top1"]
print(f"{backbone.count_params():,} weights, k-NN accuracy untrained {untrained:.1f} %")

# %% [markdown]
# ## Train
#
# Any Keras optimizer does; this one is that of the paper, with a schedule for the
# learning rate and one for the weight decay. The data set has no end, so `fit` is told
# how many steps make an epoch.
#
# `Health` says after each epoch how it goes, because the loss alone does not tell: it
# falls at once, as at first all photos share their favourite prototypes, and climbs
# back towards ln K while the *center* takes that common part away. Only then it falls,
# slowly, for as long as you train. A network that has collapsed says the same about
# every photo; then `Health` tells so, and what helps.

# %%
epochs = max(STEPS // 40, 1)
rate = WarmupCosine(2e-3, 1e-6, STEPS, warmup_steps=STEPS // 10)
model.compile(optimizer=AdamW(rate, WarmupCosine(0.04, 0.4, STEPS)))
health = dino_tf.Health(watched)
history = model.fit(
    data,
    epochs=epochs,
    steps_per_epoch=STEPS // epochs,
    shuffle=False,  # the data set shuffles by itself
    verbose=0,
    callbacks=[health, keras.callbacks.TerminateOnNaN()],
).history

# %% [markdown]
# ## Is it learning?
#
# Three numbers of those that `Health` has put into the history. *Entropy* tells how
# sure the teacher is about a photo: at ln K not at all. *k-NN* tells what the features
# are good for, where photos have labels. *Rank* needs none: it counts the directions in
# which the features of the watched photos spread, and a collapsed network has one.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
steps = STEPS // epochs * np.arange(1, epochs + 1)
axes[0].plot(steps, history["loss"], "o-", label="loss")
axes[0].plot(steps, history["teacher_entropy"], "s-", label="entropy of the teacher")
axes[0].axhline(np.log(K), color="grey", linestyle="--", label=f"ln {K}")
axes[1].plot(steps, history["knn/watched_top1"], "o-", color="tab:green")
axes[1].axhline(untrained, color="grey", linestyle="--", label="untrained")
axes[2].plot(steps, history["effective_rank"], "o-", color="tab:red")
names = ("loss", "k-NN accuracy, %", f"rank, at most {backbone.embed_dim}")
for axis, name in zip(axes, names, strict=True):
    axis.set(title=name, xlabel="step")
for axis in axes[:2]:
    axis.legend(fontsize=9)
plt.show()

# %% [markdown]
# ## Save, load, use
#
# A `DINO` is saved like every Keras model, with teacher, center and optimizer, and
# training can go on from there. For features you need the teacher's backbone alone.
# Here it finds the photos that resemble a photo most (the first of each row); after
# three minutes colours and backgrounds still count as much as what is to be seen.
#
# **What to raise for more:** `STEPS` first, then photos, then the size of crops and
# network, and with more photos also the number of prototypes K. Larger batches want a
# larger learning rate, in proportion.

# %%
model.save(out / "dino.keras")
model.teacher_backbone.save(out / "backbone.keras")
network = Subject(dino_tf.load_backbone(out / "backbone.keras"), size=32)
features = network.summaries(test_photos, size=None)["cls"]
features -= features.mean(axis=0)  # what all photos share tells nothing
features /= np.linalg.norm(features, axis=1, keepdims=True)

figure, axes = plt.subplots(3, 7, figsize=(10, 5.2), layout="constrained")
for row, index in zip(axes, (0, 4, 9), strict=True):
    nearest = np.argsort(-(features @ features[index]))[:7]
    for axis, other in zip(row, nearest, strict=True):
        axis.imshow(decode(test_photos.image_bytes(int(other))))
        axis.set_title(f"{features[other] @ features[index]:.2f}", fontsize=10)
        axis.axis("off")
    row[0].set_title("this photo", fontsize=10)
figure.suptitle("nearest photos, by cosine similarity of the centred features")
plt.show()
