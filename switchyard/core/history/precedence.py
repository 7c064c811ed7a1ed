"""Which publication replaces which: one table, as data. docs/walk.md shows it; the database only reads, asks, writes.

A further question (a mapping's version, say) is a further field of `Case` and of `Rule`, by default with all of its
values: the rules that do not ask it hold as before.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from switchyard.core.errors import StaleWrite
from switchyard.core.history.publication import FIRST_VERSIONS, Digests, Publication, PublishResult, Rank, Versions
from switchyard.core.runs.rows import RunStatus


class Stored(StrEnum):
    """What is published of the run already, beside the new publication."""

    NOTHING = "nothing"
    FOREIGN = "another application's"  # legacy, or written over ours: it has no digests to compare
    SAME = "the same"
    MORE = "the same and more"  # the new one knows the charted series alone
    CHARTED = "its charted series alone"  # the new one is whole, and completes them
    OTHER = "other content"


class Standing(StrEnum):
    """How new the publication is, beside what is stored; where nothing of ours is, any is higher."""

    LOWER = "lower"
    EQUAL = "equal"
    HIGHER = "higher"
    FORCED = "forced"  # a person has decided: ranks are not asked


class Shown(StrEnum):
    """What of equal records may differ where they are published.

    The state while the run trains (partial or completed), the sampled epochs, or an MLflow run that was not known
    before.
    """

    ALIKE = "alike"
    DIFFERENTLY = "differently"


class Sources(StrEnum):
    """Where both publications come from.

    At equal rank the run's own file goes before MLflow. MLflow's runs may change after they were published (params,
    tags, points that are logged late): of one MLflow run its newest word counts.
    """

    FILE_THEN_MLFLOW = "file, then MLflow"
    MLFLOW_THEN_FILE = "MLflow, then file"
    MLFLOW_TWICE = "the same MLflow run"
    NO_MATTER = "two files, or unknown"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a run.

    `digests` and `rank` are None if they do not speak of `history_text`: the history is another application's.
    """

    history_text: str
    digests: Digests | None = None
    rank: Rank | None = None
    cached_at: datetime | None = None
    versions: Versions = FIRST_VERSIONS  # by which the digests were made


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rules ask."""

    stored: Stored
    standing: Standing = Standing.HIGHER
    shown: Shown = Shown.DIFFERENTLY
    sources: Sources = Sources.NO_MATTER


class Precedence(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with the publication."""

    result: PublishResult | None  # None: refused, because either of the two may be right
    reason: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: it holds for each combination of its values.

    No two rules hold at once, and one always does.
    """

    stored: tuple[Stored, ...]
    standings: tuple[Standing, ...] = tuple(Standing)
    shown: tuple[Shown, ...] = tuple(Shown)
    sources: tuple[Sources, ...] = tuple(Sources)
    precedence: Precedence

    def holds(self, case: Case) -> bool:
        """Returns True if the rule says what to do."""
        return (
            case.stored in self.stored
            and case.standing in self.standings
            and case.shown in self.shown
            and case.sources in self.sources
        )


_SHOWN: Final[tuple[str, ...]] = ("status", "sampling", "mlflow_run_id", "best", "tags", "parent", "progress")
_SHOWN_FIRST: Final = ("status", "interval", "keep_extremes", "mlflow_run_id")
_NOT_MLFLOW_TWICE: Final = tuple(sources for sources in Sources if sources is not Sources.MLFLOW_TWICE)
_RANKED: Final = (Standing.LOWER, Standing.EQUAL, Standing.HIGHER)
_NOT_LOWER: Final = (Standing.EQUAL, Standing.HIGHER, Standing.FORCED)
_ABOVE: Final = (Standing.HIGHER, Standing.FORCED)


def _publish(reason: str) -> Precedence:
    return Precedence(result=PublishResult.PUBLISHED, reason=reason)


def _leave(result: PublishResult, reason: str) -> Precedence:
    return Precedence(result=result, reason=reason)


RULES: Final[tuple[Rule, ...]] = (
    Rule(stored=(Stored.NOTHING,), precedence=_publish("nothing is published yet, or it was taken back")),
    Rule(
        stored=(Stored.FOREIGN,),
        standings=_RANKED,
        precedence=_leave(PublishResult.KEPT_LEGACY, "it cannot be compared: only a person replaces it"),
    ),
    Rule(
        stored=(Stored.FOREIGN,),
        standings=(Standing.FORCED,),
        precedence=_publish("a person has decided to replace it"),
    ),
    Rule(
        stored=(Stored.SAME, Stored.MORE, Stored.CHARTED),
        standings=(Standing.LOWER,),
        sources=_NOT_MLFLOW_TWICE,
        precedence=_leave(PublishResult.KEPT_NEWER, "a later attempt, restart, epoch or state is published"),
    ),
    Rule(
        stored=(Stored.SAME,),
        standings=(Standing.LOWER,),
        shown=(Shown.ALIKE,),
        sources=(Sources.MLFLOW_TWICE,),
        precedence=_leave(PublishResult.UNCHANGED, "readers have it already; the rank becomes the new one's"),
    ),
    Rule(
        stored=(Stored.SAME,),
        standings=(Standing.LOWER,),
        shown=(Shown.DIFFERENTLY,),
        sources=(Sources.MLFLOW_TWICE,),
        precedence=_publish("the MLflow run has another state, or other tags, now"),
    ),
    Rule(
        stored=(Stored.MORE,),
        standings=(Standing.LOWER,),
        sources=(Sources.MLFLOW_TWICE,),
        precedence=_leave(PublishResult.KEPT_NEWER, "what is published knows more, and is of a later state"),
    ),
    Rule(
        stored=(Stored.CHARTED,),
        standings=(Standing.LOWER,),
        sources=(Sources.MLFLOW_TWICE,),
        precedence=_publish("it completes what is published, as the MLflow run is now"),
    ),
    Rule(
        stored=(Stored.OTHER,),
        standings=(Standing.LOWER,),
        sources=_NOT_MLFLOW_TWICE,
        precedence=_leave(PublishResult.KEPT_NEWER, "a later attempt, restart, epoch or state is published"),
    ),
    Rule(
        stored=(Stored.SAME, Stored.MORE),
        standings=_NOT_LOWER,
        shown=(Shown.ALIKE,),
        precedence=_leave(PublishResult.UNCHANGED, "readers have it already; the rank becomes the new one's"),
    ),
    Rule(
        stored=(Stored.SAME,),
        standings=_NOT_LOWER,
        shown=(Shown.DIFFERENTLY,),
        precedence=_publish("the record is the same, and its state, sampling or MLflow run is shown as it is now"),
    ),
    # Of the charted series alone it knows less: another sampling is not a reason to forget the rest.
    Rule(
        stored=(Stored.MORE,),
        standings=(Standing.EQUAL,),
        shown=(Shown.DIFFERENTLY,),
        precedence=_leave(
            PublishResult.UNCHANGED, "what is published knows more; another sampling does not replace it"
        ),
    ),
    Rule(
        stored=(Stored.MORE,),
        standings=_ABOVE,
        shown=(Shown.DIFFERENTLY,),
        precedence=_publish("it is newer, or forced, though it knows less"),
    ),
    Rule(
        stored=(Stored.OTHER,),
        standings=(Standing.LOWER, Standing.EQUAL),
        sources=(Sources.MLFLOW_TWICE,),
        precedence=_publish("the MLflow run says something else now; what it replaces is kept"),
    ),
    Rule(stored=(Stored.CHARTED, Stored.OTHER), standings=_ABOVE, precedence=_publish("it is newer, or forced")),
    # Both tell of one training, in types of their own (params are texts in MLflow): that is not a contradiction.
    Rule(
        stored=(Stored.CHARTED, Stored.OTHER),
        standings=(Standing.EQUAL,),
        sources=(Sources.FILE_THEN_MLFLOW,),
        precedence=_leave(PublishResult.KEPT_NEWER, "the run's own file goes before MLflow"),
    ),
    Rule(
        stored=(Stored.CHARTED,),
        standings=(Standing.EQUAL,),
        sources=(Sources.MLFLOW_THEN_FILE, Sources.MLFLOW_TWICE, Sources.NO_MATTER),
        precedence=_publish("it completes what is published: nothing that a reader saw changes"),
    ),
    Rule(
        stored=(Stored.OTHER,),
        standings=(Standing.EQUAL,),
        sources=(Sources.MLFLOW_THEN_FILE,),
        precedence=_publish("the run's own file goes before MLflow"),
    ),
    Rule(
        stored=(Stored.OTHER,),
        standings=(Standing.EQUAL,),
        sources=(Sources.NO_MATTER,),
        precedence=Precedence(result=None, reason="both may be right: a person decides, by force"),
    ),
)


def choose_precedence(case: Case) -> Precedence:
    """Returns what the one rule says that holds for `case`."""
    return next(rule.precedence for rule in RULES if rule.holds(case))


def to_case(publication: Publication, kept: Kept | None, *, force: bool) -> Case:
    """Returns what the rules ask of `publication`, beside what is `kept` of its run (None: nothing is published)."""
    if kept is None:
        return Case(stored=Stored.NOTHING, standing=Standing.FORCED if force else Standing.HIGHER)
    if kept.digests is None or kept.rank is None:
        return Case(stored=Stored.FOREIGN, standing=Standing.FORCED if force else Standing.HIGHER)
    stored = _to_stored(_choose_digests(publication, kept), kept.digests)
    standing = Standing.FORCED if force else _to_standing(publication.rank, kept.rank)
    is_file = publication.history.get("source") != "mlflow"
    if standing is Standing.LOWER and stored is not Stored.OTHER and is_file:
        return Case(stored=stored, standing=standing)  # kept out unread
    history = msgspec.json.decode(kept.history_text)
    # A person who forces an equal source wants it as the newest versions publish it: every curve, say.
    renewed = force and kept.versions != publication.versions
    return Case(
        stored=stored,
        standing=standing,
        shown=Shown.DIFFERENTLY if renewed else _to_shown(publication.history, history),
        sources=_to_sources(history, publication.history),
    )


def decide(publication: Publication, kept: Kept | None, *, force: bool) -> PublishResult:
    """Returns what becomes of `publication`; `kept` is what its run has now (None: nothing is published).

    Raises:
        StaleWrite: what is published has the same rank and other content.
    """
    result = choose_precedence(to_case(publication, kept, force=force)).result
    if result is not None:
        return result
    assert kept is not None
    assert kept.digests is not None
    stored, new = kept.digests, publication.digests
    raise StaleWrite(
        f"quick test {publication.quick_test_id} has a history of the same rank ({_say(publication.rank)}) with other "
        f"content: stored {stored.full or stored.charted}, new {new.full or new.charted}; find out which is right, "
        "then publish it with force"
    )


def is_kept_when_replaced(publication: Publication, kept: Kept | None, *, force: bool) -> bool:
    """Returns True if `recover` can put back what is published, once `publication` replaces it.

    That is where a person has decided to replace it, or the MLflow run says something else. What only grew is in the
    new one.
    """
    if kept is None or force:
        return kept is not None
    case = to_case(publication, kept, force=False)
    if case.stored is not Stored.OTHER or case.sources is not Sources.MLFLOW_TWICE:
        return False
    grew = msgspec.json.decode(kept.history_text).get("status") == "partial" and case.standing is Standing.HIGHER
    return not grew


def choose_cached_at(publication: Publication, kept: Kept | None, *, now: datetime) -> datetime:
    """Returns the time that readers see: of the first publish of these charts."""
    same = (
        kept is not None
        and kept.digests is not None
        and kept.digests.charted == _choose_digests(publication, kept).charted
    )
    return kept.cached_at if kept is not None and same and kept.cached_at is not None else now.replace(microsecond=0)


def choose_status(publication: Publication, result: PublishResult, row_status: str, *, force: bool) -> RunStatus | None:
    """Returns what the row's own status, which was `row_status`, becomes; None: it stays.

    A completed run stays completed, unless by force; a publication that something newer kept out says nothing of the
    row.
    """
    status = publication.row_status
    if status is None or result is PublishResult.KEPT_NEWER:
        return None
    return status if force or row_status != RunStatus.COMPLETED or status is RunStatus.COMPLETED else None


def to_markdown() -> str:
    """Returns the table as docs/walk.md shows it."""
    lines = [
        "| published already | the new one's rank | shown | sources | what is done | because |",
        "|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        asked = [_say_values(values) for values in (rule.stored, rule.standings, rule.shown, rule.sources)]
        cells = [*asked, rule.precedence.result or "refused", rule.precedence.reason]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _choose_digests(publication: Publication, kept: Kept) -> Digests:
    """Returns the digests of the publication's source, by the versions that made what is stored.

    A newer version of ours has the same content. Where those were not computed, the newest ones, which are never equal
    to older ones.
    """
    if kept.versions == FIRST_VERSIONS and publication.first_digests is not None:
        return publication.first_digests
    return publication.digests


def _to_stored(new: Digests, stored: Digests) -> Stored:
    if new.charted != stored.charted:
        return Stored.OTHER
    if new.full == stored.full:
        return Stored.SAME
    if new.full is None:
        return Stored.MORE
    return Stored.CHARTED if stored.full is None else Stored.OTHER


def _to_standing(new: Rank, stored: Rank) -> Standing:
    if new == stored:
        return Standing.EQUAL
    return Standing.LOWER if new < stored else Standing.HIGHER


def _to_shown(new: dict[str, Any], stored: dict[str, Any]) -> Shown:
    parts = _SHOWN
    if stored.get("schema_version") == 1:  # it has nothing of the later parts, and stays as it is served
        parts, new, stored = _SHOWN_FIRST, {**new, **new["sampling"]}, {**stored, **(stored.get("sampling") or {})}
    return Shown.ALIKE if all(stored.get(part) == new.get(part) for part in parts) else Shown.DIFFERENTLY


def _to_sources(stored: dict[str, Any], new: dict[str, Any]) -> Sources:
    match stored.get("source"), new.get("source"):
        case "file", "mlflow":
            return Sources.FILE_THEN_MLFLOW
        case "mlflow", "file":
            return Sources.MLFLOW_THEN_FILE
        case "mlflow", "mlflow" if stored.get("mlflow_run_id") == new.get("mlflow_run_id"):
            return Sources.MLFLOW_TWICE
    return Sources.NO_MATTER


def _say(rank: Rank) -> str:
    return ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(rank).items())


def _say_values(values: tuple[StrEnum, ...]) -> str:
    return "any" if values == tuple(type(values[0])) else ", ".join(values)
