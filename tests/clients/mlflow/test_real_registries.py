"""The registry's mirror on real MLflow servers, 2.9.2 and a current one, and what their own registry does in a race.

`make test-mlflow` builds both and runs this.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.clients.results.open import ResultsPorts
from switchyard.core.errors import BadRequest, StaleWrite, SwitchyardError
from switchyard.core.registry.mirroring import CreateModel, CreateVersion, MoveStage, RemoveAlias, SetAlias, SetTags
from switchyard.core.registry.rows import Promotion, Rollback
from switchyard.core.registry.stages import Stage
from switchyard.services.mirroring import Mirroring, mirror_models
from tests.clients.mlflow.real_servers import serve
from tests.clients.results.places import Place
from tests.postgres import Postgres
from tests.services.mirror_world import add, aliases_of, stages_of

pytestmark = [pytest.mark.slow, pytest.mark.needs_mlflow, pytest.mark.timeout(900)]

RACES = 50
PROMOTERS, ROLLBACKS = 3, 2


@pytest.fixture(scope="module", params=["2.9.2", "current"])
def server(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A server over an empty Postgres database, and its version."""
    version: str = request.param
    uri = postgres.url(postgres.make_database()).replace("+psycopg", "+psycopg2")
    # Of several workers of a current server, its supervisor ends one that is busy for a while: uvicorn's own habit.
    with serve(version, uri, tmp_path_factory.mktemp("server"), workers=3 if version == "2.9.2" else 1) as url:
        yield version, url


@pytest.fixture
def mirror(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> MlflowMirror:
    for name in CLIENT_SETTINGS:  # put back after the test
        monkeypatch.setenv(name, "")
    return MlflowMirror(server[1])


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[ResultsPorts]:
    place = Place(f"sqlite:///{tmp_path / 'results.db'}")
    yield place.ports
    place.ports.close()


def to_mirroring(ours: ResultsPorts, mirror: MlflowMirror) -> Mirroring:
    return Mirroring(models=ours.models, notes=ours.mirrors, mirror=mirror)


def test_each_call_does_what_the_port_says(mirror: MlflowMirror) -> None:
    """And a second call what it says of that."""
    name = "calls é"
    assert mirror.read(name) is None
    for _ in range(2):
        mirror.create_model(name, CreateModel(description="d" * 5_000))
    text = "ü" * 5_000
    number = mirror.create_version(name, CreateVersion(version=1, source="switchyard:/calls/1", tags={"long": text}))
    other = mirror.create_version(name, CreateVersion(version=2, source="gs://b/2", description="\u2603" * 5_000))
    for _ in range(2):
        mirror.set_tags(name, SetTags(number=number, tags={"a": "1", "b": ""}))
        mirror.set_alias(name, SetAlias(alias="champion", number=number))
        mirror.move(name, MoveStage(number=number, stage=Stage.PRODUCTION, archive=True))
    mirror.move(name, MoveStage(number=other, stage=Stage.PRODUCTION, archive=True))
    found = mirror.read(name)
    assert found is not None
    assert {version.number: version.stage for version in found.versions} == {number: "Archived", other: "Production"}
    tags = next(version.tags for version in found.versions if version.number == number)
    assert tags == {"long": text, "a": "1", "b": ""}
    assert found.aliases == {"champion": number}
    for _ in range(2):
        mirror.remove_alias(name, RemoveAlias(alias="champion"))
    found = mirror.read(name)
    assert found is not None
    assert found.aliases == {}


def test_more_versions_than_a_page_are_all_read(mirror: MlflowMirror) -> None:
    """MLflow answers 200 at a time."""
    mirror.create_model("many", CreateModel())
    api = f"{mirror.target}/api/2.0/mlflow/model-versions/create"
    with requests.Session() as session:
        for _ in range(205):
            assert session.post(api, json={"name": "many", "source": "gs://b/1"}, timeout=60).status_code == 200
    found = mirror.read("many")
    assert found is not None
    assert {version.number for version in found.versions} == set(range(1, 206))


def test_name_that_the_server_refuses_is_said(server: tuple[str, str], mirror: MlflowMirror) -> None:
    """2.9.2 takes a slash, and MLflow 3 does not."""
    if server[0] == "2.9.2":
        mirror.create_model("a/b", CreateModel())
        assert mirror.read("a/b") is not None
        return
    with pytest.raises(BadRequest, match=r"model a/b of the MLflow registry .*cannot contain"):
        mirror.create_model("a/b", CreateModel())


def test_races_leave_several_there_and_one_here_then_the_mirror_repairs(
    server: tuple[str, str], mirror: MlflowMirror, ours: ResultsPorts
) -> None:
    """Fifty races of three promoters and two rollbacks run at once in both registries.

    Ours always has one in Production, and tells the losers. MLflow's is left with several, though it called each
    promotion a success. The mirror then leaves ours alone in Production there."""
    name = f"raced on {server[0]}"
    for number in range(1, PROMOTERS + ROLLBACKS + 1):
        add(ours, number, name)
    ours.models.promote(Promotion(name=name, version=1, expected=None))
    ports = to_mirroring(ours, mirror)
    assert mirror_models(ports).failed == {}
    pairs = ours.mirrors.list_pairs(mirror.target, name)
    several, replies, said, productions = 0, Counter[int](), Counter[str](), Counter[int]()
    done = threading.Event()
    reader = threading.Thread(target=_look, args=(ours, name, productions, done))
    reader.start()
    try:
        for _ in range(RACES):
            _race(ours, mirror, name, pairs, replies, said)
            found = mirror.read(name)
            assert found is not None
            there = [version.number for version in found.versions if version.stage == "Production"]
            several += len(there) > 1
            repaired = mirror_models(ports)
            assert (repaired.failed, repaired.away) == ({}, "")
            assert repaired.several == ({name: sorted(there)} if len(there) > 1 else {})
            champion = ours.models.read_model(name).production
            stages = stages_of(mirror, name)
            assert [number for number, stage in stages.items() if stage == "Production"] == [champion]
            assert aliases_of(mirror, name)["champion"] == champion
    finally:
        done.set()
        reader.join()
    print(f"\nMLflow {server[0]}: several in Production after {several} of {RACES} races, replies {dict(replies)}; "
          f"ours: {dict(said)}, {productions.total()} looks")  # fmt: skip
    # A current server answers 503 where its database has ended a deadlock.
    assert set(replies) <= {200, 503}
    assert replies[200] > 0.9 * replies.total()
    assert several > 0
    assert set(productions) == {1}
    assert set(said) <= {"promoted", "rolled back", "replaced", "lost", "nothing to go back to", "so already"}
    lines = ours.models.list_transitions(name)
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))


