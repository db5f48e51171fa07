# %% [markdown]
# # Train DINO with `model.fit`
#
# DINO teaches a vision transformer to see without a single label: a *student* looks
# at small and large crops of a photo and learns to predict what its *teacher*, a slow
# average of itself, says about the large crops.
#
# Here everything is an ordinary Keras object, so you can put your own hands on each
# part: the photos, the views, the network, the optimizer and the callbacks. The
# photos are generated (`scenes`), so nothing is downloaded.
#
# With the few steps set below the notebook takes about a minute on two CPU cores.
# That is enough to see all parts work, and far too little to learn much; the last
# section says what to raise. The whole job, with checkpoints and pictures, is
# `python main.py`.

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
from dino_tf.evaluate.knn import evaluate_knn
from dino_tf.schedules import WarmupCosine
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, decode

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 30))

here = Path.cwd()
root = next((p for p in (here, here.parent) if (p / "dino_tf").is_dir()), here)
out = Path(os.environ.get("DINO_TF_NOTEBOOK_OUT", root / "result" / "notebook"))
out.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The photos
#
# A source knows how many photos it has and gives the bytes of each. For your own
# photos write `dino_tf.open_source("folder:PATH")`; labels are not needed to train.
# The scenes do have labels, and we use them only to *test* the features.

# %%
source = dino_tf.open_source("scenes:800", "train")
test_source = dino_tf.open_source("scenes:800", "test")
print(len(source), "photos to train on,", len(test_source), "to test with")

figure, axes = plt.subplots(2, 6, figsize=(11, 4))
for index, axis in enumerate(axes.flat):
    axis.imshow(decode(source.image_bytes(index)))
    axis.set_title(source.class_names[source.labels(index)[0]], fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## The views
#
# From every photo come two *global* crops, which both networks see, and several
# small *local* crops for the student alone. Each is flipped, coloured, blurred or
# made grey by chance. All these numbers are arguments of `MultiCrop`; the defaults
# are those of the paper, and here only the sizes are smaller.

# %%
views = dino_tf.MultiCrop(global_size=32, local_size=16, num_local=6)
dataset = dino_tf.make_dataset(source, views, batch_size=64, seed=0)
batch = next(iter(dataset))
for name, value in batch.items():
    print(f"{name:>7}: {tuple(value.shape)}  (photos, views, height, width, colours)")


# %%
def visible(view):
    """Undoes the normalisation, for the eye."""
    return np.clip(np.array(view) * IMAGENET_STD + IMAGENET_MEAN, 0, 1)


figure, axes = plt.subplots(3, 8, figsize=(11, 4.4))
for row, photo in zip(axes, range(3), strict=True):
    crops = [*batch["global"][photo], *batch["local"][photo]]
    for number, (axis, crop) in enumerate(zip(row, crops, strict=True)):
        axis.imshow(visible(crop))
        axis.axis("off")
        if photo == 0:
            axis.set_title("global" if number < 2 else "local", fontsize=9)
plt.show()

# %% [markdown]
# ## The model
#
# * The **backbone** is what you keep in the end. This one is tiny; leave the last
#   three arguments out for the full ViT-Ti, or say `"vit_small"`.
# * The **head** turns features into scores over K *prototypes*.
# * The **loss** compares student and teacher, view by view.
# * `DINO` ties them together and makes the teacher, a copy of the student.

# %%
K = 256
backbone = dino_tf.create_backbone(
    "vit_tiny", patch_size=4, image_size=32, embed_dim=96, depth=4, num_heads=3
)
head = dino_tf.DINOHead(K, hidden_dim=512, bottleneck_dim=128)
loss = dino_tf.DINOLoss(K, teacher_temp=0.04)
model = dino_tf.DINO(
    backbone, head, loss, teacher_momentum=WarmupCosine(0.98, 1.0, STEPS)
)
print(f"{backbone.count_params():,} weights in the backbone")

# %% [markdown]
# ## How good are the features before training?
#
# The k-NN test lets the nearest training photos vote on the class of a test photo.
# There are ten classes, so guessing gives 10 %. An untrained network is better than
# that, because photos of one class also resemble each other in plain colours.


# %%
def knn(network):
    numbers = evaluate_knn(network, source, test_source, size=32, k=(20,))
    return numbers["knn/top1_k20"]


before = knn(model.teacher_backbone)
print(f"k-NN accuracy, untrained: {before:.1f} %")

# %% [markdown]
# ## Train
#
# Any Keras optimizer does. `dino_tf.optimizers.AdamW` is the one of the paper: it
# takes a schedule for the weight decay as well (the paper raises it from 0.04 to 0.4)
# and spares the biases, as in
#
# ```python
# AdamW(WarmupCosine(1e-3, 1e-6, STEPS, warmup), WarmupCosine(0.04, 0.4, STEPS))
# ```
#
# The data set has no end, so `fit` is told how many steps make an epoch.

# %%
epochs = max(1, STEPS // 10)
steps_per_epoch = STEPS // epochs
rate = WarmupCosine(1e-3, 1e-6, epochs * steps_per_epoch, warmup_steps=steps_per_epoch)
model.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=0.04))
history = model.fit(
    dataset,
    epochs=epochs,
    steps_per_epoch=steps_per_epoch,
    shuffle=False,  # the data set shuffles by itself
    verbose=2,
    callbacks=[
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.CSVLogger(out / "metrics.csv"),
    ],
)

