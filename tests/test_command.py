"""The command `switchyard`: which checkout it runs, from where, and what it says when it cannot."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.__main__ import FLOWS, GROUPS
from switchyard.cli import to_command
from switchyard.clients.settings import Settings
from tests.root import ROOT

COMMAND = Path(sys.executable).with_name("switchyard")
TOY = ["--epochs=3", "--synthetic-buyers=60", "--synthetic-products=40", "--synthetic-interactions=1000",
       "--batch-size=64", "--embedding-dim=8", "--top-k=10"]  # fmt: skip


def to_environment(**more: str) -> dict[str, str]:
    """The surroundings' variables without those that say where our programs and files are."""
    ours = {name.upper() for name in Settings.__struct_fields__} | {"PYTHONPATH", "PYTHONSAFEPATH"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {"COLUMNS": "120"} | more


TWO_WORDS = [f"{group} {act}" for group, acts in GROUPS.items() for act in acts]
ALONE = sorted(FLOWS.keys() - {words.replace(" ", "-") for words in TWO_WORDS})


def run(*arguments: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    assert COMMAND.exists(), "make setup installs the command"
    return subprocess.run(
        [COMMAND, *arguments], cwd=cwd, env=to_environment(**more), capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of its own: the programs and the library of this one, and no state."""
    root = tmp_path / "a checkout"
    (root / "docs").mkdir(parents=True)
    for name in ("deployments", "flows", "serving", "switchyard", "tasks", "trainer"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", root)
    return root


@pytest.mark.parametrize(
    ("program", "loaded"),
    [
        ([sys.executable, "-m", "flows", "train"], "flows.parameters"),
        ([COMMAND, "train"], "flows.parameters"),
        ([COMMAND, "serve"], "serving.app"),
        ([COMMAND, "up"], "deployments.up"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(Path(part).name for part in value),
)
def test_ctrl_c_in_the_imports_shows_no_traceback(tmp_path: Path, program: list[str | Path], loaded: str) -> None:
    """A person changes their mind at once: one line, and the status of an interruption."""
    # Python imports this before anything else; the signal comes where a module of the program is looked for.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {loaded!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        program, cwd=ROOT, env=to_environment(PYTHONPATH=path), capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_help_lists_every_flow_and_program() -> None:
    """One line each; nothing is started."""
    done = run("--help")
    listed = {line.split()[0] for line in done.stdout.splitlines() if re.match("  [a-z]", line)}
    assert done.returncode == 0, done.stderr
    assert listed == {*ALONE, *GROUPS, "convert", "models", "predict", "serve", "token", "up"}


def test_no_command_lists_them_too_and_exits_2() -> None:
    """On stderr, for a script asked for nothing."""
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "  train " in done.stderr


def test_version_needs_no_checkout(tmp_path: Path) -> None:
    """It is the installed library's."""
    done = run("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("switchyard 0.")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian", "'trian' is not a command. Did you mean `switchyard train`?"),
        ("xyz", "`switchyard --help` lists all commands."),
    ],
)
def test_an_unknown_command_is_told_what_there_is(typed: str, said: str) -> None:
    """Exit status 2, as argparse has it."""
    done = run(typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [*ALONE, *TWO_WORDS, "models", "predict", "serve", "token", "up"])
def test_usage_says_what_was_typed(command: str) -> None:
    """`usage: switchyard train ...`; python -m flows says its own."""
    done = run(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: switchyard {command} ")


@pytest.mark.parametrize(
    ("module", "arguments", "usage"),
    [
        ("flows", ["train", "--help"], "usage: python -m flows train "),
        ("serving", ["--help"], "usage: python -m serving "),
        ("trainer", ["--help"], "usage: python -m trainer "),
        ("deployments.up", ["--help"], "usage: make up "),
    ],
)
def test_the_programs_still_start_as_modules(module: str, arguments: list[str], usage: str) -> None:
    """As images and scripts start them."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=to_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(usage)


def test_a_wrong_flag_names_the_command() -> None:
    """What is wrong, after the command's name."""
    done = run("train", "--epochs=0")
    assert done.returncode == 2
    assert done.stderr.startswith("switchyard: error: ")
    assert "--epochs" in done.stderr


def test_state_is_the_checkouts_wherever_in_it_one_stands(checkout: Path) -> None:
    """From a subfolder the database is made beside prefect.yaml; a relative STATE_DIR is of the working folder."""
    done = run("migrate", cwd=checkout / "docs")
    assert done.returncode == 0, done.stderr
    assert (checkout / ".switchyard" / "results.db").exists()
    done = run("migrate", cwd=checkout / "docs", STATE_DIR="here")
    assert done.returncode == 0, done.stderr
    assert (checkout / "docs" / "here" / "results.db").exists()


def test_programs_run_on_the_library_of_their_own_checkout(tmp_path: Path) -> None:
    """In another checkout than the installed one, as `python -m flows` would there."""
    root = tmp_path / "another"
    (root / "flows").mkdir(parents=True)
    (root / "switchyard").mkdir()
    (root / "prefect.yaml").touch()
    (root / "flows" / "__init__.py").touch()
    (root / "flows" / "__main__.py").write_text(
        "import switchyard.here\n"
        "class Said: 'Say where the library is.'\n"
        "FLOWS = {'say': Said}\n"
        "def main(arguments, *, prog):\n    print(switchyard.here.__file__)\n    return 0\n"
    )
    (root / "switchyard" / "__init__.py").touch()
    (root / "switchyard" / "here.py").touch()
    done = run("say", cwd=root / "flows")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(root / "switchyard" / "here.py")


NO_CHECKOUT = """
import sys
from pathlib import Path
import switchyard.cli
switchyard.cli.__file__ = str(Path(sys.argv[1]) / "lib" / "switchyard" / "cli.py")  # installed, and not editable
sys.exit(switchyard.cli.main(sys.argv[2:]))
"""


def run_installed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a library has it that was installed without a checkout."""
    code = [sys.executable, "-c", NO_CHECKOUT, str(folder)]
    return subprocess.run(
        [*code, *arguments], cwd=folder, env=to_environment(), capture_output=True, text=True, timeout=120
    )


def test_without_a_checkout_it_says_where_to_run_it(tmp_path: Path) -> None:
    """The fact, then what to do; --help answers all the same."""
    done = run_installed(tmp_path, "train")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path} is not in a checkout of Switchyard" in done.stderr
    assert "cd <checkout>" in done.stderr
    helped = run_installed(tmp_path, "--help")
    assert helped.returncode == 0
    assert "usage: switchyard <command>" in helped.stdout


def test_a_checkout_without_a_program_says_which(checkout: Path) -> None:
    """A worker's image has no serving/."""
    shutil.rmtree(checkout / "serving")
    done = run("serve", cwd=checkout)
    assert done.returncode == 2
    assert f"this checkout ({checkout}) has no serving/" in done.stderr


@pytest.fixture
def server(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """`switchyard serve`, from a subfolder."""
    assert run("migrate", cwd=checkout / "docs").returncode == 0
    process = subprocess.Popen(
        [COMMAND, "serve", "--port=0"],
        cwd=checkout / "docs",
        env=to_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=60)


def test_serve_serves_the_checkouts_runs(server: "subprocess.Popen[str]") -> None:
    """The address that it prints answers."""
    assert server.stdout is not None
    url = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200


def test_train_works_from_a_subfolder(checkout: Path, prefect_server: None) -> None:
    """The job's own processes find the trainer; in trainer/ none of them takes its `statistics` for Python's."""
    api = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    assert run("migrate", cwd=checkout / "trainer").returncode == 0
    done = run("train", *TOY, "--json", cwd=checkout / "trainer", **api)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "completed"
    assert answer["gcs_artifacts_path"] == (checkout / ".switchyard" / "artifacts").as_uri() + "/quick_tests/1"


def test_train_works_from_outside_of_the_checkout(tmp_path: Path, prefect_server: None) -> None:
    """Where the library is a checkout's, that one's programs run, and nothing is left where one stands."""
    state = str(tmp_path / "state")
    (tmp_path / "elsewhere").mkdir()
    api = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "STATE_DIR": state}
    assert run("migrate", cwd=tmp_path / "elsewhere", **api).returncode == 0
    done = run("train", *TOY, "--json", cwd=tmp_path / "elsewhere", **api)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_hint_is_what_the_shell_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name where this environment is activated; else the path, short where one stands in the checkout."""
    monkeypatch.chdir(COMMAND.parent.parent.parent)
    monkeypatch.setenv("PATH", str(COMMAND.parent))
    assert to_command() == "switchyard"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert to_command() == str(COMMAND.relative_to(COMMAND.parent.parent.parent))
    monkeypatch.chdir("/")
    assert Path("/", to_command()) == COMMAND
