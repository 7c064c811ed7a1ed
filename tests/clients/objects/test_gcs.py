"""Cloud Storage objects beyond the port's suite: faults, limits, retries, and what the vendor's errors become."""

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from switchyard.clients.objects.gcs import CHUNK_BYTES, PARALLEL_UPLOADS, GcsObjects
from switchyard.clients.objects.gcs_sending import Pace
from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain
from switchyard.core.ports import ABSENT, ANY, Objects, Stat
from tests.emulators.faults import Fault
from tests.emulators.gcs import Gcs, start_gcs
from tests.emulators.gcs_app import Ways
from tests.emulators.gcs_rules import Preconditions
from tests.emulators.metadata import start_metadata

ANONYMOUS = AnonymousCredentials()
NO_CONDITIONS = Preconditions()
PACKED = {"contentEncoding": "gzip"}


@pytest.fixture
def objects(gcs: Gcs) -> Objects:
    return open_objects("gs://switchyard-test")


@pytest.fixture
def uri(gcs_root: str) -> str:
    return f"{gcs_root}/quick_tests/81/training_metrics.json"


def target_of(uri: str) -> str:
    return uri.removeprefix("gs://switchyard-test/")


CALLS: dict[str, tuple[str, Callable[[Objects, str], object]]] = {
    "stat": ("objects.get", lambda objects, uri: objects.stat(uri)),
    "read": ("objects.download", lambda objects, uri: objects.read(uri)),
    "write": ("objects.insert", lambda objects, uri: objects.write(uri, b"new", if_generation=ANY)),
    "list": ("objects.list", lambda objects, uri: objects.list(uri)),
    "delete": ("objects.delete", lambda objects, uri: objects.delete(uri, if_generation=ANY)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_may_be_tried_again(gcs: Gcs, objects: Objects, uri: str, call: str, status: int) -> None:
    """Exactly one request goes out: the task that calls is the one retry layer. The same call then succeeds."""
    objects.write(uri, b"old", if_generation=ABSENT)
    kind, act = CALLS[call]
    before = gcs.count(kind)
    gcs.inject(Fault(kind=kind, status=status))
    with pytest.raises(TryAgain, match=str(status)):
        act(objects, uri)
    assert gcs.count(kind) == before + 1
    act(objects, uri)


@pytest.mark.parametrize("call", ["read", "write", "list"])
def test_broken_answer_may_be_tried_again(gcs: Gcs, objects: Objects, uri: str, call: str) -> None:
    """The connection is cut in mid-answer."""
    objects.write(uri, b"old" * 1000, if_generation=ABSENT)
    kind, act = CALLS[call]
    gcs.inject(Fault(kind=kind, broken=True))
    with pytest.raises(TryAgain, match=call):
        act(objects, uri)
    act(objects, uri)


@pytest.mark.parametrize("call", CALLS)
def test_silent_endpoint_is_not_waited_for(gcs: Gcs, uri: str, call: str) -> None:
    """Every call has a timeout; what it may have done meanwhile is for the next call to find out."""
    kind, act = CALLS[call]
    objects = GcsObjects(storage.Client(project=None), timeout_s=(5.0, 0.2))
    objects.write(uri, b"old", if_generation=ABSENT)
    gcs.inject(Fault(kind=kind, hold=True))
    with pytest.raises(TryAgain, match="timed out"):
        act(objects, uri)
    gcs.app.faults.forget()


@pytest.mark.parametrize("call", CALLS)
def test_missing_permission_is_named(gcs: Gcs, objects: Objects, uri: str, call: str) -> None:
    """The permission, the bucket, and Google's own words with the account."""
    objects.write(uri, b"old", if_generation=ABSENT)
    kind, act = CALLS[call]
    gcs.inject(Fault(kind=kind, status=403))
    with pytest.raises(BadSetup, match=r"permission storage\.objects\.\w+ .*switchyard-test.*gserviceaccount\.com"):
        act(objects, uri)


@pytest.mark.parametrize("call", CALLS)
def test_missing_bucket_is_a_setup_to_mend(objects: Objects, call: str) -> None:
    """Not NotFound, which a caller may take for "no such run yet", nor an empty list."""
    with pytest.raises(BadSetup, match="there is no bucket no-such-bucket"):
        CALLS[call][1](objects, "gs://no-such-bucket/a.json")


@pytest.mark.parametrize(
    "bad",
    [
        "gs://",
        "gs:///a",
        "gs://Bucket/a",
        "gs://b/a",
        "gs://-bucket-/a",
        "s3://bucket/a",
        "bucket/a",
        "gs://bucket#x/a",
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_malformed_uri_is_refused(gcs: Gcs, objects: Objects, call: str, bad: str) -> None:
    """Before any request."""
    with pytest.raises(BadRequest, match="gs://<bucket>/<name>"):
        CALLS[call][1](objects, bad)
    assert gcs.count() == 0


@pytest.mark.parametrize("name", ["", "folder/", "a\nb", "..", "ü" * 513, "\udcff"])
def test_malformed_name_is_refused(objects: Objects, name: str) -> None:
    """Before any request, saying what is wrong with it."""
    with pytest.raises(BadRequest, match=r"names no object|names a folder|name must"):
        objects.write(f"gs://switchyard-test/{name}", b"x", if_generation=ANY)


def test_folder_of_the_console_is_no_object(gcs: Gcs, objects: Objects, gcs_root: str) -> None:
    """The console makes an empty object `runs/` for a folder: it is not listed among what is in it."""
    gcs.store.insert("switchyard-test", f"{target_of(gcs_root)}/runs/", b"", {}, NO_CONDITIONS)
    objects.write(f"{gcs_root}/runs/a.json", b"x", if_generation=ABSENT)
    assert objects.list(gcs_root) == [f"{gcs_root}/runs/a.json"]


def test_unusual_names_come_back_as_they_were(objects: Objects, gcs_root: str) -> None:
    """Nothing is percent-encoded in a gs:// URI."""
    uris = sorted(f"{gcs_root}/{name}" for name in ("a b", "50%", "what?", "#1", "ü/\U0001f600", "a//b", "%2F"))
    for uri in uris:
        objects.write(uri, uri.encode(), if_generation=ABSENT)
    assert objects.list(gcs_root) == uris
    for uri in uris:
        assert objects.read(uri)[0] == uri.encode()


@pytest.mark.parametrize("size", [100, 9_000_000])
@pytest.mark.parametrize("fault", [Fault(status=503, after=True), Fault(broken=True, after=True)], ids=["503", "cut"])
def test_write_whose_answer_was_lost_is_recognised(
    gcs: Gcs, objects: Objects, uri: str, size: int, fault: Fault
) -> None:
    """The write landed and said nothing. The same call again succeeds, with the generation that is there."""
    data = os.urandom(size)
    kind = "objects.insert" if size < 8 * 2**20 else "uploads.put"
    gcs.inject(Fault(kind=kind, status=fault.status, broken=fault.broken, after=True))
    with pytest.raises(TryAgain):
        objects.write(uri, data, if_generation=ABSENT)
    generation = objects.write(uri, data, if_generation=ABSENT)
    assert objects.read(uri) == (data, generation)
    with pytest.raises(StaleWrite):
        objects.write(uri, data[::-1], if_generation=ABSENT)


def test_trainers_retries_are_the_vendors(gcs: Gcs, uri: str) -> None:
    """A failure that passes is not seen at all; a hidden success is not taken for someone else's write."""
    objects = open_objects(uri, retries_itself=True)
    gcs.inject(Fault(kind="objects.insert", status=503, after=True))
    generation = objects.write(uri, b"snapshot", if_generation=ABSENT)
    assert gcs.count("objects.insert") == 2
    gcs.inject(Fault(kind="objects.download", status=503))
    assert objects.read(uri) == (b"snapshot", generation)


def test_trainers_retries_end(gcs: Gcs, uri: str) -> None:
    """An outage that outlasts them is told as one that may pass."""
    gcs.inject(Fault(kind="objects.insert", status=503, times=1_000))
    objects = GcsObjects(storage.Client(project=None), retries_itself=True, retry_for_s=0.5)
    with pytest.raises(TryAgain, match="training_metrics"):
        objects.write(uri, b"snapshot", if_generation=ABSENT)


def test_continued_download_is_checked_too(gcs: Gcs, uri: str) -> None:
    """The vendor's client does not check the sum of a download that it continued; ours does."""
    objects = open_objects(uri, retries_itself=True)
    data = os.urandom(3_000_000)
    objects.write(uri, data, if_generation=ABSENT)
    gcs.inject(Fault(kind="objects.download", broken=True))
    assert objects.read(uri)[0] == data
    damage(gcs, uri, data[:-1] + bytes([data[-1] ^ 1]))
    gcs.inject(Fault(kind="objects.download", broken=True))
    with pytest.raises(TryAgain, match="crc32c"):
        objects.read(uri)


def test_damaged_bytes_are_not_returned(gcs: Gcs, objects: Objects, uri: str) -> None:
    """One flipped bit on the way."""
    objects.write(uri, b"whole", if_generation=ABSENT)
    damage(gcs, uri, b"whale")
    with pytest.raises(TryAgain, match=r"(?i)checksum|crc32c"):
        objects.read(uri)


def damage(gcs: Gcs, uri: str, data: bytes) -> None:
    with gcs.store.transaction() as db:
        db.execute("update objects set data = ? where name = ?", [data, target_of(uri)])


def test_too_large_object_is_not_asked_for(gcs: Gcs, objects: Objects, uri: str) -> None:
    """Its size is asked; no download is."""
    objects.write(uri, b"x" * 1_001, if_generation=ABSENT)
    with pytest.raises(BadRecord):
        objects.read(uri, max_bytes=1_000)
    assert gcs.count("objects.download") == 0


def test_packed_object_is_unpacked_within_the_limit(gcs: Gcs, objects: Objects, uri: str) -> None:
    """Content-Encoding gzip: a thousand bytes may unpack to a million, which the limit is for."""
    gcs.store.insert("switchyard-test", target_of(uri), gzip.compress(b"x" * 10**6), PACKED, NO_CONDITIONS)
    assert objects.read(uri)[0] == b"x" * 10**6
    assert objects.read(uri, max_bytes=10**6)[0] == b"x" * 10**6
    with pytest.raises(BadRecord, match="unpacked"):
        objects.read(uri, max_bytes=10**6 - 1)
    gcs.store.insert("switchyard-test", target_of(uri), b"not gzip", PACKED, NO_CONDITIONS)
    with pytest.raises(BadRecord, match="gzip"):
        objects.read(uri)


def test_listing_goes_through_all_pages(gcs: Gcs, objects: Objects, gcs_root: str) -> None:
    """More objects than one answer holds."""
    for number in range(1_203):
        gcs.store.insert("switchyard-test", f"{target_of(gcs_root)}/{number:04}", b"", {}, NO_CONDITIONS)
    assert objects.list(gcs_root) == [f"{gcs_root}/{number:04}" for number in range(1_203)]
    assert gcs.count("objects.list") == 2


def test_upload_continues_past_a_failed_file(gcs: Gcs, objects: Objects, gcs_root: str, tmp_path: Path) -> None:
    """The others go up; one error names what is missing; the same call again brings the rest."""
    for number in range(30):
        (tmp_path / f"{number:02}").write_bytes(os.urandom(100))
    gcs.inject(Fault(kind="objects.insert", target="*/07", status=503))
    with pytest.raises(TryAgain, match=r"1 of 30 files.*/07"):
        objects.upload_folder(tmp_path, gcs_root)
    assert len(objects.list(gcs_root)) == 29
    assert objects.upload_folder(tmp_path, gcs_root) == 30
    assert len(objects.list(gcs_root)) == 30


def test_upload_names_what_no_repetition_mends(gcs: Gcs, objects: Objects, gcs_root: str, tmp_path: Path) -> None:
    """A missing permission decides over a failure that passes."""
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x")
    gcs.inject(Fault(kind="objects.insert", target="*/1", status=503))
    gcs.inject(Fault(kind="objects.insert", target="*/3", status=403))
    with pytest.raises(BadSetup, match="2 of 4 files"):
        objects.upload_folder(tmp_path, gcs_root)


def test_upload_sends_several_files_at_a_time(gcs: Gcs, objects: Objects, gcs_root: str, tmp_path: Path) -> None:
    """Eight are under way before the first is answered; not more, whatever the folder holds."""
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"x")
    gcs.inject(Fault(kind="objects.insert", times=20, hold=True))
    with ThreadPoolExecutor(1) as pool:
        uploading = pool.submit(objects.upload_folder, tmp_path, gcs_root)
        give_up_at = time.monotonic() + 30
        while gcs.count("objects.insert") < PARALLEL_UPLOADS and time.monotonic() < give_up_at:
            assert not uploading.done()
        assert gcs.count("objects.insert") == PARALLEL_UPLOADS
        gcs.app.faults.forget()
        assert uploading.result(timeout=30) == 20


def test_upload_sends_large_files_in_chunks(gcs: Gcs, objects: Objects, gcs_root: str, tmp_path: Path) -> None:
    """So that eight at once fit in a small machine's memory."""
    data = os.urandom(CHUNK_BYTES + 1_000_000)
    (tmp_path / "candidate.parquet").write_bytes(data)
    objects.upload_folder(tmp_path, gcs_root)
    assert gcs.count("uploads.put") == 2
    assert objects.read(f"{gcs_root}/candidate.parquet")[0] == data


def test_token_is_sent_where_one_is_given() -> None:
    """Credentials reach the endpoint; without them it answers 401, which names what to do."""
    with start_gcs(token_prefix="ya29.") as server:
        options = {"api_endpoint": server.url}
        token = Credentials(token="ya29.test")
        known = GcsObjects(storage.Client(project=None, credentials=token, client_options=options))
        known.write("gs://switchyard-test/a", b"x", if_generation=ABSENT)
        anonymous = GcsObjects(storage.Client(project=None, credentials=ANONYMOUS, client_options=options))
        with pytest.raises(BadSetup, match="credentials"):
            anonymous.read("gs://switchyard-test/a")


def test_refused_key_is_a_setup_to_mend(gcs: Gcs, uri: str) -> None:
    """A key that was deleted: Google gives no token for it, today or tomorrow."""
    with start_metadata() as metadata:
        info = metadata.make_key_info("a@x.iam.gserviceaccount.com")
        info["private_key"] = metadata.make_key_info("b@x.iam.gserviceaccount.com")["private_key"]
        deleted = service_account.Credentials.from_service_account_info(info)
        with pytest.raises(BadSetup, match="invalid_grant"):
            open_objects(uri, credentials=deleted).stat(uri)


def test_client_asks_nothing_of_its_own(gcs: Gcs, objects: Objects, uri: str) -> None:
    """One call each; the vendor's own look at the bucket, which needs another permission, is switched off."""
    objects.write(uri, b"x", if_generation=ABSENT)
    objects.stat(uri)
    objects.read(uri)
    objects.list(uri)
    objects.delete(uri, if_generation=ANY)
    assert gcs.app.faults.counts() == {kind: 1 for kind, _ in CALLS.values()}


def test_absent_endpoint_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connection refused: at once, not after the vendor's two minutes of retries."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(TryAgain, match="training_metrics"):
        open_objects("gs://bucket").read("gs://bucket/training_metrics.json")


def test_local_run_loads_no_vendor() -> None:
    """Files need nothing of Google's, and no HTTP client either."""
    # At its start already, Python has the empty namespaces google and google.cloud: aiplatform's .pth makes them.
    code = (
        "import sys; before = set(sys.modules); import switchyard.clients.connect; "
        "import switchyard.clients.objects.open as o; o.open_objects('file:///x');"
        "new = set(sys.modules) - before;"
        "print([name for name in new if name.startswith(('google', 'grpc', 'requests', 'prefect'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_emulator_needs_no_metadata_server(gcs: Gcs) -> None:
    """With STORAGE_EMULATOR_HOST no one is asked for credentials: no ping of seconds, no account."""
    environ = {**os.environ, "GCE_METADATA_HOST": "127.0.0.1:9", "GCE_METADATA_IP": "127.0.0.1:9"}
    code = (
        "import logging; logging.basicConfig(level='DEBUG');"
        "from switchyard.clients.objects.open import open_objects; print(open_objects('gs://b').list('gs://switchyard-test/none'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "[]"
    assert "etadata" not in done.stderr


def test_errors_have_one_line_and_no_address_of_a_request(gcs: Gcs, objects: Objects, uri: str) -> None:
    """Messages stand on a row and in a log: the URI is named once, the request's own address is not."""
    errors: list[SwitchyardError] = []
    for status in (403, 503):
        gcs.inject(Fault(kind="objects.insert", status=status))
        try:
            objects.write(uri, b"x", if_generation=ANY)
        except SwitchyardError as err:
            errors.append(err)
    with pytest.raises(NotFound) as missing:
        objects.read(uri)
    for message in map(str, [*errors, missing.value]):
        assert uri in message
        assert "\n" not in message
        assert "http" not in message


@pytest.mark.parametrize("status", [400, 404, 409, 410])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_dropped_upload_is_started_anew(
    gcs: Gcs, gcs_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, chunk: int
) -> None:
    """At any chunk: the trainer's file arrives whole, once, by a new session (400: its sum was another's)."""
    monkeypatch.setattr("switchyard.clients.objects.gcs.CHUNK_BYTES", 4 * 2**20)
    data = os.urandom(9 * 2**20)
    (tmp_path / "candidate.parquet").write_bytes(data)
    gcs.inject(Fault(kind="uploads.put", nth=chunk, status=status))
    assert open_objects(gcs_root, retries_itself=True).upload_folder(tmp_path, gcs_root) == 1
    assert gcs.count("uploads.start") == 2
    assert open_objects(gcs_root).read(f"{gcs_root}/candidate.parquet")[0] == data


@pytest.mark.parametrize("status", [409, 410])
def test_upload_that_landed_unseen_is_not_doubled(gcs: Gcs, uri: str, status: int) -> None:
    """The last chunk landed, its answer was lost, and its session is gone: the new one finds our own write there."""
    data = os.urandom(9 * 2**20)
    gcs.inject(Fault(kind="uploads.put", status=status, after=True))
    objects = open_objects(uri, retries_itself=True)
    generation = objects.write(uri, data, if_generation=ABSENT)
    assert objects.read(uri) == (data, generation)
    assert gcs.count("uploads.start") == 2


@pytest.mark.parametrize("status", [409, 410])
def test_rival_that_wrote_while_an_upload_was_started_anew_is_seen(gcs: Gcs, uri: str, status: int) -> None:
    """What was dropped is no licence to overwrite: the rival's bytes stay."""
    mine, rivals = os.urandom(9 * 2**20), b"a rival's"
    objects = open_objects(uri, retries_itself=True)
    gcs.inject(Fault(kind="uploads.put", status=status))
    gcs.inject(Fault(kind="uploads.start", nth=2, hold=True))
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(objects.write, uri, mine, if_generation=ABSENT)
        give_up_at = time.monotonic() + 30
        while gcs.count("uploads.start") < 2:
            assert time.monotonic() < give_up_at
        gcs.store.insert("switchyard-test", target_of(uri), rivals, {}, NO_CONDITIONS)
        gcs.app.faults.forget()
        with pytest.raises(StaleWrite, match="someone else wrote"):
            writing.result(timeout=60)
    assert objects.read(uri)[0] == rivals


def test_upload_that_is_dropped_again_and_again_may_be_tried_again(gcs: Gcs, uri: str) -> None:
    """New sessions are begun within the time that the other retries have too."""
    gcs.inject(Fault(kind="uploads.put", status=410, times=1_000))
    objects = GcsObjects(storage.Client(project=None), retries_itself=True, retry_for_s=0.5)
    objects.write(f"{uri}.first", os.urandom(2**20), if_generation=ANY)  # so that the pace is known
    with pytest.raises(TryAgain, match="410"):
        objects.write(uri, os.urandom(9 * 2**20), if_generation=ABSENT)
    assert 1 < gcs.count("uploads.start") < 10


def test_task_is_told_of_a_dropped_upload_at_once(gcs: Gcs, objects: Objects, uri: str) -> None:
    """Where a task repeats the call, no new session is begun within."""
    gcs.inject(Fault(kind="uploads.put", status=410))
    with pytest.raises(TryAgain, match="410"):
        objects.write(uri, os.urandom(9 * 2**20), if_generation=ABSENT)
    assert gcs.count("uploads.start") == 1
    objects.write(uri, b"x", if_generation=ABSENT)


def test_narrow_line_takes_longer_and_loses_nothing(gcs: Gcs, gcs_root: str, tmp_path: Path) -> None:
    """With a sixtieth of the time-outs, and several times as long for every chunk, it arrives at the first try.

    No task would repeat it."""
    data = os.urandom(CHUNK_BYTES + 1_000_000)
    (tmp_path / "candidate.parquet").write_bytes(data)
    gcs.app.ways = Ways(reads_bytes_per_s=4 * 2**20)
    objects = GcsObjects(storage.Client(project=None), timeout_s=(10 / 60, 1.0))
    began = time.monotonic()
    assert objects.upload_folder(tmp_path, gcs_root) == 1
    assert time.monotonic() - began > 2.0, "the line was not narrow"
    assert gcs.count("uploads.put") == 2
    assert open_objects(gcs_root).read(f"{gcs_root}/candidate.parquet")[0] == data


def test_silence_in_a_large_upload_is_not_waited_for_once_the_pace_is_known(gcs: Gcs, uri: str) -> None:
    """A fast line's time-outs are short again."""
    objects = GcsObjects(storage.Client(project=None), timeout_s=(5.0, 0.2))
    data = os.urandom(8 * 2**20)
    objects.write(uri, data, if_generation=ABSENT)
    gcs.inject(Fault(kind="objects.insert", hold=True))
    began = time.monotonic()
    with pytest.raises(TryAgain, match="timed out"):
        objects.write(uri, data, if_generation=ANY)
    assert time.monotonic() - began < 30  # 134 s, were the pace not known
    gcs.app.faults.forget()


def test_allowance_follows_what_was_measured() -> None:
    """4 Mbit/s shared by eight at first; then a quarter of the last pace, and half of it after a time-out."""
    pace = Pace()
    assert pace.to_allowance_s(0) == 0
    assert pace.to_allowance_s(16 * 2**20) == pytest.approx(268, abs=1)
    pace.note(1_000, 60.0)
    assert pace.to_allowance_s(62_500) == 1.0
    pace.note(10_000_000, 2.0)
    assert pace.to_allowance_s(10_000_000) == pytest.approx(8.0)
    pace.note_timeout()
    assert pace.to_allowance_s(10_000_000) == pytest.approx(16.0)


def test_empty_object_without_a_size_is_empty(gcs: Gcs, objects: Objects, uri: str) -> None:
    """Some endpoints leave a zero out."""
    generation = objects.write(uri, b"", if_generation=ABSENT)
    gcs.app.ways = Ways(names_no_size=True)
    stat = Stat(size_bytes=0, generation=generation)
    assert objects.stat(uri) == stat
    assert list(objects.list_stats(uri)) == [(uri, stat)]
    assert objects.read(uri, max_bytes=10) == (b"", generation)
    assert objects.write(uri, b"", if_generation=ABSENT) == generation


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("words", ["Not Found", "No such object: no-such-bucket/a.json", "Nicht gefunden"])
def test_missing_bucket_is_known_in_any_words(gcs: Gcs, call: str, words: str) -> None:
    """Words are no contract: where an object is not there, the bucket is asked for."""
    gcs.app.ways = Ways(missing_bucket_words=words)
    objects = GcsObjects(storage.Client(project=None))
    with pytest.raises(BadSetup, match="there is no bucket no-such-bucket"):
        CALLS[call][1](objects, "gs://no-such-bucket/a.json")


def test_bucket_is_asked_for_once(gcs: Gcs, uri: str) -> None:
    """Then it is known to be there."""
    client = storage.Client(project=None)
    for _ in range(3):
        with pytest.raises(NotFound):
            GcsObjects(client).stat(uri)
    assert gcs.count("objects.list") == 1


def test_bucket_that_may_not_be_listed_is_taken_to_be_there(gcs: Gcs, uri: str) -> None:
    """A reader without storage.objects.list: the object is not there, which is all that can be known."""
    gcs.app.denied = {"storage.objects.list"}
    with pytest.raises(NotFound, match="training_metrics"):
        GcsObjects(storage.Client(project=None)).stat(uri)


@pytest.mark.parametrize("status", [400, 412])
@pytest.mark.parametrize("size", [2**20, 9 * 2**20])
@pytest.mark.parametrize("condition", ["absent", "any", "generation"])
def test_data_that_changed_on_its_way_is_no_rivals(
    gcs: Gcs, objects: Objects, uri: str, status: int, size: int, condition: str
) -> None:
    """The task may try again; the trainer has by then. What is there decides, not the answer's status or words."""
    generation = {"absent": ABSENT, "any": ANY}.get(condition)
    if generation is None:
        generation = objects.write(uri, b"before", if_generation=ABSENT)
    data = os.urandom(size)
    gcs.app.ways = Ways(broken_sum_status=status)
    gcs.inject(Fault(kind="uploads.put" if size > 2**23 else "objects.insert", flip=True))
    with pytest.raises(TryAgain):
        objects.write(uri, data, if_generation=generation)
    gcs.app.faults.forget()
    gcs.inject(Fault(kind="uploads.put" if size > 2**23 else "objects.insert", flip=True))
    open_objects(uri, retries_itself=True).write(uri, data, if_generation=generation)
    assert objects.read(uri)[0] == data


def test_file_that_changed_on_its_way_may_be_tried_again(
    gcs: Gcs, objects: Objects, gcs_root: str, tmp_path: Path
) -> None:
    """No generation was asked for, so 412 is no one's."""
    (tmp_path / "a").write_bytes(b"x" * 2**20)
    gcs.app.ways = Ways(broken_sum_status=412)
    gcs.inject(Fault(kind="objects.insert", flip=True))
    with pytest.raises(TryAgain, match="1 of 1 files"):
        objects.upload_folder(tmp_path, gcs_root)
    assert objects.upload_folder(tmp_path, gcs_root) == 1


def test_a_missing_package_is_a_setup_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without it still answers all that needs no bucket, and says why of what does."""
    monkeypatch.setitem(sys.modules, "switchyard.clients.objects.gcs", None)
    with pytest.raises(BadSetup, match="google-cloud-storage, which is not installed"):
        open_objects("gs://bucket/a")
