"""The refit: trained on all but the test rows, for as long as was chosen, and exported.

Killed anywhere, it ends in the same numbers and files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from switchyard.clients.interactions.made_up import make_interactions as make_made_up
from switchyard.core.errors import JobFailed
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.registry.held_out import Limit, to_first_moment
from switchyard.core.registry.registration import to_trained_until
from switchyard.core.runs.moments import read_moment
from switchyard.core.runs.spec import TrainSpec
from tests.trainer.factories import TINY_FLAGS, make_interactions, make_spec, to_numbers
from tests.trainer.forked_trainers import Trainers
from tests.trainer.test_process import WAIT_S, read_lines, read_metrics, started, wait_for_epoch
from trainer.data.preparing import prepare, to_fingerprint
from trainer.data.splitting import split_by_time
from trainer.model.optimizers import make_optimizer
from trainer.options import RunSpec
from trainer.output.checkpoints import CheckpointStore
from trainer.output.journal import Journal
from trainer.output.run_folder import RunFolder
from trainer.stopping import Stopped, StopWish
from trainer.training import Training

SPEC = make_spec(
    epochs=9, learning_rate=0.2, batch_size=48, statistics=False, early_stopping_patience=2,
    early_stopping_metric="val_recall", refit=True, recent_popularity=True, own_history=True,
)  # fmt: skip


class Killed(BaseException):
    """Nothing of ours catches it: the process is gone."""


@dataclass
class Effects:
    """Counts what a training changes outside, and kills it before or after one of those."""

    kill_at: int = -1
    after: bool = False
    names: list[str] = field(default_factory=list)

    def wrap(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def act(*arguments: Any, **named: Any) -> Any:
            self.names.append(name)
            is_last = len(self.names) - 1 == self.kill_at
            if is_last and not self.after:
                raise Killed
            answer = inner(*arguments, **named)
            if is_last:
                raise Killed
            return answer

        monkeypatch.setattr(owner, name, act)


def make_run(folder: Path) -> RunSpec:
    uri = folder.as_uri()
    return RunSpec(artifacts_uri=uri, model_uri=f"{uri}/model", checkpoints_uri=f"{uri}/checkpoints")


def train(folder: Path, spec: TrainSpec = SPEC, wish: StopWish | None = None) -> MetricsRecord:
    """As one process does, but for the loading of TensorFlow and `ended.json`."""
    run = make_run(folder)
    journal = Journal(RunFolder(run, seed=spec.seed), spec)
    dataset = prepare(spec, journal)
    store = CheckpointStore(run, to_fingerprint(spec, dataset))
    Training(spec, journal, wish or StopWish(), store=store, pause_s=0).run(dataset)
    return read_metrics(folder)


def read_exported(folder: Path) -> dict[str, bytes]:
    """All that is exported beside the SavedModel, which holds the same vectors in files that are never alike."""
    said = {name: (folder / name).read_bytes() for name in ("evaluation_report.json", "model_card.md")}
    return said | {
        path.name: path.read_bytes() for name in ("embeddings", "score") for path in sorted((folder / name).iterdir())
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bytes], list[str]]:
    """What a training that nothing interrupts leaves: its numbers, its files, and the effects that made them."""
    folder, effects = tmp_path_factory.mktemp("whole"), Effects()
    with pytest.MonkeyPatch.context() as patch:
        wrap_all(effects, patch)
        record = train(folder)
    return to_numbers(record) | {"other": record.other_series}, read_exported(folder), effects.names


def wrap_all(effects: Effects, patch: pytest.MonkeyPatch) -> None:
    effects.wrap(patch, CheckpointStore, "write")
    effects.wrap(patch, RunFolder, "write_metrics")
    effects.wrap(patch, RunFolder, "upload")


def test_the_refit_is_what_is_exported_and_the_test_is_not_of_it(
    whole: tuple[dict[str, Any], dict[str, bytes], list[str]], tmp_path: Path
) -> None:
    """Only what is exported differs: the test's figures are those of the same training without it.

    Its rows, epochs and newest time are in the params; its losses are on steps of their own.
    """
    numbers, exported, _ = whole
    plain = train(tmp_path, make_spec(**{**fields(SPEC), "refit": False}))
    assert plain.final_metrics == numbers["final_metrics"]
    params = numbers["params"]
    assert plain.params == {name: params[name] for name in plain.params} | {"refit": False}
    assert set(params) - set(plain.params) == {
        "refit_epochs", "refit_rows", "refit_buyers", "refit_products", "test_measured_on", "model_trained_until",
    }  # fmt: skip
    assert params["test_measured_on"] == "the model before the refit"
    assert params["refit_rows"] > params["train_rows"] == 480
    assert (len(numbers["epochs"]), params["kept_epoch"], params["refit_epochs"]) == (5, 2, 3)
    losses = numbers["other"]["refit_loss"]
    assert len(losses.values) == params["refit_epochs"]
    assert losses.steps[0] >= len(numbers["epochs"]) * (480 // 48)
    assert read_exported(tmp_path)["query.parquet"] != exported["query.parquet"]


def test_the_exported_model_has_seen_up_to_the_test_rows(
    whole: tuple[dict[str, Any], dict[str, bytes], list[str]],
) -> None:
    """What a comparison of versions may use is newer than all that the exported model was trained on."""
    params = whole[0]["params"]
    assert params["model_trained_until"] == params["last_validation_time"] == to_trained_until(params)
    assert float(params["model_trained_until"]) > float(params["last_train_time"])
    limit = Limit(version=1, moment=read_moment(to_trained_until(params)), said_by="training")
    times = make_made_up(SPEC).times
    begin, is_included = to_first_moment((limit,), float(times.min()), float(times.max()), whole_days=True)
    assert not is_included
    assert np.count_nonzero(times > begin) == len(times) - params["refit_rows"] == 60


def fields(spec: TrainSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


@pytest.mark.parametrize(
    ("kill_at", "name"),
    [
        (-1, "write_metrics"),  # the completed file
        (-2, "upload"),  # of the exported model
        (-4, "write"),  # the last checkpoint of the refit
        (-6, "write"),  # its first one
        (-7, "write_metrics"),  # its first snapshot: the test is done, and no checkpoint says so
        (-8, "write_metrics"),  # of all epochs
        (-10, "write"),  # the last checkpoint but one of the epochs
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_effect_it_ends_in_the_same_numbers_and_files(
    whole: tuple[dict[str, Any], dict[str, bytes], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
    name: str,
    after: bool,
) -> None:
    """In the epochs, between the test and the refit, in the refit, and in the export."""
    numbers, exported, names = whole
    assert names[kill_at] == name
    effects = Effects(kill_at=len(names) + kill_at, after=after)
    with monkeypatch.context() as patch:
        wrap_all(effects, patch)
        with pytest.raises(Killed):
            train(tmp_path)
    if kill_at == -1 and after:
        assert read_metrics(tmp_path).status == "completed"
        return
    record = train(tmp_path)
    assert to_numbers(record) | {"other": record.other_series} == numbers
    assert read_exported(tmp_path) == exported


def test_stopped_in_the_refit_it_goes_on_there(
    whole: tuple[dict[str, Any], dict[str, bytes], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGTERM after its first epoch: no epoch of the run is trained again, and nothing is tested again.

    No number of the score is chosen again.
    """
    wish = StopWish()
    inner = CheckpointStore.write

    def write(store: CheckpointStore, folder: Path, epochs: int, refit_epochs: int | None = None) -> None:
        inner(store, folder, epochs, refit_epochs)
        wish.made = refit_epochs == 1

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "write", write)
        with pytest.raises(Stopped):
            train(tmp_path, wish=wish)
    partial = read_metrics(tmp_path)
    assert (partial.status, len(partial.other_series["refit_loss"].steps)) == ("partial", 1)
    capsys.readouterr()
    record = train(tmp_path)
    said = capsys.readouterr().out
    assert "going on after epoch 1 of the refit" in said
    assert "test recall" not in said
    assert "chosen on validation" not in said
    assert to_numbers(record) | {"other": record.other_series} == whole[0]
    assert read_exported(tmp_path) == whole[1]


