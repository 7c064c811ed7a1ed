"""Runs a Dockerfile's lines without Docker, in a mount namespace of its own.

There /srv is empty and /usr/local is a plain Python, as the base image has it. What is not tried by this: the base
image itself, and Docker's layers.

Instructions that are not written here are refused, so that a Dockerfile cannot grow past its test unseen.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import dockerfile
import msgspec
from docker.utils.build import exclude_paths

from tests.root import ROOT

NAMES = ("trainer", "worker", "serving")
OF_A_FOLDER = {"mlflow": Path("deployments/mlflow")}
"""Images that are built from one folder, which has their Dockerfile."""
# How pip reaches the index that this machine uses is the machine's affair, and nothing of the image's.
_INDEX = tuple(name for name in os.environ if re.match("PIP_|SSL_CERT|(HTTPS?|NO)_PROXY$", name, re.IGNORECASE))
_DEBIAN = re.compile(
    r"apt-get update && apt-get install --yes --no-install-recommends ([a-z0-9 .+-]+) && rm -rf /var/lib/apt/lists/\*"
)
_READ_ONLY = ("LABEL", "EXPOSE")
IMAGE_PORT = 8080


class Command(msgspec.Struct, frozen=True):
    """One instruction of a Dockerfile."""

    name: str
    flags: tuple[str, ...]
    value: tuple[str, ...]
    is_json: bool


class Image(msgspec.Struct):
    """What a Dockerfile says of the container."""

    environ: dict[str, str] = {}
    arguments: dict[str, str] = {}  # of the build, with their defaults; RUN lines alone see them
    labels: dict[str, str] = {}
    user: str = ""
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    steps: list[str] = []  # shell lines that build it
    packages: tuple[str, ...] = ()  # of Debian, which are not installed here: this machine's own stand for them


def read_commands(name: str) -> list[Command]:
    """The instructions, as Docker's own parser reads them."""
    folder = OF_A_FOLDER.get(name)
    path = folder / "Dockerfile" if folder else Path("deployments") / f"{name}.Dockerfile"
    return [
        Command(command.cmd.upper(), command.flags, command.value, command.json)
        for command in dockerfile.parse_file(str(ROOT / path))
    ]


def read_image(name: str, context: Path) -> Image:
    """The image, and the shell lines that make its files of `context`.

    Raises: AssertionError: an instruction that is not known here."""
    image = Image(environ={"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"})
    for command in read_commands(name):
        _apply(image, command, context)
    return image


def _apply(image: Image, command: Command, context: Path) -> None:
    match command.name:
        case "FROM":
            assert command.value == ("${PYTHON_IMAGE}",), "one stage, of the image that a build may name"
            image.arguments.clear()  # those before FROM are for FROM alone
        case "ARG":
            name, _, default = command.value[0].partition("=")
            image.arguments[name] = default
        case "ENV":
            for name, value in _to_pairs(command.value):
                image.environ[name] = value.replace("$PATH", image.environ["PATH"])
        case "LABEL":
            image.labels |= {name: value.strip('"') for name, value in _to_pairs(command.value)}
        case "WORKDIR":
            image.workdir = os.path.join(image.workdir, command.value[0])
            image.steps.append(f"mkdir -p {image.workdir} && cd {image.workdir}")
        case "COPY":
            image.steps.append(_to_copy(command, context))
        case "RUN":
            assert not image.user, "everything is installed before the user is changed"
            if debian := _DEBIAN.fullmatch(" ".join(command.value[0].split())):
                image.packages += tuple(debian[1].split())
                return
            assert "apt-get" not in command.value[0], "it would be installed on this machine"
            image.steps.append(_in(image, ["/bin/sh", "-c", command.value[0]], user="", more=image.arguments))
        case "USER":
            image.user = command.value[0]
        case "ENTRYPOINT" | "CMD":
            assert command.is_json, f"{command.name} must be a list: a shell would not hand signals on"
            setattr(image, {"ENTRYPOINT": "entrypoint", "CMD": "command"}[command.name], command.value)
        case "HEALTHCHECK":
            assert command.value[0] == "CMD"
            image.healthcheck = command.value[1:]
        case _:
            assert command.name in _READ_ONLY, f"the test must learn what {command.name} does"


def _to_pairs(values: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(values[::2], values[1::2], strict=True))


def _to_copy(command: Command, context: Path) -> str:
    """Docker copies what is in a folder, and a file by its name."""
    assert command.flags == ()
    *sources, target = command.value
    lines = [f"mkdir -p {target}"] if target.endswith("/") or (context / sources[0]).is_dir() else []
    for source in sources:
        found = context / source
        assert found.exists(), f"{source} must be in the build's context: see .dockerignore"
        lines.append(f"cp -R {shlex.quote(str(found))}{'/.' if found.is_dir() else ''} {target}")
    return " && ".join(lines)


def _in(image: Image, command: list[str], *, user: str, more: dict[str, str] | None = None) -> str:
    """The shell line that runs `command` with the image's environment and nothing else."""
    environ = {"HOME": str(Path.home()), **image.environ, **(more or {})}
    own = _library_path()
    if own:
        environ["LD_LIBRARY_PATH"] = ":".join(filter(None, (own, environ.get("LD_LIBRARY_PATH"))))
    if not user:
        environ |= {name: os.environ[name] for name in _INDEX}
    words = ["env", "-i", *(f"{name}={value}" for name, value in environ.items())]
    if user:
        uid, gid = user.split(":")
        words += ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]
    return shlex.join([*words, *command])


