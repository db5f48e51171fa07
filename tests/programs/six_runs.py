"""Small trainings that succeed or are made to fail, watched by `Health`."""

import functools

import keras
import numpy as np

from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.scenes import Scenes
from dino_tf.dino import DINO
from dino_tf.evaluate.watched import WatchedPhotos
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import AdamW
from dino_tf.pipeline import make_dataset
from dino_tf.schedules import WarmupCosine
from dino_tf.transforms.image import decode
from dino_tf.transforms.multicrop import MultiCrop
from dino_tf.watch import Health

K, EPOCHS, BATCH, PHOTOS = 256, 12, 32, 256
# Views that keep the colours, by which a small network tells photos apart in seconds.
EASY = {
    "jitter": 0.0,
    "grayscale": 0.0,
    "solarize": (0.0, 0.0),
    "global_blur": (0.0, 0.0),
    "local_blur": 0.0,
}


@functools.cache
def photos():
    """Scenes of half their size, drawn once."""
    scenes = Scenes(count=PHOTOS)
    images = [
        np.asarray(decode(scenes.image_bytes(i)))[::2, ::2] for i in range(PHOTOS)
    ]
    return ArraySource(images, [scenes.labels(i)[0] for i in range(PHOTOS)])


def watched_run(
    rate=1e-3, teacher_temp=0.04, center_momentum=0.9, views=EASY, epochs=EPOCHS
):
    """`Health` after a training, with "verdict" in each of its records."""
    keras.utils.set_random_seed(0)
    steps = PHOTOS // BATCH
    vit = VisionTransformer(
        embed_dim=48, depth=2, num_heads=3, patch_size=8, image_size=32
    )
    model = DINO(
        vit,
        DINOHead(K, hidden_dim=128, bottleneck_dim=64),
        DINOLoss(K, 0.1, teacher_temp, center_momentum),
        WarmupCosine(0.97, 0.995, epochs * steps),
    )
    schedule = WarmupCosine(rate, rate * 1e-3, epochs * steps, steps)
    model.compile(AdamW(schedule, 0.04))
    crops = MultiCrop(global_size=32, local_size=16, num_local=2, **views)
    data = make_dataset(photos(), crops, BATCH, seed=0)
    health = Health(WatchedPhotos(photos(), 128, 32), say=None)
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: health.records[-1].update(
            verdict=health.verdict
        )
    )
    model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[health, note],
    )
    return health
