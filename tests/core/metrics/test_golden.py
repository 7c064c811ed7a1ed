"""The golden files: of each case the published history, digests, series, values and histograms are the same for ever.

`history.json` and `digests.json` are of version 1, which is no longer published; the folder `2` has version 2's.
"""

import contextlib
import gzip
import sys
from pathlib import Path

import msgspec
import pytest

from switchyard.core.history.publication import Value
from switchyard.core.history.publishing import to_publication
from switchyard.core.metrics.reading import read_record
from switchyard.core.metrics.record import Sampling

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def make_expected(case: str) -> dict[str, bytes]:
    """What is made of a case's file, by the name of the file it is compared with."""
    record = read_record((GOLDEN / case / "training_metrics.json").read_bytes(), where=case)
    publication = to_publication(record, quick_test_id=12, source="file", sampling=Sampling())
    assert publication.series is not None
    made = {
        "histograms.json": {
            f"{row.kind}.{row.tower}": msgspec.Raw(gzip.decompress(row.gzip_json)) for row in publication.histograms
        },
        # What was odd came later: it is no part of the digests, and a history without it stays what it is.
        "2/history.json": {name: part for name, part in publication.history.items() if name != "warnings"},
        "2/warnings.json": publication.history.get("warnings", []),
        "2/digests.json": publication.digests,
        "2/series.json": msgspec.Raw(gzip.decompress(publication.series.gzip_json)),
        # Params that are lists got values later.
        "2/values.json": [value for value in publication.values if not _is_list(value)],
        "2/list_values.json": [value for value in publication.values if _is_list(value)],
        "digests.json": publication.first_digests,
    }
    return {name: msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n" for name, value in made.items()}


def _is_list(value: Value) -> bool:
    return value.kind == "param" and (value.text or "").startswith("[")


@pytest.mark.parametrize("case", CASES)
def test_a_golden_file_is_published_as_ever(case: str) -> None:
    """Byte for byte what is published and stored already, in databases that no one can change."""
    for name, made in make_expected(case).items():
        assert (GOLDEN / case / name).read_bytes() == made, f"{case}/{name}"


@pytest.mark.parametrize("case", CASES)
def test_version_2_adds_to_what_version_1_says(case: str) -> None:
    """Each key of a history of version 1 has the same value in version 2, but for what names the version."""
    first = msgspec.json.decode((GOLDEN / case / "history.json").read_bytes())
    second = msgspec.json.decode(make_expected(case)["2/history.json"])
    for names_it in ("schema_version", "digest"):
        del first[names_it], second[names_it]
    dropped = [history["sampling"].pop("non_finite_dropped") for history in (first, second)]
    assert dropped == sorted(dropped)
    for part in ("sampling", "non_finite"):
        assert first[part].items() <= second.pop(part).items()
        del first[part]
    assert first.items() <= second.items()


def test_there_is_a_case_for_each_version_and_quirk() -> None:
    """A case that is deleted by mistake is missed."""
    assert {case.partition("_")[0] for case in CASES} == {"v0", "v1"}
    assert len(CASES) >= 12


def write_case(case: str) -> None:
    """Writes what is expected of a new case; what is there already stays."""
    for name, made in make_expected(case).items():
        (GOLDEN / case / name).parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError), (GOLDEN / case / name).open("xb") as file:
            file.write(made)


if __name__ == "__main__":
    write_case(sys.argv[1])
