"""Which publication replaces which: the whole table, what is asked of two histories, and the page that shows it."""

import json
from datetime import UTC, datetime
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.errors import StaleWrite
from switchyard.core.history.digest import to_first_digests
from switchyard.core.history.precedence import (
    RULES,
    Case,
    Kept,
    Shown,
    Sources,
    Standing,
    Stored,
    choose_cached_at,
    choose_precedence,
    choose_status,
    decide,
    is_kept_when_replaced,
    to_case,
    to_markdown,
)
from switchyard.core.history.publication import FIRST_VERSIONS, Digests, Publication, PublishResult, Rank, Versions
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.record import Sampling
from switchyard.core.runs.rows import RunStatus
from tests.core.metrics.factories import make_record
from tests.root import ROOT

changed = msgspec.structs.replace
NOW = datetime(2026, 1, 15, 10, 30, 0, 999, tzinfo=UTC)
BEFORE = datetime(2025, 12, 24, 18, 0, tzinfo=UTC)
CASES = [
    Case(stored=stored, standing=standing, shown=shown, sources=sources)
    for stored, standing, shown, sources in product(Stored, Standing, Shown, Sources)
]

# Written by hand, apart from the rules: by what is stored and by rank, what is done. Where the answer depends on how
# both are shown, `alike/differently`; where on their sources, `file then MLflow+MLflow then file+MLflow twice+else`.
EXPECTED = """
                         | lower                                                     | equal                                    | higher              | forced
nothing                  | published                                                 | published                                | published           | published
another application's    | kept legacy                                               | kept legacy                              | kept legacy         | published
the same                 | kept newer+kept newer+unchanged/published+kept newer      | unchanged/published                      | unchanged/published | unchanged/published
the same and more        | kept newer                                                | unchanged                                | unchanged/published | unchanged/published
its charted series alone | kept newer+kept newer+published+kept newer                | kept newer+published+published+published | published           | published
other content            | kept newer+kept newer+published+kept newer                | kept newer+published+published+refused   | published           | published
"""  # noqa: E501


def expect(case: Case) -> str:
    """The cell of EXPECTED."""
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in EXPECTED.strip("\n").splitlines()]
    (row,) = [row for row in rows if row[0] == case.stored]
    cell = row[header.index(case.standing)]
    if "+" in cell:
        cell = cell.split("+")[list(Sources).index(case.sources)]
    return cell.split("/")[list(Shown).index(case.shown)] if "/" in cell else cell


@pytest.mark.parametrize("case", CASES, ids=lambda case: " / ".join(_values(case)))
def test_each_case_is_decided_as_the_table_says(case: Case) -> None:
    """What is stored, the ranks, how both are shown and where they come from say what is done, and why."""
    precedence = choose_precedence(case)
    assert (precedence.result or "refused") == expect(case)
    assert precedence.reason


def test_one_rule_holds_in_each_case() -> None:
    """The order of the rules says nothing: no case has two, and none has none; and no rule is there for nothing."""
    holding = {case: [rule for rule in RULES if rule.holds(case)] for case in CASES}
    assert {len(rules) for rules in holding.values()} == {1}
    assert {id(rules[0]) for rules in holding.values()} == {id(rule) for rule in RULES}


def make_new(**changes: Any) -> Publication:
    """A whole publication of content `a`."""
    digests = Digests(charted=changes.pop("charted", "a"), full=changes.pop("full", "a full"))
    rank = changes.pop("rank", Rank(attempt=1, epochs=10))
    row_status = changes.pop("row_status", None)
    history = {"status": "completed", "sampling": {"interval": 5}, "mlflow_run_id": "", "source": "file"} | changes
    return Publication(
        quick_test_id=7, history=history, digests=digests, rank=rank, histograms=[], row_status=row_status
    )


def keep(publication: Publication) -> Kept:
    """What is there once `publication` was published."""
    return Kept(
        history_text=json.dumps(publication.history),
        digests=publication.digests,
        rank=publication.rank,
        cached_at=BEFORE,
        versions=publication.versions,
    )


digests = st.builds(Digests, charted=st.sampled_from("ab"), full=st.sampled_from([None, "1", "2"]))
ranks = st.builds(Rank, attempt=st.integers(0, 2), restart=st.integers(0, 1), epochs=st.integers(0, 2))
histories = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["file", "mlflow", None]),
        "status": st.sampled_from(["partial", "completed"]),
        "sampling": st.sampled_from([{"interval": 1}, {"interval": 5}]),
        "mlflow_run_id": st.sampled_from(["", "x"]),
    },
)
publications = st.builds(
    Publication,
    quick_test_id=st.just(7),
    history=histories,
    digests=digests,
    rank=ranks,
    histograms=st.just([]),
    row_status=st.sampled_from([None, *RunStatus]),
)
foreign = st.just(Kept(history_text='{"available": true}'))


