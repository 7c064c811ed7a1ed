"""What an MLflow store holds besides runs: what of it is kept nowhere, as a table."""

from typing import Any

import msgspec
import pytest

from switchyard.clients.results.tables import list_own_tables
from switchyard.core.mlflow.store_rows import StoreRows
from switchyard.core.verify.kinds import KINDS, Artifacts, KindFound, find_kinds, list_beside, without_tables
from switchyard.core.verify.models import VerifiedModel, VerifiedModels

REGISTRY = {"registered_models": 2, "model_versions": 5, "model_version_tags": 1}


def rows(**tables: int) -> StoreRows:
    return StoreRows(rows=tables)


def models(*found: VerifiedModel, unread: str = "") -> VerifiedModels:
    return VerifiedModels(models=list(found), unread=unread)


WHOLE = VerifiedModel(name="a", here="a", versions=3, equal=3)
ANOTHER = VerifiedModel(name="c", here="c", versions=2, equal=2)
HALF = VerifiedModel(name="b", here="b", versions=2, equal=1, missing=[2])


def artifacts(stored: str, copied: str = "", *, models: str = "", traces: str = "") -> Artifacts:
    return Artifacts(
        stored=frozenset(stored), copied=frozenset(copied), models=frozenset(models), traces=frozenset(traces)
    )


