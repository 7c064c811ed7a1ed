"""Packing what readers get: any client opens it, and it takes no more room than a search for repetitions would give."""

import gzip
import random

import msgspec
import pytest

from switchyard.core.history.packing import to_gzip


@pytest.mark.parametrize("content", [b"", b"{}", bytes(range(256)) * 400])
def test_any_client_opens_what_is_packed(content: bytes) -> None:
    """It is gzip of the very same bytes."""
    assert gzip.decompress(to_gzip(content)) == content


def test_equal_content_gives_equal_bytes() -> None:
    """No time and no name is in it: what is published again is the same."""
    assert to_gzip(b"[1, 2]") == to_gzip(b"[1, 2]")


def test_counts_and_numbers_take_hardly_more_room_than_at_level_4() -> None:
    """What a search for repetitions wins on digits is not worth its time."""
    made_up = random.Random(7)
    counts = [[round(abs(made_up.gauss(0, 400))) for _ in range(25)] for _ in range(50)]
    numbers = [made_up.gauss(1, 0.3) for _ in range(5_000)]
    for content in (msgspec.json.encode(counts), msgspec.json.encode(numbers)):
        assert len(to_gzip(content)) <= 1.05 * len(gzip.compress(content, 4))
