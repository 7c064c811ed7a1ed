"""The mapping of docs/mapping.md as data: every MLflow key and what becomes of it.

Also what was decided for runs that are not as they should be. Tests hold `mapping.py` to each line, and the page to
these tables.
"""

from typing import Final

import msgspec


class KeyRule(msgspec.Struct, frozen=True):
    """One line: the MLflow key or keys, one of them as an example, and the JSON path in the record that it becomes."""

    keys: str
    example: str
    path: str
    remark: str = ""


class Case(msgspec.Struct, frozen=True):
    """One kind of run that is not as it should be: what is done, and what is lost by it, and why."""

    name: str
    decision: str
    lost: str = "nothing"


METRICS: Final = (
    *(KeyRule(f"`{name}`", name, f"loss.{name}", f"published as `{published}`") for name, published in (
        ("loss", "train"), ("val_loss", "val"), ("regularization_loss", "regularization"),
        ("val_regularization_loss", "val_regularization"), ("total_loss", "total"), ("val_total_loss", "val_total"),
    )),
    KeyRule("`weight_norm`", "weight_norm", "gradient.total", "an L2 norm of weights; the section's name is older"),
    KeyRule("`query_weight_norm`", "query_weight_norm", "gradient.query"),
    KeyRule("`candidate_weight_norm`", "candidate_weight_norm", "gradient.candidate"),
    KeyRule(
        "`{tower}_weights_{mean,std,min,max,norm}`", "query_weights_std", "weight_stats.query.std",
        "tower is `query` or `candidate`; legacy code logged no `norm` here",
    ),
    KeyRule(
        "`{tower}_grad_{mean,std,min,max,norm}`", "candidate_grad_norm",
        "gradient_stats.candidate.norm",
    ),
    KeyRule(
        "`{tower}_grad_{std_with_zeros,touched_fraction,clipped,non_finite,steps,sampled_steps}`",
        "query_grad_touched_fraction", "gradient_stats.query.touched_fraction", "our own trainer's",
    ),
    KeyRule(
        "`{tower}_hist_bin_{0-24}`", "query_hist_bin_7", "weight_stats.query.histogram.counts",
        "column 7 of [epochs, 25]; at epochs alone",
    ),
    KeyRule(
        "`{tower}_grad_hist_bin_{0-24}`", "candidate_grad_hist_bin_24", "gradient_stats.candidate.histogram.counts",
        "column 24",
    ),
    KeyRule(
        "`final_*`", "final_val_loss", "final_metrics.final_val_loss",
        "the last value, by step, then time; of several steps also a curve, as the last two lines",
    ),
    KeyRule("`test_*`", "test_recall_at_10", "final_metrics.test_recall_at_10", "as the line above"),
    KeyRule(
        "`popularity_recall_at_*`", "popularity_recall_at_10", "final_metrics.popularity_recall_at_10",
        "our own trainer's, as the two lines above",
    ),
    KeyRule(
        "any other key, all steps of which are epochs", "val_recall_at_10", "metrics.val_recall_at_10",
        "null at epochs without a point, but see the sparse ones below",
    ),
    KeyRule(
        "every key with other steps, those above too", "batch_loss", "other_series.batch_loss.values",
        "under its name, on its own steps, every point kept",
    ),
)  # fmt: skip

PARAMS: Final = (
    KeyRule(
        "`{tower}_hist_bin_edges`", "query_hist_bin_edges", "weight_stats.query.histogram.bin_edges",
        "`first_epoch`: the legacy code binned each epoch on its own and logged the first one's edges",
    ),
    KeyRule(
        "`{tower}_grad_hist_bin_edges`", "query_grad_hist_bin_edges", "gradient_stats.query.histogram.bin_edges",
        "`all`: gradients were always counted on the same edges",
    ),
    KeyRule("every param, these four too", "optimizer", "params.optimizer", "a string, as MLflow has it"),
)  # fmt: skip

