"""A run's loss curves as a PNG, for readers that cannot run the page: a Prefect artifact, a mail."""

import io
import math
from functools import lru_cache
from threading import Lock
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import LogFormatter, MaxNLocator

from serving.view.charts import Charts, to_charts
from switchyard.core.runs.rows import QuickTest

_SIZE_INCHES: Final = (8.0, 4.5)
_DPI: Final = 100  # 800 x 450 pixels
_STYLES: Final = {"train": ("#0072b2", "o"), "val": ("#d55e00", "s")}  # Okabe and Ito's, as on the page
_LOG_ABOVE: Final = 20.0
"""`auto` takes a logarithmic axis where the largest loss is this many times the smallest."""

_drawing: Final = Lock()  # Matplotlib's font caches are not made for several threads


def draw(run: QuickTest, stored: bytes | None, scale: str) -> bytes:
    """Draws the PNG, 800 x 450; the same bytes for the same arguments. `scale` is auto, linear or log."""
    title = f"{run.display_name or 'Run'} ({run.id}, {run.status})"
    with _drawing:
        return _draw(title, stored, scale)


@lru_cache(maxsize=64)
def _draw(title: str, stored: bytes | None, scale: str) -> bytes:
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    charts = to_charts(stored)
    axes = figure.add_subplot()
    # Names come from people: no mathematics in them, and no glyph that the font lacks.
    axes.set_title(_drawable(title), loc="left", fontsize=13, parse_math=False)
    curves = {name: charts.loss.curves[name] for name in _STYLES if name in charts.loss.curves} if charts else {}
    if charts is None or not curves:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing published yet", ha="center", va="center", fontsize=18, color="#566273")
    else:
        _draw_curves(axes, charts, curves, scale)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw_curves(axes: Axes, charts: Charts, curves: dict[str, list[float | None]], scale: str) -> None:
    epochs = charts.epochs
    for name, values in curves.items():
        color, marker = _STYLES[name]
        heights = [math.nan if value is None else value for value in values]
        axes.plot(
            epochs, heights, color=color, marker=marker, markersize=5, linewidth=2, label=charts.loss.labels[name]
        )
    finite = [value for values in curves.values() for value in values if value is not None]
    spread = finite and min(finite) > 0 and max(finite) > _LOG_ABOVE * min(finite)
    if finite and max(finite) > 0 and (scale == "log" or (scale == "auto" and spread)):
        axes.set_yscale("log")
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.6)))  # 6, not 6 x 10^0
    marks = sorted({mark.epoch for mark in charts.loss.marks})
    if marks:
        foot = axes.get_xaxis_transform()
        axes.plot(marks, [0.03] * len(marks), "x", color="#b0005a", markersize=9, transform=foot, label="not finite")
    axes.set_xlabel("epoch", fontsize=12)
    axes.set_ylabel("loss", fontsize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlim(left=max(-0.8, axes.get_xlim()[0]))  # no tick below epoch 0
    axes.grid(which="both", color="#e4e8ec")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=11)


def _drawable(text: str) -> str:
    """Returns `text` on one line, with what the font cannot draw as question marks."""
    drawn = get_font(findfont(FontProperties())).get_charmap()
    shown = "".join(character if ord(character) in drawn else "?" for character in text)
    return shown if len(shown) <= 80 else shown[:79] + "…"
