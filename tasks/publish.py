"""Publishes what a run's job left, and reads the published history."""

from datetime import UTC, datetime

from switchyard.clients.connect import connect
from switchyard.core.history.asked_rules import NO_KEPT_RULES, KeptRules
from switchyard.core.history.publication import Publication, PublishResult, StoredHistory
from tasks.policy import effect


@effect
def publish(publication: Publication, force: bool) -> PublishResult:
    """Makes the publication what readers get, unless something newer is published."""
    return connect().histories.publish(publication, force=force, now=datetime.now(UTC))


@effect
def read_history(quick_test_id: int) -> StoredHistory:
    """Reads the history that readers get."""
    return connect().histories.read_history(quick_test_id)


@effect
def read_rules(quick_test_id: int) -> KeptRules:
    """Reads the rules that the run had for the names of its series."""
    return connect().histories.read_rules([quick_test_id]).get(quick_test_id, NO_KEPT_RULES)
