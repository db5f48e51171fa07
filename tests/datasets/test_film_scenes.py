"""Generated films: the same each time, objects that move, masks that fit."""

import io

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets.film import object_numbers
from dino_tf.datasets.film_scenes import FilmScenes
from dino_tf.errors import UserError


def pixels(source, index):
    return np.asarray(Image.open(io.BytesIO(source.image_bytes(index))))


def test_films_are_functions_of_seed_split_and_place():
    one, again = (FilmScenes("test", 2, 3, 64) for _ in range(2))
    np.testing.assert_array_equal(pixels(one, 4), pixels(again, 4))
    np.testing.assert_array_equal(one.objects(4), again.objects(4))
    assert one.stamp() == again.stamp()
    for other in (FilmScenes("train", 2, 3, 64), FilmScenes("test", 2, 3, 64, seed=1)):
        assert (pixels(one, 4) != pixels(other, 4)).any()
        assert one.stamp() != other.stamp()


def test_frames_and_names():
    source = FilmScenes("test", 2, 3, 64)
    assert len(source) == 6 and source.short_side == 48
    assert pixels(source, 0).shape == (48, 64, 3)
    assert source.objects(0).shape == (48, 64) and source.objects(0).dtype == np.uint8
    assert [source.id(i) for i in (0, 5)] == ["film_000/00000", "film_001/00002"]
    assert source.film_of(2).name == "film_000" and source.film_of(3).start == 3


def test_objects_move_and_some_films_have_several():
    source = FilmScenes("test", 8, 2, 64)
    counts = []
    for film in source.films:
        first, last = source.objects(film.start), source.objects(film.stop - 1)
        assert ((first > 0) != (last > 0)).mean() > 0.02
        counts.append(len(object_numbers(first)))
    assert min(counts) == 1 and max(counts) == 3


def test_spec():
    assert len(open_source("films:10").films) == 10
    assert len(open_source("films:10", "test").films) == 2
    assert len(open_source("films", "test").films) == 8
    for spec, split in (("films:0", "train"), ("films:x", "train"), ("films", "val")):
        with pytest.raises(UserError, match="films"):
            open_source(spec, split)
    with pytest.raises(UserError, match="frames 0"):
        FilmScenes(frames=0)
