"""Takes a long list some at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields lists of `size` items, the last one perhaps shorter.

    (`itertools.batched` needs Python 3.12.)
    """
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
