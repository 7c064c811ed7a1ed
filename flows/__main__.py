"""The flows' command line: flags in, one flow run, its result in words or as one JSON line.

Errors that a user can fix are shown without a traceback.

Importing Prefect takes a second and starting its server several, so both wait until the flags are known to be right.
What must be quick (a rollback, say) does without both if no Prefect server is named.
"""

import sys

from switchyard.interrupted import INTERRUPTED, Interrupts, end_quietly, say_interrupted

if __name__ == "__main__":  # the imports below take half a second, in which Ctrl-C may come
    end_quietly()

import importlib
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from flows.artifacts_parameters import ArtifactsCopyParameters, ArtifactsPlanParameters, ArtifactsVerifyParameters
from flows.decommission_parameters import (
    DecommissionNextParameters,
    DecommissionPlanParameters,
    DecommissionRecordParameters,
    DecommissionStatusParameters,
    DecommissionUndoParameters,
)
from flows.leaving_parameters import CleanParameters, DecommissionScanParameters
from flows.mlflow_parameters import (
    BackfillParameters,
    ExportParameters,
    FillParameters,
    RestoreParameters,
    VerifyParameters,
)
from flows.parameters import (
    CancelParameters,
    IngestParameters,
    MigrateParameters,
    ReconcileParameters,
    RecoverParameters,
    TrainParameters,
)
from flows.registry_parameters import (
    ImportModelsParameters,
    MirrorParameters,
    PromoteParameters,
    RegisterParameters,
    RollbackParameters,
    ValidateParameters,
)
from flows.sweep_parameters import SweepParameters
from switchyard.asker import with_user
from switchyard.cli import to_command
from switchyard.core.data.files import to_absolute
from switchyard.core.errors import BadRequest, SwitchyardError, catch
from switchyard.core.registry.choosing import say_choice
from switchyard.core.runs.flags import FlagParser, add_flags, read_flags, to_flag, to_flags
from tasks.local_prefect import is_without_server, prepare_prefect

if TYPE_CHECKING:
    from rich.console import Console

FLOWS: dict[str, type[msgspec.Struct]] = {
    "migrate": MigrateParameters,
    "train": TrainParameters,
    "sweep": SweepParameters,
    "ingest": IngestParameters,
    "reconcile": ReconcileParameters,
    "cancel": CancelParameters,
    "backfill": BackfillParameters,
    "fill": FillParameters,
    "recover": RecoverParameters,
    "verify": VerifyParameters,
    "export": ExportParameters,
    "restore": RestoreParameters,
    "register": RegisterParameters,
    "validate": ValidateParameters,
    "promote": PromoteParameters,
    "rollback": RollbackParameters,
    "mirror": MirrorParameters,
    "import-models": ImportModelsParameters,
    "artifacts-plan": ArtifactsPlanParameters,
    "artifacts-copy": ArtifactsCopyParameters,
    "artifacts-verify": ArtifactsVerifyParameters,
    "clean": CleanParameters,
    "decommission-scan": DecommissionScanParameters,
    "decommission-plan": DecommissionPlanParameters,
    "decommission-status": DecommissionStatusParameters,
    "decommission-next": DecommissionNextParameters,
    "decommission-undo": DecommissionUndoParameters,
    "decommission-record": DecommissionRecordParameters,
}
GROUPS = {
    "artifacts": ("plan", "copy", "verify"),
    "decommission": ("scan", "plan", "status", "next", "undo", "record"),
}
"""Flows that are typed as two words: `artifacts plan` is `artifacts-plan`."""
GROUP_LINES = {"artifacts": "the artifacts of MLflow's runs", "decommission": "an MLflow deployment's end"}
SCAN = "decommission-scan"
_RUN = {"id": "quick_test_id"}
_VERSION = {"model": "name", "number": "version"}
_PLACES: dict[str, dict[str, str]] = {
    **dict.fromkeys(("ingest", "cancel", "recover", "verify", "register"), _RUN),
    **dict.fromkeys(("validate", "promote"), _VERSION),
    "rollback": {"model": "name"},
    "mirror": {"model": "name"},
    SCAN: {"path": "path"},
}
"""What may stand without a flag, in its order: the word in the usage, and the field that it is."""
_PLACE_HELP = {"id": "the run's id", "model": "the model's name", "number": "its version", "path": "the folder or file"}

