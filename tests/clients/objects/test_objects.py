"""The suite of the port `Objects`, for every implementation."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, TryAgain
from switchyard.core.ports import ABSENT, ANY, Objects, Stat


@pytest.fixture(params=["file", "gcs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty place, one an implementation; it has no slash at its end."""
    makers: dict[str, Callable[[], str]] = {
        "file": (tmp_path / "objects").as_uri,
        "gcs": lambda: request.getfixturevalue("gcs_root"),
    }
    return makers[request.param]()


@pytest.fixture
def objects(root: str) -> Objects:
    return open_objects(root)


def write_all(objects: Objects, root: str, *names: str) -> list[str]:
    uris = [f"{root}/{name}" for name in names]
    for uri in uris:
        objects.write(uri, b"x", if_generation=ABSENT)
    return uris


@pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", "größe".encode(), bytes(range(256)) * 10_000])
def test_read_returns_what_was_written(objects: Objects, root: str, data: bytes) -> None:
    """Bytes come back as they were, with the generation that write and stat name."""
    uri = f"{root}/quick_tests/81/training_metrics.json"
    generation = objects.write(uri, data, if_generation=ABSENT)
    assert generation > 0
    assert objects.read(uri) == (data, generation)
    assert objects.stat(uri) == Stat(size_bytes=len(data), generation=generation)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, 5, b""),
        (99, 5, b""),
        (0, 0, b""),
        (0, 10, b"0123456789"),
    ],
)
def test_read_range_returns_a_part(objects: Objects, root: str, start: int, length: int, expected: bytes) -> None:
    """The bytes from a place on, fewer or none at the end; what is not there is told."""
    objects.write(f"{root}/a.csv", b"0123456789", if_generation=ABSENT)
    assert objects.read_range(f"{root}/a.csv", start=start, length=length) == expected
    with pytest.raises(NotFound, match=r"b\.csv"):
        objects.read_range(f"{root}/b.csv", start=start, length=length)


def test_read_range_of_nothing_is_nothing(objects: Objects, root: str) -> None:
    """An empty object has no bytes, from any place on."""
    objects.write(f"{root}/empty", b"", if_generation=ABSENT)
    assert objects.read_range(f"{root}/empty", start=0, length=9) == b""


def test_generation_grows_with_every_write(objects: Objects, root: str) -> None:
    """Generations order the writes of one object, also those within one tick of the clock."""
    uri = f"{root}/a.json"
    generations = [objects.write(uri, b"same", if_generation=ANY) for _ in range(20)]
    assert generations == sorted(set(generations))


def test_write_replaces_the_generation_it_names(objects: Objects, root: str) -> None:
    """Who has read the newest generation may replace it."""
    uri = f"{root}/a.json"
    first = objects.write(uri, b"first", if_generation=ABSENT)
    second = objects.write(uri, b"second", if_generation=first)
    assert second > first
    assert objects.read(uri) == (b"second", second)


def test_write_refuses_a_generation_that_is_gone(objects: Objects, root: str) -> None:
    """Who has read an older generation must read again: nothing is overwritten unseen."""
    uri = f"{root}/a.json"
    first = objects.write(uri, b"first", if_generation=ABSENT)
    second = objects.write(uri, b"second", if_generation=first)
    with pytest.raises(StaleWrite, match=r"a\.json"):
        objects.write(uri, b"third", if_generation=first)
    assert objects.read(uri) == (b"second", second)


def test_write_refuses_to_create_what_exists(objects: Objects, root: str) -> None:
    """ABSENT means that nothing is there."""
    uri = f"{root}/a.json"
    generation = objects.write(uri, b"first", if_generation=ABSENT)
    with pytest.raises(StaleWrite, match=r"a\.json"):
        objects.write(uri, b"other", if_generation=ABSENT)
    assert objects.read(uri) == (b"first", generation)


def test_write_refuses_to_replace_what_does_not_exist(objects: Objects, root: str) -> None:
    """A positive generation means that something is there."""
    with pytest.raises(StaleWrite):
        objects.write(f"{root}/a.json", b"x", if_generation=17)
    assert objects.list(root) == []


def test_repeated_write_returns_the_generation_that_is_there(objects: Objects, root: str) -> None:
    """An own write whose answer was lost is not someone else's: the same call again succeeds and writes nothing."""
    uri = f"{root}/a.json"
    first = objects.write(uri, b"first", if_generation=ABSENT)
    assert objects.write(uri, b"first", if_generation=ABSENT) == first
    second = objects.write(uri, b"second", if_generation=first)
    assert objects.write(uri, b"second", if_generation=first) == second
    assert objects.stat(uri).generation == second


