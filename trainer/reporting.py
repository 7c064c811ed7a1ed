"""The evaluation report of a training and the model's card, as files. One that cannot be made costs no training."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from switchyard.core.metrics.evaluation import (
    CARD_NAME,
    REPORT_NAME,
    EvaluationReport,
    ReportRun,
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
from trainer.output.journal import Journal
from trainer.stopping import Stopped


@dataclass(frozen=True)
class Reporter:
    """Makes the report's files.

    Args:
        baselines_python: see `Contest`.
        image: the container image that trains, by its digest; empty: none.
    """

    baselines_python: str = ""
    image: str = ""

    def report(
        self, journal: Journal, spec: TrainSpec, dataset: Dataset, model: Scorer, check: Callable[[], None]
    ) -> dict[str, bytes]:
        """The files, by name; none, with a warning in the log and in the params, where they cannot be made.

        Raises: Stopped.
        """
        began_at = time.monotonic()
        try:
            contest = Contest(spec, dataset, self.baselines_python, check)
            made = make_report(contest, model, _to_run(journal, spec))
            facts = CardFacts(params=journal.params, image=self.image, code=digest_code(), top_k=spec.top_k)
            files = {REPORT_NAME: to_report_json(made), CARD_NAME: to_card(made, facts).encode()}
        except Stopped:
            raise
        except Exception as err:  # noqa: BLE001 - the model is trained, whatever is wrong with what is said of it
            said = f"{type(err).__name__}: {err}"
            say(f"the evaluation report was not made, the training goes on: {said}", "WARNING")
            journal.params["evaluation_report"] = f"not made: {said}"
            return {}
        say(f"evaluation report in {time.monotonic() - began_at:.1f} s: {'; '.join(_list_said(made))}")
        return files


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
    """``sha256:`` and 64 hex digits of all Python files of the trainer and of the library that it runs on."""
    import switchyard

    roots = [Path(__file__).parent, *map(Path, switchyard.__path__)]
    files = ((root.name, path.relative_to(root), path) for root in roots for path in root.rglob("*.py"))
    return f"sha256:{_digest_files(files)}"


def _digest_files(files: Iterable[tuple[str, Path, Path]]) -> str:
    hashed = hashlib.sha256()
    for room, name, path in sorted(files):
        hashed.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {room}/{name.as_posix()}\n".encode())
    return hashed.hexdigest()
