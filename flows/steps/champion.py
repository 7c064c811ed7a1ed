"""Registers a model, makes it champion and takes it back: the same in a flow run and without Prefect.

Imports no Prefect.
"""

from flows.registry_parameters import PromoteParameters, RegisterParameters, RollbackParameters
from switchyard.core.registry.acts import Acts
from switchyard.core.registry.names import read_expected
from switchyard.core.registry.promotion import choose_rollback
from switchyard.core.registry.rows import Outcome, Promotion, Registered, Rollback


def register_run(acts: Acts, wanted: RegisterParameters) -> Registered:
    """Makes the run's model, or the one at `source`, a version. A second call finds it."""
    if wanted.source:
        made = acts.register_source(wanted.source, wanted.name, wanted.by, wanted.description)
    else:
        made = acts.register_run(wanted.quick_test_id, wanted.name, wanted.by, wanted.description)
    acts.announce_registered(made.version)
    return made


def promote_version(acts: Acts, wanted: PromoteParameters, key: str) -> Outcome:
    """Checks the version's files, then makes it champion. A second call with `key` returns what the first did."""
    if acts.find_request(wanted.name, key) is None:
        acts.check_files(wanted.name, wanted.version)
    outcome = acts.promote_version(
        Promotion(
            name=wanted.name,
            version=wanted.version,
            expected=read_expected(wanted.expect),
            request_key=key,
            by=wanted.by,
            reason=wanted.reason,
            force=wanted.force,
        )
    )
    acts.announce_model(outcome)
    return outcome


def roll_back(acts: Acts, wanted: RollbackParameters, key: str) -> Outcome:
    """Checks the older version's files, then takes the champion back.

    A second call with `key` returns what the first did.
    """
    outcome = acts.find_request(wanted.name, key)
    if outcome is None:
        model = acts.read_model(wanted.name)
        back = Rollback(
            name=wanted.name,
            expected=read_expected(wanted.expect) if wanted.expect else model.production,
            to=wanted.to or None,
            request_key=key,
            by=wanted.by,
            reason=wanted.reason,
        )
        if back.expected == model.production:  # else the registry says who is champion, and changes nothing
            acts.check_files(wanted.name, choose_rollback(model, back))
        outcome = acts.roll_back(back)
    acts.announce_model(outcome)
    return outcome
