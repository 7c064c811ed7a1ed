"""Recovers histories that a forced publish replaced."""

from datetime import UTC, datetime

from switchyard.clients.connect import connect
from tasks.policy import effect


@effect
def find_replaced(quick_test_id: int) -> int | None:
    """Finds the number of the newest one; None: there is none."""
    return connect().histories.find_replaced(quick_test_id)


@effect
def recover_replaced(quick_test_id: int, replaced_id: int) -> bool:
    """Puts a replaced history back, once."""
    return connect().histories.recover(quick_test_id, replaced_id, now=datetime.now(UTC))
