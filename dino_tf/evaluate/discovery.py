"""Object discovery: does one box, found without labels, hit an object?"""

from functools import partial

from dino_tf.analysis.boxes import corloc
from dino_tf.errors import UserError
from dino_tf.evaluate.discovery_files import write_files
from dino_tf.evaluate.object_boxes import METHODS, NEEDS, find_boxes
from dino_tf.evaluate.published import data_name
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD

WHOLE = 0.3  # share of boxes as large as their photos above which it is told


def evaluate_discovery(
    backbone,
    source,
    methods=METHODS,
    indices=None,
    k=100,
    tau=0.2,
    head="best",
    bilateral=False,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """CorLoc: share of photos whose one box overlaps an object by half.

    Photos keep their own size and are filled up with zeros to whole patches.

    Args:
        backbone: has `extract(images, names)` with the results "keys" (for LOST and
            TokenCut) and "attention", `result_names`, `patch_size` and
            `num_prefix_tokens`.
        source: photos with boxes; those without any, and those that cannot be read,
            are left out; difficult objects count.
        methods: of "lost", "tokencut" and "attention" (DINO-seg, the baseline).
        indices: places in the source; None takes all.
        k: patches that may join the seed; see `dino_tf.analysis.lost`.
        tau: cosine above which patches are joined; see `dino_tf.analysis.tokencut`.
        head: attention head of the baseline, from 0; "mean" takes the mean of all
            heads, "best" the head that hits most of the objects.
        bilateral: whether TokenCut's mask is also refined, which gives a second
            number; see `object_boxes.refined_box`.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        Percentages `discover/lost_corloc`, `discover/tokencut_corloc`,
        `discover/tokencut_refined_corloc`, `discover/attention_corloc`.

    Raises:
        UserError: no photo has boxes or none of those can be read; a method, number
            or head is not allowed; the network has not what a method looks at.

    Reference:
        valeoai/LOST, main_lost.py; YangtaoWANG95/TokenCut, main_tokencut.py.
    """
    check_methods(backbone, methods)
    _check_head_of(backbone, methods, head)
    places = range(len(source)) if indices is None else indices
    truth = truth_of(source, places)
    if not truth:
        raise UserError(f"{source.name!r} has no boxes; CorLoc needs photos with boxes")
    subject = Subject(backbone, mean, std)
    options = {"k": k, "tau": tau, "bilateral": bilateral}
    found = find_boxes(subject, source, methods, indices=list(truth), **options)
    chosen, _ = choose_head(found, truth, head)
    return _numbers(boxes_by_name(found, chosen), truth)


def lacks(subject, data):
    """What discovery needs and does not find in the network, in words, or None."""
    if _lacking(subject.backbone, METHODS) != list(METHODS):
        return None
    return "a network with keys or attention, such as vit_small"


def run_task(
    subject,
    data,
    methods=METHODS,
    k=100,
    tau=0.2,
    head="best",
    bilateral=False,
    split=None,
):
    """`evaluate_discovery` as a task: see `dino_tf.tasks.Task`."""
    notes, methods = _possible(subject.backbone, methods)
    _check_head_of(subject.backbone, methods, head)
    source, split = _open(data, split)
    options = {"k": k, "tau": tau, "bilateral": bilateral}
    found = find_boxes(subject, source, methods, **options)
    readable = next(iter(found.values()))["index"].tolist()
    truth = truth_of(source, readable)
    column, label = choose_head(found, truth, head)
    boxes = boxes_by_name(found, column)
    details = {"split": split, "photos": len(source), "judged": len(truth)}
    details["unreadable"] = _unreadable(source, readable, notes)
    if "attention" in found:
        details |= {"head": label, "heads": _by_head(found["attention"], truth)}
        if head == "best" and not truth:
            notes.append("attention: the mean of all heads, for want of boxes to judge")
    if not truth:
        notes.append(f"no CorLoc: {source.name} has no boxes of objects")
    facts = next(iter(found.values()))
    notes += _on_whole_photos(boxes, facts, truth)
    write = partial(write_files, source=source, facts=facts, boxes=boxes, truth=truth)
    return Outcome(_numbers(boxes, truth) if truth else {}, details, write, notes)


def truth_of(source, indices):
    """{index: float32 (n, 4)} of the photos that have boxes of objects."""
    boxes = {int(i): source.boxes(int(i)) for i in indices}
    return {index: found.xyxy for index, found in boxes.items() if found}


def choose_head(found, truth, head):
    """The attention map that stands for the baseline.

    Args:
        found: of `find_boxes`.
        truth: of `truth_of`.
        head: see `evaluate_discovery`.

    Returns:
        column: place among the boxes by attention; 0 where there are none.
        label: the head's number or "mean"; with nothing to judge by, "best" is the
            mean as well.

    Raises:
        UserError: there is no such head.
    """
    if "attention" not in found:
        return 0, None
    heads = found["attention"]["boxes"].shape[1] - 1
    _check_head(head, heads)
    if head == "best" and truth:
        hits = _by_head(found["attention"], truth)
        head = max(range(heads), key=lambda one: hits[str(one)])
    return (heads, "mean") if head in ("best", "mean") else (int(head), int(head))


def boxes_by_name(found, head=0):
    """{name: {index: int64 (4,)}} of what `find_boxes` found, one box a photo.

    Args:
        found: of `find_boxes`.
        head: column of `choose_head`.
    """
    columns = {}
    for method, arrays in found.items():
        columns[method] = arrays, head if method == "attention" else 0
        if method == "tokencut" and arrays["boxes"].shape[1] > 1:
            columns["tokencut_refined"] = arrays, 1
    return {
        name: dict(zip(a["index"].tolist(), a["boxes"][:, column], strict=True))
        for name, (a, column) in columns.items()
    }


def check_methods(backbone, methods):
    """UserError for an unknown method, none, or one that the network cannot serve."""
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise UserError(
            f"methods: got {', '.join(unknown) or 'none'}; allowed: "
            + ", ".join(METHODS)
        )
    lacking = _lacking(backbone, methods)
    if lacking:
        name = getattr(backbone, "arch", type(backbone).__name__)
        there = [m for m in METHODS if m not in _lacking(backbone, METHODS)]
        raise UserError(
            f"{lacking[0]} looks at the {NEEDS[lacking[0]]} of the last block, which "
            f"{name} has not; allowed for it: {', '.join(there) or 'no method'}"
        )


def _check_head_of(backbone, methods, head):
    """`_check_head` before any photo is looked at, where the network tells."""
    heads = getattr(backbone, "num_heads", None)
    if "attention" in methods and heads:
        _check_head(head, heads)


def _check_head(head, heads):
    if head not in ("best", "mean", *range(heads)):
        raise UserError(
            f"head is {head!r}; allowed: 0 to {heads - 1}, the heads of this network, "
            "or mean, best"
        )


def _lacking(backbone, methods):
    there = getattr(backbone, "result_names", ())
    return [method for method in methods if NEEDS[method] not in there]


def _possible(backbone, methods):
    """(notes, the methods that the network can serve)."""
    known = [method for method in methods if method in METHODS]
    lacking = set(_lacking(backbone, known))
    if len(known) < len(methods) or len(lacking) == len(known):
        check_methods(backbone, methods)
    notes = [f"{m}: left out, the network has no {NEEDS[m]}" for m in sorted(lacking)]
    return notes, [method for method in known if method not in lacking]


def _open(data, split):
    """(source, its split): that on which CorLoc is published, unless told."""
    name = split or ("trainval" if data_name(data.spec) == "voc2012" else "train")
    source = data.split(name)
    if source is None:
        raise UserError(f"split: {data.spec} has no {name!r}; allowed: train")
    return source, name


def _numbers(boxes, truth):
    numbers = {}
    for name, found in boxes.items():
        judged = [index for index in truth if index in found]
        if not judged:
            raise UserError(f"none of {len(truth)} photos with boxes can be read")
        numbers[f"discover/{name}_corloc"] = corloc(
            [found[i] for i in judged], [truth[i] for i in judged]
        )
    return numbers


def _on_whole_photos(boxes, facts, truth):
    """A note on each method many of whose boxes are as large as their photos."""
    wholes = {
        int(index): [0, 0, int(width), int(height)]
        for index, (height, width) in zip(facts["index"], facts["size"], strict=True)
    }
    objects = [index for index in truth if index in wholes]
    alone = ""
    if objects:
        hits = corloc([wholes[i] for i in objects], [truth[i] for i in objects])
        alone = f"; those alone hit {hits:.1f} %"
    notes = []
    for name, found in boxes.items():
        count = sum(list(box) == wholes[index] for index, box in found.items())
        if count > WHOLE * len(found):
            notes.append(
                f"{name}: {count} of {len(found)} boxes are whole photos, and tell "
                f"nothing of objects{alone}"
            )
    return notes


def _by_head(arrays, truth):
    """{head, or "mean": CorLoc}; empty with nothing to judge by."""
    rows = [row for row, index in enumerate(arrays["index"].tolist()) if index in truth]
    if not rows:
        return {}
    objects = [truth[int(arrays["index"][row])] for row in rows]
    columns = arrays["boxes"][rows].swapaxes(0, 1)
    names = [*map(str, range(len(columns) - 1)), "mean"]
    return {
        n: corloc(column, objects) for n, column in zip(names, columns, strict=True)
    }


def _unreadable(source, readable, notes):
    """Names of the photos that could not be read; some are named in the notes."""
    there = set(readable)
    names = [source.id(i) for i in range(len(source)) if i not in there]
    if names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        count = f"{len(names)} photo{'s' if len(names) > 1 else ''}"
        notes.append(f"{count} cannot be read, or too large, left out: {shown}")
    return names
