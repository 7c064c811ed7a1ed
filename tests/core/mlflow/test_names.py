"""What other tools call the series that we know: the table of docs/mapping.md, and which key gets a name."""

import re

import pytest

from switchyard.core.metrics.legacy_names import to_place
from switchyard.core.metrics.record import LOSS_SERIES
from switchyard.core.mlflow.keys import BIN_KEYS, SCALARS
from switchyard.core.mlflow.mapping import from_points
from switchyard.core.mlflow.names import OTHER_NAMES, choose_names, to_markdown
from switchyard.core.mlflow.rules import NO_RULES, parse_rules
from tests.core.mlflow.factories import make_series, make_small
from tests.root import ROOT

LOSS = make_series([3.0, 2.0, 1.0])
TABLE = [(name, other) for name, others in OTHER_NAMES.items() for other in others]


def test_the_page_shows_the_names() -> None:
    """docs/mapping.md is never behind the code."""
    found = re.search(r"<!-- names -->\n(.*?)\n<!-- end -->", (ROOT / "docs" / "mapping.md").read_text(), re.DOTALL)
    assert found
    assert found[1] == to_markdown()


@pytest.mark.parametrize(("name", "other"), TABLE)
def test_each_other_name_is_charted_as_ours(name: str, other: str) -> None:
    """Alone in a run it is that loss, and nothing else."""
    record = from_points(make_small({other: LOSS}))
    assert record.loss == {name: [3.0, 2.0, 1.0]}
    assert (record.metrics, record.other_series, record.final_metrics) == ({}, {}, {})


def test_the_table_names_losses_and_each_once() -> None:
    """No key that the mapping knows already is renamed, and none is in two rows."""
    others = [other for _, other in TABLE]
    assert len(set(others)) == len(others)
    assert OTHER_NAMES.keys() <= set(LOSS_SERIES)
    assert {to_place(other).section for other in others} == {"metrics"}


@pytest.mark.parametrize(
    "key",
    [
        *("test/loss", "validation_0-logloss", "train/box_loss", "Train_Loss", "train_loss_step", "train_acc"),
        *("eval/mAP_50", "loss_train", "lr", "__proto__", "x" * 1_000, "nul\x00byte", "line\nbreak", ""),
    ],
)
def test_what_no_rule_names_is_charted_under_its_own_name(key: str) -> None:
    """Nothing is guessed at, and nothing left out."""
    record = from_points(make_small({key: LOSS}))
    assert record.metrics == {key: [3.0, 2.0, 1.0]}


@pytest.mark.parametrize(
    ("keys", "named", "told"),
    [
        (["loss", "train_loss"], {}, 1),
        (["train_loss", "epoch_loss"], {"train_loss": "loss"}, 1),
        (["train/loss", "training_loss", "train_loss_epoch"], {"train_loss_epoch": "loss"}, 2),
        (["train_loss", "eval/loss", "lr"], {"train_loss": "loss", "eval/loss": "val_loss"}, 0),
        (["Loss", "loss", "LOSS"], {}, 0),
        ([], {}, 0),
    ],
)
def test_of_two_keys_one_has_the_name(keys: list[str], named: dict[str, str], told: int) -> None:
    """The exact name first, then the table's order; the other is told of, and keeps its own.

    The keys' order is no matter.
    """
    for some in (keys, keys[::-1]):
        found, warnings = choose_names(some)
        assert (found, len(warnings)) == (named, told)


def test_all_but_the_bins_is_what_the_mapping_calls_no_bin() -> None:
    """A key that only looks like a bin is read, and charted."""
    assert len(BIN_KEYS) == 100
    assert all(to_place(key).bin is not None and key not in SCALARS for key in BIN_KEYS)
    for key in ("query_hist_bin_25", "query_hist_bin_07", "query_hist_bin", "loss", ""):
        assert to_place(key).bin is None
        assert key in SCALARS


RULES = """
[names]
"train/total" = "total_loss"
"a" = "b"
"b" = "c"
"epoch_loss" = "loss"
"query_loss" = "query_hist"

[[patterns]]
match = "valid/*"
name = "val_{1}"

[[patterns]]
match = "*/*/mean*"
name = "{2}.{1}{3}"

[[patterns]]
match = "bins/*"
name = "query_hist_bin_{1}"

[[patterns]]
match = "long*"
name = "{1}{1}{1}{1}{1}{1}{1}{1}{1}"
"""


@pytest.mark.parametrize(
    ("keys", "named", "told"),
    [
        (["train/total", "valid/loss", "x"], {"train/total": "total_loss", "valid/loss": "val_loss"}, 0),
        (["valid/", "gpu/0/mean_x", "gpu/mean"], {"valid/": "val_", "gpu/0/mean_x": "0.gpu_x"}, 0),
        (["gpu/0/mean", "a/b/c/mean"], {"gpu/0/mean": "0.gpu", "a/b/c/mean": "b/c.a"}, 0),
        (["a"], {"a": "b"}, 0),
        (["a", "b"], {"b": "c"}, 1),
        (["epoch_loss", "train_loss"], {"epoch_loss": "loss"}, 1),
        (["valid/loss", "eval_loss", "val_loss"], {}, 2),
        (["bins/3", "bins/25"], {"bins/25": "query_hist_bin_25"}, 1),
        (["long" + "x" * 30, "long"], {}, 2),
        (["query_hist_bin_3"], {}, 0),
    ],
)  # fmt: skip
def test_a_teams_rules_go_before_the_table(keys: list[str], named: dict[str, str], told: int) -> None:
    """Whole keys first, then the first pattern that fits; one name is one series' only."""
    for some in (keys, keys[::-1]):
        found, warnings = choose_names(some, parse_rules(RULES))
        assert (found, len(warnings)) == (named, told)


def test_rules_name_what_is_charted() -> None:
    """Also where a series becomes a loss, a final metric, or a tower's statistic."""
    rules = parse_rules('[names]\nj = "loss"\nend = "final_auc"\nqm = "query_weights_mean"\n')
    record = from_points(make_small({"j": LOSS, "end": make_series([0.5]), "qm": LOSS}), rules=rules)
    assert (record.loss, record.final_metrics) == ({"loss": [3.0, 2.0, 1.0]}, {"final_auc": 0.5})
    assert record.weight_stats["query"].series == {"mean": [3.0, 2.0, 1.0]}


def test_one_rule_text_is_read_alike_each_time() -> None:
    """It travels with the run, and comes back."""
    rules = parse_rules(RULES)
    assert parse_rules(rules.text) == rules
    assert parse_rules(" \n") == parse_rules("none") == parse_rules("none\n") == NO_RULES
    assert not NO_RULES
