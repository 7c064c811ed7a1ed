"""What a pickle may be converted to, and which names it may use for that.

A pickle is a program; here it is only looked at.
"""

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
from switchyard.core.registry.flavors import is_tokenizer

MAX_ROWS: Final = 10_000
MOST_NAMES: Final = 10
HIDDEN: Final = "names that it hides"
"""Among what a pickle names."""
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
"""The modules in which Keras has had its class `Tokenizer`."""

_ARRAYS: Final = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
    *(f"numpy.random._pickle.__{name}_ctor" for name in ("generator", "randomstate", "bit_generator")),
    "numpy.ma.core._mareconstruct",
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
PICKLING_FUNCTION: Final = "newObj"
PREFIX_OF_FUNCTIONS: Final = "__pyx_unpickle_"  # Cython's own, one for each class

_NUMPY: Final = frozenset(
    {
        *("numpy.ndarray", "numpy.dtype", "numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"),
        *(f"numpy.{name}" for name in ("bool", "bool_", "str_", "bytes_", "object_", "datetime64", "timedelta64")),
        *(f"numpy.{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
        *(f"numpy.{name}" for name in ("longlong", "ulonglong", "intc", "uintc")),
        *(f"numpy.{name}" for name in ("float16", "float32", "float64", "longdouble", "complex64", "complex128")),
        *("numpy.random._mt19937.MT19937", "numpy.random._pcg64.PCG64", "numpy.random._pcg64.PCG64DXSM"),
        *("numpy.random._philox.Philox", "numpy.random._sfc64.SFC64"),
        *("numpy.random.mtrand.RandomState", "numpy.random._generator.Generator"),
        *(f"numpy.random.bit_generator.{name}" for name in ("SeedSequence", "__pyx_unpickle_SeedSequence")),
    }
)
"""The parts of NumPy that are safe to name: `memmap` opens files, and `distutils` runs texts."""
_SPARSE: Final = frozenset(
    f"scipy.sparse.{module}{name}.{name}_{form}"
    for module in ("", "_")
    for name in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    for form in ("matrix", "array")
)
_SCIPY: Final = _SPARSE | {"scipy.interpolate._bsplines.BSpline", "scipy.interpolate._interpolate.interp1d"}
"""The parts of SciPy that are safe to name: the distributions of `scipy.stats` run a text of the pickle's when they are
read."""
_SKLEARN_MODULES: Final = (
    *("_loss", "calibration", "cluster", "compose", "covariance", "cross_decomposition", "decomposition"),
    *("discriminant_analysis", "dummy", "ensemble", "feature_extraction", "feature_selection", "frozen"),
    *("gaussian_process", "impute", "isotonic", "kernel_approximation", "kernel_ridge", "linear_model", "manifold"),
    *("metrics", "mixture", "model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors"),
    *("neural_network", "pipeline", "preprocessing", "random_projection", "semi_supervised", "svm", "tree"),
    *("utils._bunch", "utils._metadata_requests"),
)
"""The modules of the classes that fitted estimators of scikit-learn 1.9.1 hold: each one was fitted and pickled. Not
`callback`, which opens connections, nor `externals`, `datasets` and what tests need."""
UFUNC_MODULES: Final = frozenset(
    {
        *("numpy", "scipy.special", "scipy.special._ufuncs", "scipy.special._special_ufuncs"),
        *(f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("_multiarray_umath", "umath")),
    }
)
"""The modules in which universal functions (`numpy.log1p`) may be named: arithmetic, and nothing else there."""


class Kind(msgspec.Struct, frozen=True):
    """What is made of a pickle."""

    name: str
    title: str
    suffix: str
    modules: tuple[str, ...]  # all classes of these, and of those below them
    names: frozenset[str]  # and these
    ufuncs: bool = False


KINDS: Final = (
    Kind(
        "xgboost", "XGBoost model", ".ubj", ("xgboost.sklearn", "xgboost.callback"), _NUMPY | {"xgboost.core.Booster"}
    ),
    Kind(
        "sklearn",
        "scikit-learn model",
        ".skops",
        tuple(f"sklearn.{module}" for module in _SKLEARN_MODULES),
        _NUMPY | _SCIPY | {"joblib.numpy_pickle.NumpyArrayWrapper"},
        ufuncs=True,
    ),
    Kind("tokenizer", "Keras tokenizer", ".json", (), frozenset()),
)


def choose_kind(path: str) -> Kind:
    """Returns what the ending of the new file's name asks for.

    >>> choose_kind("model/churn.ubj").title
    'XGBoost model'

    Raises: BadRequest: it has none of the endings.
    """
    suffix = PurePath(path).suffix.lower()
    for kind in KINDS:
        if kind.suffix == suffix:
            return kind
    endings = ", ".join(f"{kind.suffix} ({kind.title})" for kind in KINDS)
    raise BadRequest(f"--to must end in one of {endings}; got {path}")


def guess_kind(data: bytes) -> Kind:
    """Guesses XGBoost or scikit-learn by what the pickle names: it may then name nothing else."""
    xgboost, sklearn, _ = KINDS
    return xgboost if any(name.startswith("xgboost.") for name in list_names(data)) else sklearn


def say_pickle(path: str, sha256: str = "") -> str:
    """Returns why a pickle is not served, and what to do."""
    said = f"{path[:200]} is a pickle, which runs code when it is read, and was not read."
    if is_tokenizer(path):
        target = PurePath(path[:200]).with_name("tokenizer.json")
        return f"{said} Make the tokenizer's JSON of it: switchyard convert {path[:200]} --to {target}"
    agree = f"MODEL_PICKLE_DIGESTS=sha256:{sha256}" if sha256 else "MODEL_PICKLE_DIGESTS"
    return (
        f"{said} Make a safe file of it: "
        f"switchyard convert {path[:200]} --to <file>.ubj (XGBoost) or <file>.skops (scikit-learn). If you know who "
        f"made it, you can have it read in a process of its own: {agree}"
    )


def read_digests(said: str) -> frozenset[str]:
    """Returns the SHA-256 of each pickle that MODEL_PICKLE_DIGESTS names.

    >>> sorted(read_digests("sha256:" + "a" * 64 + ", sha256:" + "b" * 64)) == ["a" * 64, "b" * 64]
    True
    """
    return frozenset(each.strip().removeprefix("sha256:") for each in said.split(",") if each.strip())


def may_name(kind: Kind, module: str, name: str) -> bool:
    """Returns whether a pickle of that kind may name this at all.

    What it names may still be refused, where it turns out to be another module's.

    >>> may_name(KINDS[0], "xgboost.sklearn", "XGBClassifier"), may_name(KINDS[0], "posix", "system")
    (True, False)
    >>> may_name(KINDS[1], "scipy.sparse._csr", "csr_matrix"), may_name(KINDS[1], "scipy.stats", "rv_continuous")
    (True, False)
    """
    if kind.name == "tokenizer":
        return (module in TOKENIZER_MODULES and name == "Tokenizer") or f"{module}.{name}" in _PLAIN
    if f"{module}.{name}" in FUNCTIONS or (kind.ufuncs and module in UFUNC_MODULES and "." not in name):
        return True
    return may_have(kind, module, name)


def may_have(kind: Kind, module: str, name: str) -> bool:
    """Returns whether a class of that module and name may be made of a pickle of that kind."""
    inside = any(module == each or module.startswith(f"{each}.") for each in kind.modules)
    is_test = any(part in ("tests", "conftest") for part in module.split("."))
    return "." not in name and (f"{module}.{name}" in kind.names or (inside and not is_test))


def list_names(data: bytes) -> list[str]:
    """Returns what the pickle names, as far as it can be told without running it; in order, each once.

    `HIDDEN` stands for what it computes, and for what follows where it can no longer be read as one.

    Source: pickletools; its table says what each of its steps takes from the stack and puts there.
    """
    found: list[str] = []
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for code, given, _ in pickletools.genops(data):
            name = code.name
            if name in ("GLOBAL", "INST"):
                found.append(str(given).replace(" ", "."))
            elif name == "STACK_GLOBAL":
                texts = stack[-2:]
                whole = len(texts) == 2 and all(isinstance(each, str) for each in texts)
                found.append(".".join(texts) if whole else HIDDEN)
            elif name.startswith("EXT"):
                found.append(HIDDEN)
            _step(code, given, stack, memo)
    except (ValueError, IndexError, EOFError, UnicodeDecodeError):
        found.append(HIDDEN)  # joblib puts arrays between, and may compress it all
    return list(dict.fromkeys(found))


def _step(code: pickletools.OpcodeInfo, given: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """Does what the step does to texts on the stack and in the memo; all else is None there."""
    if code.name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif code.name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[given] = stack[-1]
    elif code.name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo.get(given))
    elif code.name == "DUP":
        stack.append(stack[-1])
    else:
        takes = code.stack_before
        if pickletools.markobject in takes:
            while stack and stack.pop() is not pickletools.markobject:
                pass
            takes = takes[: takes.index(pickletools.markobject)]
        del stack[max(0, len(stack) - len(takes)) :]
        text = given if isinstance(given, str) and code.name not in ("GLOBAL", "INST") else None
        stack.extend(each if each is pickletools.markobject else text for each in code.stack_after)


def say_names(data: bytes, kind: Kind) -> str:
    """Returns what a pickle names besides its library and plain values."""
    names = [name for name in list_names(data) if name == HIDDEN or not may_name(kind, *_split(name))]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    # What it hides is said first: it may be anything.
    names.sort(key=lambda name: name != HIDDEN)
    shown = [name if name == HIDDEN else repr(name[:160]) for name in names[:MOST_NAMES]]
    return (", ".join(shown) or "nothing") + more


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last


def to_printable(text: str) -> str:
    r"""Returns the text without what a terminal would act on; lines stay.

    >>> print(to_printable("foo\x1b[2K"))
    foo\x1b[2K
    """
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape", "backslashreplace").decode()
        for each in text
    )


def make_rows(signature: Signature, known: Mapping[str, Sequence[Any]], count: int) -> list[Row]:
    """Returns rows of every size of number, and of the texts that the model knows; the same ones each time."""
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
    """Returns the rows of a CSV file with a line of names: an empty value is a missing one.

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
    """Returns the largest difference between two models' answers to the same rows.

    Infinite: the answers do not have the same form, or differ in a text.
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
