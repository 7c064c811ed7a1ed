"""What a trained model is compared with, and what the evaluation report costs beside the training.

Not a part of `make bench`: it trains a model, and with --baselines-python fits iALS eleven times.

    python -m tests.bench.baselines --data-uri file:///... '{"seed": 8}'
"""

import argparse
import json
import os
import time


def main() -> None:
    """Prints each contender's figures as the report has them, and the processor's seconds of training and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="?", default="{}", help="TrainSpec fields that differ from the defaults")
    parser.add_argument("--data-uri", default="", help="as the trainer's; empty: made-up interactions")
    parser.add_argument("--baselines-python", default="", help="of the environment that `make implicit` makes")
    chosen = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    from switchyard.clients.interactions.made_up import make_interactions
    from switchyard.core.metrics.evaluation import ReportRun, to_title
    from switchyard.core.runs.spec import TrainSpec
    from trainer.data.reading import read_interactions
    from trainer.data.splitting import split_by_time
    from trainer.fitting import fit_epochs
    from trainer.model.baselines import Vectors
    from trainer.model.blending import make_blend
    from trainer.model.choosing import choose_numbers
    from trainer.model.comparing import Contest, make_report
    from trainer.training import build_model

    spec = TrainSpec(**json.loads(chosen.settings), data_uri=chosen.data_uri)
    dataset = split_by_time(read_interactions(spec) if spec.data_uri else make_interactions(spec), spec)
    began_s, began_at = time.process_time(), time.monotonic()
    model = build_model(spec, dataset)
    fit_epochs(model, dataset.train, (), batch_size=spec.batch_size, epochs=spec.epochs, seed=spec.seed, first_epoch=0)
    vectors, blend = model.read_vectors(), make_blend(spec, dataset)
    if blend:
        blend = blend.replace(choose_numbers(*vectors, blend, dataset.validation, seed=spec.seed))
    trained_s, trained_at = time.process_time(), time.monotonic()
    contest = Contest(spec, dataset, chosen.baselines_python, lambda: None)
    scorer = Vectors(*vectors, blend.terms if blend else None)
    report = make_report(contest, scorer, ReportRun(quick_test_id=0, key="bench", attempt=1, seed=spec.seed))
    training_s, report_s = trained_s - began_s, time.process_time() - trained_s
    for one in report.contenders:
        shown = [
            f"{part} " + " ".join(f"{metric} {figure.value:.4f}" for metric, figure in figures.items())
            for part, figures in one.figures.items()
        ]
        leads = {part: one.leads.get(part, {}).get("recall_at_10") for part in ("all", "new")}
        verdict = "".join(f"; recall@10, {part}: {lead.verdict}" for part, lead in leads.items() if lead)
        print(f"{to_title(one.name)}: {' | '.join(shown)} | coverage {one.coverage}{verdict} {one.settings or ''}")
    for left in report.left_out:
        print(f"{to_title(left.name)} was left out: {left.reason}")
    print(f"training {training_s:.1f} s of the processor, {trained_at - began_at:.1f} s by the clock")
    print(
        f"report {report_s:.1f} s of the processor ({report_s / training_s:.1%} of the training; what runs in "
        f"--baselines-python not counted), {time.monotonic() - trained_at:.1f} s by the clock"
    )


if __name__ == "__main__":
    main()
