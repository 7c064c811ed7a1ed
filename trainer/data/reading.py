"""Interactions from Parquet or CSV, a file or a folder of files, through the objects port: what is read, what is
dropped and why."""

import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.runs.spec import TrainSpec
from trainer.data.columns import to_ids, to_numbers, to_times
from trainer.data.interactions import Interactions

SUFFIXES = (".parquet", ".csv", ".csv.gz")

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def read_interactions(spec: TrainSpec) -> Interactions:
    """The purchases in `spec.data_uri`, after its options for cancellations, missing buyers and quantities.

    Each dropped row is counted once, under the first reason it meets, in the order of `_list_unwanted`. A row without
    a quantity or an invoice number is kept.

    Raises:
        NotFound: no such file, or a folder without a Parquet or CSV file.
        BadRequest: a file cannot be read, a column is not there or not of a usable type, an option says "fail" and such
            rows are there, or no row is left.
    """
    files = _list_files(spec.data_uri)
    table = pa.concat_tables([_read_table(uri, spec) for uri in files]).combine_chunks()
    rows = len(table)
    counts = {"files_read": len(files), "rows_read": rows}
    keep = np.ones(rows, bool)
    for reason, unwanted, flag, option in _list_unwanted(table, spec):
        found = int((keep & unwanted).sum())
        if option == "fail" and found:
            raise BadRequest(
                f"{spec.data_uri}: {found} of {rows} rows to be refused ({reason.replace('_', ' ')}) and {flag} is "
                f"fail: mend the data, or pass {flag} drop"
            )
        if option == "drop":
            keep &= ~unwanted
            counts[f"rows_dropped_{reason}"] = found
    counts["rows_used"] = int(keep.sum())
    if not counts["rows_used"]:
        dropped = {name: count for name, count in counts.items() if "dropped" in name and count}
        raise BadRequest(
            f"{spec.data_uri}: none of {rows} rows in {len(files)} files is left to train on; dropped: "
            f"{dropped or 'nothing'}; look at the column flags and the options for what is dropped"
        )
    table = table.filter(pa.array(keep))
    return Interactions(
        buyers=table["buyer"].combine_chunks(),
        products=table["product"].combine_chunks(),
        times=table["time"].to_numpy(),
        counts=counts,
    )


def _list_unwanted(table: Any, spec: TrainSpec) -> Iterator[tuple[str, Mask, str, str]]:
    """(reason, which rows [rows], the flag that decides, what it says), in the order in which reasons are counted."""
    for name in ("buyer", "product", "time"):
        yield f"missing_{name}", _to_mask(pc.is_null(table[name])), "--missing-buyers", spec.missing_buyers
    if spec.invoice_column:
        cancelled = pc.starts_with(pc.utf8_upper(table["invoice"]), "C")
        yield "cancellation", _to_mask(cancelled), "--cancellations", spec.cancellations
    if spec.quantity_column:
        too_few = pc.less_equal(table["quantity"], 0.0)
        flag = "--non-positive-quantities"
        yield "non_positive_quantity", _to_mask(too_few), flag, spec.non_positive_quantities


def _to_mask(column: Any) -> Mask:
    return np.asarray(pc.fill_null(column, False).combine_chunks().to_numpy(zero_copy_only=False), bool)


def _list_files(data_uri: str) -> list[str]:
    objects = open_objects(data_uri, retries_itself=True)
    folder = data_uri if data_uri.endswith("/") else data_uri + "/"
    if folder != data_uri and urlsplit(data_uri).path:  # else a folder, or a whole bucket (gs://bucket): no object
        try:
            objects.stat(data_uri)
        except NotFound:
            pass
        else:
            return [data_uri]
    there = objects.list(folder)
    # A name that starts with a dot or an underscore is a note to somebody (_SUCCESS, .crc), as in Spark and Arrow.
    files = [
        uri
        for uri in there
        if uri.lower().endswith(SUFFIXES)
        and not any(part.startswith((".", "_")) for part in uri.removeprefix(folder).split("/"))
    ]
    if not files:
        found = f"{len(there)} files, none of these kinds" if there else "nothing"
        raise NotFound(
            f"--data-uri must name a Parquet or CSV file, or a folder with such ({', '.join(SUFFIXES)}); "
            f"there is {found} at {data_uri}"
        )
    return files


def _read_table(uri: str, spec: TrainSpec) -> Any:
    """A file's wanted columns under our own names and as our own types, whatever the file's are."""
    columns = {"buyer": spec.buyer_column, "product": spec.product_column, "time": spec.time_column}
    columns |= {"invoice": spec.invoice_column} if spec.invoice_column else {}
    columns |= {"quantity": spec.quantity_column} if spec.quantity_column else {}
    data, _ = open_objects(uri, retries_itself=True).read(uri)
    try:
        table = _parse(data, list(columns.values()))
        found = {}
        for ours, theirs in columns.items():
            if ours == "time":
                found[ours] = to_times(table[theirs], theirs, spec.time_format)
            elif ours == "quantity":
                found[ours] = to_numbers(table[theirs], theirs)
            else:
                found[ours] = to_ids(table[theirs], theirs)
    except BadRequest as err:
        raise BadRequest(f"{uri}: {err}") from err
    except (pa.ArrowException, OSError, ValueError, KeyError) as err:
        raise BadRequest(f"{uri}: a Parquet or CSV file was expected; it cannot be read: {err}") from err
    return pa.table(found)


def _parse(data: bytes, wanted: list[str]) -> Any:
    """The wanted columns of a file, told apart by its first bytes rather than by its name."""
    if data[:4] == b"PAR1":
        _check_columns(pa_parquet.read_schema(pa.BufferReader(data)).names, wanted)
        return pa_parquet.read_table(pa.BufferReader(data), columns=wanted)
    if data[:2] == b"\x1f\x8b":
        data = pa.input_stream(pa.BufferReader(data), compression="gzip").read()
    if not data.strip():
        raise BadRequest("a Parquet file, or a CSV file with a header, was expected; the file is empty")
    header = pa_csv.open_csv(io.BytesIO(data)).schema.names
    _check_columns(header, wanted)
    # All as text: types are inferred from the first block, and an id may have its first letter in a later one.
    options = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=True
    )
    return pa_csv.read_csv(io.BytesIO(data), convert_options=options)


def _check_columns(there: list[str], wanted: list[str]) -> None:
    if missing := [name for name in wanted if name not in there]:
        raise BadRequest(
            f"columns {', '.join(map(repr, missing))} were expected; the file has {', '.join(map(repr, there))}; name "
            "the right ones with --buyer-column, --product-column, --time-column, --quantity-column, --invoice-column "
            "(the last two may be empty)"
        )
