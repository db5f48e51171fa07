"""Pictures of the features of networks with and without attention."""

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.models.vit import VisionTransformer
from dino_tf.transforms.image import normalize
from dino_tf.visualize.features import feature_map, single_components, write_features


class Means:
    """A network whose features are the mean colours of patches of 8 pixels."""

    patch_size, num_prefix_tokens, result_names = 8, 0, ("cls", "tokens")

    def grid_of(self, size):
        self.size = tuple(size)
        return size[0] // 8, size[1] // 8

    def extract(self, images, names):
        rows, columns = self.grid_of(images.shape[1:3])
        tokens = np.asarray(images).reshape(1, rows, 8, columns, 8, 3).mean((2, 4))
        return {"tokens": keras.ops.convert_to_tensor(tokens.reshape(1, -1, 3))}


class OneSize(Means):
    """The same for images of one size."""

    fixed_size = (16, 32)


def photo(height=48, width=64):
    image = np.full((height, width, 3), 40, dtype=np.uint8)
    image[height // 3 : -height // 3, width // 4 : -width // 4] = (230, 120, 60)
    return image


def test_features_stand_where_their_patches_are():
    network = Means()
    features = feature_map(network, photo(), size=48)
    assert features.shape == (6, 8, 3)
    # Two mirrored patches on every side, which are cut off again.
    assert network.size == (48 + 32, 64 + 32)
    expected = np.asarray(normalize(photo())).reshape(6, 8, 8, 8, 3).mean((1, 3))
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_network_of_one_size_sees_the_photo_at_that_size():
    network = OneSize()
    assert feature_map(network, photo(), size=480).shape == (2, 4, 3)
    assert network.size == (16, 32)


def test_transformer_gives_its_patches_without_prefix():
    keras.utils.set_random_seed(0)
    vit = VisionTransformer(12, 1, 2, 8, 32, num_registers=2)
    vit.build()
    features = feature_map(vit, photo(32, 32), size=32)
    tokens = vit.extract(np.asarray(normalize(photo(32, 32)))[None], ["tokens"])
    expected = np.asarray(tokens["tokens"])[0, 3:].reshape(4, 4, 12)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_files_of_a_photo(tmp_path):
    paths = write_features(Means(), photo(), "a b", tmp_path, size=48)
    assert [str(p.relative_to(tmp_path)) for p in paths] == [
        "a b.png",
        "a b/original.png",
        "a b/component1.png",
        "a b/component2.png",
        "a b/component3.png",
        "a b/components.png",
        "a b/mask.png",
        "a b/masked.png",
    ]
    mask = np.asarray(Image.open(paths[6])) > 0
    assert mask.shape == (48, 64) and mask[24, 32] and not mask[2, 2]
    assert np.asarray(Image.open(paths[0])).std() > 10


def test_mask_follows_the_sign():
    maps = np.full((3, 2, 2), -1.0, dtype=np.float32)
    maps[0, 1] = 1.0
    pictures = single_components(photo(32, 32), maps)
    assert not pictures["mask"][:4].any() and pictures["mask"][-4:].all()
    assert pictures["masked"][:4].mean() < 0.4 * photo(32, 32)[:4].mean()
    np.testing.assert_array_equal(pictures["masked"][-4:], photo(32, 32)[-4:])
    # Components that are the same everywhere are one colour.
    assert np.ptp(pictures["component2"].reshape(-1, 3), axis=0).max() == 0


def test_wrong_images():
    with pytest.raises(UserError, match="uint8"):
        feature_map(Means(), photo().astype("float32"))
    with pytest.raises(UserError, match="size is 4"):
        feature_map(Means(), photo(), size=4)
