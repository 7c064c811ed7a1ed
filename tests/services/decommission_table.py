"""Each fault of Google's at each sort of act of a decommission, as a table of docs/reliability.md.

`PYTHONPATH=.switchyard/google-run .venv/bin/python -m tests.services.decommission_table` tries all and writes it; it
ends with an error where a walk ends as none should. It takes half an hour.
"""

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.emulators.faults import Fault
from tests.root import ROOT
from tests.services.test_decommission_endpoint import FAULTS, list_acts, run_with

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by `python -m tests.services.decommission_table` -->\n", "<!-- end of the decommission's -->\n"
_AGAIN, _STOPPED, _UNSEEN, _WRONG = "again", "stops", "-", "**another end**"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One walk with one fault, and whether it ended as one without a fault.

    It says at which method of Google's the fault was, and what the commands said."""

    act: str
    fault: str
    said: tuple[str, ...]
    is_same: bool

    @property
    def cell(self) -> str:
        """What the first command did that met it."""
        if not self.is_same:
            return _WRONG
        return (_AGAIN if self.said[0].startswith("TryAgain") else _STOPPED) if self.said else _UNSEEN


def to_table(tried: Iterable[Tried]) -> str:
    """A row for each act, a column for each fault."""
    rows: dict[str, dict[str, str]] = {}
    for one in tried:
        rows.setdefault(one.act, {})[one.fault] = one.cell
    lines = [["act", *FAULTS], ["---"] * (len(FAULTS) + 1)]
    lines += [[f"`{_shorten(act)}`", *(cells[fault] for fault in FAULTS)] for act, cells in sorted(rows.items())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_table(tried: Sequence[Tried]) -> None:
    """Between the two marks of the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{to_table(tried)}\n{END}{after}", encoding="utf-8")


def try_all(folder: Path) -> list[Tried]:
    """Each fault at the first act of each method."""
    acts = dict(sorted(set(list_acts(folder / "acts")), reverse=True))  # the last one of a method stays
    whole, _, deleted = run_with(folder / "whole", None)
    tried = []
    for kind, path in sorted(acts.items()):
        for number, (name, fault) in enumerate(FAULTS.items()):
            at = Fault(kind=kind, target=path, **fault)
            found, said, count = run_with(folder / f"{kind}-{number}", at)
            is_same = (found, count) == (whole, deleted)
            tried.append(Tried(act=kind, fault=name, said=tuple(said), is_same=is_same))
    return tried


def _shorten(method_id: str) -> str:
    return method_id.replace("projects.locations.", "").replace("projects.", "")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as named:
        every = try_all(Path(named))
    write_table(every)
    sys.exit(not all(one.is_same for one in every))
