"""The Cloud Storage endpoint, driven by Google's own client: what it must refuse as much as what it must do."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from tests.emulators.faults import Fault
from tests.emulators.gcs import Gcs, start_gcs
from tests.emulators.gcs_rules import Preconditions


@pytest.fixture(scope="module")
def module_server() -> Iterator[Gcs]:
    with start_gcs() as server:
        yield server


@pytest.fixture
def server(module_server: Gcs) -> Iterator[Gcs]:
    yield module_server
    module_server.reset()


@pytest.fixture
def bucket(server: Gcs) -> Any:
    """A bucket of the test's own, through the real client."""
    return make_client(server).create_bucket(f"t-{uuid.uuid4().hex}")


ANONYMOUS = AnonymousCredentials()


def make_client(server: Gcs) -> Any:
    return storage.Client(project="local", credentials=ANONYMOUS, client_options={"api_endpoint": server.url})


def put(bucket: Any, name: str, data: bytes = b"x", **kwargs: Any) -> Any:
    blob = bucket.blob(name, chunk_size=256 * 1024)
    blob.upload_from_string(data, retry=None, **kwargs)
    return blob


LARGE = bytes(range(256)) * 40_000  # above 8 MiB the client uploads in chunks


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "multipart", "resumable"])
def test_upload_comes_back_whole(bucket: Any, data: bytes) -> None:
    """By one request or by forty, with a generation, a size and a checksum."""
    written = put(bucket, "folder/a b?#%ü", data)
    read = bucket.blob("folder/a b?#%ü")
    assert read.download_as_bytes(retry=None) == data
    assert (read.generation, read.crc32c) == (written.generation, written.crc32c)
    read.reload()
    assert (read.size, read.metageneration) == (len(data), 1)


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["multipart", "resumable"])
def test_generation_zero_creates_only(bucket: Any, data: bytes) -> None:
    """The second upload is refused, and changes nothing."""
    first = put(bucket, "a", data, if_generation_match=0)
    with pytest.raises(api.PreconditionFailed, match="conditionNotMet"):
        put(bucket, "a", data[::-1], if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == data
    bucket.blob("a").delete(if_generation_match=first.generation)
    assert put(bucket, "a", data, if_generation_match=0).generation > first.generation


def test_stale_generation_is_refused_everywhere(bucket: Any) -> None:
    """Upload, download, metadata, patch, delete and copy all hold to ifGenerationMatch."""
    old = put(bucket, "a", b"1").generation
    new = put(bucket, "a", b"2").generation
    assert new > old
    blob = bucket.blob("a")
    blob.metadata = {"k": "v"}
    calls: list[Callable[[], object]] = [
        lambda: put(bucket, "a", b"3", if_generation_match=old),
        lambda: blob.download_as_bytes(if_generation_match=old),
        lambda: blob.reload(if_generation_match=old),
        lambda: blob.patch(if_generation_match=old),
        lambda: blob.delete(if_generation_match=old),
        lambda: bucket.copy_blob(blob, bucket, "b", if_source_generation_match=old),
        lambda: bucket.blob("c").rewrite(blob, if_source_generation_match=old),
        lambda: bucket.blob("a").compose([blob], if_generation_match=old),
    ]
    for call in calls:
        with pytest.raises(api.PreconditionFailed):
            call()
    assert [found.name for found in bucket.list_blobs()] == ["a"]
    assert blob.download_as_bytes() == b"2"


def test_matching_not_match_is_not_modified(bucket: Any) -> None:
    """304, as for a cache that has the newest; another generation is sent."""
    generation = put(bucket, "a").generation
    with pytest.raises(api.NotModified):
        bucket.blob("a").download_as_bytes(if_generation_not_match=generation)
    with pytest.raises(api.NotModified):
        bucket.blob("a").reload(if_generation_not_match=generation)
    assert bucket.blob("a").download_as_bytes(if_generation_not_match=generation - 1) == b"x"


def test_metageneration_counts_changes_of_metadata(bucket: Any) -> None:
    """A patch keeps the generation, merges keys, and is guarded by the metageneration."""
    blob = put(bucket, "a")
    blob.metadata = {"kept": "1", "gone": "2"}
    blob.patch(if_metageneration_match=1)
    blob.metadata = {"gone": None, "new": "3"}
    blob.patch(if_metageneration_match=2)
    with pytest.raises(api.PreconditionFailed):
        blob.patch(if_metageneration_match=2)
    found = bucket.get_blob("a")
    assert (found.metadata, found.metageneration) == ({"kept": "1", "new": "3"}, 3)
    assert found.generation == blob.generation


def test_one_of_sixteen_creators_wins(bucket: Any) -> None:
    """Ten rounds of sixteen uploads at once with ifGenerationMatch=0."""
    for number in range(10):
        at_once = threading.Barrier(16)

        def create(writer: int, number: int = number, at_once: threading.Barrier = at_once) -> int:
            at_once.wait()
            try:
                put(bucket, f"race/{number}", str(writer).encode(), if_generation_match=0)
            except api.PreconditionFailed:
                return 0
            return 1

        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(create, range(16))) == 1


