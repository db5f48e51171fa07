"""Fast bilateral solver: a coarse mask made to follow the edges of its photo."""

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

# Brightness and the two colour differences of JPEG (ITU-T T.871, section 7).
_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)
_YUV_OFFSET = (0.0, 128.0, 128.0)
# TokenCut trusts every pixel of its mask alike.
CONFIDENCE = 0.999
_ROUNDS = 10
_MOST_STEPS, _TOLERANCE, _LEAST_DIAGONAL = 25, 1e-5, 1e-5


def refine_mask(image, mask, sigma_spatial=16, sigma_luma=16, sigma_chroma=8):
    """Pulls the border of an object to the edges of the photo.

    Args:
        image: uint8 (H, W, 3), RGB.
        mask: (H, W), true or near 1 on the object, false or near 0 elsewhere.
        sigma_spatial: pixels within which places are neighbours.
        sigma_luma: difference in brightness (0 to 255) that separates neighbours.
        sigma_chroma: difference in colour (0 to 255) that separates neighbours.

    Returns:
        soft: float64 (H, W), about 0 to 1.
        binary: bool (H, W), the largest connected part (four neighbours, holes
            filled) of `soft` above 0.5; all false where nothing is above. The
            published program takes the second largest of all parts, background
            among them: the same where the object covers less than the background,
            and the background where it covers more.

    Raises:
        ValueError: for arrays of other forms and for widths that are not positive.

    Reference:
        Barron & Poole 2016, arXiv 1511.03296; YangtaoWANG95/TokenCut,
        unsupervised_saliency_detection/bilateral_solver.py, with the widths of its
        saliency results.
    """
    widths = (sigma_spatial, sigma_luma, sigma_chroma)
    soft = bilateral_solve(image, mask, CONFIDENCE, *widths)
    return soft, largest_part(ndimage.binary_fill_holes(soft > 0.5))


def bilateral_solve(
    image,
    target,
    confidence=CONFIDENCE,
    sigma_spatial=16,
    sigma_luma=16,
    sigma_chroma=8,
    smoothness=256.0,
):
    """The map nearest to `target` that changes only where the image does.

    Pixels of like place and colour share a vertex of a five-dimensional grid; there
    the solution is that of a small sparse linear system.

    Args:
        image: uint8 (H, W, 3), RGB.
        target: (H, W) of any number type.
        confidence: how far each pixel of the target is trusted, above 0; one number
            or (H, W).
        sigma_spatial: see `refine_mask`.
        sigma_luma: see `refine_mask`.
        sigma_chroma: see `refine_mask`.
        smoothness: weight of smoothness against the target, not negative.

    Returns:
        float64 (H, W).

    Raises:
        ValueError: for arrays of other forms, numbers out of range.

    Reference:
        Barron & Poole 2016, arXiv 1511.03296, sections 2 and 3: bistochastic
        splatting, conjugate gradients with the diagonal as preconditioner.
    """
    widths = (sigma_spatial, sigma_luma, sigma_chroma)
    image, target, weights = _checked(image, target, confidence, widths, smoothness)
    vertex_of, blur = bilateral_grid(image, *widths)
    count = blur.shape[0]

    def splat(pixels):
        return np.bincount(vertex_of, pixels, minlength=count)

    scale, mass = _bistochastic(blur, splat(np.ones(len(vertex_of))))
    scale = sparse.diags_array(scale)
    system = smoothness * (sparse.diags_array(mass) - scale @ blur @ scale)
    trust, wanted = splat(weights), splat(weights * target)
    system = (system + sparse.diags_array(trust)).tocsr()
    diagonal = np.maximum(system.diagonal(), _LEAST_DIAGONAL)
    solved, _ = cg(
        system,
        wanted,
        x0=wanted / trust,
        M=sparse.diags_array(1 / diagonal),
        maxiter=_MOST_STEPS,
        rtol=_TOLERANCE,
        atol=0.0,
    )
    return solved[vertex_of].reshape(image.shape[:2])


def bilateral_grid(image, sigma_spatial=16, sigma_luma=16, sigma_chroma=8):
    """Pixels sorted into boxes of place, brightness and colour.

    Args:
        image: uint8 (H, W, 3), RGB.
        sigma_spatial: side of a box along x and y, in pixels.
        sigma_luma: its side along the brightness, of 256.
        sigma_chroma: its side along the two colour differences, of 256.

    Returns:
        vertex_of: int64 (H * W,), the box (vertex) of each pixel, row by row.
        blur: sparse (n, n) over the n boxes that hold pixels: 1 between neighbours
            along one dimension, 10 on the diagonal, that is 1 2 1 in each of five.
    """
    rows, columns = np.indices(image.shape[:2])
    yuv = image @ _YUV.T + _YUV_OFFSET
    values = (columns, rows, *np.moveaxis(yuv, -1, 0))
    sides = (sigma_spatial, sigma_spatial, sigma_luma, sigma_chroma, sigma_chroma)
    # An empty margin keeps the neighbours of one row apart from those of the next.
    places = [
        (value / side).astype(np.int64).ravel() + 1
        for value, side in zip(values, sides, strict=True)
    ]
    shape = [int(place.max()) + 2 for place in places]
    keys = np.ravel_multi_index(places, shape, order="F")
    vertices, vertex_of = np.unique(keys, return_inverse=True)
    strides = np.cumprod([1, *shape[:-1]])
    blur = 2 * len(sides) * sparse.eye_array(len(vertices))
    for stride in strides:
        upper = np.searchsorted(vertices, vertices + stride)
        upper = np.minimum(upper, len(vertices) - 1)
        lower = np.flatnonzero(vertices[upper] == vertices + stride)
        pairs = (lower, upper[lower])
        ones = sparse.coo_array((np.ones(len(lower)), pairs), blur.shape)
        blur = blur + ones + ones.T
    return vertex_of.ravel(), blur.tocsr()


def largest_part(mask):
    """bool (h, w): the largest connected part (four neighbours) of `mask`.

    Of equals the one that begins last in rows; nothing of an empty mask.
    """
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    last_of_equals = len(sizes) - 1 - sizes[::-1].argmax()
    return (labels == last_of_equals) & (labels > 0)


def _bistochastic(blur, mass):
    """Factors (n,) that make `blur` keep sums, and the sums (n,) that it keeps."""
    scale = np.ones_like(mass)
    for _ in range(_ROUNDS):
        scale = np.sqrt(scale * mass / (blur @ scale))
    # Exact for these factors, however far the rounds have come.
    return scale, scale * (blur @ scale)


def _checked(image, target, confidence, widths, smoothness):
    image, target = np.asarray(image), np.asarray(target, dtype=np.float64)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 (H, W, 3)")
    if target.shape != image.shape[:2]:
        raise ValueError(f"a mask of {target.shape} for an image of {image.shape[:2]}")
    weights = np.broadcast_to(np.asarray(confidence, dtype=np.float64), target.shape)
    if min(widths) <= 0 or smoothness < 0 or weights.min() <= 0:
        raise ValueError(
            f"widths {widths}, smoothness {smoothness}, confidence from "
            f"{weights.min():g}: allowed are positive widths and confidence, "
            "smoothness from 0"
        )
    return image, target.ravel(), weights.ravel()
