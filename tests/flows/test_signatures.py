"""A flow's signature, and what it is called with, are its type of parameters."""

import inspect
import subprocess
import sys
from typing import Annotated, get_args

import msgspec
import pytest
from msgspec import Meta

from flows.mlflow_parameters import BackfillParameters
from flows.parameters import IngestParameters, TrainParameters
from flows.signatures import takes, to_parameters
from switchyard.core.errors import BadRequest
from tests.root import ROOT


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the flow below takes."""

    number: Annotated[int, Meta(ge=1, description="how many")]
    name: Annotated[str, Meta(max_length=3, description="whose")] = "abc"


@takes(Wanted)
def count(wanted: Wanted) -> Wanted:
    """Counts."""
    return wanted


def test_each_field_is_a_keyword_with_its_type_limits_and_description() -> None:
    """Prefect makes the form from them, and takes the description from the default alone."""
    parameters = inspect.signature(count).parameters
    assert list(parameters) == ["number", "name"]
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    kind, limits = get_args(parameters["name"].annotation)
    assert (kind, limits.metadata[0].max_length, limits.description) == (str, 3, None)
    assert (parameters["name"].default.default, parameters["name"].default.description) == ("abc", "whose")
    assert parameters["number"].default.is_required()


def test_the_function_keeps_its_names_and_gets_one_checked_value() -> None:
    """Prefect names flows, and finds them again, by these."""
    assert (count.__name__, count.__module__, count.__doc__) == ("count", __name__, "Counts.")
    assert count(number=2, name="x") == Wanted(number=2, name="x")


def test_what_was_not_given_is_missing_though_prefect_passes_the_signatures_default() -> None:
    """A required field's default is a note on the form, and no value."""
    with pytest.raises(BadRequest, match="missing required field `number`"):
        count(**{name: parameter.default for name, parameter in inspect.signature(count).parameters.items()})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"number": 0}, "Expected `int` >= 1 - at `number`"),
        ({"number": "2"}, "Expected `int`, got `str` - at `number`"),
        ({"number": 1, "nam": "x"}, "unknown field `nam`"),
    ],
)
def test_a_wrong_value_is_refused_by_its_fields_name(given: dict[str, object], words: str) -> None:
    """As the command line and the form say it."""
    with pytest.raises(BadRequest, match=words):
        to_parameters(given, Wanted)


def test_the_parameters_alone_load_neither_prefect_nor_what_makes_forms() -> None:
    """So that ``--help`` is quick."""
    code = "import sys, flows.parameters; print([name for name in ('prefect', 'pydantic') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("struct", [IngestParameters, BackfillParameters, TrainParameters])
def test_rules_that_are_none_are_refused_before_anything_runs(
    struct: type[IngestParameters] | type[BackfillParameters] | type[TrainParameters],
) -> None:
    """With the place in the text; the word that drops a run's rules is none of them."""
    given: dict[str, object] = {"quick_test_id": 1} if struct is IngestParameters else {}
    good = '[names]\n"train/total" = "total_loss"\n'
    for text in (good, "none"):
        assert to_parameters({**given, "rules": text}, struct).rules == text
    with pytest.raises(BadRequest, match=r"patterns\[1\].match must have 1 to 9 `\*`"):
        to_parameters({**given, "rules": "[[patterns]]\nmatch = 'a'\nname = 'b'"}, struct)
