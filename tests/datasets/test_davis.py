"""DAVIS 2016 and 2017: layouts, lists, masks of both years, what is refused."""

import numpy as np
import pytest
from PIL import Image

from dino_tf.cli import main
from dino_tf.datasets import open_source
from dino_tf.datasets.davis import read_list
from dino_tf.datasets.film import object_numbers, voc_colours
from dino_tf.errors import UserError

NUMBERS = np.zeros((6, 8), np.uint8)
NUMBERS[2:4, 1:3], NUMBERS[2:4, 5:7], NUMBERS[0, 0] = 1, 2, 255
BLACK_AND_WHITE = np.where(NUMBERS > 0, np.uint8(255), np.uint8(0))


def frame(root, film, number):
    path = root / "JPEGImages" / "480p" / film / f"{number:05d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path)


def annotate(root, film, number, numbers, colours=None):
    path = root / "Annotations" / "480p" / film / f"{number:05d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(numbers)
    if colours is not None:
        image.putpalette(colours.tobytes())
    image.save(path)
    return path


def lists(root, folder, **names):
    for name, text in names.items():
        path = root / "ImageSets" / folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


@pytest.fixture
def root(tmp_path):
    """Three films: numbers with a palette, black and white, and one without masks."""
    for film, count in (("bear", 3), ("camel", 2), ("dog", 2)):
        for number in range(count):
            frame(tmp_path, film, number)
    colours = voc_colours()
    colours[1] = (7, 8, 9)
    for number in (0, 2):
        annotate(tmp_path, "bear", number, NUMBERS, colours)
    for number in range(2):
        annotate(tmp_path, "camel", number, BLACK_AND_WHITE)
    return tmp_path


def names(source):
    return [film.name for film in source.films]


def test_without_lists_all_films_are_there(root):
    source = open_source(f"davis2017:{root}")
    assert names(source) == ["bear", "camel", "dog"]
    assert [source.id(i) for i in (0, 2, 3, 6)] == [
        "bear/00000",
        "bear/00002",
        "camel/00000",
        "dog/00001",
    ]
    assert len(source) == 7 and len(source.films[0]) == 3
    assert source.labels(0) == () and source.image_bytes(0)[:2] == b"\xff\xd8"
    assert open_source(f"davis2017:{root}", "test") is None


def test_numbers_are_objects_in_2017_and_one_object_in_2016(root):
    several, one = (open_source(f"davis{year}:{root}") for year in (2017, 2016))
    np.testing.assert_array_equal(several.objects(0), NUMBERS)
    assert object_numbers(several.objects(0)) == [1, 2]
    expected = np.where(NUMBERS == 255, 255, NUMBERS > 0)
    np.testing.assert_array_equal(one.objects(0), expected)
    np.testing.assert_array_equal(several.mask(0), expected)
    assert several.objects(1) is None and several.mask(1) is None


def test_black_and_white_is_one_object_of_its_own_number(root):
    for year in (2016, 2017):
        source = open_source(f"davis{year}:{root}")
        objects = source.objects(3)
        np.testing.assert_array_equal(objects, BLACK_AND_WHITE > 0)
        palette = source.palette(source.films[1])
        np.testing.assert_array_equal(palette.numbers(objects), BLACK_AND_WHITE)
        assert palette.colours[255].tolist() == [255, 255, 255]


def test_palette_is_that_of_the_film(root):
    source = open_source(f"davis2017:{root}")
    palette = source.palette(source.films[0])
    assert palette.colours[1].tolist() == [7, 8, 9]
    assert palette.numbers(NUMBERS) is NUMBERS
    assert source.palette(source.films[2]).colours[1].tolist() == [128, 0, 0]


def test_greys_may_be_numbers_and_may_have_a_palette(root):
    annotate(root, "dog", 0, np.minimum(NUMBERS, 2))
    greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    annotate(root, "camel", 0, BLACK_AND_WHITE, greys)
    source = open_source(f"davis2017:{root}")
    assert object_numbers(source.objects(5)) == [1, 2]
    assert object_numbers(source.objects(3)) == [1]


def test_voc_colours():
    colours = voc_colours()
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[[8, 255]].tolist() == [[64, 0, 0], [224, 224, 192]]


