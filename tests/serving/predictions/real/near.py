"""Whether two libraries answer the same, where a graph may add in another order than Keras itself."""

from typing import Any

import pytest


def near(found: Any, said: Any) -> bool:
    """Numbers, or lists of them, that are the same but for the last digits."""
    if isinstance(said, list):
        return len(found) == len(said) and all(near(a, b) for a, b in zip(found, said, strict=True))
    return bool(found == pytest.approx(said, rel=1e-5, abs=1e-6))
