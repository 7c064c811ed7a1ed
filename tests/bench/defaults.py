"""How the model's defaults were chosen: variants of them, compared on the validation window alone.

At the end the chosen ones are measured on the test window, once for each seed. Not a part of `make bench`: it takes
some minutes a variant.

    python -m tests.bench.defaults --data-uri file:///... --window validation '{"temperature": 0.15}' '{}'
    python -m tests.bench.defaults --data-uri file:///... --window both '{"seed": 7}' '{"seed": 8}' '{"seed": 9}'
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from typing import Any


def main() -> None:
    """Prints recall@5/10/50/100 of popularity and of each variant, as they are at the end of training.

    They are on all pairs | on those with a product that is new to the buyer, among what is new.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", help="TrainSpec fields that differ from the defaults, as JSON")
    parser.add_argument("--data-uri", default="", help="as the trainer's; empty: made-up interactions")
    parser.add_argument("--window", choices=("validation", "test", "both"), default="validation")
    chosen = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    for variant in chosen.variants:
        changes = json.loads(variant)
        windows = ("validation", "test") if chosen.window == "both" else (chosen.window,)
        began_at = time.monotonic()
        for window, (model, popularity) in measure({**changes, "data_uri": chosen.data_uri}, windows).items():
            took = time.monotonic() - began_at
            print(f"{window} {variant}: {model}, popularity {popularity} ({took:.0f} s)", flush=True)


def measure(fields: dict[str, Any], windows: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Both recalls in each window, after one training without statistics."""
    from switchyard.clients.interactions.made_up import make_interactions
    from switchyard.core.runs.spec import TrainSpec
    from trainer.data.batches import to_train_batches
    from trainer.data.reading import read_interactions
    from trainer.data.splitting import split_by_time
    from trainer.model.blending import Blend, Numbers, Past, make_blend
    from trainer.model.choosing import choose_numbers
    from trainer.model.evaluation import rank_by_model, rank_by_popularity, to_recalls
    from trainer.training import build_model

    spec = TrainSpec(**fields)
    dataset = split_by_time(read_interactions(spec) if spec.data_uri else make_interactions(spec), spec)
    model = build_model(spec, dataset)
    batches, steps = to_train_batches(dataset.train, batch_size=spec.batch_size, epochs=spec.epochs, seed=spec.seed)
    model.fit(batches, epochs=spec.epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
    vectors = model.read_vectors()
    blend = make_blend(spec, dataset)
    if blend:
        blend = blend.replace(choose_numbers(*vectors, blend, dataset.validation, seed=spec.seed))
        print(blend.list_used(), flush=True)
    past = blend.past if blend else Past(dataset, temperature=spec.temperature)
    terms = blend.terms if blend else Blend(past, Numbers(), has_prior=False, has_repeats=False).terms
    found = {}
    for window in windows:
        pairs = getattr(dataset, window)
        ranks = (
            rank_by_model(*vectors, pairs, terms),
            rank_by_model(*vectors, past.leave_out_own(pairs), terms.hide_own()),
            rank_by_popularity(dataset.product_counts, pairs),
        )
        every, new, popularity = (
            " ".join(f"{value:.4f}" for value in to_recalls(each, len(dataset.product_ids)).values()) for each in ranks
        )
        found[window] = f"{every} | {new}", popularity
    return found


if __name__ == "__main__":
    main()
