"""`switchyard models`: shows what the registry holds, and makes the changes that need no flow.

Registering, promoting and rolling back read files and send events: they are flows. A change here is one transaction of
the results database.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from switchyard.asker import with_user
from switchyard.clients.connect import connect
from switchyard.core.errors import BadRequest, SwitchyardError
from switchyard.core.ports import Models
from switchyard.core.registry.names import read_expected
from switchyard.core.registry.rows import ShareChange, StageMove, Tombstone
from switchyard.core.registry.stages import Stage
from switchyard.core.runs.flags import FlagParser, add_flags, read_flags, to_flag
from switchyard.models_command.answers import (
    Aliased,
    Changed,
    find_production,
    list_history,
    list_models,
    list_versions,
    show_version,
    to_changed,
)
from switchyard.models_command.parameters import (
    AliasParameters,
    HistoryParameters,
    ListParameters,
    MoveParameters,
    ProductionParameters,
    ShareParameters,
    ShowParameters,
    TombstoneParameters,
    UnaliasParameters,
    VersionsParameters,
)

FAILED, BAD_FLAGS = 1, 2


def _move(models: Models, wanted: MoveParameters) -> Changed:
    outcome = models.move(
        StageMove(
            name=wanted.name,
            version=wanted.version,
            stage=Stage(wanted.stage),
            share=wanted.share,
            expected_challenger=read_expected(wanted.expect) if wanted.expect else msgspec.UNSET,
            reason=wanted.reason,
            by=wanted.by,
            request_key=wanted.request_key,
        )
    )
    return to_changed(models, outcome)


def _share(models: Models, wanted: ShareParameters) -> Changed:
    return to_changed(models, models.share(ShareChange(**msgspec.structs.asdict(wanted))))


def _tombstone(models: Models, wanted: TombstoneParameters) -> Changed:
    return to_changed(models, models.tombstone(Tombstone(**msgspec.structs.asdict(wanted))))


def _alias(models: Models, wanted: AliasParameters) -> Aliased:
    models.set_alias(wanted.name, wanted.alias, wanted.version)
    return Aliased(name=wanted.name, alias=wanted.alias, version=wanted.version)


def _unalias(models: Models, wanted: UnaliasParameters) -> Aliased:
    models.set_alias(wanted.name, wanted.alias, None)
    return Aliased(name=wanted.name, alias=wanted.alias, version=None)


class Command(msgspec.Struct, frozen=True):
    """One command: what it takes, which of that may stand without a flag, and what it does."""

    takes: type[msgspec.Struct]
    places: tuple[str, ...]
    run: Callable[[Models, Any], Any]


COMMANDS: Final[dict[str, Command]] = {
    "list": Command(ListParameters, (), lambda models, _: list_models(models)),
    "versions": Command(VersionsParameters, ("name",), lambda models, wanted: list_versions(models, wanted.name)),
    "show": Command(
        ShowParameters, ("name", "version"), lambda models, wanted: show_version(models, wanted.name, wanted.version)
    ),
    "history": Command(
        HistoryParameters, ("name",), lambda models, wanted: list_history(models, wanted.name, wanted.last)
    ),
    "production": Command(
        ProductionParameters,
        ("name",),
        lambda models, wanted: find_production(models, wanted.name, wanted.to_moment(datetime.now(UTC))),
    ),
    "move": Command(MoveParameters, ("name", "version", "stage"), _move),
    "share": Command(ShareParameters, ("name", "version", "share"), _share),
    "alias": Command(AliasParameters, ("name", "alias", "version"), _alias),
    "unalias": Command(UnaliasParameters, ("name", "alias"), _unalias),
    "tombstone": Command(TombstoneParameters, ("name", "version"), _tombstone),
}
_PLACE_WORDS: Final = {"name": "model", "version": "number"}


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m switchyard.models_command.command") -> int:
    """Returns the exit status: 0 done, or so already; 1 refused, and stderr says why; 2 wrong flags."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given.insert(0, "list")
    try:
        name, wanted, as_json = read_command(given, prog=prog)
    except BadRequest as err:
        sys.stderr.write(f"{prog}: error: {err}\n")
        return BAD_FLAGS
    try:
        answer = COMMANDS[name].run(connect().models, with_user(wanted))
    except SwitchyardError as err:
        sys.stderr.write(f"{prog} {name}: {err}\n")
        return FAILED
    if as_json:
        sys.stdout.write(f"{msgspec.json.encode(answer).decode()}\n")
    else:
        from switchyard.models_command.printing import print_answer  # a program that asks for JSON needs no rich

        print_answer(answer, sys.stdout)
    return 0


def read_command(arguments: Sequence[str], *, prog: str) -> tuple[str, Any, bool]:
    """Returns the command's name, what it is given, and whether it answers as JSON.

    Raises:
        BadRequest: a value is missing, out of range, or given twice.
        SystemExit: 2 for an unknown flag, 0 after ``--help``; argparse's own.
    """
    parser = FlagParser(
        prog=prog,
        description="The registry of models: what there is, and changes of stages, shares and aliases. Without a "
        "command: list. To register, promote and roll back: `switchyard register`, `promote`, `rollback`.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        _add_command(commands, prog, name, command)
    values = vars(parser.parse_args(list(arguments)))
    chosen = COMMANDS[values["command"]]
    for field in chosen.places:
        typed = values.get(f"place {field}")
        if typed is None:
            continue
        if str(values.setdefault(field, typed)) != typed:
            raise BadRequest(
                f"{_to_place(field)} is given twice: {typed} and {to_flag(field)} {values[field]}. Give it once"
            )
    if isinstance(values.get("stage"), str):
        values["stage"] = values["stage"].capitalize()
    return values["command"], read_flags(values, chosen.takes), values["json"]


def _add_command(commands: Any, prog: str, name: str, command: Command) -> None:
    text = command.takes.__doc__ or ""
    usage = " ".join([prog, name, *(f"[{_to_place(field)}]" for field in command.places), "[flags]"])
    one = commands.add_parser(name, help=text.partition("\n")[0], description=text, usage=usage)
    for field in command.places:
        one.add_argument(f"place {field}", nargs="?", metavar=_to_place(field), help=f"the same as {to_flag(field)}")
    add_flags(one, command.takes)
    one.add_argument("--json", action="store_true", help="print the answer as one JSON line")


def _to_place(field: str) -> str:
    return _PLACE_WORDS.get(field, field)


if __name__ == "__main__":
    sys.exit(main())
