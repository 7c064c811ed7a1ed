"""What `clean` keeps, each rule planted; what it deletes; and what happens meanwhile."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.open import open_objects
from switchyard.core.decommission.clearing import Plan, Policy, What, to_digest
from switchyard.core.ports import ABSENT, ANY
from switchyard.core.registry.rows import Promotion, StageMove, Tombstone
from switchyard.core.registry.stages import Stage
from switchyard.core.runs.jobs import JobReport, JobState
from switchyard.core.runs.rows import RunStatus
from switchyard.services.clearing import carry_out, find_begun, plan_clearing
from tests.root import ROOT
from tests.services.clearing_world import NOW, OLD, ClearingWorld, with_objects

YOUNG = NOW - timedelta(days=89)
ALL = Policy(models=True, copies=True)
RUN_A, RUN_B = "a" * 32, "b" * 32


@pytest.fixture
def world(tmp_path: Path) -> ClearingWorld:
    return ClearingWorld(tmp_path)


def expect(world: ClearingWorld, ending: str, reason: str, policy: Policy = ALL) -> None:
    """The thing is kept, for that reason, even where everything may be deleted."""
    found = world.look(ending, policy)
    assert not found.delete, found
    assert reason in found.reason, found


def expect_stale(world: ClearingWorld, ending: str, policy: Policy = ALL) -> None:
    assert world.look(ending, policy).delete, world.look(ending, policy)


# --- runs


def test_old_checkpoints_of_a_run_that_has_ended_are_stale(world: ClearingWorld) -> None:
    """What a training could go on from; its record stays, and so do what is young."""
    id_ = world.add_run(RunStatus.FAILED)
    world.write_run(id_)
    expect_stale(world, f"{id_}/checkpoints", Policy())
    expect(world, f"{id_}/training_metrics.json", "published from it")
    world.write_run(id_, written_at=YOUNG)
    expect(world, f"{id_}/checkpoints", "not old enough")


def test_one_young_file_keeps_all_of_a_thing(world: ClearingWorld) -> None:
    """Half a checkpoint is none."""
    id_ = world.add_run(RunStatus.FAILED)
    world.write_run(id_)
    world.write(f"quick_tests/{id_}/checkpoints/attempt-2/checkpoint.json", written_at=YOUNG)
    expect(world, f"{id_}/checkpoints", "not old enough")


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.SUBMITTED, RunStatus.RUNNING])
def test_nothing_of_a_run_that_has_not_ended_is_stale(world: ClearingWorld, status: RunStatus) -> None:
    """However old its files are."""
    id_ = world.add_run(status)
    world.write_run(id_)
    for part in ("checkpoints", "model", "embeddings", "training_metrics.json"):
        expect(world, f"{id_}/{part}", "not settled")


def test_nothing_of_a_run_is_stale_while_reconcile_has_work_on_it(world: ClearingWorld) -> None:
    """It is completed and published, and its job's end is not told of yet."""
    id_ = world.add_completed(told=False)
    world.write_run(id_)
    expect(world, f"{id_}/checkpoints", "not settled")


def test_a_completed_run_without_a_history_is_not_settled(world: ClearingWorld) -> None:
    """Its history is still to be published."""
    id_ = world.add_run(RunStatus.COMPLETED)
    world.write_run(id_)
    expect(world, f"{id_}/checkpoints", "not settled")


def test_a_folder_without_a_row_is_kept(world: ClearingWorld) -> None:
    """Another database may write to the same bucket, or the row come back from a backup."""
    world.write_run(77)
    for part in ("checkpoints", "model", "training_metrics.json"):
        expect(world, f"77/{part}", "no row")


def test_a_folder_that_another_run_names_is_kept_while_that_one_runs(world: ClearingWorld) -> None:
    """An application names folders as it likes."""
    old, other = world.add_run(RunStatus.FAILED), world.add_run(RunStatus.FAILED)
    world.write_run(old)
    expect_stale(world, f"{old}/checkpoints")
    world.claim(other, folder=world.to_folder(old))
    expect(world, f"{old}/checkpoints", "not settled")


