"""The messages between the server and a loader's process: JSON frames, each after its length.

The server never trusts what it reads. It takes only these messages, none longer than `MAX_REPLY_BYTES`, and no part
longer than the limits here. A loader keeps to the limits, and says so if an answer is too long (`encode_reply`).
"""

from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO, Final

import msgspec

from switchyard.core.predictions.signature import MAX_SAID, Row, Signature

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
MAX_LISTS: Final = 200_000
"""The most lists and objects in one reply. No other request is answered while it is decoded: this many take a fraction
of a second, but 4 MiB of empty lists took 2 s."""
LENGTH_BYTES: Final = 4
MAX_PROBLEMS: Final = 20

Said = Annotated[str, msgspec.Meta(max_length=MAX_SAID)]


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The first message to the process: what to read, and within which limits."""

    folder: str
    flavor: str
    paths: list[str]  # the files below the folder; the loader reads no others
    pickles: list[str] = []  # those that the operator allows to be read as pickles
    tokenizer: str = ""  # the file of a text model's tokenizer; empty: tokenizer.json, if it is there
    scratch: str  # a folder where it may make files, but only empty ones
    memory_bytes: int
    load_s: float
    answer_s: float


class Ask(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Every later message to the process: rows to answer."""

    rows: list[Row]


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The model is loaded."""

    signature: Signature
    library: Said  # what reads it, with its version
    unconfined: Annotated[
        list[Said], msgspec.Meta(max_length=MAX_PROBLEMS)
    ] = []  # what the kernel could not restrict; empty: nothing


class Answers(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """One answer for each row, in order."""

    values: list[Any]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """The model was not loaded, or the rows were not answered."""

    problems: Annotated[list[Said], msgspec.Meta(max_length=MAX_PROBLEMS)]
    is_setup: bool = False  # True: the model is fine, but this machine lacks the library


Order = Load | Ask
Reply = Ready | Answers | Refused


def encode(message: Order | Reply) -> bytes:
    """Returns one message as it is sent."""
    data = msgspec.json.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def refuse(problems: Sequence[str], *, is_setup: bool = False) -> Refused:
    """Returns a refusal with the first problems, each cut to the length that the server reads."""
    return Refused(problems=[problem[:MAX_SAID] for problem in problems[:MAX_PROBLEMS]], is_setup=is_setup)


def encode_reply(reply: Reply) -> bytes:
    """Returns what `encode` returns; a reply that is too long for the server is replaced by a refusal that says so."""
    data = encode(reply)
    found = _find_too_many(data[LENGTH_BYTES:])
    if not found:
        return data
    is_answer = isinstance(reply, Answers)
    said = f"the answer has {found}; send fewer rows" if is_answer else f"the model's description has {found}"
    return encode(refuse([said]))


def _find_too_many(data: bytes) -> str:
    """Returns what there is too much of, in words; brackets within texts count too, because a text has few."""
    lists = data.count(b"[") + data.count(b"{") if len(data) <= MAX_REPLY_BYTES else 0
    for count, most, unit in ((len(data), MAX_REPLY_BYTES, "bytes"), (lists, MAX_LISTS, "lists")):
        if count > most:
            return f"{count:,} {unit}, but may have at most {most:,}"
    return ""


def decode_reply(data: bytes) -> Reply:
    """Returns the reply in `data`, which is without its length. Raises: ValueError: it is none of these messages."""
    if too_many := _find_too_many(data):
        raise ValueError(f"a message of {too_many}")
    found: Reply = msgspec.json.decode(data, type=Reply)
    return found


def read_order(file: BinaryIO) -> Order | None:
    """Returns the next message to the process; None: the input has ended."""
    head = file.read(LENGTH_BYTES)
    data = file.read(int.from_bytes(head, "big"))
    if not data:
        return None
    found: Order = msgspec.json.decode(data, type=Order)
    return found
