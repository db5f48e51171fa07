"""Changes to a copy of the published program, and what stands in for torchvision."""

import pytest

PUBLISHED = """\
import utils
names = torch.hub.list("facebookresearch/xcit:main")


def get_args_parser():
    pass


def train_dino(args):
    print(f"Data loaded: there are {len(dataset)} images.")
    student = student.cuda()
    student = parallel.DistributedDataParallel(student, device_ids=[args.gpu])
    print("Starting DINO training !")
    for it, (images, _) in enumerate(loader):
        # move images to gpu
        images = [im.cuda(non_blocking=True) for im in images]
        torch.cuda.synchronize()
        metric_logger.update(loss=loss.item())
"""


def test_a_copy_notes_moments_and_needs_no_gpu(tmp_path):
    import peer

    checkout, folder = tmp_path / "dino", tmp_path / "copy"
    checkout.mkdir()
    folder.mkdir()
    (checkout / "main_dino.py").write_text(PUBLISHED)
    utils = 'backend="nccl"\n    torch.cuda.set_device(args.gpu)\n'
    (checkout / "utils.py").write_text(utils)
    peer.patched_training(checkout, folder, cpu=True)
    text = (folder / "main_dino.py").read_text()
    compile(text, "main_dino.py", "exec")
    assert text.count("marks.") == 5
    assert "cuda" not in text and "hub" not in text
    assert (folder / "utils.py").read_text() == 'backend="gloo"\n'
    peer.patched_training(checkout, folder, cpu=False)
    text = (folder / "main_dino.py").read_text()
    assert text.count("cuda") == 3 and text.count("marks.") == 5
    assert (checkout / "main_dino.py").read_text() == PUBLISHED


def test_another_program_is_refused():
    import peer

    with pytest.raises(SystemExit, match="utils.py of the checkout has no 'nccl'"):
        peer.changed("gloo", {"nccl": "gloo"}, "utils.py")


def test_a_python_without_pytorch_is_told(tmp_path):
    import peer

    wrong = tmp_path / "python"
    wrong.write_text("#!/bin/sh\necho no PyTorch here >&2\nexit 1\n")
    wrong.chmod(0o755)
    with pytest.raises(SystemExit, match="--torch-python .*: no PyTorch here"):
        peer.has_gpu(str(wrong))
