"""What a SavedModel's graph calls, told before TensorFlow reads it."""

import pytest

pytest.importorskip("tensorflow")

from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.node_def_pb2 import NodeDef

from serving.predictions.loaders.saved_model import _list_called


def test_functions_within_the_attributes_of_functions_are_found() -> None:
    """In lists too, however deep."""
    node = NodeDef(op="MapDefun")
    node.attr["f"].func.name = "outer"
    node.attr["f"].func.attr["g"].func.name = "inner"
    innermost = AttrValue()
    innermost.list.func.add(name="listed").attr["h"].func.name = "innermost"
    node.attr["f"].func.attr["g"].func.attr["body"].CopyFrom(innermost)
    node.attr["branches"].list.func.add(name="branch").attr["k"].func.name = "twig"
    node.attr["count"].i = 3
    assert set(_list_called(node)) == {"MapDefun", "outer", "inner", "listed", "innermost", "branch", "twig"}
