"""What the first bytes of a file show; tests/trainer/test_dialects.py holds each dialect against the trainer."""

import pytest

from switchyard.core.data.dialect import HEAD_BYTES
from switchyard.core.data.looking import describe_times, look_at_csv, look_at_parquet
from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec

SPEC = TrainSpec(data_uri="/data/orders.csv")
HEADER = "customer_id,stock_code,invoice_date"


def look(text: str, spec: TrainSpec = SPEC) -> str:
    return look_at_csv(text.encode(), spec, is_whole=True)


def test_a_look_says_what_it_found() -> None:
    """Encoding, separator, and which column is what; a quantity that is not there is not asked for."""
    assert look(f"{HEADER}\nb,p,2023-11-14\n") == (
        "CSV (utf-8, separator ','), buyer 'customer_id', product 'stock_code', time 'invoice_date'"
    )
    assert "quantity 'quantity'" in look_at_parquet([*HEADER.split(","), "quantity"], SPEC)


def test_a_separator_that_gives_the_columns_goes_before_one_that_fills_lines_evenly() -> None:
    """Commas within the cells of a file with semicolons."""
    rows = "".join("b,1,x;p,2,y;2023-11-14\n" for _ in range(9))
    assert "separator ';'" in look(HEADER.replace(",", ";") + "\n" + rows)


def test_a_head_is_cut_anywhere() -> None:
    """Within a line, a character, a quoted cell: what is whole is looked at."""
    text = f"{HEADER}\n" + 'b,"Käse, ""alt""",2023-11-14\n' * 4_000
    for size in range(HEAD_BYTES - 40, HEAD_BYTES):
        assert "separator ','" in look_at_csv(text.encode()[:size], SPEC, is_whole=False)
        assert "utf-16" in look_at_csv(text.encode("utf-16")[:size], SPEC, is_whole=False)


def test_a_header_alone_is_no_fault_of_its_columns() -> None:
    """The trainer says that there are no rows."""
    assert "time 'invoice_date'" in look(HEADER)


def test_one_odd_row_is_the_trainers_to_tell() -> None:
    """Times are refused only where none of the first rows can be read."""
    assert look(f"{HEADER}\nb,p,soon\nb,p,2023-11-14\n")
    with pytest.raises(BadRequest, match=r"the first is 'soon'.*--time-format"):
        look(f"{HEADER}\nb,p,soon\nb,p,later\n")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["14.11.2023 22:13"], "--time-format '%d.%m.%Y %H:%M'"),
        (["11/14/2023"], "--time-format '%m/%d/%Y'"),
        (["11/12/2023", "11/14/2023"], "--time-format '%m/%d/%Y'"),
        (["11/12/2023"], "--time-format '%m/%d/%Y' or '%d/%m/%Y'"),
        (["2023/11/14 22:13:20"], "--time-format '%Y/%m/%d %H:%M:%S'"),
        (["the day before"], "--time-format, for example '%m/%d/%Y %H:%M'"),
    ],
)
def test_times_are_described_as_the_flag_takes_them(values: list[str], said: str) -> None:
    """Both ways where both fit: no one guesses which is the month."""
    assert describe_times(values).endswith(said)
