"""Keeps objects on Cloud Storage, under ``gs://`` URIs. Every write that must not overwrite has a precondition.

There is one retry layer: by default the vendor's retries are off, and the task that calls repeats on `TryAgain`. The
trainer has no task around it, and asks for the vendor's retries (`retries_itself`).
"""

import base64
import contextlib
import io
import os
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final
from weakref import WeakKeyDictionary

import google_crc32c
from google.api_core.exceptions import Forbidden, Unauthorized
from google.auth.credentials import Credentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from switchyard.clients.objects.file_uris import to_path, to_uri
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.folders import to_error
from switchyard.clients.objects.gcs_errors import no_bucket, translated
from switchyard.clients.objects.gcs_sending import find_pace
from switchyard.clients.objects.gcs_sessions import send
from switchyard.clients.settings import read_storage_emulator
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain
from switchyard.core.ports import ABSENT, ANY, Dated, Stat

TIMEOUT_S: Final = (10.0, 60.0)
"""The time-out of an answer: a service that is so slow is better asked again. A sent body has more, by its size."""
RETRY_FOR_S: Final = 300.0
"""How long the vendor's retries go on, if asked for, and new sessions in place of dropped ones. The first wait is about
a second. What is sent has more, by its size and the line's pace."""
PARALLEL_UPLOADS: Final = 8
"""Uploads at once. Each holds a file of up to 8 MiB, or a chunk, in memory; they share the line (`gcs_sending`)."""
CHUNK_BYTES: Final = 16 * 1024 * 1024
"""A larger file goes up in chunks of this; the vendor's default, 100 MiB, times 8 would fill a small machine."""

_READS = 3  # of an object that changes in between; our snapshots are 10 s apart
_WRITES = 3  # of data that did not arrive as it was sent
_CREATE = "storage.objects.create (and storage.objects.delete, to replace one)"