FAILED, BAD_FLAGS = 1, 2
FOUND, SCAN_FAILED = 1, 2  # as grep has it, so that a script can tell them apart
_CHANGE_OF_MIND_S = 3.0


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    flow: str
    parameters: msgspec.Struct
    json: bool
    verbose: bool


class NoVersion(BadRequest):
    """A flow of one version was asked for without its number."""

    def __init__(self, flow: str, name: str) -> None:
        self.flow, self.name = flow, name
        super().__init__(f"--version is missing: {flow} {shlex.quote(name)} <number>. See --help")


def main(arguments: Sequence[str], *, prog: str = "python -m flows") -> int:
    """Returns the exit status: 0 done; 1 failed, or ended without success; 2 wrong flags; 130 Ctrl-C or SIGTERM.

    `prog` is what the person typed: usage and errors say it.
    """
    try:
        command = read_command(arguments, prog=prog)
    except NoVersion as err:
        print(f"{prog}: error: {_say_versions(err, prog)}", file=sys.stderr)
        return BAD_FLAGS
    except BadRequest as err:
        print(f"{prog}: error: {err}", file=sys.stderr)
        return BAD_FLAGS
    command = msgspec.structs.replace(command, parameters=with_user(command.parameters))
    with Interrupts() as interrupts:
        try:
            return _run(command, interrupts)
        except KeyboardInterrupt:
            interrupts.arrived()
            say_interrupted()
            if isinstance(command.parameters, TrainParameters):
                _cancel_interrupted(command, command.parameters)
            if isinstance(command.parameters, SweepParameters):
                _say_what_goes_on(command.parameters)
            interrupts.end()
            return INTERRUPTED


def _run(command: Command, interrupts: Interrupts) -> int:
    try:
        # Whatever else is printed, by a library too, must not stand before the JSON.
        with redirect_stdout(sys.stderr if command.json else sys.stdout):
            result = _run_or_interrupt(command, interrupts)
    except SwitchyardError as err:
        if command.json and hasattr(err, "result"):
            print(_to_json(err.result))
        print(f"{_to_words(command.flow)} failed: {err}", file=sys.stderr)
        return SCAN_FAILED if command.flow == SCAN else FAILED
    except Exception as err:  # the outermost frame: Prefect's own errors end here too
        if command.verbose:
            raise
        print(f"{_to_words(command.flow)} failed: {type(err).__name__}: {err}; --verbose shows where", file=sys.stderr)
        return FAILED
    if command.json:
        print(_to_json(result))
    if command.flow == SCAN:
        return FOUND if result.mentions else 0
    return FAILED if command.flow != "cancel" and getattr(result, "status", "") in ("failed", "cancelled") else 0


def _run_or_interrupt(command: Command, interrupts: Interrupts) -> Any:
    try:
        return _choose_way(command)(command)
    except Exception as err:
        if interrupts.is_asked:  # what a library made of the KeyboardInterrupt
            raise KeyboardInterrupt from err
        raise


def read_command(arguments: Sequence[str], *, prog: str = "python -m flows") -> Command:
    """Returns the flow and its checked parameters.

    Raises:
        BadRequest: a value is missing, out of range, or contradicts another.
        SystemExit: 2 for an unknown flag, 0 after ``--help``; argparse's own.
    """
    parser = FlagParser(prog=prog, description=__doc__.split("\n\n")[0])
    flows = parser.add_subparsers(dest="flow", required=True, metavar="flow")
    for name, struct in FLOWS.items():
        first_line = (struct.__doc__ or "").partition("\n")[0]
        places = _PLACES.get(name, {})
        usage = " ".join([prog, _to_words(name), *(f"[{place}]" for place in places), "[flags]"])
        words = f"{prog} {_to_words(name)}"
        one = flows.add_parser(name, prog=words, help=first_line, description=struct.__doc__, usage=usage)
        for place, field in places.items():
            one.add_argument(place, nargs="?", help=f"{_PLACE_HELP[place]}; the same as {to_flag(field)}")
        add_flags(one, struct, grouped=True)
        output = one.add_argument_group("output")
        output.add_argument("--json", action="store_true", help="print the result as one JSON line, alone on stdout")
        output.add_argument("--verbose", action="store_true", help="show Prefect's own log")
    values = vars(parser.parse_args(_join_words(arguments, prog)))
    for place, field in _PLACES.get(values["flow"], {}).items():
        given = values.get(place)
        if given is not None and str(values.setdefault(field, given)) != given:
            raise BadRequest(f"{_PLACE_HELP[place]} is given twice: {given} and {to_flag(field)} {values[field]}")
    if _PLACES.get(values["flow"]) is _VERSION and "name" in values and "version" not in values:
        raise NoVersion(values["flow"], values["name"])
    if values["flow"] == "train":
        # Known before the flow run is, so that Ctrl-C finds its job again.
        values.setdefault("request_key", str(uuid4()))
    if values["flow"] == "sweep":
        # Known before the flow run is, so that an interrupted sweep can say how it goes on.
        values.setdefault("name", f"sweep-{uuid4().hex[:8]}")
    if "data_uri" in values:  # the flow may run in another folder
        values["data_uri"] = to_absolute(values["data_uri"], str(Path.cwd()))
    if values["flow"] == "register" and "source" in values and not values["source"].startswith(("models:", "runs:")):
        values["source"] = to_absolute(values["source"], str(Path.cwd()))
    return Command(
        flow=values["flow"],
        parameters=read_flags(values, FLOWS[values["flow"]]),
        json=values["json"],
        verbose=values["verbose"],
    )


