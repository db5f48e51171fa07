"""First-layer filters as small coloured pictures."""

from dino_tf.analysis.filters import filter_colours, principal_filters
from dino_tf.visualize import draw

COLUMNS, SIDE = 7, 124
PRINCIPAL, MOST = 28, 84


def principal_sheet(kernel, title="", count=PRINCIPAL):
    """Principal components of the filters of a patch projection.

    Args:
        kernel: (p, p, 3, n).
        title: one line above.
        count: components, at least 1.

    Returns:
        Pillow image, RGB. Captions tell the share of the filters' variance.

    Raises:
        UserError: the kernel has another form, or `count` is below 1.

    Reference:
        Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 left.
    """
    filters, shares = principal_filters(kernel, count)
    captions = [
        f"{i}: {100 * share:.{1 if share >= 0.001 else 2}f} %"
        for i, share in enumerate(shares, 1)
    ]
    return _sheet(filter_colours(filters), captions, title, COLUMNS)


def filter_sheet(kernel, title=""):
    """Filters of a first convolution, as they are.

    Args:
        kernel: (p, p, 3, n).
        title: one line above.

    Returns:
        Pillow image, RGB; of the first 84 where there are more.

    Raises:
        UserError: the kernel has another form.
    """
    colours = filter_colours(kernel.transpose(3, 0, 1, 2)[:MOST])
    captions = [f"{i}" for i in range(1, len(colours) + 1)]
    return _sheet(
        colours, captions, title, 2 * COLUMNS if len(colours) > 28 else COLUMNS
    )


def _sheet(colours, captions, title, columns):
    side = SIDE if columns == COLUMNS else SIDE * 2 // 3
    tiles = [
        draw.Tile(draw.resize(picture, (side, side), "nearest"), caption)
        for picture, caption in zip(colours, captions, strict=True)
    ]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return draw.compose(rows, title)
