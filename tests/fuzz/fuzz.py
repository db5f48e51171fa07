"""Coverage-guided search for contents that a reader of ours trips over.

    python tests/fuzz/fuzz.py TARGET [options of libFuzzer]

See README.md beside it.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import fuzz_targets  # noqa: E402


def main():
    name, *options = sys.argv[1:] or [""]
    if name not in fuzz_targets.TARGETS:
        sys.exit(f"got {name!r}, allowed: {', '.join(fuzz_targets.TARGETS)}")
    # Modules are followed that are imported here, by what the target reads. What
    # Keras, TensorFlow and NumPy do inside is not ours to cover.
    followed = ["dino_tf", "yaml", "tarfile", "zipfile", "pickletools"]
    for module in ("tarfile", "zipfile"):
        sys.modules.pop(module, None)
    with atheris.instrument_imports(include=followed):
        seeds = fuzz_targets.seeds(name)
        for seed in seeds:
            fuzz_targets.run(name, seed)
    known = [file.read_bytes() for file in sorted((HERE / "found").glob(f"{name}-*"))]
    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
        for seed in seeds + known:
            (Path(corpus) / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        limits = ["-max_len=65536", "-len_control=0", "-timeout=20"]
        limits += ["-rss_limit_mb=4096"]
        found = f"-artifact_prefix={HERE / 'found' / name}-"
        arguments = [sys.argv[0], *limits, found, *options, corpus]
        atheris.Setup(arguments, lambda data: fuzz_targets.run(name, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
