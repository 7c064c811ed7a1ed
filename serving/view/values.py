"""The values on a run's page: its progress, what it measured, its best values, and where its history came from."""

import re
from typing import Any, Final

import msgspec

from serving.view.charts import KIND_LABELS
from serving.view.stored import finite, section
from switchyard.core.runs.machine_use import to_machine_use
from switchyard.core.runs.rows import QuickTest

RECALL: Final = re.compile(r"(?:test_)?(popularity_)?recall_at_(\d+)")
_HEADLINE_K: Final = 10
_HEADLINES: Final = ("recall", "ndcg", "hit", "map", "mrr", "precision", "auc", "f1", "acc", "loss")
"""Words in the names of metrics, the most useful first; the losses are last."""


class Best(msgspec.Struct, frozen=True):
    """The best value of a series; the name of the series tells if lower or higher is better."""

    name: str
    value: float | None
    at: str  # "epoch 17"
    direction: str  # lowest | highest


class Progress(msgspec.Struct, frozen=True):
    """How far a training run is; `epochs` is None if it is not known how many were asked for."""

    done: int
    epochs: int | None

    @property
    def said(self) -> str:
        """The progress in words: ``12 of 50 epochs``."""
        return f"{self.done} of {self.epochs} epochs" if self.epochs else f"{self.done} epochs"


class Recall(msgspec.Struct, frozen=True):
    """Test recall at k, beside that of always answering the most popular products; None: not measured."""

    k: int
    model: float | None
    popularity: float | None

    @property
    def times(self) -> float | None:
        """The model's recall as a multiple of popularity's."""
        return self.model / self.popularity if self.model is not None and self.popularity else None


def to_best(history: dict[str, Any]) -> list[Best]:
    """Returns the best values by name, as the history has them."""
    words = {"min": "lowest", "max": "highest"}
    return [
        Best(
            name,
            finite(best.get("value")),
            f"epoch {best['epoch']}" if "epoch" in best else f"step {best.get('step', '?')}",
            words.get(str(best.get("direction")), ""),
        )
        for name, best in section(history, "best").items()
        if isinstance(best, dict)
    ]


class Headline(msgspec.Struct, frozen=True):
    """What a reader wants to know first."""

    best: Best | None = None
    recall: Recall | None = None  # the one that is shown beside popularity
    duration: str = ""


def to_headline(run: QuickTest, best: list[Best], recalls: list[Recall]) -> Headline:
    """Returns the best value of the most useful metric, the test beside popularity, and the run's duration."""
    known = [one for one in best if one.value is not None]
    chosen = min(known, key=_rank, default=None)
    compared = [line for line in recalls if line.times is not None]
    recall = next((line for line in compared if line.k == _HEADLINE_K), compared[0] if compared else None)
    return Headline(chosen, recall, _to_duration(run))


def _rank(best: Best) -> tuple[int, bool, bool]:
    """Returns a sort key, least first: the more useful metric, then validation before others, then at 10."""
    name = best.name.lower()
    place = next((place for place, word in enumerate(_HEADLINES) if word in name), len(_HEADLINES))
    if best.direction != "highest" and "loss" not in name:
        place = len(_HEADLINES) + 1
    return place, not name.startswith(("val", "eval")), not name.endswith(f"{_HEADLINE_K}")


def _to_duration(run: QuickTest) -> str:
    """Returns the run's duration, such as ``3 min 12 s``; empty if its start or its end is not known."""
    if run.started_at is None or run.completed_at is None:
        return ""
    return say_duration((run.completed_at - run.started_at).total_seconds())


def say_duration(duration_s: float | None) -> str:
    """Returns a duration in words, such as ``3 min 12 s``; empty for None."""
    if duration_s is None:
        return ""
    seconds = max(0, round(duration_s))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds % 60:02} s" if minutes else f"{seconds} s"


def to_progress(history: dict[str, Any]) -> Progress | None:
    """Returns the progress of a run; None if the history does not say."""
    progress = section(history, "progress")
    done, epochs = progress.get("epochs_done"), progress.get("epochs")
    return Progress(done, epochs if isinstance(epochs, int) else None) if isinstance(done, int) else None


def kinds_by_name(recorded: dict[str, Any]) -> dict[str, str]:
    """Returns the final metrics that are not finite, by name, which are null among the values."""
    return {
        name: KIND_LABELS.get(str(next(iter(kinds.values()), "")), "?") for name, kinds in recorded.items() if kinds
    }


def to_recalls(final_metrics: dict[str, Any]) -> list[Recall]:
    """Returns one line per k, ascending; empty if the model's recall was not measured."""
    found: dict[int, dict[bool, float | None]] = {}
    for name, value in final_metrics.items():
        if match := RECALL.fullmatch(name):
            found.setdefault(int(match[2]), {})[bool(match[1])] = finite(value)
    lines = [Recall(k, both.get(False), both.get(True)) for k, both in sorted(found.items())]
    return lines if any(line.model is not None for line in lines) else []


def to_facts(history: dict[str, Any], run: QuickTest) -> dict[str, str]:
    """Returns where the history came from, and what its training used."""
    facts = {
        "source": {"file": "training_metrics.json", "mlflow": "MLflow"}.get(str(history.get("source")), "legacy cache"),
        "MLflow run": str(history.get("mlflow_run_id") or ""),
        "published": str(history.get("cached_at") or ""),
        "digest": str(section(history, "digest").get("charted") or ""),
        "machines": str(to_machine_use(run) or ""),
    }
    return {name: value for name, value in facts.items() if value}
