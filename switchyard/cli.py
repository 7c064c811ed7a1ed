"""The command `switchyard`: finds the checkout that holds the programs, and runs the one that is named.

Only this library is installed; flows/, serving/ and deployments/ are in a checkout (the folder of prefect.yaml). They
are imported by name when they are run, so that nothing here depends on them.
"""

import difflib
import importlib
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from switchyard.core.errors import BadSetup
from switchyard.interrupted import say_interrupted

USAGE_ERROR = 2
_PROGRAMS = {
    "models": ("switchyard.models_command.command", "what the registry of models holds; stages, shares, aliases"),
    "serve": ("serving.__main__", "the JSON API and the pages, until Ctrl-C"),
    "predict": ("serving.predictions.__main__", "predictions of a registered model over HTTP, until Ctrl-C"),
    "convert": ("serving.convert.command", "a safe file of a pickled model, in a confined process"),
    "token": ("serving.token_command", "a token for the API and the pages; --list, --revoke"),
    "up": ("deployments.up", "Prefect's server, a worker, all deployments and the API on this machine, until Ctrl-C"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status; 2: there is no such command, or no checkout to run it from."""
    name, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or [""]
    if name == "--version":
        print(f"switchyard {metadata.version('switchyard')}")
        return 0
    try:
        use_checkout(find_checkout(Path.cwd()))
        return _run(name, rest)
    except KeyboardInterrupt:  # a program's imports take a while; at work it handles Ctrl-C itself
        return say_interrupted()
    except BadSetup as err:
        asked = name in ("-h", "--help")
        if asked:
            print(_to_help({}))
        print(f"switchyard: {err}", file=sys.stderr)
        return 0 if asked else USAGE_ERROR


def find_checkout(folder: Path) -> Path:
    """Finds the checkout that `folder` is in; else the one that this library runs from (``pip install -e``).

    Raises:
        BadSetup: there is neither.
    """
    for candidate in (folder, *folder.parents, Path(__file__).resolve().parents[1]):
        if (candidate / "prefect.yaml").is_file() and (candidate / "flows" / "__main__.py").is_file():
            return candidate
    raise BadSetup(
        f"{folder} is not in a checkout of Switchyard (the folder with prefect.yaml and flows/). Go to one, then run "
        "the command again: cd <checkout>"
    )


def use_checkout(checkout: Path) -> None:
    """Lets this process and its children find the programs in `checkout`, in whichever folder they are started.

    A second call changes nothing.

    The working folder stays, so that relative paths keep their meaning. If STATE_DIR is not set, it is the checkout's.
    See docs/decisions/0015-the-command-finds-its-checkout.md.
    """
    root = str(checkout)
    if sys.path[:1] != [root]:
        sys.path.insert(0, root)
    library = checkout / "switchyard"
    if library.is_dir() and library.resolve() != Path(__file__).resolve().parent:
        # Another checkout's programs need their own library, as `python -m` in that folder would give them.
        for name in [name for name in sys.modules if name.partition(".")[0] == "switchyard"]:
            del sys.modules[name]
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", root)]
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *others])
    # A child that is started with -m would look in the working folder first, where trainer/statistics would hide
    # Python's own module.
    os.environ["PYTHONSAFEPATH"] = "1"
    if not os.environ.get("STATE_DIR"):
        os.environ["STATE_DIR"] = str(checkout / ".switchyard")


def to_command(name: str = "switchyard") -> str:
    """Returns what a person types for a command of this environment: its name if the shell finds it, else its path."""
    here = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not here.exists() or (found and Path(found).samefile(here)):
        return name
    folder = Path.cwd()
    return shlex.quote(str(here.relative_to(folder) if here.is_relative_to(folder) else here))


def _run(name: str, arguments: Sequence[str]) -> int:
    flows: Any = importlib.import_module("flows.__main__")
    groups = getattr(flows, "GROUPS", {})  # an older checkout has none
    grouped = {f"{group}-{act}" for group, acts in groups.items() for act in acts}
    lines = {flow: _to_line(struct.__doc__ or "") for flow, struct in flows.FLOWS.items() if flow not in grouped}
    said = getattr(flows, "GROUP_LINES", {})
    lines |= {group: f"{said.get(group, group)}: {', '.join(acts)}" for group, acts in groups.items()}
    if name in lines or name in grouped:
        return int(flows.main([name, *arguments], prog="switchyard"))
    if name in _PROGRAMS:
        return int(_load(name).main(arguments, prog=f"switchyard {name}"))
    if name in ("-h", "--help"):
        print(_to_help(lines))
        return 0
    if not name:
        print(_to_help(lines), file=sys.stderr)
        return USAGE_ERROR
    raise BadSetup(_to_unknown(name, [*lines, *_PROGRAMS]))


def _load(name: str) -> Any:
    program, _ = _PROGRAMS[name]
    folder = program.partition(".")[0]
    try:
        return importlib.import_module(program)
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] != folder:
            raise  # a dependency of it
        raise BadSetup(f"this checkout ({sys.path[0]}) has no {folder}/, which `switchyard {name}` runs") from err


def _to_line(docstring: str) -> str:
    first = docstring.partition("\n")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _to_unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean `switchyard {close[0]}`?" if close else "`switchyard --help` lists all commands."
    return f"{name!r} is not a command. {hint}"


def _to_help(flows: dict[str, str]) -> str:
    commands = flows | {name: line for name, (_, line) in _PROGRAMS.items()}
    width = max(map(len, commands))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, line in commands.items())
    return f"""usage: switchyard <command> [flags]
       switchyard <command> --help
       switchyard --version

Trains two-tower recommenders and publishes the history of every run.

commands:
{listed}

`python -m trainer --help`, in the checkout, runs the trainer alone."""


if __name__ == "__main__":
    sys.exit(main())
