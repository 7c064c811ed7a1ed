"""The stages of one training once its data is read: fit, evaluate, export; each adds to the journal."""

import math
import tempfile
import time
from pathlib import Path

import keras
import msgspec
import numpy as np

from switchyard.core.errors import JobFailed
from switchyard.core.runs.spec import TrainSpec
from trainer.callbacks import (
    EpochLogs,
    Progress,
    StopAtBatchEnd,
    StopWhenNotFinite,
    StopWhenStalled,
    ValidationRecall,
    describe_weights,
)
from trainer.console import say
from trainer.data.batches import to_test_batches
from trainer.data.splitting import Dataset, Pairs
from trainer.fitting import fit_epochs
from trainer.keeping import KeepBest
from trainer.model.baselines import Vectors
from trainer.model.blending import Blend, make_blend
from trainer.model.choosing import choose_numbers, draw_pairs
from trainer.model.evaluation import rank_by_model, rank_by_popularity, to_recalls
from trainer.model.export import export_embeddings, export_model, export_score
from trainer.model.optimizers import make_optimizer
from trainer.model.towers import TwoTower
from trainer.output.checkpoints import CheckpointStore
from trainer.output.journal import Journal
from trainer.output.resuming import Checkpoints
from trainer.output.snapshots import Snapshots
from trainer.refitting import describe_refit, fit_again
from trainer.reporting import KeptReport, Reporter
from trainer.statistics.collecting import collect_statistics
from trainer.stopping import FiniteWatch, Stopped, StopWish, is_stalled

VALIDATION_SAMPLE = 1_000  # the most pairs that an epoch's recall is measured on, the same in every epoch


