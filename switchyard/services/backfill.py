"""Publishes one batch of MLflow's runs: read, mapped, published a few hundred at a time, never all in memory."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from switchyard.clients.connect import Outside
from switchyard.core.backfill.behind import to_news
from switchyard.core.backfill.mapped import to_first_digests_of, to_record
from switchyard.core.backfill.plan import KIND, NO_CURVE, SKIPPED, STALE, BatchResult, How, Item, Shown, to_ways
from switchyard.core.batches import batched
from switchyard.core.errors import SwitchyardError, catch, to_message
from switchyard.core.history.asked_rules import KeptRules, choose_rules
from switchyard.core.history.following import to_parent, to_parent_of, to_progress, with_parent
from switchyard.core.history.publication import Draft, Parent, PublishResult, SeenRun, Versions
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.metrics.showing import to_shows
from switchyard.core.mlflow.facts import Look, to_newest_ms, to_parent_run_id, to_user_tags
from switchyard.core.mlflow.keys import SCALARS
from switchyard.core.mlflow.raw_run import LostRun, RawRun, to_source_digest
from switchyard.core.ports import Histories, Ledger, Runs
from switchyard.core.runs.ledger import LedgerLine
from switchyard.services.backfill_files import RunFile, to_file, write_files

CHARTED_RUNS: Final = 200
"""Runs in a transaction: 2 MB of history. What was committed is not done again, so fewer would only cost more."""
WHOLE_RUNS: Final = 50
"""The same with histograms and files, of which a run has 20 times as much."""
IDS_AT_ONCE: Final = 5_000
"""Ids in a query: a database takes about 30,000 values, and a batch may have more runs."""


def backfill_runs(outside: Outside, items: Sequence[Item], how: How, *, again: bool = False) -> BatchResult:
    """Reads the runs' metrics from MLflow and publishes them. Each run has its ledger line afterwards, in any case.

    `again`: what a first call settled before it was interrupted is left as it is.

    Raises:
        TryAgain, BadSetup: the runs without a line could not be read, or the results could not be written.
    """
    ledger, result = outside.ledger, BatchResult()
    if again:
        settled = _list_settled(ledger, items)
        _count_settled(result, [settled[item.quick_test_id] for item in items if item.quick_test_id in settled])
        items = [item for item in items if item.quick_test_id not in settled]
    parents = Parents(outside.runs)
    items = _with_rules(outside.histories, items, how)
    for way, chosen in to_ways(items, how):
        for some in batched(_read(outside, chosen, way), WHOLE_RUNS if way.whole else CHARTED_RUNS):
            drafts = write_files(outside, some) if way.full else [draft for draft, _ in some]
            drafts = parents.find(drafts)
            _count(result, drafts, ledger.publish_many(KIND, drafts, force=way.force, now=datetime.now(UTC)))
    return result


def _with_rules(histories: Histories, items: Sequence[Item], how: How) -> list[Item]:
    """Returns the items with the rules that their runs had; the call may give others (`Item.to_how`)."""
    kept: dict[int, KeptRules] = {}
    for some in batched([item.quick_test_id for item in items], IDS_AT_ONCE):
        kept |= histories.read_rules(some)
    return [
        msgspec.structs.replace(item, rules=choose_rules(how.rules, kept[item.quick_test_id]))
        if item.quick_test_id in kept
        else item
        for item in items
    ]


def look_at_runs(outside: Outside, run_ids: Iterable[str], export_uri: str = "") -> dict[str, Look]:
    """Returns what MLflow says of these runs, by MLflow run id, without those that are not there."""
    with closing(outside.open_tracking(export_uri)) as tracking:
        return {look.info.run_id: look for look in tracking.look_at_runs(run_ids)}


def count_shown(outside: Outside, run_ids: Iterable[str], export_uri: str = "") -> Shown:
    """Counts what there is to show of these MLflow runs, without reading their points.

    An MLflow that cannot be asked is not an error but is said: people make a dry run before they set it, too."""
    wanted = set(run_ids)
    if not wanted:
        return Shown()
    counts: Counter[str] = Counter()

    def look() -> None:
        with closing(outside.open_tracking(export_uri)) as tracking:
            counts.update(found.shows for found in tracking.look_at_runs(sorted(wanted)))

    err = catch(look)
    if isinstance(err, SwitchyardError):
        return Shown(why_unknown=str(err))
    if err is not None:
        raise err
    return Shown(
        curves=counts["curves"],
        values=counts["values"],
        nothing=counts["nothing"],
        not_there=len(wanted) - counts.total(),
    )


def fail_runs(ledger: Ledger, items: Sequence[Item], error: str) -> BatchResult:
    """Writes `error` on the ledger line of each run of a batch that was given up.

    A run with a line that was written since the items were planned is left out. A second call finds the first one's
    lines and writes nothing."""
    settled, result = _list_settled(ledger, items), BatchResult()
    _count_settled(result, [settled[item.quick_test_id] for item in items if item.quick_test_id in settled])
    left = [
        Draft(quick_test_id=item.quick_test_id, state="failed", error=error)
        for item in items
        if item.quick_test_id not in settled
    ]
    for drafts in batched(left, CHARTED_RUNS):
        _count(result, drafts, ledger.publish_many(KIND, drafts, now=datetime.now(UTC)))
    return result


class Parents:
    """Finds the rows of parents, with one query for many nested runs, and remembers them while a batch lasts."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._known: dict[str, int | None] = {}

    def find(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Returns the drafts with their parents' ids.

        A parent that no row names has none, and is noted (`Draft.lost_parent`): a later backfill looks again. Parents
        are only shown, so a circle does no harm."""
        wanted = [to_parent_of(draft.publication) for draft in drafts]
        new = {run_id for run_id in wanted if run_id} - self._known.keys()
        if new:
            found = self._runs.find_mlflow_runs(sorted(new))
            self._known |= {run_id: found.get(run_id) for run_id in new}
        return [self._add(draft, run_id) for draft, run_id in zip(drafts, wanted, strict=True)]

    def _add(self, draft: Draft, run_id: str) -> Draft:
        if not run_id or draft.publication is None:
            return draft
        id_ = self._known[run_id]
        publication = with_parent(draft.publication, Parent(quick_test_id=id_, mlflow_run_id=run_id))
        return msgspec.structs.replace(draft, publication=publication, lost_parent="" if id_ else run_id)


def _read(outside: Outside, items: Sequence[Item], how: How) -> Iterator[tuple[Draft, RunFile | None]]:
    """Yields what to write of each run, and its file where one is wanted and the run can be published."""
    by_run: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_run[item.mlflow_run_id].append(item)
    if not by_run:
        return
    with closing(outside.open_tracking(how.export_uri)) as tracking:
        for run in tracking.read_runs(by_run, keys=None if how.whole else SCALARS):
            for item in by_run[run.run_id if isinstance(run, LostRun) else run.info.run_id]:
                yield _to_draft(outside, run, item, how)


def _to_draft(outside: Outside, run: RawRun | LostRun, item: Item, how: How) -> tuple[Draft, RunFile | None]:
    if isinstance(run, LostRun):
        return Draft(quick_test_id=item.quick_test_id, state="failed", error=str(run.error)), None
    found = catch(partial(_to_publishable, outside, run, item, how))
    if not isinstance(found, Exception):
        return found
    error = to_message(found)
    if not isinstance(found, SwitchyardError):
        # Data that no one has thought of. The message is for the person who mends the mapping.
        error = f"MLflow run {run.info.run_id} cannot be mapped: {error}"
    return Draft(quick_test_id=item.quick_test_id, state="failed", error=error), None


def _to_publishable(outside: Outside, run: RawRun, item: Item, how: How) -> tuple[Draft, RunFile | None]:
    id_, info = item.quick_test_id, run.info
    digest = to_source_digest(run)
    versions = Versions(rules=how.rules)
    record = to_record(run, versions)
    if record.run and record.run.quick_test_id != id_:
        # Our trainer logged it for a row of another results database. Its attempts are not this row's.
        record = msgspec.structs.replace(record, run=None)
    news = to_news(info, to_newest_ms(run), how, is_moving=item.is_moving) if item.follows else None
    stale = news.error if news is not None else ""
    seen = SeenRun(
        mlflow_run_id=info.run_id, name=info.name, store=how.store, whole=how.whole, mark=item.mark if how.store else ""
    )
    if not record.available:
        has = "the bins of histograms alone" if run.metrics else "no metric and no param"
        said = stale or f"MLflow run {info.run_id} ({info.status}) has {has}: there is nothing to publish"
        state = STALE if stale else SKIPPED
        return Draft(quick_test_id=id_, state=state, error=said, source_digest=digest, news=news, seen=seen), None
    publication = to_publication(
        record,
        quick_test_id=id_,
        source="mlflow",
        sampling=Sampling(
            interval=how.interval,
            keep_extremes=how.keep_extremes,
            max_points=how.max_points,
            directions=how.directions,
        ),
        mlflow_run_id=info.run_id,
        versions=versions,
        # What is published already, by any version, is found only if more is read now than was before.
        first_digests=to_first_digests_of(run) if how.whole and not item.is_new else None,
        tags=to_user_tags(run.tags),
        parent=to_parent(to_parent_run_id(run.tags)),
        progress=to_progress(record),
    )
    note = stale or (NO_CURVE if to_shows(record) == "values" else "")
    draft = Draft(quick_test_id=id_, publication=publication, note=note, source_digest=digest, news=news, seen=seen)
    if stale:
        draft = msgspec.structs.replace(draft, state=STALE)
    if not how.full:
        return draft, None
    folder = item.gcs_artifacts_path.rstrip("/") or f"{outside.settings.artifacts_uri}/quick_tests/{id_}"
    return draft, to_file(record, quick_test_id=id_, mlflow_run_id=info.run_id, name=info.name, folder=folder)


def _list_settled(ledger: Ledger, items: Sequence[Item]) -> dict[int, LedgerLine]:
    """Returns the lines that were written since the items were planned, by how often each was written.

    Clocks may be set back, or differ from machine to machine."""
    before = {item.quick_test_id: item.attempts for item in items}
    lines = ledger.read_ledger(KIND)
    return {line.quick_test_id: line for line in lines if line.attempts > before.get(line.quick_test_id, 0)}


def _count_settled(result: BatchResult, lines: Sequence[LedgerLine]) -> None:
    for line in lines:
        if line.state in ("failed", SKIPPED) or (line.state == STALE and not line.published_digest):
            (result.failed if line.state == "failed" else result.skipped)[line.quick_test_id] = line.error
        else:
            result.published += 1
            result.values_alone += line.error == NO_CURVE


def _count(result: BatchResult, drafts: Sequence[Draft], outcomes: dict[int, PublishResult | SwitchyardError]) -> None:
    for draft in drafts:
        outcome = outcomes.get(draft.quick_test_id)
        if outcome is PublishResult.PUBLISHED:
            result.published += 1
            result.values_alone += draft.note == NO_CURVE
        elif outcome is PublishResult.UNCHANGED:
            result.unchanged += 1
            result.values_alone += draft.note == NO_CURVE
        elif isinstance(outcome, PublishResult):
            result.skipped[draft.quick_test_id] = f"{outcome}: --force replaces it"
        elif isinstance(outcome, SwitchyardError) or draft.state == "failed":
            result.failed[draft.quick_test_id] = str(outcome or draft.error)
        else:
            result.skipped[draft.quick_test_id] = draft.error
