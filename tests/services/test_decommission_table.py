"""The page's table of what each fault does to a decommission."""

from tests.services.decommission_table import BEGIN, END, PAGE, Tried, to_table
from tests.services.test_decommission_endpoint import FAULTS

ACT = "run.projects.locations.services.delete"


def test_a_row_says_what_each_fault_did_and_where_a_walk_ended_otherwise() -> None:
    """By what the first command said that met it."""
    said = {"403": ("BadSetup: 403", "TryAgain: 503"), "429": ("TryAgain: 429",)}
    tried = [Tried(act=ACT, fault=name, said=said.get(name, ()), is_same=name != "500") for name in FAULTS]
    head, _, row = to_table(tried).splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["act"] == "`run.services.delete`"
    assert (cells["403"], cells["429"], cells["500"], cells["404"]) == ("stops", "again", "**another end**", "-")


def test_the_page_has_all_faults_and_no_walk_that_ended_otherwise() -> None:
    """The page has them as they were measured last."""
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    head, _, *rows = [line for line in table.splitlines() if line]
    assert head.strip("| ").split(" | ") == ["act", *FAULTS]
    assert len(rows) >= 15
    assert {cell for row in rows for cell in row.strip("| ").split(" | ")[1:]} <= {"again", "stops", "-"}