def test_a_completed_runs_model_is_deleted_only_where_that_is_asked_for(world: ClearingWorld) -> None:
    """It could still be registered."""
    id_ = world.add_completed()
    world.write_run(id_)
    expect(world, f"{id_}/model", "--models", Policy())
    expect_stale(world, f"{id_}/model")
    expect_stale(world, f"{id_}/checkpoints", Policy())


def test_a_version_of_a_folder_within_checkpoints_keeps_them(world: ClearingWorld) -> None:
    """Someone has exported a model there and registered it, perhaps since the plan; the run's own keeps none."""
    id_ = world.add_completed()
    world.write_run(id_)
    world.register(world.to_folder(id_))
    best = world.write(f"quick_tests/{id_}/checkpoints/best/model/saved_model.pb", b"graph")
    plan = world.plan(ALL)
    assert world.look(f"{id_}/checkpoints", ALL).delete
    version = world.register(best.parents[1], name="best")
    kept = world.look(f"{id_}/checkpoints", ALL)
    assert (kept.delete, kept.reason) == (False, "version 1 of best is made of what lies in it")
    assert "version 1 of best" in next(one.kept for one in carry_out(world.site, plan, NOW) if one.kept)
    assert best.exists()
    world.outside.models.tombstone(Tombstone(name="best", version=version.version, reason="old"))
    assert world.look(f"{id_}/checkpoints", ALL).delete


@pytest.mark.parametrize("through_link", [False, True])
def test_a_registered_runs_model_is_kept(world: ClearingWorld, through_link: bool) -> None:
    """In every stage, under whatever name its folder was registered."""
    id_ = world.add_completed()
    world.write_run(id_)
    folder = world.to_folder(id_)
    if through_link:
        link = world.folder / "link to it"
        link.symlink_to(folder)
        folder = link
    world.register(folder)
    for part in ("model", "embeddings"):
        expect(world, f"{id_}/{part}", "version 1 of shop is made of it")
    expect_stale(world, f"{id_}/checkpoints")


def test_a_retired_versions_model_is_deleted_only_where_that_is_asked_for(world: ClearingWorld) -> None:
    """It never answers again; its number, list of files and history stay in the registry."""
    id_ = world.add_completed()
    world.write_run(id_)
    made = world.register(world.to_folder(id_))
    world.outside.models.tombstone(Tombstone(name="shop", version=made.version, reason="biased"))
    expect(world, f"{id_}/model", "retired", Policy())
    expect_stale(world, f"{id_}/model")


def test_what_lies_beside_a_runs_parts_is_not_recognised(world: ClearingWorld) -> None:
    """Listed, and never deleted."""
    id_ = world.add_run(RunStatus.FAILED)
    world.write(f"quick_tests/{id_}/notes.txt")
    world.write("quick_tests/12a/model/x")
    world.write("somebody's/table.csv")
    for ending in (f"{id_}/notes.txt", "12a/model/x", "table.csv"):
        expect(world, ending, "not recognised")


def test_a_link_is_listed_and_not_followed(world: ClearingWorld, tmp_path: Path) -> None:
    """What it leads to is another's."""
    id_ = world.add_run(RunStatus.FAILED)
    outside = tmp_path / "elsewhere"
    world.write("attempt-1/checkpoint.json", root=outside)
    world.to_folder(id_).mkdir(parents=True)
    (world.to_folder(id_) / "checkpoints").symlink_to(outside)
    expect(world, f"{id_}/checkpoints", "not recognised")
    carry_out(world.site, world.plan(ALL), NOW)
    assert (outside / "attempt-1" / "checkpoint.json").exists()


# --- models


def test_an_imported_model_without_a_version_is_stale(world: ClearingWorld) -> None:
    """An import was killed before it wrote the version; the next one copies it again."""
    world.write("models/my%20shop/3-0123456789ab/model/saved_model.pb")
    expect_stale(world, "3-0123456789ab", Policy())
    world.write("models/my%20shop/3-0123456789ab/model/more.pb", written_at=YOUNG)
    expect(world, "3-0123456789ab", "not old enough")