def _join_words(arguments: Sequence[str], prog: str) -> list[str]:
    """Joins a group's name and its act to one word, if the words begin with a group.

    Raises: BadRequest: the second word is not an act of the group. SystemExit: 0 after ``--help``.
    """
    first, *rest = [*arguments] or [""]
    if first not in GROUPS:
        return list(arguments)
    acts = GROUPS[first]
    if rest[:1] in (["-h"], ["--help"]):
        lines = [f"  {act:<8}{(FLOWS[f'{first}-{act}'].__doc__ or '').partition(chr(10))[0]}" for act in acts]
        print("\n".join([f"usage: {prog} {first} <{'|'.join(acts)}> [flags]", "", *lines]))
        raise SystemExit(0)
    if not rest or rest[0] not in acts:
        got = f"; got {rest[0]!r}" if rest else ""
        raise BadRequest(f"{first} takes {_to_choice(acts)}{got}. See: {prog} {first} --help")
    return [f"{first}-{rest[0]}", *rest[1:]]


def _to_choice(acts: Sequence[str]) -> str:
    *others, last = acts
    return f"{', '.join(others)} or {last}" if others else last


def _to_words(name: str) -> str:
    group, _, act = name.partition("-")
    return f"{group} {act}" if act in GROUPS.get(group, ()) else name


def _say_versions(err: NoVersion, prog: str) -> str:
    from tasks.plain_registry import list_versions

    found = catch(lambda: list_versions(err.name))
    return say_choice(f"{prog} {err.flow}", err.name, [] if isinstance(found, Exception) else found)


def _choose_way(command: Command) -> Callable[[Command], Any]:
    if command.flow == "migrate":
        return _migrate
    if command.flow == SCAN:
        return _scan
    is_quick = isinstance(command.parameters, RegisterParameters | PromoteParameters | RollbackParameters)
    return _run_without_prefect if is_quick and is_without_server() else _run_in_prefect


def _migrate(command: Command) -> Any:
    from flows.migrate import migrate

    result = migrate()
    print("\n".join(result.values()), file=sys.stderr if command.json else sys.stdout)
    return result


def _scan(command: Command) -> Any:
    from flows.answers.printing import to_console
    from flows.answers.scan import print_scan
    from flows.decommission_scan import decommission_scan

    assert isinstance(command.parameters, DecommissionScanParameters)
    result = decommission_scan(command.parameters)
    print_scan(result, to_console(stderr=command.json))
    return result


def _run_without_prefect(command: Command) -> Any:
    """Does a flow run's steps and returns its answer, without Prefect.

    No server keeps anything of it, and it sends no event.
    """
    from flows.answers import champion, registered
    from flows.answers.printing import print_fields, to_console
    from flows.steps.champion import promote_version, register_run, roll_back
    from tasks.plain_registry import make_plain_acts

    acts, wanted = make_plain_acts(), command.parameters
    result: msgspec.Struct
    match wanted:
        case RegisterParameters():
            result = registered.to_result(register_run(acts, wanted))
        case PromoteParameters():
            result = champion.to_result(promote_version(acts, wanted, wanted.request_key or str(uuid4())))
        case RollbackParameters():
            result = champion.to_result(roll_back(acts, wanted, wanted.request_key or str(uuid4())))
        case _:
            raise AssertionError(f"{command.flow} needs Prefect")
    print_fields(result, to_console(stderr=command.json))
    return result


