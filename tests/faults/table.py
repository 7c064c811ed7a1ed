"""The table of docs/reliability.md: a row for each fault, between two marks of the page."""

from collections.abc import Sequence

import msgspec

from tests.faults.cases import CASES, Case
from tests.faults.checking import Violations
from tests.root import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by `make faults` -->\n", "<!-- end -->\n"
_HEAD = "| step | fault | tried | one job per key | history as uninterrupted | nothing stuck | violations |\n"
_RULE = "|---|---|---|---|---|---|---|\n"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """How often one fault was tried, and in how many of the tries each promise held."""

    step: str
    fault: str
    tried: int
    one_job: int
    same_history: int
    none_stuck: int
    violations: int

    @classmethod
    def of(cls, case: Case, found: Sequence[Violations]) -> "Row":
        """From what each try of `case` found."""
        return cls(
            step=case.step,
            fault=case.fault,
            tried=len(found),
            one_job=sum(not violations.jobs for violations in found),
            same_history=sum(not violations.history for violations in found),
            none_stuck=sum(not violations.stuck for violations in found),
            violations=sum(len(list(violations)) for violations in found),
        )

    def to_cells(self) -> list[str]:
        """What the table says of the fault."""
        held = (f"{count} of {self.tried}" for count in (self.one_job, self.same_history, self.none_stuck))
        return [str(self.tried), *held, str(self.violations)]


def write_table(rows: Sequence[Row]) -> None:
    """Puts the rows in the place of those of the same faults; rows of faults that are tried no more are left out."""
    known = {(step, fault): cells for step, fault, *cells in read_rows()}
    known |= {(row.step, row.fault): row.to_cells() for row in rows}
    faults = [(case.step, case.fault) for case in CASES]
    lines = [f"| {' | '.join([*fault, *known[fault]])} |\n" for fault in faults if fault in known]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "".join([_HEAD, _RULE, *lines])
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def read_rows() -> list[list[str]]:
    """The page's rows, each as its cells."""
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]
