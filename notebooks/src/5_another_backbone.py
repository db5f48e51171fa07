# %% [markdown]
# # 5 · Another backbone: a ResNet, a ViT of other sizes, a network of your own
#
# DINO trains any network that turns an image into one vector. This notebook trains
# three, with the same photos, views and number of steps. About three minutes on two CPU
# cores, most of them for the ResNet.
#
# On the command line: `python main.py --data PHOTOS --model.arch keras:ResNet50`.

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
from IPython.display import display
from keras import layers
from PIL import Image

import dino_tf
from dino_tf.schedules import WarmupCosine
from dino_tf.transforms.image import decode
from dino_tf.visualize.features import write_features

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 60))
root = next((p for p in map(Path, (".", "..")) if (p / "dino_tf").is_dir()), Path("."))
out = root / "result" / "notebook"
keras.utils.set_random_seed(0)

# %% [markdown]
# ## A network of Keras
#
# `"keras:NAME"` is any network of `keras.applications`, `"keras_hub:PRESET"` any image
# backbone of keras-hub (`pip install keras-hub`). They come without their classifier,
# with random weights, for images of any size, and with a batch norm that DINO can
# train. What the network itself takes may follow, as in
# `create_backbone("keras:MobileNetV3Small", alpha=0.75)`.

# %%
resnet = dino_tf.create_backbone("keras:ResNet50")

# %% [markdown]
# ## A Vision Transformer of other sizes
#
# The names `vit_tiny`, `vit_small`, `vit_base` and `vit_large` are starting points:
# patch, width, depth and heads can be said. `image_size` is what the table of positions
# is made for; other sizes work too. Registers are further tokens beside CLS.

# %%
vit = dino_tf.create_backbone(
    "vit_tiny",
    patch_size=8,
    image_size=64,
    embed_dim=128,
    depth=3,
    num_heads=4,
    num_registers=2,
)

# %% [markdown]
# ## Your own
#
# Any Keras model will do that gives (photos, features) for images of the sizes of your
# views, such as (None, None, 3). It is copied for the teacher by its configuration, so
# layers of your own need `get_config`. Take layer or group norm: Keras's batch norm
# stands still in the teacher (`dino_tf.models.keras_networks.SharedBatchNorm` does
# not).

# %%
own = keras.Sequential([layers.Input((None, None, 3))], name="own")
for width in (32, 64, 128):
    own.add(layers.Conv2D(width, 3, strides=2, padding="same"))
    own.add(layers.GroupNormalization(8))
    own.add(layers.Activation("gelu"))
own.add(layers.GlobalAveragePooling2D())

backbones = {"ResNet-50": resnet, "ViT of my sizes": vit, "my own": own}
for name, backbone in backbones.items():
    width = backbone.compute_output_shape((None, 64, 64, 3))[-1]
    print(f"{name:<16} {backbone.count_params():>11,} weights, features of {width}")

# %% [markdown]
# ## Train them
#
# The rest is the same for all but the learning rate. In earnest a ResNet wants other
# settings than a ViT (`python main.py presets` names those published for ResNet-50),
# and a hundred epochs. So few steps show that all parts work, and teach nothing yet.

# %%
photos = dino_tf.open_source("scenes:600", "train")
light = {"brightness": 0.7, "contrast": 0.7, "saturation": 0.5}
views = dino_tf.MultiCrop(global_size=64, local_size=32, num_local=2, **light)
epochs = max(STEPS // 10, 1)
losses = {}
peaks = {"ResNet-50": 1e-4, "ViT of my sizes": 5e-4, "my own": 5e-4}

for name, backbone in backbones.items():
    model = dino_tf.DINO(
        backbone,
        dino_tf.DINOHead(128, hidden_dim=256, bottleneck_dim=64),
        dino_tf.DINOLoss(128, teacher_temp=0.04),
        teacher_momentum=0.98,
    )
    rate = WarmupCosine(peaks[name], 1e-6, STEPS, warmup_steps=STEPS // 4)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.04))
    losses[name] = model.fit(
        dino_tf.make_dataset(photos, views, batch_size=16, seed=0),
        epochs=epochs,
        steps_per_epoch=STEPS // epochs,
        shuffle=False,
        verbose=0,
    ).history["loss"]
    print(f"{name}: trained, loss {losses[name][-1]:.2f}")

# %%
plt.figure(figsize=(7, 3.2), layout="constrained")
for name, values in losses.items():
    plt.plot(STEPS // epochs * np.arange(1, epochs + 1), values, "o-", label=name)
plt.axhline(np.log(128), color="grey", linestyle="--", label="ln 128")
plt.title("loss")
plt.xlabel("step")
plt.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# The loss begins low, where all photos share the same few prototypes, and rises towards
# ln K while they part; learning follows after that. `dino_tf.Health` as a callback of
# `fit` tells how it goes (`1_quick_start`), and k-NN what has come of it
# (`4_evaluate_and_discover`).
#
# ## Look inside without attention
#
# A network without attention is drawn by the principal components of its patch
# features: what gets one colour is alike to the network. The ResNet's 32 pixels a place
# make coarse maps, so it is given a larger photo. On the command line:
# `python main.py attend PHOTOS --weights RUN --kind features`. A model of your own can
# do the same when it has `extract`, `grid_of` and the few attributes that
# `dino_tf/models/backbones.py` lists; training needs none of them.

# %%
photo = decode(dino_tf.open_source("scenes", "test").image_bytes(12)).numpy()
for name, size in {"ResNet-50": 512, "ViT of my sizes": 256}.items():
    sheet = write_features(backbones[name], photo, name, out / "features", size)[0]
    display(Image.open(sheet))
