"""The suite of the port `Ledger`, on every database and every table of runs.

It holds lines, and many runs published with theirs as each would be alone. `test_ledger_unsettled` has what reconcile
asks.
"""

import json
from typing import Any

import msgspec
import pytest

from switchyard.core.errors import BadRecord, NotFound, StaleWrite, SwitchyardError
from switchyard.core.history.publication import Draft, Publication, PublishResult, Rank
from switchyard.core.runs.ledger import LedgerLine
from switchyard.core.runs.rows import RunStatus
from tests.clients.results.places import NOW, Place, later, look, publication

LEGACY = json.dumps({"available": True, "epochs": [0, 5], "loss": {"train": [0.5]}, "params": {"note": "x" * 400}})
EARLY = Rank(attempt=1, epochs=5)
Step = tuple[dict[str, Any], bool]
"""What is published, and whether by force."""


def charted_only(**changes: Any) -> dict[str, Any]:
    return {"kinds": (), "full": None} | changes


def make(run: int, changes: dict[str, Any]) -> Publication:
    """A publication; of charted series alone where `full` is None and no histogram is among it."""
    made = publication(run, **{name: value for name, value in changes.items() if value is not None})
    if "full" in changes and changes["full"] is None:
        made = msgspec.structs.replace(made, digests=msgspec.structs.replace(made.digests, full=None))
    return made


STEPS: dict[str, list[Step]] = {
    "first": [({}, False)],
    "again": [({}, False), ({}, False)],
    "higher rank": [({"rank": EARLY, "status": "partial"}, False), ({"charted": "b"}, False)],
    "lower rank": [({}, False), ({"rank": EARLY, "charted": "b"}, False)],
    "other content": [({}, False), ({"charted": "b"}, False)],
    "other content by force": [({}, False), ({"charted": "b"}, True), ({"charted": "b"}, True)],
    "other sampling": [({}, False), ({"interval": 2}, False)],
    "ends the row": [({"row_status": RunStatus.FAILED, "error": "died"}, False)],
    "charted, then whole": [(charted_only(), False), ({}, False)],
    "whole, then charted": [({}, False), (charted_only(), False)],
    "whole, then charted, sampled otherwise": [({}, False), (charted_only(interval=2), False)],
    "whole, then charted by force, sampled otherwise": [({}, False), (charted_only(interval=2), True)],
    "charted, then whole of another": [(charted_only(), False), ({"charted": "b"}, False)],
    "histograms, then fewer": [({}, False), ({"charted": "b", "kinds": ("weights",)}, True)],
}


def publish_alone(place: Place, made: Publication, *, force: bool, minutes: int) -> PublishResult | type:
    try:
        return place.histories.publish(made, force=force, now=later(minutes))
    except SwitchyardError as err:
        return type(err)


def test_many_are_published_as_each_alone(place: Place) -> None:
    """The same outcome, row, digests, histograms and replaced histories, whatever was there before; legacy too."""
    alone = {name: place.add_run(f"alone {name}") for name in STEPS}
    many = {name: place.add_run(f"many {name}") for name in STEPS}
    for legacy in ("again", "other content by force"):
        place.set_history(alone[legacy], LEGACY)
        place.set_history(many[legacy], LEGACY)
    for turn in range(3):
        for force in (False, True):
            due = {name: steps[turn] for name, steps in STEPS.items() if len(steps) > turn and steps[turn][1] is force}
            drafts = [
                Draft(quick_test_id=many[name], publication=make(many[name], step)) for name, (step, _) in due.items()
            ]
            found = place.ledger.publish_many("test", drafts, force=force, now=later(turn))
            for name, (step, _) in due.items():
                expected = publish_alone(place, make(alone[name], step), force=force, minutes=turn)
                outcome = found[many[name]]
                assert (type(outcome) if isinstance(outcome, SwitchyardError) else outcome) == expected, name
    for name in STEPS:
        assert look(place, many[name]) == look(place, alone[name]), name


