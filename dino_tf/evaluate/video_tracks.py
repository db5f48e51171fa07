"""Films that are judged one after the other; their masks wait on the disk."""

import pathlib
import tempfile
from dataclasses import asdict
from functools import partial

import numpy as np

from dino_tf.analysis.mask_tracks import boundary_accuracy, region_similarity
from dino_tf.datasets.film import object_numbers
from dino_tf.evaluate.label_propagation import Propagator, resize_nearest
from dino_tf.evaluate.masked import check_shapes, read_photo
from dino_tf.evaluate.video_files import save_mask

# To be raised when the same films and weights give other numbers than before.
VERSION = 1


class FilmTracks:
    """What one network makes of the films of a source.

    Numbers are kept in the subject's store, masks in a folder that goes with this
    object, or with `close`. Of a film no more than a few frames are in memory.

    Args:
        subject: `Subject`.
        source: `FilmSource`.
        settings: `dino_tf.evaluate.label_propagation.Propagation`.
        films: Those of the source's films that are judged.
    """

    def __init__(self, subject, source, settings, films):
        self.subject, self.source, self.settings = subject, source, settings
        self.films = films
        self._folder = tempfile.TemporaryDirectory(prefix="dino_tf-masks-")
        self._propagator = Propagator(
            subject.backbone, settings, subject.mean, subject.std
        )

    def judged(self):
        """What is known of each film that can be propagated.

        Returns:
            {`Film`: {"numbers": (n,), of the objects in the first frame; "places":
            (T,), of the judged frames in the source; "j", "f": float64 (n, T), shares
            of 1; "unread": (m,), places of frames that cannot be read}}.
        """
        frames = sum(map(len, self.films))
        self._propagator.expect(frames)
        bar = self.subject.progress(frames, f"masks of {self.source.name}")
        judged, options = {}, {"version": VERSION, **asdict(self.settings)}
        shared = self.subject.depends(self.source, **options)
        for film in self.films:
            depends = {**shared, "film": film.name}
            judge = partial(self._judge, film, bar.add)
            kept = self.subject.store.kept("video", depends)
            found = kept or self.subject.store.arrays("video", depends, judge)
            bar.add(len(film) if kept else 0)
            if found["started"]:
                judged[film] = found
        return judged

    def masks_of(self, film):
        """Folder of a film's masks, which are made now where they were not yet."""
        folder = self._folder_of(film)
        if not folder.is_dir():
            self._judge(film, lambda count: None)
        return folder

    def close(self):
        """Removes all masks."""
        self._folder.cleanup()

    def _folder_of(self, film):
        return pathlib.Path(self._folder.name) / film.name

    def _judge(self, film, done):
        """Propagates one film, keeps its masks, and judges them: see `judged`."""
        objects = self.source.objects(film.start)
        image = read_photo(self.source, film.start)
        started = objects is not None and image is not None
        numbers = object_numbers(objects) if started else []
        places, unread, values = [], [], []
        if started:
            for place, mask, is_read in self._masks(film, objects, image):
                measured = self._measured(film, place, mask, numbers)
                if measured is not None:
                    places.append(place)
                    values.append(measured)
                if not is_read:
                    unread.append(place)
                done(1)
        done(1 if started else len(film))
        shape = (len(places), 2, len(numbers))
        j, f = np.reshape(np.array(values, np.float64), shape).transpose(1, 2, 0)
        found = {"numbers": numbers, "places": places, "unread": unread}
        found = {name: np.array(values, np.int64) for name, values in found.items()}
        return {"started": np.array(started), "j": j, "f": f, **found}

    def _masks(self, film, objects, image):
        """What the propagator yields; every mask is written, the first one as well."""
        palette, folder = self.source.palette(film), self._folder_of(film)
        save_mask(folder / f"{film.stems[0]}.png", objects, palette)
        for found in self._propagator.masks(self.source, film, image):
            place, mask, _ = found
            name = f"{film.stems[place - film.start]}.png"
            save_mask(folder / name, mask, palette)
            yield found

    def _measured(self, film, place, mask, numbers):
        """[J of each object, F of each] in a frame; None where it is not judged."""
        truth = self.source.objects(place) if place < film.stop - 1 else None
        if truth is None:
            return None
        check_shapes(mask, truth, self.source.id(place))
        mask = resize_nearest(mask, truth.shape)
        pairs = [(mask == number, truth == number) for number in numbers]
        return [
            [measure(found, true) for found, true in pairs]
            for measure in (region_similarity, boundary_accuracy)
        ]
