# %% [markdown]
# # 4 · Evaluate and discover: how good are the features?
#
# A loss of self-distillation says little: it may rest while the features get better,
# and fall while they collapse. What tells is what the features can be used for. This
# notebook trains a network on generated photos, watches its k-NN accuracy while it
# learns, and then asks the other questions, each with one function. About three minutes
# on two CPU cores.
#
# On the command line the same is `python main.py evaluate TASK --weights RUN --data
# SPEC`, for `knn`, `linear`, `segment`, `discover` and `finetune`, or `all` of them.
# Other data have tasks of their own: `detect`, `retrieve`, `copy`, `video`.

# %%
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import dino_tf
from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.analysis.boxes import iou
from dino_tf.evaluate.discovery import boxes_by_name, evaluate_discovery
from dino_tf.evaluate.knn import evaluate_knn
from dino_tf.evaluate.linear import evaluate_linear
from dino_tf.evaluate.object_boxes import find_boxes
from dino_tf.evaluate.segment_attention import evaluate_attention
from dino_tf.evaluate.subject import Subject
from dino_tf.optimizers import AdamW
from dino_tf.schedules import WarmupCosine
from dino_tf.transforms.image import decode
from dino_tf.visualize.attention import attention_maps

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 240))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Watch a number while training
#
# `EvaluateEvery` runs any task every few epochs; its numbers join the history of
# `fit`. The *teacher* is evaluated, which is the network that one keeps. Its weights
# before training are kept too: a number must be compared with that of the untrained
# network, which on easy photos may be high.

# %%
photos = dino_tf.open_source("scenes:1000", "train")
test_photos = dino_tf.open_source("scenes:1000", "test")
light = {"brightness": 0.7, "contrast": 0.7, "saturation": 0.5}
views = dino_tf.MultiCrop(global_size=32, local_size=16, num_local=4, **light)
sizes = {"patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3}
backbone = dino_tf.create_backbone("vit_tiny", image_size=32, **sizes)
untrained = dino_tf.create_backbone("vit_tiny", image_size=32, **sizes)
untrained.set_weights(backbone.get_weights())

model = dino_tf.DINO(
    backbone,
    dino_tf.DINOHead(128, hidden_dim=512, bottleneck_dim=128),
    dino_tf.DINOLoss(128, teacher_temp=0.04),
    teacher_momentum=WarmupCosine(0.95, 0.99, STEPS),
)
rate = WarmupCosine(2e-3, 1e-6, STEPS, STEPS // 10)
model.compile(AdamW(rate, WarmupCosine(0.04, 0.4, STEPS)))
watch = dino_tf.EvaluateEvery({"knn": {"k": [20], "size": 32}}, (photos, test_photos))
epochs = max(STEPS // 40, 1)
history = model.fit(
    dino_tf.make_dataset(photos, views, batch_size=32, seed=0),
    epochs=epochs,
    steps_per_epoch=STEPS // epochs,
    shuffle=False,
    callbacks=[watch],
    verbose=0,
).history
trained = model.teacher_backbone

networks = {"untrained": untrained, "trained": trained}
numbers = {
    name: evaluate_knn(network, photos, test_photos, size=32, k=(20,))
    for name, network in networks.items()
}
plt.figure(figsize=(6, 3), layout="constrained")
plt.plot(range(1, epochs + 1), history["knn/top1_k20"], "o-", label="teacher")
level = numbers["untrained"]["knn/top1_k20"]
plt.axhline(level, color="grey", linestyle="--", label="untrained")
plt.title("k-NN accuracy, %")
plt.xlabel("epoch")
plt.legend()
plt.show()

# %% [markdown]
# ## Classes: k-NN and a linear classifier
#
# Every evaluation is a plain function of a network and photos that returns numbers,
# all in per cent. `knn` asks whether photos of one class lie next to each other,
# `linear` whether planes can part the classes.

# %%
for name, network in networks.items():
    numbers[name] |= evaluate_linear(network, photos, test_photos, size=32)


def compare(numbers):
    for key, after in numbers["trained"].items():
        before = numbers["untrained"][key]
        print(f"{key:<30} untrained {before:5.1f}   trained {after:5.1f}")


compare(numbers)

# %% [markdown]
# ## Masks: does attention fall on the objects?
#
# `segment` keeps the patches that hold 60 % of a head's attention and compares them
# with the masks of objects (Jaccard: what both cover, as a share of what either does):
# of the best head for each object, of the head that is best on the whole, and of the
# mean of all heads, which the picture shows.

# %%
few = test_photos.subset(range(40))
compare({n: evaluate_attention(network, few, 128) for n, network in networks.items()})

figure, axes = plt.subplots(2, 5, figsize=(10, 4.6), layout="constrained")
for index, (above, below) in enumerate(axes.T):
    photo = decode(few.image_bytes(index)).numpy()
    maps = attention_maps(trained, photo, size=128)
    above.imshow(photo)
    above.contour(few.mask(index) > 0, [0.5], colors="cyan", linewidths=1)
    above.set_title("object, outlined")
    below.imshow(keep_mass_mask(maps.mean(0)), cmap="gray")
    below.set_title("60 % of attention")
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Boxes: discover objects without any label
#
# One box a photo, by three methods that look at keys or attention. CorLoc is the share
# of photos whose box overlaps an object by half. `main.py evaluate discover` writes
# all boxes as COCO JSON, so that a detector can be trained on them.

# %%
compare({n: evaluate_discovery(network, few) for n, network in networks.items()})

found = find_boxes(Subject(trained), few, ["lost", "tokencut"], indices=range(10))
boxes = boxes_by_name(found)
styles = {"lost": ("red", 4), "tokencut": ("orange", 1.5)}


def draw_box(axis, box, colour, width):
    left, top, right, bottom = box
    shape = ((left, top), right - left, bottom - top)
    axis.add_patch(Rectangle(*shape, fill=False, color=colour, lw=width, clip_on=False))


figure, axes = plt.subplots(2, 5, figsize=(11, 5.2), layout="constrained")
for index, axis in enumerate(axes.flat):
    axis.imshow(decode(few.image_bytes(index)))
    truth = few.boxes(index).xyxy
    for box in truth:
        draw_box(axis, box, "cyan", 1)
    for method, style in styles.items():
        draw_box(axis, boxes[method][index], *style)
    overlap = iou(boxes["lost"][index], truth).max()
    axis.set_title(f"LOST overlaps {overlap:.2f}", fontsize=10)
    axis.axis("off")
figure.suptitle("LOST wide and red, TokenCut narrow and orange, objects cyan")
plt.show()

# %% [markdown]
# What a few minutes have taught is told by k-NN and linear. Attention and boxes come
# later: they need longer training, or published weights (`6_published_weights`).
# `main.py evaluate` asks the same of a run of yours, and keeps the numbers in `eval/`
# of its folder, where `report.html` shows them; class folders serve as labels.
#
# ## Your own arrays
#
# Photos that are arrays already are a source as well, with labels, boxes or masks where
# there are any, and go into every function above.

# %%
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8)
labels = np.arange(60) % 3
images[np.arange(60), :, :, labels] //= 4  # each class lacks one colour
names = ("cyan", "magenta", "yellow")
mine = dino_tf.ArraySource(images, labels, class_names=names)
first, rest = mine.subset(range(40)), mine.subset(range(40, 60))
print(evaluate_knn(trained, first, rest, size=32, k=(5,)))
