"""What may lie in a file's place: each is made at a path where there is nothing."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

STRANGE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a looping link": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to("/"),
    "a fifo": os.mkfifo,
    "a socket": lambda path: _bind(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "deep json": lambda path: path.write_bytes(b'{"order":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep json of an unknown field": lambda path: path.write_bytes(b'{"x":' * 100_000 + b"1" + b"}" * 100_000),
    "a huge file": lambda path: _stretch(path),
}
"""Each hangs, raises something else, or takes all memory, where a reader is careless."""


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:  # its name stays
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's address has at most 108 bytes
        try:
            listening.bind(path.name)
        finally:
            os.chdir(before)


def _stretch(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**12)
