"""Files into the registry: what is read, what is refused, and what has changed since."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import switchyard.services.registering as registering
from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, BadRequest, NotFound, StaleWrite, TryAgain
from switchyard.core.ports import Stat
from switchyard.core.registry.rows import Registered
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, RunStatus
from switchyard.services.registering import Ports, check_files, read_manifest, register_run
from tests.clients.results.places import NOW, Place, Places, publication

FILES = {
    "model/saved_model.pb": b"graph",
    "model/variables/v.data": b"x" * 100,
    "embeddings/product embeddings.npy": b"1234",
    "score/größe.parquet": b"",
}

SEEN = {"last_train_time": "2023-11-14T21:00:00+00:00", "last_validation_time": "2023-11-14T22:13:20+00:00"}
REFITTED = {"last_train_time": SEEN["last_train_time"], "model_trained_until": SEEN["last_validation_time"]}
METRICS = {
    "schema_version": 1,
    "status": "completed",
    "available": True,
    "saved_at": "2026-01-15T10:30:00Z",
    "run": {"quick_test_id": 1, "key": "k", "attempt": 1, "restart": 0, "name": "", "seed": 7},
    "epochs": [0],
    "loss": {"loss": [0.5]},
    "params": SEEN,
}


@pytest.fixture
def place(places: Places, tmp_path: Path) -> Place:
    return places.make("sqlite", tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder, with what is no part of its model too."""
    made = tmp_path / "a run, 100%"
    for path, data in {**FILES, "training_metrics.json": b"{}", "checkpoints/1": b"c"}.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    return made


def make_run(place: Place, folder: Path, *, status: RunStatus | None = RunStatus.COMPLETED) -> int:
    run = place.add_run()
    claim = Claim(
        quick_test_id=run,
        request_key="claim",
        artifacts_uri=folder.as_uri(),
        parameters={"data_uri": "file:///data.csv", "epochs": 3},
        image="trainer@sha256:1",
    )
    job = place.jobs.claim_job(claim, now=NOW).job
    place.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    if status is not None:
        place.histories.publish(publication(run, row_status=status), now=NOW)
    return run


def register(place: Place, run: int) -> Registered:
    ports = Ports(place.runs, place.jobs, place.models, open_objects)
    return register_run(ports, run, "two-tower", by="ann", description="nightly")


def check(place: Place, version: int = 1) -> None:
    check_files(place.models, open_objects, "two-tower", version)


def test_model_of_a_completed_run_is_a_version(place: Place, folder: Path) -> None:
    """Its model's files alone, with where it comes from; a second call finds it, though the files are gone."""
    run = make_run(place, folder)
    made = register(place, run).version
    manifest = place.models.read_files("two-tower", made.version)
    assert {file.path: file.size_bytes for file in manifest.files} == {path: len(data) for path, data in FILES.items()}
    job = place.jobs.read_job(run)
    assert job is not None
    lineage = made.lineage
    assert (lineage.quick_test_id, lineage.run_key, lineage.image) == (run, job.key, "trainer@sha256:1")
    assert (lineage.data_uri, lineage.parameters["epochs"]) == ("file:///data.csv", 3)
    assert lineage.code_version
    assert made.flavor == "two-tower"
    check(place)
    (folder / "model" / "saved_model.pb").unlink()
    again = register(place, run)
    assert (again.version, again.is_new) == (made, False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"training_metrics.json": METRICS}, "2023-11-14T22:13:20+00:00"),
        ({"ended.json": {"status": "completed", "params": SEEN}}, "2023-11-14T22:13:20+00:00"),
        ({"training_metrics.json": {**METRICS, "params": REFITTED}}, "2023-11-14T22:13:20+00:00"),
        ({"training_metrics.json": {**METRICS, "params": {**REFITTED, "model_trained_until": "?"}}}, ""),
        ({"training_metrics.json": {**METRICS, "params": {"epochs": 3}}}, ""),
        ({"training_metrics.json": {**METRICS, "params": {"last_validation_time": ["now"]}}}, ""),
        ({"ended.json": {"status": "completed"}}, ""),
        ({}, ""),
    ],
    ids=[
        "the metrics file", "the end's file", "a refit", "a refit of no time", "an older trainer", "no time",
        "an end alone", "neither",
    ],
)  # fmt: skip
def test_version_says_until_when_its_training_has_seen(
    place: Place, folder: Path, files: dict[str, object], expected: str
) -> None:
    """As the training wrote it; a model whose training did not is registered all the same."""
    (folder / "training_metrics.json").unlink()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    assert register(place, make_run(place, folder)).version.lineage.trained_until == expected


def test_large_file_is_read_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And has the same hash."""
    whole = read_manifest(open_objects(folder.as_uri()), folder.as_uri(), "here")
    monkeypatch.setattr(registering, "CHUNK_BYTES", 3)  # a file of 8 MB would take the test's time
    assert read_manifest(open_objects(folder.as_uri()), f"{folder.as_uri()}/", "here") == whole


def _change(folder: Path) -> None:
    path = folder / "model" / "variables" / "v.data"
    path.write_bytes(b"x" * 99 + b"y")


def _grow(folder: Path) -> None:
    with (folder / "model" / "variables" / "v.data").open("ab") as file:
        file.write(b"x")


def _remove(folder: Path) -> None:
    (folder / "model" / "variables" / "v.data").unlink()


def _add(folder: Path) -> None:
    (folder / "embeddings" / "extra.pkl").write_bytes(b"x")


def _link(folder: Path) -> None:
    path = folder / "model" / "variables" / "v.data"
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


def _link_folder(folder: Path) -> None:
    (folder / "embeddings").rename(folder / "elsewhere")
    (folder / "embeddings").symlink_to(folder / "elsewhere")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "model" / "pipe")


CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (_change, "'model/variables/v.data' must have sha256"),
    (_grow, "'model/variables/v.data' must have 100 bytes; it has 101"),
    (_remove, "'model/variables/v.data' is missing"),
    (_add, "'embeddings/extra.pkl' is not one of the version's files"),
    (_link, "'model/variables/v.data' is a link"),
    (_link_folder, "'embeddings' is a link"),
    (_pipe, "'model/pipe' is a link or no regular file"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_files_that_have_changed_are_named(
    place: Place, folder: Path, change: Callable[[Path], None], said: str
) -> None:
    """By one byte, one too many, one missing, a link in a file's place."""
    register(place, make_run(place, folder))
    change(folder)
    with pytest.raises(BadRecord, match=f"version 1 of model two-tower.*{said}"):
        check(place)


