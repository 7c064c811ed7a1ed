"""What a pickle may be converted to, and which names it may use for that. A pickle is a program; here it is only looked
at."""

import csv
import io
import math
import pickletools
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.signature import Row, Signature, Type, make_example, read_rows

MAX_ROWS: Final = 10_000
TOKENIZER_MODULES: Final = frozenset(
    {
        "keras.preprocessing.text",  # Keras 2, and before
        "keras.src.preprocessing.text",
        "keras.legacy.preprocessing.text",
        "keras.src.legacy.preprocessing.text",  # Keras 3, the only one that is still there
        "keras_preprocessing.text",
        "tensorflow.keras.preprocessing.text",
        "tensorflow.python.keras.preprocessing.text",
    }
)
"""Where Keras has had its class `Tokenizer`."""

_ARRAYS: Final = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
    *(f"numpy.random._pickle.__{name}_ctor" for name in ("generator", "randomstate", "bit_generator")),
)
_PLAIN: Final = (
    *(f"{module}._reconstructor" for module in ("copyreg", "copy_reg")),
    *("_codecs.encode", "collections.OrderedDict", "collections.defaultdict", "collections.deque"),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "slice")),
    *("__builtin__.long", "__builtin__.unicode"),  # what protocols before 3 call int and str
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("object", "int", "float", "complex", "bool", "str", "bytes", "bytearray", "list", "tuple", "dict")
    ),
)
FUNCTIONS: Final = frozenset(_ARRAYS + _PLAIN)
"""What any pickle of a model may call besides classes of its library: how arrays and plain values are made."""
SUFFIXES_OF_FUNCTIONS: Final = ("newObj",)
PREFIX_OF_FUNCTIONS: Final = "__pyx_unpickle_"  # Cython's own, one for each class


class Kind(msgspec.Struct, frozen=True):
    """What is made of a pickle."""

    name: str
    title: str
    suffix: str
    packages: tuple[str, ...]  # whose classes the pickle may name


KINDS: Final = (
    Kind("xgboost", "XGBoost model", ".ubj", ("xgboost", "numpy")),
    Kind("sklearn", "scikit-learn model", ".skops", ("sklearn", "numpy", "scipy", "joblib")),
    Kind("tokenizer", "Keras tokenizer", ".json", ()),
)


def choose_kind(path: str) -> Kind:
    """What the ending of the new file's name asks for.

    >>> choose_kind("model/churn.ubj").title
    'XGBoost model'

    Raises: BadRequest: it is none of the endings.
    """
    suffix = PurePath(path).suffix.lower()
    for kind in KINDS:
        if kind.suffix == suffix:
            return kind
    endings = ", ".join(f"{kind.suffix} ({kind.title})" for kind in KINDS)
    raise BadRequest(f"--to must end in one of {endings}; got {path}")


def guess_kind(data: bytes) -> Kind:
    """XGBoost's or scikit-learn's, by what the pickle names: it may then name nothing else."""
    xgboost, sklearn, _ = KINDS
    return xgboost if any(name.startswith("xgboost.") for name in list_names(data)) else sklearn


def say_pickle(path: str, sha256: str = "") -> str:
    """Why a pickle is not served, and what to do."""
    agree = f"MODEL_PICKLE_DIGESTS=sha256:{sha256}" if sha256 else "MODEL_PICKLE_DIGESTS"
    return (
        f"{path[:200]} is a pickle, which runs code when it is read, and was not read. Make a safe file of it: "
        f"switchyard convert {path[:200]} --to <file>.ubj (XGBoost) or <file>.skops (scikit-learn). If you know who "
        f"made it, you can have it read in a process of its own: {agree}"
    )


def read_digests(said: str) -> frozenset[str]:
    """The SHA-256 of each pickle that MODEL_PICKLE_DIGESTS names.

    >>> sorted(read_digests("sha256:" + "a" * 64 + ", sha256:" + "b" * 64)) == ["a" * 64, "b" * 64]
    True
    """
    return frozenset(each.strip().removeprefix("sha256:") for each in said.split(",") if each.strip())


