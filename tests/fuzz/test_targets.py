"""Any bytes, and any damage of valid files: a value or a told mistake, soon."""

import fuzz_targets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dino_tf.errors import UserError

EXAMPLES = 60
# What means something to one parser or another.
WORDS = [
    *(b"\0", b"\xff", b"\n", b"\r", b"\t", b"..", b"/", b"-1", b"0", b"1e999", b"NaN"),
    *(b"null", b"true", b"[", b"]", b"{", b"}", b'"', b"'", b":", b",", b"&a ", b"*a"),
    *(
        b"9" * 30,
        b"9" * 5000,
        b"[" * 2000,
        b'{"a":' * 2000,
        b"\\ud800",
        b"\xed\xa0\x80",
    ),
    *(b"!!python/name:os.system ", b"2001-99-99", b"0b_", b"\xff\xff\xff\xff\xff\xff"),
    *(b"\x80\x7f", b"\x00\x00\x00\x80", b"<!DOCTYPE a>", b"&lt;", b"nan", b"inf"),
]


@st.composite
def damaged(draw, valid):
    """A valid content with pieces cut, copied, swapped or put in."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 16)))
        kind = draw(st.sampled_from(["set", "put", "cut", "copy", "end"]))
        if kind == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "put":
            data[at:end] = draw(st.sampled_from(WORDS) | st.binary(max_size=8))
        elif kind == "cut":
            del data[at:end]
        elif kind == "copy":
            data[at:at] = data[at:end]
        elif kind == "end":
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_valid_files_are_read(name, tmp_path):
    function, _, _ = fuzz_targets.TARGETS[name]
    for number, seed in enumerate(fuzz_targets.seeds(name)):
        folder = tmp_path / str(number)
        folder.mkdir()
        if seed == fuzz_targets.STREAM:  # an empty dictionary
            with pytest.raises(UserError, match="holds no weights but dict"):
                function(seed, folder)
        else:
            function(seed, folder)


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_damaged_files_are_told(name):
    valid = fuzz_targets.seeds(name)

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=5000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(valid) | st.binary(max_size=64))
    def check(data):
        fuzz_targets.run(name, data)

    check()
