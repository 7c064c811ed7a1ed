"""`make up`: Prefect's server, a worker, all deployments and the API on this machine, in one terminal.

Ctrl-C, SIGTERM, or the end of any one of them stops them all. Training jobs are not among them: a job outlives the
process that started it, and the next `make up` publishes what it left.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from switchyard.cli import to_command
from switchyard.clients.local_servers import LocalServers, is_answering, to_note_path, to_prefect_defaults
from switchyard.clients.prefect.analytics import ANALYTICS_OFF
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.errors import BadSetup, SwitchyardError
from switchyard.core.runs.flags import FlagParser

POOL = "switchyard"  # prefect.yaml names it too
ROOT = Path(__file__).resolve().parent.parent
HEALTH_DEADLINE_S = 180.0  # a fresh database's migrations take most of it on a loaded machine
STOP_DEADLINE_S = 20.0
_SAME_S = 1.0  # `make` passes on a SIGTERM that the whole group has had: two within a second are one
_COLOURS = {"prefect": 36, "deploy": 35, "worker": 33, "api": 32, "up": 1}
_PYTHON = sys.executable


class Children:
    """The processes of one `make up`, each the leader of a group of its own. Their output has their name in front."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self, name: str, *arguments: str) -> asyncio.subprocess.Process:
        """Starts ``python <arguments>``, and shows what it says."""
        process = await self._spawn(name, *arguments)
        reader = asyncio.create_task(_copy_lines(name, process))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return process

    async def _spawn(self, name: str, *arguments: str) -> asyncio.subprocess.Process:
        """Starts a process in a group of its own, so that a terminal's Ctrl-C reaches only us."""
        process = await asyncio.create_subprocess_exec(
            _PYTHON,
            *arguments,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._running[name] = process
        return process

    async def run(self, name: str, *arguments: str) -> list[str]:
        """Runs ``python <arguments>`` to its end; returns its lines, and shows them only if it fails.

        Raises: BadSetup: it failed.
        """
        process = await self._spawn(name, *arguments)
        output, _ = await process.communicate()
        del self._running[name]
        lines = output.decode(errors="replace").splitlines()
        if process.returncode:
            for line in lines:
                say(line, name)
            raise BadSetup(f"`python {' '.join(arguments)}` failed with status {process.returncode}")
        return lines

    async def wait_for_first_end(self) -> str:
        """Waits until a process ends by itself, and returns what to say of it."""
        waits = {asyncio.create_task(process.wait()): name for name, process in self._running.items()}
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        first = done.pop()
        return f"{waits[first]} has ended by itself with status {first.result()}; its last lines are above"

    async def stop(self) -> None:
        """Ends all groups, the last started first: SIGTERM, and after a while SIGKILL for what is left."""
        for process in reversed(self._running.values()):
            _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE_S):
                for process in self._running.values():
                    await process.wait()
        self.kill()
        for process in self._running.values():
            await process.wait()
        for reader in list(self._readers):
            reader.cancel()

    def kill(self) -> None:
        """Kills what is left of all groups at once; also what a leader left behind when it ended."""
        for process in self._running.values():
            _signal_group(process.pid, signal.SIGKILL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


async def _copy_lines(name: str, process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        say(line.decode(errors="replace").rstrip(), name)


def say(text: str, name: str = "up") -> None:
    """Prints one line on the terminal, after the name of the program that says it."""
    prefix = f"{name:>7} |"
    if sys.stdout.isatty():
        prefix = f"\033[{_COLOURS[name]}m{prefix}\033[0m"
    sys.stdout.write(f"{prefix} {text}\n")
    sys.stdout.flush()


def hold_lock(settings: Settings) -> IO[str]:
    """Locks this state folder until the returned file is closed. Raises: BadSetup: another one holds it."""
    path = to_note_path(settings).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        lock.close()
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            note = msgspec.json.decode(to_note_path(settings).read_bytes(), type=LocalServers)
            raise BadSetup(
                f"one is running already for {settings.state_dir} (process {note.pid}): "
                f"Prefect {note.prefect_api_url.removesuffix('/api')}, runs {note.serving_url}/quick-tests/"
            ) from err
        raise BadSetup(f"one is starting already for {settings.state_dir}") from err
    return lock


def check_port(port: int, flag: str) -> None:
    """Refuses a port that is taken.

    Raises: BadSetup: something listens on `port`.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            raise BadSetup(
                f"port {port} of 127.0.0.1 is taken ({err.strerror}). Stop what listens there, "
                f"or name another: {to_command()} up {flag} {port + 1}"
            ) from err


async def wait_until_answering(url: str, name: str, process: asyncio.subprocess.Process) -> None:
    """Returns once `url` answers. Raises: BadSetup: the process has ended, or the deadline has passed."""
    try:
        async with asyncio.timeout(HEALTH_DEADLINE_S):
            while not await asyncio.to_thread(is_answering, url):
                if process.returncode is not None:
                    raise BadSetup(f"{name} did not start: it ended with status {process.returncode}, see above")
                await asyncio.sleep(0.2)
    except TimeoutError as err:
        raise BadSetup(f"{name} does not answer on {url} after {HEALTH_DEADLINE_S:.0f} s") from err


async def bring_up(children: Children, servers: LocalServers, settings: Settings, *, limit: int) -> None:
    """Starts everything, in the order in which one needs the other."""
    prefect_port = servers.prefect_api_url.removesuffix("/api").rpartition(":")[2]
    await children.run("up", "-m", "flows", "migrate")
    server = await children.start(
        "prefect", "-m", "prefect", "server", "start", "--host=127.0.0.1", f"--port={prefect_port}"
    )
    serving = await children.start("api", "-m", "serving", f"--port={servers.serving_url.rpartition(':')[2]}")
    await wait_until_answering(f"{servers.prefect_api_url}/health", "Prefect's server", server)
    # From here on the command line's flows use this server instead of one of their own on the same database.
    to_note_path(settings).write_bytes(msgspec.json.encode(servers))
    await children.run("deploy", "-m", "prefect", "work-pool", "create", POOL, "--type=process", "--overwrite")
    deployed = await children.run("deploy", "-m", "deployments.local")
    await children.run("deploy", "-m", "deployments.limits")
    await children.start(
        "worker", "-m", "prefect", "worker", "start", f"--pool={POOL}", "--type=process", f"--limit={limit}"
    )
    await wait_until_answering(f"{servers.serving_url}/health", "the API", serving)
    for line in deployed:
        say(line)
    say(f"ready. Prefect: {servers.prefect_api_url.removesuffix('/api')}   runs: {servers.serving_url}/quick-tests/")
    say(f"train: {to_command('prefect')} deployment run train/manual, or {to_command()} train   Ctrl-C stops all")


async def supervise(children: Children, servers: LocalServers, settings: Settings, *, limit: int) -> str:
    """Runs everything until a signal, or until one ends; returns which, or an empty text for a signal."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    asked_at = 0.0

    def ask_to_stop() -> None:
        nonlocal asked_at
        if not stop.is_set():
            asked_at = loop.time()
            stop.set()
        elif loop.time() - asked_at >= _SAME_S:
            say("killing what is left")
            children.kill()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ask_to_stop)

    async def work() -> str:
        await bring_up(children, servers, settings, limit=limit)
        return await children.wait_for_first_end()

    working, stopping = asyncio.create_task(work()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else ""
    finally:
        for task in (working, stopping):
            task.cancel()
        say("stopping")
        await children.stop()


def to_environment(settings: Settings, servers: LocalServers) -> dict[str, str]:
    """Returns what all children read.

    Ours comes first: `make up` must not reach a server of the user's own profile.
    """
    return {
        **os.environ,
        **{
            name.upper(): value
            for name, value in (("state_dir", settings.state_dir), ("serving_url", servers.serving_url))
        },
        **to_prefect_defaults(settings),
        **ANALYTICS_OFF,
        "PREFECT_API_URL": servers.prefect_api_url,
        "PREFECT_UI_API_URL": servers.prefect_api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        # Prefect writes each task run's events one by one; in batches it takes a sixth of the processor time.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
        # A killed reconcile holds its one slot until its lease ends: within a minute or so, after a restart too.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "60",
        "PYTHONUNBUFFERED": "1",
    }


def main(arguments: Sequence[str] | None = None, *, prog: str = "make up") -> int:
    """Returns the exit status: 0 stopped by a signal; 1 one of them ended by itself, or could not start.

    `arguments` are the process's own by default; `prog` is what the person typed.
    """
    parser = FlagParser(prog=prog, description=__doc__)
    parser.add_argument("--prefect-port", type=int, default=4200, help="Prefect's server and UI (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the API and the pages (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=4, help="flow runs at once (default: %(default)s)")
    flags = parser.parse_args(arguments)
    try:
        settings = read_settings()
        servers = LocalServers(
            pid=os.getpid(),
            prefect_api_url=f"http://127.0.0.1:{flags.prefect_port}/api",
            serving_url=f"http://127.0.0.1:{flags.port}",
        )
        with hold_lock(settings):
            check_port(flags.prefect_port, "--prefect-port")
            check_port(flags.port, "--port")
            children = Children(to_environment(settings, servers))
            try:
                ended = asyncio.run(supervise(children, servers, settings, limit=flags.limit))
            finally:
                to_note_path(settings).unlink(missing_ok=True)
    except SwitchyardError as err:
        say(str(err))
        return 1
    if ended:
        say(ended)
    return 1 if ended else 0


if __name__ == "__main__":
    sys.exit(main())
