"""The suite of the port `Histories`, on every database and every table of runs: published, read, replaced, put back."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from switchyard.core.errors import BadRecord, NotFound, StaleWrite
from switchyard.core.history.asked_rules import KeptRules
from switchyard.core.history.publication import FIRST_VERSIONS, Publication, PublishResult, Rank, Value, Versions
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, RunStatus
from tests.clients.results.places import NOW, Place, Places, later, look, publication

LEGACY = json.dumps({"available": True, "epochs": [0, 5], "loss": {"train": [0.5]}, "params": {"note": "x" * 400}})
FIRST = Rank(attempt=1, restart=0, epochs=11, status=0)


def read(place: Place, run: int) -> dict[str, object]:
    stored = place.histories.read_history(run).history_json
    assert stored is not None
    history: dict[str, object] = json.loads(stored)
    return history


def test_published_history_is_read_back(place: Place) -> None:
    """All of it, with the time of the publish; floats to the last bit."""
    run = place.add_run()
    published = publication(run, digest={"charted": "sha256:a", "full": "sha256:a"})
    assert place.histories.publish(published, now=NOW) is PublishResult.PUBLISHED
    assert read(place, run) == {**published.history, "cached_at": "2026-01-15T10:30:00Z"}


def test_histograms_are_read_back(place: Place) -> None:
    """Returns them by kind and tower; None where the run has none."""
    run, other = place.add_run(), place.add_run("another request")
    place.histories.publish(publication(run, kinds=("weights",)), now=NOW)
    assert place.histories.read_histogram(run, "weights", "candidate") == b"a weights candidate"
    assert place.histories.read_histogram(run, "gradients", "candidate") is None
    assert place.histories.read_histogram(other, "weights", "candidate") is None


def test_series_and_values_are_written_with_the_history(place: Place) -> None:
    """Numbers to the last bit; the values name the history that they came from, and the row its versions."""
    run, other = place.add_run(), place.add_run("another request")
    published = msgspec.structs.replace(publication(run), versions=Versions(digest=2, mapping=3, rules="a = 'b'"))
    place.histories.publish(published, now=NOW)
    assert place.histories.read_series(run) == published.series
    assert place.histories.read_series(other) is None
    (kept,) = place.histories.read_kept([run])
    assert (kept.series, sorted(kept.values, key=str)) == (published.series, sorted(published.values, key=str))
    assert kept.values_etag == kept.etag == place.histories.read_history(run).etag
    assert kept.versions == published.versions


def test_rules_of_a_run_are_kept_by_whoever_publishes_it_next(place: Place) -> None:
    """A file needs none, and leaves those that are there.

    What says the same under new rules then has the new ones, except a history of version 1, which had no rules."""
    run, other = place.add_run(), place.add_run("another request")
    ruled = Versions(rules="a = 'b'")
    place.histories.publish(msgspec.structs.replace(publication(run, source="mlflow"), versions=ruled), now=NOW)
    assert place.histories.read_rules([run, other]) == {run: KeptRules(published="a = 'b'", published_attempt=1)}
    live = msgspec.structs.replace(publication(run, "b"), rank=Rank(attempt=2, status=-1))
    assert place.histories.publish(live, now=NOW) is PublishResult.PUBLISHED
    assert place.histories.read_rules([run])[run].published == "a = 'b'"
    again = msgspec.structs.replace(live, versions=Versions(rules="none"))
    assert place.histories.publish(again, now=NOW) is PublishResult.UNCHANGED
    assert place.histories.read_rules([run])[run].published == "none"
    first = msgspec.structs.replace(publication(other), versions=FIRST_VERSIONS)
    place.histories.publish(first, now=NOW)
    place.histories.publish(msgspec.structs.replace(first, versions=ruled), now=NOW)
    assert place.histories.read_rules([other]) == {}
    assert place.histories.read_rules([]) == {}


def test_rules_of_a_job_are_found_in_its_parameters(place: Place) -> None:
    """Of the newest job that names some, beside what is published; what is no text, or no JSON, names none."""
    run, other = place.add_run(), place.add_run("another request")
    for number, rules in ((1, "x"), (2, "y"), (3, "")):
        claim = Claim(
            quick_test_id=run, request_key=f"{number}", artifacts_uri="file:///a", parameters={"rules": rules}
        )
        job = place.jobs.claim_job(claim, now=NOW).job
        place.jobs.record_job(job.key, JobNews(state=JobState.FAILED), now=NOW)
    job = place.claim(other)
    place.sql("UPDATE switchyard_jobs SET parameters = :text WHERE key = :key", text='{"rules":"z"', key=job.key)
    assert place.histories.read_rules([run, other]) == {run: KeptRules(asked="y", asked_attempt=2)}


def test_an_unchanged_publish_leaves_series_and_values(place: Place) -> None:
    """A row that was published before there were any keeps none, and its versions: `fill` is for that."""
    run = place.add_run()
    bare = msgspec.structs.replace(publication(run), series=None, values=[], versions=FIRST_VERSIONS)
    place.histories.publish(bare, now=NOW)
    before = look(place, run)
    assert place.histories.publish(publication(run), now=later(1)) is PublishResult.UNCHANGED
    assert look(place, run) == before
    assert (before["series"], before["values"]) == ([], [])


def test_a_newer_publish_replaces_series_and_values(place: Place) -> None:
    """Nothing of the old ones stays, also where the new one has none."""
    run = place.add_run()
    place.histories.publish(publication(run, "old", rank=FIRST), now=NOW)
    newer = publication(run, "new")
    place.histories.publish(newer, now=later(1))
    assert place.histories.read_series(run) == newer.series
    (kept,) = place.histories.read_kept([run])
    assert sorted(kept.values, key=str) == sorted(newer.values, key=str)
    bare = msgspec.structs.replace(publication(run, "bare", rank=Rank(attempt=2)), series=None, values=[])
    place.histories.publish(bare, now=later(2))
    assert place.histories.read_series(run) is None
    assert look(place, run)["values"] == []


def test_series_of_a_history_that_was_written_over_are_not_read(place: Place) -> None:
    """The application has stored another history: ours are there, and speak of none that anybody reads."""
    run = place.add_run()
    place.histories.publish(publication(run), now=NOW)
    place.set_history(run, LEGACY)
    assert place.histories.read_series(run) is None
    (kept,) = place.histories.read_kept([run])
    assert kept.values_etag != kept.etag
    place.set_history(run, None)
    assert place.histories.read_series(run) is None


def test_values_with_what_no_database_takes_are_stored(place: Place) -> None:
    """NUL and lone surrogates become U+FFFD, two names that differ by them included; so do quotes stay quotes."""
    run = place.add_run()
    odd = [
        Value(kind="param", name="a\0b", text="'\"\\ \0 \ud800 Übung 🚀"),
        Value(kind="param", name="a\ufffdb", text="x", number=5e-324),
        Value(kind="final", name="__proto__", number=-1.7976931348623157e308),
    ]
    place.histories.publish(msgspec.structs.replace(publication(run), values=odd), now=NOW)
    (kept,) = place.histories.read_kept([run])
    found = [(value.kind, value.name, value.number, value.text) for value in kept.values]
    assert sorted(found, key=lambda value: (value[:2], value[2] is not None)) == [
        ("final", "__proto__", -1.7976931348623157e308, None),
        ("param", "a\ufffdb", None, "'\"\\ \ufffd \ufffd\ufffd\ufffd Übung 🚀"),
        ("param", "a\ufffdb", 5e-324, "x"),
    ]


def test_second_publish_changes_nothing(place: Place) -> None:
    """The same publication again, however often and whenever, keeps the bytes and the ETag."""
    run = place.add_run()
    published = publication(run, row_status=RunStatus.COMPLETED)
    place.histories.publish(published, now=NOW)
    before = place.histories.read_history(run)
    assert place.histories.publish(published, now=later(60)) is PublishResult.UNCHANGED
    assert place.open().histories.publish(published, force=True, now=later(61)) is PublishResult.UNCHANGED
    assert place.histories.read_history(run) == before


@pytest.mark.parametrize(
    "newer",
    [
        Rank(attempt=2),
        Rank(attempt=1, restart=1),
        Rank(attempt=1, epochs=12),
        Rank(attempt=1, epochs=11, status=2),
    ],
)
def test_higher_rank_replaces_and_lower_is_kept_out(place: Place, newer: Rank) -> None:
    """The attempt counts first, then the restart, the epochs and the status."""
    run = place.add_run()
    old = publication(run, "old", rank=FIRST, status="partial")
    place.histories.publish(old, now=NOW)
    new = publication(run, "new", rank=newer, kinds=("gradients",), row_status=RunStatus.RUNNING)
    assert place.histories.publish(new, now=later(1)) is PublishResult.PUBLISHED
    assert place.histories.publish(old, now=later(2)) is PublishResult.KEPT_NEWER
    assert read(place, run)["digest"] == {"charted": "sha256:new", "full": "sha256:new"}
    assert read(place, run)["cached_at"] == "2026-01-15T10:31:00Z"
    assert place.histories.read_histogram(run, "gradients", "query") == b"new gradients query"
    assert place.histories.read_histogram(run, "weights", "query") is None


def test_equal_rank_with_other_content_is_an_error(place: Place) -> None:
    """No one can say which is right: nothing is written, and force decides."""
    run = place.add_run()
    place.histories.publish(publication(run, "a"), now=NOW)
    before = place.histories.read_history(run)
    other = publication(run, "b", row_status=RunStatus.FAILED)
    with pytest.raises(StaleWrite, match=rf"quick test {run}.*sha256:a.*sha256:b.*force"):
        place.histories.publish(other, now=later(1))
    assert place.histories.read_history(run) == before
    assert place.histories.read_histogram(run, "weights", "query") == b"a weights query"
    assert place.runs.read_run(run).status is RunStatus.PENDING
    assert place.histories.publish(other, force=True, now=later(1)) is PublishResult.PUBLISHED
    assert read(place, run)["digest"] == {"charted": "sha256:b", "full": "sha256:b"}


def test_file_goes_before_mlflow_at_equal_rank(place: Place) -> None:
    """Both tell of one training, in types of their own (params are texts in MLflow): that is no contradiction."""
    run = place.add_run()
    mlflow, file = publication(run, "m", source="mlflow", mlflow_run_id="x"), publication(run, "f", mlflow_run_id="x")
    assert place.histories.publish(mlflow, now=NOW) is PublishResult.PUBLISHED
    assert place.histories.publish(file, now=NOW) is PublishResult.PUBLISHED
    assert place.histories.publish(mlflow, now=NOW) is PublishResult.KEPT_NEWER
    assert read(place, run)["source"] == "file"
    assert place.histories.publish(mlflow, force=True, now=NOW) is PublishResult.PUBLISHED


def test_mlflow_run_that_became_known_is_published(place: Place) -> None:
    """The record is the same; the history names its MLflow run now, and keeps its time."""
    run = place.add_run()
    place.histories.publish(publication(run), now=NOW)
    assert place.histories.publish(publication(run, mlflow_run_id="x"), now=later(1)) is PublishResult.PUBLISHED
    assert (read(place, run)["mlflow_run_id"], read(place, run)["cached_at"]) == ("x", "2026-01-15T10:30:00Z")


def test_force_replaces_what_is_newer(place: Place) -> None:
    """And the old rank holds from then on."""
    run = place.add_run()
    place.histories.publish(publication(run, "new", rank=Rank(attempt=2)), now=NOW)
    old = publication(run, "old", rank=Rank(attempt=1))
    assert place.histories.publish(old, force=True, now=NOW) is PublishResult.PUBLISHED
    assert place.histories.publish(publication(run, "mid", rank=Rank(attempt=1, restart=1)), now=NOW) == "published"


def test_cached_at_is_kept_while_the_charts_stay_the_same(place: Place) -> None:
    """Other statistics, or the end of the run, are published again without a new time; other charts have one."""
    run = place.add_run()
    place.histories.publish(publication(run, "a", full="1", rank=FIRST, status="partial"), now=NOW)
    etag = place.histories.read_history(run).etag
    ended = publication(run, "a", full="2", rank=Rank(attempt=1, epochs=11, status=2), status="completed")
    assert place.histories.publish(ended, now=later(5)) is PublishResult.PUBLISHED
    assert (read(place, run)["status"], read(place, run)["cached_at"]) == ("completed", "2026-01-15T10:30:00Z")
    assert place.histories.read_history(run).etag != etag
    place.histories.publish(publication(run, "b", rank=Rank(attempt=2)), now=later(6))
    assert read(place, run)["cached_at"] == "2026-01-15T10:36:00Z"


def test_same_record_may_be_shown_differently(place: Place) -> None:
    """Another sampling of an equal record is published; it is no newer, and its charts are the same."""
    run = place.add_run()
    place.histories.publish(publication(run, interval=5), now=NOW)
    assert place.histories.publish(publication(run, interval=1), now=later(1)) is PublishResult.PUBLISHED
    assert read(place, run)["sampling"] == {"interval": 1, "keep_extremes": False, "kept": 3, "total": 11}
    assert read(place, run)["cached_at"] == "2026-01-15T10:30:00Z"


def test_restart_that_reached_the_same_raises_the_rank(place: Place) -> None:
    """Its content is there already; what is between the two ranks is older from now on."""
    run = place.add_run()
    place.histories.publish(publication(run, rank=Rank(attempt=1, epochs=11)), now=NOW)
    again = publication(run, rank=Rank(attempt=1, restart=2, epochs=11), row_status=RunStatus.COMPLETED)
    assert place.histories.publish(again, now=later(1)) is PublishResult.UNCHANGED
    assert place.runs.read_run(run).status is RunStatus.COMPLETED
    between = publication(run, "b", rank=Rank(attempt=1, restart=1, epochs=11))
    assert place.histories.publish(between, now=later(2)) is PublishResult.KEPT_NEWER


@pytest.mark.parametrize("stored", [None, "null", '{"available": false}'])
def test_nothing_published_is_replaced(place: Place, stored: str | None) -> None:
    """However an application spells it."""
    run = place.add_run(history=stored)
    assert place.histories.publish(publication(run), now=NOW) is PublishResult.PUBLISHED
    assert read(place, run)["available"] is True


def test_history_that_was_wiped_is_published_again(place: Place) -> None:
    """Our row of digests alone is no history, whatever its rank."""
    run = place.add_run()
    published = publication(run)
    place.histories.publish(published, now=NOW)
    place.set_history(run, None)
    assert place.histories.publish(published, now=later(1)) is PublishResult.PUBLISHED
    assert read(place, run)["available"] is True


def test_history_of_another_application_is_kept_unless_forced(place: Place) -> None:
    """A legacy payload cannot be compared, so only a person replaces it."""
    run = place.add_run(history=LEGACY)
    ours = publication(run, row_status=RunStatus.COMPLETED)
    assert place.histories.publish(ours, now=NOW) is PublishResult.KEPT_LEGACY
    assert read(place, run) == json.loads(LEGACY)
    assert place.histories.read_histogram(run, "weights", "query") is None
    assert place.histories.publish(ours, force=True, now=NOW) is PublishResult.PUBLISHED
    assert read(place, run)["digest"] == {"charted": "sha256:a", "full": "sha256:a"}


def test_history_that_another_application_wrote_over_ours_is_kept(place: Place) -> None:
    """Its owner meant it; our row of digests speaks of another one."""
    run = place.add_run()
    place.histories.publish(publication(run), now=NOW)
    place.set_history(run, LEGACY)
    assert place.histories.publish(publication(run, rank=Rank(attempt=9)), now=NOW) is PublishResult.KEPT_LEGACY
    assert read(place, run) == json.loads(LEGACY)


def test_publish_ends_the_row(own_place: Place) -> None:
    """Status, error and time of the end are written with the history."""
    run = own_place.add_run(status="running")
    failed = publication(run, rank=FIRST, row_status=RunStatus.FAILED, error="exit status 9", status="partial")
    own_place.histories.publish(failed, now=later(3))
    row = own_place.runs.read_run(run)
    assert (row.status, row.error, row.completed_at) == (RunStatus.FAILED, "exit status 9", later(3))
    own_place.histories.publish(failed, now=later(9))
    assert own_place.runs.read_run(run).completed_at == later(3)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_publish_of_an_earlier_attempt_leaves_the_row(place: Place, status: RunStatus, force: bool) -> None:
    """What it left is shown until attempt 2, which was claimed meanwhile, has more; that alone ends the row."""
    run = place.add_run()
    place.jobs.record_job(place.claim(run, "first").key, JobNews(state=JobState.FAILED), now=NOW)
    second = place.claim(run, "second")
    late = publication(run, rank=FIRST, row_status=status, of_attempt=1, error="of attempt 1")
    for result in (PublishResult.PUBLISHED, PublishResult.UNCHANGED):
        assert place.histories.publish(late, force=force, now=NOW) is result
        row = place.runs.read_run(run)
        assert (row.status, row.error) == (RunStatus.SUBMITTED, "")
    place.jobs.record_job(second.key, JobNews(state=JobState.SUCCEEDED), now=NOW)
    last = publication(run, "b", rank=Rank(attempt=2), row_status=RunStatus.COMPLETED, of_attempt=2)
    assert place.histories.publish(last, now=NOW) is PublishResult.PUBLISHED
    assert place.runs.read_run(run).status is RunStatus.COMPLETED


def test_publish_of_a_running_job_leaves_the_row(place: Place) -> None:
    """Without a status for the row it keeps the one it has."""
    run = place.add_run(status="running")
    place.histories.publish(publication(run, rank=FIRST, status="partial"), now=NOW)
    assert place.runs.read_run(run).status is RunStatus.RUNNING


def test_completed_row_stays_completed_unless_forced(place: Place) -> None:
    """A later partial record of a higher rank may be shown, but takes no success back."""
    run = place.add_run()
    place.histories.publish(publication(run, row_status=RunStatus.COMPLETED), now=NOW)
    worse = publication(run, "b", rank=Rank(attempt=2), status="partial", row_status=RunStatus.FAILED, error="e")
    assert place.histories.publish(worse, now=NOW) is PublishResult.PUBLISHED
    assert place.runs.read_run(run).status is RunStatus.COMPLETED
    place.histories.publish(worse, force=True, now=NOW)
    assert place.runs.read_run(run).status is RunStatus.FAILED


def test_history_that_is_no_json_is_refused_whole(place: Place) -> None:
    """Nothing is half published."""
    run = place.add_run()
    with pytest.raises(BadRecord, match=f"quick test {run}"):
        place.histories.publish(publication(run, params={"callback": object()}, row_status=RunStatus.FAILED), now=NOW)
    assert place.histories.read_history(run).history_json is None
    assert place.runs.read_run(run).status is RunStatus.PENDING


@pytest.mark.parametrize("stored", [None, "null", ' {"available" : false}\n', '{"available": false, "error": "gone"}'])
def test_nothing_published_has_many_spellings(place: Place, stored: str | None) -> None:
    """SQL NULL, JSON null and an unavailable history all read as none."""
    run = place.add_run(history=stored)
    history = place.histories.read_history(run)
    assert (history.history_json, history.etag) == (None, None)
    assert [summary.available for summary in place.runs.list_runs(limit=1)] == [False]


def test_history_of_another_application_is_served_as_stored(place: Place) -> None:
    """A legacy payload keeps its bytes, and its ETag is their hash."""
    run = place.add_run(history=LEGACY)
    history = place.histories.read_history(run)
    assert history.history_json is not None
    assert json.loads(history.history_json) == json.loads(LEGACY)
    if place.history_type != "jsonb":  # which keeps the value, not the text
        assert history.history_json == LEGACY.encode()
    assert history.etag == "sha256:" + hashlib.sha256(history.history_json).hexdigest()


def test_etag_changes_when_another_application_writes_over_ours(place: Place) -> None:
    """Our digest row no longer speaks of what is stored then."""
    run = place.add_run()
    place.histories.publish(publication(run), now=NOW)
    ours = place.histories.read_history(run)
    place.set_history(run, LEGACY)
    theirs = place.histories.read_history(run)
    assert theirs.history_json is not None
    assert theirs.etag != ours.etag
    assert json.loads(theirs.history_json) == json.loads(LEGACY)


def test_jsonb_history_is_read_as_text(places: Places, tmp_path: Path) -> None:
    """jsonb refuses the escape of NUL and rewrites numbers; the history is published all the same."""
    place = places.make("postgres with a jsonb table", tmp_path)
    run = place.add_run()
    backslash = "C:\\u0000"  # in JSON an escaped backslash, then u0000: no NUL
    published = publication(run, params={"note": "a\0b", "path": backslash, "zero": -0.0, "tiny": 5e-324})
    place.histories.publish(published, now=NOW)
    stored = place.histories.read_history(run)
    assert stored.history_json is not None
    params = json.loads(stored.history_json)["params"]
    assert params == {"note": "a\ufffdb", "path": backslash, "zero": 0.0, "tiny": 5e-324}
    assert place.histories.publish(published, now=later(1)) == "unchanged"
    assert place.histories.read_history(run).etag == stored.etag


def charted_only(run: int, interval: int = 5) -> Publication:
    """A publication of charted series alone."""
    made = publication(run, kinds=(), interval=interval)
    return msgspec.structs.replace(made, digests=msgspec.structs.replace(made.digests, full=None))


def test_charted_only_and_whole_publications_do_not_quarrel(place: Place) -> None:
    """The whole one completes what is there; the charted one changes nothing of the whole. Neither is a stale write."""
    run = place.add_run()
    assert place.histories.publish(charted_only(run), now=NOW) is PublishResult.PUBLISHED
    assert place.histories.publish(publication(run), now=later(1)) is PublishResult.PUBLISHED
    whole = look(place, run)
    assert json.loads(place.histories.read_history(run).history_json or b"")["cached_at"] == "2026-01-15T10:30:00Z"
    assert len(whole["histograms"]) == 4
    for interval in (5, 2):
        assert place.histories.publish(charted_only(run, interval), now=later(2)) is PublishResult.UNCHANGED
        assert look(place, run) == whole


@pytest.mark.parametrize("legacy", [True, False])
def test_what_force_replaced_is_put_back(place: Place, legacy: bool) -> None:
    """History, digests, ETag and histograms, and once only; recovered twice, the forced one is back."""
    run = place.add_run()
    assert place.histories.find_replaced(run) is None
    if legacy:
        place.set_history(run, LEGACY)
    else:
        place.histories.publish(publication(run), now=NOW)
    before, old = look(place, run), place.histories.read_history(run)
    place.histories.publish(publication(run, "b"), force=True, now=later(1))
    forced, new = look(place, run), place.histories.read_history(run)
    kept = place.histories.find_replaced(run)
    assert kept is not None
    assert place.histories.recover(run, kept, now=later(2))
    assert not place.histories.recover(run, kept, now=later(3))
    assert place.histories.read_history(run) == old
    assert {**look(place, run), "replaced": []} == {**before, "replaced": []}
    again = place.histories.find_replaced(run)
    assert again is not None
    assert place.histories.recover(run, again, now=later(4))
    assert place.histories.read_history(run) == new
    assert {**look(place, run), "replaced": []} == {**forced, "replaced": []}
    with pytest.raises(NotFound, match="4711"):
        place.histories.find_replaced(4711)


def test_what_was_replaced_before_there_were_series_is_put_back(place: Place) -> None:
    """A row as the schema before had it: without series and values, and with no word of versions."""
    run = place.add_run()
    bare = msgspec.structs.replace(publication(run), series=None, values=[], versions=FIRST_VERSIONS)
    place.histories.publish(bare, now=NOW)
    before = {**look(place, run), "replaced": []}
    place.histories.publish(publication(run, "b"), force=True, now=later(1))
    (kept,) = place.sql("SELECT id, published, series, run_values FROM switchyard_replaced")
    assert (kept.series, kept.run_values) == (None, None)
    known = {
        k: v for k, v in json.loads(kept.published).items() if k not in ("digest_version", "mapping_version", "rules")
    }
    place.sql("UPDATE switchyard_replaced SET published = :published", published=json.dumps(known))
    assert place.histories.recover(run, kept.id, now=later(2))
    assert {**look(place, run), "replaced": []} == before


def test_publishing_without_force_keeps_nothing_of_what_it_replaces(place: Place) -> None:
    """A newer file of the same run is its history going on, not a replacement."""
    run = place.add_run()
    place.histories.publish(publication(run, "b", rank=FIRST), now=NOW)
    place.histories.publish(publication(run), now=later(1))
    assert place.histories.find_replaced(run) is None


def test_what_was_published_is_kept(place: Place) -> None:
    """History, digests and histograms, by id; an id without a row is left out, a row without a history has none."""
    found = publication(place.add_run(), mlflow_run_id="m")
    place.histories.publish(found, now=NOW)
    other = place.add_run("other", history='{"available": false}')
    one, two = place.histories.read_kept([other, found.quick_test_id, 4711])
    assert (one.quick_test_id, two.quick_test_id) == (found.quick_test_id, other)
    assert (one.digests, one.cached_at) == (found.digests, NOW)
    assert one.history_text is not None
    assert msgspec.json.decode(one.history_text)["loss"] == found.history["loss"]
    assert sorted(one.histograms, key=str) == sorted(found.histograms, key=str)
    assert (two.history_text, two.digests, two.histograms, two.is_at_work) == (None, None, [], False)
    assert place.histories.read_kept([]) == []


def test_an_open_job_is_at_work(place: Place) -> None:
    """Its run moves on, so that a difference would say nothing."""
    run = place.add_run()
    place.claim(run)
    (kept,) = place.histories.read_kept([run])
    assert kept.is_at_work


def test_unknown_run_has_no_history(place: Place) -> None:
    """Whatever is asked of an id that names no row says so."""
    for ask in (
        lambda: place.histories.read_history(404),
        lambda: place.histories.read_histogram(404, "weights", "query"),
        lambda: place.histories.read_series(404),
        lambda: place.histories.publish(publication(404), now=NOW),
        lambda: place.histories.find_replaced(404),
        lambda: place.histories.recover(404, 1, now=NOW),
    ):
        with pytest.raises(NotFound, match="404"):
            ask()
