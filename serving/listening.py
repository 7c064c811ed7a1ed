"""The socket of a program that serves, opened before it says where it listens."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """Opens a listening socket. Raises: OSError: the port is taken, or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as err:
        raise OSError(
            f"port {port} of {host} cannot be used ({err.strerror}). Stop what listens there, "
            "or name another with --port"
        ) from err
