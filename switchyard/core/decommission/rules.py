"""What one decommission asks of its evidence; stored with it, because it changes what passes."""

from datetime import datetime

import msgspec


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
    known_callers: tuple[str, ...] = ()  # user agents or accounts whose requests are no surprise: our own reads
    give_up: tuple[str, ...] = ()  # kinds of what MLflow holds that may be lost (`switchyard verify --give-up`)
    export_uri: str = ""
    folder_uri: str = ""  # where inventory and record are kept
    costs_seen: bool = False  # a person has looked at the bill, where no billing export is named


def to_approvals_folder(rules: Rules) -> str:
    """Where the statements and their signatures are, with a slash at its end."""
    return f"{rules.folder_uri.rstrip('/')}/approvals/"
