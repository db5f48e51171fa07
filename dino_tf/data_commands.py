"""The actions of `main.py data`: download, check, convert, write into shards."""

from collections import Counter

from dino_tf.errors import UserError, plain

# Usage behind `main.py data`, and what the action does.
ABOUT = {
    "get": ("get NAME [--data-dir DIR]", "download PASCAL VOC"),
    "check": ("check SPEC [--split SPLIT]", "count the photos, decode them all"),
    "coco": (
        "coco SPEC|LABELS --out FILE.json [--split SPLIT]",
        "write boxes (of VOC, BDD100K, ...) as COCO JSON",
    ),
    "shards": ("shards SPEC --out DIR ...", "write the photos into TFRecords"),
}


def _get(parsed):
    years = {"voc2007": 2007, "voc2012": 2012}
    if parsed.name not in years:
        names = ", ".join(years)
        raise UserError(f"data get: got {parsed.name!r}, allowed: {names}")
    from dino_tf.datasets.voc_archives import get_voc
    from dino_tf.progress import ByteLine

    print(get_voc(years[parsed.name], parsed.data_dir, ByteLine(parsed.name)))


def _check(parsed):
    from dino_tf.datasets import open_source
    from dino_tf.pipeline import BadImages, unreadable

    source = open_source(parsed.spec, parsed.split)
    if source is None:
        raise UserError(f"{parsed.spec}: got split {parsed.split!r}, allowed: train")
    reasons = BadImages()
    bad = unreadable(source, reasons)
    print(f"{len(source)} photos in {plain(parsed.spec)}, split {parsed.split}")
    labels = Counter(k for i in range(len(source)) for k in source.labels(i))
    for k, name in enumerate(source.class_names):
        print(f"  {plain(name):<20} {labels[k]}")
    print(f"{len(bad)} unreadable ({len(bad) / len(source):.1%})")
    shown = [f"  {name} ({reasons.names[name]})" for name in bad[:20]]
    more = [f"  and {len(bad) - 20} more"] if len(bad) > 20 else []
    for line in (*shown, *more, *source.about()):
        print(plain(line))
    damage = source.damage()
    if damage:
        raise UserError("; ".join(damage[:5]))


def _shards(parsed):
    from dino_tf.shard_writer import write_splits

    options = parsed.as_dict()
    spec, out, split = (options.pop(key) for key in ("spec", "out", "split"))
    write_splits(spec, out, split, **options)


def _coco(parsed):
    from dino_tf.coco_conversion import write_coco
    from dino_tf.progress import PhotoLine

    for line in write_coco(parsed.data, parsed.out, parsed.split, PhotoLine):
        print(plain(line))


ACTIONS = {"get": _get, "check": _check, "coco": _coco, "shards": _shards}
