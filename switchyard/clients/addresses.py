"""What a host's name stands for, asked of this machine's resolver."""

import socket


def find_addresses(host: str) -> tuple[str, ...]:
    """The addresses of a name, ascending; empty: it has none, or no resolver answers. A folder of a socket has none."""
    if host.startswith("/"):
        return ()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({str(one[4][0]) for one in found}))