@given(publications, st.one_of(st.none(), foreign, publications.map(keep)), st.booleans())
def test_any_two_histories_are_one_case_and_meet_one_rule(new: Publication, kept: Kept | None, force: bool) -> None:
    """Whatever is published over whatever: one answer, or the error that names the run."""
    case = to_case(new, kept, force=force)
    assert [rule.precedence for rule in RULES if rule.holds(case)] == [choose_precedence(case)]
    try:
        result = decide(new, kept, force=force)
    except StaleWrite as err:
        assert not force
        assert "quick test 7" in str(err)
        assert choose_precedence(case).result is None
    else:
        assert result is choose_precedence(case).result


@given(publications, publications)
def test_what_was_published_is_unchanged_by_the_same_again(new: Publication, other: Publication) -> None:
    """By force or not; and what was replaced is never both older and put back without force."""
    for force in (False, True):
        assert decide(new, keep(new), force=force) is PublishResult.UNCHANGED
    if new.rank > other.rank:
        case = to_case(other, keep(new), force=False)
        is_kept = case.sources is not Sources.MLFLOW_TWICE or case.stored is Stored.MORE
        assert (decide(other, keep(new), force=False) is PublishResult.KEPT_NEWER) == is_kept


def test_force_publishes_an_equal_source_by_newer_versions() -> None:
    """A person asks for what they show; without force an equal source changes nothing, and forced again neither."""
    new = make_new()
    older = msgspec.structs.replace(keep(new), versions=Versions(digest=2, mapping=1))
    assert decide(new, older, force=False) is PublishResult.UNCHANGED
    assert decide(new, older, force=True) is PublishResult.PUBLISHED
    assert decide(new, keep(new), force=True) is PublishResult.UNCHANGED


@given(publications, st.one_of(st.none(), foreign, publications.map(keep)))
def test_force_never_leaves_what_is_published_as_it_is(new: Publication, kept: Kept | None) -> None:
    """It is published, or it was there already."""
    assert decide(new, kept, force=True) in (PublishResult.PUBLISHED, PublishResult.UNCHANGED)


@pytest.mark.parametrize(
    ("new", "stored", "case"),
    [
        (make_new(), make_new(), Case(stored=Stored.SAME, standing=Standing.EQUAL, shown=Shown.ALIKE)),
        (
            make_new(full=None),
            make_new(full=None),
            Case(stored=Stored.SAME, standing=Standing.EQUAL, shown=Shown.ALIKE),
        ),
        (make_new(full=None), make_new(), Case(stored=Stored.MORE, standing=Standing.EQUAL, shown=Shown.ALIKE)),
        (make_new(), make_new(full=None), Case(stored=Stored.CHARTED, standing=Standing.EQUAL, shown=Shown.ALIKE)),
        (make_new(full="x"), make_new(), Case(stored=Stored.OTHER, standing=Standing.EQUAL, shown=Shown.ALIKE)),
        (make_new(charted="x"), make_new(), Case(stored=Stored.OTHER, standing=Standing.EQUAL, shown=Shown.ALIKE)),
        (make_new(status="partial"), make_new(), Case(stored=Stored.SAME, standing=Standing.EQUAL)),
        (make_new(sampling={"interval": 1}), make_new(), Case(stored=Stored.SAME, standing=Standing.EQUAL)),
        (make_new(mlflow_run_id="x"), make_new(), Case(stored=Stored.SAME, standing=Standing.EQUAL)),
        (make_new(rank=Rank(attempt=2)), make_new(), Case(stored=Stored.SAME, shown=Shown.ALIKE)),
        (make_new(rank=Rank(attempt=1)), make_new(), Case(stored=Stored.SAME, standing=Standing.LOWER)),
        (
            make_new(source="mlflow"),
            make_new(),
            Case(
                stored=Stored.SAME, standing=Standing.EQUAL, shown=Shown.ALIKE, sources=Sources.FILE_THEN_MLFLOW
            ),
        ),
        (
            make_new(),
            make_new(source="mlflow"),
            Case(
                stored=Stored.SAME, standing=Standing.EQUAL, shown=Shown.ALIKE, sources=Sources.MLFLOW_THEN_FILE
            ),
        ),
        (
            make_new(source="mlflow", charted="x", rank=Rank()),
            make_new(source="mlflow"),
            Case(stored=Stored.OTHER, standing=Standing.LOWER, shown=Shown.ALIKE, sources=Sources.MLFLOW_TWICE),
        ),
        # Another MLflow run may be an earlier attempt's.
        (
            make_new(source="mlflow", mlflow_run_id="x", charted="x", rank=Rank()),
            make_new(source="mlflow", mlflow_run_id="y"),
            Case(stored=Stored.OTHER, standing=Standing.LOWER),
        ),
    ],
)  # fmt: skip
def test_two_histories_are_the_case_that_they_are(new: Publication, stored: Publication, case: Case) -> None:
    """Digests say what is the same, ranks what is newer, and the published text how it is shown."""
    assert to_case(new, keep(stored), force=False) == case


