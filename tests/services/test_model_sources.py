"""Which version a setting names, and what becomes of models that were never registered."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, NotFound, SwitchyardError, TryAgain
from switchyard.core.predictions.sources import Fate, Kind, Source, choose_fate
from switchyard.core.registry.rows import ModelVersion
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, NewRun, RunStatus
from switchyard.services import model_sources, registering
from switchyard.services.model_loading import load_model
from switchyard.services.model_sources import Found, Ports, find_model
from tests.clients.results.places import NOW, Place, Places, publication
from tests.predicting import register_folder, write_model

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def place(places: Places, tmp_path: Path) -> Place:
    return places.make("sqlite", tmp_path)


@pytest.fixture
def ports(place: Place, tmp_path: Path) -> Ports:
    return Ports(place.runs, place.jobs, place.models, open_objects, "served", tmp_path / "cache")


def add_run(place: Place, folder: Path, *, name: str = "", at: datetime = NOW) -> int:
    """A completed run that left a model in `folder`."""
    run = place.runs.create_run(NewRun(request_key=str(folder), display_name=name), now=NOW).id
    claim = Claim(quick_test_id=run, request_key=str(folder), artifacts_uri=write_model(folder, seed=run).as_uri())
    job = place.jobs.claim_job(claim, now=NOW).job
    place.jobs.record_job(job.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    place.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=at)
    return run


def run_id(value: object) -> Source:
    return Source("MODEL_RUN_ID", Kind.RUN_ID, str(value))


def folder_of(path: object) -> Source:
    return Source("MODEL_FILE", Kind.FOLDER, str(path))


def load(ports: Ports, found: Found) -> object:
    return load_model(found.version, found.manifest, ports.open_objects, ports.cache)


def test_run_is_the_version_that_it_was_registered_as(place: Place, ports: Ports, tmp_path: Path) -> None:
    """In whichever model; one that never was is registered now, once, under MODEL_NAME."""
    run = add_run(place, tmp_path / "run")
    first = find_model(ports, run_id(run)).version
    assert (first.name, first.version, first.lineage.quick_test_id) == ("served", 1, run)
    assert first.description == model_sources.FIRST_SEEN
    assert find_model(ports, run_id(run)).version == first
    other = add_run(place, tmp_path / "other")
    reached = registering.Ports(place.runs, place.jobs, place.models, open_objects)
    registered = registering.register_run(reached, other, "shop").version
    assert find_model(ports, run_id(other)).version == registered


def test_run_is_found_by_its_mlflow_run_too(place: Place, ports: Ports, tmp_path: Path) -> None:
    """Where its row names one; another MLflow run is told of honestly."""
    run = add_run(place, tmp_path / "run")
    place.runs.record_mlflow_run(run, "a" * 32)
    assert find_model(ports, run_id("a" * 32)).version.lineage.quick_test_id == run
    with pytest.raises(NotFound, match="no MLflow registry can be read here"):
        find_model(ports, run_id("b" * 32))


def test_newest_completed_run_of_a_name(place: Place, ports: Ports, tmp_path: Path) -> None:
    """By when it was completed, not by when it began; of one moment, the higher id; names are taken as they are."""
    name = "it's \\ nightly"
    late = add_run(place, tmp_path / "1", name=name, at=LATER)
    add_run(place, tmp_path / "2", name=name)
    add_run(place, tmp_path / "3", name="another", at=LATER)
    place.runs.create_run(NewRun(request_key="x", display_name=name), now=LATER)
    found = find_model(ports, Source("MODEL_RUN_NAME", Kind.RUN_NAME, name))
    assert found.version.lineage.quick_test_id == late
    with pytest.raises(NotFound, match="no completed run is named 'nightly'"):
        find_model(ports, Source("MODEL_RUN_NAME", Kind.RUN_NAME, "nightly"))


def test_a_name_that_no_run_of_ours_has_is_asked_of_mlflow(place: Place, ports: Ports, tmp_path: Path) -> None:
    """Ours comes first."""
    asked: list[Source] = []
    version = register_folder(place.models, write_model(tmp_path / "theirs"))

    def take(source: Source) -> ModelVersion:
        asked.append(source)
        return version

    ports = replace(ports, import_from_mlflow=take)
    name = Source("MODEL_RUN_NAME", Kind.RUN_NAME, "ml_xgboost")
    assert find_model(ports, name).version == version
    run = add_run(place, tmp_path / "run", name="ml_xgboost")
    assert find_model(ports, name).version.lineage.quick_test_id == run
    assert asked == [name]


@pytest.mark.parametrize(
    ("error", "raised", "fate"),
    [
        (NotFound("MLflow has none"), NotFound, Fate.NEXT),
        (TryAgain("MLflow is away"), TryAgain, Fate.NEXT),
        (BadSetup("403: this account may not read"), BadSetup, Fate.STOP),
    ],
)
def test_what_mlflow_says_of_a_name_decides_whether_another_source_is_asked(
    ports: Ports, error: SwitchyardError, raised: type[SwitchyardError], fate: Fate
) -> None:
    """A refused access never lets an older model answer."""

    def refuse(source: Source) -> ModelVersion:
        raise error

    with pytest.raises(raised, match=str(error)) as caught:
        find_model(replace(ports, import_from_mlflow=refuse), Source("MODEL_RUN_NAME", Kind.RUN_NAME, "nightly"))
    assert choose_fate(caught.value) is fate


def test_a_table_without_names_leaves_a_name_to_mlflow(places: Places, tmp_path: Path) -> None:
    """The application that made it may have none."""
    adopted = places.make("sqlite with a table", tmp_path)
    ports = Ports(adopted.runs, adopted.jobs, adopted.models, open_objects, "served", tmp_path / "cache")
    version = register_folder(adopted.models, write_model(tmp_path / "theirs"))
    ports = replace(ports, import_from_mlflow=lambda source: version)
    assert find_model(ports, Source("MODEL_RUN_NAME", Kind.RUN_NAME, "nightly")).version == version


def test_folder_is_a_version_from_when_it_is_first_seen(place: Place, ports: Ports, tmp_path: Path) -> None:
    """By path or by URI; from then on only those very files load."""
    folder = write_model(tmp_path / "a model")
    found = find_model(ports, folder_of(folder))
    assert (found.version.name, found.version.version) == ("served", 1)
    assert find_model(ports, folder_of(folder.as_uri() + "/")).version == found.version
    path = folder / "embeddings" / "query.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    again = find_model(ports, folder_of(folder))
    assert again.version == found.version
    with pytest.raises(BadRecord, match=r"'embeddings/query\.parquet' must have .* bytes"):
        load(ports, again)


def test_folder_of_several_models_is_refused_before_it_is_recorded(place: Place, ports: Ports, tmp_path: Path) -> None:
    """Its models are named; once there is one, or one is named, it is a version."""
    folder = tmp_path / "many" / "model"
    folder.mkdir(parents=True)
    for name in ("a.ubj", "b.ubj", "c.skops"):
        (folder / name).write_text(name)
    with pytest.raises(BadRequest, match=r"model/a\.ubj, model/b\.ubj, model/c\.skops\. Name the one to serve"):
        find_model(ports, folder_of(tmp_path / "many"))
    assert place.models.list_models() == []
    with pytest.raises(BadRequest, match=r"MODEL_FILENAME=d\.ubj is not one of the model's files"):
        find_model(replace(ports, filename="d.ubj"), folder_of(tmp_path / "many"))
    assert find_model(replace(ports, filename="b.ubj"), folder_of(tmp_path / "many")).version.version == 1


def test_folder_is_named_by_a_path_with_two_dots(
    place: Place, ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell's user writes it: it is the same folder. A URI with `..` is refused."""
    first = find_model(ports, folder_of(write_model(tmp_path / "model"))).version
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert find_model(ports, folder_of("../model")).version == first
    assert find_model(ports, folder_of(f"{tmp_path}/here/../model/")).version == first
    with pytest.raises(BadRequest, match=r"its path contains \. or \.\."):
        find_model(ports, folder_of(f"{(tmp_path / 'here').as_uri()}/../model"))


