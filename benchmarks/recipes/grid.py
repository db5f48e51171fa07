"""The YAML file of a study: sources, settings, seeds."""

import dataclasses
import re

import yaml
from trials import OWN, recipe_of

from dino_tf import settings as fields
from dino_tf.config import FIELDS
from dino_tf.errors import UserError

KEYS = ("about", "photos_seen", "seeds", "against", "base", "sources", "settings")
SOURCE_KEYS = ("data", "values", "photos_seen")
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        source: Name of the source.
        setting: Name of the setting.
        seed: Seed of the run.
        data: SPEC of the source.
        photos_seen: Photos of the whole training, epochs times photos.
        values: Dotted keys of the configuration and their values.
        final: Trained on all training photos and judged by the test photos.
    """

    source: str
    setting: str
    seed: int
    data: str
    photos_seen: int
    values: dict
    final: bool

    @property
    def name(self):
        """Source, setting and seed."""
        last = "-final" if self.final else ""
        return f"{self.source}/{self.setting}/{self.seed}{last}"


@dataclasses.dataclass(frozen=True)
class Grid:
    """A study as its file tells it.

    Attributes:
        about: What it is for.
        photos_seen: Photos of a training, where a source has no number of its own.
        seeds: Of every setting.
        against: Setting that the others are compared with.
        base: Values of all trainings.
        sources: {name: {"data", "values", "photos_seen"}}.
        settings: {name: values that differ from the base}.
    """

    about: str
    photos_seen: int
    seeds: list
    against: str
    base: dict
    sources: dict
    settings: dict

    def has(self, result):
        """Whether a result is of this grid as it stands, and not of other values."""
        source = self.sources.get(result["source"])
        own = self.settings.get(result["setting"])
        if source is None or own is None:
            return False
        seen = source["photos_seen"] or self.photos_seen
        values = {**self.base, **source["values"], **own}
        same = result["photos_seen"] == seen and result["values"] == values
        same = same and result.get("recipe") == recipe_of(values)
        # Without `--data` it is any; results of older versions do not tell theirs.
        datas = {source["data"], result.get("data")} - {None}
        return same and len(datas) < 2

    def trials(self, only=None, sources=None, seeds=None, final=False):
        """All `Trial`s, seed by seed, so that one seed of everything comes first.

        Args:
            only: Names of settings; None takes all.
            sources: Names of sources; None takes all that have their photos.
            seeds: Numbers; None takes those of the grid.
            final: See `Trial`.

        Raises:
            UserError: A name is unknown, or a source that is asked for, or all of
                them, have no photos.
        """
        names = _known(only, self.settings, "setting")
        places = _known(sources, self.sources, "source")
        if all(self.sources[place]["data"] is None for place in places):
            sources = places
        for seed in seeds or self.seeds:
            for place in places:
                source = self.sources[place]
                if source["data"] is None:
                    if sources is None:
                        continue
                    raise UserError(f"source {place}: give --data {place}=SPEC")
                for name in names:
                    yield Trial(
                        place,
                        name,
                        seed,
                        source["data"],
                        source["photos_seen"] or self.photos_seen,
                        {**self.base, **source["values"], **self.settings[name]},
                        bool(final),
                    )


def read(path, data=(), replaced=()):
    """A grid from its file.

    Args:
        path: YAML file.
        data: "NAME=SPEC" of sources.
        replaced: "KEY=VALUE" of the base; the value is read as YAML.

    Raises:
        UserError: The file is no such grid: one line that names what is wrong.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    _check_keys(path, text)
    _check_types(path, text)
    given = dict(_named(entry, "--data", "NAME=SPEC") for entry in data)
    sources = {
        name: _source(path, name, entry or {}, given.pop(name, None))
        for name, entry in text["sources"].items()
    }
    if given:
        raise UserError(f"--data {min(given)}: allowed: {', '.join(sources)}")
    settings = {
        name: _values(f"{path}: settings: {name}", entry)
        for name, entry in text["settings"].items()
    }
    against = text.get("against", next(iter(settings)))
    _known([against], settings, "against")
    pairs = [_named(entry, "--set", "KEY=VALUE") for entry in replaced]
    base = _values(f"{path}: base", text.get("base"))
    base |= _values("--set", {key: _yaml(key, value) for key, value in pairs})
    for key, _ in pairs:
        if all(key in values for values in settings.values()):
            raise UserError(f"--set {key}: every setting has a value of its own")
    for key, value in base.items():
        if value is None:
            raise UserError(f"{path}: base: {key} is left open; give --set {key}=VALUE")
    about, seen = str(text.get("about", "")), text["photos_seen"]
    return Grid(about, seen, text.get("seeds", [0]), against, base, sources, settings)


