"""One run's comparison: what is published and kept of it, with what its source says, value by value.

A history that was made of MLflow's points is made again and must be the same, digests, histograms and
``training_metrics.json`` too. One that was made of a metrics file is compared with that file, and the file with MLflow
in all that both hold.
"""

import gzip
import zlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRecord, BadRequest, NotFound, SwitchyardError
from switchyard.core.history.publication import FIRST_VERSIONS, Digests, HistogramRow, Publication, Value
from switchyard.core.history.values import to_values, without_later
from switchyard.core.history.version1 import to_digests_of, to_publication_of
from switchyard.core.metrics.legacy_names import to_key
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import MetricsRecord, Sampling
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.verify.cells import Cells, compare_cells, histogram_cells, history_cells, record_cells
from switchyard.core.verify.findings import Difference, LeftOut, Place, State, VerifiedRun
from switchyard.core.verify.kept_run import KeptRun
from switchyard.core.verify.left_out import list_left_out
from switchyard.core.verify.series import compare_series, compare_values
from switchyard.core.verify.two_sources import compare_sources

_SAID: Final = ("tags", "parent", "progress")


@dataclass(frozen=True)
class Source:
    """A run as MLflow has it: its points, the record that they make, and that record's digests."""

    run: RawRun
    record: MetricsRecord
    digests: Digests