def test_listing_is_in_pages_of_the_size_asked(bucket: Any) -> None:
    """Seven objects in pages of three; names in the order of their UTF-8 bytes, each once."""
    names = ["a/1", "a/2", "a/ü", "a/\U0001f600", "a/z", "a/Z", "a/~"]
    for name in names:
        put(bucket, name)
    pages = [[blob.name for blob in page] for page in bucket.list_blobs(prefix="a/", page_size=3).pages]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page] == sorted(names, key=str.encode)


def test_a_page_has_at_most_a_thousand(server: Gcs, bucket: Any) -> None:
    """Whatever is asked for."""
    for number in range(1001):
        server.app.store.insert(bucket.name, f"{number:04}", b"", {}, Preconditions())
    pages = [len(list(page)) for page in bucket.list_blobs(page_size=5000).pages]
    assert pages == [1000, 1]


def test_delimiter_folds_names_into_prefixes(bucket: Any) -> None:
    """Each prefix once, also where a page ends within it."""
    for name in ("a/1", "a/2", "a/3", "b", "c/1/x", "c/2"):
        put(bucket, name)
    listing = bucket.list_blobs(delimiter="/", page_size=1)
    assert ([blob.name for blob in listing], sorted(listing.prefixes)) == (["b"], ["a/", "c/"])
    listing = bucket.list_blobs(prefix="c/", delimiter="/")
    assert ([blob.name for blob in listing], sorted(listing.prefixes)) == (["c/2"], ["c/1/"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"prefix": "runs/1"}, ["runs/1/m.json", "runs/10/m.json"]),
        ({"start_offset": "runs/2", "end_offset": "runs/3/"}, ["runs/2/m.json", "runs/2/x/m.json"]),
        ({"match_glob": "runs/*/m.json"}, ["runs/1/m.json", "runs/10/m.json", "runs/2/m.json", "runs/3/m.json"]),
        ({"match_glob": "**/x/*.json"}, ["runs/2/x/m.json"]),
        ({"match_glob": "runs/{1,3}/m.???n"}, ["runs/1/m.json", "runs/3/m.json"]),
        ({"match_glob": "runs/[!12]*/m.json"}, ["runs/3/m.json"]),
        ({"prefix": "none"}, []),
    ],
)
def test_listing_keeps_what_the_query_asks(bucket: Any, query: dict[str, str], expected: list[str]) -> None:
    """Prefix, offsets and globs as the JSON API describes them."""
    for name in ("runs/1/m.json", "runs/10/m.json", "runs/2/m.json", "runs/2/x/m.json", "runs/3/m.json"):
        put(bucket, name)
    assert [blob.name for blob in bucket.list_blobs(**query)] == expected


def test_partial_answers_hold_the_fields_asked(bucket: Any) -> None:
    """`fields` selects within items."""
    put(bucket, "a")
    [found] = bucket.list_blobs(fields="items(name,generation),nextPageToken")
    assert (found.name, found.generation > 0, found.size) == ("a", True, None)


