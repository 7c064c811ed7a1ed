"""Full series and values as verify compares them, and a history of version 1 by its own version."""

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from switchyard.core.history.publication import FIRST_VERSIONS, FullSeries, Value
from switchyard.core.history.version1 import to_digests_of, to_publication_of
from switchyard.core.metrics.record import Sampling
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.verify.comparison import Comparison, Source
from switchyard.core.verify.findings import VerifiedRun
from switchyard.core.verify.kept_run import KeptRun
from tests.core.verify.factories import CACHED_AT, RUN, RUN_ID, make_kept, read_history
from tests.core.verify.test_comparison import LINE, places

KEPT = make_kept()
COUNTS = [("series", f"series.val_loss.{name}", None) for name in ("kept", "total")]


def judge(kept: KeptRun) -> VerifiedRun:
    record = from_points(RUN)
    source = Source(RUN, record, to_digests_of(kept.versions, record))
    return Comparison(kept, read_history(kept), source, None, is_filed=False).judge(LINE)


def replace(kept: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(kept, **changes)


def with_content(kept: KeptRun, damage: Callable[[dict[str, Any]], object]) -> Any:
    """Its full series, after `damage` has changed their JSON in place; their digest fits."""
    assert kept.series is not None
    content = msgspec.json.decode(gzip.decompress(kept.series.gzip_json))
    damage(content)
    data = msgspec.json.encode(content)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return replace(kept, series=FullSeries(gzip_json=gzip.compress(data), digest=digest))


def with_values(kept: KeptRun, change: Callable[[list[Value]], list[Value]]) -> Any:
    return replace(kept, values=change(kept.values))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        pytest.param(
            with_content(KEPT, lambda found: found["series"]["val_loss"]["values"].__setitem__(1, 7.5)),
            [("series", "series.val_loss", 1)], id="a value",
        ),
        pytest.param(
            with_content(KEPT, lambda found: found["series"].pop("val_loss")),
            [("series", "series.val_loss", 0), *COUNTS],
            id="a series that is not there",
        ),
        pytest.param(
            with_content(KEPT, lambda found: found.update(complete=False)), [("series", "complete", None)], id="a mark"
        ),
        pytest.param(
            with_content(KEPT, lambda found: None), [], id="packed otherwise, which says the same",
        ),
        pytest.param(
            replace(KEPT, series=replace(KEPT.series, digest="sha256:0")),
            [("series", "digest", None)], id="the digest",
        ),
        pytest.param(
            replace(KEPT, series=FullSeries(gzip_json=b"none", digest="sha256:0")), [("series", "", None)],
            id="no gzip",
        ),
        pytest.param(
            with_content(KEPT, lambda found: found["series"].update(val_loss=5)),
            [("series", "series.val_loss", 0), *COUNTS],
            id="a series that is no object",
        ),
        pytest.param(
            with_values(KEPT, lambda values: values[1:]), [("values", "final.final_loss", None)], id="a value too few"
        ),
        pytest.param(
            with_values(KEPT, lambda values: [*values, Value(kind="tag", name="a", text="b")]),
            [("values", "tag.a", None)], id="a value too many",
        ),
        pytest.param(
            with_values(KEPT, lambda values: [replace(values[0], number=0.5), *values[1:]]),
            [("values", "final.final_loss", None)], id="another number",
        ),
        pytest.param(
            replace(KEPT, values_etag="sha256:0"), [("values", "history_etag", None)], id="of another history",
        ),
    ],
)  # fmt: skip
def test_a_difference_in_series_and_values_is_named(kept: KeptRun, expected: list[tuple[str, str, int | None]]) -> None:
    """By series and step, or by the kind and name of the value."""
    assert sorted(places(judge(kept)), key=str) == sorted(expected, key=str)


def test_series_and_values_that_are_missing_are_named() -> None:
    """Of what is published now; the values by their names."""
    found = places(judge(replace(KEPT, series=None, values=[])))
    assert found[0] == ("series", "", None)
    assert ("values", "final.final_loss", None) in found


def make_first(**changes: Any) -> Any:
    """As version 1 published RUN."""
    made = to_publication_of(
        FIRST_VERSIONS, from_points(RUN), quick_test_id=KEPT.quick_test_id, source="mlflow", sampling=Sampling(),
        mlflow_run_id=RUN_ID,
    )  # fmt: skip
    history = msgspec.json.encode(made.history | {"cached_at": CACHED_AT}).decode()
    values = {"series": None, "values": [], "versions": FIRST_VERSIONS, **changes}
    return replace(KEPT, history_text=history, digests=made.digests, **values)


def test_a_history_of_version_1_is_verified_by_its_own_version() -> None:
    """Its digests and sampling; it has no series and values until they are filled in, and then the whole of them."""
    kept = make_first()
    assert read_history(kept)["schema_version"] == 1
    assert (places(judge(kept)), judge(kept).compared) == ([], ["row", "history", "digests", "histograms"])
    filled = make_first(series=KEPT.series, values=KEPT.values)
    assert (places(judge(filled)), judge(filled).compared[-2:]) == ([], ["series", "values"])
    alone = make_first(values=[value for value in KEPT.values if value.kind != "best"])
    assert (places(judge(alone)), judge(alone).compared[-1]) == ([], "values")
    assert kept.digests is not None
    damaged = replace(kept.digests, series=kept.digests.series | {"loss.loss": "sha256:0"})
    assert places(judge(replace(kept, digests=damaged))) == [("digests", "loss.loss", None)]
    wrong = make_first(series=KEPT.series, values=KEPT.values[1:])
    assert places(judge(wrong)) == [("values", "final.final_loss", None)]
