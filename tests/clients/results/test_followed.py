"""The suite of the port `Followed`, on every database and every table of runs."""

from typing import Any

import msgspec
import pytest

from switchyard.clients.results.backfill import publish_drafts
from switchyard.clients.results.rows import Writing
from switchyard.core.backfill.following import (
    FollowedRun,
    FollowedStore,
    Lifecycle,
    RowFacts,
    Unadopted,
    to_unadopted_kind,
    to_unpublished_mark,
)
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.errors import StaleWrite
from switchyard.core.history.publication import Draft, PublishResult, Rank, SeenRun
from switchyard.core.mlflow.store_identity import StoreIdentity, to_experiment
from switchyard.core.runs.edits import RunEdit
from switchyard.core.runs.rows import RowNews, RunStatus
from tests.clients.results.places import NOW, Place, later, publication
from tests.clients.results.test_changed_in_mlflow import of_mlflow

HERE = "host/mlflow"


def make_draft(run: int, charted: str = "a", mark: str = "sql1:a", **changes: Any) -> Draft:
    seen = SeenRun(mlflow_run_id="m", name="a run", store=HERE if mark else "", mark=mark)
    values: dict[str, Any] = {"quick_test_id": run, "publication": of_mlflow(run, charted), "seen": seen}
    return Draft(**(values | changes))


def add_run(place: Place, name: str = "request") -> int:
    """A completed row that names MLflow run m."""
    run = place.add_run(name, status="completed")
    place.runs.record_mlflow_run(run, "m")
    return run


def list_marks(place: Place) -> dict[int, str]:
    return {id_: known.mark for id_, known in place.ports.followed.list_known().items()}


def test_what_was_read_is_noted_with_what_became_of_it(place: Place) -> None:
    """Published, found unchanged, or with nothing to publish; a failure is not, so that it is tried again."""
    runs = [add_run(place, str(number)) for number in range(4)]
    drafts = [
        make_draft(runs[0]),
        make_draft(runs[1], publication=None, state="skipped", error="nothing"),
        make_draft(runs[2], publication=None, state="failed", error="no"),
        make_draft(99),  # no such row
    ]
    place.ledger.publish_many("backfill", drafts, now=NOW)
    known = {run: FollowedRun(quick_test_id=run, mlflow_run_id="m", store=HERE, mark="sql1:a") for run in runs[:2]}
    assert place.ports.followed.list_known() == known
    again = place.ledger.publish_many("backfill", [make_draft(runs[0], mark="sql1:b")], now=later(1))
    assert again == {runs[0]: PublishResult.UNCHANGED}
    assert list_marks(place) == {runs[0]: "sql1:b", runs[1]: "sql1:a"}


def test_a_refused_publication_leaves_the_mark_of_before(place: Place) -> None:
    """The run is read again, whether it changes or not."""
    run = add_run(place)
    place.histories.publish(publication(run, "file"), now=NOW)
    other = publication(run, "other")
    results = place.ledger.publish_many("backfill", [make_draft(run, publication=other)], now=NOW)
    assert isinstance(results[run], StaleWrite)
    assert list_marks(place) == {}


def test_a_history_that_comes_from_elsewhere_has_no_mark(place: Place) -> None:
    """What an export said replaces what MLflow said: the next look reads the run again.

    Where both say the same, the mark stays."""
    run = add_run(place)
    place.ledger.publish_many("backfill", [make_draft(run)], now=NOW)
    place.ledger.publish_many("backfill", [make_draft(run, mark="")], now=later(1))
    assert list_marks(place) == {run: "sql1:a"}
    place.ledger.publish_many("backfill", [make_draft(run, "b", mark="")], now=later(2))
    assert list_marks(place) == {run: ""}


def test_a_mark_is_written_with_the_history_or_not_at_all(place: Place) -> None:
    """A process that is killed before the transaction ends leaves neither."""
    run = add_run(place)
    with pytest.raises(KeyboardInterrupt), place.ports.database.writing() as connection:
        writing = Writing(connection, place.ports.database.tables, NOW)
        publish_drafts(writing, "backfill", [make_draft(run)], force=False)
        raise KeyboardInterrupt
    assert list_marks(place) == {}
    assert place.histories.read_history(run).history_json is None