def test_ranges_are_read(bucket: Any) -> None:
    """Both ends included; a range that begins past the end is refused."""
    put(bucket, "a", b"0123456789")
    blob = bucket.blob("a")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=8, end=100) == b"89"
    assert blob.download_as_bytes(start=-3) == b"789"
    with pytest.raises(api.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


def test_versioning_keeps_what_was_replaced(bucket: Any) -> None:
    """Noncurrent generations are listed and read on demand, and deleted by name only."""
    bucket.versioning_enabled = True
    bucket.patch()
    first, second = put(bucket, "a", b"1").generation, put(bucket, "a", b"2").generation
    bucket.blob("a").delete()
    assert list(bucket.list_blobs()) == []
    assert [blob.generation for blob in bucket.list_blobs(versions=True)] == [first, second]
    assert bucket.blob("a", generation=first).download_as_bytes() == b"1"
    bucket.blob("a", generation=first).delete()
    assert [blob.generation for blob in bucket.list_blobs(versions=True)] == [second]


def test_without_versioning_a_replaced_generation_is_gone(bucket: Any) -> None:
    """404, not the newer bytes."""
    first = put(bucket, "a", b"1").generation
    put(bucket, "a", b"2")
    with pytest.raises(api.NotFound):
        bucket.blob("a", generation=first).download_as_bytes()


def test_composed_and_copied_objects_are_whole(bucket: Any) -> None:
    """A composed object has a crc32c and no md5; a copy keeps type and metadata."""
    one, two = put(bucket, "1", b"one "), put(bucket, "2", b"two")
    bucket.blob("both").compose([one, two], if_generation_match=0)
    both = bucket.get_blob("both")
    assert (both.download_as_bytes(), both.component_count, both.md5_hash) == (b"one two", 2, None)
    two.metadata = {"k": "v"}
    two.patch()
    bucket.blob("3").rewrite(two)
    assert bucket.get_blob("3").metadata == {"k": "v"}
    with pytest.raises(api.BadRequest, match="33"):
        bucket.blob("both").compose([one] * 33)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", ".", "..", "ü" * 513, ".well-known/acme-challenge/x"])
def test_object_names_follow_the_rules(bucket: Any, name: str) -> None:
    """400 for what Cloud Storage refuses; 1,024 bytes are allowed."""
    with pytest.raises(api.BadRequest, match="object name"):
        put(bucket, name)
    put(bucket, "ü" * 512)


def test_missing_things_are_told_apart(server: Gcs, bucket: Any) -> None:
    """No bucket, or no object in it."""
    with pytest.raises(api.NotFound, match=f"No such object: {bucket.name}/none"):
        bucket.blob("none").download_as_bytes()
    with pytest.raises(api.NotFound, match="No such object"):
        bucket.blob("none").delete()
    for call in (lambda b: b.blob("a").download_as_bytes(), lambda b: put(b, "a"), lambda b: list(b.list_blobs())):
        with pytest.raises(api.NotFound, match="specified bucket does not exist"):
            call(make_client(server).bucket("no-such-bucket"))


def test_buckets_are_made_once_and_deleted_empty(server: Gcs, bucket: Any) -> None:
    """409 for both."""
    with pytest.raises(api.Conflict, match="already own it"):
        make_client(server).create_bucket(bucket.name)
    blob = put(bucket, "a")
    with pytest.raises(api.Conflict, match="not empty"):
        bucket.delete()
    blob.delete()
    bucket.delete()
    assert not bucket.exists()


def test_fault_before_changes_nothing(server: Gcs, bucket: Any) -> None:
    """503 for the second upload only."""
    server.inject(Fault(kind="objects.insert", target="b", status=503))
    put(bucket, "a")
    with pytest.raises(api.ServiceUnavailable):
        put(bucket, "b")
    assert [blob.name for blob in bucket.list_blobs()] == ["a"]
    put(bucket, "b")


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["multipart", "resumable"])
def test_fault_after_hides_a_success(server: Gcs, bucket: Any, data: bytes) -> None:
    """The answer is 503, and the object is there."""
    chunks = 1 if len(data) < 2**20 else -(-len(data) // (256 * 1024))
    kind = "objects.insert" if chunks == 1 else "uploads.put"
    server.inject(Fault(kind=kind, nth=chunks, status=503, after=True))
    with pytest.raises(api.ServiceUnavailable):
        put(bucket, "a", data, if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == data


def test_own_retry_after_a_hidden_success_meets_412(server: Gcs, bucket: Any) -> None:
    """Why a refused write must be read back: the client retries its own upload, which had landed."""
    server.inject(Fault(kind="objects.insert", status=503, after=True))
    quick = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.01)
    with pytest.raises(api.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"x", if_generation_match=0, retry=quick)
    assert server.count("objects.insert", "a") == 2


def test_interrupted_download_is_continued_by_the_client(server: Gcs, bucket: Any) -> None:
    """The stream breaks in the middle; with retries the client asks for the rest of the same generation."""
    put(bucket, "a", LARGE)
    server.inject(Fault(kind="objects.download", broken=True))
    assert bucket.blob("a").download_as_bytes() == LARGE
    assert server.count("objects.download", "a") == 2


def test_interrupted_chunk_is_continued_by_the_client(server: Gcs, bucket: Any) -> None:
    """The answer to a chunk is lost; the client asks how far it came, and goes on."""
    server.inject(Fault(kind="uploads.put", nth=3, status=503, after=True))
    blob = bucket.blob("a", chunk_size=256 * 1024)
    blob.upload_from_string(LARGE, retry=DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.01))
    assert blob.download_as_bytes() == LARGE


def test_held_call_waits_until_it_is_let_go(server: Gcs, bucket: Any) -> None:
    """A caller can be stopped exactly between effect and answer."""
    server.inject(Fault(kind="objects.insert", target="a", hold=True, after=True))
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(put, bucket, "a")
        while not bucket.blob("a").exists():
            assert not upload.done()
        assert not upload.done()
        server.app.faults.forget()
        upload.result(timeout=30)
