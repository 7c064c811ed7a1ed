"""Files of purchases as they come, good and bad."""

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRequest, BadSetup, NotFound
from switchyard.core.ports import ABSENT
from tests.trainer.factories import make_columns, make_spec, write_parquet
from trainer.data.reading import read_interactions

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs


def read(uri: str, **changes: Any) -> Any:
    return read_interactions(make_spec(data_uri=uri, **changes))


def test_read_takes_a_parquet_file(tmp_path: Path) -> None:
    """All rows of a clean file are used, and times keep their order."""
    found = read(write_parquet(tmp_path / "a.parquet", make_columns(20)))
    assert found.counts["rows_read"] == found.counts["rows_used"] == len(found.buyers) == 20
    assert found.buyers[:2].to_pylist() == ["b0", "b1"]
    assert (np.diff(found.times) == 60e6).all()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "no_suffix"])
def test_read_takes_csv(tmp_path: Path, name: str) -> None:
    """CSV is told by its content; an id may have its first letter late in the file, as a real stock code does."""
    lines = ["customer_id,stock_code,invoice_date,quantity,invoice_no,country"]
    lines += [f"{17850 + row}.0,{row},2010-12-01 08:26:{row % 60:02},{row + 1},{row},UK" for row in range(70)]
    lines += ["17850.0,85123A,2010-12-02 09:00:00,2.5,C99,UK", ",1,2010-12-02 09:00:00,2,99,UK"]
    data = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = read((tmp_path / name).as_uri())
    assert found.buyers[0].as_py() == "17850"
    assert found.counts["rows_dropped_missing_buyer"] == found.counts["rows_dropped_cancellation"] == 1
    assert found.counts["rows_used"] == 70


def test_read_takes_a_folder_whose_files_differ_in_types(tmp_path: Path) -> None:
    """A folder's files are read together, whatever types they store ids as; notes and other files are passed over."""
    write_parquet(tmp_path / "data" / "a.parquet", make_columns(5, customer_id=[1.0, 2.0, None, 4.0, float("nan")]))
    write_parquet(tmp_path / "data" / "sub" / "b.parquet", make_columns(5, customer_id=[1, 2, 3, 4, 5]))
    write_parquet(
        tmp_path / "data" / "c.parquet", make_columns(5, customer_id=pa.array(list("vwxyz")).dictionary_encode())
    )
    (tmp_path / "data" / "_SUCCESS").touch()
    (tmp_path / "data" / "notes.txt").write_text("not data")
    found = read((tmp_path / "data").as_uri())
    assert found.counts["files_read"] == 3
    assert sorted(found.buyers.to_pylist()) == sorted(["1", "2", "4", *"vwxyz", *"12345"])


def test_read_counts_each_dropped_row_once(tmp_path: Path) -> None:
    """Reasons are mutually exclusive, in a fixed order, and add up to the rows read."""
    columns = make_columns(
        6,
        customer_id=["a", None, " ", "b", "c", "d"],
        invoice_no=["1", "C2", "3", "c4", "C5", None],
        quantity=[1, -1, 1, -4, 5, 0],
    )
    counts = read(write_parquet(tmp_path / "a.parquet", columns)).counts
    assert counts["rows_dropped_missing_buyer"] == 2
    assert counts["rows_dropped_cancellation"] == 2
    assert counts["rows_dropped_non_positive_quantity"] == 1
    assert counts["rows_used"] == 1
    assert sum(count for name, count in counts.items() if "dropped" in name) + 1 == counts["rows_read"]


def test_read_keeps_what_it_is_told_to_keep(tmp_path: Path) -> None:
    """`keep` leaves rows in, and an empty column name asks nothing of the file."""
    uri = write_parquet(
        tmp_path / "a.parquet", make_columns(4, quantity=[1, -1, 0, 2], invoice_no=["C1", "2", "3", "4"])
    )
    assert read(uri, cancellations="keep", non_positive_quantities="keep").counts["rows_used"] == 4
    columns = make_columns(4)
    del columns["quantity"], columns["invoice_no"]
    uri = write_parquet(tmp_path / "b.parquet", columns)
    assert read(uri, quantity_column="", invoice_column="").counts["rows_used"] == 4


