"""What the page of a comparison shows, made from the answer that the API gives: its first charts, its tables."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from markupsafe import Markup

from serving.compare.heads import RunHead, to_style
from serving.compare.scatter import Scatter, to_scatter
from serving.lists.metric import to_name
from serving.svg import SvgLine, draw_lines, to_short
from serving.view.stored import finite
from serving.view.values import RECALL
from switchyard.core.comparison.compared import ComparedCurve, ComparedValue, Comparison, Differing

MOST_ROWS: Final = 60
"""The most rows of a table: a comparison of MLflow runs may have thousands of values."""
_FIRST_CHARTS: Final = 2
_SAID_LACKING: Final = 12
_LOSSES: Final = ("val_loss", "loss")


class Cell(msgspec.Struct, frozen=True):
    """One run's value in a row."""

    text: str
    title: str = ""
    best: bool = False
    lacking: bool = False


class Row(msgspec.Struct, frozen=True):
    """One value of all runs."""

    name: str
    title: str
    cells: list[Cell]
    hint: str = ""  # which way is better


class Rows(msgspec.Struct, frozen=True):
    """A table, and how many rows it leaves out."""

    rows: list[Row]
    more: int = 0


class RecallCell(msgspec.Struct, frozen=True):
    """A run's recall at a k, and popularity's; None: not measured."""

    model: float | None
    popularity: float | None
    best: bool = False

    @property
    def times(self) -> float | None:
        """The model's recall as a multiple of popularity's."""
        return self.model / self.popularity if self.model is not None and self.popularity else None


class RecallRow(msgspec.Struct, frozen=True):
    """All runs at one k."""

    k: int
    cells: list[RecallCell]


class Chart(msgspec.Struct, frozen=True):
    """A chart that is there before the scripts are."""

    name: str
    drawn: Markup


class Lack(msgspec.Struct, frozen=True):
    """What a run lacks, in words."""

    head: RunHead
    said: list[str]


class CompareView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the template reads."""

    runs: list[RunHead]
    missing: list[int]
    charts: list[Chart]
    curves: int
    params: Rows
    same_params: dict[str, Any]
    tags: Rows
    same_tags: dict[str, Any]
    values: Rows
    same_values: dict[str, float]
    recalls: list[RecallRow]
    recall_chart: Markup
    scatter: Scatter | None
    lacks: list[Lack]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The choices of a reader: which names to find, and the axes of the scatter."""

    find: str = ""  # words of names: of curves, values, params and tags
    x: str = ""
    y: str = ""
    log_x: bool = False
    log_y: bool = False


def to_view(found: Comparison, look: Look) -> CompareView:
    """Returns all that the page of a comparison shows."""
    heads = [_to_head(line, place) for place, line in enumerate(found.runs)]
    words = look.find.lower().split()
    epochs = {line["id"]: _decode(line["epochs"]) for line in found.runs}
    curves = [curve for curve in in_order(found.curves) if _matches(curve.name, words)]
    recalls = to_recalls(found)
    values, same_values = _to_values(found, words)
    return CompareView(
        runs=heads,
        missing=found.missing,
        charts=[_draw(curve, heads, epochs) for curve in curves[:_FIRST_CHARTS]],
        curves=len(found.curves),
        params=_to_rows(found.params.differ, words),
        same_params=found.params.same,
        tags=_to_rows(found.tags.differ, words),
        same_tags=found.tags.same,
        values=values,
        same_values=same_values,
        recalls=recalls,
        recall_chart=_draw_recalls(recalls, heads),
        scatter=to_scatter(found, heads, look.x, look.y, log_x=look.log_x, log_y=look.log_y),
        lacks=[lack for at, head in enumerate(heads) if (lack := _to_lack(found, at, head)).said],
    )


def in_order(curves: Iterable[ComparedCurve]) -> list[ComparedCurve]:
    """Sorts the curves: the losses first, then those with a known direction, then the rest; otherwise as they come."""
    return sorted(curves, key=lambda curve: (_loss_place(curve.name), curve.direction is None))


def _loss_place(name: str) -> int:
    return _LOSSES.index(name) if name in _LOSSES else len(_LOSSES)


def _matches(name: str, words: Sequence[str]) -> bool:
    return all(word in name.lower() for word in words)


def _decode(raw: Any) -> Any:
    return msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw | bytes) else raw


def _to_head(line: dict[str, Any], place: int) -> RunHead:
    return RunHead(
        id=line["id"],
        name=line["display_name"] or f"Run {line['id']}",
        status=str(line["status"]),
        experiment=line["experiment"],
        place=place,
        available=line["available"],
    )


def _draw(curve: ComparedCurve, heads: Sequence[RunHead], epochs: dict[int, Any]) -> Chart:
    by_id = {head.id: head for head in heads}
    lines, axis = [], "epoch"
    for one in curve.runs:
        values = [finite(value) for value in _decode(one.values) or []]
        steps = _decode(one.steps)
        axis = "step" if steps is not None else axis
        at = [float(step) for step in (steps if steps is not None else epochs[one.id])]
        count = min(len(at), len(values))
        lines.append(SvgLine(by_id[one.id].name, at[:count], values[:count], to_style(by_id[one.id].place)))
    title = f"{curve.name[:200]} of {len(lines)} runs by {axis}"
    return Chart(curve.name, draw_lines(lines, title=title, axis=axis))