def test_a_name_that_was_given_here_stays_when_mlflow_says_another(place: Place) -> None:
    """MLflow's new name is taken where the row still has the one that MLflow had when it was read."""
    if place.table:
        return
    for number, (edited, expected) in enumerate(((None, "later"), ("mine", "mine"))):
        adopted = AdoptedRun(mlflow_run_id=f"m{number}", status=RunStatus.COMPLETED, display_name="a run")
        (run,) = place.runs.adopt_runs([adopted], now=NOW).values()
        seen = SeenRun(mlflow_run_id=f"m{number}", name="a run", store=HERE, mark="sql1:a")
        news = RowNews(status=RunStatus.COMPLETED, display_name="a run")
        place.ledger.publish_many("backfill", [make_draft(run, seen=seen, news=news)], now=NOW)
        if edited:
            place.runs.edit_run(run, RunEdit(display_name=edited), now=NOW)
        seen = msgspec.structs.replace(seen, name="later", mark="sql1:b")
        news = msgspec.structs.replace(news, display_name="later")
        place.ledger.publish_many("backfill", [make_draft(run, seen=seen, news=news)], now=NOW)
        assert place.runs.read_run(run).display_name == expected


def test_since_when_a_run_is_deleted_stays_beside_what_was_read(place: Place) -> None:
    """It is said of the run that the row names, and of no other; a restored one is not deleted."""
    followed = place.ports.followed
    run, unread = (add_run(place, name) for name in ("a", "b"))
    place.ledger.publish_many("backfill", [make_draft(run)], now=NOW)
    gone = [
        Lifecycle(quick_test_id=id_, mlflow_run_id="m", store=HERE, missing_at=NOW, deleted_at=NOW)
        for id_ in (run, unread)
    ]
    for _ in range(2):
        followed.note_lifecycles(gone)
    assert followed.find_deleted([run, unread, 99]) == {run: NOW, unread: NOW}
    assert followed.find_deleted([]) == {}
    known = followed.list_known()
    assert (known[run].mark, known[unread].mark) == ("sql1:a", "")
    place.ledger.publish_many("backfill", [make_draft(run, mark="sql1:b")], now=later(1))
    assert followed.find_deleted([run]) == {run: NOW}
    followed.note_lifecycles([msgspec.structs.replace(gone[0], missing_at=None, deleted_at=None)])
    assert followed.find_deleted([run, unread]) == {unread: NOW}
    place.runs.record_mlflow_run(unread, "another")
    assert followed.find_deleted([run, unread]) == {}


def test_a_row_that_names_another_run_now_says_nothing_of_the_one_before(place: Place) -> None:
    """What is noted of a row's earlier run is not written over by what a slow look says of it."""
    run = add_run(place)
    place.ledger.publish_many("backfill", [make_draft(run)], now=NOW)
    place.ports.followed.note_lifecycles(
        [Lifecycle(quick_test_id=run, mlflow_run_id="other", store=HERE, deleted_at=NOW)]
    )
    assert place.ports.followed.list_known()[run].deleted_at is None


def test_facts_of_rows_say_where_what_is_published_comes_from(place: Place) -> None:
    """From MLflow or from its own file, whether a job of ours trains it, and whether it was adopted."""
    file, mlflow = (add_run(place, name) for name in "ab")
    place.histories.publish(publication(file, "file"), now=NOW)
    place.histories.publish(of_mlflow(mlflow, "a"), now=NOW)
    other = place.add_run("d")
    place.claim(other)
    facts = place.ports.followed.read_facts([file, mlflow, other, 99])
    assert facts.keys() == {file, mlflow, other}
    assert facts[other] == RowFacts(adopted=False, has_job=True, of_mlflow=False)
    assert facts[file] == RowFacts(adopted=False, has_job=False, of_mlflow=False)
    assert facts[mlflow] == RowFacts(adopted=False, has_job=False, of_mlflow=True)
    assert place.ports.followed.read_facts([]) == {}