CASES: Final = (
    Case(
        "a step logged twice",
        "the last value counts, by timestamp, then by value (NaN below all numbers)",
        "the values before it: a retried or corrected log; kept in an export",
    ),
    Case(
        "a resumed run that overlaps",
        "as above: what the resumed part logged counts",
        "what the first part had logged at those steps; kept in an export",
    ),
    Case(
        "more than two points a step, on average",
        "no retry: batches, say, under the number of their epoch. Whole in `other_series`",
    ),
    Case(
        "all points of a series at step 0",
        "logged without steps: more than two are numbered 0, 1, 2, ... in the order of time, each series on its own, "
        "with a warning; also two, in a run where nothing has a step. Series of one length stand on one axis",
        "nothing; the step 0 was never one. The order of points of the same millisecond is not known: it is that of "
        "their values",
    ),
    Case("steps from 1, or with strides", "the epochs are the steps as they were logged"),
    Case(
        "validation shifted by a step",
        "losses and norms that share at least half of the longer one's steps are one axis: the epochs are all of their "
        "steps; null where one has no point",
    ),
    Case(
        "losses on clearly other steps",
        "such as one a batch, and one each 250th: the epochs are the steps that most of the run's series share (ties: "
        "more points, then the first name); a loss on other steps is whole in `other_series`, under its name",
    ),
    Case(
        "no loss",
        "the epochs are the steps that most series of two points and more share (ties as above); else those of a norm "
        "or a tower's statistic; else there are none",
    ),
    Case(
        "missing steps", "null where the others have a point; no epoch where none has", "nothing: there is no point"
    ),
    Case(
        "a sparse series",
        "one point, or fewer than half of the epochs between its first and its last: in `other_series`, for sampled "
        "with the epochs it would lose them; a tower's statistic, which is not sampled, stays among the epochs",
    ),
    Case(
        "no curve at all",
        "one point a key, and no loss: they are `final_metrics`, and `epochs` is empty",
        "the step, which is one and says nothing; kept in an export",
    ),
    Case(
        "negative steps, or above 2^53 - 1",
        "no epoch: such a series is whole in `other_series`, with a warning",
    ),
    Case("NaN and infinities", "null, and their kind in `non_finite`"),
    Case(
        "+-1.797e308",
        "an infinity: that is how MLflow stores one",
        "a true value of that size, which no one can tell from one",
    ),
    Case("missing bins", "null, not 0, in every row; with a warning"),
    Case("a bin that is no count", "null, with a warning", "the number, which counts nothing; kept in an export"),
    Case(
        "bins at steps that are no epochs",
        "left out, with a warning: a run must be the same whether its histograms are read or not",
        "these counts; kept in an export",
    ),
    Case("no histogram", "none; params with edges stay among the params"),
    Case(
        "no weight edges, or damaged ones",
        "`bin_edges` null and `edges_known` `none` where they are cut (500 characters), fewer than 26, falling, or no "
        "numbers; the counts stay, and the text stays among the params",
        "the edges, which were never written down whole",
    ),
    Case("weight edges that repeat", "taken as they are: rounding to 6 decimals made neighbours equal"),
    Case(
        "no gradient edges",
        "the legacy code's fixed range, -1 to 1, with a warning and `edges_assumed`; damaged or repeating ones are not "
        "known, as above",
    ),
    Case("a single epoch", "its edges are all epochs' edges: `all`, where they rise"),
    Case("a run that died", "RUNNING or SCHEDULED, perhaps for ever: `partial`, with what it had logged"),
    Case("a failed or killed run", "FAILED and KILLED: `failed`, with what it had logged"),
    Case("a run without a point", "`available` where it has params; without these there is nothing to show"),
    Case("a deleted run or experiment", "read like any other; the readers say that it is deleted"),
    Case(
        "a run without a name",
        "its name is the tag `mlflow.runName`'s",
        "other tags, and descriptions; kept in an export",
    ),
    Case("extra metrics", "`metrics` or `other_series`, as the table above says"),
    Case("a metric of 30,000 points", "whole, in `other_series`"),
    Case("10,000 keys", "every one is charted"),
    Case("final metrics with several steps", "the last value; the series also in `metrics` or `other_series`"),
    Case(
        "points of a logged model, or of a data set (MLflow 3)",
        "the run's curve, unless one shares a step with another's or the run's own: then each model or data set has a "
        "series of its own, such as `rmse (holdout)`, with a warning. SQL and exports tell what a point belongs to; a "
        "server tells it of logged models alone",
        "nothing; of a point that a server tells for a data set and no model, the last value of the step counts",
    ),
    Case(
        "two keys that would be one series",
        "`loss` and `train_loss`, say: the key of that very name has it, then what a team's rules name, then the "
        "table, each in its order; the other is charted under its own name, with a warning",
    ),
    Case("unicode and NUL in names", "kept; a Postgres jsonb table cannot hold NUL and refuses that one run"),
    Case(
        "timestamps",
        "the run's end (else its last point's time, else its start) becomes `saved_at`",
        "the time of each point: a history is read by epoch; kept in an export",
    ),
    Case("an unknown status", "refused: that run is listed with the reason", "nothing"),
)  # fmt: skip


def to_markdown() -> dict[str, str]:
    """Returns the page's tables, by the name that its markers give them."""
    return {
        "metrics": _keys("metric key", METRICS),
        "params": _keys("param", PARAMS),
        "cases": "\n".join(["| the run has | decided | lost, and why |", "|---|---|---|", *map(_to_row, CASES)]),
    }


def _to_row(case: Case) -> str:
    return f"| {case.name} | {case.decision} | {case.lost} |"


def _keys(what: str, rules: tuple[KeyRule, ...]) -> str:
    lines = [f"| {what} | such as | becomes | remark |", "|---|---|---|---|"]
    lines += [f"| {rule.keys} | `{rule.example}` | `{rule.path}` | {rule.remark} |" for rule in rules]
    return "\n".join(lines)
