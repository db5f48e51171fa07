"""Which patches of the student's large views are hidden: blocks, drawn in NumPy."""

import math

import numpy as np

from dino_tf.errors import UserError

ASPECT = 0.3  # smallest height over width of a block; the largest is its inverse
LEAST = 4  # patches that the area of a block is drawn from, up to those left to hide
MOST = 0.5  # share of all patches that a block may add
TRIES = 10  # blocks drawn before a mask stays as it is


def block_mask(rng, grid, count):
    """Mask of rectangles that may overlap, of at most `count` patches.

    Rectangles are added until `count` patches are hidden, or none of ten fits.

    Args:
        rng: `numpy.random.Generator`.
        grid: (h, w) patches.
        count: Patches to hide, 0 or more.

    Returns:
        Bool array (h, w), True where a patch is hidden.

    Reference:
        Bao et al. 2021, arXiv 2106.08254, algorithm 1; facebookresearch/dinov2,
        `data/masking.py`, `MaskingGenerator`, and `train/train.py` for `MOST`.
    """
    mask, hidden = np.zeros(grid, bool), 0
    while hidden < count:
        added = _add_block(rng, mask, min(count - hidden, MOST * mask.size))
        if not added:
            break
        hidden += added
    return mask


def _add_block(rng, mask, most):
    """Hides a rectangle with at most `most` new patches; their number, 0 for none."""
    rows, columns = mask.shape
    for _ in range(TRIES):
        size, shape, down, right = rng.random(4)
        area = LEAST + (most - LEAST) * size
        aspect = ASPECT ** (1 - 2 * shape)
        height = round(math.sqrt(area * aspect))
        width = round(math.sqrt(area / aspect))
        if height >= rows or width >= columns:
            continue
        top = int(down * (rows - height + 1))
        left = int(right * (columns - width + 1))
        block = mask[top : top + height, left : left + width]
        new = height * width - np.count_nonzero(block)
        if 0 < new <= most:
            block[:] = True
            return new
    return 0


def _shares(num_views, ratio, probability):
    """Ends of the m intervals that m masked views draw their shares from, (m + 1,)."""
    return np.linspace(*ratio, int(num_views * probability) + 1)


def upper_bound(num_views, num_patches, ratio, probability):
    """Most patches that `draw_masks` hides in all views together."""
    most = _shares(num_views, ratio, probability)[1:]
    return sum(int(num_patches * share) for share in most)


def draw_masks(rng, num_views, grid, ratio, probability):
    """Masks of a list of views, a fixed part of them masked.

    The range of shares is cut into as many equal intervals as there are masked views,
    and each view draws its share from one of them; then the views are shuffled.

    Args:
        rng: `numpy.random.Generator`.
        num_views: Views in the list.
        grid: (h, w) patches of a view.
        ratio: Smallest and largest share of hidden patches in a masked view.
        probability: Share of the views that are masked.

    Returns:
        Bool array (num_views, h * w).

    Reference:
        facebookresearch/dinov2, `data/collate.py`, `collate_data_and_cast`.
    """
    num_patches = grid[0] * grid[1]
    masks = np.zeros((num_views, *grid), bool)
    shares = _shares(num_views, ratio, probability)
    for mask, low, high in zip(masks, shares, shares[1:], strict=False):
        share = low + (high - low) * rng.random()
        mask[:] = block_mask(rng, grid, int(num_patches * share))
    return rng.permutation(masks.reshape(num_views, num_patches))


class PatchMasks:
    """Masks of the global views of batches, a function of seed and position alone.

    Args:
        patch_size: Side of a patch in pixels.
        ratio: Smallest and largest share of hidden patches in a masked view.
        probability: Share of the global views that are masked.
        parts: Parts of a batch that are computed apart from each other: replicas times
            accumulated steps. Each has the same number of masked views.

    Raises:
        UserError: A number is outside its range.
    """

    def __init__(self, patch_size, ratio=(0.1, 0.5), probability=0.5, parts=1):
        low, high = ratio
        if not (0 <= low <= high <= 1 and high and 0 < probability <= 1 and parts > 0):
            raise UserError(
                f"masks: got ratio {list(ratio)}, probability {probability}, parts "
                f"{parts}; allowed: 0 <= low <= high <= 1, above 0 to 1, 1 or more"
            )
        self.patch_size, self.ratio = patch_size, (low, high)
        self.probability, self.parts = probability, parts

    def draw(self, seed, position, shape, share=(0, 1)):
        """Masks of a batch or of a worker's share of it.

        Args:
            seed: Of the run, an integer.
            position: Of the first photo of the batch in the run.
            shape: (B, G, S, S, 3) of the global views of the share.
            share: (i, n): the i-th of n equal shares of the batch.

        Returns:
            Bool array (B, G, patches of a view).

        Raises:
            UserError: The parts of the batch are not whole in the share.
        """
        photos, views, height, width = shape[:4]
        grid = height // self.patch_size, width // self.patch_size
        parts = self.parts // share[1]
        if self.parts % share[1] or photos % parts:
            raise UserError(
                f"masks: got {self.parts} parts for {share[1]} workers with {photos} "
                "photos each; allowed: divisors of the batch, multiples of the workers"
            )
        key = np.asarray((seed, position), np.int64).view(np.uint64)
        count, lists = photos // parts * views, []
        for part in range(share[0] * parts, (share[0] + 1) * parts):
            # Views are drawn with the same key, from a counter of zero.
            stream = np.random.Philox(key=key, counter=[0, 0, part, 1])
            rng = np.random.Generator(stream)
            lists.append(draw_masks(rng, count, grid, self.ratio, self.probability))
        return np.concatenate(lists).reshape(photos, views, grid[0] * grid[1])
