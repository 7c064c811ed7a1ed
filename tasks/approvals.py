"""The outside effect of asking who has approved something."""

from datetime import UTC, datetime

from switchyard.clients.connect import connect
from switchyard.core.decommission.approvals import Approval, Unproved
from tasks.policy import effect


@effect
def read_approvals(folder: str) -> list[Approval | Unproved]:
    """What was handed in below `folder` (a URI that ends with a slash), and who is proved to have made it."""
    outside = connect()
    return outside.approvals.read(outside.objects(folder), folder, datetime.now(UTC))