def test_each_run_has_its_ledger_line(place: Place) -> None:
    """What was published, kept, failed and why, and what had nothing to publish; tried again, one attempt more."""
    runs = {name: place.add_run(name) for name in ("good", "legacy", "stale", "empty", "lost")}
    place.set_history(runs["legacy"], LEGACY)
    place.histories.publish(publication(runs["stale"], "other"), now=NOW)
    drafts = [
        Draft(quick_test_id=runs[name], publication=publication(runs[name]), source_digest="sha256:source")
        for name in ("good", "legacy", "stale")
    ]
    drafts += [
        Draft(quick_test_id=runs["empty"], state="skipped", error="nothing to publish"),
        Draft(quick_test_id=runs["lost"], state="failed", error="no such MLflow run"),
        Draft(quick_test_id=4711, publication=publication(4711)),
    ]
    found = place.ledger.publish_many("test", drafts, now=NOW)
    assert found.keys() == {runs["good"], runs["legacy"], runs["stale"], 4711}
    assert isinstance(found[runs["stale"]], StaleWrite)
    assert isinstance(found[4711], NotFound)
    place.ledger.publish_many("test", drafts, now=later(5))
    lines = {line.quick_test_id: line for line in place.ledger.read_ledger("test")}
    assert lines[runs["good"]] == LedgerLine(
        kind="test",
        quick_test_id=runs["good"],
        state="done",
        attempts=2,
        source_digest="sha256:source",
        published_digest="sha256:a",
        updated_at=later(5),
    )
    states = {name: lines[run].state for name, run in runs.items()}
    assert states == {"good": "done", "legacy": "skipped", "stale": "failed", "empty": "skipped", "lost": "failed"}
    assert "--force" in lines[runs["legacy"]].error
    assert "force" in lines[runs["stale"]].error
    assert lines[4711].state == "failed"
    assert place.ledger.count_ledger("test", since=later(5)) == 6
    assert place.ledger.count_ledger("test", since=later(6)) == 0


def test_who_lacks_a_file_follows_from_what_is_published(place: Place) -> None:
    """Whole, of MLflow, by whichever flow, and no backfill has written its file; a run of its own file never does."""
    cases = {
        "ingested": ("mlflow", {}, None),
        "backfilled": ("mlflow", {}, "done"),
        "filed": ("mlflow", {}, "filed"),
        "charted": ("mlflow", charted_only(), None),
        "of its file": ("file", {}, "failed"),
        "unpublished": ("", {}, None),
    }
    runs = {name: place.add_run(name) for name in cases}
    for name, (source, changes, state) in cases.items():
        made = make(runs[name], changes)
        if source:
            place.histories.publish(msgspec.structs.replace(made, history=made.history | {"source": source}), now=NOW)
        if state:
            place.ledger.publish_many("backfill", [Draft(quick_test_id=runs[name], state=state)], now=NOW)
    rows = {row.id: row for row in place.ledger.list_backfill()}
    assert {name for name, id_ in runs.items() if rows[id_].lacks_file} == {"ingested", "backfilled"}


@pytest.mark.parametrize("text", [None, "null", '{"available": false}'], ids=["NULL", "null", "not available"])
def test_what_its_application_has_taken_back_is_not_published(place: Place, text: str | None) -> None:
    """Whichever way it says so, though our digests of it are still there: backfill publishes it again."""
    run = place.add_run()
    place.histories.publish(make(run, {}), now=NOW)
    place.sql(f"UPDATE {place.runs_table} SET training_history_json = :text", text=text)
    assert [row.published for row in place.ledger.list_backfill()] == ["nothing"]
    outcomes = place.ledger.publish_many("backfill", [Draft(quick_test_id=run, publication=make(run, {}))], now=NOW)
    assert outcomes == {run: PublishResult.PUBLISHED}
    assert [row.published for row in place.ledger.list_backfill()] == ["ours"]


def test_a_row_says_which_parent_it_waits_for(place: Place) -> None:
    """Until a publication finds it: of those that wait for none, and of other lines, nothing."""
    waits, found, plain = (place.add_run(name) for name in ("waits", "found", "plain"))
    drafts = [Draft(quick_test_id=run, publication=make(run, {}), lost_parent="p") for run in (waits, found)]
    drafts.append(Draft(quick_test_id=plain, publication=make(plain, {})))
    place.ledger.publish_many("backfill", drafts, now=NOW)
    place.ledger.publish_many("backfill", [Draft(quick_test_id=found, publication=make(found, {}))], now=NOW)
    assert {row.id: row.lost_parent for row in place.ledger.list_backfill()} == {waits: "p", found: "", plain: ""}


