"""Models are mirrored to MLflow's registry, by MLflow's own client, beside registries in a folder.

Its servers are in tests/clients/mlflow/test_real_registries.py.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from switchyard.clients.mlflow.registry_client import CLIENT_SETTINGS
from switchyard.clients.mlflow.registry_mirror import MlflowMirror
from switchyard.clients.results.open import ResultsPorts
from switchyard.core.errors import BadRequest, NotFound, TryAgain
from switchyard.core.registry.mirroring import CreateModel, CreateVersion, MoveStage, SetAlias, SetTags
from switchyard.core.registry.rows import Promotion
from switchyard.core.registry.stages import Stage
from switchyard.services.mirroring import Mirroring, mirror_models
from tests.root import ROOT
from tests.services.mirror_world import NAME, add, aliases_of, make_ours, opened, stages_of, to_counted

Opened = tuple[ResultsPorts, MlflowMirror, Mirroring]
AS_OURS = {1: "Production", 2: "Staging", 3: "None"}


@pytest.fixture(autouse=True)
def mlflow_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    # Its store in a folder opens the tracking server's too, which by default is a database in the working folder.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:4")
    for name in CLIENT_SETTINGS:  # set for the process by the client; put back after the test
        monkeypatch.setenv(name, "")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Opened]:
    with opened(tmp_path) as found:
        yield found


def test_mirror_shows_what_ours_has(world: Opened) -> None:
    """Versions with their tags, aliases and stages; a second look finds nothing to do."""
    _, mirror, ports = world
    done = mirror_models(ports)
    assert (done.failed, done.away, done.created) == ({}, "", {NAME: [1, 2, 3]})
    assert stages_of(mirror) == AS_OURS
    assert aliases_of(mirror) == {"champion": 1, "challenger": 2, "stable": 1}
    again = mirror_models(ports)
    assert (again.looked_at, again.changed, again.failed) == (1, {}, {})


def test_promotion_and_removed_alias_follow(world: Opened) -> None:
    """The old champion is archived there by the call that promotes the new one."""
    ours, mirror, ports = world
    mirror_models(ports)
    ours.models.promote(Promotion(name=NAME, version=2, expected=1, force=True, reason="test"))
    ours.models.set_alias(NAME, "stable", None)
    mirror_models(ports)
    assert stages_of(mirror) == {1: "Archived", 2: "Production", 3: "None"}
    assert aliases_of(mirror) == {"champion": 2}


def test_two_productions_are_repaired_and_told(world: Opened) -> None:
    """Someone made them there, one of them a version that we know nothing of."""
    _, mirror, ports = world
    mirror_models(ports)
    stranger = mirror.create_version(NAME, CreateVersion(version=0, source="gs://b/x"))
    for number in (3, stranger):
        mirror.move(NAME, MoveStage(number=number, stage=Stage.PRODUCTION))
    mirror.set_alias(NAME, SetAlias(alias="champion", number=stranger))
    done = mirror_models(ports)
    assert done.several == {NAME: [1, 3, stranger]}
    found = mirror.read(NAME)
    assert found is not None
    assert {version.number: version.stage for version in found.versions} == AS_OURS | {stranger: "Archived"}
    assert found.aliases["champion"] == 1


def test_numbers_there_may_differ_and_the_pair_is_kept(world: Opened) -> None:
    """Someone had versions there already; should our tags go, the pair finds ours again."""
    ours, mirror, ports = world
    mirror.create_model(NAME, CreateModel())
    for _ in range(2):
        mirror.create_version(NAME, CreateVersion(version=0, source="gs://b/x"))
    mirror_models(ports)
    pairs = ours.mirrors.list_pairs(mirror.target, NAME)
    assert pairs == {1: 3, 2: 4, 3: 5}
    mirror.set_tags(NAME, SetTags(number=4, tags={"switchyard.version": "9", "switchyard.digest": "lost"}))
    done = mirror_models(ports)
    assert (done.created, done.changed) == ({}, {NAME: 1})
    found = mirror.read(NAME)
    assert found is not None
    assert {version.number: version.tags["switchyard.version"] for version in found.versions if version.number > 2} == {
        3: "1",
        4: "2",
        5: "3",
    }


@pytest.mark.parametrize("effect", ["create_model", "create_version", "set_alias", "move"])
def test_lost_answer_makes_nothing_twice(world: Opened, effect: str) -> None:
    """The call took effect, and its answer did not arrive: the turn ends, and the next one finds what there is."""
    ours, mirror, ports = world
    lost = 0

    def after(name: str) -> None:
        nonlocal lost
        if name == effect and not lost:
            lost += 1
            raise TryAgain("the connection was cut")

    done = mirror_models(to_counted(ours, mirror, lambda name: None, after))
    assert (lost, done.away, done.left) == (1, "the connection was cut", 1)
    done = mirror_models(ports)
    assert (done.failed, done.doubles) == ({}, {})
    assert (stages_of(mirror), len(stages_of(mirror))) == (AS_OURS, 3)
    assert mirror_models(ports).changed == {}


def test_a_version_that_is_there_twice_is_told_and_not_used(world: Opened) -> None:
    """As an older client's own repetition leaves it."""
    _, mirror, ports = world
    mirror_models(ports)
    found = mirror.read(NAME)
    assert found is not None
    tags = next(version.tags for version in found.versions if version.number == 2)
    double = mirror.create_version(NAME, CreateVersion(version=2, source="gs://b/2", tags=tags))
    done = mirror_models(ports)
    assert (done.doubles, done.changed) == ({NAME: [double]}, {})


