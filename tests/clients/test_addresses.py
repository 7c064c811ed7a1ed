"""What a host's name stands for."""

import pytest

from switchyard.clients.addresses import find_addresses


def test_an_address_stands_for_itself() -> None:
    """No resolver is asked."""
    assert find_addresses("127.0.0.1") == ("127.0.0.1",)


@pytest.mark.parametrize("host", ["/cloudsql/p:r:i", "a" * 70])
def test_what_has_no_address_has_none(host: str) -> None:
    """Folders of sockets, and what can be no name."""
    assert find_addresses(host) == ()
