"""A trainer's image of the last release takes what today's flow sends, and trains exactly that."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.parameters import TrainParameters
from flows.train import to_order
from switchyard.core.runs.flags import to_flags
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Job
from switchyard.core.runs.spec import UNSAID, TrainSpec
from tests.releases.release import Release
from trainer.environment import Environment
from trainer.options import read_arguments

PARSER = """
import json, sys
import msgspec
from trainer.environment import read_environment
from trainer.options import read_arguments
environment = read_environment({"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
for line in sys.stdin:
    try:
        run, spec = read_arguments(json.loads(line), environment)
        print(json.dumps({"run": msgspec.to_builtins(run), "spec": msgspec.to_builtins(spec)}), flush=True)
    except (Exception, SystemExit) as refused:
        print(json.dumps({"refused": repr(refused)}), flush=True)
"""


class OldTrainer:
    """The old release's parser, in one process that reads lists of arguments."""

    def __init__(self, release: Release) -> None:
        self.process = release.start("-c", PARSER)

    def read(self, arguments: list[str]) -> dict[str, dict[str, object]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(arguments).decode() + "\n")
        self.process.stdin.flush()
        answer: dict[str, dict[str, object]] = msgspec.json.decode(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def old_trainer(release: Release) -> Iterator[OldTrainer]:
    trainer = OldTrainer(release)
    yield trainer
    trainer.process.communicate(timeout=60)


def send(parameters: TrainParameters) -> list[str]:
    """The arguments of the job that the flow would submit."""
    now = datetime.now(UTC)
    job = Job(
        key="k1", request_key="r1", quick_test_id=12, attempt=2, state=JobState.CLAIMED, parameters={}, claimed_at=now
    )
    return to_order(job, "file:///runs/12", parameters, experiment="toys").arguments


NEWER = frozenset(
    (
        "csv_columns", "csv_decimal", "csv_encoding", "csv_separator", "early_stopping_metric", "mlflow_model",
        "own_history", "recent_popularity", "refit",
    )
)  # fmt: skip
"""Fields that came after that release, whose defaults mean what it did; it refuses others of their values."""


LATER: dict[str, Any] = {"recent_popularity": False, "own_history": False}
"""What that release did, where today's defaults ask for what it cannot do."""


def spec_of(parameters: TrainParameters) -> dict[str, object]:
    """What that release is to hear of them."""
    whole: dict[str, object] = msgspec.to_builtins(parameters)
    return {name: whole[name] for name in TrainSpec.__struct_fields__ if name not in NEWER}


def test_nothing_is_sent_of_what_that_release_did_unasked(old_trainer: OldTrainer) -> None:
    """Its defaults are the trainer's too: only which run this is has to be said, and the row has the rest."""
    asked = TrainParameters(**UNSAID)
    arguments = send(asked)
    assert [flag.partition("=")[0] for flag in arguments] == [
        "--artifacts-uri", "--quick-test-id", "--key", "--attempt", "--name", "--experiment",
    ]  # fmt: skip
    heard = old_trainer.read(arguments)
    assert heard["spec"] == spec_of(asked)
    assert (heard["run"]["quick_test_id"], heard["run"]["key"], heard["run"]["attempt"]) == (12, "k1", 2)


@st.composite
def made_specs(draw: st.DrawFn) -> TrainParameters:
    """Any parameters that the form takes."""
    text = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12)
    columns = draw(st.lists(text.filter(bool), min_size=5, max_size=5, unique=True))
    fraction = st.floats(0.01, 0.45)
    epochs = draw(st.integers(1, 500))
    changes: dict[str, object] = {
        "data_uri": draw(st.one_of(st.just(""), text.map("file:///{}".format), text.map("gs://bucket/{}".format))),
        "buyer_column": columns[0],
        "product_column": columns[1],
        "time_column": columns[2],
        "quantity_column": columns[3],
        "invoice_column": columns[4],
        "time_format": draw(text),
        "cancellations": draw(st.sampled_from(["drop", "keep", "fail"])),
        "missing_buyers": draw(st.sampled_from(["drop", "fail"])),
        "non_positive_quantities": draw(st.sampled_from(["drop", "keep", "fail"])),
        "validation_fraction": draw(fraction),
        "test_fraction": draw(fraction),
        "synthetic_buyers": draw(st.integers(10, 10_000)),
        "synthetic_products": draw(st.integers(1_000, 10_000)),
        "synthetic_interactions": draw(st.integers(100, 10_000)),
        "embedding_dim": draw(st.integers(1, 4096)),
        "temperature": draw(st.floats(0, 100, exclude_min=True)),
        "logq_correction": draw(st.booleans()),
        "l2": draw(st.floats(0, 1e6)),
        "epochs": epochs,
        "batch_size": draw(st.integers(2, 1_000_000)),
        "optimizer": draw(st.sampled_from(["adagrad", "adam"])),
        "learning_rate": draw(st.floats(0, 1_000, exclude_min=True)),
        "seed": draw(st.integers(0, 2**31 - 1)),
        "early_stopping_patience": draw(st.integers(0, min(epochs, TrainSpec().epochs) - 1)),
        "statistics": draw(st.booleans()),
        "top_k": draw(st.integers(1, 1_000)),
        "tracker": draw(st.sampled_from(["file", "mlflow", "both"])),
        "name": draw(text),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(changes))))
    # What would not be read is refused: columns of made-up data, and how much to make up beside real data.
    if "data_uri" in chosen and changes["data_uri"]:
        chosen = {name for name in chosen if not name.startswith("synthetic_")}
    else:
        chosen = {name for name in chosen if not name.endswith("_column") and name != "time_format"}
    return TrainParameters(**LATER, **{name: changes[name] for name in chosen})  # type: ignore[arg-type]  # by name


