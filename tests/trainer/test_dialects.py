"""The same ten purchases as people's files have them: each is read, or refused by name with the flag that helps.

The look before a run says the same of each as the trainer.
"""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRequest, BadSetup, NotFound
from switchyard.core.ports import ABSENT
from switchyard.core.runs.spec import TrainSpec
from switchyard.services.data_look import look_at_data
from tests.trainer.factories import make_columns, write_parquet
from trainer.data.reading import read_interactions

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs

TIMES = [datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(hours=row) for row in range(10)]
DEFAULT = "customer_id,stock_code,invoice_date"
MOVIES = {"buyer_column": "userId", "product_column": "movieId", "time_column": "timestamp"}


def make_csv(header: str, time: str = "iso", *, separator: str = ",", product: str = "Käse {}", more: str = "") -> str:
    """Buyer, product and time, and `more` cells; `{}` stands for a number of the row."""
    lines = [header] if header else []
    for row, moment in enumerate(TIMES):
        seconds = moment.timestamp()
        shown = {
            "iso": f"{moment:%Y-%m-%d %H:%M:%S}",
            "offset": moment.isoformat(),
            "eu": f"{moment:%d.%m.%Y %H:%M}",
            "seconds": f"{seconds:.0f}",
            "fraction": f"{seconds + 0.25}",
            "comma": f"{seconds + 0.25}".replace(".", ","),
            "ms": f"{seconds * 1000:.0f}",
            "ns": f"{seconds * 1000:.0f}000000",
        }[time]
        cells = [f"b{row % 4}", product.format(row % 3), shown, *more.format(row % 5 + 1).split()]
        lines.append(separator.join(cells))
    return "\n".join(lines) + "\n"


READ: dict[str, tuple[bytes, dict[str, Any]]] = {
    "three columns": (make_csv(DEFAULT).encode(), {}),
    "windows lines": (make_csv(DEFAULT).replace("\n", "\r\n").encode(), {}),
    "no last newline": (make_csv(DEFAULT).rstrip().encode(), {}),
    "semicolons and decimal commas": (
        make_csv("buyer;product;time;quantity;price", "eu", separator=";", more="{0} {0},5").encode(),
        {"buyer_column": "buyer", "product_column": "product", "time_column": "time", "time_format": "%d.%m.%Y %H:%M"},
    ),
    "quantities with decimal commas": (
        make_csv(f"{DEFAULT};quantity".replace(",", ";"), separator=";", more="{},5").encode(),
        {"csv_decimal": ","},
    ),
    "tabs": (make_csv(DEFAULT.replace(",", "\t"), separator="\t").encode(), {}),
    "pipes": (make_csv(DEFAULT.replace(",", "|"), separator="|").encode(), {}),
    "spaces, which are said": (
        make_csv(DEFAULT.replace(",", " "), "seconds", separator=" ", product="p{}").encode(),
        {"csv_separator": "space"},
    ),
    "colons, which are said": (
        make_csv(DEFAULT.replace(",", ":"), "seconds", separator=":").encode(),
        {"csv_separator": ":"},
    ),
    "no header": (
        make_csv("", "seconds", separator="\t", more="{}").encode(),
        {"csv_columns": "customer_id, stock_code, invoice_date, rating"},
    ),
    "utf-8 with a mark": (make_csv(DEFAULT).encode("utf-8-sig"), {}),
    "utf-16 with a mark": (make_csv(DEFAULT).encode("utf-16"), {}),
    "utf-16 without one": (make_csv(DEFAULT).encode("utf-16-le"), {"csv_encoding": "utf-16-le"}),
    "latin-1": (make_csv(DEFAULT).encode("latin-1"), {"csv_encoding": "latin-1"}),
    "windows-1252": (make_csv(DEFAULT).encode("cp1252"), {"csv_encoding": "cp1252"}),
    "epoch seconds": (make_csv("userId,movieId,timestamp", "seconds").encode(), MOVIES),
    "epoch fractions": (make_csv("userId,movieId,timestamp", "fraction").encode(), MOVIES),
    "epoch fractions with commas": (
        make_csv("userId;movieId;timestamp", "comma", separator=";").encode(),
        {**MOVIES, "csv_decimal": ","},
    ),
    "epoch milliseconds": (make_csv("userId,movieId,timestamp", "ms").encode(), MOVIES),
    "epoch nanoseconds": (make_csv("userId,movieId,timestamp", "ns").encode(), MOVIES),
    "iso with an offset": (make_csv(DEFAULT, "offset").encode(), {}),
    "gzip": (gzip.compress(make_csv(DEFAULT).encode("utf-16")), {}),
    "a column twice that nobody wants": (make_csv(f"{DEFAULT},note,note", more="x y").encode(), {}),
    "missing values": (
        make_csv(f"{DEFAULT},quantity", more="{}").encode() + b"b0,p0,NA,1\nNULL,p0,2023-11-14 22:13:20,NULL\n",
        {},
    ),
    "quoted cells": (make_csv(DEFAULT, product='"Käse, {}"').encode(), {}),
}


