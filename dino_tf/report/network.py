"""What a network makes of the photos of its run, as plain data for the page."""

import functools
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np

from dino_tf.analysis.components import fit_components
from dino_tf.analysis.embedding import FEWEST, embed_2d
from dino_tf.analysis.neighbours import nearest
from dino_tf.datasets.arrays import ArraySource
from dino_tf.evaluate.features import extract_features
from dino_tf.evaluate.object_boxes import NEEDS, find_boxes
from dino_tf.evaluate.splits import spread
from dino_tf.evaluate.subject import Subject
from dino_tf.phases import crop_options
from dino_tf.pipeline import evaluation_dataset
from dino_tf.report.explorer import packed, reduce_features
from dino_tf.report.jpeg import jpeg_uri, square
from dino_tf.transforms.image import try_decode
from dino_tf.transforms.multicrop import MultiCrop
from dino_tf.visualize import draw
from dino_tf.visualize.features import feature_map

# Photos in the explorer, on the map, and neighbours of each.
MOST_WATCHED, MOST_MAPPED, NEIGHBOURS, SAMPLES = 8, 256, 6, 6
# Pixels of the longer side; quality.
SHOWN, THUMBNAIL, VIEW = 360, 72, 112
# Discovery compares all pairs of patches; photos become smaller until it is quick.
MOST_BOX_PATCHES = 500
DRAWS = 3
AT_ONCE = 2  # photos in the network, which take memory
METHOD_NAMES = {"lost": "LOST", "tokencut": "TokenCut", "attention": "Attention"}
MAP_NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


class Album:
    """Photos of a run that the page shows, decoded once.

    Args:
        source: `Source` of the photos.
        watched: how many of them are looked at patch by patch; at most
            `MOST_WATCHED` are.

    Attributes:
        photos: [(place, name, uint8 (H, W, 3))] of those that can be read.
        places: int64 (N,), the photos of the map.
    """

    def __init__(self, source, watched):
        self.source = source
        self.places = spread(len(source), MOST_MAPPED)
        chosen = spread(len(source), min(watched, MOST_WATCHED)).tolist()
        read = ((place, self._read(place)) for place in chosen)
        self.photos = [
            (i, source.id(i), image) for i, image in read if image is not None
        ]

    def _read(self, place):
        return try_decode(partial(self.source.image_bytes, int(place)))[0]

    @functools.cached_property
    def thumbnails(self):
        """{place: address} of the readable photos of the map."""

        def small(place):
            image = self._read(place)
            return image if image is None else jpeg_uri(square(image, THUMBNAIL), 999)

        with ThreadPoolExecutor() as threads:
            uris = threads.map(small, self.places.tolist())
            found = zip(self.places.tolist(), uris, strict=True)
            return {place: uri for place, uri in found if uri}


