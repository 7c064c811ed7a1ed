"""Checks that the embeddings are those of the model beside them.

`model/` is a program, which is not run to ask it. But its products lie in its graph as one run of texts, in the order
of the embeddings.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

GRAPH: Final = "model/saved_model.pb"
_OURS: Final = (b"buyer_ids", b"product_ids")
"""The signature that `trainer.model.export` gives its graphs. Others may hold their products in other ways."""
_TEXT: Final = b"\x42"
"""What stands before each text of a constant: field 8 (`string_val`) of TensorProto, of a length that follows.
Source: tensorflow/core/framework/tensor.proto; https://protobuf.dev/programming-guides/encoding/#structure"""


def find_other_products(folder: Path, products: Sequence[str], problems: list[str]) -> None:
    """Adds to `problems` where the model in `folder` was exported with other products, or in another order.

    Nothing is added where there is no graph, or one that is not our trainer's."""
    path = folder / GRAPH
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as graph:
        if any(graph.find(name) < 0 for name in _OURS):
            return
        if graph.find(b"".join(map(_to_bytes, products))) < 0:
            problems.append(f"embeddings/candidate.parquet has other products than {GRAPH}, or in another order")


def _to_bytes(text: str) -> bytes:
    data = text.encode()
    length, rest = b"", len(data)
    while rest > 127:
        length += bytes((rest & 127 | 128,))
        rest >>= 7
    return _TEXT + length + bytes((rest,)) + data
