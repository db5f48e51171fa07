"""Every kind of picture of one network and one data set, on one page."""

from dino_tf.errors import UserError
from dino_tf.evaluate.page import document, image, safe
from dino_tf.kinds import GALLERY, KINDS
from dino_tf.pictures.request import find_photos
from dino_tf.run_folder import write_text


def gallery(request, data, split, cache, count):
    """Writes every kind that the network has, and `gallery.html` that shows them."""
    # What is wrong with the data is told once.
    find_photos((), data, split, count)
    sections, written = [], []
    for name, kind in KINDS.items():
        if name == GALLERY:
            continue
        options = kind.defaults()
        given = {"data": data, "split": split, "cache": cache}
        if "paths" in options:
            given["count"] = count
        options |= {key: given[key] for key in given if key in options}
        try:
            paths = kind.load()(request, **options)
        except UserError as error:
            request.say(f"without {name}: {error}")
            continue
        # Of kinds with a sheet the sheet, else every photo's picture.
        sheets = [path for path in paths if path.parent == request.out] or paths
        sections.append((name, kind.about, sheets))
        written += paths
    if not sections:
        raise UserError(f"none of the pictures can be drawn of {request.network}")
    title = f"What {request.network} sees in {data}"
    page = request.out / "gallery.html"
    write_text(page, gallery_page(title, sections, request.out))
    request.say(f"all of them: {page}")
    return [page, *written]


def gallery_page(title, sections, folder):
    """HTML of pictures, with what each kind shows; all names in it are escaped.

    Args:
        title: Heading.
        sections: List of (name of the kind, what it shows, paths of pictures).
        folder: Where the page will lie; pictures are linked relative to it.
    """
    parts = []
    for name, about, paths in sections:
        pictures = "\n".join(image(path, folder, name) for path in paths)
        heading = f"<h2>{safe(name)}</h2>\n<p class='facts'>{safe(about)}</p>"
        parts.append(f"{heading}\n{pictures}")
    return document(title, "\n".join(parts))