def test_any_writes_whatever_is_there(objects: Objects, root: str) -> None:
    """ANY creates and replaces."""
    uri = f"{root}/a.json"
    objects.write(uri, b"first", if_generation=ANY)
    objects.write(uri, b"second", if_generation=ANY)
    assert objects.read(uri)[0] == b"second"


@pytest.mark.parametrize("if_generation", [-2, -100])
def test_generation_below_any_is_refused(objects: Objects, root: str, if_generation: int) -> None:
    """A number that no write ever returned is the caller's mistake."""
    with pytest.raises(BadRequest, match="if_generation"):
        objects.write(f"{root}/a.json", b"x", if_generation=if_generation)
    with pytest.raises(BadRequest, match="if_generation"):
        objects.delete(f"{root}/a.json", if_generation=if_generation)


def test_one_of_many_creators_wins(objects: Objects, root: str) -> None:
    """16 threads create one object at once, ten times: each time one succeeds, the others learn that they did not."""
    for round_number in range(10):
        uri = f"{root}/races/{round_number}"
        at_once = threading.Barrier(16)

        def create(writer: int, uri: str = uri, at_once: threading.Barrier = at_once) -> bytes | None:
            data = f"writer {writer}".encode()
            at_once.wait()
            try:
                objects.write(uri, data, if_generation=ABSENT)
            except StaleWrite:
                return None
            return data

        with ThreadPoolExecutor(16) as pool:
            winners = [data for data in pool.map(create, range(16)) if data]
        assert [objects.read(uri)[0]] == winners


def test_no_increment_is_lost_between_readers_and_writers(objects: Objects, root: str) -> None:
    """Read, add one, write if unchanged, else again: eight threads of ten additions make eighty."""
    uri = f"{root}/counter"
    objects.write(uri, b"0", if_generation=ABSENT)

    def add_ten(writer: int) -> None:
        for step in range(10):
            while True:
                data, generation = objects.read(uri)
                # The writer's name keeps two writers' bytes apart: equal ones would be a lost reply.
                after = f"{int(data.split()[0]) + 1} {writer} {step}".encode()
                try:
                    objects.write(uri, after, if_generation=generation)
                    break
                except StaleWrite:
                    continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_ten, range(8)))
    assert objects.read(uri)[0].split()[0] == b"80"


def test_reader_never_sees_a_part(objects: Objects, root: str) -> None:
    """While an object is rewritten, every read is one of its versions whole, with that version's generation."""
    uri = f"{root}/large"
    size = 1_000_000
    seen: dict[int, bytes] = {}
    versions = {objects.write(uri, bytes([0]) * size, if_generation=ANY): bytes([0])}
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            data, generation = objects.read(uri)
            assert data == data[:1] * size
            seen[generation] = data[:1]

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_on)
        for version in range(1, 30):
            versions[objects.write(uri, bytes([version]) * size, if_generation=ANY)] = bytes([version])
        done.set()
        reading.result()
    assert seen.items() <= versions.items()


def test_object_that_is_not_there_is_not_found(objects: Objects, root: str) -> None:
    """The message names the URI."""
    with pytest.raises(NotFound, match=r"none\.json"):
        objects.stat(f"{root}/none.json")
    with pytest.raises(NotFound, match=r"none\.json"):
        objects.read(f"{root}/none.json")


def test_prefix_of_objects_is_no_object(objects: Objects, root: str) -> None:
    """What looks like a folder cannot be read, and deleting it deletes nothing within."""
    [uri] = write_all(objects, root, "folder/a.json")
    with pytest.raises(NotFound, match="folder"):
        objects.read(f"{root}/folder")
    with pytest.raises(NotFound, match="folder"):
        objects.stat(f"{root}/folder")
    with pytest.raises(NotFound, match="none"):
        objects.read(f"{uri}/below-an-object")
    assert objects.list(root) == [uri]


def test_object_above_the_limit_is_not_read(objects: Objects, root: str) -> None:
    """The limit itself is allowed; one byte more is refused with both sizes."""
    uri = f"{root}/a.json"
    objects.write(uri, b"x" * 1_001, if_generation=ABSENT)
    assert len(objects.read(uri, max_bytes=1_001)[0]) == 1_001
    with pytest.raises(BadRecord, match=r"a\.json.*1,000 bytes.*1,001"):
        objects.read(uri, max_bytes=1_000)


