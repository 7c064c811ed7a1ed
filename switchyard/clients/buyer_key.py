"""Reads BUYER_KEY_FILE: the key under which buyers' ids are hashed. The default file is made once for each machine."""

import os
import secrets
import tempfile
from pathlib import Path

from switchyard.clients.settings import BUYER_KEY, Settings
from switchyard.core.errors import BadSetup, to_message
from switchyard.core.predictions.feedback import MIN_BUYER_KEY_BYTES

_MAX_BYTES = 4_096


def read_buyer_key(settings: Settings) -> bytes:
    """Returns the key. The default file is made at the first call, for its owner alone.

    If many calls come at once, one makes it, and all return the same.

    Raises: BadSetup: a file that is named is missing, or it cannot be read or made, or holds no key."""
    path = Path(settings.buyer_key_file)
    is_ours = path == Path(settings.state_dir) / BUYER_KEY
    try:
        if is_ours and not path.exists():
            _make(path)
        with path.open("rb") as file:
            key = file.read(_MAX_BYTES + 1).strip()
    except OSError as err:
        made = f"{to_message(err)}. Make one file for all servers: openssl rand -hex 32 > {path}"
        raise BadSetup(f"the key of BUYER_KEY_FILE cannot be read: {made}") from err
    if not MIN_BUYER_KEY_BYTES <= len(key) <= _MAX_BYTES:
        raise BadSetup(
            f"{path} (BUYER_KEY_FILE) holds {len(key)} bytes; a key has {MIN_BUYER_KEY_BYTES} to {_MAX_BYTES}. Make "
            f"it: openssl rand -hex 32 > {path}"
        )
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: mkstemp's files are their owner's alone, and a link never replaces what is there.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(MIN_BUYER_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(part)
    except FileExistsError:
        return  # another process has made it meanwhile
    finally:
        part.unlink(missing_ok=True)
