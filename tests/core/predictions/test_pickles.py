"""What a pickle may name, the rows that old and new are compared with, and how they are compared."""

import math
import os
import pickle
from collections import OrderedDict, defaultdict, deque
from typing import Any

import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.pickles import (
    HIDDEN,
    KINDS,
    choose_kind,
    find_largest_difference,
    list_names,
    make_rows,
    may_name,
    read_csv,
    say_names,
    to_printable,
)
from switchyard.core.predictions.signature import Column, Signature, Type

XGBOOST, SKLEARN, TOKENIZER = KINDS
SIGNATURE = Signature(
    columns=(
        Column(name="age", type=Type.NUMBER, may_be_missing=True),
        Column(name="orders", type=Type.INTEGER),
        Column(name="vip", type=Type.BOOLEAN),
        Column(name="town", type=Type.TEXT, example="Bern"),
    ),
    answers="a number",
)


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch written",)


@pytest.mark.parametrize(
    ("kind", "module", "name", "allowed"),
    [
        (XGBOOST, "xgboost.sklearn", "XGBClassifier", True),
        (XGBOOST, "numpy.core.multiarray", "_reconstruct", True),
        (XGBOOST, "builtins", "bytearray", True),
        (XGBOOST, "sklearn.linear_model", "LogisticRegression", False),
        (SKLEARN, "sklearn.pipeline", "Pipeline", True),
        (SKLEARN, "sklearn.pipeline", "os.system", False),
        (SKLEARN, "sklearnx", "Pipeline", False),
        (SKLEARN, "posix", "system", False),
        (SKLEARN, "scipy.sparse._csr", "csr_matrix", True),
        (SKLEARN, "scipy.stats._distn_infrastructure", "rv_continuous", False),
        (SKLEARN, "scipy.stats._continuous_distns", "norm_gen", False),
        (SKLEARN, "sklearn.callback._scoring_monitor", "ScoringMonitor", False),
        (SKLEARN, "sklearn.externals._numpydoc.validate", "Validator", False),
        (SKLEARN, "sklearn.tree.tests.test_tree", "TreeClass", False),
        (SKLEARN, "joblib.numpy_pickle", "NumpyArrayWrapper", True),
        (SKLEARN, "joblib.numpy_pickle_compat", "NDArrayWrapper", False),
        (SKLEARN, "joblib.memory", "Memory", False),
        (SKLEARN, "numpy", "ndarray", True),
        (SKLEARN, "numpy._core.memmap", "memmap", False),
        (SKLEARN, "numpy.ma", "MaskedArray", True),
        (XGBOOST, "numpy", "memmap", False),
        (XGBOOST, "xgboost.core", "Booster", True),
        (XGBOOST, "xgboost.core", "DMatrix", False),
        (XGBOOST, "xgboost.dask", "DaskXGBRegressor", False),
        (SKLEARN, "builtins", "eval", False),
        (SKLEARN, "builtins", "getattr", False),
        (TOKENIZER, "keras_preprocessing.text", "Tokenizer", True),
        (TOKENIZER, "keras.src.legacy.preprocessing.text", "Tokenizer", True),
        (TOKENIZER, "keras.layers", "Lambda", False),
        (TOKENIZER, "collections", "OrderedDict", True),
        (TOKENIZER, "__builtin__", "long", True),
        (TOKENIZER, "numpy.core.multiarray", "_reconstruct", False),
    ],
)
def test_a_pickle_names_its_library_and_plain_values_alone(kind: Any, module: str, name: str, allowed: bool) -> None:
    """A name with a point in it would reach what a module has imported."""
    assert may_name(kind, module, name) is allowed


def test_names_are_told_without_running_anything() -> None:
    """In the old form and the new one; what is no pickle has none."""
    for protocol in (0, 2, 4):
        assert f"{os.system.__module__}.system" in list_names(pickle.dumps(Hostile(), protocol))
    assert list_names(pickle.dumps(OrderedDict(a=1), 4)) == ["collections.OrderedDict"]
    assert list_names(b"no pickle") == [HIDDEN]


