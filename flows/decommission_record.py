"""Decommission, record: says what was done, when, by whom, with which proof, and what it saves."""

from prefect import flow

from flows.answers.decommission import DecommissionRecordResult
from flows.decommission_parameters import DecommissionRecordParameters
from flows.signatures import takes
from tasks.decommission import record_decommission
from tasks.show import name_flow_run, show_decommission


@flow(name="decommission-record")
@takes(DecommissionRecordParameters)
def decommission_record(wanted: DecommissionRecordParameters) -> DecommissionRecordResult:
    """Writes the record as Markdown and as JSON, at any time; a later one replaces it."""
    name_flow_run(f"decommission record {wanted.name}")
    record, files = record_decommission(wanted.name, wanted.dry_run)
    result = DecommissionRecordResult(record=record, files=files, dry_run=wanted.dry_run)
    show_decommission("record", result.lines)
    return result