def test_a_run_that_the_database_refuses_leaves_the_others_be(place: Place) -> None:
    """A constraint of the table's owner, or a value that no JSON has: that run fails, with its reason on its line."""
    good, barred, bad = (place.add_run(name) for name in ("good", "barred", "bad"))
    guard = f"CHECK (id <> {barred} OR training_history_json IS NULL)"
    if place.url.startswith("sqlite"):
        place.sql(
            f"CREATE TRIGGER barred BEFORE UPDATE ON {place.runs_table} WHEN NEW.id = {barred} "
            "BEGIN SELECT RAISE(ABORT, 'the owner does not want that'); END"
        )
    else:
        place.sql(f"ALTER TABLE {place.runs_table} ADD CONSTRAINT guard {guard}")
    try:
        drafts = [Draft(quick_test_id=run, publication=publication(run)) for run in (good, barred)]
        drafts.append(Draft(quick_test_id=bad, publication=publication(bad, note=object())))
        found = place.ledger.publish_many("test", drafts, now=NOW)
    finally:
        if not place.url.startswith("sqlite"):
            place.sql(f"ALTER TABLE {place.runs_table} DROP CONSTRAINT guard")
    assert found[good] is PublishResult.PUBLISHED
    assert isinstance(found[barred], SwitchyardError)
    assert isinstance(found[bad], BadRecord)
    lines = {line.quick_test_id: line for line in place.ledger.read_ledger("test")}
    assert {run: (line.state, line.attempts) for run, line in lines.items()} == {
        good: ("done", 1),
        barred: ("failed", 1),
        bad: ("failed", 1),
    }
    assert place.histories.read_history(barred).history_json is None
    assert place.histories.read_history(good).history_json is not None


def test_a_folder_is_written_only_where_the_row_has_none(place: Place) -> None:
    """The owner's path stays."""
    without, with_one = place.add_run("without"), place.add_run("with")
    place.sql(f"UPDATE {place.runs_table} SET gcs_artifacts_path = 'gs://theirs' WHERE id = :id", id=with_one)
    drafts = [
        Draft(quick_test_id=run, publication=publication(run), gcs_artifacts_path="gs://ours")
        for run in (without, with_one)
    ]
    place.ledger.publish_many("test", drafts, now=NOW)
    rows = place.sql(f"SELECT id, gcs_artifacts_path FROM {place.runs_table} ORDER BY id")
    assert [row.gcs_artifacts_path for row in rows] == ["gs://ours", "gs://theirs"]


def test_ledger_line_is_replaced(place: Place) -> None:
    """One line a kind and run, with its times as they were; other kinds are left alone."""
    line = LedgerLine(
        kind="repair", quick_test_id=7, state="failed", attempts=1, error="e", next_try_at=later(5), updated_at=NOW
    )
    done = LedgerLine(kind="repair", quick_test_id=7, state="done", attempts=2, source_digest="s", updated_at=later(6))
    other = LedgerLine(kind="backfill", quick_test_id=7, state="done", attempts=1, updated_at=NOW)
    for written in (line, line, other):
        place.ledger.write_ledger(written)
    assert place.ledger.read_ledger("repair") == [line]
    place.ledger.write_ledger(done)
    assert place.ledger.read_ledger("repair") == [done]
    assert place.ledger.read_ledger("backfill") == [other]


def test_ledger_lines_of_a_kind_s_beginning_are_cleared(place: Place) -> None:
    """All of them, or the old ones; no sign or letter's case in a prefix means anything but itself."""

    def find() -> list[str]:
        return [kind for kind in kinds if place.ledger.read_ledger(kind)]

    kinds = ["verify", "verify/a/1", "verify/a/2", "verify/b/1", "VERIFY/a/1", "verify/%_/1"]
    for minute, kind in enumerate(kinds):
        line = LedgerLine(kind=kind, quick_test_id=7, state="verified", attempts=1, updated_at=later(minute))
        place.ledger.write_ledger(line)
    for _ in range(2):
        place.ledger.clear_ledger("verify/a/")
        assert find() == ["verify", "verify/b/1", "VERIFY/a/1", "verify/%_/1"]
    place.ledger.clear_ledger("verify/%_/")
    assert find() == ["verify", "verify/b/1", "VERIFY/a/1"]
    place.ledger.clear_ledger("v", before=later(3))
    assert find() == ["verify/b/1", "VERIFY/a/1"]
