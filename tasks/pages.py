"""The addresses of the pages of a run. No task: nothing outside changes or is waited for."""

from switchyard.clients.connect import connect
from switchyard.clients.local_servers import is_answering


def to_page_url(quick_test_id: int) -> str:
    """The run's page, where serving answers."""
    return f"{connect().settings.serving_url}/quick-tests/{quick_test_id}"


def to_picture_url(quick_test_id: int) -> str:
    """The picture of the run's loss curves."""
    return f"{to_page_url(quick_test_id)}/loss-curves.png"


def is_serving() -> bool:
    """True where the API answers now."""
    return is_answering(f"{connect().settings.serving_url}/health")


def to_address(path: str) -> str:
    """The address of a page, where serving answers."""
    return f"{connect().settings.serving_url}{path}"