def test_a_name_that_was_said_before_is_followed() -> None:
    """A pickle says a module's name once, and refers to it from then on; in a list, or after a mark that is dropped."""
    for protocol in (4, 5):
        data = pickle.dumps([OrderedDict(a=1), deque([2]), "text", (3, defaultdict(int))], protocol)
        assert list_names(data) == [
            *("collections.OrderedDict", "collections.deque", "collections.defaultdict", "builtins.int")
        ]
    assert list_names(b"\x80\x04\x8c\x05posixp7\n0(]1g7\n\x8c\x06system\x93.") == ["posix.system"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04cbuiltins\nstr\n(\x8c\x05posixtR\x8c\x06system\x93.",  # the module's name is what `str` answers
        b"\x80\x04cbuiltins\nstr\n\x82\x01.",  # by a number of the registry of copyreg
        b"\x80\x04cbuiltins\nstr\n\x00\x00.",  # an array stands between
    ],
)
def test_names_that_are_hidden_are_said_to_be(data: bytes) -> None:
    """And never taken for another name."""
    assert list_names(data) == ["builtins.str", HIDDEN]
    assert say_names(data, SKLEARN) == HIDDEN


def test_names_are_shown_as_they_are_written() -> None:
    """Ten of them, and how many more; nothing reaches a terminal that it would act on."""
    data = b"".join(b"ca\nb%d\n" % number for number in range(12)) + b"."
    assert say_names(data, SKLEARN).endswith("'a.b9' and 2 more")
    assert say_names(b"cfoo\x1b[2K\nbar\n.", SKLEARN) == r"'foo\x1b[2K.bar'"
    assert say_names(pickle.dumps([1, {2}, OrderedDict()]), SKLEARN) == "nothing"
    assert to_printable("a\x1b[1A\u202eb\nc") == "a\\x1b[1A\\u202eb\nc"


def test_made_up_rows_are_the_same_each_time() -> None:
    """As the columns say, with values that the model knows."""
    rows = make_rows(SIGNATURE, {"town": ["Bern", "Rome"]}, 100)
    assert rows == make_rows(SIGNATURE, {"town": ["Bern", "Rome"]}, 100)
    assert rows[0] == [0.0, 0, False, "Bern"]
    assert {type(row[1]) for row in rows} == {int}
    assert {row[2] for row in rows} == {True, False}
    assert {row[3] for row in rows} == {"Bern", "Rome"}
    assert any(row[0] is None for row in rows)


def test_rows_of_a_csv_file_are_read_by_name() -> None:
    """In any order; an empty value is a missing one."""
    text = "town,vip,orders,age\nRome,true,3,\n,false,4,2.5\n"
    assert read_csv(text, SIGNATURE) == [[None, 3, True, "Rome"], [2.5, 4, False, ""]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1 to 10,000 rows; it has 0"),
        ("age,orders,vip,town\n", "1 to 10,000 rows; it has 0"),
        ("age,orders,vip\n1,2,true\n", "must have `town`"),
        ("age,orders,vip,town\nold,2,true,Bern\n", "`age` of instance 0 must be a number; it is the text 'old'"),
        ("age,orders,vip,town\n1,2,true,Bern,5\n", "which the model does not take"),
        ("age,orders,vip,town\n1,,true,Bern\n", "`orders` of instance 0 must be a whole number"),
    ],
)
def test_rows_that_are_none_are_named(text: str, problem: str) -> None:
    """What is wrong with which column."""
    with pytest.raises(BadRequest) as raised:
        read_csv(text, SIGNATURE)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ([], [], 0.0),
        ([1.0, "a", True, [1, 2]], [1.0, "a", True, [1, 2]], 0.0),
        ([1.0, 2.0], [1.0, 2.25], 0.25),
        ([[1.0], [2.0]], [[1.5], [2.0]], 0.5),
        (["a"], ["b"], math.inf),
        ([True], [1], math.inf),
        ([1.0], [math.nan], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([[1.0]], [1.0], math.inf),
    ],
)
def test_answers_are_compared_to_the_last_bit(old: list[Any], new: list[Any], difference: float) -> None:
    """Texts, and forms, are equal or not."""
    assert find_largest_difference(old, new) == difference


def test_an_ending_says_what_is_made() -> None:
    """Others are refused with those that there are."""
    assert choose_kind("a/b.UBJ") is XGBOOST
    with pytest.raises(BadRequest, match=r"\.ubj \(XGBoost model\), \.skops \(scikit-learn model\), \.json"):
        choose_kind("model.pkl")
