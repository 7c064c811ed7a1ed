"""Makes a training's evaluation report and the model's card; if one cannot be made, the training goes on."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from switchyard.core.errors import BadRecord
from switchyard.core.metrics.evaluation import (
    CARD_NAME,
    REPORT_NAME,
    EvaluationReport,
    ReportRun,
    read_report,
    to_report_json,
    to_title,
)
from switchyard.core.metrics.model_card import CardFacts, to_card
from switchyard.core.runs.spec import TrainSpec
from trainer.console import say
from trainer.data.splitting import Dataset
from trainer.model.choosing import K
from trainer.model.comparing import Contest, make_report
from trainer.model.measuring import Scorer
from trainer.output.checkpoints import Array
from trainer.output.journal import Journal
from trainer.stopping import Stopped


@dataclass(frozen=True)
class Reporter:
    """Makes the report and the card.

    Args:
        baselines_python: see `Contest`.
        image: the digest of the container image that trains; empty: none.
    """

    baselines_python: str = ""
    image: str = ""

    def measure(
        self, journal: Journal, spec: TrainSpec, dataset: Dataset, model: Scorer, check: Callable[[], None]
    ) -> bytes:
        """Returns the report as a file's bytes; empty, with a warning in the log and the params, if it cannot be made.

        Raises: Stopped.
        """
        began_at = time.monotonic()
        try:
            contest = Contest(spec, dataset, self.baselines_python, check)
            made = make_report(contest, model, _to_run(journal, spec))
            data = to_report_json(made)
        except Stopped:
            raise
        except Exception as err:  # noqa: BLE001 - the model is trained, whatever is wrong with its report
            _give_up(journal, err)
            return b""
        say(f"evaluation report in {time.monotonic() - began_at:.1f} s: {'; '.join(_list_said(made))}")
        return data

    def to_files(self, journal: Journal, spec: TrainSpec, report: bytes) -> dict[str, bytes]:
        """Returns the report and the card by file name, made with the current params; nothing if the report is empty.

        If the card cannot be made, the report is left out too."""
        if not report:
            return {}
        try:
            facts = CardFacts(params=journal.params, image=self.image, code=digest_code(), top_k=spec.top_k)
            card = to_card(read_report(report, REPORT_NAME), facts)
        except Exception as err:  # noqa: BLE001 - as in `measure`
            _give_up(journal, err)
            return {}
        return {REPORT_NAME: report, CARD_NAME: card.encode()}


class KeptReport:
    """Holds the report from the test until the export; a refit's checkpoint has it, so a restart measures nothing."""

    def __init__(self) -> None:
        self.data = b""

    def to_arrays(self) -> dict[str, Array]:
        """Returns what a restart needs."""
        return {"report": np.frombuffer(self.data, np.uint8)}

    def put_arrays(self, model: keras.Model, arrays: Mapping[str, Array]) -> None:
        """Goes on from `to_arrays`. Raises: BadRecord: there is no report, or a damaged one."""
        if arrays.keys() != {"report"}:
            raise BadRecord("the checkpoint", [f"a report was expected; got {sorted(arrays)}"])
        data = np.asarray(arrays["report"], np.uint8).tobytes()
        if data:
            read_report(data, "the checkpoint's report")
        self.data = data


def _give_up(journal: Journal, err: Exception) -> None:
    said = f"{type(err).__name__}: {err}"
    say(f"the evaluation report was not made, the training goes on: {said}", "WARNING")
    journal.params["evaluation_report"] = f"not made: {said}"


def _to_run(journal: Journal, spec: TrainSpec) -> ReportRun:
    identity = journal.folder.identity
    return ReportRun(
        quick_test_id=identity.quick_test_id,
        key=identity.key,
        attempt=identity.attempt,
        name=identity.name,
        seed=spec.seed,
    )


def _list_said(made: EvaluationReport) -> Iterator[str]:
    words = {"model": "the model wins", "baseline": "the baseline wins", "level": "level", "too_few": "too few buyers"}
    for one in made.contenders[1:]:
        lead = one.leads.get("all", {}).get(f"recall_at_{K}")
        if lead is not None:
            value = one.figures["all"][f"recall_at_{K}"].value
            yield f"{to_title(one.name)} recall@{K} {value:.4f} ({words[lead.verdict]})"
    yield from (f"{to_title(one.name)} left out: {one.reason}" for one in made.left_out)


def digest_code() -> str:
    """Returns ``sha256:`` and 64 hex digits, over all Python files of the trainer and of the library that it uses."""
    import switchyard

    roots = [Path(__file__).parent, *map(Path, switchyard.__path__)]
    files = ((root.name, path.relative_to(root), path) for root in roots for path in root.rglob("*.py"))
    return f"sha256:{_digest_files(files)}"


def _digest_files(files: Iterable[tuple[str, Path, Path]]) -> str:
    hashed = hashlib.sha256()
    for room, name, path in sorted(files):
        hashed.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {room}/{name.as_posix()}\n".encode())
    return hashed.hexdigest()
