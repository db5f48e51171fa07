"""Do features follow objects through a film? Masks propagated by them, as on DAVIS.

Nothing is trained. The mask of a film's first frame is given; see
`dino_tf.analysis.propagation` for how the others come from it and
`dino_tf.analysis.mask_tracks` for how they are judged.
"""

from dataclasses import asdict
from functools import partial

import numpy as np

from dino_tf.analysis.mask_tracks import track_statistics
from dino_tf.datasets.film import FilmSource
from dino_tf.errors import UserError
from dino_tf.evaluate.label_propagation import Propagation
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.evaluate.video_files import missing_ffmpeg, write_files
from dino_tf.evaluate.video_tracks import FilmTracks
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD

STATISTICS = ("mean", "recall", "decay")


def evaluate_video(
    backbone,
    source,
    size=None,
    memory=7,
    neighbourhood=12,
    topk=5,
    temperature=0.1,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """How well propagated masks agree with those of the films.

    Objects are those of a film's first frame, void is background there. Judged are
    all frames that have a mask, but for the first and the last one of a film.

    Args:
        backbone: has "tokens" among its results; see `dino_tf.models.backbones`.
        source: `FilmSource`.
        size, memory, neighbourhood, topk, temperature: see
            `dino_tf.evaluate.label_propagation.Propagation`; a size of None is the
            source's `short_side`.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages, means over the objects of all films: "video/j_mean",
        "video/j_recall", "video/j_decay" of the regions, "video/f_mean" and so on of
        the boundaries, and "video/jf_mean", the mean of both means. A decay is the
        better the lower.

    Raises:
        UserError: no object can be judged, or a number is out of range.

    Reference:
        Pont-Tuset et al. 2017, arXiv 1704.00675, section 3;
        facebookresearch/dino, eval_video_segmentation.py.
    """
    size = source.short_side if size is None else size
    settings = Propagation(size, memory, neighbourhood, topk, temperature)
    films = FilmTracks(Subject(backbone, mean, std), source, settings, source.films)
    try:
        numbers = summarise(films.judged())
    finally:
        films.close()
    if not numbers:
        raise UserError(f"no object of {source.name!r} can be judged in any frame")
    return numbers


def lacks(subject, data):
    """What is needed and not there, in words; None is nothing."""
    if "tokens" not in getattr(subject.backbone, "result_names", ()):
        return "a network with patch tokens"
    if _films_of(data) is None:
        return "films with masks, such as films, davis2016:ROOT or davis2017:ROOT"
    return None


def run_task(subject, data, split=None, sequences=None, size=None, **settings):
    """`evaluate_video` as a task; see `dino_tf.tasks.Task`.

    Args:
        subject: `Subject`.
        data: `Data`.
        split: Name of the list of films; None takes "test", where there is one.
        sequences: Names of single films; None takes all.
        size: See `evaluate_video`.
        settings: The other settings of `Propagation`.

    Returns:
        `Outcome`, without numbers where only first frames have masks.
    """
    source = _films_of(data, split)
    if source is None:
        raise UserError(f"video on {data.spec}: allowed: films, davis2016, davis2017")
    chosen = _chosen(source, sequences)
    settings["size"] = source.short_side if size is None else size
    films = FilmTracks(subject, source, Propagation(**settings), chosen)
    judged = films.judged()
    details = {"split": source.name, "settings": asdict(films.settings)}
    details["films"] = {film.name: _details(film, judged[film]) for film in judged}
    why = missing_ffmpeg()
    notes = [*_notes(source, chosen, judged), *([f"no film: {why}"] if why else ())]
    write = partial(write_files, source=source, judged=judged, masks=films.masks_of)
    return Outcome(summarise(judged), details, write, notes)


def summarise(judged):
    """The numbers of `evaluate_video`; empty where no frame is judged.

    Args:
        judged: {`Film`: {"j", "f": (objects, frames), shares of 1}}.
    """
    numbers = {}
    for name in ("j", "f"):
        tracks = [
            track_statistics(track)
            for found in judged.values()
            for track in found[name]
            if len(track)
        ]
        if not tracks:
            return {}
        means = 100 * np.mean(tracks, axis=0)
        for statistic, value in zip(STATISTICS, means.tolist(), strict=True):
            numbers[f"video/{name}_{statistic}"] = value
    both = (numbers["video/j_mean"] + numbers["video/f_mean"]) / 2
    return {"video/jf_mean": both, **numbers}


def _films_of(data, split=None):
    """The `FilmSource` that is judged, or None."""
    if split is not None:
        source = data.split(split)
        if source is None:
            raise UserError(f"{data.spec} has no split {split!r}; allowed: train")
    else:
        source = data.test if isinstance(data.test, FilmSource) else data.train
    return source if isinstance(source, FilmSource) else None


def _chosen(source, names):
    """Films of these names, or all."""
    there = {film.name: film for film in source.films}
    for name in names or ():
        if name not in there:
            raise UserError(
                f"sequences: got {name!r}; allowed: {', '.join(list(there)[:12])}"
                + (", ..." if len(there) > 12 else "")
            )
    return [there[n] for n in dict.fromkeys(names)] if names else source.films


def _details(film, found):
    """What the file tells of a film."""
    objects = {}
    for row, number in enumerate(found["numbers"].tolist()):
        objects[str(number)] = {}
        for name in ("j", "f") if len(found["places"]) else ():
            statistics = track_statistics(found[name][row])
            for statistic, value in zip(STATISTICS, statistics, strict=True):
                objects[str(number)][f"{name}_{statistic}"] = 100 * value
    numbers = summarise({film: found})
    return {
        "frames": len(film),
        "judged": len(found["places"]),
        "jf_mean": numbers.get("video/jf_mean"),
        "objects": objects,
    }


def _notes(source, chosen, judged):
    """Lines on the films, frames and objects that do not count, and why."""
    notes = []
    if source.absent:
        notes.append(_some("films of the list have no frames here", source.absent))
    unstarted = [film.name for film in chosen if film not in judged]
    if unstarted:
        words = "films left out, as their first frame or its mask is missing"
        notes.append(_some(words, unstarted))
    empty = [f.name for f, found in judged.items() if not len(found["numbers"])]
    if empty:
        notes.append(_some("films not judged: no object in the first frame", empty))
    short = [f.name for f, found in judged.items() if not len(found["places"])]
    if short:
        words = "films not judged: no frame between first and last has a mask"
        notes.append(_some(words, short))
    unread = [source.id(p) for found in judged.values() for p in found["unread"]]
    if unread:
        words = "frames cannot be read and have the mask of the frame before"
        notes.append(_some(words, unread))
    return notes


def _some(words, names):
    """`2 films of the list ...: bear, camel`."""
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {words}: {shown}"