class Comparison:
    """One run with a history of ours, with all that it is compared with."""

    def __init__(
        self,
        kept: KeptRun,
        history: dict[str, Any],
        source: Source,
        file: bytes | SwitchyardError | None,
        *,
        is_filed: bool,
    ) -> None:
        self._kept = kept
        self._history = history
        self._source = source
        self._mlflow = source.record
        self._file = file
        self._is_filed = is_filed
        self._differences: list[Difference] = []
        self._compared: list[Place] = ["row", "history", "digests"]

    def judge(self, line: VerifiedRun) -> VerifiedRun:
        """Returns `line` with what was found."""
        from_file = self._history.get("source") == "file"
        if from_file and not isinstance(self._file, bytes):
            why = self._file or "it was not looked for"
            reason = f"published from its training_metrics.json, which could not be read: {why}"
            return msgspec.structs.replace(line, state=State.UNREAD, reason=reason)
        file = self._read_file()
        left_out: list[LeftOut] = []
        kept_in_full = False
        if from_file:
            if file is not None:
                self._compare_publication(file)
                left_out = self._compare_both(file)
                kept_in_full = not left_out
        else:
            self._compare_publication(self._mlflow)
            if file is not None:
                left_out, kept_in_full = self._compare_file(file)
        self._compare_row()
        digests = self._kept.digests
        return msgspec.structs.replace(
            line,
            state=State.DIFFERS if self._differences else State.VERIFIED,
            compared=self._compared,
            kept_in_full=kept_in_full and not self._differences,
            published_digest=digests.charted if digests else "",
            left_out=[
                *list_left_out(self._source.run, self._mlflow, self._history, has_file=file is not None),
                *left_out,
            ],
            differences=self._differences,
        )

    def _read_file(self) -> MetricsRecord | None:
        """Reads the metrics file; None: there is none, or it is damaged, which is a difference."""
        if not isinstance(self._file, bytes):
            if self._is_filed or not (self._file is None or isinstance(self._file, NotFound)):
                self._add("file", "", expected="a metrics file", found=str(self._file or "nothing"))
            return None
        self._compared.append("file")
        try:
            return read_record(self._file, where="training_metrics.json")
        except BadRecord as err:
            self._add("file", "", expected="a metrics file", found=str(err))
            return None

    def _compare_row(self) -> None:
        """Finds a row and a history that name different MLflow runs: one of them was given to another run."""
        named = self._history.get("mlflow_run_id") or ""
        from_mlflow = self._history.get("source") != "file"
        if self._kept.mlflow_run_id != named and (named or from_mlflow):
            self._add("row", "mlflow_run_id", expected=f"{named or 'none'}, as the history says",
                      found=self._kept.mlflow_run_id or "none")  # fmt: skip

    def _compare_publication(self, record: MetricsRecord) -> None:
        """Compares all that is published with what publishing `record` would write."""
        expected = self._publish(record)
        if expected is None:
            return
        self._compare_digests(expected.digests)
        self._compare_history(expected)
        self._compare_histograms(expected)
        self._compare_series(expected, record)

    def _publish(self, record: MetricsRecord) -> Publication | None:
        """Returns the publication as it should be, sampled as the stored history says that it is."""
        asked = self._history.get("sampling")
        source = "file" if self._history.get("source") == "file" else "mlflow"
        try:
            known = {name: asked[name] for name in Sampling.__struct_fields__ if name in asked} if asked else {}
            found = to_publication_of(
                self._kept.versions,
                record,
                quick_test_id=self._kept.quick_test_id,
                source="file" if source == "file" else "mlflow",
                sampling=msgspec.convert(known | {"directions": self._list_directions()}, Sampling),
                mlflow_run_id=self._source.run.info.run_id
                if source == "mlflow"
                else self._history.get("mlflow_run_id", ""),
            )
            return self._with_said(found)
        except (BadRequest, msgspec.ValidationError, TypeError) as err:
            self._add("history", "sampling", expected="how its epochs were chosen", found=str(err))
            return None

    def _list_directions(self) -> dict[str, Any]:
        """Returns which way was better, as the history says: a parameter of its publish, that nothing else keeps."""
        best = self._history.get("best")
        if not isinstance(best, dict):
            return {}
        said = {name: found.get("direction") for name, found in best.items() if isinstance(found, dict)}
        return {name: direction for name, direction in said.items() if direction in ("min", "max")}

    def _with_said(self, expected: Publication) -> Publication:
        """Returns the record with the tags, parent, progress and warnings of the stored history.

        They are not part of the record, and may change in MLflow. They are compared with the values alone. The warnings
        say what was read.
        """
        said = {name: self._history[name] for name in _SAID if name in self._history and name in expected.history}
        tags = said.get("tags")
        texts = {name: text for name, text in tags.items() if isinstance(text, str)} if isinstance(tags, dict) else {}
        values = to_values(final={}, last={}, best={}, params={}, tags=texts)
        history = expected.history | said
        history.pop("warnings", None)
        if "warnings" in self._history:
            history["warnings"] = self._history["warnings"]
        return msgspec.structs.replace(expected, history=history, values=[*expected.values, *values])

    def _compare_series(self, expected: Publication, record: MetricsRecord) -> None:
        """Compares the full series and the values.

        What was published before there were any has none until `switchyard fill`. A run for which that found no source
        has values alone.
        """
        kept, first = self._kept, self._kept.versions.digest == FIRST_VERSIONS.digest
        # Of version 1's charted keys alone not every curve is made again, and `fill` has read them all.
        knows_all = not (first and self._mlflow.charted_only and self._history.get("source") != "file")
        if kept.series is not None:
            self._compared.append("series")
            self._differences += compare_series(expected.series if knows_all else None, kept.series)
        elif not first:
            self._add("series", "", expected="the full series", found="nothing")
        if kept.values or not first:
            self._compared.append("values")
            if kept.values and kept.values_etag != kept.etag:
                self._add("values", "history_etag", expected=kept.etag, found=kept.values_etag)
            found = kept.values if knows_all else _choose_values(kept.values, expected.values)
            wanted = without_later(expected.values, found, record.params)
            self._differences += compare_values(wanted, found, whole=kept.series is not None)

    def _compare_digests(self, expected: Digests) -> None:
        kept = self._kept.digests
        if kept is None:
            self._add("digests", "", expected="the digests of what is published", found="nothing")
            return
        charted_only = kept.full is None
        before = len(self._differences)
        is_charted = _is_first_charted if self._kept.versions.digest == FIRST_VERSIONS.digest else _is_charted
        series = {path: digest for path, digest in expected.series.items() if not charted_only or is_charted(path)}
        for path in [*series, *(path for path in kept.series if path not in series)]:
            if series.get(path) != kept.series.get(path):
                self._add("digests", path, expected=series.get(path), found=kept.series.get(path))
        if len(self._differences) > before:
            return  # a set differs because a series does
        if kept.charted != expected.charted:
            self._add("digests", "charted", expected=expected.charted, found=kept.charted)
        if not charted_only and kept.full != expected.full:
            self._add("digests", "full", expected=expected.full, found=kept.full)

    def _compare_history(self, expected: Publication) -> None:
        """Compares the stored JSON itself."""
        history = expected.history
        stored_full = (self._history.get("digest") or {}).get("full") if _has_digest(self._history) else None
        if self._kept.digests is not None and self._kept.digests.full is None and stored_full is None:
            history = history | {"digest": {**history["digest"], "full": None}}
        if not self._has_histograms:
            history = history | {"histogram_available": False}
        if self._kept.cached_at is not None:
            history = history | {"cached_at": self._kept.cached_at}
        if msgspec.json.encode(history).decode() == self._kept.history_text:
            return  # nearly always, but for jsonb, which writes the same in other words
        plain = msgspec.to_builtins(history)
        if not self._kept.takes_nul:
            plain = _without_nul(plain)
        wanted, found = history_cells(plain), history_cells(self._history)
        if self._kept.cached_at is None:
            found.pop(("cached_at", None), None)
        self._differences += compare_cells(wanted, found, "history")

    @property
    def _has_histograms(self) -> bool:
        """Whether histograms are published: a history may be published without them, and says so."""
        return bool(self._kept.histograms) or self._history.get("histogram_available") is not False

    def _compare_histograms(self, expected: Publication) -> None:
        if not self._has_histograms:
            return
        self._compared.append("histograms")
        kept = {(row.kind, row.tower): row for row in self._kept.histograms}
        wanted = {(row.kind, row.tower): row for row in expected.histograms}
        for kind, tower in sorted(kept.keys() | wanted.keys()):
            row, other = kept.get((kind, tower)), wanted.get((kind, tower))
            if row is not None and other is not None and _holds_same(row, other):
                continue
            self._differences += compare_cells(_to_cells(other, kind, tower), _to_cells(row, kind, tower), "histograms")

    def _compare_file(self, file: MetricsRecord) -> tuple[list[LeftOut], bool]:
        """Compares a file beside a history that was made of MLflow.

        If backfill wrote it, it must be the same record. If a collector wrote it, what both hold must be the same.
        """
        if self._mlflow.charted_only:
            return [], False
        if file.run is None:
            left_out = self._compare_both(file)
            return left_out, not left_out
        if file.run.quick_test_id != self._kept.quick_test_id:
            wanted, got = self._kept.quick_test_id, file.run.quick_test_id
            self._add("file", "run.quick_test_id", expected=str(wanted), found=str(got))
        expected, found = self._source.digests, to_digests_of(self._kept.versions, file)
        states = (self._mlflow.status, self._mlflow.available)
        if expected.full == found.full and (file.status, file.available) == states:
            return [], True
        differences = compare_cells(record_cells(self._mlflow), record_cells(file), "file")
        self._differences += differences
        if not differences:  # the digests see what single values do not, such as 1 and true
            paths = sorted(expected.series.keys() | found.series.keys())
            for path in paths:
                if expected.series.get(path) != found.series.get(path):
                    self._add("file", path, expected=expected.series.get(path), found=found.series.get(path))
        return [], False

    def _compare_both(self, file: MetricsRecord) -> list[LeftOut]:
        shared = compare_sources(file, self._mlflow)
        self._differences += shared.differences
        if not shared.only_in_mlflow:
            return []
        return [
            LeftOut(
                what="keys that the metrics file has not, or not all of",
                count=len(shared.only_in_mlflow),
                kept_in="an export",
                why="they were logged to MLflow alone",
                names=shared.only_in_mlflow[:20],
            )
        ]

    def _add(self, place: Place, path: str, *, expected: str | None, found: str | None) -> None:
        self._differences.append(
            Difference(
                place=place,
                path=path,
                key=to_key(path),
                expected=expected or "nothing",
                found=found or "nothing",
            )
        )


