"""What a run's page shows, made from its row and its stored history, whichever program wrote it."""

from typing import Any

import msgspec

from serving.view.charts import Charts, draw_charts
from serving.view.notes import Note, curve_notes, legacy_notes, mark_notes, status_notes, warning_notes
from serving.view.parameters import Parameters, to_parameters
from serving.view.stored import read_stored, section
from serving.view.values import (
    RECALL,
    Best,
    Headline,
    Progress,
    Recall,
    kinds_by_name,
    to_best,
    to_facts,
    to_headline,
    to_progress,
    to_recalls,
)
from switchyard.core.runs.rows import QuickTest


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the template reads."""

    run: QuickTest
    charts: Charts | None = None  # None: nothing readable is published
    progress: Progress | None = None  # None: the run has ended, or does not say
    best: list[Best] = []
    notes: list[Note] = []
    recalls: list[Recall] = []
    metrics: dict[str, Any] = {}
    params: dict[str, Any] = {}
    facts: dict[str, str] = {}
    headline: Headline = Headline()

    @property
    def parameters(self) -> Parameters:
        """The parameters in the order in which a reader needs them."""
        return to_parameters(self.params)

    @property
    def title(self) -> str:
        """The run's name, or its id if it has none."""
        return self.run.display_name or f"Run {self.run.id}"

    @property
    def live(self) -> bool:
        """True while the page should refresh itself."""
        return not self.run.status.ended


def to_view(run: QuickTest, stored: bytes | None) -> RunView:
    """Returns the page of `run`; `stored` is its history as the API sends it. No content of it raises an error."""
    try:
        history = read_stored(stored)
    except ValueError as err:
        text = f"It is not a valid history ({err}). Publish the run again: switchyard ingest."
        return RunView(
            run=run, notes=[Note("warning", "The stored history cannot be read", text)], params=run.parameters
        )
    if history is None:
        return RunView(run=run, params=run.parameters, headline=to_headline(run, [], []))
    charts, ragged = draw_charts(history)
    final_metrics = section(history, "final_metrics")
    said = {**final_metrics, **kinds_by_name(section(section(history, "non_finite"), "final_metrics"))}
    recalls, best = to_recalls(final_metrics), to_best(history)
    return RunView(
        run=run,
        charts=charts,
        progress=None if run.status.ended else to_progress(history),
        best=best,
        notes=[
            *status_notes(run, history, charts),
            *curve_notes(history, charts),
            *legacy_notes(history, ragged),
            *mark_notes(charts, section(history, "sampling")),
            *warning_notes(history),
        ],
        recalls=recalls,
        metrics={name: value for name, value in said.items() if not (recalls and RECALL.fullmatch(name))},
        params=section(history, "params") or run.parameters,
        facts=to_facts(history, run),
        headline=to_headline(run, best, recalls),
    )