OTHERS = {"b": 2, "a": 1}
FOUND: dict[str, tuple[dict[str, Any], list[tuple[str, dict[str, int], list[str]]]]] = {
    "runs alone": ({"store": rows(runs=3, metrics=9, alembic_version=1, datasets=0)}, []),
    "runs of other experiments that no row names": (
        {"store": rows(runs=3), "others": OTHERS},
        [("other-experiments", {"a": 1, "b": 2}, [])],
    ),
    "runs of other experiments that an export has": (
        {"store": rows(runs=3), "kept": rows(runs=3), "others": OTHERS},
        [("other-experiments", {}, ["an export"])],
    ),
    "runs of other experiments, and an export that lacks runs": (
        {"store": rows(runs=3), "kept": StoreRows(rows={"runs": 3}, unkept={"runs": 1}), "others": OTHERS},
        [("other-experiments", {"a": 1, "b": 2}, [])],
    ),
    "a registry": ({"store": StoreRows(rows=REGISTRY)}, [("registry", REGISTRY, [])]),
    "a registry that an export has": (
        {"store": StoreRows(rows=REGISTRY), "kept": StoreRows(rows=REGISTRY)},
        [("registry", {}, ["an export"])],
    ),
    "a registry that went on since the export": (
        {"store": StoreRows(rows=REGISTRY), "kept": StoreRows(rows=REGISTRY | {"model_versions": 4})},
        [("registry", {"model_versions": 1}, ["an export"])],
    ),
    "an export that is older than the registry": (
        {"store": StoreRows(rows=REGISTRY), "kept": rows(runs=3)},
        [("registry", REGISTRY, [])],
    ),
    "a registry that was imported": (
        {"store": StoreRows(rows=REGISTRY), "models": models(WHOLE, ANOTHER)},
        [("registry", {}, ["our registry"])],
    ),
    "a registry that was imported in part": (
        {"store": StoreRows(rows=REGISTRY), "models": models(WHOLE, HALF)},
        [("registry", REGISTRY, [])],
    ),
    "a registry with prompts, which are no models of ours": (
        {"store": StoreRows(rows=REGISTRY), "models": models()},
        [("registry", REGISTRY, [])],
    ),
    "a model that was imported twice, and another that was not read": (
        {"store": StoreRows(rows=REGISTRY), "models": models(WHOLE, msgspec.structs.replace(WHOLE, here="d"))},
        [("registry", REGISTRY, [])],
    ),
    "a registry of which a version has no files here": (
        {
            "store": StoreRows(rows=REGISTRY),
            "models": models(VerifiedModel(name="a", here="a", versions=2, equal=1, without_files=[1])),
        },
        [("registry", REGISTRY, [])],
    ),
    "a registry that could not be read": (
        {"store": StoreRows(rows=REGISTRY), "models": models(unread="it is away")},
        [("registry", REGISTRY, [])],
    ),
    "traces that a server counts and an export of it has not": (
        {"store": StoreRows(rows={}, unkept={"trace_info": 4}), "kept": StoreRows(rows={}, unkept={"trace_info": 4})},
        [("traces", {"trace_info": 4}, [])],
    ),
    "tables that a newer MLflow has": (
        {"store": rows(webhooks=2, scorers=0, trace_info=4, spans=8)},
        [("traces", {"trace_info": 4, "spans": 8}, []), ("other", {"webhooks": 2}, [])],
    ),
    "artifacts that were not copied": (
        {"store": rows(), "artifacts": artifacts("abc", "b")},
        [("artifacts", {"runs": 2}, ["copies"])],
    ),
    "artifacts that were all copied": (
        {"store": rows(), "artifacts": artifacts("ab", "abc")},
        [("artifacts", {}, ["copies"])],
    ),
    "logged models and traces, whose artifacts were copied in part": (
        {"store": rows(logged_models=2), "artifacts": artifacts("a", "amt", models="mn", traces="tuv")},
        [
            ("logged-models", {"logged_models": 2}, []),
            ("artifacts", {}, ["copies"]),
            ("logged-model-artifacts", {"logged_models": 1}, ["copies"]),
            ("trace-artifacts", {"traces": 2}, ["copies"]),
        ],
    ),
    "logged models and traces, whose artifacts were all copied": (
        {"store": rows(logged_models=1), "artifacts": artifacts("a", "amt", models="m", traces="t")},
        [
            ("logged-models", {"logged_models": 1}, []),
            ("artifacts", {}, ["copies"]),
            ("logged-model-artifacts", {}, ["copies"]),
            ("trace-artifacts", {}, ["copies"]),
        ],
    ),
    "logged models that are counted, with places that are not known": (
        {"store": rows(logged_models=2), "kept": rows(logged_models=2), "artifacts": artifacts("a", "a")},
        [
            ("logged-models", {}, ["an export"]),
            ("artifacts", {}, ["copies"]),
            ("logged-model-artifacts", {"logged_models": 2}, []),
        ],
    ),
    "runs that name no place": ({"store": rows(), "artifacts": artifacts("", "a")}, []),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_is_kept_nowhere_is_told_by_name_and_number(name: str) -> None:
    """Each kind that the store has anything of, in one order."""
    asked, expected = FOUND[name]
    found = find_kinds(**asked)
    assert [(kind.kind, kind.missing, kind.kept_in) for kind in found] == expected
    assert [kind.is_safe for kind in found] == [not kind.missing for kind in found]
    assert [KINDS.index(kind.kind) for kind in found] == sorted(KINDS.index(kind.kind) for kind in found)


def test_a_kind_that_is_kept_nowhere_is_safe_only_when_it_is_given_up_by_name() -> None:
    """And what is kept anyway is not called given up."""
    store = rows(registered_models=1, datasets=2)
    lost, kept = find_kinds(store, kept=rows(datasets=2), give_up=["registry", "datasets"])
    assert (lost.given_up, lost.is_safe, kept.given_up, kept.is_safe) == (True, True, False, True)
    (other, _) = find_kinds(store, give_up=["datasets"])
    assert (other.given_up, other.is_safe) == (False, False)


def test_what_an_export_keeps_the_rows_of_alone_is_said() -> None:
    """Files are in no export, and a place in which nothing was found may be the wrong one."""
    store = rows(registered_models=1, trace_info=2)
    found = Artifacts(stored=frozenset("ab"), copied=frozenset("ab"), empty=frozenset("bc"))
    said = list_beside(find_kinds(store, kept=store, artifacts=found), found)
    assert [line.split()[0] for line in said] == ["files", "spans", "artifacts"]
    assert "artifacts of 1 runs" in said[-1]
    assert list_beside(find_kinds(store), Artifacts()) == []


def test_a_kind_says_what_to_do() -> None:
    """The number, the table, and the commands that keep it or give it up."""
    said = str(KindFound(kind="registry", stored=REGISTRY, missing=REGISTRY))
    assert said == (
        "registry: 2 registered_models, 5 model_versions, 1 model_version_tags are kept nowhere else; import it: "
        "switchyard import-models; or keep an export and name it: switchyard export, then switchyard verify "
        "--kept-export-uri <where>; or say that it may be lost: --give-up registry"
    )
    copied = str(KindFound(kind="artifacts", stored={"runs": 3}, missing={"runs": 3}))
    assert copied == (
        "artifacts: those of 3 runs are kept nowhere else; copy them: switchyard artifacts copy --all-runs; or say "
        "that it may be lost: --give-up artifacts"
    )


def test_other_experiments_are_named_and_counted() -> None:
    """The first of many; what is missing says how it is kept, and how it is given up."""
    others = {f"e{number:02}": number + 1 for number in range(30)}
    (found,) = find_kinds(rows(runs=500), others=others)
    said = str(found)
    assert said.startswith("other-experiments: 465 runs that no row names (1 of 'e00', 2 of 'e01', ")
    assert ", 20 of 'e19', and those of 10 experiments more) are kept nowhere else; publish them: " in said
    assert said.endswith("--give-up other-experiments")
    (given,) = find_kinds(rows(runs=500), others=others, give_up=["other-experiments"])
    assert (given.is_safe, given.given_up) == (True, True)


def test_our_own_tables_are_left_out_by_their_exact_names() -> None:
    """What is only alike is MLflow's, or someone else's, and is counted."""
    ours = list_own_tables()
    assert {"quick_tests", "switchyard_ledger", "switchyard_alembic_version"} <= ours
    assert list_own_tables("quicktest") == ours - {"quick_tests"}
    found = without_tables(StoreRows(rows={**dict.fromkeys(ours, 1), "switchyard_other": 2, "runs": 3}), ours)
    assert found.rows == {"switchyard_other": 2, "runs": 3}