def _choose_values(values: list[Value], known: list[Value]) -> list[Value]:
    """Returns the values that `known` has too, by kind and name; all of params, final metrics and tags."""
    names = {(value.kind, value.name) for value in known}
    return [value for value in values if value.kind not in ("last", "best") or (value.kind, value.name) in names]


def _is_charted(path: str) -> bool:
    return _is_first_charted(path) or path.startswith(("metrics", "other_series"))


def _is_first_charted(path: str) -> bool:
    return path == "epochs" or path.startswith(("loss", "gradient.", 'gradient["', "final_metrics", "params"))


def _has_digest(history: dict[str, Any]) -> bool:
    return isinstance(history.get("digest"), dict)


def _without_nul(value: Any) -> Any:
    """Returns the text as a jsonb column keeps it."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value


def _holds_same(row: HistogramRow, other: HistogramRow) -> bool:
    """Returns True if both hold the same content: versions of ours have packed it into other bytes."""
    if row.gzip_json == other.gzip_json:
        return True
    try:
        return gzip.decompress(row.gzip_json) == gzip.decompress(other.gzip_json)
    except (OSError, EOFError, zlib.error):
        return False  # the cells say what is wrong


def _to_cells(row: HistogramRow | None, kind: str, tower: str) -> Cells:
    if row is None:
        return {}
    try:
        found = msgspec.json.decode(gzip.decompress(row.gzip_json))
        return histogram_cells(kind, tower, found)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, AttributeError) as err:
        return {(f"{kind} of the {tower} tower", None): f"not gzip JSON: {err}"}