def _race(
    ours: ResultsPorts,
    mirror: MlflowMirror,
    name: str,
    pairs: dict[int, int],
    replies: "Counter[int]",
    said: "Counter[str]",
) -> None:
    """All begin at once, in both registries, from the champion of the moment."""
    model = ours.models.read_model(name)
    champion = model.production or 0
    others = [number for number in pairs if number != champion]
    back = model.previous if model.previous is not None else others[0]
    barrier = threading.Barrier(2 * (PROMOTERS + ROLLBACKS))
    failures: list[BaseException] = []

    def there(number: int) -> None:
        body: Any = {
            "name": name,
            "version": str(pairs[number]),
            "stage": "Production",
            "archive_existing_versions": True,
        }
        with requests.Session() as session:
            session.get(f"{mirror.target}/health", timeout=60)
            barrier.wait(60)
            url = f"{mirror.target}/api/2.0/mlflow/model-versions/transition-stage"
            replies[session.post(url, json=body, timeout=60).status_code] += 1

    def here(ask: Callable[[], Any]) -> None:
        barrier.wait(60)
        try:
            outcome = ask()
            said[str(outcome.act) if outcome.act else "so already"] += 1
        except StaleWrite:
            said["lost"] += 1
        except BadRequest as err:
            said["nothing to go back to" if "no version to go back to" in str(err) else str(err)] += 1
        except SwitchyardError as err:
            failures.append(err)

    def promote(number: int) -> Callable[[], Any]:
        wanted = Promotion(name=name, version=number, expected=champion, force=True, reason="race")
        return lambda: ours.models.promote(wanted)

    def roll_back() -> Any:
        return ours.models.roll_back(Rollback(name=name, expected=champion, reason="race"))

    work: list[tuple[Callable[..., None], object]] = [(there, number) for number in others[:PROMOTERS]]
    work += [(there, back)] * ROLLBACKS
    work += [(here, promote(number)) for number in others[:PROMOTERS]]
    work += [(here, roll_back)] * ROLLBACKS
    threads = [threading.Thread(target=target, args=(argument,)) for target, argument in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []


def _look(ours: ResultsPorts, name: str, productions: "Counter[int]", done: threading.Event) -> None:
    """How many of ours are in Production, by one statement each."""
    from sqlalchemy import text

    query = text("SELECT count(*) FROM switchyard_model_versions WHERE name = :name AND stage = 'Production'")
    while not done.wait(0.005):
        ((count,),) = ours.database.rows(query, name=name)
        productions[count] += 1