def test_a_refit_whose_numbers_are_lost_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run fails, and keeps the figures of the model that was tested."""
    made: list[Any] = []

    def make(spec: TrainSpec) -> Any:
        optimizer = make_optimizer(spec)
        made.append(optimizer)
        if len(made) == 2:
            optimizer.learning_rate = np.inf
        return optimizer

    monkeypatch.setattr("trainer.training.make_optimizer", make)
    spec = make_spec(batch_size=48, statistics=False, refit=True)
    with pytest.raises(JobFailed, match="the refit diverged"):
        train(tmp_path, spec)
    assert not (tmp_path / "model").exists()
    assert "test_loss" in read_metrics(tmp_path).final_metrics


def test_its_vocabulary_is_that_of_train_and_validation() -> None:
    """A buyer who first came in the validation rows is known to the exported model, one of the test rows is not."""
    columns = make_interactions()
    buyers = columns.buyers.to_pylist()
    buyers[65], buyers[75] = "late", "latest"
    dataset = split_by_time(make_interactions(buyers=pa.array(buyers)), SPEC_OF_ROWS)
    assert dataset.refit is not None
    assert "late" not in dataset.buyer_ids.to_pylist()
    assert "late" in dataset.refit.buyer_ids.to_pylist()
    assert "latest" not in dataset.refit.buyer_ids.to_pylist()
    assert (len(dataset.refit.train), dataset.refit.last_times) == (72, {"model_trained_until": "71"})
    assert dataset.refit.product_counts.sum() == 72


SPEC_OF_ROWS = make_spec(refit=True)


def test_the_fingerprint_knows_what_only_the_refit_learns_from() -> None:
    """A repeated purchase in the validation rows changes nothing that is measured, and the exported model."""
    columns = make_interactions()
    products = columns.products.to_pylist()
    repeated = [*products]
    repeated[70] = products[65]
    found = [
        to_fingerprint(SPEC_OF_ROWS, split_by_time(make_interactions(products=pa.array(one)), SPEC_OF_ROWS))
        for one in (products, repeated)
    ]
    assert found[0] != found[1]


def test_the_score_is_made_of_all_rows_with_the_numbers_chosen_before(
    whole: tuple[dict[str, Any], dict[str, bytes], list[str]], tmp_path: Path
) -> None:
    """Purchases of the validation rows are among those that a buyer's own products are known by."""
    numbers, exported, _ = whole
    (tmp_path / "purchases.parquet").write_bytes(exported["purchases.parquet"])
    counts = pa_parquet.read_table(tmp_path / "purchases.parquet")["count"].to_pylist()
    assert sum(counts) == numbers["params"]["refit_rows"]