def test_folder_with_what_may_be_a_program_is_refused(place: Place, ports: Ports, tmp_path: Path) -> None:
    """It is not made a version either."""
    folder = write_model(tmp_path / "model")
    (folder / "model").mkdir()
    (folder / "model" / "model.pkl").write_bytes(b"x")
    with pytest.raises(BadRecord, match=r"'model/model\.pkl' may hold a program"):
        find_model(ports, folder_of(folder))
    assert place.models.list_models() == []


@pytest.mark.parametrize(
    ("name", "flavor"),
    [("a.ubj", "xgboost"), ("a.skops", "sklearn"), ("a.keras", "keras"), ("a.h5", "keras"), ("a.pkl", "pickle")],
)
def test_a_folder_of_each_flavor_is_a_version(
    place: Place, ports: Ports, tmp_path: Path, name: str, flavor: str
) -> None:
    """What its loader checks before it reads it; a pickle where the operator names it. The registry says which."""
    (tmp_path / "files" / "model").mkdir(parents=True)
    (tmp_path / "files" / "model" / name).write_bytes(b"x")
    agreed = replace(ports, pickle_digests=frozenset({hashlib.sha256(b"x").hexdigest()}))
    assert find_model(agreed, folder_of(tmp_path / "files")).version.flavor == flavor


