"""Who answers, and who goes on answering whatever goes wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.predictions import holder as holding
from switchyard.core.errors import BadRecord, BadSetup, TryAgain
from switchyard.core.ports import RowModel
from switchyard.core.predictions.sources import Kind, Source
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.rows import Rollback, StageMove, Tombstone
from switchyard.core.registry.stages import Stage
from switchyard.services.model_loading import OpenRows
from tests.predicting import promote, register_folder, write_tower
from tests.serving.predictions.planting import write_planted
from tests.serving.predictions.world import World, served


def test_champion_answers_and_a_promotion_takes_its_place(world: World) -> None:
    """At the next look; a rollback likewise."""
    world.add_champion(1)
    holder = world.hold()
    assert (served(holder), holder.state.is_degraded, holder.state.problem) == (1, False, "")
    second = world.add(2)
    holder.look()
    assert served(holder) == 1
    promote(world.place.models, second)
    holder.look()
    assert served(holder) == 2
    world.place.models.roll_back(Rollback(name="shop", expected=2))
    holder.look()
    assert (served(holder), holder.loads) == (1, 3)


def test_look_without_news_is_one_read_of_one_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state stays the very same object."""
    world.add_champion()
    holder = world.hold()
    state, read = holder.state, 0
    database = world.place.ports.database
    rows = database.rows

    def count(_: object, *said: Any, **more: Any) -> Any:
        nonlocal read
        read += 1
        return rows(*said, **more)

    monkeypatch.setattr(type(database), "rows", count)
    holder.look()
    assert holder.state is state
    assert read == 1


def _change(folder: Path) -> None:
    path = folder / "embeddings" / "query.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _add(folder: Path) -> None:
    (folder / "embeddings" / "extra.parquet").write_bytes(b"x")


def _link(folder: Path) -> None:
    path = folder / "embeddings" / "query.parquet"
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_change, "must have sha256"),
        (_add, "is not one of the version's files"),
        (_link, "is a link or no regular file"),
    ],
)
def test_changed_files_load_nothing_and_the_old_model_answers_on(
    world: World, damage: Callable[[Path], None], said: str
) -> None:
    """The state says why, until the files are put right."""
    world.add_champion(1)
    holder = world.hold()
    promote(world.place.models, world.add(2))
    damage(world.folder(2))
    holder.look()
    assert (served(holder), holder.state.is_ready, holder.state.is_degraded) == (1, True, True)
    assert said in holder.state.problem
    assert holder.failed_loads == 1


def test_embeddings_of_nan_load_nothing_and_the_old_model_answers_on(world: World) -> None:
    """Though they are the very files that were registered."""
    world.add_champion(1)
    holder = world.hold()
    folder = world.folder(2)
    write_tower(folder / "embeddings" / "query.parquet", ["b0"], [[1.0] * 8])
    write_tower(folder / "embeddings" / "candidate.parquet", ["p0"], [[float("nan")] * 8])

    promote(world.place.models, register_folder(world.place.models, folder))
    holder.look()
    assert served(holder) == 1
    assert "every number must be finite; these products have NaN or infinity: 'p0'" in holder.state.problem


def test_files_that_would_not_load_are_tried_again_after_a_pause(world: World) -> None:
    """And load once they are put right; the pauses grow, and end at a minute."""
    world.add_champion(1)
    holder = world.hold()
    promote(world.place.models, world.add(2))
    path = world.folder(2) / "embeddings" / "query.parquet"
    whole = path.read_bytes()
    _change(world.folder(2))
    holder.look()
    holder.look()
    assert holder.failed_loads == 1
    for failed in range(2, 9):
        world.now += min(60.0, 2.0 ** (failed - 1))
        holder.look()
        assert holder.failed_loads == failed
    path.write_bytes(whole)
    holder.look()
    assert served(holder) == 1
    world.now += 60
    holder.look()
    assert (served(holder), holder.state.problem) == (2, "")


