"""The model's card: what a person should know of a trained model before using it, as Markdown.

Its parts follow Mitchell et al., "Model cards for model reporting", FAT* 2019. All figures are the report's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from switchyard.core.metrics.evaluation import (
    SLICES,
    Contender,
    EvaluationReport,
    Figure,
    Verdict,
    to_title,
)

WORDS: Final[Mapping[Verdict, str]] = {
    "model": "the model wins",
    "level": "level",
    "baseline": "**the baseline wins**",
    "too_few": "too few buyers to say",
}
_COUNTED: Final = (
    "rows_read", "train_rows", "validation_pairs", "test_pairs", "buyers", "products", "last_train_time",
    "last_validation_time", "refit_rows", "refit_buyers", "refit_products", "model_trained_until",
)  # fmt: skip
_JUDGED: Final = (
    ("all", "recall_at_10"), ("new", "recall_at_10"), ("all", "ndcg_at_10"), ("light", "recall_at_10"),
    ("heavy", "recall_at_10"),
)  # fmt: skip


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the card says beside the report."""

    params: Mapping[str, Any]  # the run's: what was asked for, and what was counted
    image: str  # the container image, by its digest; empty: a process on a machine
    code: str  # digest of the code that trained
    top_k: int


def to_card(report: EvaluationReport, facts: CardFacts) -> str:
    """Returns the card. Equal reports and facts have equal cards."""
    return "\n".join(_list_lines(report, facts)) + "\n"


def _list_lines(report: EvaluationReport, facts: CardFacts) -> Iterator[str]:
    run, params = report.run, facts.params
    yield f"# Model card: {_escape(run.name) or f'quick test {run.quick_test_id}'}"
    yield ""
    yield "A two-tower recommender: for a buyer, the products that the buyer is most likely to buy next. It answers"
    yield f"{facts.top_k} products. A buyer that it does not know gets what sells {_to_when(params)}."
    yield ""
    yield "## Where it comes from"
    yield ""
    yield from _to_pairs(
        {
            "quick test": run.quick_test_id or "none",
            "submission key": run.key,
            "attempt": run.attempt,
            "seed": run.seed,
            "image": facts.image or "none: a process on a machine",
            "code": facts.code,
        }
    )
    yield ""
    yield "## Data and split"
    yield ""
    source = params.get("data_uri") or "made-up interactions"
    yield from _to_pairs({"data": source, **{name: params[name] for name in _COUNTED if name in params}})
    yield ""
    test, validation = params.get("test_fraction"), params.get("validation_fraction")
    yield f"The split is by time: the newest {test} of the rows are the test, the {validation} before them validation."
    yield "No setting of this training was chosen on test rows. The figures below are those of the model that was"
    yield "trained on the train rows alone."
    if epochs := params.get("refit_epochs"):
        yield f"The model that answers was then trained again, for {epochs} epochs, on the train and validation rows."
        yield "Its buyers and products are those of these rows. It has not been measured."
    else:
        yield "That model answers. Its buyers and products are those of the train rows."
    yield ""
    yield from _list_figures(report)
    yield ""
    yield "## Settings"
    yield ""
    skipped = {*_COUNTED, "data_uri"}
    yield from _to_pairs({name: value for name, value in sorted(params.items()) if name not in skipped})


def _to_when(params: Mapping[str, Any]) -> str:
    return "most of late" if params.get("recent_popularity") else "most"


def _list_figures(report: EvaluationReport) -> Iterator[str]:
    measured, bootstrap = report.measured, report.bootstrap
    yield "## How good it is"
    yield ""
    drawn = "" if measured.pairs == measured.of_pairs else f" of {measured.of_pairs:,} (buyers were drawn)"
    yield f"Measured on {measured.pairs:,} test pairs{drawn} of {measured.buyers:,} buyers among {measured.products:,}"
    yield f"products. In {measured.new_pairs:,} of the pairs the product is new to the buyer. In brackets: the middle"
    yield f"{bootstrap.confidence:.0%} of {bootstrap.draws:,} draws of the buyers."
    for name, group in measured.groups.items():
        title = SLICES.get(name, name).capitalize()
        yield f"{title} ({group.buyers:,}) have {group.least:,} to {group.most:,} train purchases."
    for part, title in SLICES.items():
        metrics = list(report.model.figures.get(part, {}))
        if not metrics:
            continue
        yield ""
        yield f"### On {title}"
        yield ""
        yield "| | " + " | ".join(_to_metric(metric) for metric in metrics) + " |"
        yield "|---" * (len(metrics) + 1) + "|"
        for one in report.contenders:
            figures = one.figures.get(part, {})
            yield f"| {_escape(to_title(one.name))} | " + " | ".join(_say(figures.get(name)) for name in metrics) + " |"
    yield ""
    yield "### Who wins"
    yield ""
    yield "By the interval of the difference over the same draws. It is not corrected for the number of comparisons."
    yield ""
    judged = [at for at in _JUDGED if at[1] in report.model.figures.get(at[0], {})]
    yield "| | " + " | ".join(f"{_to_metric(metric)}, {SLICES[part]}" for part, metric in judged) + " | coverage@10 |"
    yield "|---" * (len(judged) + 2) + "|"
    for one in report.contenders:
        yield f"| {_escape(to_title(one.name))} | " + " | ".join(_list_verdicts(one, judged)) + " |"
    settings = [one for one in report.contenders if one.settings]
    if settings or report.left_out:
        yield ""
    for one in settings:
        shown = ", ".join(f"{name} {value}" for name, value in one.settings.items())
        yield f"- {_escape(to_title(one.name))}: {_escape(shown)}{f' ({one.about})' if one.about else ''}"
    for left in report.left_out:
        yield f"- {_escape(to_title(left.name))} was left out: {_escape(left.reason)}"


def _list_verdicts(one: Contender, judged: list[tuple[str, str]]) -> Iterator[str]:
    for part, metric in judged:
        lead = one.leads.get(part, {}).get(metric)
        yield f"{WORDS[lead.verdict]} ({lead.value:+.4f})" if lead is not None else "-"
    yield "-" if one.coverage is None else f"{one.coverage:.3f}"


def _say(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:.4f} ({figure.low:.4f}-{figure.high:.4f})"


def _to_metric(name: str) -> str:
    """Returns the metric as people write it.

    >>> _to_metric("recall_at_10"), _to_metric("ndcg_at_10")
    ('recall@10', 'NDCG@10')
    """
    return name.replace("_at_", "@").replace("ndcg", "NDCG")


def _to_pairs(values: Mapping[str, Any]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, value in values.items():
        yield f"| {_escape(name)} | {_escape(value)} |"


def _escape(value: object) -> str:
    """Returns the text as one line without markup.

    >>> _escape("a | b\\n# <c>")
    'a \\\\| b # \\\\<c\\\\>'
    """
    return re.sub(r"([\\\\`*\[\]<>|])", r"\\\1", " ".join(str(value).split()))
