"""What one decommission asks of its evidence; stored with it, because it changes what passes.

People approve it together with the inventory.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.decommission.resources import Caller
from switchyard.core.errors import BadRequest

_PREFIX: Final = re.compile(r"[^\s*/]+/\*")


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a walk, as its plan was told."""

    switched_at: datetime | None = None  # since then no training needs MLflow
    max_age_hours: int = 24  # of verify's manifest and of the drill, when an act rests on them
    last_runs: int = 3  # completed runs that must have come without MLflow
    quiet_days: int = 7  # before the soft stop, for which requests are looked at
    quiet_again_days: int = 7  # after the soft stop
    cost_days: int = 7  # full days after the last deletion
    drill_runs: int = 3  # that the restored MLflow must answer for
    approvals: int = 1  # people
    known_callers: tuple[str, ...] = ()  # their requests are not a surprise: our own reads; see `is_known`
    give_up: tuple[str, ...] = ()  # kinds of what MLflow holds that may be lost (`switchyard verify --give-up`)
    export_uri: str = ""
    folder_uri: str = ""  # where inventory and record are kept
    private_uri: str = ""  # where the values of variables are kept, for few eyes; empty: `private` below that
    costs_seen: bool = False  # a person has looked at the bill, where no billing export is named


def to_json(rules: Rules) -> str:
    """Returns the rules as people approve them: equal rules, and only those, have equal texts.

    A look at the bill is not a rule of the deletion, and is left out.
    """
    return msgspec.json.encode(msgspec.structs.replace(rules, costs_seen=False), order="sorted").decode()


def to_rules_digest(rules: Rules) -> str:
    """Returns ``sha256:`` and 64 hex digits, of `to_json`."""
    return _to_digest(to_json(rules))


def to_approved_digest(inventory: str, rules: Rules) -> str:
    """Returns what a person types to approve: one digest over the inventory's digest and the rules.

    >>> one = to_approved_digest("sha256:" + "ab" * 32, Rules())
    >>> one == to_approved_digest("sha256:" + "ab" * 32, Rules(costs_seen=True))
    True
    >>> one == to_approved_digest("sha256:" + "ab" * 32, Rules(quiet_again_days=1))
    False
    """
    return _to_digest(f"inventory: {inventory}\nrules: {to_rules_digest(rules)}\n")


def _to_digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def check_known_callers(names: Sequence[str]) -> None:
    """Raises: BadRequest: a name that would excuse callers whom no one has named."""
    for name in names:
        if not is_whole_name(name) and not _PREFIX.fullmatch(name):
            raise BadRequest(
                f"--known-callers takes the whole name of a user agent or account, or a user agent in any version: "
                f"--known-callers 'python-requests/*'; got {name!r}"
            )


def is_whole_name(name: str) -> bool:
    """Returns True for a name that excuses no one else.

    A star at the end would be taken for a pattern; within the name, it is a letter.
    """
    return bool(name.strip()) and not name.strip().endswith("*")


def is_known(caller: Caller, rules: Rules) -> bool:
    """Returns True if the user agent or account was named as ours.

    It is named whole, or (``name/*``) as that user agent in any version.

    >>> ours = Rules(known_callers=("switchyard/*", "eve@example.com"))
    >>> now = datetime(2026, 12, 1)
    >>> [is_known(Caller(who=who, account=account, requests=1, last_at=now), ours) for who, account in (
    ...     ("switchyard/0.2.0 (x)", ""), ("my-switchyard/1", ""), ("curl/8 as eve@example.com", "eve@example.com"),
    ...     ("curl/8 as eve@example.com", ""))]
    [True, False, True, False]
    """
    agent = caller.who.removesuffix(f" as {caller.account}") if caller.account else caller.who
    return any(_is_meant(known, agent, caller) for known in rules.known_callers)


def _is_meant(known: str, agent: str, caller: Caller) -> bool:
    if _PREFIX.fullmatch(known):
        return agent.startswith(known.removesuffix("*")) and agent != known.removesuffix("*")
    if caller.account and known.casefold() == caller.account.casefold():
        return True
    # One with a star at its end was stored before there was a rule; it excuses no one.
    return is_whole_name(known) and known in (agent, caller.who)


def to_private_folder(rules: Rules) -> str:
    """Returns where the values of variables are, without a slash at its end."""
    return rules.private_uri.rstrip("/") or f"{rules.folder_uri.rstrip('/')}/private"


def to_approvals_folder(rules: Rules) -> str:
    """Returns where the statements and their signatures are, with a slash at its end."""
    return f"{rules.folder_uri.rstrip('/')}/approvals/"
