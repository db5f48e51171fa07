"""A backbone with a linear layer that names classes."""

import keras
from keras import ops

from dino_tf.schedules import restored

# facebookresearch/dino, `eval_linear.py`, `LinearClassifier`.
HEAD_STD = 0.01


@keras.saving.register_keras_serializable(package="dino_tf")
class Classifier(keras.Model):
    """Backbone and linear layer: images (B, H, W, 3) -> logits (B, C), float32.

    Args:
        backbone: (B, H, W, 3) normalised float -> (B, D), CLS for networks that have
            it. It becomes part of the classifier.
        class_names: Names of the C classes, in the order of the logits.
        multi_label: Whether a photo may show several classes: a sigmoid of each logit
            tells how likely it is, else the softmax of all.
        size: Side of the square that it was trained on, in pixels; kept for whoever
            uses it.
        mean: Of red, green, blue in 0 to 1, that images are normalised with.
        std: Of red, green, blue in 0 to 1, that images are normalised with.
        seed: Seed of the first weights of the linear layer.

    Raises:
        ValueError: For no classes.
    """

    def __init__(
        self,
        backbone,
        class_names,
        multi_label=False,
        size=None,
        mean=None,
        std=None,
        seed=0,
        **kwargs,
    ):
        super().__init__(**{"dtype": backbone.dtype_policy, **kwargs})
        if not class_names:
            raise ValueError("class_names is empty: expected one name or more")
        self.backbone, self.class_names = backbone, tuple(class_names)
        self.multi_label, self.size, self.seed = multi_label, size, seed
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        self.head = keras.layers.Dense(
            len(self.class_names),
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=HEAD_STD, seed=seed
            ),
            dtype="float32",
            name="head",
        )
        self.build()

    def build(self, input_shape=None):
        if not self.backbone.built:
            size = getattr(self.backbone, "image_size", (224, 224))
            self.backbone.build((None, *size, 3))
        width = self.backbone.compute_output_shape((None, 224, 224, 3))[-1]
        if not self.head.built:
            self.head.build((None, width))
        self.built = True

    def call(self, images, training=False):
        features = self.backbone(images, training=training)
        return self.head(ops.cast(features, "float32"))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.class_names))

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "class_names": list(self.class_names),
            "multi_label": self.multi_label,
            "size": self.size,
            "mean": self.mean and list(self.mean),
            "std": self.std and list(self.std),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**restored(config, ("backbone", "dtype"), custom_objects))