def test_an_imported_model_with_a_version_is_kept(world: ClearingWorld) -> None:
    """The registry reads it there."""
    world.write("models/shop/3-0123456789ab/model/saved_model.pb")
    world.register(world.artifacts / "models" / "shop" / "3-0123456789ab")
    expect(world, "3-0123456789ab", "version 1 of shop")


def test_cached_models_are_stale_once_they_do_not_answer(world: ClearingWorld) -> None:
    """They are fetched again, as long as what they are a copy of is there."""
    world.write("model/saved_model.pb", b"graph", root=world.folder / "source")
    made = world.register(world.folder / "source")
    cached = world.write_cached(made.digest)
    expect_stale(world, cached.name, Policy())
    world.outside.models.move(StageMove(name="shop", version=1, stage=Stage.STAGING))
    expect(world, cached.name, "version 1 of shop")
    world.outside.models.promote(Promotion(name="shop", version=1, expected=None, force=True, reason="first"))
    expect(world, cached.name, "version 1 of shop")


def test_the_champion_before_stays_cached(world: ClearingWorld) -> None:
    """A rollback must not wait for a bucket."""
    for number in (1, 2):
        world.write("model/saved_model.pb", b"graph" * number, root=world.folder / f"source {number}")
        made = world.register(world.folder / f"source {number}")
        cached = world.write_cached(made.digest)
        world.outside.models.promote(
            Promotion(name="shop", version=number, expected=number - 1 or None, force=True, reason="a test")
        )
        if number == 1:
            first = cached
    expect(world, first.name, "version 1 of shop")


@pytest.mark.parametrize("damage", ["gone", "other size"])
def test_a_cached_model_whose_source_is_not_whole_is_kept(world: ClearingWorld, damage: str) -> None:
    """It is the last copy."""
    source = world.write("model/saved_model.pb", b"graph", root=world.folder / "source")
    cached = world.write_cached(world.register(world.folder / "source").digest)
    source.unlink() if damage == "gone" else source.write_bytes(b"gra")
    expect(world, cached.name, "the files that it is a copy of are not there")


def test_a_cached_model_that_no_version_names_is_kept(world: ClearingWorld) -> None:
    """Two databases may share a cache. What a load makes is its own to remove."""
    cached = world.write_cached("sha256:" + "0" * 64)
    world.write("part-abc/files/x", root=world.cache)
    expect(world, cached.name, "another database's")
    expect(world, "part-abc", "the next one removes it")


# --- copies of MLflow's artifacts, exports, evidence


def test_a_copied_artifact_is_kept_as_long_as_a_manifest_names_it(world: ClearingWorld) -> None:
    """That holds for one that two runs share, too."""
    manifest = world.copy(RUN_A, {"model.bin": b"shared", "a.txt": b"a"})
    world.copy(RUN_B, {"other name": b"shared"})
    decided = {one.thing.what: one.reason for one in world.plan(ALL).decisions}
    assert decided == {
        What.COPY_MANIFEST: "it is a run's newest, or has no row",
        What.COPIED_OBJECT: "a run's copy has it",
    }
    assert manifest.exists()


def test_an_older_manifest_goes_first_and_then_what_it_alone_named(world: ClearingWorld) -> None:
    """So that no manifest ever names what is not there."""
    old = world.copy(RUN_A, {"a.txt": b"before"})
    new = world.copy(RUN_A, {"a.txt": b"after"})
    expect(world, old.name, "--copies", Policy())
    assert [one.thing.name for one in world.plan(ALL).deletes] == [old.as_uri()]
    carry_out(world.site, world.plan(ALL), NOW)
    assert (old.exists(), new.exists()) == (False, True)
    (stale,) = world.plan(ALL).deletes
    assert stale.thing.what is What.COPIED_OBJECT
    assert not world.plan().deletes