def test_until_when_a_store_is_followed_is_the_start_of_the_last_that_did_all(place: Place) -> None:
    """One that failed, could not look, or looked at a part says when it was tried. The one tried last comes first."""
    followed = place.ports.followed
    assert followed.list_stores() == []
    for _ in range(2):
        followed.note_follow(HERE, began_at=NOW, failed=0, is_whole=True)
    done = FollowedStore(store=HERE, tried_at=NOW, followed_until=NOW)
    assert followed.list_stores() == [done]
    followed.note_follow(HERE, began_at=later(1), failed=2, is_whole=True)
    assert followed.list_stores() == [FollowedStore(store=HERE, tried_at=later(1), failed=2, followed_until=NOW)]
    followed.note_follow(HERE, began_at=later(2), failed=0, error="away\x00", is_whole=True)
    (found,) = followed.list_stores()
    assert (found.tried_at, found.failed, found.error, found.followed_until) == (later(2), 0, "away\ufffd", NOW)
    followed.note_follow(HERE, began_at=later(3), failed=0, is_whole=False)
    (found,) = followed.list_stores()
    assert (found.tried_at, found.error, found.followed_until) == (later(3), "", NOW)
    followed.note_follow("another", began_at=later(4), failed=1, is_whole=True)
    assert [(store.store, store.followed_until) for store in followed.list_stores()] == [("another", None), (HERE, NOW)]
    # A clock that went back: what the last one says counts.
    followed.note_follow(HERE, began_at=NOW, failed=0, is_whole=True)
    assert followed.list_stores()[1] == done


IDENTITY = StoreIdentity({"0": to_experiment("Default", "gs://b", 1)})


def test_which_store_has_a_name_is_noted_and_replaced(place: Place) -> None:
    """What was read of the one before is kept under another name, and its follow begins again."""
    followed = place.ports.followed
    assert followed.list_identities() == {}
    run = add_run(place)
    place.ledger.publish_many("backfill", [make_draft(run)], now=NOW)
    followed.note_follow(HERE, began_at=NOW, failed=0, is_whole=True)
    for _ in range(2):
        followed.note_identity(HERE, IDENTITY, now=NOW)
    followed.note_identity("another/one", StoreIdentity(), now=NOW)
    assert followed.list_identities() == {HERE: IDENTITY, "another/one": StoreIdentity()}
    other = StoreIdentity({"0": to_experiment("Default", "gs://b", 2)})
    followed.replace_store(HERE, other, now=later(1))
    assert followed.list_identities() == {HERE: other, "another/one": StoreIdentity()}
    assert followed.list_known()[run].store.startswith(f"{HERE} (another one, until 20")
    assert list_marks(place) == {run: "sql1:a"}
    (found,) = followed.list_stores()
    assert (found.store, found.followed_until) == (HERE, None)


def test_runs_that_could_not_be_adopted_have_a_line_until_they_are(place: Place) -> None:
    """Each by its store and run; a look at some experiments takes no other's line away."""
    followed = place.ports.followed

    def list_lines(*names: tuple[str, str]) -> list[tuple[str, int]]:
        kinds = [to_unadopted_kind(*name) for name in names]
        return [(line.error, line.attempts) for kind in kinds for line in place.ledger.read_ledger(kind)]

    a, b, c, other = (HERE, "a"), (HERE, "b"), (HERE, "c"), (f"{HERE}/a", "a")
    followed.note_unadopted(HERE, Unadopted(why={"a": "no status", "b": "damaged"}), now=NOW)
    followed.note_unadopted(other[0], Unadopted(why={"a": "elsewhere"}), now=NOW)
    followed.note_unadopted(HERE, Unadopted(why={"c": "damaged"}, is_all=False), now=NOW)
    assert list_lines(a, b, c, other) == [("no status", 1), ("damaged", 1), ("damaged", 1), ("elsewhere", 1)]
    followed.note_unadopted(HERE, Unadopted(why={"a": "no status"}), now=NOW)
    assert list_lines(a, b, c, other) == [("no status", 2), ("elsewhere", 1)]
    followed.note_unadopted(HERE, Unadopted(), now=NOW)
    assert list_lines(a, b, c, other) == [("elsewhere", 1)]


def test_what_was_read_and_not_published_says_so(place: Place) -> None:
    """Its own file is published, so a later change of the MLflow run is seen.

    Where nothing is published any more, it is read again."""
    run = add_run(place)
    place.histories.publish(publication(run, "file"), now=NOW)
    older = msgspec.structs.replace(of_mlflow(run, "b"), rank=Rank())
    results = place.ledger.publish_many("backfill", [make_draft(run, publication=older)], now=NOW)
    assert results == {run: PublishResult.KEPT_NEWER}
    assert list_marks(place) == {run: to_unpublished_mark("sql1:a")}
    place.ledger.publish_many("backfill", [make_draft(run)], force=True, now=NOW)
    assert list_marks(place) == {run: "sql1:a"}
