# %% [markdown]
# # How good are the features?
#
# A loss of self-distillation says little: it may rest while the features get better,
# and fall while they collapse. What tells is what the features can be used for. This
# notebook trains a network on generated photos for a minute, watches its k-NN accuracy
# while it learns, and then asks the other questions, each with one function.
#
# On the command line the same is `python main.py evaluate TASK --weights RUN --data
# SPEC`, for every `TASK` of `knn`, `linear`, `segment`, `discover` and `finetune`, or
# `all` of them.

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
from PIL import Image

import dino_tf
from dino_tf.analysis.neighbours import knn_accuracy, knn_predict
from dino_tf.evaluate import discovery, knn, linear
from dino_tf.evaluate.segment_attention import evaluate_attention
from dino_tf.evaluate.subject import Data, Subject

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 30))

here = Path.cwd()
root = next((p for p in (here, here.parent) if (p / "dino_tf").is_dir()), here)
out = Path(os.environ.get("DINO_TF_NOTEBOOK_OUT", root / "result" / "notebook"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Watch a number while training
#
# `EvaluateEvery` runs any task every few epochs; its numbers join the history of
# `fit`. The *teacher* is evaluated, which is the network that one keeps.

# %%
photos = dino_tf.open_source("scenes:400", "train")
test_photos = dino_tf.open_source("scenes:200", "test")
views = dino_tf.MultiCrop(global_size=32, local_size=16, num_local=4)
data = dino_tf.make_dataset(photos, views, batch_size=32)

backbone = dino_tf.create_backbone("vit_tiny", patch_size=8, image_size=32, depth=4)
untrained = backbone.get_weights()
model = dino_tf.DINO(backbone, dino_tf.DINOHead(1024, hidden_dim=256))
model.compile(optimizer=keras.optimizers.AdamW(5e-4))

watch = dino_tf.EvaluateEvery(
    {"knn": {"k": [20], "size": 32}}, (photos, test_photos), every=1
)
history = model.fit(
    data,
    epochs=3,
    steps_per_epoch=STEPS // 3,
    shuffle=False,
    callbacks=[watch],
    verbose=0,
).history

plt.plot(range(1, 4), history["knn/top1_k20"], marker="o")
plt.xlabel("epoch")
plt.ylabel("k-NN accuracy, %")
plt.show()

# %% [markdown]
# ## Ask one question
#
# Every evaluation is a plain function of a network and photos. The same network with
# random weights is the floor that a number must be compared with: on easy photos it
# may be high.

# %%
trained = model.teacher_backbone
floor = dino_tf.create_backbone("vit_tiny", patch_size=8, image_size=32, depth=4)
floor.set_weights(untrained)

for name, network in (("trained", trained), ("untrained", floor)):
    numbers = {
        **knn.evaluate_knn(network, photos, test_photos, size=32, k=(20,)),
        **linear.evaluate_linear(network, photos, test_photos, size=32),
    }
    print(name, {key: round(value, 1) for key, value in numbers.items()})

# %% [markdown]
# ## Where are the objects?
#
# `segment` compares what the heads attend to with the masks of objects; `discover`
# draws one box a photo without any label, and counts how often it hits an object.

# %%
few = test_photos.subset(range(40))
print(evaluate_attention(trained, few, size=64))
print(discovery.evaluate_discovery(trained, few))

# %% [markdown]
# A task also gives what goes beyond numbers: details, and pictures.

# %%
outcome = discovery.run_task(Subject(trained, size=32), Data.of(few))
folder = out / "discover"
number = 2
while folder.exists():  # nothing is ever overwritten
    folder, number = out / f"discover-{number}", number + 1
files = outcome.write(folder)
print([file.name for file in files])
plt.figure(figsize=(9, 9))
plt.imshow(np.asarray(Image.open(next(f for f in files if f.suffix == ".png"))))
plt.axis("off")
plt.show()

# %% [markdown]
# ## Your own arrays
#
# Photos that are arrays already are a source as well, with labels, boxes or masks where
# there are any; and features from elsewhere can be judged without any network.

# %%
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
labels = np.arange(30) % 3
images[np.arange(30), :, :, labels] //= 4  # each class lacks one colour
mine = dino_tf.ArraySource(images, labels, class_names=("cyan", "magenta", "yellow"))
features = Subject(trained, size=32).summaries(mine, size=None)["cls"]
features /= np.linalg.norm(features, axis=1, keepdims=True)
predicted = knn_predict(features[:20], labels[:20], features[20:], k=5)
print("top-1, top-5:", knn_accuracy(predicted, labels[20:]))