def test_lists_of_2017_with_blanks_and_windows_lines(root):
    lists(root, "2017", train="dog\r\n", val="\ufeffcamel  \r\n\r\n bear\r\ngoat\r\n")
    test = open_source(f"davis2017:{root}", "test")
    assert names(test) == ["camel", "bear"] and test.absent == ("goat",)
    assert names(open_source(f"davis2017:{root}")) == ["dog"]
    assert names(open_source(f"davis2017:{root}", "val")) == ["camel", "bear"]
    with pytest.raises(UserError, match="'test-dev' of 2017; allowed: train, train, v"):
        open_source(f"davis2017:{root}", "test-dev")
    with pytest.raises(UserError, match="lists in 2017, none of 2016; allowed: 2016 o"):
        open_source(f"davis2016:{root}")


def test_lists_of_the_release_of_2016_are_pairs_of_paths(root):
    pairs = [
        f"/JPEGImages/480p/{film}/{n:05d}.jpg /Annotations/480p/{film}/{n:05d}.png \r\n"
        for film in ("dog", "bear")
        for n in range(2)
    ]
    lists(root, "480p", val="".join(pairs), train="/JPEGImages/480p/goat/00000.jpg x\n")
    assert names(open_source(f"davis2016:{root}", "test")) == ["dog", "bear"]
    # None of the films to train on is there: all are.
    assert names(open_source(f"davis2016:{root}")) == ["bear", "camel", "dog"]


def test_folder_above_and_other_resolutions(root, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "DAVIS").symlink_to(root, target_is_directory=True)
    assert len(open_source("davis2017", data_dir=str(tmp_path / "data"))) == 7
    (root / "JPEGImages" / "480p").rename(root / "JPEGImages" / "Full-Resolution")
    assert open_source(f"davis2017:{root}").objects(0) is None


def test_frames_that_are_missing_are_stepped_over(root):
    (root / "JPEGImages" / "480p" / "bear" / "00001.jpg").unlink()
    source = open_source(f"davis2017:{root}")
    assert source.films[0].stems == ("00000", "00002")
    np.testing.assert_array_equal(source.objects(1), NUMBERS)


def test_stamp_tells_new_masks(root):
    before = open_source(f"davis2017:{root}").stamp()
    annotate(root, "dog", 0, NUMBERS)
    assert open_source(f"davis2017:{root}").stamp() != before


@pytest.mark.parametrize(
    ("lines", "words"),
    [(b"\n \n", "lists no film"), (b"\xff\xfe", "no UTF-8 text"), (b"..", "the line")],
)
def test_lists_that_are_none(tmp_path, lines, words):
    (tmp_path / "val.txt").write_bytes(lines)
    with pytest.raises(UserError, match=words):
        read_list(tmp_path / "val.txt")


def test_what_is_refused(root, tmp_path):
    with pytest.raises(UserError, match="no DAVIS in .*JPEGImages/480p/FILM"):
        open_source(f"davis2017:{tmp_path / 'Annotations'}")
    lists(root, "2017", val="goat\n")
    with pytest.raises(UserError, match="none of 1 films has frames"):
        open_source(f"davis2017:{root}", "test")
    source = open_source(f"davis2017:{root}")
    path = annotate(root, "dog", 0, NUMBERS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"00000\.png is no whole PNG"):
        source.objects(5)
    annotate(root, "dog", 0, np.random.default_rng(0).integers(0, 9, (6, 8, 3), "u1"))
    with pytest.raises(UserError, match="has colours; allowed: a palette, or greys"):
        source.objects(5)
    annotate(root, "dog", 0, np.arange(100, dtype=np.uint8).reshape(10, 10))
    with pytest.raises(UserError, match="has 100 numbers; allowed: 64"):
        source.objects(5)


def test_data_check_tells_films(root, capsys):
    assert main(["data", "check", f"davis2017:{root}"]) == 0
    said = capsys.readouterr().out
    assert "7 photos" in said and "0 unreadable" in said
    assert "bear: 3 frames, 2 annotated, objects in the first: 2" in said
    assert "dog: 2 frames, 0 annotated, objects in the first: 0" in said