class GcsObjects:
    """Implements `core.ports.Objects` on Cloud Storage. Threads may share it.

    Args:
        client: its retries are used only with `retries_itself`.
        retries_itself: False: a failure that may pass raises `TryAgain` at once.
        retry_for_s: how long retries go on, if any; after that `TryAgain` is raised.
        timeout_s: to connect, and between two bytes of an answer; a sent body has more, by its size.
    """

    def __init__(
        self,
        client: storage.Client,
        *,
        retries_itself: bool = False,
        retry_for_s: float = RETRY_FOR_S,
        timeout_s: tuple[float, float] = TIMEOUT_S,
    ) -> None:
        self._client = client
        self._pace = find_pace(client._http)
        self._retries_itself = retries_itself
        self._retry_for_s = retry_for_s
        self._timeout_s = timeout_s
        self._known_buckets = _KNOWN_BUCKETS.setdefault(client, set())

    @property
    def _how(self) -> dict[str, Any]:
        return self._how_to_send(0)

    def _how_to_send(self, size_bytes: int) -> dict[str, Any]:
        retry = DEFAULT_RETRY.with_timeout(self._to_patience_s(size_bytes)) if self._retries_itself else None
        return {"timeout": self._timeout_s, "retry": retry}

    def _to_patience_s(self, size_bytes: int) -> float:
        """Returns enough time to send a second time what takes minutes to send."""
        return self._retry_for_s + self._pace.to_allowance_s(size_bytes)

    def stat(self, uri: str) -> Stat:
        """See the port."""
        blob = self._blob(uri)
        with self._asking("read", uri, "storage.objects.get"):
            blob.reload(**self._how)
        return _to_stat(blob)

    def read(self, uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        """See the port. An object stored with ``Content-Encoding: gzip`` is unpacked; `max_bytes` bounds both sizes."""
        if max_bytes is None:
            return self._download(uri, None, None)
        for _ in range(_READS):
            found = self.stat(uri)
            if found.size_bytes > max_bytes:
                raise _too_large(uri, max_bytes, f"{found.size_bytes:,}; not read")
            with contextlib.suppress(StaleWrite):  # written again since its size was asked: ask again
                return self._download(uri, found.generation, max_bytes)
        raise TryAgain(f"could not read {uri}: it was written {_READS} times between asking its size and reading")

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        """See the port. No checksum covers a part: what must be whole is read whole."""
        found = self.stat(uri)
        end = min(start + length, found.size_bytes)
        if start >= end:  # the service answers a range beyond the end with 416
            return b""
        with translated("read", uri, "storage.objects.get"):
            data: bytes = self._blob(uri).download_as_bytes(
                start=start,
                end=end - 1,
                raw_download=True,
                if_generation_match=found.generation,
                checksum=None,
                **self._how,
            )
        return data

    def read_into(self, uri: str, file: BinaryIO, *, follow_links: bool = True) -> Stat:
        """See the port. Reads one generation, with its checksum.

        The client's own retry continues a broken answer with that generation."""
        found = self.stat(uri)
        blob, summed = self._blob(uri), _Summed(file)
        try:
            with self._asking("read", uri, "storage.objects.get"):
                blob.download_to_file(
                    summed, raw_download=True, if_generation_match=found.generation, checksum=None, **self._how
                )
        except NotFound as err:
            raise StaleWrite(f"{uri} was deleted while it was read") from err
        if (summed.size_bytes, summed.crc32c) != (found.size_bytes, blob.crc32c):
            raise TryAgain(f"could not read {uri}: expected crc32c {blob.crc32c}; got {summed.crc32c}")
        return found

    def _download(self, uri: str, generation: int | None, max_bytes: int | None) -> tuple[bytes, int]:
        data, blob = self._download_stored(uri, generation)
        if blob.content_encoding == "gzip":
            data = _unpack(uri, data, max_bytes)
        return data, int(blob.generation)

    def _download_stored(self, uri: str, generation: int | None) -> tuple[bytes, Any]:
        """Returns the bytes as they are stored; the checksum is of these."""
        blob = self._blob(uri)
        with self._asking("read", uri, "storage.objects.get"):
            data: bytes = blob.download_as_bytes(raw_download=True, if_generation_match=generation, **self._how)
        # The client checks the sum of a whole answer, but not of one that it continued after a break.
        if _to_crc32c(data) != blob.crc32c:
            raise TryAgain(f"could not read {uri}: expected crc32c {blob.crc32c}; got {_to_crc32c(data)}")
        return data, blob

    def write(self, uri: str, data: bytes, *, if_generation: int) -> int:
        """See the port."""
        return self.write_from(uri, io.BytesIO(data), if_generation=if_generation)

    def write_from(self, uri: str, file: BinaryIO, *, if_generation: int) -> int:
        """See the port."""
        _check_generation(if_generation)
        _check_name(uri)
        size_bytes = file.seek(0, os.SEEK_END)
        for _ in range(_WRITES if self._retries_itself else 1):
            try:
                return self._send(uri, file, size_bytes, if_generation)
            except StaleWrite as err:
                found = self._find(uri)
                there = found.generation if found else ABSENT
                if if_generation not in (ANY, there):
                    generation = self._find_own(uri, found, file)
                    if generation is not None:
                        return generation
                    wanted = "not to exist" if if_generation == ABSENT else f"to have generation {if_generation}"
                    message = f"expected {uri} {wanted}; someone else wrote, read it again before writing"
                    raise StaleWrite(message) from err
                # No rival: some endpoints say so of data that did not arrive as it was sent.
                broken = TryAgain(
                    f"could not write {uri}: refused, though what is there is as expected; {err.__cause__}"
                )
                broken.__cause__ = err
        raise broken

    def _send(self, uri: str, stream: BinaryIO, size_bytes: int, if_generation: int) -> int:
        blob = self._blob(uri, chunk_size=CHUNK_BYTES)
        with translated("write", uri, _CREATE):
            send(
                blob,
                stream,
                size_bytes,
                patience_s=self._to_patience_s if self._retries_itself else None,
                content_type=_content_type(uri),
                if_generation_match=None if if_generation == ANY else if_generation,
                **self._how_to_send(min(size_bytes, CHUNK_BYTES)),
            )
        return int(blob.generation)

    def list_folders(self, prefix: str) -> list[str]:
        """See the port."""
        bucket, name_prefix = _split(prefix)
        with translated("list", prefix, "storage.objects.list"):
            found = self._client.list_blobs(
                bucket,
                prefix=name_prefix or None,
                delimiter="/",
                fields="prefixes,nextPageToken",
                page_size=1000,
                **self._how,
            )
            names = {name for page in found.pages for name in page.prefixes}
        return sorted(f"gs://{bucket}/{name}" for name in names)

    def list(self, prefix: str) -> list[str]:
        """See the port. The empty objects that the console makes for folders (``runs/``) are left out."""
        return sorted(f"gs://{blob.bucket.name}/{blob.name}" for blob in self._list(prefix, "name"))

    def list_stats(self, prefix: str, *, follow_links: bool = True) -> Iterator[tuple[str, Stat]]:
        """See the port. Goes page by page, in the service's order of the names' bytes. A bucket has no links."""
        for blob in self._list(prefix, "name,size,generation"):
            yield f"gs://{blob.bucket.name}/{blob.name}", _to_stat(blob)

    def list_dated(self, prefix: str) -> Iterator[Dated]:
        """See the port. The time is that of the generation; a later change of its metadata alone does not count."""
        for blob in self._list(prefix, "name,size,generation,timeCreated"):
            yield Dated(f"gs://{blob.bucket.name}/{blob.name}", _to_stat(blob), blob.time_created)

    def list_odd(self, prefix: str) -> Iterator[str]:
        """See the port. A bucket holds only objects."""
        return iter(())

    def _list(self, prefix: str, fields: str) -> Iterator[Any]:
        bucket, name_prefix = _split(prefix)
        with translated("list", prefix, "storage.objects.list"):
            found = self._client.list_blobs(
                bucket, prefix=name_prefix or None, fields=f"items({fields}),nextPageToken", page_size=1000, **self._how
            )
            yield from (blob for blob in found if not blob.name.endswith("/"))

    def delete(self, uri: str, *, if_generation: int) -> None:
        """See the port."""
        _check_generation(if_generation)
        blob = self._blob(uri)
        try:
            with self._asking("delete", uri, "storage.objects.delete"):
                blob.delete(if_generation_match=None if if_generation == ANY else if_generation, **self._how)
        except NotFound:
            return

    def upload_folder(self, path: Path, uri: str) -> int:
        """See the port. Several files at a time; when some fail, the others still go up.

        Raises:
            NotFound: `path` is not a folder. BadRequest: a file's name is not UTF-8.
        """
        if not path.is_dir():
            raise NotFound(f"could not copy {path} to {uri}: expected a folder, and there is none")
        files = [to_path(found) for found in FileObjects().list(to_uri(path.absolute()) + "/")]
        targets = [f"{uri.rstrip('/')}/{file.relative_to(path.absolute()).as_posix()}" for file in files]
        for target in targets:
            _check_name(target)
        with ThreadPoolExecutor(PARALLEL_UPLOADS, thread_name_prefix="upload") as pool:
            errors = [error for error in pool.map(self._upload_file, files, targets) if error]
        if errors:
            # An error that no repetition mends decides. Otherwise the whole folder may be tried again.
            first = next((error for error in errors if not isinstance(error, TryAgain)), errors[0])
            shown = "; ".join(str(error) for error in errors[:5]) + ("; ..." if len(errors) > 5 else "")
            raise type(first)(f"could not copy {len(errors)} of {len(files)} files of {path}: {shown}") from first
        return len(files)

    def _upload_file(self, file: Path, uri: str) -> SwitchyardError | None:
        try:
            with file.open("rb") as stream:
                self._send(uri, stream, os.fstat(stream.fileno()).st_size, ANY)
        except StaleWrite as err:  # no generation was asked for, so none can be another
            return TryAgain(f"could not write {uri}: {err.__cause__}")
        except SwitchyardError as err:
            return err
        return None

    def _find(self, uri: str) -> Stat | None:
        try:
            return self.stat(uri)
        except NotFound:
            return None

    def _find_own(self, uri: str, found: Stat | None, file: BinaryIO) -> int | None:
        """Returns the generation of what was `found`, if it is what `file` has.

        Then the refused write was carried out before and its answer was lost, or the same was written twice, which does
        no harm."""
        if found is None or found.size_bytes != file.seek(0, os.SEEK_END):
            return None
        file.seek(0)
        compared = _Compared(file)
        try:
            with self._asking("read", uri, "storage.objects.get"):
                self._blob(uri).download_to_file(
                    compared, raw_download=True, if_generation_match=found.generation, checksum=None, **self._how
                )
        except (NotFound, StaleWrite):  # gone, or written again by now
            return None
        return found.generation if compared.is_same else None

    @contextlib.contextmanager
    def _asking(self, action: str, uri: str, permission: str) -> Iterator[None]:
        """Translates as `translated`, for a call about an object: if it is missing, its bucket may be missing too."""
        try:
            with translated(action, uri, permission):
                yield
        except NotFound:
            self._check_bucket(action, uri)
            raise

    def _check_bucket(self, action: str, uri: str) -> None:
        """Asks for the bucket, once in a process.

        The answer about an object is 404 and ``notFound`` either way, and its words are not a contract
        (https://github.com/googleapis/nodejs-storage/issues/220 and 1183).

        Raises: BadSetup: it is not there.
        """
        bucket, _ = _split(uri)
        if bucket in self._known_buckets:
            return
        try:
            with translated("list", f"gs://{bucket}", "storage.objects.list"):
                try:
                    # Who may read objects may list them, but need not have storage.buckets.get.
                    found = self._client.list_blobs(bucket, max_results=1, fields="items(name)", **self._how)
                    next(iter(found), None)
                except (Forbidden, Unauthorized):  # then it cannot be told
                    return
        except BadSetup as err:
            raise no_bucket(action, uri) from err
        self._known_buckets.add(bucket)

    def _blob(self, uri: str, *, chunk_size: int | None = None) -> Any:
        bucket, name = _check_name(uri)
        return self._client.bucket(bucket).blob(name, chunk_size=chunk_size)


class _Summed(io.RawIOBase):
    """Passes on what is written, and sums it up.

    The client checks the sum of a whole answer, but not of one that it continued after a break."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = 0
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        try:
            self._file.write(chunk)
        except OSError as err:
            raise to_error(err, "write to a temporary file (TMPDIR names its folder)") from err
        self._sum = google_crc32c.extend(self._sum, bytes(chunk))
        self.size_bytes += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self.size_bytes

    @property
    def crc32c(self) -> str:
        return _to_text(self._sum)


class _Compared(io.RawIOBase):
    """Compares what is written with a file that is read along; nothing is kept."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self.is_same = True

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        self.is_same = self.is_same and self._file.read(len(chunk)) == bytes(chunk)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self._size


def open_gcs(*, credentials: Credentials | None = None, retries_itself: bool = False) -> GcsObjects:
    """Opens Cloud Storage with `credentials`, or with the application default; one client for a process and identity.

    With ``STORAGE_EMULATOR_HOST`` set and no credentials given, the client is anonymous and looks for none.

    Raises: BadSetup: no credentials can be found.
    """
    with translated("connect to", "Cloud Storage", ""):
        return GcsObjects(_client(credentials, read_storage_emulator()), retries_itself=retries_itself)


@lru_cache(maxsize=8)
def _client(credentials: Credentials | None, emulator: str) -> storage.Client:
    """Makes the client. `emulator` only separates the cached ones: the client reads the variable itself."""
    # For traces that no one asked for, the client (3.17) would GET each bucket in a thread: one more call, token and
    # permission, retried for minutes when nothing answers. This is the vendor's switch.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return storage.Client(project=None, credentials=credentials)


_KNOWN_BUCKETS: WeakKeyDictionary[storage.Client, set[str]] = WeakKeyDictionary()
"""The buckets that each client has seen."""

# Connections must not be shared with a forked child.
os.register_at_fork(after_in_child=_client.cache_clear)


def _split(uri: str) -> tuple[str, str]:
    """Splits a URI into bucket and name, where the client itself would raise ValueError.

    Source: https://cloud.google.com/storage/docs/buckets#naming"""
    match = re.fullmatch(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(.*))?", uri, re.DOTALL)
    if not match:
        raise BadRequest(f"expected gs://<bucket>/<name>, the bucket in lowercase; got {uri!r}")
    return match[1], match[2] or ""


def _check_name(uri: str) -> tuple[str, str]:
    """Returns bucket and name, as they stand: nothing is percent-encoded in a gs:// URI.

    Raises: BadRequest. Source: https://cloud.google.com/storage/docs/objects#naming
    """
    bucket, name = _split(uri)
    problem = ""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        problem = "its name must be UTF-8"
    else:
        if not name or name in (".", ".."):
            problem = "it names no object"
        elif name.endswith("/"):
            problem = "it ends with a slash, so it names a folder"
        elif len(encoded) > 1024:
            problem = f"its name must have at most 1024 bytes; it has {len(encoded)}"
        elif "\r" in name or "\n" in name:
            problem = "its name must be one line"
    if problem:
        raise BadRequest(f"expected gs://<bucket>/<name>; got {uri!r}: {problem}")
    return bucket, name


def _check_generation(if_generation: int) -> None:
    if if_generation < ANY:
        raise BadRequest(f"if_generation must be a generation, ABSENT (0) or ANY (-1); got {if_generation}")


def _to_stat(blob: Any) -> Stat:
    """Makes the `Stat`. An empty object may have no size (https://github.com/yoshidan/google-cloud-rust/pull/326)."""
    return Stat(size_bytes=int(blob.size or 0), generation=int(blob.generation))


def _content_type(uri: str) -> str:
    return "application/json" if uri.endswith(".json") else "application/octet-stream"


def _to_crc32c(data: bytes) -> str:
    """Writes it big-endian, in base64.

    Source: https://cloud.google.com/storage/docs/data-validation
    """
    return _to_text(google_crc32c.value(data))


def _to_text(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


def _unpack(uri: str, data: bytes, max_bytes: int | None) -> bytes:
    """Unpacks gzip, but never more than `max_bytes`: a small object may unpack to a very large one."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(data, 0 if max_bytes is None else max_bytes + 1)
    except zlib.error as err:
        raise BadRecord(uri, [f"expected gzip, as its Content-Encoding says; got {err}"]) from err
    if max_bytes is not None and len(unpacked) > max_bytes:
        raise _too_large(uri, max_bytes, "more, once unpacked")
    return unpacked


def _too_large(uri: str, max_bytes: int, got: str) -> BadRecord:
    return BadRecord(uri, [f"expected at most {max_bytes:,} bytes; got {got}"])
