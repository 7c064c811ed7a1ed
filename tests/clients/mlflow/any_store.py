"""An MLflow store of runs that no two-tower trainer logged: other names, other steps, other habits."""

from collections.abc import Iterable
from typing import Any

import msgspec

from switchyard.core.mlflow.raw_run import Points, RawRun
from tests.core.mlflow.factories import make_info, make_points, make_small


def _fall(position: int) -> float:
    return round(3.0 / (1 + position / 8) + 0.02 * (position % 4), 6)


def _line(steps: Iterable[int], every_ms: int = 800) -> Points:
    return make_points(*((step, every_ms * i, _fall(i)) for i, step in enumerate(steps)))


def _unstepped(count: int, every_ms: int, first_ms: int = 0) -> Points:
    return make_points(*((0, first_ms + every_ms * i, _fall(i)) for i in range(count)))


_EPOCHS = range(25)

METRICS: dict[str, dict[str, Points]] = {
    "steps of batches": {"val_loss": _line(range(99, 4_000, 100))},
    "batches and validation": {
        "loss": _line(range(10_000), every_ms=9),
        "val_loss": _line(range(249, 10_000, 250), every_ms=2_250),
    },
    "every tenth step": {key: _line(range(10, 1_210, 10)) for key in ("loss", "eval_loss", "learning_rate")},
    "other names": {key: _line(_EPOCHS) for key in ("train_loss", "val_loss", "train_acc", "val_acc")},
    "slashes": {key: _line(_EPOCHS) for key in ("train/loss", "eval/loss", "eval/mAP_50")},
    "values alone": {"accuracy": make_points((0, 10, 0.91)), "rmse": make_points((0, 10, 3.2))},
    "no steps": {"loss": _unstepped(30, 1_000), "val_loss": _unstepped(6, 5_000, first_ms=1)},
    "a search": {"best_rmse": make_points((0, 10, 2.9))},
    "a trial": {"rmse": make_points((0, 10, 2.9))},
    "running": {"loss": _line(range(5))},
    "params alone": {},
    "no status": {"loss": _line(range(5))},
    "a test curve": {"loss": _line(range(20)), "test_accuracy": _line(range(20))},
    "hostile names": {key: _line(range(3)) for key in ("__proto__", "x" * 240, "a\tb", "Loss", "loss", "<b>")},
}
"""By the run's name, what it logged."""

_INFO: dict[str, dict[str, Any]] = {
    "running": {"status": "RUNNING", "ended_at_ms": None},
    "no status": {"status": None},
}
_TAGS = {"a trial": {"mlflow.parentRunId": f"{8:032x}", "mlflow.note.content": "a note"}}


def make_runs() -> dict[str, RawRun]:
    """Makes the runs, by name; ids count from 1."""
    return {
        name: msgspec.structs.replace(
            make_small(metrics),
            info=make_info(**{"run_id": f"{number:032x}", "name": name, **_INFO.get(name, {})}),
            params={"depth": str(number)},
            tags=_TAGS.get(name, {}),
        )
        for number, (name, metrics) in enumerate(METRICS.items(), 1)
    }
