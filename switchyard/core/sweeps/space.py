"""What a sweep searches: which parameters of a training, and among which values."""

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec

Choice = bool | int | float | str
Params = dict[str, Choice]

MAX_GRID: Final = 10_000
NOT_SEARCHED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "validation_fraction", "test_fraction", "cancellations", "missing_buyers", "non_positive_quantities",
            "csv_decimal", "synthetic_buyers", "synthetic_products", "synthetic_interactions",
        ),
        "trials on other data cannot be compared",
    ),
    **dict.fromkeys(("statistics", "top_k", "tracker", "mlflow_model"), "it does not change what is learned"),
    "refit": "what is trained again is not measured",
    **dict.fromkeys(("seed", "early_stopping_metric"), "trials would be measured on other validation pairs"),
}  # fmt: skip
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE: Final = re.compile(rf"({_NUMBER}?)\.\.({_NUMBER})(?::(log|{_NUMBER}))?")


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="range"):
    """Numbers from `low` to `high`, both included.

    `log`: as many below as above their geometric mean. `step`: only `low`, `low + step`, ...; 0: any.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float = 0


class Choices(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="choices"):
    """A few values, in no order."""

    values: tuple[Choice, ...]


Dimension = Range | Choices
Space = dict[str, Dimension]


def parse_space(texts: Sequence[str], base: TrainSpec) -> Space:
    """Returns the dimensions by parameter.

    Each text is ``NAME=low..high``, ``NAME=low..high:log``, ``NAME=low..high:step``, ``NAME=value,value``, or JSON:
    ``NAME=[32, 64]``, ``NAME={"low": 0.1, "high": 3, "log": true}``, or one object of several names. Every end of a
    range and every value must be one that `base` takes.

    Raises: BadRequest: all that is wrong.

    >>> parse_space(["learning_rate=.1..3:log", "embedding_dim=32,64"], TrainSpec())
    {'learning_rate': Range(low=0.1, high=3.0, log=True, step=0.0), 'embedding_dim': Choices(values=(32, 64))}
    """
    problems: list[str] = []
    space: Space = {}
    for text in texts:
        for name, said in _split(text, problems):
            if name in space:
                problems.append(f"{name} is searched twice; name it once")
                continue
            try:
                space[name] = _to_dimension(name, said, base)
            except (ValueError, msgspec.ValidationError) as err:
                problems.append(f"{name}: {str(err).replace('$.', '')}")
    if not space and not problems:
        problems.append("nothing is searched. Name a parameter: --search learning_rate=0.1..3:log")
    if problems:
        raise BadRequest("search: " + "; ".join(problems))
    return space


def _split(text: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Yields names with what is said of each: JSON as it is read, anything else as text."""
    name, _, said = text.partition("=")
    is_object = text.lstrip().startswith("{")
    try:
        if is_object:
            yield from msgspec.json.decode(text, type=dict[str, Any]).items()
        elif said.lstrip().startswith(("[", "{")):
            yield name.strip(), msgspec.json.decode(said)
        elif name.strip() and said.strip():
            yield name.strip(), said.strip()
        else:
            problems.append(f"{text!r} must be NAME=low..high, NAME=low..high:log or NAME=value,value")
    except msgspec.MsgspecError as err:
        problems.append(f"{text!r} is no JSON that can be read: {err}")


def _to_dimension(name: str, said: Any, base: TrainSpec) -> Dimension:
    """Reads what is said of one name. Raises: ValueError, msgspec.ValidationError."""
    kind = _find_kind(name)
    if isinstance(said, str):
        said = _parse_text(said, kind)
    if isinstance(said, dict):
        if kind not in (int, float):
            raise ValueError("it has no range; name its values: value,value")
        dimension: Dimension
        dimension = range_ = _check_range(msgspec.convert(said, Range), is_whole=kind is int)
        ends: tuple[Choice, ...] = (range_.low, range_.high)
    elif isinstance(said, list):
        values = msgspec.convert(said, tuple[Choice, ...])
        dimension = Choices(values=tuple(map(_to_float, values)) if kind is float else values)
        ends = dimension.values
        if not ends:
            raise ValueError("it has no values")
        if len({(str(value), type(value) is bool) for value in ends}) < len(ends):
            raise ValueError("a value is there twice")
    else:
        raise ValueError(f"must be a list of values, or a range with low and high; got {said!r}")  # noqa: TRY004 - a wrong request, as the others here
    for end in ends:
        msgspec.convert({**msgspec.structs.asdict(base), name: end}, TrainSpec)
    return dimension


