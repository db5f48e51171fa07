"""Films that browsers and phones play, whole or not at all."""

import types

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.visualize.film_files import Film
from dino_tf.visualize.film_writer import FilmWriter


def facts(path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    return next(imageio_ffmpeg.read_frames(path))


def write(path, frames, film=None, rate=10):
    with FilmWriter(path, frames.shape[1:3], rate) as writer:
        for frame in frames:
            writer.add(frame)
        assert not path.exists()
        return writer.close(film)


def test_h264_that_everybody_plays(squares, tmp_path):
    path = tmp_path / "new" / "a.mp4"
    assert write(path, squares(20)) is None
    told = facts(path)
    assert (told["codec"], told["fps"], told["size"]) == ("h264", 10.0, (64, 48))
    assert told["pix_fmt"].startswith("yuv420p(tv, bt709")
    # The index comes before the pictures.
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]
    film = Film.open(path)
    frames = np.stack(list(film.frames(film.shape, film.rate, [])))
    assert np.abs(frames.astype(int) - squares(20)).mean() < 3


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_is_kept(make_film, squares, tmp_path, codec):
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2")
    loud = make_film("loud.mov", squares(20), 10, "-c:a", codec, inputs=sine)
    assert write(tmp_path / "a.mp4", squares(20), Film.open(loud)) is None
    assert facts(tmp_path / "a.mp4")["audio_codec"] == "aac"


def test_sound_that_cannot_be_read_costs_no_film(squares, tmp_path):
    film = types.SimpleNamespace(path=tmp_path / "gone.mp4", sound="aac")
    line = write(tmp_path / "a.mp4", squares(20), film)
    assert line.startswith("without sound: ")
    assert "audio_codec" not in {k for k, v in facts(tmp_path / "a.mp4").items() if v}
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_an_error_leaves_nothing(squares, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with FilmWriter(tmp_path / "a.mp4", (48, 64), 10) as writer:
            writer.add(squares(1)[0])
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(squares, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("mine")
    with pytest.raises(UserError, match="a.mp4 is there already"):
        write(path, squares(2))
    path.unlink()
    with pytest.raises(UserError, match="a.mp4 came to be meanwhile"):
        with FilmWriter(path, (48, 64), 10) as writer:
            writer.add(squares(1)[0])
            path.write_text("mine")
            writer.close()
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made(squares, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "file" / "a.mp4", squares(2))


def test_encoder_that_fails_says_why(squares, tmp_path):
    # H.264 with halved colours has no odd sizes.
    with pytest.raises(UserError, match="a.mp4 cannot be written: .*"):
        write(tmp_path / "a.mp4", squares(50, 47, 63))
    assert list(tmp_path.iterdir()) == []