def test_files_that_take_long_to_fail_are_left_alone_as_long(world: World) -> None:
    """The thread that a hanging load holds is free for a rollback at least half of the time."""
    world.add_champion(1)
    holder = world.hold(open_rows=_hang(world, 120.0))
    promote(world.place.models, register_folder(world.place.models, write_planted(world.folder(2))))
    holder.look()
    assert (served(holder), holder.failed_loads) == (1, 1)
    world.now += 119
    holder.look()
    assert holder.failed_loads == 1
    world.now += 1
    holder.look()
    assert holder.failed_loads == 2


def _hang(world: World, seconds: float) -> OpenRows:
    def open_rows(folder: Path, manifest: Manifest, where: str) -> RowModel:
        world.now += seconds
        raise BadRecord(where, ["its process took too long, and was ended"])

    return open_rows


def test_without_the_database_the_model_answers_on(world: World) -> None:
    """And the state says so, until it is back."""
    world.add_champion(1)
    holder = world.hold()
    away = TryAgain("no connection")

    def fail() -> None:
        raise away

    holder._ports = fail  # type: ignore[assignment]  # a database that goes away
    holder.look()
    assert (served(holder), holder.state.problem) == (1, "no connection")
    holder._ports = world.ports
    holder.look()
    assert (served(holder), holder.state.problem) == (1, "")


def test_champion_that_was_taken_away_answers_on(world: World) -> None:
    """No one else was named in its place."""
    version = world.add_champion(1)
    holder = world.hold()
    world.place.models.move(StageMove(name="shop", version=version.version, stage=Stage.ARCHIVED, reason="a test"))
    holder.look()
    assert (served(holder), holder.state.is_degraded) == (1, True)
    assert "has no version Production" in holder.state.problem


def test_nothing_there_is_not_ready_and_says_why(world: World) -> None:
    """Each source with its reason; it is ready once there is one."""
    holder = world.hold()
    assert not holder.state.is_ready
    assert "MODEL_VARIANT=models:/shop/Production" in holder.state.problem
    world.add_champion()
    holder.look()
    assert served(holder) == 1


def test_next_source_answers_where_the_first_has_nothing(world: World) -> None:
    """As a fallback, which says why; the first one takes its place once it is there."""
    world.add(1, name="other")
    fallback = Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/other/1")
    holder = world.hold(Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/Production"), fallback)
    champion = holder.state.champion
    assert champion is not None
    assert (champion.name, champion.fallback, holder.state.is_degraded) == ("other", True, True)
    assert [each.source for each in holder.state.tried] == ["MODEL_VARIANT=models:/shop/Production"]
    assert "registry" in holder.state.tried[0].why_not
    world.add_champion(2)
    holder.look()
    champion = holder.state.champion
    assert champion is not None
    assert (champion.name, champion.fallback, holder.state.is_degraded) == ("shop", False, False)


def test_later_source_never_takes_the_place_of_a_model_in_use(world: World) -> None:
    """The champion's database goes away: the folder is for a start without it."""
    world.add_champion(1)
    world.add(2, name="other")
    holder = world.hold(
        Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/Production"),
        Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/other/1"),
    )
    world.place.models.move(StageMove(name="shop", version=1, stage=Stage.ARCHIVED, reason="a test"))
    holder.look()
    champion = holder.state.champion
    assert champion is not None
    assert (champion.name, holder.state.is_degraded) == ("shop", True)


@pytest.mark.parametrize("damage", [_change, _add, _link])
def test_wrong_files_never_fall_through(world: World, damage: Callable[[Path], None]) -> None:
    """Not ready, with the reason, though there is a later source that would load."""
    world.add_champion(1)
    world.add(2, name="other")
    damage(world.folder(1))
    holder = world.hold(
        Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/Production"),
        Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/other/1"),
    )
    assert not holder.state.is_ready
    assert "version 1 of model shop" in holder.state.problem or "model1" in holder.state.problem


def test_refused_access_never_falls_through(world: World) -> None:
    """A right that was taken away must not let another model answer."""
    world.add_champion(1)
    world.add(2, name="other")

    def refuse(uri: str) -> None:
        raise BadSetup("403: this account may not read the bucket")

    world.open_objects = refuse  # type: ignore[assignment]
    holder = world.hold(
        Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/Production"),
        Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/other/1"),
    )
    assert holder.state.problem == "403: this account may not read the bucket"


def test_retired_version_never_falls_through(world: World) -> None:
    """Someone retired it on purpose."""
    version = world.add(1)
    world.add(2, name="other")
    world.place.models.tombstone(Tombstone(name="shop", version=version.version, reason="a test"))
    holder = world.hold(
        Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/1"),
        Source("MLFLOW_MODEL_URI", Kind.REGISTRY, "models:/other/1"),
    )
    assert not holder.state.is_ready
    assert "is retired for ever" in holder.state.problem


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("models:/shop/2", 2), ("models:/shop/Staging", 2), ("models:/shop@challenger", 2), ("models:/shop@canary", 1)],
)
def test_any_reference_can_be_served(world: World, value: str, wanted: int) -> None:
    """A number, a stage, an alias."""
    world.add_champion(1)
    world.add(2)
    world.place.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING))
    world.place.models.set_alias("shop", "canary", 1)
    assert served(world.hold(Source("MODEL_VARIANT", Kind.REGISTRY, value))) == wanted


