"""What the server and the process of a loader say to each other: frames of JSON, each behind its length.

The server never trusts what it reads: only these messages, and none longer than `MAX_FRAME_BYTES`.
"""

from typing import Any, BinaryIO, Final

import msgspec

from switchyard.core.predictions.signature import Row, Signature

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
LENGTH_BYTES: Final = 4


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The first message to the process: what to read, and within which bounds."""

    folder: str
    flavor: str
    paths: list[str]  # the files below the folder; the loader looks for no others
    pickles: list[str] = []  # those of the files that the operator lets be read as pickles
    scratch: str  # a folder where it may make files, all of them empty
    memory_bytes: int
    load_s: float
    answer_s: float


class Ask(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Every later one: rows to answer."""

    rows: list[Row]


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The model is loaded."""

    signature: Signature
    library: str  # what reads it, with its version
    unconfined: list[str] = []  # what the kernel could not keep its process from; empty: nothing


class Answers(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """One for each row, in order."""

    values: list[Any]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """It was not loaded, or these rows were not answered."""

    problems: list[str]
    is_setup: bool = False  # nothing is wrong with the model: this machine lacks what reads it


Order = Load | Ask
Reply = Ready | Answers | Refused


def encode(message: Order | Reply) -> bytes:
    """One message, as it is sent."""
    data = msgspec.json.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def decode_reply(data: bytes) -> Reply:
    """What the process said, without its length. Raises: ValueError: it is none of these messages."""
    found: Reply = msgspec.json.decode(data, type=Reply)
    return found


def read_order(file: BinaryIO) -> Order | None:
    """The next message to the process; None: there comes none."""
    head = file.read(LENGTH_BYTES)
    data = file.read(int.from_bytes(head, "big"))
    if not data:
        return None
    found: Order = msgspec.json.decode(data, type=Order)
    return found