class Refusing(MlflowMirror):
    """A server that takes no name with a blank, as MLflow 3 takes none with a slash."""

    def create_model(self, name: str, change: CreateModel) -> None:
        if " " in name:
            raise BadRequest(f"Invalid model name {name!r}")
        super().create_model(name, change)


def test_one_model_s_trouble_is_its_own(tmp_path: Path, world: Opened) -> None:
    """A name that the server refuses, say: it is told, and the others are mirrored."""
    ours, mirror, _ = world
    make_ours(tmp_path, 1, "a bad name").close()
    refusing = Refusing(mirror.target)
    done = mirror_models(Mirroring(models=ours.models, notes=ours.mirrors, mirror=refusing))
    assert (done.looked_at, done.failed) == (2, {"a bad name": "Invalid model name 'a bad name'"})
    assert stages_of(mirror) == AS_OURS
    looks = ours.mirrors.list_looks(mirror.target)
    assert {name: look.error for name, look in looks.items()} == done.failed | {NAME: ""}


def test_no_version_is_begun_after_the_turn_s_time(world: Opened) -> None:
    """One change a turn at least, so that the last turn ends what the first one began."""
    ours, mirror, _ = world
    turns = 0
    while True:
        turns += 1
        ports = Mirroring(models=ours.models, notes=ours.mirrors, mirror=mirror, deadline=0, clock=lambda: 1.0)
        done = mirror_models(ports)
        assert turns < 50
        if not done.changed:
            break
        assert (sum(done.changed.values()), done.left) == (1, 1)
        assert "goes on at the next one" in done.away
    assert stages_of(mirror) == AS_OURS
    assert turns > 5


def test_models_that_have_not_changed_wait(world: Opened) -> None:
    """They are looked at once in `every`; a change here is shown at the next turn."""
    ours, mirror, ports = world
    mirror_models(ports)
    seldom = Mirroring(models=ours.models, notes=ours.mirrors, mirror=mirror, every=timedelta(minutes=5))
    assert mirror_models(seldom).looked_at == 0
    add(ours, 4)
    assert mirror_models(seldom).created == {NAME: [4]}


def test_two_at_once_do_not_make_a_version_twice(world: Opened) -> None:
    """The second one leaves the model to the first, which is at it."""
    ours, mirror, ports = world
    others: list[list[str]] = []

    def before(name: str) -> None:
        if name == "create_version":
            others.append(mirror_models(ports).busy)

    done = mirror_models(to_counted(ours, mirror, before, lambda name: None))
    assert (done.failed, others) == ({}, [[NAME]] * 3)
    assert len(stages_of(mirror)) == 3


def test_unknown_model_is_refused(world: Opened) -> None:
    """Before anything is asked there."""
    with pytest.raises(NotFound, match="no model nope"):
        mirror_models(world[2], ["nope"])


@pytest.mark.parametrize(("uri", "raised"), [("http://127.0.0.1:4", TryAgain)], ids=["nobody answers"])
def test_server_that_is_away_is_said(tmp_path: Path, uri: str, raised: type[Exception]) -> None:
    """It ends the turn, and raises nothing."""
    ours = make_ours(tmp_path)
    done = mirror_models(Mirroring(models=ours.models, notes=ours.mirrors, mirror=MlflowMirror(uri)))
    assert (done.looked_at, done.left, done.failed) == (1, 1, {})
    assert uri in done.away
    with pytest.raises(raised):
        MlflowMirror(uri).read(NAME)
    ours.close()


def test_killed_at_any_point_the_next_one_ends_it(tmp_path: Path) -> None:
    """SIGKILL before and after every effect, then one more turn: all is there, and nothing twice."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.killed_mirror", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    beside = {kill["effect"].partition(" ")[2] for kill in kills}
    assert beside == {"create_model", "create_version", "set_alias", "move", "keep_pairs", "note_look"}
    assert len(kills) >= 20
    for kill in kills:
        assert kill["failed"] == kill["again"] == kill["doubles"] == {}, kill
        assert kill["versions"] == 3, kill
        assert {int(number): stage for number, stage in kill["stages"].items()} == AS_OURS, kill
        assert kill["aliases"] == {"champion": 1, "challenger": 2, "stable": 1}, kill
