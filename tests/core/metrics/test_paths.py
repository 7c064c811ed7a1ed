"""How places are named, and the examples in the docstrings of the room."""

import doctest
import importlib
import pkgutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import switchyard.core
from switchyard.core.metrics.nonfinite import MAX_DEPTH, TooDeep, take_non_finite
from switchyard.core.metrics.paths import find_place, to_names, to_path, to_pointer
from tests.core.metrics.factories import JSON

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(switchyard.core.__path__, "switchyard.core.") if not module.ispkg
)


@given(st.lists(st.text(), max_size=4))
@settings(deadline=None)
def test_a_path_leads_back_to_its_names(names: list[str]) -> None:
    """No two places share a path, whatever dots, brackets and quotes their names hold."""
    assert to_names(to_path(*names)) == names


@pytest.mark.parametrize("path", [".", "a.", ".a", "a..b", "[", '["a"', 'a["b"]]', '["a"].["b"]', '["plain"]', "a\\"])
def test_what_is_no_path_is_refused(path: str) -> None:
    """A path that `to_path` never makes is never guessed at."""
    with pytest.raises(ValueError, match="a JSON path like"):
        to_names(path)


@given(JSON, st.data())
@settings(deadline=None)
def test_a_pointer_leads_to_its_place(value: object, data: st.DataObject) -> None:
    """A JSON Pointer finds the very value that its keys lead to."""
    keys: list[str | int] = []
    place = value
    while isinstance(place, dict | list) and place and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        keys.append(key)
        place = place[key]
    assert find_place(value, to_pointer(*keys)) is place


@pytest.mark.parametrize("pointer", ["a", "/c", "/a/2", "/a/-1", "/a/01", "/a/x", "/a/0/y", "/a/" + "9" * 5_000])
def test_a_pointer_to_nothing_is_told(pointer: str) -> None:
    """Where nothing stands, nothing is found."""
    with pytest.raises(LookupError):
        find_place({"a": [1, 2]}, pointer)


def test_values_nested_too_deep_are_not_walked() -> None:
    """A hostile file ends the walk, not the process."""
    value: object = float("nan")
    for _ in range(MAX_DEPTH):
        value = [value]
    assert take_non_finite(value)[1] == [((0,) * MAX_DEPTH, "nan")]
    with pytest.raises(TooDeep):
        take_non_finite([value])


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    """An example that no longer holds is worse than none."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
