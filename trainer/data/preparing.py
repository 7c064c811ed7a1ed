"""Makes the dataset from the interactions, without TensorFlow.

TensorFlow takes seconds to load, and bad data is reported before that.
"""

import hashlib

import msgspec

from switchyard.clients.interactions.made_up import make_interactions
from switchyard.core.errors import BadRequest
from switchyard.core.runs.spec import TrainSpec, to_digested
from trainer.console import say
from trainer.data.reading import read_interactions
from trainer.data.splitting import Dataset, split_by_time
from trainer.output.journal import Journal
from trainer.stopping import RECALL_K


def prepare(spec: TrainSpec, journal: Journal) -> Dataset:
    """Returns the dataset that `spec` names; its counts go to the log and to the record's params.

    Raises: what `read_interactions` and `split_by_time` raise.
    """
    interactions = read_interactions(spec) if spec.data_uri else make_interactions(spec)
    dataset = split_by_time(interactions, spec)
    _check_catalogue(spec, dataset)
    journal.describe_data(dataset.counts, dataset.last_times)
    dropped = ", ".join(f"{count} {name}" for name, count in dataset.counts.items() if "dropped" in name and count)
    say(
        f"{dataset.counts['rows_read']} rows read, {dataset.counts['train_rows']} to train on: "
        f"{len(dataset.buyer_ids)} buyers, {len(dataset.product_ids)} products; {dropped or 'nothing dropped'}",
        fields=dataset.counts,
    )
    return dataset


def _check_catalogue(spec: TrainSpec, dataset: Dataset) -> None:
    """Raises: BadRequest: early stopping is by recall@10, and the catalogue has at most ten products."""
    if spec.early_stopping_metric == "val_recall" and len(dataset.product_ids) <= RECALL_K:
        raise BadRequest(
            f"the catalogue has {len(dataset.product_ids)} products; early stopping by recall@{RECALL_K} needs more "
            f"than {RECALL_K}: set --early-stopping-metric val_loss, or leave early stopping out"
        )


def to_fingerprint(spec: TrainSpec, dataset: Dataset) -> str:
    """Returns the SHA-256 of the configuration and the data; trainings with the same one take the same steps."""
    found = hashlib.sha256(msgspec.json.encode(to_digested(spec), order="sorted"))
    for part in (dataset, dataset.refit):
        if part is not None:
            _add_data(found, part, has_times=spec.recent_popularity or spec.own_history)
    return found.hexdigest()


def _add_data(found: "hashlib._Hash", dataset: Dataset, *, has_times: bool) -> None:
    for pairs in (dataset.train, dataset.validation, dataset.test):
        found.update(_to_bytes(len(pairs)))
        found.update(pairs.buyers.tobytes())
        found.update(pairs.products.tobytes())
    if has_times:
        found.update(dataset.train_times.tobytes())  # an epoch's recall depends on them
    for ids in (dataset.buyer_ids, dataset.product_ids):
        for text in ids.to_pylist():
            found.update(_to_bytes(len(text.encode())) + text.encode())


def _to_bytes(number: int) -> bytes:
    return number.to_bytes(8, "little")