# %% [markdown]
# ## Look at the loss
#
# A network that says the same about every photo has a loss of ln K in the long run.
# The curve has three parts: it falls at once, because at first all photos share their
# favourite prototypes; it climbs back towards ln K as the *center* takes that common
# part away; and then it falls slowly, which is the learning. A loss that stays at
# ln K for long, or near zero, means that the network has collapsed.

# %%
plt.figure(figsize=(6, 3.2))
plt.plot(np.arange(1, epochs + 1), history.history["loss"], marker="o", label="loss")
plt.axhline(np.log(K), color="grey", linestyle="--", label=f"ln {K} = {np.log(K):.2f}")
plt.xlabel(f"epoch of {steps_per_epoch} steps")
plt.gca().xaxis.get_major_locator().set_params(integer=True)
plt.legend()
plt.tight_layout()
plt.show()

# %% [markdown]
# ## And now?
#
# After so few steps the number may go either way; look again after a longer training.

# %%
after = knn(model.teacher_backbone)
print(f"k-NN accuracy: {before:.1f} % untrained, {after:.1f} % after {STEPS} steps")

# %% [markdown]
# ## Save and load
#
# A `DINO` is saved like every Keras model, with teacher, center and optimizer, and
# training can go on. For features you need the teacher's backbone alone: it takes
# images of any size that the patch divides.

# %%
model.save(out / "dino.keras")
loaded = keras.saving.load_model(out / "dino.keras")
photos = batch["global"][:8, 0]
np.testing.assert_allclose(
    loaded.predict(photos, verbose=0), model.predict(photos, verbose=0), atol=1e-5
)

model.teacher_backbone.save(out / "backbone.keras")
features = dino_tf.load_backbone(out / "backbone.keras")(photos)
print(f"features {tuple(features.shape)} from {out / 'backbone.keras'}")

# %% [markdown]
# ## What to raise
#
# * `STEPS` first: 600 take some minutes on two cores, and the k-NN number moves.
# * Then photos: `"scenes"` alone has 2,000, your own folder may have more.
# * Then crops and network, in this order: larger crops, a smaller patch, `"vit_tiny"`
#   or `"vit_small"` in full. With more photos also more prototypes K.
# * Larger batches want a larger learning rate (in proportion) and let the teacher
#   move faster (a lower momentum at the start).
#
# The other notebook, `look_at_attention`, shows what the network looks at.
