"""The artifacts of MLflow's runs: what there is, copied, and what of the copies is whole."""

import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from switchyard.clients.artifacts.own import ObjectsSource
from switchyard.clients.objects.files import FileObjects
from switchyard.core.artifacts.manifest import Copied, LeftOut, SourceObject, to_object_uri
from switchyard.core.artifacts.places import to_allowed, to_moved
from switchyard.core.artifacts.plan import ArtifactRun
from switchyard.core.errors import BadSetup, NotFound, TryAgain
from switchyard.core.ports import ANY, Stat
from switchyard.services import artifact_copying, artifact_objects
from switchyard.services.artifact_copying import Gate, Progress
from switchyard.services.artifact_objects import Stored
from switchyard.services.artifacts import copy_runs, find_copied_runs, find_kept, plan_runs, verify_runs
from switchyard.services.drill import compare_copies
from switchyard.services.verify import count_kinds
from tests.clients.artifacts.owner_rows import add_owners
from tests.clients.mlflow.stores import make_sqlite
from tests.clients.objects.small_disk import small_disk
from tests.services.artifact_world import ArtifactWorld

FILES = {
    "a": {"model/weights.bin": b"w" * 5_000, "plots/Größe 100%.png": b"png", "empty": b""},
    "b": {"model/weights.bin": b"w" * 5_000, "A": b"1", "a": b"2"},
    "c": {},
}
__all__ = ["small_disk"]
MakeWorld = Callable[..., ArtifactWorld]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[ArtifactWorld] = []

    def make(files: Any = FILES, **changes: Any) -> ArtifactWorld:
        made.append(ArtifactWorld(tmp_path, files, **changes))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture(params=["file", "gcs"])
def world(request: pytest.FixtureRequest, make_world: MakeWorld) -> ArtifactWorld:
    """Copied to a disk, and to a bucket."""
    return make_world(to_uri=request.getfixturevalue("gcs_root") if request.param == "gcs" else "")


def by_letter(found: list[Any]) -> dict[str, Any]:
    return {one.mlflow_run_id[0]: one for one in found}


def test_what_is_copied_is_what_was_there(world: ArtifactWorld) -> None:
    """Every artifact by its name, with its bytes; the same content once; two names of one spelling are two."""
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert {letter: one.state for letter, one in done.items()} == {"a": "copied", "b": "copied", "c": "nothing"}
    assert world.kept("a") == FILES["a"]
    assert world.kept("b") == FILES["b"]
    blobs = world.outside.objects(world.to_uri).list(f"{world.to_uri}/objects/")
    assert len(blobs) == len({data for files in FILES.values() for data in files.values()})
    assert world.lines() == {"a": ("copied", ""), "b": ("copied", ""), "c": ("nothing", "")}
    assert world.outside.objects(world.to_uri).list(f"{world.to_uri}/unfinished/") == []


def test_runs_are_kept_only_as_long_as_their_copies_are_there(world: ArtifactWorld) -> None:
    """What verify calls kept: the manifest, and each object by its size; a row of the database alone proves nothing."""
    outside = world.outside
    assert find_kept(outside).copied == frozenset()
    copy_runs(outside, world.runs(), world.how())
    found = find_kept(outside)
    assert {run_id[0] for run_id in found.copied} == set("abc")
    assert {run_id[0] for run_id in found.empty} == {"c"}
    objects = outside.objects(world.to_uri)
    sizes = {uri: stat.size_bytes for uri, stat in objects.list_stats(f"{world.to_uri}/objects/")}
    shared = next(uri for uri, size in sizes.items() if size == 5_000)
    data, generation = objects.read(shared)
    objects.write(shared, data[:-1], if_generation=generation)
    assert {run_id[0] for run_id in find_kept(outside).copied} == {"c"}
    objects.write(shared, data, if_generation=ANY)
    (manifest,) = objects.list(f"{world.to_uri}/runs/{'b' * 32}/")
    objects.delete(manifest, if_generation=ANY)
    assert {run_id[0] for run_id in find_kept(outside).copied} == {"a", "c"}