class Training:
    """One training process' work with TensorFlow: `run` goes through the stages, and the journal has their results.

    Args:
        store: where checkpoints for a restart go; None: none are kept.
        pause_s: the least number of seconds between two checkpoints.
        reporter: makes the evaluation report.
    """

    def __init__(
        self,
        spec: TrainSpec,
        journal: Journal,
        wish: StopWish,
        *,
        store: CheckpointStore | None,
        pause_s: float,
        reporter: Reporter = Reporter(),  # noqa: B008 - frozen
    ) -> None:
        self.spec = spec
        self.journal = journal
        self._wish = wish
        self._finite = FiniteWatch()
        self._reporter = reporter
        self._report = KeptReport()
        self._blend: Blend | None = None  # what is added to the towers' score; its numbers are chosen after the fit
        patience = spec.early_stopping_patience
        by_recall = spec.early_stopping_metric == "val_recall"
        self._best = KeepBest(journal, self._finite, patience=patience) if by_recall else None
        self._checkpoints = Checkpoints(store, journal, pause_s=pause_s, watch=self._finite) if store else None

    def run(self, dataset: Dataset) -> None:
        """Trains to the end.

        Raises: Stopped, after what a restart needs is stored; JobFailed: the numbers are not finite; any
        SwitchyardError of the stages."""
        try:
            model = self._refit(dataset, dataset.refit) if dataset.refit else self._train_and_test(dataset)
            self._wish.check()
            self._export(model, dataset.refit or dataset)
        except Stopped:
            if self.journal.has_news:
                self.journal.write("partial")
            if self._checkpoints:
                self._checkpoints.upload()
            raise
        finally:
            if self._checkpoints:
                self._checkpoints.close()
        self.journal.write("completed")

    def _train_and_test(self, dataset: Dataset) -> TwoTower:
        model = build_model(self.spec, dataset)
        self._blend = make_blend(self.spec, dataset)
        self._fit(model, dataset)
        self._wish.check()
        self._say_early_end()
        self._check_finite(model)
        if self._best:
            self._keep_best(model, self._best)
        if self._blend:
            self._blend = self._choose(model, dataset, self._blend)
            self._wish.check()
        self._evaluate(model, dataset)
        self._wish.check()
        scorer = Vectors(*model.read_vectors(), self._blend.terms if self._blend else None)
        self._report.data = self._reporter.measure(self.journal, self.spec, dataset, scorer, self._wish.check)
        return model

    def _keep_best(self, model: TwoTower, best: KeepBest) -> None:
        best.put_back(model, len(self.journal.record.epochs))
        self.journal.params["kept_epoch"] = best.best_epoch

    def _refit(self, dataset: Dataset, everything: Dataset) -> TwoTower:
        """Returns the model to export, trained on `everything`; the stages before that are done first."""
        done = None
        if self._checkpoints and self._checkpoints.is_in_refit:
            model = build_model(self.spec, everything)
            done = self._checkpoints.restore_refit(model, self._report)
        if done is None:
            self._train_and_test(dataset)
            self._wish.check()
            epochs = self._best.best_epoch + 1 if self._best else len(self.journal.record.epochs)
            describe_refit(everything, self.journal, epochs=epochs)
            model = build_model(self.spec, everything)
        else:
            say(f"going on after epoch {done} of the refit, which an earlier process of this job reached")
        steps_before = len(self.journal.record.epochs) * (len(dataset.train) // self.journal.params["batch_size_used"])
        fit_again(
            model,
            everything,
            self.journal,
            self._wish,
            self._checkpoints,
            self._report,
            seed=self.spec.seed,
            steps_before=steps_before,
            first_epoch=done or 0,
        )
        self._blend = self._to_chosen_blend(everything)
        return model

    def _to_chosen_blend(self, everything: Dataset) -> Blend | None:
        """Returns the blend of all rows, with the numbers that were chosen before the refit."""
        blend = make_blend(self.spec, everything)
        if blend is None:
            return None
        numbers = {name: self.journal.params[f"score_{name}"] for name in blend.list_used()}
        return blend.replace(msgspec.structs.replace(blend.numbers, **numbers))

    def _fit(self, model: TwoTower, dataset: Dataset) -> None:
        spec = self.spec
        batch_size = min(spec.batch_size, len(dataset.train))
        if batch_size < spec.batch_size:
            say(f"batch size {batch_size}, not {spec.batch_size}: there are no more rows to train on", "WARNING")
        self.journal.params["batch_size_used"] = batch_size
        first_epoch = self._restore(model)
        if first_epoch == spec.epochs or self._is_stalled(first_epoch):
            return
        began_at = time.monotonic()
        pace = fit_epochs(
            model,
            dataset.train,
            self._list_callbacks(dataset),
            batch_size=batch_size,
            epochs=spec.epochs,
            seed=spec.seed,
            first_epoch=first_epoch,
            validation_data=to_test_batches(dataset.validation, batch_size=batch_size, seed=spec.seed),
        )
        epochs = len(self.journal.record.epochs) - first_epoch
        say(f"trained {epochs} epochs of {pace.epoch_steps} steps each in {time.monotonic() - began_at:.1f} s")

    def _restore(self, model: TwoTower) -> int:
        """Restores what an earlier process of this job left, and returns how many epochs that is."""
        if self._checkpoints is None:
            return 0
        self._checkpoints.set_model(model)
        epochs = self._checkpoints.restore(self._best)
        if epochs:
            say(f"going on after epoch {epochs} of {self.spec.epochs}, which an earlier process of this job reached")
        return epochs

    def _is_stalled(self, epochs: int) -> bool:
        """Returns whether early stopping ends the training after these `epochs`."""
        if self._best:
            return self._best.is_stalled(epochs)
        return is_stalled(self.journal.record.read_losses("val_loss"), self.spec.early_stopping_patience)

    def _say_early_end(self) -> None:
        done, spec = len(self.journal.record.epochs), self.spec
        if done < spec.epochs and self._is_stalled(done):
            say(
                f"early stopping after epoch {done} of {spec.epochs}: {spec.early_stopping_metric} has not improved "
                f"for {spec.early_stopping_patience} epochs"
            )

    def _list_callbacks(self, dataset: Dataset) -> list[keras.callbacks.Callback]:
        """Returns the callbacks in the order in which they act: recall goes into the logs, and writers come last."""
        record, patience = self.journal.record, self.spec.early_stopping_patience
        recall = ValidationRecall(self._choose_pairs(dataset), len(dataset.product_ids), self._blend)
        stopping: list[keras.callbacks.Callback] = [StopWhenStalled(record, patience)] if patience else []
        if self._best:
            self._best.recall = recall
            stopping = [self._best]
        return [
            StopAtBatchEnd(self._wish),
            recall,
            EpochLogs(record),
            StopWhenNotFinite(self._finite),
            *(collect_statistics(record) if self.spec.statistics else []),
            *stopping,
            Progress(),
            Snapshots(self.journal),
            *([self._checkpoints] if self._checkpoints else []),
        ]

    def _choose_pairs(self, dataset: Dataset) -> Pairs:
        """Returns the pairs that an epoch's recall is measured on, the same for the same seed.

        They are more if the recall decides when to stop."""
        if self._best:
            return draw_pairs(dataset.validation, products=len(dataset.product_ids), seed=self.spec.seed)
        return _choose_pairs(dataset.validation, self.spec.seed)

    def _check_finite(self, model: TwoTower) -> None:
        """Checks the last epoch's losses and weights, because these weights are evaluated and exported.

        Raises: JobFailed: one is not finite.
        """
        record, spec = self.journal.record, self.spec
        names = ("loss", "val_loss", "total_loss", "val_total_loss")
        lost = [name for name in names if any(map(math.isnan, record.read_losses(name)[-1:]))]
        found = f"{lost[0]} of the last epoch was not finite" if lost else describe_weights(model)
        if not found:
            return
        epochs = len(record.epochs)
        if began := self._finite.began:
            found = f"at step {began.step + 1}, in epoch {began.epoch + 1} of {spec.epochs}, {began.what}"
            if epochs > began.epoch + 1:
                found += f", and no later epoch was finite, up to epoch {epochs}"
        raise JobFailed(
            f"the training diverged: {found}. Nothing is exported; the metrics of its {epochs} epochs are kept. Train "
            f"again with a lower --learning-rate (it was {spec.learning_rate:g}) or a higher --temperature (it was "
            f"{spec.temperature:g})"
        )

    def _choose(self, model: TwoTower, dataset: Dataset, blend: Blend) -> Blend:
        """Returns the blend with numbers chosen for these towers, and adds them to the params. Raises: Stopped."""
        began_at = time.monotonic()
        vectors = model.read_vectors()
        check = self._wish.check
        numbers = choose_numbers(*vectors, blend, dataset.validation, seed=self.spec.seed, check=check)
        chosen = blend.replace(numbers)
        used = chosen.list_used()
        self.journal.params.update({f"score_{name}": value for name, value in used.items()})
        shown = ", ".join(f"{name} {value:g}" for name, value in used.items())
        say(f"the score's numbers, chosen on validation in {time.monotonic() - began_at:.1f} s: {shown}")
        return chosen

    def _evaluate(self, model: TwoTower, dataset: Dataset) -> None:
        blend = self._blend
        query, candidate = model.read_vectors()
        products = len(dataset.product_ids)
        towers = to_recalls(rank_by_model(query, candidate, dataset.test), products)
        blended = to_recalls(rank_by_model(query, candidate, dataset.test, blend.terms), products) if blend else {}
        recalls = blended if blend else towers
        baseline = to_recalls(rank_by_popularity(dataset.product_counts, dataset.test), products)
        batch_size = self.journal.params["batch_size_used"]
        batches = to_test_batches(dataset.test, batch_size=batch_size, seed=self.spec.seed)
        losses = model.evaluate(batches, verbose=0, return_dict=True)
        self.journal.record.finish(
            {
                **self.journal.record.last_losses(),
                "test_loss": losses["loss"],
                **{f"test_recall_at_{k}": value for k, value in recalls.items()},
                **({f"test_tower_recall_at_{k}": value for k, value in towers.items()} if blend else {}),
                **{f"popularity_recall_at_{k}": value for k, value in baseline.items()},
            }
        )
        beside = [f"popularity {baseline[k]:.4f}" + (f", towers {towers[k]:.4f}" if blend else "") for k in recalls]
        shown = (f"@{k} {value:.4f} ({other})" for (k, value), other in zip(recalls.items(), beside, strict=True))
        say(f"test recall {', '.join(shown)}")

    def _export(self, model: TwoTower, dataset: Dataset) -> None:
        blend = self._blend
        query, candidate = model.read_vectors()
        with tempfile.TemporaryDirectory(prefix="switchyard-") as name:
            folder = Path(name)
            export_model(dataset, query, candidate, top_k=self.spec.top_k, folder=folder, blend=blend)
            export_embeddings(dataset, query, candidate, folder=folder)
            if blend:
                export_score(dataset, blend, folder=folder)
            for name, data in self._reporter.to_files(self.journal, self.spec, self._report.data).items():
                (folder / name).write_bytes(data)
            self.journal.folder.upload(folder)
        say(f"the model is in {self.journal.folder.model_uri}, embeddings are in {self.journal.folder.uri}")


def build_model(spec: TrainSpec, dataset: Dataset) -> TwoTower:
    """Returns the untrained model, ready for `fit`; the same seed gives the same weights."""
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
    # No XLA: the number of rows that a batch touches is not fixed.
    model.compile(optimizer=make_optimizer(spec), jit_compile=False)
    model.optimizer.build(model.trainable_variables)  # else TensorFlow traces twice: the first trace makes variables
    return model


def _choose_pairs(pairs: Pairs, seed: int) -> Pairs:
    """Returns at most VALIDATION_SAMPLE of the pairs, the same ones for the same seed."""
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:VALIDATION_SAMPLE]
    return Pairs(pairs.buyers[chosen], pairs.products[chosen])