def read(path: Path, data: bytes, options: dict[str, Any]) -> Any:
    path.write_bytes(data)
    return read_interactions(TrainSpec(data_uri=str(path), **options))


@pytest.mark.parametrize(("data", "options"), READ.values(), ids=READ)
def test_a_dialect_is_read(tmp_path: Path, data: bytes, options: dict[str, Any]) -> None:
    """All ten rows, with the ids as they are and the times as microseconds since 1970."""
    found = read(tmp_path / "orders.csv", data, options)
    assert found.counts["rows_used"] == 10
    assert found.buyers[:5].to_pylist() == ["b0", "b1", "b2", "b3", "b0"]
    assert found.products[1].as_py() in ("Käse 1", "Käse, 1", "p1")
    step_s = np.diff(found.times) / 1e6
    assert np.allclose(step_s, 3600)
    assert abs(found.times[0] / 1e6 - 1_700_000_000) < 60  # to the minute, as the coarsest is written
    assert f"{tmp_path.as_uri()}/orders.csv: CSV (" in look(tmp_path / "orders.csv", options)


def look(path: Path, options: dict[str, Any]) -> str:
    return look_at_data(open_objects(path.as_uri()), TrainSpec(data_uri=str(path), **options))


REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "latin-1, not said": (make_csv(DEFAULT).encode("latin-1"), {}, r"byte 0xe4 at .*--csv-encoding cp1252"),
    "utf-16 without a mark": (make_csv(DEFAULT).encode("utf-16-be"), {}, "--csv-encoding utf-16-be"),
    "another encoding than said": (
        make_csv(DEFAULT).encode("latin-1"),
        {"csv_encoding": "ascii"},
        "it is not in ascii, .*: byte 0xe4",
    ),
    "a wanted column twice": (
        make_csv(f"{DEFAULT},customer_id", more="x").encode(),
        {},
        r"'customer_id' is there 2 times \(columns 1 and 4\).*rename all but one",
    ),
    "no header, not said": (
        make_csv("", "seconds", separator="\t", more="{}").encode(),
        {},
        "looks like data.* its 4 columns in order: --csv-columns name1,name2,name3,name4",
    ),
    "a header, and names": (make_csv(DEFAULT).encode(), {"csv_columns": DEFAULT}, "Leave --csv-columns out"),
    "too few names": (make_csv("").encode(), {"csv_columns": "a,b"}, "names 2 columns; the first line has 3: 'b0'"),
    "an unknown separator": (
        make_csv(DEFAULT.replace(",", "~"), separator="~").encode(),
        {},
        "the file has 'customer_id~stock_code~invoice_date'.*--csv-separator",
    ),
    "european times, not said": (make_csv(DEFAULT, "eu").encode(), {}, r"--time-format '%d\.%m\.%Y %H:%M'"),
    "the wrong time format": (make_csv(DEFAULT, "eu").encode(), {"time_format": "%Y"}, "as --time-format '%Y' says"),
    "decimal commas, not said": (
        make_csv(f"{DEFAULT};quantity".replace(",", ";"), separator=";", more="{},5").encode(),
        {},
        "'quantity' must hold numbers.*--csv-decimal ,",
    ),
    "separators of thousands": (
        make_csv(f"{DEFAULT};quantity".replace(",", ";"), separator=";", more="{},200,000").encode(),
        {},
        "row 1 has .*Separators of thousands are not read.*--quantity-column ''",
    ),
    "epoch with commas, not said": (
        make_csv("userId;movieId;timestamp", "comma", separator=";").encode(),
        MOVIES,
        "--csv-decimal ,",
    ),
    "a quantity that was asked for": (
        make_csv(DEFAULT).encode(),
        {"quantity_column": "qty"},
        "columns 'qty' were expected.*--quantity-column .may be empty",
    ),
    "a rule for rows without the column": (
        make_csv(DEFAULT).encode(),
        {"cancellations": "fail"},
        "columns 'invoice_no' were expected",
    ),
    "excel": (b"PK\x03\x04" + bytes(200), {}, "ZIP or Excel file: save it as CSV"),
    "json": (b'{"customer_id": 1}\n', {}, "looks like JSON"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), {}, "zstd"),
    "cut gzip": (b"\x1f\x8b and no more", {}, "cannot be "),
    "ragged": (make_csv(DEFAULT).encode() + b"1,2\n", {}, "has 2 columns; 3 were|Expected 3 columns, got 2"),
    "nothing": (b" \n", {}, "the file is empty"),
}


