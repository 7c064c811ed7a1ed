"""Reads a Parquet file's columns from its footer alone, by ranged reads through the objects port."""

import io

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from switchyard.core.errors import BadRequest
from switchyard.core.ports import Objects


def read_column_names(objects: Objects, uri: str) -> list[str]:
    """Returns the names of all columns, in order. Raises: NotFound; BadRequest: the file is cut, or not Parquet."""
    file = _Ranged(objects, uri)
    try:
        return list(pa_parquet.read_schema(pa.PythonFile(file, mode="r")).names)
    except (pa.ArrowException, OSError) as err:
        raise BadRequest(f"it is not a whole Parquet file; its footer cannot be read: {err}") from err


class _Ranged(io.RawIOBase):
    """Makes an object a file that can be sought in; each read is a ranged one."""

    def __init__(self, objects: Objects, uri: str) -> None:
        super().__init__()
        self._objects, self._uri = objects, uri
        self._size_bytes = objects.stat(uri).size_bytes
        self._place = 0

    def readable(self) -> bool:
        """Returns true."""
        return True

    def seekable(self) -> bool:
        """Returns true."""
        return True

    def tell(self) -> int:
        """Returns where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seeks as in any file."""
        self._place = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size_bytes}[whence] + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Reads as from any file."""
        rest = max(0, self._size_bytes - self._place)
        length = rest if size is None or size < 0 else min(size, rest)
        data = self._objects.read_range(self._uri, start=self._place, length=length)
        self._place += len(data)
        return data