def test_a_manifest_without_a_row_is_kept_with_all_that_it_names(world: ClearingWorld) -> None:
    """`artifacts copy` finds it again where the results database was lost."""
    world.copy(RUN_A, {"a.txt": b"a"}, named=False)
    assert not world.plan(ALL).deletes


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (
            lambda world: world.write(f"mlflow-artifacts/unfinished/{RUN_B}/{'0' * 64}.json"),
            "a copy is unfinished",
        ),
        (
            lambda world: world.write(f"mlflow-artifacts/runs/{RUN_B}/{'0' * 64}.json", b"{}"),
            "cannot be read",
        ),
        (lambda world: world.copy(RUN_B, {"b": b"b"}).unlink(), "is not there"),
    ],
)
def test_no_artifact_is_stale_while_it_is_not_known_who_needs_it(
    world: ClearingWorld, plant: Callable[[ClearingWorld], object], why: str
) -> None:
    """A copy at work, a damaged manifest, a missing one."""
    world.copy(RUN_A, {"a": b"a"})
    stray = "12" + "3" * 62
    world.write(f"mlflow-artifacts/objects/12/{stray}")
    expect_stale(world, stray)
    plant(world)
    expect(world, stray, why)


def test_notes_of_a_copy_that_was_finished_since_are_stale(world: ClearingWorld) -> None:
    """Another process left them; the run's own copy is whole."""
    world.copy(RUN_A, {"a": b"a"})
    world.write(f"mlflow-artifacts/unfinished/{RUN_A}/{'0' * 64}.json", written_at=OLD - timedelta(days=1))
    expect_stale(world, RUN_A, Policy())


def test_exports_and_evidence_are_kept(world: ClearingWorld) -> None:
    """They may be the only source of what MLflow held, and the only proof."""
    world.write("mlflow-export/runs/0.parquet")
    world.write("last-year/export.json")
    world.write("last-year/runs/0.parquet")
    world.write("manifests/verify-1.json")
    expect(world, "mlflow-export", "source of runs")
    expect(world, "last-year", "source of runs")
    expect(world, "verify-1.json", "proves")


# --- jobs, and what lies in the state folder


class OldJobs(LocalLauncher):
    """Has one job, which ended long ago."""

    def __init__(self, state: Path, key: str) -> None:
        super().__init__(str(state))
        self.report_ = JobReport(
            job_name=str(state / "jobs" / key),
            key=key,
            state=JobState.FAILED,
            created_at=OLD,
            ended_at=OLD,
        )
        self.pruned: list[str] = []

    def list_old(self, labels: object, before: datetime, limit: int) -> Sequence[JobReport]:
        return [self.report_] if not self.pruned else []

    def prune(self, job_names: Sequence[str]) -> int:
        self.pruned += job_names
        return len(job_names)


def test_a_jobs_folder_is_stale_once_its_run_is_settled(world: ClearingWorld) -> None:
    """The launcher removes it, as reconcile's own pruning does."""
    id_ = world.add_completed()
    job = world.outside.jobs.read_job(id_)
    assert job is not None
    launcher = OldJobs(world.state, job.key)
    site = replace(world.site, launcher=launcher)
    plan = plan_clearing(site, Policy(), NOW)
    assert [one.thing.what for one in plan.deletes] == [What.JOB]
    assert carry_out(site, plan, NOW)[0].deleted == 1
    assert launcher.pruned == [launcher.report_.job_name]
    unknown = replace(site, launcher=OldJobs(world.state, "no such key"))
    (kept,) = [one for one in plan_clearing(unknown, Policy(), NOW).decisions if one.thing.what is What.JOB]
    assert "not settled, or has no row" in kept.reason


def test_what_is_not_known_in_the_state_folder_is_listed(world: ClearingWorld) -> None:
    """The database, keys and Prefect's home are known, and not `clean`'s."""
    for name in ("buyer.key", "api-tokens.json", "my notes.txt"):
        (world.state / name).write_text("x")
    (world.state / "prefect").mkdir()
    names = [one.thing.name for one in world.plan(ALL).decisions]
    assert names == [(world.state / "my notes.txt").as_uri()]


# --- carrying out