def test_a_second_copy_reads_nothing(world: ArtifactWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are listed, and nothing has changed."""
    copy_runs(world.outside, world.runs(), world.how())

    def refuse(*_: object) -> None:
        raise AssertionError("it must not read")

    monkeypatch.setattr(ObjectsSource, "fetch", refuse)
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert {letter: one.state for letter, one in done.items()} == {"a": "unchanged", "b": "unchanged", "c": "nothing"}
    assert [one.copied for one in done.values()] == [0, 0, 0]


def test_what_is_new_or_has_changed_is_copied_and_what_is_deleted_stays(world: ArtifactWorld) -> None:
    """A copy follows its source, and loses nothing."""
    copy_runs(world.outside, world.runs(), world.how())
    world.write("a", "model/weights.bin", b"v" * 5_000)
    world.write("a", "new", b"new")
    (world.place("a") / "empty").unlink()
    [plan] = plan_runs(world.outside, world.runs(quick_test_id=world.ids["a"]), world.how())
    assert (plan.state, plan.objects, plan.to_copy, plan.to_copy_bytes) == ("to copy", 3, 2, 5_003)
    [done] = copy_runs(world.outside, world.runs(quick_test_id=world.ids["a"]), world.how())
    assert (done.state, done.copied, done.objects) == ("copied", 2, 4)
    assert world.kept("a") == FILES["a"] | {"model/weights.bin": b"v" * 5_000, "new": b"new"}


def test_a_plan_touches_nothing(world: ArtifactWorld) -> None:
    """It says how much there is, and what is kept of it."""
    plans = by_letter(plan_runs(world.outside, world.runs(), world.how()))
    assert {letter: one.state for letter, one in plans.items()} == {"a": "to copy", "b": "to copy", "c": "nothing"}
    assert (plans["a"].objects, plans["a"].size_bytes, plans["a"].to_copy) == (3, 5_003, 3)
    assert world.outside.objects(world.to_uri).list(world.to_uri) == []
    assert world.lines() == {}
    copy_runs(world.outside, world.runs(), world.how())
    plans = by_letter(plan_runs(world.outside, world.runs(), world.how()))
    assert {letter: one.state for letter, one in plans.items()} == {"a": "copied", "b": "copied", "c": "nothing"}


def test_what_is_copied_is_verified_without_mlflow(world: ArtifactWorld) -> None:
    """Every object is read again; one that is damaged or gone is named, and copied again by `again`."""
    copy_runs(world.outside, world.runs(), world.how())
    runs = find_copied_runs(world.outside)
    found = by_letter(verify_runs(world.outside, runs, world.how()))
    assert {letter: one.state for letter, one in found.items()} == {"a": "kept", "b": "kept", "c": "nothing"}
    objects = world.outside.objects(world.to_uri)
    sha256 = {one.path: one.sha256 for one in world.manifest("b").objects}
    damaged, gone = (to_object_uri(world.to_uri, sha256[path]) for path in ("A", "a"))
    objects.write(damaged, b"x", if_generation=-1)
    objects.delete(gone, if_generation=-1)
    found = by_letter(verify_runs(world.outside, runs, world.how()))
    assert found["a"].state == "kept"
    assert found["b"].state == "differs"
    assert len(found["b"].problems) == 2
    assert "'A' is damaged" in found["b"].problem
    assert "'a' is gone" in found["b"].problem
    copy_runs(world.outside, world.runs(), world.how(again=True))
    assert [one.state for one in verify_runs(world.outside, runs, world.how())] == ["kept", "kept", "nothing"]
    assert world.kept("b") == FILES["b"]


def test_a_drill_reads_the_copies_of_other_runs_where_its_own_have_none(world: ArtifactWorld) -> None:
    """And says that it compared none where there are none, which proves nothing; what is damaged is named."""
    assert compare_copies(world.outside, ["a" * 32], 2) == (0, ["artifacts: none compared"])
    copy_runs(world.outside, world.runs(), world.how())
    assert compare_copies(world.outside, ["c" * 32], 1) == (1, [])  # it has no artifacts
    assert compare_copies(world.outside, ["a" * 32], 5) == (2, [])
    [damaged] = [one.sha256 for one in world.manifest("b").objects if one.path == "A"]
    world.outside.objects(world.to_uri).write(to_object_uri(world.to_uri, damaged), b"x", if_generation=ANY)
    compared, said = compare_copies(world.outside, ["a" * 32], 2)
    assert compared == 2
    assert [line.split(":")[0] for line in said] == [f"artifacts of run {'b' * 32}"]


def test_a_copy_whose_objects_are_gone_is_copied_again(world: ArtifactWorld) -> None:
    """A plain copy mends what is gone or cut; the plan counts it, and verify names it.

    The manifest only says what was there once. If the source no longer has it, the run's line says each time that it is
    lost."""
    copy_runs(world.outside, world.runs(), world.how())
    objects = world.outside.objects(world.to_uri)
    sha256 = {one.path: one.sha256 for one in world.manifest("b").objects}
    cut, gone = (to_object_uri(world.to_uri, sha256[path]) for path in ("A", "a"))
    objects.write(cut, b"", if_generation=ANY)
    objects.delete(gone, if_generation=ANY)
    assert "'a' is gone" in by_letter(verify_runs(world.outside, world.runs(), world.how()))["b"].problem
    plans = by_letter(plan_runs(world.outside, world.runs(), world.how()))
    assert (plans["a"].to_copy, plans["b"].to_copy, plans["b"].state) == (0, 2, "to copy")
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert (done["a"].state, done["b"].state, done["b"].copied) == ("unchanged", "copied", 2)
    assert world.kept("b") == FILES["b"]
    (world.place("b") / "a").unlink()
    objects.delete(gone, if_generation=ANY)
    for _ in range(2):
        done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
        assert (done["b"].state, done["b"].objects, [one.path for one in done["b"].failed]) == ("partial", 2, ["a"])
        assert world.lines()["b"][1].endswith("'a': its copy is gone, and its source no longer has it")
    world.write("b", "a", b"2")
    assert by_letter(copy_runs(world.outside, world.runs(), world.how()))["b"].state == "copied"
    assert world.kept("b") == FILES["b"]


def test_a_run_that_mlflow_has_no_longer_says_what_is_lost_of_its_copy(make_world: MakeWorld) -> None:
    """Its copy is all there is: an object of it that is gone makes it partial, and the command fails."""
    world = make_world({"a": {"x": b"1", "y": b"2"}})
    copy_runs(world.outside, world.runs(), world.how())
    [gone] = [one.sha256 for one in world.manifest("a").objects if one.path == "x"]
    (world.folder / "mlflow.db").unlink()
    make_sqlite(world.folder / "mlflow.db")
    world.outside.objects(world.to_uri).delete(to_object_uri(world.to_uri, gone), if_generation=ANY)
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert (done.state, done.objects, [one.path for one in done.failed]) == ("partial", 1, ["x"])


def test_a_note_whose_objects_are_gone_is_not_believed(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted copy goes on with what is there, and copies again what was lost since."""
    world = make_world({"a": {f"{number:02}": b"%d" % number for number in range(10)}})
    progress = Progress()

    def end(self: Any, *arguments: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(artifact_copying.Copying, "_finish", end)
        with pytest.raises(KeyboardInterrupt):
            copy_runs(world.outside, world.runs(), world.how(), progress=progress)
    objects = world.outside.objects(world.to_uri)
    stored = objects.list(f"{world.to_uri}/objects/")
    assert len(stored) == 10
    objects.delete(stored[3], if_generation=ANY)
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert (done.state, done.copied, done.objects) == ("copied", 1, 10)
    assert world.kept("a") == world.files["a"]


@pytest.mark.parametrize("remembered", [0, 2_000])
@pytest.mark.parametrize("listed_for", [0, 100])
def test_what_is_there_is_found_however_many_there_are(
    world: ArtifactWorld, monkeypatch: pytest.MonkeyPatch, remembered: int, listed_for: int
) -> None:
    """Few objects are remembered by one listing; of a large folder they are asked for, or listed for this run alone."""
    monkeypatch.setattr(artifact_objects, "REMEMBERED", remembered)
    monkeypatch.setattr(artifact_objects, "LISTED_FOR", listed_for)
    copy_runs(world.outside, world.runs(), world.how())
    objects, stored = world.outside.objects(world.to_uri), Stored()
    named = world.manifest("b").objects
    assert stored.find_missing(objects, world.to_uri, named) == frozenset()
    other = Copied(path="x", size_bytes=1, sha256=named[0].sha256[:2] + "0" * 62)
    longer = Copied(path="y", size_bytes=9, sha256=named[1].sha256)
    missing = frozenset((other.sha256, longer.sha256))
    assert stored.find_missing(objects, world.to_uri, [*named, other]) == {other.sha256}
    assert stored.find_missing(objects, world.to_uri, [longer, other]) == missing


def test_copies_are_compared_with_their_source(world: ArtifactWorld) -> None:
    """An artifact that is another one by now, or is not copied, is named; one that was deleted there is none."""
    copy_runs(world.outside, world.runs(), world.how())
    world.write("a", "model/weights.bin", b"x" * 5_000)
    world.write("a", "new", b"new")
    (world.place("b") / "A").unlink()
    found = by_letter(verify_runs(world.outside, world.runs(), world.how(), against_source=True))
    assert found["a"].problems == ("'model/weights.bin' is another one now", "'new' is not copied")
    assert found["b"].state == "kept"


def test_a_run_without_a_copy_is_missing(world: ArtifactWorld) -> None:
    """And one whose manifest was changed is not believed."""
    runs = find_copied_runs(world.outside)
    assert {one.state for one in verify_runs(world.outside, runs, world.how())} == {"missing"}
    copy_runs(world.outside, world.runs(), world.how())
    objects = world.outside.objects(world.to_uri)
    [uri] = objects.list(f"{world.to_uri}/runs/{'a' * 32}/")
    objects.write(uri, objects.read(uri)[0].replace(b"empty", b"other"), if_generation=-1)
    found = by_letter(verify_runs(world.outside, runs, world.how()))
    assert (found["a"].state, found["b"].state) == ("differs", "kept")


def test_odd_names_and_links_are_left_out_and_named(make_world: MakeWorld, tmp_path: Path) -> None:
    """A link may lead anywhere; a name that hides is no name. The others go on, and the next copy says the same."""
    world = make_world({"a": {"good": b"good", "line\nbreak": b"x"}, "b": {"good": b"b"}})
    (tmp_path / "secret").write_bytes(b"secret")
    (world.place("a") / "link").symlink_to(tmp_path / "secret")
    (world.place("a") / "folder").symlink_to(tmp_path)
    os.mkfifo(world.place("a") / "pipe")
    (world.place("a") / os.fsdecode(b"no\xffutf8")).write_bytes(b"x")
    for _ in range(2):
        done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
        assert (done["a"].state, done["b"].state) == ("partial", "copied" if done["b"].copied else "unchanged")
        assert [one.path for one in done["a"].failed] == ["folder", "line\nbreak", "link", "no\\udcffutf8", "pipe"]
    assert world.kept("a") == {"good": b"good"}
    assert not any(data == b"secret" for data in world.stored().values())
    state, error = world.lines()["a"]
    assert (state, "'link': it is a link" in error) == ("partial", True)
    assert [one.state for one in verify_runs(world.outside, world.runs(), world.how())] == ["partial", "kept"]


def test_names_that_lead_elsewhere_are_never_asked_for(make_world: MakeWorld, gcs_root: str) -> None:
    """An object of a bucket may be called `..`."""
    world = make_world({"a": {}}, uris={"a": f"{gcs_root}/0/a/artifacts"})
    objects = world.outside.objects(gcs_root)
    for name in ("good", "a/../../b", "x//y"):
        objects.write(f"{gcs_root}/0/a/artifacts/{name}", b"1", if_generation=0)
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert (done.state, [one.path for one in done.failed]) == ("partial", ["a/../../b", "x//y"])
    assert world.kept("a") == {"good": b"1"}


def test_an_object_that_cannot_be_read_is_its_own_failure(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are copied; once it can be read, the same command copies it alone."""
    world = make_world({"a": {"good": b"good", "locked": b"x"}, "b": {"good": b"b"}})
    read_into = FileObjects.read_into

    def refuse(self: FileObjects, uri: str, file: BinaryIO, **how: Any) -> Stat:
        if uri.endswith("locked"):
            raise BadSetup(f"could not read {uri}: Permission denied")
        return read_into(self, uri, file, **how)

    with monkeypatch.context() as patched:
        patched.setattr(FileObjects, "read_into", refuse)
        done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert (done["a"].state, done["b"].state) == ("partial", "copied")
    assert "Permission denied" in world.lines()["a"][1]
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert (done["a"].state, done["a"].copied, done["b"].state) == ("copied", 1, "unchanged")
    assert world.lines()["a"] == ("copied", "")


def test_what_may_pass_is_raised_when_all_else_is_done(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task tries again; when it gives up, the run's line says why, and the others are copied."""
    world = make_world({"a": {"bad": b"x", "good": b"good"}, "b": {"good": b"b"}})
    read_into = FileObjects.read_into

    def fail(self: FileObjects, uri: str, file: BinaryIO, **how: Any) -> Stat:
        if uri.endswith("bad"):
            raise TryAgain(f"could not read {uri}: the connection broke")
        return read_into(self, uri, file, **how)

    with monkeypatch.context() as patched:
        patched.setattr(FileObjects, "read_into", fail)
        with pytest.raises(TryAgain, match="the connection broke"):
            copy_runs(world.outside, world.runs(), world.how())
        assert world.kept("b") == {"good": b"b"}
        assert world.kept("a") == {"good": b"good"}
        copy_runs(world.outside, world.runs(), world.how(), gives_up=True)
    assert world.lines()["a"][0] == "partial"
    copy_runs(world.outside, world.runs(), world.how())
    assert world.lines()["a"] == ("copied", "")


class Weather:
    """Breaks the reading of artifacts with names that `is_bad` accepts.

    With `is_away` it also breaks the listing of places once one was broken."""

    def __init__(self, patched: pytest.MonkeyPatch, is_bad: Callable[[str], bool], *, is_away: bool) -> None:
        self.read: list[str] = []
        self.broken = 0
        read_into, list_place = FileObjects.read_into, ObjectsSource.list

        def read(objects: FileObjects, uri: str, file: BinaryIO, **how: Any) -> Stat:
            if "/mlruns/" in uri:
                self.read.append(uri)
                if is_bad(uri):
                    self.broken += 1
                    raise TryAgain("no answer")
            return read_into(objects, uri, file, **how)

        def list_(source: ObjectsSource, place: str) -> Iterator[SourceObject | LeftOut]:
            if is_away and self.broken:
                raise TryAgain("no answer")
            return list_place(source, place)

        patched.setattr(FileObjects, "read_into", read)
        patched.setattr(ObjectsSource, "list", list_)


def test_a_store_that_is_away_is_not_asked_for_ever(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """After twenty in a row it is asked whether it is there; what was copied before is not read again afterwards."""
    world = make_world({"a": {f"{number:03}": b"%d" % number for number in range(100)}})
    with monkeypatch.context() as patched:
        weather = Weather(patched, lambda uri: uri[-3:] >= "030", is_away=True)
        with pytest.raises(TryAgain, match="no answer"):
            copy_runs(world.outside, world.runs(), world.how(concurrency=1))
    assert len(weather.read) < 60
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert (done.state, done.copied, done.objects) == ("copied", 70, 100)


def test_a_store_that_goes_away_while_it_is_settled_is_its_runs_line(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends, each run has its line, and the same call goes on with what was copied."""
    world = make_world({letter: {f"{letter}{number:02}": b"%d" % number for number in range(40)} for letter in "abc"})
    with monkeypatch.context() as patched:
        Weather(patched, lambda uri: uri[-3:] >= "b10", is_away=True)
        copy_runs(world.outside, world.runs(), world.how(concurrency=1), gives_up=True)
    assert {letter: state for letter, (state, _) in world.lines().items()} == {
        "a": "copied",
        "b": "failed",
        "c": "failed",
    }
    assert "no answer" in world.lines()["b"][1]
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert {letter: (one.state, one.copied) for letter, one in done.items()} == {
        "a": ("unchanged", 0),
        "b": ("copied", 30),
        "c": ("copied", 40),
    }


def test_many_objects_that_do_not_come_hold_up_no_other(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that answers is not away: each of the 70 objects that it does not give is named, all others are kept."""
    world = make_world({"a": {f"{number:03}": b"%d" % number for number in range(100)}, "b": {"x": b"1"}})
    with monkeypatch.context() as patched:
        Weather(patched, lambda uri: "010" <= uri[-3:] < "080", is_away=False)
        with pytest.raises(TryAgain, match="no answer"):
            copy_runs(world.outside, world.runs(), world.how(concurrency=1))
        done = by_letter(copy_runs(world.outside, world.runs(), world.how(), gives_up=True))
    assert (done["a"].state, done["a"].objects, len(done["a"].failed)) == ("partial", 30, 70)
    assert done["b"].objects == 1
    assert world.lines()["a"][0] == "partial"
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert (done["a"].state, done["a"].copied) == ("copied", 70)


def test_places_that_do_not_answer_are_settled_as_unreachable(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty in a row end a plan that is tried again; the last try asks each place, and answers for all."""
    letters = [f"{number:02x}" for number in range(24)]
    world = make_world({"a": {"x": b"1"}}, uris={"a": "gs://bucket/a"})
    runs = [ArtifactRun(mlflow_run_id=letter * 16, artifact_uri=f"gs://bucket/{letter}") for letter in letters]

    def fail(source: ObjectsSource, place: str) -> Iterator[SourceObject | LeftOut]:
        if place.endswith("17"):
            return iter([SourceObject(path="x", size_bytes=1)])
        raise TryAgain("no answer")

    monkeypatch.setattr(ObjectsSource, "list", fail)
    with pytest.raises(TryAgain, match="20 artifacts in a row"):
        plan_runs(world.outside, runs, world.how())
    plans = plan_runs(world.outside, runs, world.how(), gives_up=True)
    assert [plan.state for plan in plans] == ["unreachable"] * 23 + ["to copy"]


def test_copies_that_do_not_answer_are_settled_as_unread(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verify that is tried again ends with what is known of the others; `unread` is not kept."""
    world = make_world()
    copy_runs(world.outside, world.runs(), world.how())
    [bad] = [one.sha256 for one in world.manifest("b").objects if one.path == "A"]
    read_into = FileObjects.read_into

    def fail(self: FileObjects, uri: str, file: BinaryIO, **how: Any) -> Stat:
        if uri.endswith(bad):
            raise TryAgain("no answer")
        return read_into(self, uri, file, **how)

    monkeypatch.setattr(FileObjects, "read_into", fail)
    with pytest.raises(TryAgain, match="no answer"):
        verify_runs(world.outside, world.runs(), world.how())
    found = by_letter(verify_runs(world.outside, world.runs(), world.how(), gives_up=True))
    assert {letter: one.state for letter, one in found.items()} == {"a": "kept", "b": "unread", "c": "nothing"}
    assert found["b"].problem == "no answer"


def test_an_object_that_changes_while_it_is_read_is_read_again(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a mixture: what is kept is the last version, whole."""
    world = make_world({"a": {"log": b"1" * 3_000_000}})
    fetch, changes = ObjectsSource.fetch, iter([b"2" * 3_000_000, b"3" * 3_000_001])

    class Slow(io.BytesIO):
        def __init__(self, file: BinaryIO) -> None:
            super().__init__()
            self._target = file

        def write(self, part: Any) -> int:
            data = next(changes, None)
            if data is not None:
                world.write("a", "log", data)
            return self._target.write(part)

    monkeypatch.setattr(ObjectsSource, "fetch", lambda self, place, found, file: fetch(self, place, found, Slow(file)))
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert done.state == "copied"
    assert world.kept("a") == {"log": b"3" * 3_000_001}


def test_an_object_that_never_stands_still_is_its_own_failure(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried three times; the others are kept."""
    world = make_world({"a": {"log": b"1", "other": b"2"}})
    fetch = ObjectsSource.fetch

    def grow(self: ObjectsSource, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        was = fetch(self, place, found, file)
        if found.path == "log":
            with (world.place("a") / "log").open("ab") as log:
                log.write(b"more")
        return was

    monkeypatch.setattr(ObjectsSource, "fetch", grow)
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert (done.state, [one.path for one in done.failed]) == ("partial", ["log"])
    assert "it was written again 3 times" in world.lines()["a"][1]
    assert world.kept("a")["other"] == b"2"


def test_an_object_of_two_runs_is_read_once(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of one place, and of one within it, have a copy each, of the same objects."""
    world = make_world({"a": {"x/y": b"1", "z": b"2"}, "b": {}, "d": {}}, uris={})
    world.close()
    shared = world.place("a").as_uri()
    other = world.folder / "other"
    other.mkdir()
    world = ArtifactWorld(other, {"b": {}, "d": {}, "e": {}}, uris={"b": shared, "d": f"{shared}/", "e": f"{shared}/x"})
    read: list[str] = []
    fetch = ObjectsSource.fetch

    def count(self: ObjectsSource, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        read.append(found.path)
        return fetch(self, place, found, file)

    monkeypatch.setattr(ObjectsSource, "fetch", count)
    copy_runs(world.outside, world.runs(), world.how())
    assert sorted(read) == ["x/y", "z"]
    assert world.kept("b") == world.kept("d") == {"x/y": b"1", "z": b"2"}
    assert world.kept("e") == {"y": b"1"}
    world.close()


def test_places_that_no_one_reaches_are_their_runs_failures(make_world: MakeWorld) -> None:
    """The plan says so first; the others are copied, and a run without a place has nothing."""
    uris = {
        "b": "file:///no/such/machine/mlruns/0/b/artifacts",
        "c": "mlflow-artifacts:/0/c/artifacts",
        "d": "mlruns/0/d/artifacts",
        "e": "",
    }
    world = make_world({"a": {"x": b"1"}, "b": {}, "c": {}, "d": {}, "e": {}}, uris=uris)
    for _ in range(2):
        plans = by_letter(plan_runs(world.outside, world.runs(), world.how()))
        assert {letter for letter, one in plans.items() if one.state == "unreachable"} == {"b", "c", "d"}
        assert plans["e"].state == "nothing"
        assert "another one" in plans["b"].reason
        copy_runs(world.outside, world.runs(), world.how())
    assert {letter: state for letter, (state, _) in world.lines().items()} == {
        "a": "unchanged",
        "b": "failed",
        "c": "failed",
        "d": "failed",
        "e": "nothing",
    }
    assert "--artifacts-destination" in world.lines()["c"][1]


def test_relative_places_are_read_where_their_folder_is(make_world: MakeWorld) -> None:
    """Old clients wrote them so. One that leads out of that folder is not read."""
    uris = {letter: f"./mlruns/4/{letter * 32}/artifacts" for letter in "ab"} | {"c": "mlruns/../secret"}
    world = make_world({"a": {"x y": b"1"}, "b": {"z": b"2"}, "c": {}}, uris=uris)
    (world.folder / "secret").mkdir()
    (world.folder / "secret" / "key").write_bytes(b"key")
    root = str(world.folder / "mlruns")
    how = world.how(moved=to_moved([f"mlruns={root}"]), allowed=to_allowed([root], []))
    done = by_letter(copy_runs(world.outside, world.runs(), how))
    assert {letter: one.state for letter, one in done.items()} == {"a": "copied", "b": "copied", "c": "failed"}
    assert world.kept("a") == {"x y": b"1"}
    assert ".." in done["c"].reason


def test_a_run_that_mlflow_has_no_longer_keeps_its_copy(make_world: MakeWorld) -> None:
    """One that was never copied is a failure."""
    world = make_world({"a": {"x": b"1"}, "b": {"x": b"2"}})
    copy_runs(world.outside, world.runs(quick_test_id=world.ids["a"]), world.how())
    (world.folder / "mlflow.db").unlink()
    make_sqlite(world.folder / "mlflow.db")
    done = by_letter(copy_runs(world.outside, world.runs(), world.how()))
    assert (done["a"].state, done["b"].state) == ("unchanged", "failed")
    assert "does not have this run" in done["b"].reason
    assert [run.mlflow_run_id[0] for run in find_copied_runs(world.outside)] == ["a", "b"]


def test_rows_choose_the_runs_unless_all_are_asked_for(make_world: MakeWorld) -> None:
    """A run that no row names is copied with `all_runs`; a row without a run is told."""
    world = make_world({"a": {"x": b"1"}}, rows=False)
    assert world.runs() == []
    [run] = world.runs(all_runs=True)
    assert run.quick_test_ids == ()
    copy_runs(world.outside, [run], world.how())
    assert world.kept("a") == {"x": b"1"}
    assert [one.mlflow_run_id for one in find_copied_runs(world.outside, all_runs=True)] == ["a" * 32]
    with pytest.raises(NotFound, match="quick test 7"):
        world.runs(quick_test_id=7)


def test_runs_are_copied_several_at_once(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as objects run at most: each first object waits until those of the other runs are there, too.

    The answer is in the order that was asked for, and each run has its line."""
    world = make_world({letter: {f"{letter}{number}": letter.encode() for number in range(2)} for letter in "abcdef"})
    barrier, fetch = threading.Barrier(3, timeout=30), ObjectsSource.fetch
    at_once, most, lock = 0, 0, threading.Lock()
    copy_run = artifact_copying.Copying.copy_run

    def meet(self: ObjectsSource, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        if found.path.endswith("0"):
            barrier.wait()
        return fetch(self, place, found, file)

    def count(*arguments: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        found = copy_run(*arguments)
        with lock:
            at_once -= 1
        return found

    monkeypatch.setattr(ObjectsSource, "fetch", meet)
    monkeypatch.setattr(artifact_copying.Copying, "copy_run", count)
    runs = world.runs()[::-1]
    done = copy_runs(world.outside, runs, world.how(concurrency=3))
    assert [one.mlflow_run_id[0] for one in done] == list("fedcba")
    assert {one.state for one in done} == {"copied"}
    assert most == 3
    assert world.lines() == dict.fromkeys("abcdef", ("copied", ""))


def test_an_interrupt_ends_all_runs(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are copied at the same time end at their next object, and those that wait do not begin."""
    world = make_world({letter: {f"{number:02}": b"%d" % number for number in range(40)} for letter in "abcdefgh"})
    progress, seen = Progress(), set()
    fetch = ObjectsSource.fetch

    def interrupt(self: ObjectsSource, place: str, found: SourceObject, file: BinaryIO) -> SourceObject:
        seen.add(place)
        progress.is_interrupted = True
        return fetch(self, place, found, file)

    monkeypatch.setattr(ObjectsSource, "fetch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        copy_runs(world.outside, world.runs(), world.how(concurrency=2), progress=progress)
    assert len(seen) <= 2
    assert world.lines() == {}


def test_two_at_once_end_as_one(make_world: MakeWorld) -> None:
    """Each writes what the other does; no note is left."""
    world = make_world({letter: {f"{number}": b"%d" % (number % 7) for number in range(40)} for letter in "ab"})
    runs = world.runs()
    failed: list[Exception] = []

    def copy() -> None:
        try:
            copy_runs(world.outside, runs, world.how())
        except Exception as err:  # noqa: BLE001 - the test says which
            failed.append(err)

    threads = [threading.Thread(target=copy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert world.kept("a") == world.files["a"]
    assert not [name for name in world.stored() if name.startswith("unfinished/")]


def test_a_full_disk_is_no_artifacts_fault(make_world: MakeWorld, small_disk: Path) -> None:
    """It may pass: the task tries again. With more room, the same command goes on."""
    world = make_world(
        {"a": {f"{number:02}": bytes([number]) * 4_096 for number in range(30)}}, to_uri=small_disk.as_uri()
    )
    with pytest.raises(TryAgain, match="disk is full"):
        copy_runs(world.outside, world.runs(), world.how())
    assert world.outside.artifact_copies.list_ids() == []
    copy_runs(world.outside, world.runs(), world.how(), gives_up=True)
    assert world.lines()["a"][0] == "failed"
    assert "disk is full" in world.lines()["a"][1]
    bigger = world.how(to_uri=(world.folder / "bigger").as_uri())
    copy_runs(world.outside, world.runs(), bigger)
    assert world.lines()["a"] == ("copied", "")


def test_an_interrupted_copy_goes_on_where_it_was(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was copied is noted."""
    world = make_world({"a": {f"{number:03}": b"%d" % number for number in range(50)}})
    progress = Progress()
    monkeypatch.setattr(artifact_copying, "NOTE_OBJECTS", 5)
    store, stored = artifact_copying.Copying.store, []

    def count(self: Any, file: Any, sha256: str, size_bytes: int) -> None:
        store(self, file, sha256, size_bytes)
        stored.append(sha256)
        progress.is_interrupted = len(stored) >= 20

    with monkeypatch.context() as patched:
        patched.setattr(artifact_copying.Copying, "store", count)
        with pytest.raises(KeyboardInterrupt):
            copy_runs(world.outside, world.runs(), world.how(concurrency=1), progress=progress)
    assert world.lines() == {}
    [done] = copy_runs(world.outside, world.runs(), world.how())
    assert (done.state, done.objects) == ("copied", 50)
    assert done.copied <= 35


def test_bytes_in_flight_are_bounded() -> None:
    """What has no room waits; a larger object goes alone, and nothing waits for ever."""
    gate, most, inside = Gate(100), 0, 0
    lock = threading.Lock()

    def work(size: int) -> None:
        nonlocal most, inside
        for _ in range(50):
            with gate.holding(size):
                with lock:
                    inside += size
                    most = max(most, inside)
                with lock:
                    inside -= size

    threads = [threading.Thread(target=work, args=(size,)) for size in (10, 40, 60, 100, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 500


def test_a_lost_results_database_costs_no_reading(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifests are beside the objects: the row is written again from them."""
    world = make_world()
    copy_runs(world.outside, world.runs(), world.how())
    rows = world.outside.artifact_copies.read(["a" * 32, "b" * 32])
    before = {run_id: (row.digest, row.objects) for run_id, row in rows.items()}
    with sqlite3.connect(world.outside.settings.results_url.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM switchyard_artifact_copies")
    connection.close()

    def refuse(*_: object) -> None:
        raise AssertionError("it must not read")

    monkeypatch.setattr(ObjectsSource, "fetch", refuse)
    copy_runs(world.outside, world.runs(), world.how())
    rows = world.outside.artifact_copies.read(["a" * 32, "b" * 32])
    assert {run_id: (row.digest, row.objects) for run_id, row in rows.items()} == before


MODEL, TRACE, LOOSE = "m-" + "1" * 32, "tr-" + "2" * 32, "m-" + "3" * 32


def make_owners(make_world: MakeWorld) -> ArtifactWorld:
    """A run that has made a logged model; a model that none has; a trace; and a trace whose files are elsewhere."""
    world = make_world({"a": {"x": b"run"}})
    root = world.place("a").parents[1]
    places = {id_: root / kind / id_ / "artifacts" for kind, id_ in
              (("models", MODEL), ("models", LOOSE), ("traces", TRACE))}  # fmt: skip
    for id_, place in places.items():
        place.mkdir(parents=True)
        (place / "file").write_bytes(id_.encode())
    add_owners(
        world.folder / "mlflow.db",
        {MODEL: (places[MODEL].as_uri(), "a" * 32), LOOSE: (places[LOOSE].as_uri(), None)},
        {TRACE: places[TRACE].as_uri(), "tr-gone": "file:///no/such/machine/mlruns/4/traces/tr-gone/artifacts"},
    )
    return world


def test_logged_models_and_traces_are_planned_copied_and_verified(make_world: MakeWorld) -> None:
    """Their files are beside those of runs: with every run all of them, and with a run the models that it made.

    A trace is named if no one can look in its place."""
    world = make_owners(make_world)
    ids = {run.mlflow_run_id for run in world.runs()}
    assert ids == {"a" * 32, MODEL}
    assert {run.mlflow_run_id for run in world.runs(quick_test_id=world.ids["a"])} == ids
    runs = world.runs(all_runs=True)
    plans = {one.mlflow_run_id: one.state for one in plan_runs(world.outside, runs, world.how())}
    expected = dict.fromkeys(("a" * 32, MODEL, LOOSE, TRACE), "to copy") | {"tr-gone": "unreachable"}
    assert plans == expected
    done = {one.mlflow_run_id: one.state for one in copy_runs(world.outside, runs, world.how())}
    assert done == dict.fromkeys(("a" * 32, MODEL, LOOSE, TRACE), "copied") | {"tr-gone": "failed"}
    row = world.outside.artifact_copies.read([TRACE])[TRACE]
    assert (row.objects, row.size_bytes) == (1, len(TRACE))
    found = verify_runs(world.outside, find_copied_runs(world.outside, all_runs=True), world.how())
    assert {one.mlflow_run_id: one.state for one in found} == dict.fromkeys(("a" * 32, MODEL, LOOSE, TRACE), "kept")


def test_files_of_logged_models_and_traces_count_for_what_is_kept(make_world: MakeWorld) -> None:
    """Before the copy they are kept nowhere; afterwards only those of the trace that no one can read."""
    world = make_owners(make_world)
    names = ("artifacts", "logged-model-artifacts", "trace-artifacts")

    def count() -> dict[str, dict[str, int]]:
        kinds, _ = count_kinds(world.outside)
        return {kind.kind: kind.missing for kind in kinds if kind.kind in names}

    assert count() == {"artifacts": {"runs": 1}, names[1]: {"logged_models": 2}, names[2]: {"traces": 2}}
    copy_runs(world.outside, world.runs(all_runs=True), world.how())
    assert count() == {"artifacts": {}, names[1]: {}, names[2]: {"traces": 1}}


def test_a_logged_model_without_files_has_none(make_world: MakeWorld) -> None:
    """Its experiment's folder is here, so that it is not on another machine."""
    world = make_owners(make_world)
    shutil.rmtree(world.place("a").parents[1] / "models")
    [done] = [one for one in copy_runs(world.outside, world.runs(), world.how()) if one.mlflow_run_id == MODEL]
    assert done.state == "nothing"
