"""A look at the data before a run is made of it: which files there are, and what the first one's first bytes show."""

from switchyard.core.data.dialect import HEAD_BYTES, PARQUET_MAGIC
from switchyard.core.data.files import find_files
from switchyard.core.data.looking import look_at_csv, look_at_parquet
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.ports import Objects
from switchyard.core.runs.spec import TrainSpec


def look_at_data(objects: Objects, spec: TrainSpec) -> str:
    """What `spec.data_uri` names, in words: a list and a few ranged reads, of any size. A second call looks again.

    Raises:
        NotFound: there is no file. BadRequest: the first file cannot be trained on as `spec` says.
        BadSetup: we may not look there.
    """

    def is_file(uri: str) -> bool:
        try:
            objects.stat(uri)
        except NotFound:
            return False
        return True

    files = find_files(spec.data_uri, is_file=is_file, list_files=objects.list)
    first = files[0]
    head = objects.read_range(first, start=0, length=HEAD_BYTES)
    try:
        if head.startswith(PARQUET_MAGIC):
            from switchyard.clients.parquet import read_column_names  # pyarrow: only where there is a Parquet file

            found = look_at_parquet(read_column_names(objects, first), spec)
        else:
            found = look_at_csv(head, spec, is_whole=len(head) < HEAD_BYTES)
    except BadRequest as err:
        raise BadRequest(f"{first}: {err}") from err
    return f"{first}: {found}" + (f"; and {len(files) - 1} more files" if len(files) > 1 else "")