class Network:
    """A network that is looked at once, or again and again while it is trained.

    Args:
        backbone: any backbone.
        album: `Album`.
        config: resolved `Config` of the run.
    """

    def __init__(self, backbone, album, config):
        self.backbone, self.album, self.config = backbone, album, config
        self.mean, self.std = config.views.mean, config.views.std

    def _forward(self, images):
        # Not compiled: to trace it would take longer than these few batches.
        features = self.backbone(images, training=False)
        return {"cls": keras.ops.cast(features, "float32")}

    def patches(self, notes):
        """{"explorer", "components"} of the watched photos; see `Album`."""
        if not self.album.photos:
            notes.append("no explorer: none of the watched photos can be read")
            return {}
        size = self.config.run.attention_size
        images = [image for _, _, image in self.album.photos]
        see = partial(
            feature_map, self.backbone, size=size, mean=self.mean, std=self.std
        )
        with ThreadPoolExecutor(AT_ONCE) as threads:
            maps = list(threads.map(see, images))
        if not all(np.isfinite(one).all() for one in maps):
            notes.append("no explorer: the features are not finite")
            return {}
        colours = fit_components(maps)
        explorer, components = [], []
        reduced = reduce_features(maps)
        for (_, name, image), one, few in zip(
            self.album.photos, maps, reduced, strict=True
        ):
            picture = jpeg_uri(image, SHOWN)
            pixels = np.round(255 * colours.colours(one)).astype(np.uint8)
            shape = tuple(8 * side for side in pixels.shape[:2])
            painted = jpeg_uri(draw.resize(pixels, shape, "nearest"), SHOWN)
            explorer.append({"name": name, "picture": picture, **packed(few)})
            components.append({"name": name, "colours": painted})
        return {
            "explorer": {
                "photos": explorer,
                "palette": draw.colour_table("inferno")[::5].tolist(),
            },
            "components": components,
        }

    def map(self, methods, notes):
        """{"map"}: places of many photos, their classes, and their neighbours.

        Args:
            methods: of `dino_tf.analysis.embedding.METHODS`.
            notes: list that takes lines on what is missing.
        """
        source, size = self.album.source, self.config.run.eval_size or 224
        pixels = {"mean": self.mean, "std": self.std}
        photos = evaluation_dataset(source, size, 64, self.album.places, **pixels)
        features, places = extract_features(self.backbone, photos, self._forward)
        if not np.isfinite(features).all():
            notes.append("no map: the features are not finite")
            return {}
        there = [i for i, p in enumerate(places) if int(p) in self.album.thumbnails]
        if len(there) < 2:
            notes.append("no map and no neighbours: they take two photos")
            return {}
        features, places = features[there], places[there].tolist()
        methods = [m for m in methods if m == "pca" or len(places) >= FEWEST]
        labels = [source.labels(place) for place in places]
        return {
            "map": {
                "names": [source.id(place) for place in places],
                "thumbnails": [self.album.thumbnails[place] for place in places],
                "labels": [list(map(int, own)) for own in labels],
                "class_names": list(map(str, source.class_names)),
                "methods": {
                    MAP_NAMES[m]: _scaled(embed_2d(features, m)) for m in methods
                },
                **_neighbours(features),
                "samples": spread(len(places), SAMPLES).tolist(),
                "total": len(source),
            }
        }

    def boxes(self, notes):
        """{"boxes"}: what the methods of discovery find in the watched photos."""
        there = getattr(self.backbone, "result_names", ())
        methods = [m for m in METHOD_NAMES if NEEDS[m] in there]
        if not methods or not self.album.photos:
            notes.append("no boxes: the network has neither keys nor attention")
            return {}
        patch = self.backbone.patch_size
        small = [_few_patches(image, patch) for _, _, image in self.album.photos]
        subject = Subject(self.backbone, self.mean, self.std)
        found = find_boxes(subject, ArraySource(small, name="photos"), methods)
        shown = []
        for row, (place, name, image) in enumerate(self.album.photos):
            height, width = small[row].shape[:2]
            # Of attention there is a box for each head; the last is of their mean.
            shown.append(
                {
                    "name": name,
                    "picture": jpeg_uri(image, SHOWN),
                    "found": {
                        METHOD_NAMES[m]: [
                            _shares(found[m]["boxes"][row, -1], (height, width))
                        ]
                        for m in methods
                    },
                    "truth": _truth(self.album.source, place, image.shape[:2]),
                }
            )
        return {"boxes": shown}


def views(source, config):
    """{"views"}: what the training makes of one photo, drawn several times."""
    crops = MultiCrop(**crop_options(config.views))
    for place in spread(len(source), MOST_WATCHED).tolist():
        image, _ = try_decode(partial(source.image_bytes, place))
        if image is None:
            continue
        draws = []
        for number in range(DRAWS):
            drawn = crops.draw(image, (config.run.seed, number))
            draws.append({k: [jpeg_uri(v, VIEW) for v in drawn[k]] for k in drawn})
        return {
            "views": {
                "name": source.id(place),
                "picture": jpeg_uri(image, SHOWN),
                "draws": draws,
                "sizes": [config.views.global_size, config.views.local_size],
            }
        }
    return {}


def _neighbours(features):
    """{"near": [[row, ...], ...], "similarities"} of each photo, itself left out."""
    count = min(NEIGHBOURS, len(features) - 1)
    similarities, rows = nearest(features, features, count + 1)
    near, how = [], []
    for own, (some, found) in enumerate(zip(similarities, rows, strict=True)):
        others = np.flatnonzero(found != own)[:count]
        near.append(found[others].tolist())
        how.append([round(float(value), 3) for value in some[others]])
    return {"near": near, "similarities": how}


def _scaled(places):
    """Places within -1 to 1, both directions by the same factor."""
    largest = max(float(np.abs(places).max()), 1e-12)
    return [[round(float(v) / largest, 4) for v in place] for place in places]


def _few_patches(image, patch_size):
    """The image, smaller where it has more patches than `MOST_BOX_PATCHES`."""
    height, width = image.shape[:2]
    patches = height * width / patch_size**2
    if patches <= MOST_BOX_PATCHES:
        return image
    scale = (MOST_BOX_PATCHES / patches) ** 0.5
    # Whole patches, so that none is filled up.
    shape = [max(1, int(side * scale / patch_size)) for side in (height, width)]
    return draw.resize(image, tuple(side * patch_size for side in shape))


def _shares(box, shape):
    """left, top, right, bottom as shares of width and height."""
    height, width = shape
    sides = np.asarray(box, np.float64) / (width, height, width, height)
    return [round(float(side), 4) for side in np.clip(sides, 0, 1)]


def _truth(source, place, shape):
    found = source.boxes(place)
    return [_shares(box, shape) for box in found.xyxy] if found else []
