"""What each knob of the towers is worth: one line for each variant.

It is measured on the validation window alone unless asked otherwise. Not a part of `make bench`: a variant takes
minutes. docs/decisions/0021 has the rows.

    python -m tests.bench.knobs --data-uri file:///... '{}' '{"width": 128}' '{"softmax": "full"}'

Trains by a plain loop of its own, which also has the knobs that lost. The score is the trainer's, with what sells of
late and the buyer's own history, and its numbers are chosen as the trainer chooses them.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One variant; without any field the towers as switchyard 0.1.0 trained them."""

    width: int = 64
    batch: int = 512
    epochs: int = 12
    learning_rate: float = 1.0
    temperature: float = 0.1
    seed: int = 7
    softmax: Annotated[
        Literal["batch", "full"], Meta(description="among the products of a batch with logQ, or among all products")
    ] = "batch"
    uniform: Annotated[
        int, Meta(description="negatives drawn evenly from the catalogue for each batch, beside its own products")
    ] = 0
    history: Annotated[
        Literal["none", "shared", "apart"],
        Meta(
            description="adds the vectors of a buyer's products to its own: the candidate tower's, or of a table apart"
        ),
    ] = "none"
    own_vector: Annotated[bool, Meta(description="a buyer has a vector of its own beside its history")] = True
    spread: Annotated[float, Meta(description="the sum over n products is divided by n to this power")] = 0.5
    warm_up: Annotated[float, Meta(description="part of all steps in which the learning rate rises from 0")] = 0.0
    decay: Annotated[Literal["none", "cosine", "linear"], Meta(description="how it falls to 0 in the steps after")] = (
        "none"
    )


def main() -> None:
    """Prints, for each variant, recall@10 on all pairs and on new ones at some epochs, and at the end.

    At the end it is that of the score with the chosen numbers.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", help="Knobs that differ from the defaults, as JSON")
    parser.add_argument("--data-uri", default="", help="as the trainer's; empty: made-up interactions")
    parser.add_argument("--window", choices=("validation", "test"), default="validation")
    parser.add_argument(
        "--choose",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="choose the numbers of the score at the end; it takes longer than an epoch",
    )
    parser.add_argument("--every", type=int, default=3, help="epochs between two looks")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from switchyard.clients.interactions.made_up import make_interactions
    from switchyard.core.runs.spec import TrainSpec
    from trainer.data.reading import read_interactions
    from trainer.data.splitting import split_by_time

    spec = TrainSpec(data_uri=asked.data_uri)
    dataset = split_by_time(read_interactions(spec) if spec.data_uri else make_interactions(spec), spec)
    for text in asked.variants:
        knobs = msgspec.json.decode(text, type=Knobs)
        began_at = time.monotonic()
        for epoch, vectors in train(knobs, dataset):
            if epoch % asked.every == 0 or epoch == knobs.epochs:
                line = measure(vectors, dataset, knobs, asked.window, choose=asked.choose and epoch == knobs.epochs)
                print(f"{text} epoch {epoch} ({time.monotonic() - began_at:.0f} s): {line}", flush=True)


def train(knobs: Knobs, dataset: Any) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """The number of epochs done and both towers' unit vectors, after each epoch."""
    import numpy as np
    import tensorflow as tf

    from trainer.data.batches import to_train_batches

    tf.random.set_seed(knobs.seed)
    buyers, products, width = len(dataset.buyer_ids), len(dataset.product_ids), knobs.width
    counts = dataset.product_counts.astype(np.float32)
    log_q = tf.constant(np.log(counts / counts.sum()))
    draw = tf.random.Generator.from_seed(knobs.seed)
    tables = [
        tf.Variable(tf.random.normal([rows, width], stddev=width**-0.5, seed=knobs.seed + number))
        for number, rows in enumerate((buyers, products, products))
    ]
    squares = [tf.Variable(tf.fill(table.shape, 0.1)) for table in tables]
    own = np.zeros((buyers, products), np.float32)
    own[dataset.train.buyers, dataset.train.products] = 1.0
    owned = tf.constant(own if knobs.history != "none" else own[:1])

    def query_of(at: Any, left_out: Any | None) -> Any:
        query = tf.gather(tables[0], at) if knobs.own_vector else 0.0
        if knobs.history == "none":
            return query
        past, table = tf.gather(owned, at), tables[1 if knobs.history == "shared" else 2]
        total, number = past @ table, tf.reduce_sum(past, axis=1)
        if left_out is not None:  # or the tower would read off what it is asked for
            total, number = total - tf.gather(table, left_out), number - 1.0
        return query + total / tf.maximum(number, 1.0)[:, None] ** knobs.spread

    def loss_of(at: Any, bought: Any) -> Any:
        query = tf.math.l2_normalize(query_of(at, bought), axis=1) / knobs.temperature
        if knobs.softmax == "full":
            logits, right = query @ tf.transpose(tf.math.l2_normalize(tables[1], axis=1)), bought
        else:
            named, weight = bought, tf.gather(log_q, bought)
            if knobs.uniform:
                drawn = draw.uniform([knobs.uniform], 0, products, tf.int32)
                named = tf.concat([bought, drawn], axis=0)
                # Expected mentions of a product among both parts (Yang et al., WWW 2020): the same up to a constant.
                share = (tf.exp(tf.gather(log_q, named)) * knobs.batch + knobs.uniform / products) / knobs.batch
                weight = tf.math.log(share)
            found = tf.math.l2_normalize(tf.gather(tables[1], named), axis=1)
            right = tf.range(tf.size(bought))
            same = tf.equal(bought[:, None], named[None, :]) & (right[:, None] != tf.range(tf.size(named))[None, :])
            logits = tf.where(same, -1e9, query @ tf.transpose(found) - weight[None, :])
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits))

    steps = len(dataset.train) // knobs.batch
    total_steps, warm = steps * knobs.epochs, max(int(steps * knobs.epochs * knobs.warm_up), 0)

    def rate_at(step: Any) -> Any:
        step = tf.cast(step, tf.float32)
        done = tf.maximum(step - warm, 0.0) / (total_steps - warm)
        left = {"none": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + tf.cos(math.pi * done))}[knobs.decay]
        return knobs.learning_rate * left * (tf.minimum((step + 1) / warm, 1.0) if warm else 1.0)

    @tf.function
    def run(batches: Any, first: Any) -> None:
        for index, (at, bought) in batches.enumerate():
            with tf.GradientTape() as tape:
                loss = loss_of(at, bought)
            gradients = tape.gradient(loss, tables)
            for table, square, gradient in zip(tables, squares, gradients, strict=True):
                if gradient is None:
                    continue
                gradient = tf.convert_to_tensor(gradient)  # dense Adagrad moves no row without a gradient
                square.assign_add(gradient**2)
                table.assign_sub(rate_at(first + index) * gradient * tf.math.rsqrt(square + 1e-7))

    for epoch in range(knobs.epochs):
        batches, _ = to_train_batches(
            dataset.train, batch_size=knobs.batch, epochs=epoch + 1, first_epoch=epoch, seed=knobs.seed
        )
        run(batches, tf.constant(epoch * steps, tf.int64))
        query = tf.concat([query_of(part, None) for part in tf.split(tf.range(buyers), [buyers])], axis=0)
        vectors = query, tables[1]
        yield epoch + 1, tuple(tf.math.l2_normalize(vector, axis=1).numpy() for vector in vectors)