def _library_path() -> str:
    """A Python of this machine may look for its library where it was built, which another user cannot read."""
    shared = sysconfig.get_config_var("Py_ENABLE_SHARED") and sys.base_prefix != "/usr"
    return "/usr/local/lib" if shared else ""


def make_context(folder: Path) -> Path:
    """What `docker build .` would send: the tracked files, less those that .dockerignore names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    whole = folder / "whole"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, whole / name)
    context = folder / "context"
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for name in exclude_paths(str(whole), patterns):
        if (whole / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(whole / name, context / name)
    return context


def find_obstacle() -> str:
    """Why Dockerfiles cannot be run here; empty where they can."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("setpriv"):
        return "needs Linux with unshare and setpriv (util-linux)"
    probe = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/srv"], capture_output=True)
    return "needs root, to have a /srv and a /usr/local of its own" if os.geteuid() or probe.returncode else ""


def find_free_port() -> int:
    """One of this machine that no one listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listen_on(image: Image, port: int) -> None:
    """A container has 8080 to itself; here it may be taken, so that `port` stands for it wherever the image says it."""
    written = re.compile(rf"\b{IMAGE_PORT}\b")
    for name in ("entrypoint", "command", "healthcheck"):
        setattr(image, name, tuple(written.sub(str(port), word) for word in getattr(image, name)))
    image.environ = {name: written.sub(str(port), value) for name, value in image.environ.items()}


class Container:
    """The built files of one image on disk, and processes in a namespace where they are at /srv.

    What the image has on its port 8080 is on `port` here.

    Args:
        venv: an environment that is there already, in the place of the one that the RUN lines would install.
    """

    def __init__(self, name: str, folder: Path, *, venv: Path | None = None) -> None:
        context = ROOT / OF_A_FOLDER[name] if name in OF_A_FOLDER else make_context(folder)
        self.image = read_image(name, context)
        self.port = find_free_port()
        _listen_on(self.image, self.port)
        self._files = folder / "srv"
        self._files.mkdir()
        self._venv = venv

    def build(self) -> None:
        """Runs the COPY, WORKDIR and RUN lines, as root. Raises: AssertionError: one failed; with its last words."""
        steps = self.image.steps
        if self._venv:
            steps = [re.sub(r"python -m pip install [^&]*", "true ", step) for step in steps]
            steps = [step.replace("python -m venv", "python -m venv --without-pip") for step in steps]
        done = subprocess.run(
            self._enter(" && ".join(steps), "/", is_built=False), capture_output=True, text=True, timeout=1500
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        if self._venv:
            self._take_programs(self._venv)

    def _make_python(self) -> Path:
        """A folder that has `python` where the image has it, below /usr/local."""
        folder = self._files.parent / "usr-local"
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("python", "python3"):
            if not (folder / "bin" / name).is_symlink():
                (folder / "bin" / name).symlink_to("/usr/bin/python3")
        return folder

    def _take_programs(self, venv: Path) -> None:
        """Those that the packages of `venv` have in its bin/, with the image's own Python."""
        inside = f"{self.image.workdir}/venv/bin/python"
        for program in filter(Path.is_file, (venv / "bin").iterdir()):
            with program.open("rb") as file:
                is_script = file.read(2) == b"#!"
            there = self._files / inside.removeprefix("/srv/").replace("/python", f"/{program.name}")
            if is_script and not there.exists():
                there.write_text(re.sub(r"^#!.*", f"#!{inside}", program.read_text(), count=1))
                there.chmod(0o755)

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """The ENTRYPOINT with `arguments` in the place of CMD, as the image's user, to its end."""
        line = self._to_line([*self.image.entrypoint, *(arguments or self.image.command)], environ)
        return subprocess.run(self._enter(line), capture_output=True, text=True, timeout=300)

    def start(self, *arguments: str, log: Path, **environ: str) -> "subprocess.Popen[Any]":
        """The same, in the background; what it says goes to `log`."""
        line = self._to_line([*self.image.entrypoint, *(arguments or self.image.command)], environ)
        with log.open("w") as output:
            return subprocess.Popen(self._enter(f"exec {line}"), stdout=output, stderr=output, start_new_session=True)

    def is_healthy(self) -> bool:
        """The HEALTHCHECK's answer."""
        line = self._to_line(list(self.image.healthcheck), {})
        return subprocess.run(self._enter(line), capture_output=True, timeout=30).returncode == 0

    def _to_line(self, command: list[str], environ: dict[str, str]) -> str:
        return _in(self.image, command, user=self.image.user, more=environ)

    def _enter(self, line: str, workdir: str = "", *, is_built: bool = True) -> list[str]:
        """Mounts are the process's own, and end with it. The image's user needs no way to our folder but /srv."""
        script = f"mount --bind {shlex.quote(str(self._files))} /srv || exit 97; "
        if sys.base_prefix != "/usr":
            script += f"mount --bind {shlex.quote(sys.base_prefix)} /usr/local || exit 97; "
            script += "export LD_LIBRARY_PATH=/usr/local/lib; " if _library_path() else ""
        else:  # Debian's own Python, which has no `python`
            script += f"mount --bind {shlex.quote(str(self._make_python()))} /usr/local || exit 97; "
        if self._venv and is_built:
            script += f"mount --bind {shlex.quote(str(self._venv / 'lib'))} {self.image.workdir}/venv/lib || exit 97; "
        script += f"cd {workdir or self.image.workdir} && {line}"
        return ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", script]