@settings(max_examples=100, deadline=None)
@given(parameters=made_specs())
def test_whatever_is_asked_for_is_what_the_old_trainer_trains(
    old_trainer: OldTrainer, parameters: TrainParameters
) -> None:
    """The parser of the last release's image, run over what is sent, answers the very same configuration."""
    heard = old_trainer.read(send(parameters))
    assert heard.get("spec") == spec_of(parameters), heard


class Later(TrainSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TrainSpec of a release that has one more field, whose default is what was done before."""

    sharpness: int = 0


def test_an_old_image_goes_on_working_when_a_field_is_added(old_trainer: OldTrainer) -> None:
    """It is not told of a field that it does not know, as long as that says what it does anyway; else it refuses."""
    run = ["--artifacts-uri=file:///runs/12"]
    asked = Later(**{**UNSAID, "epochs": 3})
    assert "spec" in old_trainer.read([*run, *to_flags(asked, UNSAID)])
    asked = msgspec.structs.replace(asked, sharpness=1)
    assert "SystemExit(2)" in str(old_trainer.read([*run, *to_flags(asked, UNSAID)])["refused"])


def test_an_old_image_refuses_what_todays_defaults_ask_of_it(old_trainer: OldTrainer) -> None:
    """By the flags that it does not know, before any compute; it does not train something else under the same name."""
    arguments = send(TrainParameters())
    assert {"--recent-popularity", "--own-history", "--embedding-dim=128"} <= set(arguments)
    assert "SystemExit(2)" in str(old_trainer.read(arguments)["refused"])


def test_what_an_old_flow_leaves_unsaid_means_what_it_did() -> None:
    """Today's trainer gets no flag of a default of that release, and takes that default, not today's."""
    _, heard = read_arguments(["--artifacts-uri=file:///runs/12", "--epochs=3"], Environment())
    assert heard == TrainSpec(**{**UNSAID, "epochs": 3})
    assert heard != TrainSpec(epochs=3)