def test_folder_loads_without_the_database_once_it_was_seen(
    place: Place, ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those very files; one that was never seen is not taken on trust."""
    folder = write_model(tmp_path / "model")
    seen = find_model(ports, folder_of(folder))
    monkeypatch.setattr(type(place.models), "find_source", _away)
    found = find_model(ports, folder_of(folder))
    assert (found.version, found.manifest) == (seen.version, seen.manifest)
    load(ports, found)
    with pytest.raises(TryAgain, match="was never seen here"):
        find_model(ports, folder_of(write_model(tmp_path / "new")))


def _away(*_: object) -> None:
    raise TryAgain("no connection")


@pytest.mark.parametrize("source", [run_id(99), folder_of("/no/such/folder")])
def test_what_is_not_there_is_not_found(ports: Ports, source: Source) -> None:
    """NotFound is raised, so that the next source is asked."""
    with pytest.raises(NotFound):
        find_model(ports, source)


def test_other_schemes_are_refused(ports: Ports) -> None:
    """A setting that is wrong is no reason to ask the next source."""
    with pytest.raises(BadRequest, match="must start with file:// or gs://"):
        find_model(ports, folder_of("s3://bucket/model"))


def test_name_that_is_not_ours_is_asked_of_mlflow(place: Place, ports: Ports, tmp_path: Path) -> None:
    """Ours goes first where it exists, also without the version that is asked for."""
    imported = register_folder(place.models, write_model(tmp_path / "theirs"), "imported")
    asked: list[Source] = []

    def import_from_mlflow(source: Source) -> object:
        asked.append(source)
        return imported

    with_mlflow = Ports(
        place.runs,
        place.jobs,
        place.models,
        open_objects,
        "served",
        ports.cache,
        import_from_mlflow,  # type: ignore[arg-type]
    )
    theirs = Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/theirs/Production")
    assert find_model(with_mlflow, theirs).version == imported
    register_folder(place.models, write_model(tmp_path / "ours"), "theirs")
    with pytest.raises(NotFound, match="model theirs has no version Production"):
        find_model(with_mlflow, theirs)
    assert asked == [theirs]
