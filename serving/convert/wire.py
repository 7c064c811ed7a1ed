"""What the command and its confined process say to each other: one JSON text each way."""

from typing import Any

import msgspec

from switchyard.core.predictions.signature import Row


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to make. Both files are in `scratch`, the only folder that the process may write to."""

    parent: int  # the command's process: this one ends with it
    scratch: str
    pickle: str
    target: str
    kind: str
    rows_csv: str | None  # the text of --rows
    count: int  # rows to make up, where there is no text
    memory_bytes: int
    file_bytes: int
    seconds: float


class Made(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of the conversion."""

    problems: list[str]  # empty: the file is made
    class_name: str = ""
    library: str = ""
    rows: list[Row] = []
    answers: list[Any] = []  # the old model's
    unconfined: list[str] = []  # what the kernel could not be asked for