def may_name(kind: Kind, module: str, name: str) -> bool:
    """Whether a pickle of that kind may name this at all. A class of the packages may still be refused, where it turns
    out to be another module's.

    >>> may_name(KINDS[0], "xgboost.sklearn", "XGBClassifier"), may_name(KINDS[0], "posix", "system")
    (True, False)
    """
    if kind.name == "tokenizer":
        return (module in TOKENIZER_MODULES and name == "Tokenizer") or f"{module}.{name}" in _PLAIN
    return f"{module}.{name}" in FUNCTIONS or (module.partition(".")[0] in kind.packages and "." not in name)


def list_names(data: bytes) -> list[str]:
    """What the pickle names, as far as it can be told without running it; in order, each once. A pickle that hides its
    names is no longer read as one from there on."""
    found: list[str] = []
    texts: list[str] = []
    try:
        for code, given, _ in pickletools.genops(data):
            if code.name in ("GLOBAL", "INST"):
                found.append(str(given).replace(" ", "."))
            elif code.name == "STACK_GLOBAL":
                found.append(".".join(texts[-2:]))
            elif isinstance(given, str):
                texts.append(given)
    except (ValueError, IndexError, EOFError, UnicodeDecodeError):
        pass  # joblib puts arrays between; what reads it says what is wrong
    return list(dict.fromkeys(found))


def make_rows(signature: Signature, known: Mapping[str, Sequence[Any]], count: int) -> list[Row]:
    """Rows of every size of number, and of the texts that the model knows; the same ones each time."""
    draw = random.Random(7)
    example = make_example(signature)

    def make_value(number: int) -> Any:
        column = signature.columns[number]
        if column.may_be_missing and draw.random() < 0.1:
            return None
        if known.get(column.name):
            return draw.choice(known[column.name])
        if column.type is Type.NUMBER:
            return draw.gauss(0, 1) * 10 ** draw.choice((-2, -1, 0, 0, 0, 1, 2, 3))
        if column.type is Type.INTEGER:
            return draw.choice((draw.randint(-3, 3), draw.randint(-100, 100), draw.randint(0, 100_000)))
        return draw.random() < 0.5 if column.type is Type.BOOLEAN else example[number]

    return [example, *([make_value(number) for number in range(len(example))] for _ in range(count - 1))]


def read_csv(text: str, signature: Signature) -> list[Row]:
    """The rows of a CSV file with a line of names: an empty value is a missing one.

    Raises: BadRequest: columns or values are not the model's; there are none, or too many.
    """
    lines = list(csv.DictReader(io.StringIO(text)))
    if not 0 < len(lines) <= MAX_ROWS:
        raise BadRequest(f"--rows must have a line of names and 1 to {MAX_ROWS:,} rows; it has {len(lines):,}")
    types = {column.name: column.type for column in signature.columns}
    return read_rows([_to_instance(line, types) for line in lines], signature)


def _to_instance(line: Mapping[Any, Any], types: Mapping[str, Type]) -> dict[str, Any]:
    return {str(name): _to_value(value, types.get(str(name), Type.TEXT)) for name, value in line.items()}


def _to_value(value: Any, type_: Type) -> Any:
    if not isinstance(value, str) or (value == "" and type_ is not Type.TEXT):
        return None
    if type_ is Type.BOOLEAN:
        return {"true": True, "false": False}.get(value.lower(), value)
    if type_ is Type.TEXT:
        return value
    try:
        return int(value) if type_ is Type.INTEGER else float(value)
    except ValueError:
        return value


def find_largest_difference(old: Iterable[Any], new: Iterable[Any]) -> float:
    """Between two models' answers to the same rows; infinite: they are not of one form, or differ in a text.

    >>> find_largest_difference([0.5, [1.0, 2.0]], [0.5, [1.0, 2.5]]), find_largest_difference(["a"], ["b"])
    (0.5, inf)
    """
    first, second = list(old), list(new)
    if len(first) != len(second):
        return math.inf
    return max((_subtract(one, other) for one, other in zip(first, second, strict=True)), default=0.0)


def _subtract(one: Any, other: Any) -> float:
    if isinstance(one, list) and isinstance(other, list):
        return find_largest_difference(one, other)
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    if numbers and math.isfinite(one) and math.isfinite(other):
        return abs(float(one) - float(other))
    return 0.0 if one == other and type(one) is type(other) else math.inf
