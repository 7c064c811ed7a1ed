"""Where predictions listen: the flags' own, else what the platform has set."""

import pytest

from serving.predictions.__main__ import _choose_address
from switchyard.clients.settings import read_settings

EVERYWHERE = "0.0.0.0"  # noqa: S104  (what is compared, not listened on)


@pytest.mark.parametrize(
    ("host", "port", "environ", "address"),
    [
        ("", None, {}, ("127.0.0.1", 8080)),
        ("", None, {"PORT": "9000"}, ("127.0.0.1", 9000)),
        (EVERYWHERE, None, {"PORT": "9000"}, (EVERYWHERE, 9000)),
        ("", 7000, {"PORT": "9000"}, ("127.0.0.1", 7000)),
        ("", 0, {"PORT": "9000"}, ("127.0.0.1", 0)),
        ("", None, {"PORT": "9000", "AIP_HTTP_PORT": "8081"}, (EVERYWHERE, 8081)),
    ],
)
def test_a_flag_goes_before_what_the_platform_says(
    host: str, port: int | None, environ: dict[str, str], address: tuple[str, int]
) -> None:
    """Vertex AI's port before Cloud Run's; only Vertex AI's and a flag open it to other machines."""
    settings = read_settings(environ)
    assert _choose_address(host, port, settings) == address
