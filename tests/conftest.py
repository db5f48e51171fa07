"""Fixtures shared by all tests: reference arrays, real photos, two CPU devices."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser):
    parser.addoption(
        "--reference-dir",
        default=str(ROOT / "tests" / "reference" / "data"),
        help="folder of arrays computed with the published programs",
    )


@pytest.fixture(scope="session")
def reference_dir(request):
    """Folder of the reference arrays (`--reference-dir`)."""
    return Path(request.config.getoption("--reference-dir"))


@pytest.fixture(scope="session")
def shared_dir():
    """Folder of real photos beside the checkout; skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real photos are not here (../shared/data)")
    return SHARED / "data"


@pytest.fixture(scope="session", autouse=True)
def two_cpu_devices():
    """Splits the CPU into two logical devices, for tests of several replicas."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])


@pytest.fixture
def strategy(two_cpu_devices):
    """`MirroredStrategy` over two CPU devices."""
    from dino_tf.distribute import make_strategy

    return make_strategy("mirrored")


@pytest.fixture
def server(monkeypatch):
    """Server on 127.0.0.1: `files` by path, `ranges` asked for, `cut`, `etag`.

    A file is bytes, or a function of the request's handler.
    """
    import threading
    import types
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = types.SimpleNamespace(files={}, ranges=[], cut=None, etag=None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            data = state.files.get(self.path)
            if data is None:
                return self.send_error(404)
            if callable(data):
                return data(self)
            if self.headers.get("If-Range", state.etag) != state.etag:
                asked = None
            start = int(asked[6:-1]) if asked and self.path != "/no-ranges" else 0
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                span = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.send_header("Content-Range", span)
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:][: state.cut])

        def log_message(self, *args):
            pass

    # The name of the host is of no use here and may take seconds to look up.
    monkeypatch.setattr("socket.getfqdn", lambda name="": name)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serve = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    serve.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()


@pytest.fixture
def tiny_application(monkeypatch):
    """Name of a network among `keras.applications` that is traced in a second."""
    import keras

    def make(include_top, weights, input_shape):
        assert not include_top and weights is None
        x = inputs = keras.Input(input_shape)
        for width, stride in ((8, 4), (12, 2)):
            x = keras.layers.Conv2D(width, 3, stride, padding="same", use_bias=False)(x)
            x = keras.layers.BatchNormalization(momentum=0.999)(x)
            x = keras.layers.ReLU()(keras.layers.Dropout(0.5)(x))
        return keras.Model(inputs, x)

    monkeypatch.setattr(keras.applications, "TinyNet", make, raising=False)
    return "keras:TinyNet"


@pytest.fixture
def check_layer(tmp_path):
    """Function that checks what every layer promises.

    Its arguments are kept as attributes, its configuration makes an equal layer, its
    shapes are told beforehand, and it is saved and loaded with its weights.
    """
    import keras
    import numpy as np

    def check(layer, inputs, arguments):
        for name, value in arguments.items():
            assert getattr(layer, name) == value, name
        config = keras.saving.serialize_keras_object(layer)
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(layer)
        assert keras.saving.serialize_keras_object(again)["config"] == config["config"]
        expected = layer(inputs)
        assert layer.compute_output_shape(inputs.shape) == tuple(expected.shape)
        entrance = keras.Input(inputs.shape[1:])
        model = keras.Model(entrance, layer(entrance))
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(inputs), expected, atol=1e-6)
        assert [v.shape for v in loaded.weights] == [v.shape for v in layer.weights]

    return check


@pytest.fixture
def make_film(tmp_path):
    """Function (name, frames, rate, *options) -> path of a film that ffmpeg wrote.

    Frames are uint8 (n, H, W, 3); options are ffmpeg's for the result, and `inputs`
    those of a further input, such as a sound.
    """
    import subprocess

    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

    def make(name, frames, rate, *options, inputs=()):
        height, width = frames.shape[1:3]
        path = tmp_path / name
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}")
        subprocess.run(
            [ffmpeg, "-v", "error", "-y", *raw, "-framerate", str(rate), "-i", "pipe:0"]
            + [*inputs, *options, f"file:{path}"],
            input=frames.tobytes(),
            check=True,
        )
        return path

    make.ffmpeg = ffmpeg
    return make


@pytest.fixture
def squares():
    """Function (n, height, width) -> frames with a bright square that goes right."""
    import numpy as np

    def draw(count, height=48, width=64):
        frames = np.full((count, height, width, 3), 40, np.uint8)
        for i, frame in enumerate(frames):
            left = i * (width - 16) // max(count - 1, 1)
            frame[8:24, left : left + 16] = 230
        return frames

    return draw


@pytest.fixture
def permissions_hold():
    """Lets permissions of files hold for root too, in this thread and its new ones."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # third version; this thread
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, before) == 0
    without = type(before)(*before)
    without[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, without) == 0
    yield
    assert libc.capset(header, before) == 0