@pytest.mark.parametrize("change", [_link, _link_folder, _pipe])
def test_folder_with_links_is_not_registered(place: Place, folder: Path, change: Callable[[Path], None]) -> None:
    """Nor is any version made."""
    change(folder)
    with pytest.raises(BadRecord, match="is a link or no regular file"):
        register(place, make_run(place, folder))
    assert place.models.list_models() == []


CARDS = {"evaluation_report.json": b"{}", "model_card.md": b"# A model"}


def put_cards(folder: Path) -> None:
    for path, data in CARDS.items():
        (folder / path).write_bytes(data)


def test_report_and_card_are_registered_with_the_model(place: Place, folder: Path) -> None:
    """A version keeps what was said of it: from then on they may not change, nor be links."""
    put_cards(folder)
    (folder / "model_card.md.bak").write_bytes(b"x")
    made = register(place, make_run(place, folder)).version
    paths = {file.path for file in place.models.read_files("two-tower", made.version).files}
    assert paths == {*FILES, *CARDS}
    check(place)
    (folder / "model_card.md").write_bytes(b"# A better model")
    with pytest.raises(BadRecord, match=r"'model_card\.md' must have"):
        check(place)
    (folder / "model_card.md").unlink()
    (folder / "model_card.md").symlink_to(folder / "model_card.md.bak")
    with pytest.raises(BadRecord, match=r"'model_card\.md' is a link"):
        check(place)


def test_version_of_an_older_switchyard_has_no_card_and_is_whole(place: Place, folder: Path) -> None:
    """It registered the model's folders alone; what the trainer had put beside them is no difference."""
    register(place, make_run(place, folder))
    put_cards(folder)
    check(place)


def test_card_alone_is_no_model(place: Place, tmp_path: Path) -> None:
    """There is nothing to answer from."""
    (tmp_path / "cards").mkdir()
    put_cards(tmp_path / "cards")
    with pytest.raises(NotFound, match="there is no file"):
        register(place, make_run(place, tmp_path / "cards"))


def test_link_beside_the_model_is_none_of_its_files(place: Place, folder: Path) -> None:
    """A checkpoint may be one."""
    (folder / "checkpoints" / "newest").symlink_to(folder / "checkpoints" / "1")
    assert register(place, make_run(place, folder)).is_new


class Bucket:
    """Objects under names that no disk would take, as a bucket may have them; `changes` while it is read."""

    def __init__(self, *names: str, changes: bool = False) -> None:
        self._names = names
        self._changes = changes
        self._listed = 0

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"registering must not call {name}")

    def list_odd(self, prefix: str) -> Iterator[str]:
        return iter(())

    def list_stats(self, prefix: str, *, follow_links: bool = True) -> Iterator[tuple[str, Stat]]:
        self._listed += 1
        for name in self._names:
            if f"gs://b/run/{name}".startswith(prefix):
                yield f"gs://b/run/{name}", Stat(size_bytes=1, generation=self._listed if self._changes else 1)

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        return b"x"[start : start + length]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model/../../x"], "'..' cannot be part of a path"),
        (["model//x"], "'' cannot be part of a path"),
        (["model/a", "model/A"], "are one file"),
        (["model/a", "model/a/b"], "is a file, and the folder"),
        (["model/%2e%2e\\x"], "is not allowed"),
    ],
)
def test_odd_names_of_a_bucket_are_refused(names: list[str], said: str) -> None:
    """Before any of them is read."""
    with pytest.raises(BadRecord, match=said.replace(".", r"\.")):
        read_manifest(Bucket(*names), "gs://b/run", "here")  # type: ignore[arg-type]  # has what is asked of it


def test_files_that_change_while_they_are_read_are_no_version() -> None:
    """All files are of one moment, or there is no manifest."""
    assert len(read_manifest(Bucket("model/a", "model/%41"), "gs://b/run", "here").files) == 2  # type: ignore[arg-type]
    with pytest.raises(StaleWrite, match="changed while they were read"):
        read_manifest(Bucket("model/a", changes=True), "gs://b/run", "here")  # type: ignore[arg-type]  # as above


def test_run_that_is_not_completed_is_refused(place: Place, folder: Path) -> None:
    """One whose job has just succeeded may be asked for again; one that failed never."""
    run = make_run(place, folder, status=None)
    with pytest.raises(TryAgain, match="is not published yet"):
        register(place, run)
    place.runs.end_run(run, RunStatus.FAILED, error="", now=NOW)
    with pytest.raises(BadRequest, match="only a completed run"):
        register(place, run)
    with pytest.raises(NotFound):
        register(place, 404)


def test_run_without_a_model_is_refused(place: Place, tmp_path: Path) -> None:
    """It says where one was expected."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="model, embeddings, score"):
        register(place, make_run(place, tmp_path / "empty"))
