"""An evaluation report for tests; a test names what differs."""

from typing import Any

from switchyard.core.metrics.evaluation import (
    Bootstrap,
    Contender,
    EvaluationReport,
    Figure,
    Lead,
    LeftOut,
    Measured,
    ReportRun,
)


def make_report(**changes: Any) -> EvaluationReport:
    """A model that loses to one baseline."""
    model = Contender(
        name="model", figures={"all": {"recall_at_10": Figure(value=0.2, low=0.1, high=0.3)}}, coverage=0.5
    )
    lead = Lead(value=-0.2, low=-0.3, high=-0.1, verdict="baseline")
    baseline = Contender(
        name="own_counts",
        figures={"all": {"recall_at_10": Figure(value=0.4, low=0.3, high=0.5)}},
        leads={"all": {"recall_at_10": lead}},
    )
    fields: dict[str, Any] = {
        "run": ReportRun(quick_test_id=12, key="abc", attempt=1, name="a run", seed=7),
        "measured": Measured(pairs=90, of_pairs=90, new_pairs=40, buyers=50, products=30),
        "bootstrap": Bootstrap(draws=1000, confidence=0.95, seed=7),
        "contenders": [model, baseline],
        "left_out": [LeftOut(name="ials", reason="no environment")],
    }
    return EvaluationReport(**{**fields, **changes})