def _run_in_prefect(command: Command) -> Any:
    is_alone = is_without_server()
    prepare_prefect(quiet=not command.verbose)
    name = command.flow.replace("-", "_")
    flow: Callable[..., Any] = getattr(importlib.import_module(f"flows.{name}"), name)
    from flows.answers.printing import to_console
    from flows.terminal import FlowLog, print_result

    console = to_console(stderr=command.json)
    try:
        with FlowLog(console):
            result = flow(**msgspec.to_builtins(command.parameters))
    except SwitchyardError as err:
        print_result(getattr(err, "result", None), console)
        raise
    print_result(result, console)
    if is_alone and isinstance(command.parameters, TrainParameters) and command.parameters.register_as:
        _register_trained(command.parameters.register_as, result.quick_test_id, result.status, console)
    return result


def _register_trained(name: str, quick_test_id: int, status: str, console: "Console") -> None:
    """Does what the deployment `register/on-run-completed` would do if a server were there to start it."""
    from flows.steps.champion import register_run
    from tasks.plain_registry import make_plain_acts

    as_name = f"--name {shlex.quote(name)}"
    if status != "completed":
        said = (
            f"No Prefect server waits for its end. Once it is completed: switchyard register {quick_test_id} {as_name}"
        )
    else:
        made = register_run(make_plain_acts(), RegisterParameters(quick_test_id=quick_test_id, name=name)).version
        said = f"It is version {made.version} of model {name}. To promote it: switchyard promote {shlex.quote(name)} "
        said += str(made.version)
    console.print(said, markup=False, highlight=False, soft_wrap=True)


def _cancel_interrupted(command: Command, parameters: TrainParameters) -> None:
    """Ends the job of a training that was interrupted, and publishes what it left.

    The job is asked to end before anything else, and without Prefect: its server may be what was interrupted.
    """
    id_, is_asked = 0, False
    try:
        from flows.answers.printing import to_console
        from flows.cancel import ask_to_cancel, cancel
        from flows.terminal import print_result
        from tasks.runs import find_claim, read_run

        job = find_claim.fn(parameters.request_key)
        if job is None or job.state.ended:
            return
        id_ = job.quick_test_id
        say(f"cancelling quick test {id_} in {_CHANGE_OF_MIND_S:.0f} seconds; Ctrl-C again leaves its job running")
        threading.Event().wait(_CHANGE_OF_MIND_S)
        is_asked = True
        ask_to_cancel(read_run.fn(id_), job)
        print_result(cancel(quick_test_id=id_), to_console(stderr=command.json))
    except KeyboardInterrupt:
        if is_asked:
            say(f"quick test {id_} was asked to end. To publish what it leaves: {to_command()} reconcile")
        elif id_:
            say(f"the job of quick test {id_} goes on. To cancel it: {to_command()} cancel {id_}")
    except Exception as err:  # noqa: BLE001  (Prefect's own too: the person reads what to do, not where it broke)
        again = f"cancel {id_}" if id_ else "reconcile"
        say(f"not cancelled yet: {err or type(err).__name__}. To do it: {to_command()} {again}")


def _say_what_goes_on(parameters: SweepParameters) -> None:
    """Says which trials of an interrupted sweep go on, so that nothing is lost.

    It also says how to continue the sweep, and how to end the trials.
    """
    flags = [shlex.quote(flag) for flag in to_flags(parameters)]
    try:
        from flows.sweep import find_going

        going = [job.quick_test_id for job in find_going(parameters.name, parameters)]
    except KeyboardInterrupt:
        going = []
    except Exception as err:  # noqa: BLE001  (Prefect's own too: the person reads what to do, not where it broke)
        say(f"its trials at work cannot be listed: {err or type(err).__name__}")
        going = []
    for id_ in going:
        say(f"quick test {id_} goes on. To cancel it: {to_command()} cancel {id_}")
    say(f"to go on with the sweep: {to_command()} sweep {' '.join(flags)}")


def say(text: str) -> None:
    """Prints one line on stderr, where no result is expected."""
    print(text, file=sys.stderr, flush=True)


def _to_json(result: Any) -> str:
    """Returns the result as one line of JSON.

    The history is left out: it is what the API answers, and may be long.
    """
    values = msgspec.to_builtins(result)
    values.pop("history", None)
    return msgspec.json.encode(values).decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