def _find_kind(name: str) -> Any:
    hints = get_type_hints(TrainSpec, include_extras=True)
    if name not in hints:
        raise ValueError("a training has no such parameter; `switchyard train --help` lists them")
    if name in NOT_SEARCHED:
        raise ValueError(f"it cannot be searched: {NOT_SEARCHED[name]}")
    kind = get_args(hints[name])[0] if get_origin(hints[name]) is Annotated else hints[name]
    if kind is str:
        raise ValueError("it cannot be searched: trials on other data cannot be compared")
    return kind


def _parse_text(text: str, kind: Any) -> Any:
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if found and found[1]:
        said: dict[str, Any] = {"low": _to_number(found[1]), "high": _to_number(found[2])}
        if found[3]:
            said |= {"log": True} if found[3] == "log" else {"step": _to_number(found[3])}
        return said
    return [_to_value(part.strip(), kind) for part in text.split(",")]


def _to_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _to_value(text: str, kind: Any) -> Choice:
    if kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    try:
        return _to_number(text)
    except ValueError:
        return text


def _to_float(value: Choice) -> Choice:
    return float(value) if type(value) is int else value


def _check_range(given: Range, *, is_whole: bool) -> Range:
    numbers = (given.low, given.high, given.step)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("its range must be of finite numbers")
    if is_whole and not all(float(number).is_integer() for number in numbers):
        raise ValueError(f"its range must be of whole numbers; got {given.low}..{given.high}")
    if given.low >= given.high:
        raise ValueError(f"low must be below high; got {given.low}..{given.high}")
    if given.step < 0 or given.step > given.high - given.low:
        raise ValueError(f"step must be above 0, and at most high - low; got {given.step}")
    if given.log and given.step:
        raise ValueError("a range has log or step, not both")
    if given.log and given.low <= 0:
        raise ValueError(f"low must be above 0 with log; got {given.low}")
    number = int if is_whole else float
    given = Range(low=number(given.low), high=number(given.high), log=given.log, step=number(given.step))
    if given.step:  # the last value that is reached
        given = msgspec.structs.replace(given, high=_to_stepped(given, count_steps(given)))
    return given


def count_steps(range_: Range) -> int:
    """Returns how many steps lie between `low` and the last value."""
    return int((range_.high - range_.low) / range_.step + 1e-9)


def _to_stepped(range_: Range, steps: int) -> int | float:
    value = range_.low + steps * range_.step
    return value if isinstance(value, int) else round(value, 12)


def list_grid(space: Space) -> list[Params]:
    """Returns every combination, in an order that depends on the space alone.

    Raises: BadRequest: a range has no end of values, or there are more than MAX_GRID.
    """
    names, values = sorted(space), []
    for name in names:
        dimension = space[name]
        if isinstance(dimension, Choices):
            values.append(dimension.values)
            continue
        if not dimension.step and not dimension.log and isinstance(dimension.low, int):
            dimension = msgspec.structs.replace(dimension, step=1)
        if not dimension.step:
            raise BadRequest(
                f"search: a grid needs a list of values for {name}, or a range with a step: {name}=value,value or "
                f"{name}=low..high:step"
            )
        values.append(tuple(_to_stepped(dimension, steps) for steps in range(count_steps(dimension) + 1)))
    size = math.prod(map(len, values))
    if size > MAX_GRID:
        raise BadRequest(f"search: the grid has {size} combinations; at most {MAX_GRID} are tried. Name fewer values")
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]


def draw(space: Space, seed: int, number: int) -> Params:
    """Returns the parameters of random trial `number`: the same for the same three, whatever was drawn before."""
    chance = random.Random(f"{seed}:{number}")
    return {name: _draw(space[name], chance) for name in sorted(space)}


def _draw(dimension: Dimension, chance: random.Random) -> Choice:
    if isinstance(dimension, Choices):
        return dimension.values[chance.randrange(len(dimension.values))]
    low, high = dimension.low, dimension.high
    if dimension.step:
        return _to_stepped(dimension, chance.randrange(count_steps(dimension) + 1))
    if isinstance(low, int) and isinstance(high, int):
        if not dimension.log:
            return chance.randint(low, high)
        # Each whole number has the share that lies half a step around it.
        return min(high, max(low, round(math.exp(chance.uniform(math.log(low - 0.5), math.log(high + 0.5))))))
    drawn = math.exp(chance.uniform(math.log(low), math.log(high))) if dimension.log else chance.uniform(low, high)
    return min(float(high), max(float(low), drawn))
