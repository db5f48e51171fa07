# %% [markdown]
# # 6 · Published weights: start from them, go on with your photos, take them elsewhere
#
# Training from nothing wants many photos. The authors of DINO published networks that
# were trained on 1.3 million; this notebook opens one (without PyTorch), looks at your
# photos with it, trains it further on them, and exports the result. About three minutes
# on two CPU cores.

# %%
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import numpy as np
from IPython.display import display
from PIL import Image

import dino_tf
from dino_tf.attend import attend
from dino_tf.datasets.folder import find_images
from dino_tf.errors import UserError
from dino_tf.evaluate.subject import Subject
from dino_tf.export import export
from dino_tf.transforms.image import decode

STEPS = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", 160))
root = next((p for p in map(Path, (".", "..")) if (p / "dino_tf").is_dir()), Path("."))
out = root / "result" / "notebook"

# %% [markdown]
# ## The weights
#
# `WEIGHTS` may be a published name (downloaded once, 87 MB for `dino_vits16`, and
# checked after), a `.pth` or `.safetensors` file, a run folder of yours, or
# `"hf://timm/vit_small_patch16_224.dino"`. Where it cannot be had, the notebook goes on
# with a small network that it trains itself, so that every step can be seen; that is
# what the stored output shows.

# %%
WEIGHTS = os.environ.get("DINO_TF_NOTEBOOK_WEIGHTS", "dino_vits16")

try:
    backbone = dino_tf.load_backbone(WEIGHTS)
except UserError:
    print(f"{WEIGHTS} cannot be had: going on with a network trained here")
    own = {
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
            "name": "stand-in",
            "result_dir": str(out),
            "epochs": max(STEPS // 20, 1),
            "attention_photos": 1,
            "tensorboard": False,
        },
    }
    run = dino_tf.train(dino_tf.Config.from_dict(own), say=lambda text: None)
    WEIGHTS, backbone = run.path, dino_tf.load_backbone(run.path)
patch = backbone.patch_size
print(
    f"{WEIGHTS}: {backbone.depth} blocks, width {backbone.embed_dim}, "
    f"{backbone.num_heads} heads, {patch}-pixel patches"
)

# %% [markdown]
# ## Your photos, and what the network attends to
#
# Set `PHOTOS` to a folder; `None` writes a few generated scenes and takes those. The
# same pictures come from `python main.py attend PHOTOS --weights dino_vits16`.

# %%
PHOTOS = None

if PHOTOS is None:
    scenes = dino_tf.open_source("scenes:128", "test")
    PHOTOS = out / "my-photos"
    PHOTOS.mkdir(parents=True, exist_ok=True)
    for i in range(len(scenes)):
        picture = Image.fromarray(decode(scenes.image_bytes(i)).numpy())
        picture.save(PHOTOS / f"{i:04d}.png")

some = find_images(Path(PHOTOS))[:2]
# (`32 * patch` makes 32 x 32 patches whatever the network.)
for sheet in attend(some, WEIGHTS, out / "before", size=32 * patch):
    display(Image.open(sheet))

# %% [markdown]
# ## Going on with your photos
#
# `init` starts a **new run** from weights: both networks begin as this backbone, the
# head is new, the learning rate small. (A run that was interrupted goes on by itself
# when it is started again, which is another thing.) From a whole training checkpoint,
# such as `dino_vits16_full`, both networks, their heads and the center go on.
#
# The settings here make it a matter of a minute on a processor, and the changes large
# enough to be seen after it. For a real training leave `views`, `head`, `pipeline` and
# `optimizer` out and give it a GPU and more epochs; on the command line:
# `python main.py --data PHOTOS --init dino_vits16`.

# %%
config = dino_tf.Config.from_dict(
    {
        "data": f"folder:{PHOTOS}",
        "preset": "voc2007_finetune",
        "init": str(WEIGHTS),
        "pipeline": {"batch_size": 8},
        "views": {"global_size": 64, "local_size": 32, "num_local": 2},
        "head": {"out_dim": 256, "hidden_dim": 256},
        "optimizer": {"lr": 4e-3, "teacher_momentum": 0.98},
        "run": {
            "name": "from-weights",
            "result_dir": str(out),
            "epochs": max(STEPS // 40, 1),
            "attention_photos": 1,
            "attention_size": 32 * patch,
            "precision": "float32",
            "tensorboard": False,
        },
    }
)
run = dino_tf.train(config, say=lambda text: None)
print(f"{run.path}: {run.summary['epochs']} epochs, loss {run.summary['loss']:.3f}")

# %% [markdown]
# How far has it moved? Below is how much the features of some photos have changed, in
# per cent of what sets each apart from the mean of all. A little, and it is the network
# that it was, fitted to your photos; hundreds, and a new one has been trained.

# %%
photos = dino_tf.open_source(f"folder:{PHOTOS}")
photos = photos.subset(range(min(8, len(photos))))
before, after = (
    Subject(network).summaries(photos, size=64)["cls"]
    for network in (backbone, run.model.teacher_backbone)
)
apart = np.linalg.norm(before - before.mean(axis=0), axis=1)
change = np.linalg.norm(after - before, axis=1)
print("changed by", ", ".join(f"{part:.1%}" for part in change / apart))
display(Image.open(attend(some[:1], run.path, out / "after", size=32 * patch)[0]))

# %% [markdown]
# ## Taking it elsewhere
#
# Each export is read back and compared with the network before it is kept. Other
# formats: `keras`, `savedmodel`, and with the packages named in the README `onnx` and
# `litert`. It comes back the same way, here and in every other place that weights are
# asked for.

# %%
target, number = out / "safetensors", 2
while target.exists():  # nothing is ever overwritten
    target, number = out / f"safetensors-{number}", number + 1
export(run.path, "safetensors", target, say=lambda text: None)
print(", ".join(sorted(path.name for path in target.iterdir())))

again = Subject(dino_tf.load_backbone(target / "model.safetensors"))
difference = np.abs(again.summaries(photos, size=64)["cls"] - after).max()
print(f"largest difference of features that were read back: {difference:.1e}")
