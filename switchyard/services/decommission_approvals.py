"""Reads the approvals that people put into a folder, as a decommission counts them."""

from switchyard.clients.connect import Outside
from switchyard.core.decommission.approvals import Refused, Wanted, rule
from switchyard.core.decommission.evidence import Approver
from switchyard.core.decommission.gates import Against
from switchyard.core.decommission.readers import HandedIn
from switchyard.core.decommission.rules import to_approvals_folder, to_rules_digest

_HOW = {"ssh": "ssh signature", "google": "Google ID token"}


class FolderApprovals:
    """Implements `core.decommission.readers.Approvals` over a folder. Changes nothing."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def __call__(self, against: Against, state: str) -> HandedIn:
        """See the port. One person's typed digest needs no folder. From two people on, only what is signed counts."""
        if against.rules.approvals < 2:
            return HandedIn()
        folder = to_approvals_folder(against.rules)
        found = self._outside.approvals.read(self._outside.objects(folder), folder, against.now)
        own = self._outside.settings.identity_service_account
        ruling = rule(
            found,
            Wanted(
                digest=against.inventory,
                rules=to_rules_digest(against.rules),
                state=state,
                number=against.rules.approvals,
                own_accounts=(own,) if own else (),
            ),
            against.now,
        )
        return HandedIn(
            approvers=tuple(
                Approver(
                    who=one.statement.approver,
                    how=_HOW[one.how],
                    digest=against.approved,
                    state=state,
                    approved_at=against.now,  # a signature has no time of its own
                    expires_at=one.expires_at,
                )
                for one in ruling.counted
            ),
            refused=tuple(map(_say, ruling.refused)),
        )


def _say(one: Refused) -> str:
    who = f" ({one.approver})" if one.approver else ""
    return f"Approval {one.source}{who} does not count: {one.reason}."
