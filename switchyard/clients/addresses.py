"""Finds the addresses of a host's name, by this machine's resolver."""

import socket


def find_addresses(host: str) -> tuple[str, ...]:
    """Returns a name's addresses, ascending; empty: it has none, or no resolver answers. A socket's folder has none."""
    if host.startswith("/"):
        return ()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({str(one[4][0]) for one in found}))
