"""Pictures as addresses: size, form, centre."""

import base64
import io

import numpy as np
from PIL import Image

from dino_tf.report.jpeg import file_uri, jpeg_uri, square


def opened(uri):
    head, _, code = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(code)))


def test_large_pictures_shrink_and_small_ones_stay():
    assert opened(jpeg_uri(np.zeros((300, 600, 3), np.uint8), 120)).size == (120, 60)
    assert opened(jpeg_uri(np.zeros((30, 20), np.uint8), 120)).size == (20, 30)


def test_picture_files(tmp_path):
    pixels = np.zeros((900, 1200, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = opened(file_uri(tmp_path / "a.png", 100))
    assert found.size == (100, 75)
    np.testing.assert_allclose(np.asarray(found)[0, 0], [200, 0, 0], atol=4)


def test_central_square():
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, 2:6] = 255
    found = square(picture, 2)
    assert found.shape == (2, 2, 3) and found.min() == 255
