"""Drills, as tables: what a server tells otherwise than the export is named; what it need not tell is no difference."""

from typing import Any

import msgspec
import pytest

from switchyard.core.decommission.drilling import choose_runs, compare_models, compare_runs, cut, to_environment_name
from switchyard.core.errors import BadRecord, BadSetup
from switchyard.core.mlflow.raw_run import LostRun, RawRun
from switchyard.core.registry.importing import LostModel, ModelOrigin, SourceModel, VersionOrigin
from tests.core.mlflow.factories import make_points, make_run

RUN = make_run(params={"depth": "3"})
ID = RUN.info.run_id
MODEL = SourceModel(
    origin=ModelOrigin(name="m", aliases={"champion": 1}, deleted=[2]),
    versions=[VersionOrigin(number=1, stage="Production", source="runs:/1/model", storage="gs://b/1")],
)


def change(**fields: Any) -> RawRun:
    return msgspec.structs.replace(RUN, **fields)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(0, ()), (1, ("a",)), (2, ("a", "g")), (3, ("a", "d", "g")), (7, tuple("abcdefg")), (9, tuple("abcdefg"))],
)
def test_runs_are_chosen_evenly_over_their_ids(wanted: int, expected: tuple[str, ...]) -> None:
    """Whatever order they come in; all of them, where fewer are there than wanted."""
    assert choose_runs("gfedcba", wanted) == expected


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([RUN], ""),
        ([], f"run {ID}: the server does not have it"),
        ([LostRun(run_id=ID, error=BadRecord("it", ["odd"]))], f"run {ID}: the server cannot tell it: it: odd"),
        (
            [change(info=msgspec.structs.replace(RUN.info, status="FAILED", name="b"))],
            f"run {ID}: the server tells another name and status",
        ),
        ([change(params={"depth": "4"})], f"run {ID}: the server tells another param 'depth'"),
        ([change(params={"a": "4"})], f"run {ID}: the server tells another param 'a', and of 1 more"),
        ([change(tags=RUN.tags | {"z": "1"})], f"run {ID}: the server tells another tag 'z'"),
        (
            [change(metrics=RUN.metrics | {"new": make_points((0, 1.0))})],
            f"run {ID}: the server tells other points of 'new'",
        ),
        (
            [change(metrics=RUN.metrics | {"final_loss": make_points((0, 99_000, 0.25000000000000006))})],
            f"run {ID}: the server tells other points of 'final_loss'",
        ),
    ],
)
def test_what_the_server_tells_otherwise_of_a_run_is_named(answered: list[Any], expected: str) -> None:
    """To the last bit of each value."""
    assert compare_runs([ID], [RUN], answered) == ([expected] if expected else [])


def test_a_run_that_the_export_lacks_is_a_difference() -> None:
    """It was chosen from the export's own list, so that a part of the export is wrong."""
    assert compare_runs([ID], [], [RUN]) == [f"run {ID}: the export does not have it"]


def other(**fields: Any) -> SourceModel:
    return msgspec.structs.replace(MODEL, **fields)


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([MODEL], []),
        ([other(origin=ModelOrigin(name="m", aliases={"champion": 1}))], []),
        ([other(versions=[msgspec.structs.replace(MODEL.versions[0], storage="")])], []),
        ([], ["model m: the server does not have it"]),
        ([LostModel("m", BadRecord("it", ["odd"]))], ["model m: the server does not answer for it: it: odd"]),
        ([MODEL, other(origin=ModelOrigin(name="n"))], ["model n: the server has it, and the export does not"]),
        ([other(origin=ModelOrigin(name="m"))], ["model m: the server tells another aliases"]),
        ([other(versions=[])], ["model m: version 1: the server does not have it"]),
        (
            [other(versions=[*MODEL.versions, VersionOrigin(number=2)])],
            ["model m: version 2: the export does not have it"],
        ),
        (
            [other(versions=[msgspec.structs.replace(MODEL.versions[0], stage="None")])],
            ["model m: version 1: the server tells it otherwise"],
        ),
    ],
)
def test_what_the_server_tells_otherwise_of_a_model_is_named(answered: list[Any], expected: list[str]) -> None:
    """Numbers of deleted versions and places of copies are not among what a server tells."""
    assert compare_models([MODEL], answered) == expected


def test_many_differences_are_cut_to_what_a_person_reads() -> None:
    """With how many more there are."""
    found = cut([str(number) for number in range(25)])
    assert (len(found), found[0], found[-1]) == (21, "0", "and 5 more differences")
    assert cut(["one"]) == ("one",)


def test_the_environment_is_that_of_the_exported_schema() -> None:
    """Another version's server would change the schema, or refuse it."""
    assert to_environment_name("acf3f17fdcc7") == "mlflow-2.9.2"
    with pytest.raises(BadSetup, match="--mlflow-environment"):
        to_environment_name("867495a8f9d4")
