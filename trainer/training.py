"""The walk of one training: read, split, fit, evaluate, export, each stage leaving the record fuller."""

import time
from typing import Any

import keras
import msgspec

from history.record import FileStatus
from history.spec import TrainSpec
from trainer.batches import to_test_batches, to_train_batches
from trainer.callbacks import EpochLogs, Progress, StopAtBatchEnd
from trainer.console import say
from trainer.epoch_record import EpochRecord
from trainer.evaluation import rank_by_model, rank_by_popularity, to_recalls
from trainer.optimizers import make_optimizer
from trainer.reading import read_interactions
from trainer.run_folder import RunFolder
from trainer.snapshots import Snapshots
from trainer.splitting import Dataset, split_by_time
from trainer.stopping import StopWish
from trainer.synthetic import make_interactions
from trainer.towers import TwoTower, to_unit


class Training:
    """One training process: `run` goes through its stages, `record` and `params` say how far it came."""

    def __init__(self, spec: TrainSpec, folder: RunFolder, wish: StopWish) -> None:
        self.spec = spec
        self.folder = folder
        self.record = EpochRecord()
        self.params: dict[str, Any] = msgspec.structs.asdict(spec)
        self._wish = wish
        self._snapshots = Snapshots(self.record, folder, self.params)

    def run(self) -> None:
        """Trains to the end. Raises: Stopped; any SwitchyardError of the stages."""
        dataset = self._read()
        model = self._build(dataset)
        self._fit(model, dataset)
        self._wish.check()
        self._evaluate(model, dataset)
        self._wish.check()
        self.write_last("completed")

    def write_last(self, status: FileStatus) -> None:
        """Writes the record once more; unlike in a snapshot, an error here is the caller's."""
        self._snapshots.write(status)

    def _read(self) -> Dataset:
        interactions = read_interactions(self.spec) if self.spec.data_uri else make_interactions(self.spec)
        dataset = split_by_time(interactions, self.spec)
        self.params.update(dataset.counts)
        dropped = {name: count for name, count in dataset.counts.items() if "dropped" in name and count}
        say(
            f"{dataset.counts['train_rows']} rows to train on, {len(dataset.buyer_ids)} buyers, "
            f"{len(dataset.product_ids)} products; dropped: {dropped or 'nothing'}",
            fields=dataset.counts,
        )
        self._wish.check()
        return dataset

    def _build(self, dataset: Dataset) -> TwoTower:
        spec = self.spec
        keras.utils.set_random_seed(spec.seed)
        model = TwoTower(
            buyers=len(dataset.buyer_ids),
            products=len(dataset.product_ids),
            dim=spec.embedding_dim,
            temperature=spec.temperature,
            l2=spec.l2,
        )
        if spec.logq_correction:
            model.correct_for(dataset.product_counts)
        # No XLA: the touched rows of a batch are of no fixed number.
        model.compile(optimizer=make_optimizer(spec), jit_compile=False)
        return model

    def _fit(self, model: TwoTower, dataset: Dataset) -> None:
        spec = self.spec
        batch_size = min(spec.batch_size, len(dataset.train))
        batches, steps = to_train_batches(dataset.train, batch_size=batch_size, epochs=spec.epochs, seed=spec.seed)
        began_at = time.monotonic()
        model.fit(
            batches,
            epochs=spec.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the batches are shuffled already, and Keras warns that it cannot
            validation_data=to_test_batches(dataset.validation, batch_size=batch_size, seed=spec.seed),
            callbacks=[StopAtBatchEnd(self._wish), EpochLogs(self.record), Progress(), self._snapshots],
            verbose=0,
        )
        say(f"trained {len(self.record.epochs)} epochs of {steps} steps in {time.monotonic() - began_at:.1f} s")

    def _evaluate(self, model: TwoTower, dataset: Dataset) -> None:
        query = to_unit(model.query_tower.embeddings.value).numpy()
        candidate = to_unit(model.candidate_tower.embeddings.value).numpy()
        products = len(dataset.product_ids)
        recalls = to_recalls(rank_by_model(query, candidate, dataset.test), products)
        baseline = to_recalls(rank_by_popularity(dataset.product_counts, dataset.test), products)
        self.record.finish(
            {f"test_recall_at_{k}": value for k, value in recalls.items()}
            | {f"popularity_recall_at_{k}": value for k, value in baseline.items()}
        )
        say(
            "test recall "
            + ", ".join(f"@{k} {value:.4f} (popularity {baseline[k]:.4f})" for k, value in recalls.items())
        )
