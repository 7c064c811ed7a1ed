"""Looks at the data before a run is made of it: which files there are, and the first bytes of the first and the last.

In a folder that got another export later, these two are the most likely to differ.
"""

from switchyard.core.data.dialect import HEAD_BYTES, PARQUET_MAGIC
from switchyard.core.data.files import find_files
from switchyard.core.data.looking import look_at_csv, look_at_parquet
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.ports import Objects
from switchyard.core.runs.spec import TrainSpec


def look_at_data(objects: Objects, spec: TrainSpec) -> str:
    """Says in words what `spec.data_uri` names: a list and a few ranged reads, at any size. A second call looks again.

    Raises:
        NotFound: there is no file. BadRequest: the first or the last one cannot be trained on as `spec` says.
        BadSetup: we may not look there.
    """

    def is_file(uri: str) -> bool:
        try:
            objects.stat(uri)
        except NotFound:
            return False
        return True

    files = find_files(spec.data_uri, is_file=is_file, list_files=objects.list)
    found = _look_at_file(objects, files[0], spec)
    if len(files) == 1:
        return f"{files[0]}: {found}"
    _look_at_file(objects, files[-1], spec)
    return f"{files[0]}: {found}; and {len(files) - 1} more files, of which the last was looked at"


def _look_at_file(objects: Objects, uri: str, spec: TrainSpec) -> str:
    head = objects.read_range(uri, start=0, length=HEAD_BYTES)
    try:
        if head.startswith(PARQUET_MAGIC):
            from switchyard.clients.parquet import read_column_names  # pyarrow: only if there is a Parquet file

            return look_at_parquet(read_column_names(objects, uri), spec)
        return look_at_csv(head, spec, is_whole=len(head) < HEAD_BYTES)
    except BadRequest as err:
        raise BadRequest(f"{uri}: {err}") from err