def plant_many(world: ClearingWorld) -> None:
    """Stale things of several kinds, and kept ones beside each."""
    failed, done = world.add_run(RunStatus.FAILED), world.add_completed()
    for id_ in (failed, done):
        world.write_run(id_)
    world.write("models/shop/1-0123456789ab/model/saved_model.pb")
    world.write("model/saved_model.pb", b"graph", root=world.folder / "source")
    world.write_cached(world.register(world.folder / "source").digest)
    world.copy(RUN_A, {"a": b"a"})
    world.write("mlflow-artifacts/objects/12/12" + "3" * 62)
    world.write("else.txt")


def test_a_plan_changes_nothing_and_is_the_same_again(world: ClearingWorld) -> None:
    """Looking is free; the same things have the same digest."""
    plant_many(world)
    before = world.read_all()
    first, second = world.plan(ALL), world.plan(ALL)
    assert to_digest(first) == to_digest(second)
    assert len(first.deletes) == 9
    assert world.read_all() == before
    world.write("models/shop/1-0123456789ab/model/saved_model.pb", b"other", written_at=OLD + timedelta(days=1))
    assert to_digest(world.plan(ALL)) != to_digest(first)


def test_what_is_planned_is_deleted_and_nothing_else(world: ClearingWorld) -> None:
    """Compared whole, before and after."""
    plant_many(world)
    before, plan = world.read_all(), world.plan(ALL)
    done = carry_out(world.site, plan, NOW)
    assert [one.kept for one in done] == [""] * len(plan.deletes)
    gone = [uri.removeprefix(world.state.as_uri() + "/") for one in plan.deletes for uri, _ in one.thing.objects]
    assert sum(one.deleted for one in done) == len(gone)
    assert sum(one.size_bytes for one in done) == sum(len(before[path][0]) for path in gone)
    assert world.read_all() == {path: is_ for path, is_ in before.items() if path not in gone}
    assert not world.plan(ALL).deletes
    assert [one.deleted for one in carry_out(world.site, plan, NOW)] == [0] * len(plan.deletes)


def test_a_run_that_begins_after_the_plan_keeps_all_of_its_files(world: ClearingWorld) -> None:
    """It goes on from its checkpoints."""
    id_ = world.add_run(RunStatus.FAILED)
    world.write_run(id_)
    plan, before = world.plan(ALL), world.read_all()
    assert plan.deletes
    world.claim(id_)
    done = carry_out(world.site, plan, NOW)
    assert {one.kept for one in done} == {"the run is not settled"}
    assert world.read_all() == before


class Meanwhile(FileObjects):
    """Something happens after the first delete."""

    def __init__(self, happen: Callable[[], object]) -> None:
        self._happen, self.deleted = happen, 0

    def delete(self, uri: str, *, if_generation: int) -> None:
        if if_generation != ANY:
            self.deleted += 1
        super().delete(uri, if_generation=if_generation)
        if self.deleted == 1 and if_generation != ANY:
            self._happen()


def test_a_run_that_begins_between_two_deletes_keeps_the_rest(world: ClearingWorld) -> None:
    """It is asked for before each."""
    id_ = world.add_run(RunStatus.FAILED)
    world.write_run(id_)
    plan = world.plan(ALL)
    objects = Meanwhile(lambda: world.claim(id_))
    done = carry_out(with_objects(world.site, objects), plan, NOW)
    assert objects.deleted == 1
    assert [one.kept for one in done] == ["the run is not settled"] * len(done)


def test_a_model_that_is_registered_between_two_deletes_keeps_the_rest(world: ClearingWorld) -> None:
    """The version is damaged, and its rest is not made worse; `register` itself refuses files that change."""
    id_ = world.add_completed()
    world.write_run(id_)
    plan = world.plan(ALL)
    embeddings = [one for one in plan.deletes if one.thing.name.endswith("embeddings/")]
    objects = Meanwhile(lambda: world.register(world.to_folder(id_), quick_test_id=id_))
    done = carry_out(with_objects(world.site, objects), Plan(policy=ALL, decisions=plan.deletes), NOW)
    assert embeddings
    left = {one.name.rpartition("/quick_tests/")[2]: one.kept for one in done}
    assert left[f"{id_}/model/"] == "version 1 of shop is made of it" or left[f"{id_}/embeddings/"].startswith(
        "version"
    )


