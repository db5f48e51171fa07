"""One box a photo by LOST, TokenCut and attention, from one pass over the photos."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from dino_tf.analysis.bilateral import refine_mask
from dino_tf.analysis.boxes import box_from_mask
from dino_tf.analysis.dino_seg import dino_seg
from dino_tf.analysis.lost import lost
from dino_tf.analysis.tokencut import check_tau, tokencut
from dino_tf.errors import UserError
from dino_tf.evaluate.patches import PatchReader, ahead

# What each method looks at; the costly one first, see `find_boxes`.
NEEDS = {"tokencut": "keys", "lost": "keys", "attention": "attention"}
METHODS = ("lost", "tokencut", "attention")
# To be raised when the same network and photos give other boxes than before.
BOXES_VERSION = 1
# Photos of more patches are looked at one by one: each takes 32 bytes times the square
# of their number, 300 MB and more.
LARGE = 3000


def find_boxes(subject, source, methods, k=100, tau=0.2, bilateral=False, indices=None):
    """Boxes of all photos by all methods, from one pass over them or from the store.

    Args:
        subject: `Subject`, the network.
        source: photos, with boxes or without.
        methods: of `METHODS`.
        k: see `boxes_of`.
        tau: see `boxes_of`.
        bilateral: see `boxes_of`.
        indices: places in the source; None takes all.

    Returns:
        {method: {"boxes": int64 (N, n, 4), "index": int64 (N,), "size": int64 (N, 2)
        height and width, "extension": (N,) text}} of the N readable photos, in order.
        n is 1 for LOST; for TokenCut 1, or 2 with the refined box; for attention one
        for each head and one for their mean.

    Raises:
        UserError: no photo can be read, `k` or `tau` is out of range, or features are
            not finite.
    """
    _check_numbers(k, tau)
    settings = {"lost": {"k": k}, "tokencut": {"tau": tau, "bilateral": bilateral}}
    order = [method for method in NEEDS if method in methods]
    chosen = range(len(source)) if indices is None else indices
    common = {"boxes": BOXES_VERSION}
    if indices is not None:
        common["indices"] = list(map(int, chosen))
    common = subject.depends(source, **common)
    done = {}

    def compute(left):
        # The first method that is not kept takes the later ones along.
        if left[0] not in done:
            wanted = {method: settings.get(method, {}) for method in left}
            done.update(_look(subject, source, wanted, chosen))
        return done[left[0]]

    kept = {}
    for place, method in enumerate(order):
        depends = common | settings.get(method, {})
        compute_it = partial(compute, order[place:])
        kept[method] = subject.store.arrays(f"discover-{method}", depends, compute_it)
    return {method: kept[method] for method in METHODS if method in kept}


def boxes_of(photo, patch_size, method, k=100, tau=0.2, bilateral=False):
    """Boxes that one method finds in one photo.

    Args:
        photo: `dino_tf.evaluate.patches.Photo` with what the method needs.
        patch_size: pixels along a patch's side.
        method: of `METHODS`.
        k: patches that may join the seed of LOST.
        tau: cosine above which TokenCut joins patches.
        bilateral: whether TokenCut's box is followed by the refined one.

    Returns:
        List of int64 (4,), as many as `find_boxes` says. Those by attention may reach
        into the padding, as the published ones do.
    """
    place = (photo.grid(patch_size), patch_size, photo.image.shape[:2])
    if method == "attention":
        maps = photo.found["attention"]
        maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        return [dino_seg(one, patch_size).box for one in maps]
    if method == "lost":
        return [lost(photo.found["keys"], *place, k).box]
    cut = tokencut(photo.found["keys"], *place, tau)
    if not bilateral:
        return [cut.box]
    return [cut.box, refined_box(photo.image, cut.mask, patch_size, cut.box)]


def refined_box(image, mask, patch_size, box):
    """Box around TokenCut's object after its border has been pulled to the edges.

    The published program refines masks for saliency alone; of its object discovery
    there is no such form. Here it is the box around the largest connected part of the
    refined mask.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (h, w), the patches of the object.
        patch_size: pixels along a patch's side.
        box: (4,), the answer where nothing is left of the mask.

    Returns:
        int64 (4,), xmin, ymin, xmax, ymax in pixels.
    """
    height, width = image.shape[:2]
    pixels = np.kron(mask, np.ones((patch_size, patch_size), bool))[:height, :width]
    _, binary = refine_mask(image, pixels)
    return box_from_mask(binary) if binary.any() else np.asarray(box)


def _check_numbers(k, tau):
    if k < 1:
        raise UserError(f"k is {k}; allowed: at least 1 patch")
    check_tau(tau)


def _look(subject, source, methods, chosen):
    """`find_boxes` for {method: its settings}, by one pass."""
    names = sorted({NEEDS[method] for method in methods})
    reader = PatchReader(subject.backbone, names, subject.mean, subject.std)
    bar = subject.progress(len(chosen), f"objects in {source.name}")

    def find(photo):
        if photo.image is None:
            return photo, None
        for name, values in photo.found.items():
            if not np.isfinite(values).all():
                raise UserError(
                    f"the {name} of photo {source.id(photo.index)!r} are not finite; "
                    "allowed: a network whose training did not diverge"
                )
        with one_large if np.prod(photo.grid(reader.patch_size)) > LARGE else freely:
            return photo, {
                method: boxes_of(photo, reader.patch_size, method, **settings)
                for method, settings in methods.items()
            }

    rows, one_large, freely = [], threading.Lock(), nullcontext()
    # Photos side by side use the cores better than the small matrices of one.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor() as threads:
        for photo, boxes in ahead(threads, find, reader.photos(source, chosen)):
            bar.add(1)
            if boxes is not None:
                size = photo.image.shape[:2]
                rows.append((photo.index, size, photo.extension, boxes))
    if not rows:
        raise UserError(f"none of {len(chosen)} photos of {source.name} can be read")
    rows.sort(key=lambda row: row[0])
    index, size, extension, boxes = zip(*rows, strict=True)
    facts = {"index": index, "size": size, "extension": extension}
    return {
        method: {
            **{name: np.array(values) for name, values in facts.items()},
            "boxes": np.array([row[method] for row in boxes], np.int64),
        }
        for method in methods
    }