def _to_rows(differ: Sequence[Differing], words: Sequence[str]) -> Rows:
    shown = [one for one in differ if _matches(one.name, words)]
    # In the end what is the same wherever it is.
    shown.sort(key=lambda one: (not _differs(one.values), sum(value is None for value in one.values)))
    rows = [Row(one.name, one.name, [_to_text_cell(value) for value in one.values]) for one in shown[:MOST_ROWS]]
    return Rows(rows, len(shown) - len(rows))


def _to_text_cell(value: Any) -> Cell:
    if value is None:
        return Cell("none", lacking=True)
    if isinstance(value, bool):
        return Cell("true" if value else "false")
    if isinstance(value, float):
        return Cell(to_short(value), str(value))
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Cell(text if len(text) <= 200 else text[:200] + "…", text[:2_000])


def _to_values(found: Comparison, words: Sequence[str]) -> tuple[Rows, dict[str, float]]:
    """Returns the values that differ, the telling ones first, and those that do not differ."""
    shown = [value for value in found.values if _matches(to_name(value.field), words)]
    same = {value.field: one for value in shown if (one := value.values[0]) is not None and len(set(value.values)) == 1}
    if len(found.ids) == 1:
        same = {}
    differ = sorted((value for value in shown if value.field not in same), key=_value_place)
    rows = [_to_value_row(value, found.ids) for value in differ[:MOST_ROWS]]
    return Rows(rows, len(differ) - len(rows)), same


def _value_place(value: ComparedValue) -> tuple[bool, int, int]:
    """Returns a sort key: test values, then the best of each series, then the rest; what some lack after the others."""
    name = to_name(value.field)
    part = 0 if name.startswith("test") else 1 if value.field.startswith("best.") else 2
    lacking = sum(one is None for one in value.values)
    return _is_baseline(name) or value.direction is None or not _differs(value.values), lacking, part


def _differs(row: Sequence[Any]) -> bool:
    """Returns whether two runs that have the value have different ones."""
    return len({str(one) for one in row if one is not None}) > 1


def _is_baseline(name: str) -> bool:
    """Returns whether a value is a baseline's, which says nothing about the run."""
    return "popularity" in name or name.startswith("baseline")


def _to_value_row(value: ComparedValue, ids: Sequence[int]) -> Row:
    name = to_name(value.field)
    best = set() if _is_baseline(name) or not _differs(value.values) else set(value.best)
    cells = [
        Cell("none", lacking=True) if number is None else Cell(to_short(number), str(number), best=id_ in best)
        for id_, number in zip(ids, value.values, strict=True)
    ]
    hint = (
        ""
        if _is_baseline(name)
        else {"min": "lower is better", "max": "higher is better"}.get(value.direction or "", "")
    )
    return Row(f"best {name}" if value.field.startswith("best.") else name, value.field, cells, hint)


def to_recalls(found: Comparison) -> list[RecallRow]:
    """Returns the recalls by k, ascending; without each k at which no model was measured."""
    by_k: dict[int, dict[bool, list[float | None]]] = {}
    for value in found.values:
        match = RECALL.fullmatch(to_name(value.field)) if value.field.startswith("metrics.") else None
        if match and len(match[2]) < 7:
            by_k.setdefault(int(match[2]), {})[bool(match[1])] = value.values
    rows = []
    for k, both in sorted(by_k.items()):
        models = both.get(False, [])
        popularity = both.get(True, [None] * len(found.ids))
        there = [model for model in models if model is not None]
        top = max(there) if len(set(there)) > 1 else None
        if there:
            cells = [
                RecallCell(*pair, best=pair[0] is not None and pair[0] == top)
                for pair in zip(models, popularity, strict=True)
            ]
            rows.append(RecallRow(k, cells))
    return rows


def _draw_recalls(rows: Sequence[RecallRow], heads: Sequence[RunHead]) -> Markup:
    """Draws the recall over k of each run, with popularity's below them."""
    if len(rows) < 2:
        return Markup("")
    ks = [float(row.k) for row in rows]
    lines = [
        SvgLine(head.name, ks, [row.cells[at].model for row in rows], to_style(head.place))
        for at, head in enumerate(heads)
    ]
    popularity = dict.fromkeys(tuple(row.cells[at].popularity for row in rows) for at in range(len(heads)))
    lines += [SvgLine("popularity", ks, list(values), "popularity") for values in popularity if any(values)]
    return draw_lines(lines, title="Recall at k of each run, and of popularity", axis="k", height=300)


def _to_lack(found: Comparison, at: int, head: RunHead) -> Lack:
    lacking = found.lacks[at]
    if not head.available:
        return Lack(head, ["nothing of it is published"])
    said = []
    for what, names in (
        ("curves", lacking.curves),
        ("values", [to_name(field) for field in lacking.values if field.startswith("metrics.")]),
        ("parameters", lacking.params),
        ("tags", lacking.tags),
    ):
        if names:
            some = [name if len(name) <= 80 else name[:80] + "…" for name in names[:_SAID_LACKING]]
            more = f", and {len(names) - len(some)} more" if len(names) > len(some) else ""
            said.append(f"{what}: {', '.join(some)}{more}")
    return Lack(head, said)