def measure(vectors: tuple[Any, Any], dataset: Any, knobs: Knobs, window: str, *, choose: bool) -> str:
    """Recall@10 on all pairs | on new ones: of the towers alone, and of the score with its starting numbers.

    At the end also @5, @10, @50, @100 with the chosen ones.
    """
    from trainer.model.blending import START, Blend, Numbers, Past
    from trainer.model.choosing import choose_numbers
    from trainer.model.evaluation import count_hits, rank_by_model, to_recalls

    pairs = getattr(dataset, window)
    past = Past(dataset, temperature=knobs.temperature)
    new = past.leave_out_own(pairs)
    shown = []
    for name, numbers in (("towers", Numbers()), ("start", START)):
        terms = Blend(past, numbers, has_prior=True, has_repeats=True).terms
        hits = count_hits(*vectors, pairs, 10, terms), count_hits(*vectors, new, 10, terms.hide_own())
        shown.append(f"{name} {hits[0] / len(pairs):.4f} | {hits[1] / len(new):.4f}")
    if choose:
        blend = Blend(past, START, has_prior=True, has_repeats=True)
        blend = blend.replace(choose_numbers(*vectors, blend, dataset.validation, seed=knobs.seed))
        ranks = rank_by_model(*vectors, pairs, blend.terms), rank_by_model(*vectors, new, blend.terms.hide_own())
        recalls = [to_recalls(found, len(vectors[1])).values() for found in ranks]
        shown.append("chosen " + " | ".join(" ".join(f"{value:.4f}" for value in found) for found in recalls))
        shown.append(" ".join(f"{name} {value:g}" for name, value in blend.list_used().items()))
    return "; ".join(shown)


if __name__ == "__main__":
    main()