def test_free_alias_is_followed_too(world: World) -> None:
    """A little later: more than one row says what it names."""
    world.add_champion(1)
    world.add(2)
    world.place.models.set_alias("shop", "canary", 1)
    holder = world.hold(Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop@canary"))
    world.place.models.set_alias("shop", "canary", 2)
    world.now += holding.WHOLE_LOOK_S
    holder.look()
    assert served(holder) == 2


def test_challenger_is_loaded_beside_the_champion(world: World) -> None:
    """With its share; one that will not load keeps no one from answering."""
    world.add_champion(1)
    world.add(2)
    world.place.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING, share=0.25))
    holder = world.hold()
    challenger = holder.state.challenger
    assert challenger is not None
    assert (challenger.version, holder.state.share, holder.state.problem) == (2, 0.25, "")
    world.add(3)
    _change(world.folder(3))
    world.place.models.move(StageMove(name="shop", version=3, stage=Stage.STAGING))
    holder.look()
    assert (served(holder), holder.state.challenger, holder.state.is_degraded) == (1, None, True)
    assert holder.state.problem.startswith("the challenger, version 3, does not answer")


def test_promoted_challenger_is_not_read_again(world: World) -> None:
    """It is in memory already."""
    world.add_champion(1)
    version = world.add(2)
    world.place.models.move(StageMove(name="shop", version=2, stage=Stage.STAGING))
    holder = world.hold()
    loaded = holder.state.challenger
    promote(world.place.models, version)
    holder.look()
    assert holder.state.champion is not None
    assert loaded is not None
    assert holder.state.champion.recommender is loaded.recommender
    assert holder.loads == 2


def test_model_that_answers_nonsense_is_not_put_in_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried before anyone's request is."""
    from switchyard.clients.scoring.two_tower import TwoTower
    from switchyard.core.predictions.answers import Recommendation

    world.add_champion(1)
    holder = world.hold()
    promote(world.place.models, world.add(2))
    nonsense = Recommendation(product_ids=("p0", "p0"), scores=(float("nan"), 1.0), known=True)
    monkeypatch.setattr(TwoTower, "recommend", lambda *_, **__: nonsense)
    holder.look()
    assert served(holder) == 1
    for part in ("it was tried, and not taken", "a product is answered twice", "a score is NaN"):
        assert part in holder.state.problem


def test_bug_in_a_look_ends_neither_answers_nor_looks(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback."""
    world.add_champion(1)
    holder = world.hold()

    def fail() -> None:
        raise ZeroDivisionError

    holder._ports = fail  # type: ignore[assignment]
    holder.look()
    assert (served(holder), holder.state.problem) == (1, "ZeroDivisionError")
    assert "ZeroDivisionError" in caplog.text
