"""How a CSV file is written, found from its first bytes: encoding, separator and header.

What cannot be read is refused by name, with the flag that helps. Arrow reads the bytes themselves.
"""

import codecs
import csv
import re
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from switchyard.core.data.columns import list_wanted
from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec

HEAD_BYTES: Final = 64 * 1024
"""How much of a file is looked at."""
PARQUET_MAGIC: Final = b"PAR1"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ROWS: Final = 100
_SEPARATORS: Final = (",", ";", "\t", "|")
_SEPARATOR_NAMES: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# Source: each format's own description of its first bytes.
_OTHERS: Final = (
    (b"PK\x03\x04", "a ZIP or Excel file: save it as CSV or Parquet"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file: save it as CSV or Parquet"),
    (b"BZh", "packed with bzip2: pack it with gzip, or not at all"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: pack it with gzip, or not at all"),
    (b"\xfd7zXZ", "packed with xz: pack it with gzip, or not at all"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV or Parquet"),
    (b"ORC", "an ORC file: convert it to Parquet"),
    (b"Obj\x01", "an Avro file: convert it to Parquet"),
    (b"ARROW1", "an Arrow (Feather) file: convert it to Parquet"),
)


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one CSV file is written."""

    encoding: str  # Python's name
    separator: str
    columns: tuple[str, ...]
    has_header: bool
    rows: tuple[tuple[str, ...], ...]  # the first ones, without the header
    hint: str = ""  # what may be wrong where a column is missing


def read_dialect(head: bytes, spec: TrainSpec, *, is_whole: bool) -> Dialect:
    """Returns how the file that begins with `head` is written, as `spec` says or as `head` shows.

    Args:
        is_whole: `head` is all of the file; else its last line may be cut.

    Raises:
        BadRequest: it is not a CSV file, its text is in another encoding, or `spec` and the file contradict each other.
    """
    if head.startswith(_GZIP_MAGIC):
        head, is_whole = _unpack(head), False
    for magic, what in _OTHERS:
        if head.startswith(magic):
            raise BadRequest(f"it is not a Parquet or CSV file but {what}")
    if not head.strip():
        raise BadRequest("the file is empty. Give a Parquet file, or a CSV file with a header")
    encoding = _choose_encoding(head, spec)
    # Not str.splitlines: it knows separators of lines that are none to Arrow.
    lines = re.split(r"\r\n|\n|\r", _decode(head, encoding, is_whole=is_whole))
    lines = [line for line in lines[: len(lines) if is_whole or len(lines) == 1 else -1] if line.strip()]
    is_cut = not is_whole or len(lines) > _ROWS
    lines = lines[:_ROWS]
    if lines and lines[0].lstrip().startswith(("{", "[")):
        raise BadRequest("it looks like JSON. Convert it to CSV or Parquet")
    names = tuple(name.strip() for name in spec.csv_columns.split(",")) if spec.csv_columns else ()
    separator = _to_separator(spec) or _choose_separator(lines, spec, names)
    rows = _split(lines, separator)
    rows = rows[:-1] if is_cut and len(rows) > 2 else rows  # a quoted cell may go on after the cut
    if not names:
        return Dialect(
            encoding=encoding,
            separator=separator,
            columns=rows[0],
            has_header=True,
            rows=tuple(rows[1:]),
            hint=_to_hint(rows[0], separator),
        )
    if len(rows[0]) != len(names):
        raise BadRequest(
            f"--csv-columns names {len(names)} columns; the first line has {len(rows[0])}: {_shown(rows[0])}. Name "
            "each, in the file's order"
        )
    if rows[0] == names:
        raise BadRequest(
            "the first line has the names of --csv-columns, so the file has a header. Leave --csv-columns out"
        )
    return Dialect(encoding=encoding, separator=separator, columns=names, has_header=False, rows=tuple(rows))


def to_encoding_problem(where: str) -> str:
    """Returns what is said of text that is not UTF-8."""
    return (
        f"it is not UTF-8: {where}. Say how the file is encoded: --csv-encoding cp1252 (Windows, Excel), latin-1, "
        "utf-16"
    )


def _unpack(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error as err:
        raise BadRequest(f"its first bytes say that it is a gzip file, but it cannot be unpacked: {err}") from err


def _choose_encoding(head: bytes, spec: TrainSpec) -> str:
    if spec.csv_encoding:
        return spec.csv_encoding
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    if b"\x00" in head[:1000]:
        guess = "utf-16-le" if head[1:2] == b"\x00" else "utf-16-be"
        raise BadRequest(to_encoding_problem("there are zero bytes in it").replace("cp1252", f"{guess}, cp1252"))
    return "utf-8"


def _decode(head: bytes, encoding: str, *, is_whole: bool) -> str:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head, final=is_whole)
    except UnicodeDecodeError as err:
        where = f"byte {err.object[err.start]:#04x} at {err.start} is not"
        if encoding.startswith("utf-8"):
            raise BadRequest(to_encoding_problem(where)) from err
        raise BadRequest(f"it is not in {encoding}, the encoding that --csv-encoding names: {where}") from err


def _to_separator(spec: TrainSpec) -> str:
    return _SEPARATOR_NAMES.get(spec.csv_separator, spec.csv_separator)


def _choose_separator(lines: Sequence[str], spec: TrainSpec, names: Sequence[str]) -> str:
    """Returns the separator that gives the columns that are looked for.

    Else the one that gives each line the same number of columns, the most; else the comma.
    """
    wanted = set(list_wanted(spec).values())

    def rank(separator: str) -> tuple[int, bool, int]:
        rows = _split(lines, separator)
        widths = {len(row) for row in rows}
        found = len(rows[0]) == len(names) if names else len(wanted & set(rows[0]))
        return found, len(widths) == 1, len(rows[0]) if len(widths) == 1 else 0

    return max(_SEPARATORS, key=rank)  # of equals the first


def _split(lines: Sequence[str], separator: str) -> list[tuple[str, ...]]:
    try:
        return [tuple(row) for row in csv.reader(lines, delimiter=separator)]
    except csv.Error as err:
        raise BadRequest(f"it cannot be read as CSV: {err}") from err


def _to_hint(header: Sequence[str], separator: str) -> str:
    if any(is_number(cell) for cell in header):
        names = ",".join(f"name{number}" for number in range(1, len(header) + 1))
        return (
            f". The first line looks like data: where the file has no header, name its {len(header)} columns in order: "
            f"--csv-columns {names}"
        )
    if len(header) == 1:
        return f". No {separator!r} is in the first line: say what separates the columns with --csv-separator"
    return ""


def is_number(text: str, decimal: str = ".") -> bool:
    """Returns whether a cell is a number, with `decimal` before its fraction."""
    try:
        float(text.replace(decimal, ".") if decimal != "." else text)
    except ValueError:
        return False
    return True


def _shown(row: Sequence[str]) -> str:
    return ", ".join(repr(cell[:40]) for cell in row[:10]) + (", ..." if len(row) > 10 else "")
