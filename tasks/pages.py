"""Makes the addresses of a run's pages. None is a task: nothing outside changes or is waited for."""

from switchyard.clients.connect import connect
from switchyard.clients.local_servers import is_answering


def to_page_url(quick_test_id: int) -> str:
    """Returns the address of the run's page in serving."""
    return f"{connect().settings.serving_url}/quick-tests/{quick_test_id}"


def to_picture_url(quick_test_id: int) -> str:
    """Returns the address of the picture of the run's loss curves."""
    return f"{to_page_url(quick_test_id)}/loss-curves.png"


def is_serving() -> bool:
    """Returns True if the API answers now."""
    return is_answering(f"{connect().settings.serving_url}/health")


def to_address(path: str) -> str:
    """Returns the address of a page in serving."""
    return f"{connect().settings.serving_url}{path}"
