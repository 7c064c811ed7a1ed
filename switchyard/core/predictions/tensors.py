"""What a model of tensors takes, as columns: by its own inputs, or by the columns of a signature that fits them."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from switchyard.core.predictions.mlmodel import NotServed
from switchyard.core.predictions.signature import MAX_VALUES, Column, Type

_TYPES: Final[Mapping[str, Type]] = {
    **dict.fromkeys(("float16", "float32", "float64"), Type.NUMBER),
    **dict.fromkeys(
        ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        Type.INTEGER,
    ),
    "bool": Type.BOOLEAN,
    "string": Type.TEXT,
}


_LARGEST: Final[Mapping[str, float]] = {"float16": 65_504.0, "float32": (2 - 2**-23) * 2.0**127}
"""Source: IEEE 754-2019, table 3.5. What is larger would be infinite to the model."""
_BITS: Final = (8, 16, 32)
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    **{dtype: (-largest, largest) for dtype, largest in _LARGEST.items()},
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in _BITS},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in _BITS},
    "uint64": (0, 2**63 - 1),  # a column's whole numbers have 64 bits with a sign
}


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output."""

    name: str
    dtype: str
    shape: tuple[int, ...]  # of one row; -1: any length

    def __str__(self) -> str:
        lengths = "".join(f"[{'' if length < 0 else length}]" for length in self.shape)
        return f"{self.name[:40]} ({self.dtype}{lengths})"


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a row, and how they become the inputs."""

    columns: tuple[Column, ...]
    is_spread: bool = False  # all columns together are the one input


def to_tensor(name: str, dtype: str, shape: Sequence[int | None] | None) -> Tensor:
    """Returns an input with its lengths, the first of which is the number of rows.

    >>> to_tensor("x", "float32", (None, 4))
    Tensor(name='x', dtype='float32', shape=(4,))

    Raises: NotServed: it takes no rows, and why.
    """
    if dtype not in _TYPES:
        raise NotServed(f"the input {name[:40]} is of the type {dtype[:40]}; served are {', '.join(_TYPES)}")
    if not shape or shape[0] is not None:
        raise NotServed(f"the input {name[:40]} must take any number of rows: its first length must be open")
    lengths = tuple(-1 if length is None else length for length in shape[1:])
    if math.prod(abs(length) for length in lengths) > MAX_VALUES or 0 in lengths:
        raise NotServed(f"the input {name[:40]} must take 1 to {MAX_VALUES:,} values; its lengths are {lengths}")
    return Tensor(name=name, dtype=dtype, shape=lengths)


def lay_out(inputs: Sequence[Tensor], said: Sequence[Column] | None) -> Layout:
    """Returns the columns of a model with these inputs; `said` are the columns of a signature.

    An input of one value is not a list.

    Raises: NotServed: the signature does not fit the model.
    """
    if not inputs or len({each.name for each in inputs}) < len(inputs):
        raise NotServed(f"the model must have inputs of different names; it has {_show(inputs) or 'none'}")
    own = tuple(
        Column(name=each.name, type=_TYPES[each.dtype], shape=() if each.shape == (1,) else each.shape)
        for each in inputs
    )
    if said is None or {column.name for column in said} == {each.name for each in inputs}:
        return Layout(columns=own)
    types = {column.type for column in said}
    if len(own) == 1 and inputs[0].shape == (len(said),) and types <= _FITTING[own[0].type]:
        columns = tuple(Column(name=column.name, type=column.type) for column in said)
        return Layout(columns=columns, is_spread=True)
    names = ", ".join(column.name[:40] for column in said[:5])
    raise NotServed(
        f"the signature's {len(said):,} columns ({names}{', ...' if len(said) > 5 else ''}) must be the model's inputs "
        f"by name, or the values of its only input; it takes {_show(inputs)}"
    )


def limit(column: Column, dtype: str) -> Column:
    """Returns the column, with the least and the largest number that an input of this type holds.

    >>> limit(Column(name="x", type=Type.INTEGER), "int8").highest
    127
    """
    if dtype not in _LIMITS or column.type not in (Type.NUMBER, Type.INTEGER):
        return column
    lowest, highest = _LIMITS[dtype]
    return msgspec.structs.replace(column, lowest=lowest, highest=highest)


def limit_columns(layout: Layout, inputs: Sequence[Tensor]) -> tuple[Column, ...]:
    """Returns the columns of a layout of these inputs, each limited to what its input holds."""
    types = [inputs[0].dtype] * len(layout.columns) if layout.is_spread else [each.dtype for each in inputs]
    return tuple(limit(column, dtype) for column, dtype in zip(layout.columns, types, strict=True))


def lay_out_text(inputs: Sequence[Tensor], column: str, length: int | None) -> tuple[Layout, int]:
    """Returns the one column of a model that takes a text by a tokenizer, and how many numbers the text becomes.

    Raises: NotServed: it takes none.
    """
    if len(inputs) != 1 or len(inputs[0].shape) != 1 or _TYPES[inputs[0].dtype] not in (Type.NUMBER, Type.INTEGER):
        raise NotServed(f"with a tokenizer the model must take one list of numbers; it takes {_show(inputs)}")
    fixed = inputs[0].shape[0]
    if fixed < 0 and length is None:
        raise NotServed("the model takes texts of any length: text.json must say the `length` of the training")
    if length not in (None, fixed) and fixed > 0:
        raise NotServed(f"the model takes {fixed:,} numbers; text.json says the `length` {length:,}")
    columns = (Column(name=column, type=Type.TEXT),)
    return Layout(columns=columns), length or fixed


_FITTING: Final[Mapping[Type, frozenset[Type]]] = {
    Type.NUMBER: frozenset({Type.NUMBER, Type.INTEGER, Type.BOOLEAN}),
    Type.INTEGER: frozenset({Type.INTEGER, Type.BOOLEAN}),
    Type.BOOLEAN: frozenset({Type.BOOLEAN}),
    Type.TEXT: frozenset({Type.TEXT}),
}


def _show(inputs: Sequence[Tensor]) -> str:
    return ", ".join(str(each) for each in inputs[:5]) + (", ..." if len(inputs) > 5 else "")
