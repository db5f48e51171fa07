"""Features with names and labels as NumPy, CSV and Parquet files.

A million photos do not fit into memory: every format is written part by part.
"""

import csv
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_tf.embed_rows import INDEX, Rows
from dino_tf.errors import UserError
from dino_tf.spreadsheets import harmless

# Digits that give every number back as it was.
DIGITS = {"float32": "%.9g", "float16": "%.5g"}
NO_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass
class Table:
    """What is written: a row for each photo that can be read.

    Attributes:
        rows: `Rows` of the features.
        about: Function of a place that returns (split, name, classes), the last a
            sorted tuple of numbers.
        class_names: Empty without labels.
        single: Whether no photo has more than one class.
        facts: What the features are of, for JSON.
    """

    rows: Rows
    about: object
    class_names: tuple
    single: bool
    facts: dict

    @property
    def features(self):
        """{name: `Column`} of the features."""
        return {n: c for n, c in self.rows.columns.items() if n != INDEX}

    def texts(self, place):
        """(split, name, class numbers, class names) of a photo."""
        split, name, classes = self.about(int(place))
        return split, name, classes, [self.class_names[k] for k in classes]


def write_npz(table, file):
    """Writes one array for each column: what `numpy.load` reads, without pickles."""
    index = (INDEX,)
    longest = [1, 1]
    for chunk in table.rows.chunks(index):
        for place in chunk[INDEX]:
            sizes = map(len, table.about(int(place))[:2])
            longest = [max(pair) for pair in zip(longest, sizes, strict=True)]

    def column(take, dtype, shape=()):
        dtype = np.dtype(dtype)
        chunks = (
            np.array([take(*table.about(int(p))) for p in chunk[INDEX]], dtype)
            for chunk in table.rows.chunks(index)
        )
        return dtype, (table.rows.count, *shape), chunks

    def known(values):
        values = np.array(values)
        return values.dtype, values.shape, [values]

    members = {
        "names": column(lambda split, name, classes: name, f"<U{longest[1]}"),
        "splits": column(lambda split, name, classes: split, f"<U{longest[0]}"),
    }
    if table.class_names:
        members |= {"labels": _labels(table, column)}
        members |= {"class_names": known(table.class_names)}
    for name, kind in table.features.items():
        chunks = (chunk[name] for chunk in table.rows.chunks((name,)))
        members[name] = np.dtype(kind.dtype), (table.rows.count, *kind.shape), chunks
    members["facts"] = known(json.dumps(table.facts))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, member in members.items():
            _write_member(archive, name, *member)


def _labels(table, column):
    """int64 (N,), -1 without one; or bool (N, C) where photos have several."""
    if table.single:
        return column(lambda *about: about[2][0] if about[2] else -1, "<i8")
    every = np.arange(len(table.class_names))
    return column(lambda *about: np.isin(every, about[2]), bool, every.shape)


def _write_member(archive, name, dtype, shape, chunks):
    """One array of an .npz file; the date is none, so that equal files are equal."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    info = zipfile.ZipInfo(f"{name}.npy", NO_DATE)
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_2_0(member, header)
        for chunk in chunks:
            member.write(np.ascontiguousarray(chunk).tobytes())


def write_csv(table, file):
    """Writes a line for each photo, or for each patch where patches are asked for.

    Names that begin as formulas do get a ' in front; see `harmless`. All else is
    RFC 4180: UTF-8, commas, quotes where they are needed.
    """
    texts = ["name", "split", *(["label", "class"] if table.class_names else [])]
    of_patches = list(table.features) == ["patches"]
    with open(file, "w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\r\n")
        numbers = [
            f"{name}_{k}"
            for name, column in table.features.items()
            for k in range(column.shape[-1])
        ]
        writer.writerow([*texts, *(["patch"] if of_patches else []), *numbers])
        for chunk in table.rows.chunks((INDEX, *table.features)):
            for row, place in enumerate(chunk[INDEX]):
                cells = _cells(table, place)
                features = [chunk[name][row] for name in table.features]
                if of_patches:
                    for number, patch in enumerate(features[0]):
                        writer.writerow([*cells, number, *_digits([patch])])
                else:
                    writer.writerow([*cells, *_digits(features)])


def _cells(table, place):
    split, name, classes, names = table.texts(place)
    cells = [harmless(name), harmless(split)]
    if table.class_names:
        cells += ["|".join(map(str, classes)), harmless("|".join(names))]
    return cells


def _digits(features):
    """The numbers of a row as texts that give them back exactly."""
    return [DIGITS[str(f.dtype)] % value for f in features for value in f.tolist()]


def write_parquet(table, file):
    """Writes columns of lists of fixed length; patches lie one after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"float32": pa.float32(), "float16": pa.float16()}
    fields = [("name", pa.string()), ("split", pa.string())]
    if table.class_names:
        whole, text = pa.int64(), pa.string()
        one = table.single
        fields += [("label", whole if one else pa.list_(whole))]
        fields += [("class", text if one else pa.list_(text))]
    for name, column in table.features.items():
        width = int(np.prod(column.shape))
        kind = kinds[str(np.dtype(column.dtype))]
        fields.append((name, pa.list_(pa.field("item", kind), width)))
    facts = {"dino_tf": json.dumps(table.facts)}
    schema = pa.schema(fields, metadata=facts)
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in table.rows.chunks((INDEX, *table.features)):
            arrays = _arrow_columns(table, chunk, schema)
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _arrow_columns(table, chunk, schema):
    """Arrow arrays of some rows, in the order of the schema."""
    import pyarrow as pa

    about = [table.texts(place) for place in chunk[INDEX]]
    columns = {"name": [a[1] for a in about], "split": [a[0] for a in about]}
    for name, at in (("label", 2), ("class", 3)):
        values = [list(a[at]) for a in about]
        columns[name] = (
            [v[0] if v else None for v in values] if table.single else values
        )
    arrays = []
    for field in schema:
        if field.name in table.features:
            flat = pa.array(chunk[field.name].ravel(), field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        else:
            arrays.append(pa.array(columns[field.name], field.type))
    return arrays


FORMATS = {".npz": write_npz, ".csv": write_csv, ".parquet": write_parquet}


def format_of(out, tokens):
    """Function of (`Table`, file) that writes a file with this suffix.

    Raises:
        UserError: There is no such format, its package is missing, or it cannot hold
            these tokens.
    """
    suffix = Path(out).suffix
    if suffix not in FORMATS:
        raise UserError(f"--out: got {out}, allowed: a new {', '.join(FORMATS)} file")
    if suffix == ".csv" and "patches" in tokens and len(tokens) > 1:
        raise UserError(
            f"--tokens: got {' '.join(tokens)}, allowed in .csv: patches "
            "alone, a line each, or cls and mean"
        )
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UserError(f"{out} needs: pip install pyarrow") from error
    return FORMATS[suffix]
