"""Reads API_TOKENS_FILE, the hashes of the tokens that let programs and people in, whenever it changes."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from switchyard.core.access.tokens import Token, read_tokens, write_tokens
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, to_message

_log = logging.getLogger("switchyard.access")

MODE: Final = 0o600
_Mark = tuple[int, int, int]


class TokenFile:
    """The tokens of the file at `path`. Safe for several threads.

    A server must start with a good file. Later a bad one does not lock everyone out: the last good tokens stay, until
    their own ends, and `problem` says why.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file. Raises: BadSetup: there is no file, or it is not one of tokens."""
        self.path = path
        self.problem = ""
        self._lock = Lock()
        self._mark = _read_mark(path)
        try:
            self._tokens = _read(path)
        except (OSError, BadRecord) as err:
            raise BadSetup(
                f"the tokens of API_TOKENS_FILE cannot be read: {to_message(err)}. Make it with a first token: "
                "switchyard token --name <name>"
            ) from err

    def __repr__(self) -> str:
        return f"TokenFile({str(self.path)!r}, {len(self._tokens)} tokens)"

    @property
    def tokens(self) -> Sequence[Token]:
        """Returns the file's tokens as they are now; costs one look at its size and time while it does not change."""
        mark = _read_mark(self.path)
        if mark != self._mark:
            with self._lock:
                if mark != self._mark:
                    self._reload(mark)
        return self._tokens

    def _reload(self, mark: _Mark | None) -> None:
        try:
            self._tokens, self.problem = _read(self.path), ""
            _log.warning("%s has changed: %d tokens are in use", self.path, len(self._tokens))
        except (OSError, BadRecord) as err:
            self.problem = to_message(err)
            _log.error("%s; the %d tokens read before stay in use", self.problem, len(self._tokens))
        # The mark is of the file before it was read: one that changes meanwhile is read once more.
        self._mark = mark


def add_token(path: Path, token: Token) -> None:
    """Adds `token` to the file, and makes the file if it is missing. A second call is refused: its name is taken.

    Raises: BadRequest: a token of that name is there; BadRecord: it is not a file of tokens; BadSetup: not writable."""

    def add(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        if any(known.name == token.name for known in tokens):
            raise BadRequest(
                f"{path} has a token named {token.name!r} already. Choose another --name, or revoke that one first: "
                f"switchyard token --revoke {token.name}"
            )
        return (*tokens, token)

    _change(path, add)


def revoke_token(path: Path, name: str) -> None:
    """Takes the token out of the file; running servers refuse it from their next request on. A second call finds none.

    Raises: NotFound: no token has that name; BadRecord, BadSetup, as `add_token`."""

    def remove(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        left = tuple(token for token in tokens if token.name != name)
        if len(left) == len(tokens):
            raise NotFound(f"{path} has no token named {name!r}. To list its tokens: switchyard token --list")
        return left

    _change(path, remove)


def list_tokens(path: Path) -> tuple[Token, ...]:
    """Returns all tokens of the file, also expired ones; none: there is no file. Raises: BadRecord; BadSetup."""
    try:
        return _read(path)
    except FileNotFoundError:
        return ()
    except OSError as err:
        raise BadSetup(f"{path} cannot be read: {err.strerror}. Let this user read it") from err


def _change(path: Path, change: Callable[[tuple[Token, ...]], tuple[Token, ...]]) -> None:
    """Writes the file whole, under a lock, so that only its owner can read it."""
    real = Path(os.path.realpath(path))  # a link stays a link
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        with _locked(real):
            tokens = change(list_tokens(real))
            _write(real, write_tokens(tokens))
    except OSError as err:
        raise BadSetup(f"{path} cannot be written: {err.strerror}. Let this user write to its folder") from err


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, data: bytes) -> None:
    # Only their owner can read mkstemp's files.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[Token, ...]:
    return read_tokens(path.read_bytes(), str(path))


def _read_mark(path: Path) -> _Mark | None:
    """Returns what changes when the file does; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
