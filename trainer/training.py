"""The walk of one training: read, split, fit, evaluate, export, each stage leaving the record fuller."""

import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from history.record import FileStatus
from history.spec import TrainSpec
from trainer.batches import to_test_batches, to_train_batches
from trainer.callbacks import EpochLogs, Progress, StopAtBatchEnd, ValidationRecall
from trainer.collecting import collect_statistics
from trainer.console import say
from trainer.epoch_record import EpochRecord
from trainer.evaluation import rank_by_model, rank_by_popularity, to_recalls
from trainer.export import export_embeddings, export_model
from trainer.optimizers import make_optimizer
from trainer.reading import read_interactions
from trainer.run_folder import RunFolder
from trainer.snapshots import Snapshots
from trainer.splitting import Dataset, Pairs, split_by_time
from trainer.stopping import StopWish
from trainer.synthetic import make_interactions
from trainer.towers import TwoTower

VALIDATION_SAMPLE = 1_000  # pairs that an epoch's recall is measured on, the same in every epoch


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
        model = build_model(self.spec, dataset)
        self._fit(model, dataset)
        self._wish.check()
        self._evaluate(model, dataset)
        self._wish.check()
        self._export(model, dataset)
        self._snapshots.write("completed")

    def write_last(self, status: FileStatus) -> None:
        """Writes the record once more; unlike in a snapshot, an error here is the caller's."""
        self._snapshots.write(status)

    def _read(self) -> Dataset:
        interactions = read_interactions(self.spec) if self.spec.data_uri else make_interactions(self.spec)
        dataset = split_by_time(interactions, self.spec)
        self.params.update(dataset.counts)
        dropped = ", ".join(f"{count} {name}" for name, count in dataset.counts.items() if "dropped" in name and count)
        say(
            f"{dataset.counts['rows_read']} rows read, {dataset.counts['train_rows']} to train on: "
            f"{len(dataset.buyer_ids)} buyers, {len(dataset.product_ids)} products; {dropped or 'nothing dropped'}",
            fields=dataset.counts,
        )
        self._wish.check()
        return dataset

    def _fit(self, model: TwoTower, dataset: Dataset) -> None:
        spec = self.spec
        batch_size = min(spec.batch_size, len(dataset.train))
        if batch_size < spec.batch_size:
            say(f"batches of {batch_size} rather than {spec.batch_size}: there are no more rows to train on", "WARNING")
        self.params["batch_size_used"] = batch_size
        batches, steps = to_train_batches(dataset.train, batch_size=batch_size, epochs=spec.epochs, seed=spec.seed)
        began_at = time.monotonic()
        model.fit(
            batches,
            epochs=spec.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the batches are shuffled already, and Keras warns that it cannot
            validation_data=to_test_batches(dataset.validation, batch_size=batch_size, seed=spec.seed),
            callbacks=self._list_callbacks(dataset),
            verbose=0,
        )
        say(f"trained {len(self.record.epochs)} epochs of {steps} steps in {time.monotonic() - began_at:.1f} s")

    def _list_callbacks(self, dataset: Dataset) -> list[keras.callbacks.Callback]:
        """In the order in which they act at an epoch's end: the recall goes into the logs, and the snapshot is last."""
        callbacks = [
            StopAtBatchEnd(self._wish),
            ValidationRecall(_choose_pairs(dataset.validation, self.spec.seed), len(dataset.product_ids)),
            EpochLogs(self.record),
            *(collect_statistics(self.record) if self.spec.statistics else []),
            Progress(),
            self._snapshots,
        ]
        if self.spec.early_stopping_patience:
            callbacks.append(
                keras.callbacks.EarlyStopping("val_loss", mode="min", patience=self.spec.early_stopping_patience)
            )
        return callbacks

    def _evaluate(self, model: TwoTower, dataset: Dataset) -> None:
        query, candidate = model.read_vectors()
        products = len(dataset.product_ids)
        recalls = to_recalls(rank_by_model(query, candidate, dataset.test), products)
        baseline = to_recalls(rank_by_popularity(dataset.product_counts, dataset.test), products)
        batch_size = self.params["batch_size_used"]
        batches = to_test_batches(dataset.test, batch_size=batch_size, seed=self.spec.seed)
        losses = model.evaluate(batches, verbose=0, return_dict=True)
        self.record.finish(
            {
                **self.record.last_losses(),
                "test_loss": losses["loss"],
                **{f"test_recall_at_{k}": value for k, value in recalls.items()},
                **{f"popularity_recall_at_{k}": value for k, value in baseline.items()},
            }
        )
        shown = (f"@{k} {value:.4f} (popularity {baseline[k]:.4f})" for k, value in recalls.items())
        say(f"test recall {', '.join(shown)}")

    def _export(self, model: TwoTower, dataset: Dataset) -> None:
        query, candidate = model.read_vectors()
        with tempfile.TemporaryDirectory(prefix="switchyard-") as name:
            folder = Path(name)
            export_model(dataset, query, candidate, top_k=self.spec.top_k, folder=folder)
            export_embeddings(dataset, query, candidate, folder=folder)
            self.folder.upload(folder)
        say(f"model and embeddings are in {self.folder.uri}")


def build_model(spec: TrainSpec, dataset: Dataset) -> TwoTower:
    """The untrained model, ready for `fit`; the same seed gives the same weights."""
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


def _choose_pairs(pairs: Pairs, seed: int) -> Pairs:
    """At most VALIDATION_SAMPLE of the pairs, the same ones for the same seed."""
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:VALIDATION_SAMPLE]
    return Pairs(pairs.buyers[chosen], pairs.products[chosen])