def test_what_is_written_again_after_the_plan_stays(world: ClearingWorld) -> None:
    """By its generation, though nothing else says that anyone needs it."""
    id_ = world.add_run(RunStatus.FAILED)
    world.write_run(id_)
    plan = world.plan(ALL)
    file = world.write(
        f"quick_tests/{id_}/checkpoints/attempt-1/checkpoint.json", b"new", written_at=OLD + timedelta(1)
    )
    done = {one.name: one for one in carry_out(world.site, plan, NOW)}
    assert (
        done[f"{world.to_folder(id_).as_uri()}/checkpoints/"].kept
        == "something was written there since the plan was made"
    )
    assert file.read_bytes() == b"new"


def test_a_bucket_is_cleaned_as_a_folder_is(world: ClearingWorld, gcs_root: str) -> None:
    """By generation: of two objects the one that was written again after the plan stays."""
    later = datetime.now(UTC) + timedelta(days=200)  # the endpoint's clock says when an object was written
    site = replace(world.site, artifacts_uri=gcs_root)
    id_, objects = world.add_run(RunStatus.FAILED), open_objects(gcs_root)
    uris = [f"{gcs_root}/quick_tests/{id_}/{path}" for path in ("checkpoints/a", "checkpoints/b", "ended.json")]
    for uri in uris:
        objects.write(uri, b"x", if_generation=ABSENT)
    plan = plan_clearing(site, Policy(), later)
    assert [one.thing.name for one in plan.deletes] == [f"{gcs_root}/quick_tests/{id_}/checkpoints/"]

    class WrittenAgain:
        def __getattr__(self, name: str) -> object:
            return getattr(objects, name)

        def delete(self, uri: str, *, if_generation: int) -> None:
            if uri == uris[1]:
                objects.write(uri, b"new", if_generation=ANY)
            objects.delete(uri, if_generation=if_generation)

    (done,) = carry_out(with_objects(site, WrittenAgain()), plan, later)
    assert (done.deleted, done.kept) == (1, "it was written again just now")
    assert objects.list(f"{gcs_root}/quick_tests/") == uris[1:]
    carry_out(site, plan_clearing(site, Policy(), later), later)
    assert objects.list(f"{gcs_root}/") == uris[2:]


def test_two_at_once_delete_the_same_as_one(world: ClearingWorld) -> None:
    """Each delete that the other has done is done."""
    plant_many(world)
    plan = world.plan(ALL)
    barrier = Barrier(2)

    def clear(_: int) -> int:
        barrier.wait()
        return len([one for one in carry_out(world.site, plan, NOW) if one.kept])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(clear, range(2))) == [0, 0]
    assert not world.plan(ALL).deletes
    assert not list((world.artifacts / "clean").iterdir())


def test_killed_before_and_after_each_delete_the_same_plan_ends_it(tmp_path: Path) -> None:
    """SIGKILL, then the plan that was begun is found by its digest and carried out: all is as without the kill."""
    world = ClearingWorld(tmp_path / "start")
    plant_many(world)
    world.outside.close()
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.killed_clearing", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    *kills, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert last["effect"] is None
    assert {kill["effect"] for kill in kills} >= {"before delete", "after delete", "before rename", "after rename"}
    assert len(kills) >= 20
    for kill in kills:
        assert kill["left"] == last["left"], kill


def test_a_plan_that_was_begun_is_found_until_it_is_finished(world: ClearingWorld) -> None:
    """So that the digest that a person typed goes on being right."""
    plant_many(world)
    plan = world.plan(ALL)
    assert find_begun(world.site, to_digest(plan)) is None

    class Dying(FileObjects):
        def delete(self, uri: str, *, if_generation: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(with_objects(world.site, Dying()), plan, NOW)
    begun = find_begun(world.site, to_digest(plan))
    assert begun is not None
    assert to_digest(begun) == to_digest(plan)
    carry_out(world.site, begun, NOW)
    assert find_begun(world.site, to_digest(plan)) is None