def test_killed_in_the_refit_a_process_goes_on_there(tmp_path: Path, trainers: Trainers) -> None:
    """Killed after the second epoch of the refit and started again, it trains the other two, and ends as the whole.

    The line of each epoch says how far the whole is.
    """
    flags = [*TINY_FLAGS, "--epochs=4", "--refit", "--no-statistics", "--checkpoint-pause-s=0"]
    assert trainers.run(tmp_path / "whole", *flags).returncode == 0
    flags.append(f"--checkpoints-uri={(tmp_path / 'checkpoints').as_uri()}")
    with started(tmp_path / "run", *flags, held_after=6) as process:
        wait_for_epoch(process, 6)
        process.kill()
        process.communicate(timeout=WAIT_S)
    done = trainers.run(tmp_path / "run", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in read_lines(done.stdout) if "epoch" in line]
    assert lines[0]["epoch"] in (5, 6)  # it is held after it has said the epoch, and before the checkpoint
    assert (lines[-1]["epoch"], {line["epochs"] for line in lines}) == (7, {8})
    whole, record = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "run")
    assert (to_numbers(record), record.other_series) == (to_numbers(whole), whole.other_series)
    assert read_embeddings(tmp_path / "run") == read_embeddings(tmp_path / "whole")


def read_embeddings(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "embeddings").iterdir())]