def test_read_takes_text_times(tmp_path: Path) -> None:
    """ISO 8601 with or without offset is read as it is, anything else by --time-format."""
    for number, times in enumerate((["2020-01-01T00:00:01", "2020-01-02"], ["2020-01-01T01:00:01+01:00"] * 2)):
        uri = write_parquet(tmp_path / f"{number}.parquet", make_columns(2, invoice_date=times))
        assert read(uri).times[0] == 1577836801e6
    uri = write_parquet(tmp_path / "us.parquet", make_columns(2, invoice_date=["12/1/2010 8:26", "1/12/2011 8:26"]))
    times = read(uri, time_format="%m/%d/%Y %H:%M").times
    assert times[0] < times[1]


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("truncated.parquet", b"PAR1 and then nothing", "cannot be read"),
    ("empty.csv", b"", "the file is empty"),
    ("ragged.csv", b"customer_id,stock_code,invoice_date,quantity,invoice_no\n1,2\n", "line 2 has 2 columns; 5 were"),
    ("other.csv", b"who,what\n1,2\n", "'customer_id', 'stock_code', .* the file has 'who', 'what'; .*--buyer-column"),
    ("binary.csv", bytes(range(128, 256)) * 4, "it is not UTF-8: byte 0x80 at 0 is not.*--csv-encoding"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_read_refuses_a_bad_file_by_name(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    """The error names the file, what was expected and what was found."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadRequest, match=message) as caught:
        read((tmp_path / name).as_uri())
    assert name in str(caught.value)


BAD_COLUMNS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"invoice_date": ["yesterday"] * 4}, {}, "'yesterday'.*--time-format"),
    (
        {"invoice_date": ["1/13/2010"] * 4},
        {"time_format": "%d/%m/%Y"},
        "4 of 4 are not, the first is '1/13/2010' in row 1",
    ),
    ({"invoice_date": [[1], [2], [3], [4]]}, {}, "'invoice_date' must hold times"),
    ({"quantity": ["many"] * 4}, {}, "'quantity' must hold numbers.* row 1 has 'many'"),
    ({"quantity": ["1", "NaN", "many", "2"]}, {}, "'quantity' must hold numbers.* row 3 has 'many'"),
    ({"invoice_date": ["2020-01-01T00:00Z", "2020-01-01T00:00Z", "soon", "now"]}, {}, "times.*row 3 has 'soon'"),
    ({"invoice_date": ["2020-01-01", "", "2020-01-02", "soon"]}, {}, "'invoice_date': times.*row 2 has ''"),
    ({"customer_id": [[1], [2], [3], [4]]}, {}, "'customer_id' must hold ids"),
    ({"customer_id": [None] * 4}, {}, "none of 4 rows.*'rows_dropped_missing_buyer': 4"),
    ({"invoice_no": ["C1"] * 4}, {}, "none of 4 rows.*'rows_dropped_cancellation': 4"),
    ({"invoice_no": ["C1"] * 4}, {"cancellations": "fail"}, "4 of 4 rows .*--cancellations is fail"),
    (
        {"customer_id": ["a", None, "b", "c"]},
        {"missing_buyers": "fail"},
        "1 of 4 rows have a problem .missing buyer., and --missing-buyers is fail",
    ),
    ({"quantity": [0] * 4}, {"non_positive_quantities": "fail"}, "4 of 4 rows"),
]


@pytest.mark.parametrize(("columns", "changes", "message"), BAD_COLUMNS)
def test_read_refuses_bad_columns(
    tmp_path: Path, columns: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """What cannot be used is refused, with the column or the counts and what to do."""
    uri = write_parquet(tmp_path / "a.parquet", make_columns(4, **columns))
    with pytest.raises(BadRequest, match=message) as caught:
        read(uri, **changes)
    assert "a.parquet" in str(caught.value)


def test_read_refuses_an_empty_table(tmp_path: Path) -> None:
    """A file with columns and no rows says so."""
    columns = {name: pa.array([], pa.string()) for name in make_columns(1)}
    with pytest.raises(BadRequest, match="none of 0 rows in 1 files"):
        read(write_parquet(tmp_path / "a.parquet", columns))


def test_read_refuses_what_is_not_there(tmp_path: Path) -> None:
    """A missing file and a folder without data are told apart."""
    with pytest.raises(NotFound, match=re.escape(f"there is nothing at {tmp_path.as_uri()}/none.parquet")):
        read(f"{tmp_path.as_uri()}/none.parquet")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NotFound, match="there is 1 files, none of these kinds"):
        read(tmp_path.as_uri())


def test_read_takes_a_folder_with_a_slash_at_its_end(tmp_path: Path) -> None:
    """With or without it a folder is a folder; a file's name with a slash is none."""
    uri = write_parquet(tmp_path / "data" / "a.parquet", make_columns(5))
    assert read((tmp_path / "data").as_uri() + "/").counts["rows_read"] == 5
    with pytest.raises(NotFound, match=r"there is nothing at .*a\.parquet/"):
        read(uri + "/")


def test_read_takes_objects_folders_and_a_whole_bucket(gcs: "Gcs", gcs_root: str, tmp_path: Path) -> None:
    """On Cloud Storage an object, a folder and a bucket, the last two with or without a slash."""
    bucket = f"data-{gcs_root.rpartition('/')[2]}"
    gcs.store.create_bucket(bucket)
    write_parquet(tmp_path / "a.parquet", make_columns(5))
    objects = open_objects(f"gs://{bucket}")
    for name in ("a.parquet", "sub/b.parquet"):
        objects.write(f"gs://{bucket}/{name}", (tmp_path / "a.parquet").read_bytes(), if_generation=ABSENT)
    for uri, rows in {"": 10, "/": 10, "/sub": 5, "/sub/": 5, "/a.parquet": 5}.items():
        assert read(f"gs://{bucket}{uri}").counts["rows_read"] == rows
    with pytest.raises(NotFound, match="there is nothing at"):
        read(f"gs://{bucket}/other/")
    with pytest.raises(BadSetup, match="there is no bucket"):
        read("gs://no-such-bucket-here")