@pytest.mark.parametrize(("data", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_a_dialect_is_refused_by_name(tmp_path: Path, data: bytes, options: dict[str, Any], message: str) -> None:
    """By the trainer and by the look before a run: the file, the fact, and the flag that helps."""
    path = tmp_path / "orders.csv"
    with pytest.raises(BadRequest, match=message) as caught:
        read(path, data, options)
    assert "orders.csv" in str(caught.value)
    with pytest.raises(BadRequest, match=message) as caught:
        look(path, options)
    assert "orders.csv" in str(caught.value)


def test_latin_1_far_into_a_file_is_refused_by_name_too(tmp_path: Path) -> None:
    """Beyond what the look sees, the trainer says it."""
    data = make_csv(DEFAULT, product="p{}") + "b0,p0,2023-11-14 22:13:20\n" * 10_000 + "b0,Käse,2023-11-14 22:13:20\n"
    (tmp_path / "orders.csv").write_bytes(data.encode("latin-1"))
    assert "separator ','" in look(tmp_path / "orders.csv", {})
    with pytest.raises(BadRequest, match=r"it is not UTF-8.*--csv-encoding"):
        read(tmp_path / "orders.csv", data.encode("latin-1"), {})


@pytest.mark.parametrize("lines", [50, 3_000])
def test_a_cell_that_the_look_cuts_is_not_held_against_the_file(tmp_path: Path, lines: int) -> None:
    """The look ends in the middle of a line, and perhaps of a quoted cell: only whole rows are compared."""
    data = make_csv(DEFAULT, product='"Käse, {}"') + 'b0,"Käse, 0",2023-11-14 22:13:20\n' * lines
    assert len(read(tmp_path / "orders.csv", data.encode(), {}).buyers) == 10 + lines
    assert "buyer 'customer_id'" in look(tmp_path / "orders.csv", {})


def test_a_pattern_names_files(tmp_path: Path) -> None:
    """``part-*.parquet``, as a path or a URI, in a folder with a space; whatever does not fit is left alone."""
    folder = tmp_path / "my data"
    for name in ("part-0.parquet", "part-1.parquet", "old/part-2.parquet", "whole.parquet", "_part-3.parquet"):
        write_parquet(folder / name, make_columns(5))
    for uri in (f"{folder}/part-*.parquet", f"{folder.as_uri()}/part-*.parquet", f"file://{folder}/part-*.parquet"):
        spec = TrainSpec(data_uri=uri)
        assert read_interactions(spec).counts["rows_read"] == 10, uri
        assert "and 1 more files" in look_at_data(open_objects(spec.data_uri), spec)
    assert read_interactions(TrainSpec(data_uri=f"{folder}/*/part-*.parquet")).counts["rows_read"] == 5
    with pytest.raises(NotFound, match=r"5 files start with .*, but none fits"):
        read_interactions(TrainSpec(data_uri=f"{folder}/*.csv"))


@pytest.mark.parametrize("wrong", ["a", "c"])
def test_the_first_and_the_last_file_of_a_folder_are_looked_at(tmp_path: Path, wrong: str) -> None:
    """A newer export with another column's name is told before a run exists, with the file's name."""
    for name in ("a", "b", "c"):
        columns = make_columns(5)
        if name == wrong:
            columns["who"] = columns.pop("customer_id")
        write_parquet(tmp_path / f"{name}.parquet", columns)
    with pytest.raises(BadRequest, match=rf"{wrong}\.parquet: columns 'customer_id' .*the file has .*'who'"):
        look_at_data(open_objects(tmp_path.as_uri()), TrainSpec(data_uri=str(tmp_path)))


def test_files_of_one_folder_may_count_time_differently(tmp_path: Path) -> None:
    """Seconds in one, milliseconds and ISO in others: rows are in order across all of them."""
    for name in ("seconds", "ms", "iso"):
        (tmp_path / f"{name}.csv").write_text(make_csv(DEFAULT, name))
    times = read_interactions(TrainSpec(data_uri=str(tmp_path))).times
    assert len(np.unique(times)) == 10


def test_a_look_at_parquet_reads_the_footer_alone(tmp_path: Path) -> None:
    """Of 4 MB a few ranged reads are made; a missing column is refused, with the file's own columns."""
    rng = np.random.default_rng(1)
    uri = write_parquet(tmp_path / "a.parquet", make_columns(5_000, note=[rng.bytes(800).hex() for _ in range(5_000)]))
    assert (tmp_path / "a.parquet").stat().st_size > 4_000_000
    counting = Counting(open_objects(uri))
    assert "Parquet, buyer 'customer_id'" in look_at_data(counting, TrainSpec(data_uri=uri))
    assert sum(counting.lengths) < 400_000
    with pytest.raises(BadRequest, match=r"a\.parquet: columns 'who' .*the file has 'customer_id'.*--buyer-column"):
        look_at_data(counting, TrainSpec(data_uri=uri, buyer_column="who"))
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    with pytest.raises(BadRequest, match="footer cannot be read"):
        look_at_data(counting, TrainSpec(data_uri=str(tmp_path / "cut.parquet")))


def test_a_look_reads_parts_of_objects_on_cloud_storage(gcs: "Gcs", gcs_root: str, tmp_path: Path) -> None:
    """By ranged reads too; a bucket that is not there, or not ours, is another error than a missing object."""
    write_parquet(tmp_path / "a.parquet", make_columns(5))
    for name, data in (
        ("a.parquet", (tmp_path / "a.parquet").read_bytes()),
        ("b.csv", make_csv(DEFAULT).encode()),
        ("long.csv", make_csv(DEFAULT).encode() + b"b0,p0,2023-11-14 22:13:20\n" * 10_000),
    ):
        uri = f"{gcs_root}/data/{name}"
        objects = Counting(open_objects(uri))
        objects.write(uri, data, if_generation=ABSENT)
        assert f"{uri}: " in look_at_data(objects, TrainSpec(data_uri=uri))
        assert sum(objects.lengths) <= 140_000
    uri = f"{gcs_root}/data/*.parquet"
    assert "a.parquet: Parquet" in look_at_data(open_objects(uri), TrainSpec(data_uri=uri))
    with pytest.raises(NotFound, match="there is nothing at"):
        look_at_data(open_objects(uri), TrainSpec(data_uri=f"{gcs_root}/none.csv"))
    with pytest.raises(BadSetup, match="there is no bucket"):
        look_at_data(open_objects(uri), TrainSpec(data_uri="gs://no-such-bucket-here/a.csv"))


class Counting:
    """An objects port that counts what is read of it."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects
        self.lengths: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def read(self, uri: str, *, max_bytes: int | None = None) -> Any:
        raise AssertionError("a look reads no whole file")

    def read_range(self, uri: str, *, start: int, length: int) -> bytes:
        data: bytes = self._objects.read_range(uri, start=start, length=length)
        self.lengths.append(len(data))
        return data
