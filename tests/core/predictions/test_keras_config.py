"""What a Keras model is made of, by its configuration: layers that are programs are refused by name."""

from typing import Any

import pytest

from switchyard.core.predictions.keras_config import find_config_problems, is_new_enough


def make(*layers: Any) -> dict[str, Any]:
    """As Keras 3 writes it."""
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {
        "name": "dense",
        "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
        "activation": "relu",
    },
    "registered_name": None,
}
LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "double"}}
OLD = {"class_name": "Lambda", "config": {"name": "old", "function": {"class_name": "__lambda__"}}}
GRAPH = {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"name": "graph", "filepath": "/x"}}
INSIDE = {"class_name": "Bidirectional", "config": {"name": "b", "layer": {"class_name": "Model", "config": make(OLD)}}}
ACTIVATION = {"class_name": "Dense", "config": {"name": "d", "activation": {"class_name": "__lambda__", "config": {}}}}
OWN = {"module": "mypackage.layers", "class_name": "Attention", "config": {"name": "att"}}
LOOKUP = {"module": "keras.layers", "class_name": "StringLookup", "config": {"name": "w", "vocabulary": "/etc/passwd"}}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (make(DENSE), []),
        (make(DENSE, LAMBDA), ["the layer 'double' is a Lambda, which is a program; layers like it are not served"]),
        (make(GRAPH), ["the layer 'graph' is a TFSMLayer, which is a program; layers like it are not served"]),
        (make(INSIDE), ["the layer 'old' is a Lambda, which is a program; layers like it are not served"]),
        (
            make(ACTIVATION),
            ["the layer '__lambda__' is a __lambda__, which is a program; layers like it are not served"],
        ),
        (make(OWN), ["the layer 'att' is of the module 'mypackage.layers'; only layers of Keras' own are served"]),
        (make(LOOKUP), ["the layer 'w' reads its vocabulary from a file; only lists of words are served"]),
        ("no object", []),
    ],
)
def test_layers_that_are_programs_are_refused_by_name(config: Any, said: list[str]) -> None:
    """At any depth, as old and new versions of Keras write them."""
    assert find_config_problems(config) == said


def test_many_problems_are_counted_and_the_first_ones_said() -> None:
    """In the order of the layers."""
    found = find_config_problems(make(*[LAMBDA] * 8))
    assert len(found) == 6
    assert found[-1] == "and 3 more problems"


@pytest.mark.parametrize(("version", "is_new"), [("3.13.2", True), ("3.13.1", False), ("3.9", False), ("3.15", True)])
def test_old_versions_of_keras_read_no_files_of_others(version: str, is_new: bool) -> None:
    """They run code of a file in spite of their safe mode."""
    assert is_new_enough(version) is is_new