MLFLOW = {"source": "mlflow"}
KEPT = {
    "nothing": (make_new(), None, False),
    "by force": (make_new(), keep(make_new(charted="x")), True),
    "another application's": (make_new(), Kept(history_text="{damaged"), False),
    "changed": (make_new(charted="x", **MLFLOW), keep(make_new(**MLFLOW)), False),
    "fewer points": (make_new(charted="x", rank=Rank(), **MLFLOW), keep(make_new(**MLFLOW)), False),
    "grown": (
        make_new(charted="x", rank=Rank(attempt=1, epochs=11), **MLFLOW),
        keep(make_new(status="partial", **MLFLOW)),
        False,
    ),
    "partial, and shrunk": (
        make_new(charted="x", rank=Rank(), **MLFLOW), keep(make_new(status="partial", **MLFLOW)), False,
    ),
    "a later file": (make_new(charted="x", rank=Rank(attempt=2)), keep(make_new()), False),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", False),
        ("by force", True),
        ("another application's", False),
        ("changed", True),
        ("fewer points", True),
        ("grown", False),
        ("partial, and shrunk", True),
        ("a later file", False),
    ],
)
def test_what_a_changed_mlflow_run_replaces_is_kept(name: str, expected: bool) -> None:
    """But not what only grew."""
    new, stored, force = KEPT[name]
    assert is_kept_when_replaced(new, stored, force=force) is expected


def test_a_history_that_has_no_digests_of_ours_is_anothers() -> None:
    """Also where no person may look into it: it need be no JSON."""
    kept = Kept(history_text="{damaged")
    assert to_case(make_new(), kept, force=False).stored is Stored.FOREIGN
    assert decide(make_new(), kept, force=True) is PublishResult.PUBLISHED


def test_refusal_names_both_contents_and_the_way_out() -> None:
    """Two contents of one rank are for a person to judge."""
    with pytest.raises(StaleWrite, match=r"quick test 7 .*attempt 1, .*stored a full, new b full; .*with force"):
        decide(make_new(charted="b", full="b full"), keep(make_new()), force=False)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (None, NOW.replace(microsecond=0)),
        (Kept(history_text="{}"), NOW.replace(microsecond=0)),
        (keep(make_new(charted="b")), NOW.replace(microsecond=0)),
        (keep(make_new(full="other")), BEFORE),
    ],
)
def test_the_time_is_that_of_the_first_publish_of_these_charts(kept: Kept | None, expected: datetime) -> None:
    """To the second."""
    assert choose_cached_at(make_new(), kept, now=NOW) == expected


STATUSES = {
    # row before, the publication's: by what was done (published, unchanged, kept newer, kept legacy), by force or not
    ("running", None): ("-", "-"),
    ("running", "failed"): ("failed", "failed"),
    ("running", "completed"): ("completed", "completed"),
    ("failed", "cancelled"): ("cancelled", "cancelled"),
    ("completed", "failed"): ("-", "failed"),
    ("completed", "completed"): ("completed", "completed"),
    ("archived", "failed"): ("failed", "failed"),  # an application's own word
}


@pytest.mark.parametrize(("row", "asked"), list(STATUSES))
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("result", list(PublishResult))
def test_the_row_s_own_status_goes_with_what_was_done(
    row: str, asked: str | None, force: bool, result: PublishResult
) -> None:
    """A completed run stays completed unless by force; what something newer kept out says nothing of the row."""
    new = make_new(row_status=RunStatus(asked) if asked else None)
    expected = "-" if result is PublishResult.KEPT_NEWER else STATUSES[row, asked][force]
    assert (choose_status(new, result, row, force=force) or "-") == expected


def test_the_page_shows_the_table() -> None:
    """docs/walk.md has the rules as they are; `core.history.precedence.to_markdown` writes them."""
    page = (ROOT / "docs" / "walk.md").read_text()
    section = page.split("## Which publication replaces which\n", 1)[1].split("\n## ", 1)[0]
    table = "".join(line + "\n" for line in section.splitlines() if line.startswith("|"))
    assert table == to_markdown()


def _values(case: Case) -> list[str]:
    return [case.stored, case.standing, case.shown, case.sources]


def test_a_newer_version_of_the_same_source_is_unchanged() -> None:
    """What version 1 published stays as it is served; another source, another state or a force replaces it."""
    record = make_record()
    publication = to_publication(record, quick_test_id=1, source="file", sampling=Sampling())
    first = to_first_digests(record)
    history = {
        **publication.history,
        "schema_version": 1,
        "sampling": {"interval": 5, "keep_extremes": False},
        "digest": {"charted": first.charted, "full": first.full},
    }
    for name in ("metrics", "series", "best", "tags", "parent", "progress"):
        del history[name]
    kept = Kept(history_text=json.dumps(history), digests=first, rank=publication.rank, versions=FIRST_VERSIONS)
    assert decide(publication, kept, force=False) is PublishResult.UNCHANGED
    other = json.dumps(history | {"status": "partial"})
    assert decide(publication, changed(kept, history_text=other), force=False) is PublishResult.PUBLISHED
    with pytest.raises(StaleWrite):
        decide(
            publication,
            changed(kept, digests=Digests(charted="sha256:0", full="sha256:0")),
            force=False,
        )
    unknown = changed(publication, first_digests=None)
    with pytest.raises(StaleWrite):
        decide(unknown, kept, force=False)
