"""Frames out of films of every shape, rate and state, and out of folders."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from dino_tf.visualize import ffmpeg
from dino_tf.visualize.film_files import Film, FrameFolder, Unreadable

SINE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2")
EXACT = ("-c:v", "ffv1", "-pix_fmt", "bgr0")


def read(film, shape=None, rate=None):
    damage = []
    frames = film.frames(shape or film.shape, rate or film.rate, damage)
    return np.stack(list(frames)), damage


def test_what_a_file_tells_and_its_frames(make_film, squares):
    film = Film.open(make_film("a.mkv", squares(20), 10, *EXACT, inputs=SINE))
    assert (film.shape, film.rate, film.sound) == ((48, 64), 10, "vorbis")
    assert film.seconds == pytest.approx(2, abs=0.1)
    assert film.count(5) == 10
    frames, damage = read(film)
    np.testing.assert_array_equal(frames, squares(20))
    assert damage == []


def test_rate_is_exact(make_film, squares):
    film = Film.open(make_film("a.mp4", squares(8), "30000/1001"))
    assert (film.rate, film.sound) == (Fraction(30000, 1001), None)


def test_fewer_and_more_frames_a_second(make_film, squares):
    film = Film.open(make_film("a.mkv", squares(20), 10, *EXACT))
    frames, _ = read(film, rate=Fraction(5))
    np.testing.assert_array_equal(frames, squares(20)[::2][: len(frames)])
    assert len(frames) == 10
    frames, _ = read(film, rate=Fraction(20))
    np.testing.assert_array_equal(frames[::2], squares(20))


def test_turned_films_are_upright(make_film, squares, tmp_path):
    plain, turned = make_film("a.mp4", squares(3), 10), tmp_path / "b.mp4"
    words = [make_film.ffmpeg, "-v", "error", "-display_rotation", "90", "-i", plain]
    subprocess.run([*words, "-c", "copy", turned], check=True)
    film = Film.open(turned)
    assert film.shape == (64, 48)
    # Decoded and turned here, which the other one was not.
    upright = np.rot90(read(Film.open(plain))[0][0])
    assert np.abs(read(film)[0][0] - upright.astype(int)).mean() < 1


def test_pixels_become_square(make_film, squares):
    film = Film.open(make_film("a.mp4", squares(3), 10, "-vf", "setsar=3/2"))
    assert film.shape == (48, 96)


def test_uneven_times_become_even(make_film, squares):
    # Ten frames in a second, then one in each second.
    times = "setpts=if(lt(N\\,10)\\,N\\,10*(N-9))"
    passing = ("-vf", times, "-fps_mode", "vfr")
    film = Film.open(make_film("a.mkv", squares(14), 10, *EXACT, *passing))
    frames, _ = read(film, rate=Fraction(10))
    changes = np.flatnonzero((frames[1:] != frames[:-1]).any(axis=(1, 2, 3))) + 1
    assert changes.tolist() == [*range(1, 11), 20, 30, 40]


def test_names_that_look_like_something_else(make_film, squares):
    film = Film.open(make_film("-v %03d:a,b'c.mp4", squares(3), 10))
    assert len(read(film)[0]) == 3


@pytest.mark.parametrize("content", [b"", b"no film" * 99])
def test_no_film(tmp_path, content):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(Unreadable, match="[Ii]nvalid|EOF|[Ee]nd of file|moov"):
        Film.open(tmp_path / "a.mp4")


def test_sound_alone_is_no_film(make_film, tmp_path):
    path = tmp_path / "a.m4a"
    subprocess.run([make_film.ffmpeg, "-v", "error", *SINE, path], check=True)
    with pytest.raises(Unreadable, match="no moving pictures in it"):
        Film.open(path)


def test_film_that_breaks_off(make_film, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    path = make_film("a.mp4", noise, 10, "-movflags", "+faststart", "-g", "1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, damage = read(Film.open(path))
    assert 5 < len(frames) < 15
    assert len(damage) == 1


def test_frames_of_a_folder_in_the_order_of_numbers(tmp_path):
    for number in (10, 9, 1):
        picture = Image.new("RGB", (8 * (1 + (number == 9)), 8), (number, 0, 0))
        picture.save(tmp_path / f"frame-{number}.png")
    (tmp_path / "frame-2.png").write_bytes(b"broken")
    (tmp_path / "more").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "more" / "frame-3.png")
    folder = FrameFolder.open(tmp_path)
    assert (folder.shape, folder.rate, folder.count(5)) == ((8, 8), 30, 4)
    frames, damage = read(folder)
    assert frames[:, 0, 0, 0].tolist() == [1, 9, 10]
    assert damage == ["frame-2.png cannot be read"]
    with pytest.raises(Unreadable, match="none of 0 pictures"):
        (tmp_path / "empty").mkdir()
        FrameFolder.open(tmp_path / "empty")


def test_absence_of_ffmpeg_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: None)
    with pytest.raises(ffmpeg.UserError, match="^films need .*pip install imageio-ff"):
        ffmpeg.ffmpeg_program()
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: f"/bin/{name}")
    assert ffmpeg.ffmpeg_program() == "/bin/ffmpeg"
