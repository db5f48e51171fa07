# %% [markdown]
# # Start from published weights, go on with your photos, take the result elsewhere
#
# Training from nothing wants many photos. The authors of DINO published networks that
# were trained on 1.3 million; this notebook opens one (without PyTorch), looks at your
# photos with it, trains it further on them, and exports the result.

# %%
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The notebook runs in its own folder as well as in the root of the repository.
sys.path.extend([".", ".."])

import numpy as np
from IPython.display import Image, display

import dino_tf
from dino_tf.attend import attend
from dino_tf.errors import UserError
from dino_tf.export import export

here = Path.cwd()
root = next((p for p in (here, here.parent) if (p / "dino_tf").is_dir()), here)
out = Path(os.environ.get("DINO_TF_NOTEBOOK_OUT", root / "result" / "notebook"))

# %% [markdown]
# ## The weights
#
# `WEIGHTS` may be a published name (downloaded once, 87 MB for `dino_vits16`, and
# checked after), a `.pth` or `.safetensors` file, `"hf://timm/vit_small_patch16_224.dino"`,
# or a run folder of yours. Without a network the notebook goes on with a small
# **untrained** network, so that every step can be seen.

# %%
WEIGHTS = os.environ.get("DINO_TF_NOTEBOOK_WEIGHTS", "dino_vits16")

try:
    backbone = dino_tf.load_backbone(WEIGHTS)
except UserError as error:
    print(f"{error}\n\ngoing on with an untrained network")
    backbone = dino_tf.create_backbone("vit_tiny", patch_size=16)
    out.mkdir(parents=True, exist_ok=True)
    WEIGHTS = str(out / "untrained.keras")
    backbone.save(WEIGHTS)
print(
    f"{WEIGHTS}: {backbone.depth} blocks, width {backbone.embed_dim}, "
    f"{backbone.num_heads} heads, {backbone.patch_size}-pixel patches"
)

# %% [markdown]
# ## Your photos
#
# Set `PHOTOS` to a folder; `None` writes a few generated scenes and takes those.

# %%
PHOTOS = None

if PHOTOS is None:
    scenes = dino_tf.open_source("scenes:64")
    PHOTOS = out / "photos"
    PHOTOS.mkdir(parents=True, exist_ok=True)
    for i in range(len(scenes)):
        (PHOTOS / f"{i:04d}.png").write_bytes(scenes.image_bytes(i))
some = sorted(p for p in Path(PHOTOS).rglob("*") if p.is_file())[:3]

# %% [markdown]
# ## What the network attends to
#
# The same pictures as from `python main.py attend PHOTOS --weights dino_vits16`.

# %%
sheets = attend(some, WEIGHTS, out / "before", size=224, say=lambda line: None)
display(Image(filename=str(sheets[0]), width=1000))

# %% [markdown]
# ## Going on with your photos
#
# `init` starts a **new run** from weights: both networks begin as this backbone, the
# head is new, the learning rate small. (A run that was interrupted goes on by itself
# when it is started again, which is another thing.) From a whole training checkpoint,
# such as `dino_vits16_full`, both networks, their heads and the center go on.
#
# The settings here make it a matter of a minute on a processor. For a real training
# leave `views`, `head` and `pipeline` out and give it a GPU and more epochs; on the
# command line: `python main.py --data PHOTOS --init dino_vits16`.

# %%
steps = int(os.environ.get("DINO_TF_NOTEBOOK_STEPS", "30"))
config = dino_tf.Config.from_dict(
    {
        "data": f"folder:{PHOTOS}",
        "preset": "voc2007_finetune",
        "init": WEIGHTS,
        "pipeline": {"batch_size": 8},
        "views": {"global_size": 64, "local_size": 32, "num_local": 2},
        "head": {"out_dim": 256, "hidden_dim": 256},
        "run": {
            "name": "from-weights",
            "result_dir": str(out),
            "epochs": max(steps // 8, 1),
            "attention_photos": 2,
            "attention_size": 224,
            "precision": "float32",
            "tensorboard": False,
        },
    }
)
run = dino_tf.train(config, say=lambda text: None)
print(f"loss {run.summary['loss']:.3f}, {run.summary['training_seconds']:.0f} s")

# %% [markdown]
# How far has it moved? The cosine of a photo's features before and after: near 1, it
# is still the network that it was.

# %%
photos = dino_tf.open_source(f"folder:{PHOTOS}")
views = dino_tf.MultiCrop(global_size=64, num_local=0, jitter=0.0, grayscale=0.0)
batch = next(iter(dino_tf.make_dataset(photos, views, 8)))["global"][:, 0]
before, after = (np.array(net(batch)) for net in (backbone, run.model.teacher_backbone))
lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
print("cosine before and after:", np.round((before * after).sum(1) / lengths, 4))

# %% [markdown]
# ## Taking it elsewhere
#
# Each export is read back and compared with the network before it is kept. Other
# formats: `keras`, `savedmodel`, and with the packages named in the README `onnx` and
# `litert`.

# %%
target = out / "from-weights-safetensors"
number = 2
while target.exists():
    target, number = out / f"from-weights-safetensors-{number}", number + 1
export(run.path, "safetensors", target)
print((target / "README.md").read_text()[:600])

# %% [markdown]
# It comes back the same way, here and in every other place that weights are asked for:

# %%
again = dino_tf.load_backbone(target / "model.safetensors")
print("difference:", float(np.abs(np.array(again(batch)) - after).max()))
