"""The manifest: what it says of MLflow's runs together, and that it is read back as it was written."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from switchyard.core.backfill.rows import BackfillRow
from switchyard.core.errors import BadRecord
from switchyard.core.verify.batches import FOUND, Scope, to_batches, to_found_prefix
from switchyard.core.verify.findings import KIND, Difference, LeftOut, State, UnknownRun, VerifiedRun
from switchyard.core.verify.manifest import Manifest, SourceOfTruth, read_manifest, to_json, to_manifest
from tests.root import ROOT

SOURCE = SourceOfTruth(described="an MLflow", database_id="0123456789ab", versions={"switchyard": "0.1.0"})
NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def run(id_: int, state: State = State.VERIFIED, **more: Any) -> VerifiedRun:
    values: dict[str, Any] = {
        "kept_in_full": True,
        "charted_digest": f"sha256:{id_}",
        "published_digest": f"sha256:{id_}",
    }
    return VerifiedRun(quick_test_id=id_, mlflow_run_id=f"run{id_}", state=state, **(values | more))


def make(*runs: VerifiedRun, unknown: int = 0, deleted: int = 0, from_export: bool = False, **scope: Any) -> Manifest:
    others = [
        UnknownRun(mlflow_run_id=f"x{i}", name="", experiment="e", deleted=i < deleted)
        for i in range(unknown + deleted)
    ]
    return to_manifest(runs, others, SOURCE, scope=Scope(**scope), verified_at=NOW, from_export=from_export)


def test_a_manifest_is_strict_json_and_read_back() -> None:
    """One line a run, in the order of their ids, so that a pager and grep are enough to read it."""
    difference = Difference(place="history", path="loss.val", key="val_loss", epoch=10, expected="nan", found="0")
    manifest = make(run(2, State.DIFFERS, differences=[difference]), run(1), unknown=1)
    data = to_json(manifest)
    assert read_manifest(data, "it") == manifest
    json.loads(data, parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))
    assert [run.quick_test_id for run in manifest.runs] == [1, 2]
    assert sum(line.startswith(b'{"quick_test_id":') for line in data.splitlines()) == 2


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", to_json(make()).replace(b'"format": 3', b'"format": 4')])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    """Another format too."""
    with pytest.raises(BadRecord, match=r"manifest\.json: it is not a manifest of verify, of format 1 to 3"):
        read_manifest(data, "manifest.json")


@pytest.mark.parametrize("older", [b"1", b"2"])
def test_manifest_of_an_older_format_is_read(older: bytes) -> None:
    """It had no models, and says nothing of them."""
    data = to_json(make(run(1))).replace(b'"format": 3', b'"format": ' + older).replace(b',\n"models": null', b"")
    assert b"models" not in data
    found = read_manifest(data, "it")
    assert (found.format, found.models, len(found.runs)) == (int(older), None, 1)


SAFE: dict[str, tuple[Manifest, str]] = {
    "all are kept in full": (make(run(1), run(2), run(3, State.EMPTY)), ""),
    "no file, but an export": (make(run(1, kept_in_full=False), from_export=True), ""),
    "one differs": (make(run(1), run(2, State.DIFFERS)), "1 runs differ from MLflow"),
    "one is gone": (make(run(1, State.MISSING)), "1 runs are not in MLflow"),
    "one is unread": (make(run(1, State.UNREAD)), "could not be read or compared"),
    "one is legacy": (make(run(1, State.LEGACY)), "history of the legacy application"),
    "one is unpublished": (make(run(1, State.UNPUBLISHED)), "have nothing published"),
    "one is at work": (make(run(1, State.RUNNING)), "have a job at work"),
    "one is sampled": (make(run(1), run(2, kept_in_full=False)), "1 verified runs are published but not kept in full"),
    "one is unknown": (make(run(1), unknown=1), "1 runs of MLflow are known to no row"),
    "one is unknown to an export": (make(run(1), unknown=1, from_export=True), "1 runs of MLflow are known to no row"),
    "a deleted one is unknown": (make(run(1), deleted=1), "1 runs that are deleted in MLflow are known to no row"),
    "a deleted one is in the export": (make(run(1), deleted=1, from_export=True), ""),
    "one has nothing to chart": (make(run(1), run(2, State.UNCHARTED)), "1 runs have the bins of histograms alone"),
    "one has nothing to chart, but an export": (make(run(1), run(2, State.UNCHARTED), from_export=True), ""),
    "part was looked at": (make(run(1), limit=1), "only some of the runs were looked at"),
    "one run was looked at": (make(run(1), quick_test_id=1), "only some of the runs were looked at"),
    "an export with a legacy run": (make(run(1, State.LEGACY), from_export=True), "legacy application"),
}


@pytest.mark.parametrize("name", SAFE)
def test_the_verdict_is_safe_only_where_nothing_would_be_lost(name: str) -> None:
    """And says why not."""
    manifest, reason = SAFE[name]
    assert manifest.verdict.safe is (reason == "")
    assert len(manifest.verdict.not_safe) == bool(reason)
    assert reason in "".join(manifest.verdict.not_safe)
    assert ("NOT safe" in manifest.verdict.says) is bool(reason)


def test_counts_are_of_all_runs() -> None:
    """By state, and what was read; what is left out is summed by what, where and why, unknown where one is."""
    left = LeftOut(what="tags", count=3, kept_in="an export", why="w")
    keys = LeftOut(what="keys", kept_in="an export", why="w", names=["a"])
    manifest = make(
        run(1, epochs=2, keys=3, points=4, left_out=[left, keys]), run(2, State.LEGACY, points=5, left_out=[left])
    )
    assert {name: count for name, count in manifest.counts.items() if count} == {
        "runs": 2, "verified": 1, "legacy": 1, "epochs": 2, "keys": 3, "points": 9,
    }  # fmt: skip
    assert [(found.what, found.count) for found in manifest.left_out] == [("tags", 6), ("keys", None)]


def test_swapped_runs_name_each_other() -> None:
    """What is published of one is what MLflow says of the other."""
    manifest = make(
        run(1, State.DIFFERS, published_digest="sha256:2"), run(2, State.DIFFERS, published_digest="sha256:1"), run(3)
    )
    one, two, three = manifest.runs
    assert "quick test 2 (MLflow run run2): the two are swapped" in one.reason
    assert "quick test 1 (MLflow run run1)" in two.reason
    assert three.reason == ""


def test_a_run_s_line_names_what_says_most_first() -> None:
    """The row before values, values before digests; the rest is counted."""
    found = [
        Difference(place="digests", path="d", key="d", expected="1", found="2"),
        Difference(place="history", path="a", key="a", epoch=5, expected="1", found="2"),
        Difference(place="file", path="b", key="b", epoch=7, expected="1", found="2"),
        Difference(place="row", path="mlflow_run_id", expected="1", found="2"),
    ]
    said = str(run(1, State.DIFFERS, differences=found, reason="why"))
    assert said == (
        "quick test 1 (MLflow run run1) differs: why: mlflow_run_id in the row: expected 1, found 2; a at epoch 5 in "
        "the history: expected 1, found 2; b at epoch 7 in the file: expected 1, found 2; and 1 more differences"
    )


def row(id_: int, **more: Any) -> BackfillRow:
    values: dict[str, Any] = {"id": id_, "status": "completed", "mlflow_run_id": f"run{id_}", "published": "ours"}
    return BackfillRow(**(values | more))


def test_rows_are_read_as_they_are_published() -> None:
    """Whole where a full digest is; those without an MLflow run only where something of ours may name one."""
    rows = [row(1), row(2, full_digest="f"), row(3, mlflow_run_id=""), row(4, mlflow_run_id="", published="legacy"),
            row(5, published="nothing")]  # fmt: skip
    sizes: Any = {"charted_size": 2, "whole_size": 1}
    found = to_batches(rows, Scope(), "", **sizes)
    assert [([row.id for row in batch.rows], batch.whole) for batch in found] == [
        ([1, 3], False), ([5], False), ([2], True),
    ]  # fmt: skip
    assert [[row.id for row in batch.rows] for batch in to_batches(rows, Scope(whole=True, limit=2), "", **sizes)] == [
        [1], [2],
    ]  # fmt: skip
    assert to_batches(rows, Scope(quick_test_id=4), "", **sizes) == []


def test_each_batch_of_each_verify_keeps_what_it_finds_apart() -> None:
    """By the verify's key and the batch's first row; without a key nothing is kept."""
    rows = [row(1), row(2, full_digest="f"), row(3), row(4)]
    kinds = {
        key: [batch.found_kind for batch in to_batches(rows, Scope(), "", key=key, charted_size=2, whole_size=2)]
        for key in ("a", "b", "")
    }
    assert kinds == {"a": ["verify/a/1", "verify/a/4", "verify/a/2"],
                     "b": ["verify/b/1", "verify/b/4", "verify/b/2"],
                     "": ["", "", ""]}  # fmt: skip
    for key in ("a", "b"):
        assert all(kind.startswith(to_found_prefix(key)) for kind in kinds[key])
    assert to_found_prefix("a").startswith(FOUND)
    assert not KIND.startswith(FOUND)  # what is cleared is never the ledger's own lines


def test_the_documented_manifest_is_one() -> None:
    """docs/contracts.md shows one that is read, and every field of it."""
    page = (ROOT / "docs" / "contracts.md").read_text()
    example = page.partition("```json manifest\n")[2].partition("```")[0]
    manifest = read_manifest(example.encode(), "docs/contracts.md")
    assert json.loads(to_json(manifest)) == json.loads(example)
