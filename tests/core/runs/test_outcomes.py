"""What becomes of a run: the whole table, and the page that shows it."""

from itertools import product
from typing import get_args

import pytest

from switchyard.core.metrics.record import FileStatus
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.outcomes import RULES, choose_outcome, to_markdown
from switchyard.core.runs.rows import RunStatus
from tests.root import ROOT

FILES: tuple[FileStatus | None, ...] = (*get_args(FileStatus), None)
JOBS: tuple[JobState | None, ...] = (*JobState, None)
WALK = ROOT / "docs" / "walk.md"

# job: {file: (row becomes, published)}; a dash keeps the row's status. Written by hand, apart from the rules.
EXPECTED: dict[str, dict[str, tuple[str, bool]]] = {
    "claimed": {"completed": ("-", True), "partial": ("-", True), "failed": ("-", True), "missing": ("-", False)},
    "queued": {"completed": ("-", True), "partial": ("-", True), "failed": ("-", True), "missing": ("-", False)},
    "running": {"completed": ("-", True), "partial": ("-", True), "failed": ("-", True), "missing": ("-", False)},
    "succeeded": {
        "completed": ("completed", True),
        "partial": ("failed", True),
        "failed": ("failed", True),
        "missing": ("failed", False),
    },
    "failed": {
        "completed": ("failed", True),
        "partial": ("failed", True),
        "failed": ("failed", True),
        "missing": ("failed", False),
    },
    "cancelled": {
        "completed": ("cancelled", True),
        "partial": ("cancelled", True),
        "failed": ("cancelled", True),
        "missing": ("cancelled", False),
    },
    "none": {
        "completed": ("completed", True),
        "partial": ("-", True),
        "failed": ("failed", True),
        "missing": ("-", False),
    },
}


@pytest.mark.parametrize(("job", "file", "row"), list(product(JOBS, FILES, RunStatus)))
def test_each_case_has_the_outcome_of_the_table(job: JobState | None, file: FileStatus | None, row: RunStatus) -> None:
    """Job, file and row together say what the row becomes, whether the file is published, and why."""
    outcome = choose_outcome(job, file, row)
    status, publish = EXPECTED[job or "none"][file or "missing"]
    if job is None and file == "failed" and row is RunStatus.COMPLETED:
        status = "-"  # a completed run stays so when someone brings a failed file
    assert (outcome.row_status or "-", outcome.publish) == (status, publish)
    assert outcome.reason
    assert bool(outcome.error) == (status in ("failed", "cancelled"))


def test_one_rule_holds_in_each_case() -> None:
    """The order of the rules says nothing: no case has two, and none has none."""
    for job, file, row in product(JOBS, FILES, RunStatus):
        holding = [rule for rule in RULES if job in rule.jobs and file in rule.files and row in rule.rows]
        assert len(holding) == 1, (job, file, row)


def test_nothing_is_published_without_a_file() -> None:
    """There is nothing to publish."""
    assert not any(rule.outcome.publish for rule in RULES if None in rule.files)


def test_the_page_shows_the_table() -> None:
    """docs/walk.md has the rules as they are; `core.runs.outcomes.to_markdown` writes them."""
    page = WALK.read_text()
    section = page.split("## Outcomes\n", 1)[1].split("\n## ", 1)[0]
    table = "".join(line + "\n" for line in section.splitlines() if line.startswith("|"))
    assert table == to_markdown()