def _check_types(path, text):
    """Raises `UserError` unless sections have names, and seeds are numbers."""
    for section in ("sources", "settings", "base"):
        if not isinstance(text.get(section) or {}, dict):
            raise UserError(f"{path}: {section}: got a list or a word; allowed: names")
    for section in ("sources", "settings"):
        for name in text[section]:
            if not (isinstance(name, str) and NAME.fullmatch(name)):
                raise UserError(f"{path}: name {name!r}; allowed: {NAME.pattern}")
    against = text.get("against", "")
    if not isinstance(against, str):
        raise UserError(f"{path}: against: got {against!r}; allowed: a name")
    seeds = text.get("seeds", [0])
    if not (isinstance(seeds, list) and seeds and all(type(s) is int for s in seeds)):
        raise UserError(f"{path}: seeds: got {seeds!r}; allowed: [0, 1, 2]")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds: got {seeds}; allowed: each once")
    _check_photos_seen(path, text["photos_seen"])


def _check_photos_seen(where, number):
    if type(number) is not int or number < 1:
        words = "a whole number from 1, such as 20000"
        raise UserError(f"{where}: photos_seen: got {number!r}; allowed: {words}")


def _check_keys(path, text):
    if not isinstance(text, dict):
        raise UserError(f"{path}: expected sections {', '.join(KEYS)}")
    for key in text:
        if key not in KEYS:
            raise UserError(f"{path}: got {key!r}, allowed: {', '.join(KEYS)}")
    for key in ("photos_seen", "sources", "settings"):
        if not text.get(key):
            raise UserError(f"{path}: lacks {key}")


def _source(path, name, entry, given):
    where = f"{path}: sources: {name}"
    allowed = ", ".join(SOURCE_KEYS)
    if not isinstance(entry, dict):
        raise UserError(f"{where}: got {entry!r}, allowed: {allowed}")
    for key in entry:
        if key not in SOURCE_KEYS:
            raise UserError(f"{where}: got {key!r}, allowed: {allowed}")
    if "photos_seen" in entry:
        _check_photos_seen(where, entry["photos_seen"])
    if not isinstance(entry.get("data", ""), str):
        words = "text, such as folder:photos"
        raise UserError(f"{where}: data: got {entry['data']!r}; allowed: {words}")
    return {
        "data": given or entry.get("data"),
        "values": _values(where, entry.get("values")),
        "photos_seen": entry.get("photos_seen"),
    }


def _values(where, entry):
    """Dotted keys, all of them of the configuration."""
    entry = entry or {}
    if not isinstance(entry, dict):
        raise UserError(f"{where}: got {entry!r}; allowed: settings and their values")
    for key in entry:
        if key not in FIELDS:
            near = fields.nearest(str(key), FIELDS)
            raise UserError(f"{where}: got {key!r}; {near}")
        if key in OWN:
            raise UserError(f"{where}: got {key}; {OWN[key]}")
    return dict(entry)


def _named(entry, option, form):
    name, equals, spec = entry.partition("=")
    if not (name and equals and spec):
        raise UserError(f"{option}: got {entry!r}, allowed: {form}")
    return name, spec


def _yaml(key, value):
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {key}: {' '.join(str(error).split())}") from error


def _known(names, allowed, what):
    if names is None:
        return list(allowed)
    for name in names:
        if name not in allowed:
            raise UserError(f"{what}: got {name!r}, allowed: {', '.join(allowed)}")
    return names