def test_list_finds_every_object_that_starts_with_the_prefix(objects: Objects, root: str) -> None:
    """A prefix is the beginning of a URI, not a folder: quick test 8's prefix also finds quick test 81's objects."""
    uris = write_all(objects, root, "q/8/a.json", "q/81/a.json", "q/81/model/b.pb", "q/9/a.json", "q/8.json")
    assert objects.list(f"{root}/q/8") == sorted(uris[:3] + uris[4:])
    assert objects.list(f"{root}/q/81/") == uris[1:3]
    assert objects.list(f"{root}/q/81/model/b.pb") == [uris[2]]
    assert objects.list(root) == sorted(uris)


def test_listed_stats_are_those_of_each_object(objects: Objects, root: str) -> None:
    """The same objects as `list`, in the same order, with what `stat` says; folders are none."""
    uris = write_all(objects, root, "q/8/b.json", "q/8/a.json", "q/8-1.json", "q/8/A/c.json")
    objects.write(uris[0], b"longer", if_generation=ANY)
    found = list(objects.list_stats(f"{root}/q/8"))
    assert [uri for uri, _ in found] == objects.list(f"{root}/q/8")
    assert found == [(uri, objects.stat(uri)) for uri in sorted(uris)]
    assert list(objects.list_stats(f"{root}/none/")) == []


def test_dated_objects_say_when_they_were_written(objects: Objects, root: str) -> None:
    """As `list_stats`; a later write has a later time, of this generation."""
    uris = write_all(objects, root, "q/8/b.json", "q/8/a.json")
    first = {one.uri: one.written_at for one in objects.list_dated(f"{root}/q/")}
    objects.write(uris[0], b"longer", if_generation=ANY)
    found = list(objects.list_dated(f"{root}/q/"))
    assert [(one.uri, one.stat) for one in found] == list(objects.list_stats(f"{root}/q/"))
    assert all(one.written_at.utcoffset() == timedelta(0) for one in found)
    assert abs(datetime.now(UTC) - found[0].written_at) < timedelta(minutes=5)
    assert {one.uri: one.written_at > first[one.uri] for one in found} == {uris[1]: False, uris[0]: True}
    assert list(objects.list_dated(f"{root}/none/")) == []


def test_folders_directly_below_are_listed(objects: Objects, root: str) -> None:
    """Each once, however much lies in it, and no object among them."""
    write_all(objects, root, "q/8/a.json", "q/8/b/c.json", "q/81/a.json", "q/9.json", "q/b-1/a.json")
    assert objects.list_folders(f"{root}/q/8/") == [f"{root}/q/8/b/"]
    assert objects.list_folders(f"{root}/q/8/b/") == []
    assert objects.list_folders(f"{root}/none/") == []
    assert objects.list_folders(f"{root}/q/9.json/") == []
    assert len(objects.list_folders(f"{root}/q/")) == 3


def test_list_of_nothing_is_empty(objects: Objects, root: str) -> None:
    """A place that does not exist has no objects."""
    write_all(objects, root, "a.json")
    assert objects.list(f"{root}/none/") == []
    assert objects.list(f"{root}/b") == []
    assert objects.list(f"{root}/a.json/") == []


def test_delete_removes_the_generation_it_names(objects: Objects, root: str) -> None:
    """A second call does nothing, whatever generation it names."""
    uri = f"{root}/a.json"
    generation = objects.write(uri, b"x", if_generation=ABSENT)
    objects.delete(uri, if_generation=generation)
    assert objects.list(root) == []
    objects.delete(uri, if_generation=generation)
    objects.delete(uri, if_generation=ANY)
    objects.delete(f"{root}/no/such/folder/a.json", if_generation=ANY)


def test_delete_refuses_another_generation(objects: Objects, root: str) -> None:
    """What someone wrote since is not deleted."""
    uri = f"{root}/a.json"
    first = objects.write(uri, b"first", if_generation=ABSENT)
    objects.write(uri, b"second", if_generation=first)
    for generation in (first, ABSENT):
        with pytest.raises(StaleWrite, match=r"a\.json"):
            objects.delete(uri, if_generation=generation)
    assert objects.read(uri)[0] == b"second"
    objects.delete(uri, if_generation=ANY)
    assert objects.list(root) == []


def test_deleted_object_can_be_created_again(objects: Objects, root: str) -> None:
    """Its generation is another one."""
    uri = f"{root}/a.json"
    first = objects.write(uri, b"x", if_generation=ABSENT)
    objects.delete(uri, if_generation=first)
    assert objects.write(uri, b"x", if_generation=ABSENT) > first


