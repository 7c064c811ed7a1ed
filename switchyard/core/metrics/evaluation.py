"""The evaluation report: how good a trained model is on held-out purchases, beside what a team could use instead.

The trainer writes it as ``evaluation_report.json`` beside the metrics file; docs/evaluation.md describes each figure.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from switchyard.core.errors import BadRecord
from switchyard.core.strict_json import decode_strictly

REPORT_NAME: Final = "evaluation_report.json"
CARD_NAME: Final = "model_card.md"
MAX_REPORT_BYTES: Final = 1024 * 1024
"""Ours have some 20 kB."""
MODEL: Final = "model"
RECALL_KS: Final = (5, 10, 50, 100)
NDCG_K: Final = 10
TITLES: Final[Mapping[str, str]] = {
    MODEL: "The model",
    "popularity": "Popularity",
    "own_counts": "Own counts",
    "recent_and_own": "Recent popularity + own history",
    "item_knn": "Item-kNN",
    "ials": "iALS",
}
"""What people call a contender; one of another name is called by it."""
SLICES: Final[Mapping[str, str]] = {
    "all": "all pairs",
    "new": "pairs new to the buyer",
    "light": "light buyers",
    "heavy": "heavy buyers",
}

Verdict = Literal["model", "level", "baseline", "too_few"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure from 0 to 1, and the bounds between which the middle 95 % of the bootstrap's draws lie."""

    value: float
    low: float
    high: float


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """The model's figure less the baseline's, over the same draws.

    The verdict names the winner: the whole interval is on its side of 0.
    """

    value: float
    low: float
    high: float
    verdict: Verdict


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """The model, or a baseline. `figures` and `leads`: by slice, then by metric (``recall_at_10``, ``ndcg_at_10``)."""

    name: str
    figures: dict[str, dict[str, Figure]]
    coverage: float | None = None  # share of the products that are among some measured buyer's first ten
    leads: dict[str, dict[str, Lead]] = {}  # the model's over this one; empty for the model itself
    settings: dict[str, float | int | str] = {}
    about: str = ""  # how its settings were found


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A baseline that was not measured, and why."""

    name: str
    reason: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Buyers with at least and at most that many train purchases, and their held-out pairs."""

    buyers: int
    pairs: int
    least: int
    most: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on: held-out pairs (buyer, product), of all or of some buyers."""

    window: str = "test"
    pairs: int
    of_pairs: int  # that were held out; more than `pairs` where buyers were drawn
    new_pairs: int  # those of `pairs` with a product that the buyer had not bought in the train rows
    buyers: int
    products: int
    groups: dict[str, Group] = {}


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """How the intervals were made: buyers drawn with replacement, that many times."""

    draws: int
    confidence: float
    seed: int


class ReportRun(msgspec.Struct, frozen=True, kw_only=True):
    """Which run the report is of. No restart: one that was interrupted leaves the same report."""

    quick_test_id: int
    key: str
    attempt: int
    name: str = ""
    seed: int


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """``evaluation_report.json``. The first contender is the model. Keys that are not known are left out on reading."""

    schema_version: Literal[1] = 1
    run: ReportRun
    measured: Measured
    bootstrap: Bootstrap
    contenders: list[Contender]
    left_out: list[LeftOut] = []

    @property
    def model(self) -> Contender:
        """The model's figures."""
        return self.contenders[0]


def to_title(name: str) -> str:
    """Returns what people call the contender.

    >>> to_title("ials"), to_title("another")
    ('iALS', 'another')
    """
    return TITLES.get(name, name)


def judge(low: float, high: float, *, enough: bool) -> Verdict:
    """Returns who wins, by the interval of the model's lead. Not `enough` buyers: that cannot be said.

    >>> judge(0.01, 0.02, enough=True), judge(-0.01, 0.02, enough=True), judge(-0.02, -0.01, enough=True)
    ('model', 'level', 'baseline')
    """
    if not enough:
        return "too_few"
    if low > 0:
        return "model"
    return "baseline" if high < 0 else "level"


def to_report_json(report: EvaluationReport) -> bytes:
    """Returns the file's bytes, indented because people read it too. Equal reports have equal bytes."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def read_report(data: bytes, where: str) -> EvaluationReport:
    """Returns the report in a file's bytes.

    Raises:
        BadRecord: it is not a report, or it contradicts itself; all that is wrong.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise BadRecord(where, [f"an evaluation report has at most {MAX_REPORT_BYTES:,} bytes; got {len(data):,}"])
    try:
        report = decode_strictly(data, EvaluationReport)
    except ValueError as err:
        raise BadRecord(where, [f"an evaluation report of schema version 1 was expected; {err}"]) from err
    if problems := list(_find_problems(report)):
        raise BadRecord(where, problems)
    return report


def _find_problems(report: EvaluationReport) -> Iterator[str]:
    names = [one.name for one in report.contenders]
    if not names or names[0] != MODEL:
        yield f"`contenders` must begin with {MODEL!r}; got {names[:1]}"
    if len(set(names)) < len(names):
        yield f"`contenders` must have different names; got {names}"
    for one in report.contenders:
        where = f"`contenders.{one.name}`"
        if one.coverage is not None and not 0 <= one.coverage <= 1:
            yield f"{where}: `coverage` must be from 0 to 1; got {one.coverage}"
        for part, figures in one.figures.items():
            for metric, figure in figures.items():
                numbers = (figure.value, figure.low, figure.high)
                if not all(0 <= number <= 1 for number in numbers) or figure.low > figure.high:
                    yield f"{where}: `figures.{part}.{metric}` must be from 0 to 1, low before high; got {numbers}"
        if one.name == MODEL and one.leads:
            yield f"{where} must have no `leads`: it has none over itself"
        for part, leads in one.leads.items():
            for metric, lead in leads.items():
                yield from _find_lead_problems(lead, f"{where}: `leads.{part}.{metric}`")


def _find_lead_problems(lead: Lead, where: str) -> Iterator[str]:
    numbers = (lead.value, lead.low, lead.high)
    if not all(math.isfinite(number) and abs(number) <= 1 for number in numbers) or lead.low > lead.high:
        yield f"{where} must be from -1 to 1, low before high; got {numbers}"
    elif lead.verdict not in ("too_few", fitting := judge(lead.low, lead.high, enough=True)):
        yield f"{where}: `verdict` must be {fitting!r} for {numbers}; got {lead.verdict!r}"
