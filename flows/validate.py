"""Validate: compares a version with the champion, on purchases that both have not seen."""

import msgspec
from prefect import flow, runtime
from prefect.logging import get_run_logger

from flows.answers.judged import ValidateResult, to_result
from flows.registry_parameters import ValidateParameters
from flows.signatures import takes
from switchyard.core.registry.held_out import Wish
from switchyard.core.registry.judging import Thresholds, to_judgement, to_reason
from switchyard.core.registry.rows import Verdict
from tasks.registry import find_request
from tasks.show import name_flow_run
from tasks.starter import with_starter
from tasks.validation import compare_versions, keep_verdict, read_judgement

_COLUMNS = (
    "buyer_column", "product_column", "time_column", "time_format", "quantity_column", "invoice_column",
    "csv_separator", "csv_encoding", "csv_decimal", "csv_columns",
)  # fmt: skip


@flow(name="validate")
@takes(ValidateParameters)
def validate(wanted: ValidateParameters) -> ValidateResult:
    """Judges a version by its answers to the buyers of the held-out purchases, beside the champion's.

    Both versions are asked, and the thresholds judge the numbers. The judgement is kept, unless another version is
    champion by then.

    The same inputs give the same judgement, and the same judgement again writes nothing.
    """
    wanted = with_starter(wanted)
    name_flow_run(f"validate {wanted.name} {wanted.version}")
    key = wanted.request_key or str(runtime.flow_run.id)
    outcome = find_request(wanted.name, key)
    if outcome is None:
        comparison = compare_versions(to_wish(wanted))
        judgement = to_judgement(comparison, to_thresholds(wanted))
        get_run_logger().info("version %s of model %s %s", wanted.version, wanted.name, judgement.status)
        outcome = keep_verdict(
            Verdict(
                name=wanted.name,
                version=wanted.version,
                judgement=judgement,
                of_champion=True,
                request_key=key,
                by=wanted.by,
                reason=to_reason(judgement, wanted.reason),
            )
        )
    return to_result(outcome, read_judgement(wanted.name, wanted.version, outcome.seq))


def to_wish(wanted: ValidateParameters) -> Wish:
    """Returns what is compared, and how it is measured."""
    same = {name: getattr(wanted, name) for name in Wish.__struct_fields__ if name != "columns"}
    return Wish(**same, columns={name: getattr(wanted, name) for name in _COLUMNS})


def to_thresholds(wanted: ValidateParameters) -> Thresholds:
    """Returns what the version must reach."""
    return msgspec.convert({name: getattr(wanted, name) for name in Thresholds.__struct_fields__}, Thresholds)
