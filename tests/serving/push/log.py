"""What the push endpoint has logged."""

from typing import Any

import pytest

from serving.json_log import JsonLines
from tests.serving.push_world import (
    to_fields,
)


def read_log(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the endpoint has logged, as it is printed."""
    return [to_fields(JsonLines().format(record)) for record in caplog.records if record.name == "switchyard.push"]