def test_upload_copies_every_file_below_a_folder(objects: Objects, root: str, tmp_path: Path) -> None:
    """Sub-folders, empty files and unusual names included; what is there already stays or is replaced."""
    source = tmp_path / "source"
    files = {"saved_model.pb": b"model", "variables/data-00000-of-00001": b"\x00" * 3_000_000, "empty": b""}
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    [other] = write_all(objects, root, "model/other")
    assert objects.upload_folder(source, f"{root}/model") == 3
    assert {uri: objects.read(uri)[0] for uri in objects.list(f"{root}/model/")} == {
        other: b"x",
        **{f"{root}/model/{name}": data for name, data in files.items()},
    }
    (source / "empty").write_bytes(b"now full")
    assert objects.upload_folder(source, f"{root}/model/") == 3
    assert objects.read(f"{root}/model/empty")[0] == b"now full"
    assert len(objects.list(f"{root}/model/")) == 4


def test_upload_of_an_empty_folder_copies_nothing(objects: Objects, root: str, tmp_path: Path) -> None:
    """No file, no object."""
    (tmp_path / "source" / "below").mkdir(parents=True)
    assert objects.upload_folder(tmp_path / "source", f"{root}/model") == 0
    assert objects.list(root) == []


def test_upload_of_no_folder_is_not_found(objects: Objects, root: str, tmp_path: Path) -> None:
    """This holds for a missing folder and for a file."""
    (tmp_path / "file").write_bytes(b"x")
    for name in ("missing", "file"):
        with pytest.raises(NotFound, match=name):
            objects.upload_folder(tmp_path / name, f"{root}/model")


@pytest.mark.parametrize("data", [b"", b"small", bytes(range(256)) * 50_000])
def test_streamed_copy_is_the_same_bytes(objects: Objects, root: str, data: bytes) -> None:
    """A file goes in and comes out part by part, wherever the file stood; what is answered is of these bytes."""
    uri = f"{root}/q/a.bin"
    given = io.BytesIO(data)
    given.seek(0, io.SEEK_END)
    generation = objects.write_from(uri, given, if_generation=ABSENT)
    assert objects.read(uri) == (data, generation)
    found = io.BytesIO()
    assert objects.read_into(uri, found) == Stat(size_bytes=len(data), generation=generation)
    assert found.getvalue() == data


def test_streamed_write_obeys_generations(objects: Objects, root: str) -> None:
    """As a write of bytes: an own write whose answer was lost is found, another one's is not overwritten."""
    uri = f"{root}/a.bin"
    first = objects.write_from(uri, io.BytesIO(b"first"), if_generation=ABSENT)
    assert objects.write_from(uri, io.BytesIO(b"first"), if_generation=ABSENT) == first
    for other in (b"other", b"longer than it"):
        with pytest.raises(StaleWrite, match=r"a\.bin"):
            objects.write_from(uri, io.BytesIO(other), if_generation=ABSENT)
    assert objects.read(uri) == (b"first", first)
    second = objects.write_from(uri, io.BytesIO(b"other"), if_generation=first)
    assert objects.read(uri) == (b"other", second)
    with pytest.raises(BadRequest, match="if_generation"):
        objects.write_from(uri, io.BytesIO(b"x"), if_generation=-2)


def test_streamed_read_of_nothing_is_not_found(objects: Objects, root: str) -> None:
    """The message names the URI, and nothing is written."""
    found = io.BytesIO()
    with pytest.raises(NotFound, match=r"none\.bin"):
        objects.read_into(f"{root}/none.bin", found)
    assert found.getvalue() == b""


def test_object_that_changes_while_it_is_streamed_is_told_or_whole(objects: Objects, root: str) -> None:
    """A reader that is overtaken by a writer has all of one version, or is told; never a mixture."""
    uri = f"{root}/a.bin"
    size = 3_000_000
    objects.write(uri, b"a" * size, if_generation=ABSENT)

    class Slow(io.BytesIO):
        """Has the object written again when the first part has come."""

        written = False

        def write(self, part: Any) -> int:
            if not self.written:
                self.written = True
                objects.write(uri, b"b" * size, if_generation=ANY)
            return super().write(part)

    found = Slow()
    try:
        stat = objects.read_into(uri, found)
    except (StaleWrite, TryAgain):
        return
    assert stat.size_bytes == size
    assert found.getvalue() == b"a" * size
