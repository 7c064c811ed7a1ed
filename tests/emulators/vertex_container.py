"""One replica of a CustomJob as a process of this machine: an empty directory, Vertex's environment, its signals."""

import contextlib
import json
import os
import queue
import re
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Names of the pools in TF_CONFIG, by their number. Source:
# https://cloud.google.com/vertex-ai/docs/training/distributed-training#tf-config
_TF_TASKS = ("chief", "worker", "ps", "evaluator")
_PORT = 2222


@dataclass(frozen=True)
class Exited:
    """A replica's process has ended. `code` is what a container runtime reports: 128 + N for signal N."""

    replica: "Replica"
    launch: int
    code: int


class Replica:
    """One replica: started, perhaps several times, always in a directory of its own that is empty at first."""

    def __init__(
        self, name: str, argv: list[str], env: dict[str, str], folder: Path, inbox: "queue.Queue[Any]"
    ) -> None:
        self.name = name  # workerpool0-0
        self.restarts = 0
        self.interrupted = False  # the platform, not the container, ended this launch
        self._argv = argv
        self._env = env
        self._folder = folder
        self._inbox = inbox
        self._launch = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts a fresh container: nothing that an earlier launch wrote to its disk is there."""
        self._launch += 1
        self.interrupted = False
        root = self._folder / f"{self.name}-{self._launch}"
        root.mkdir(parents=True)
        with self.log_path.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._argv,
                    cwd=root,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # signals reach the whole group and no one else's
                )
            except OSError as err:
                # A container runtime says 127 when the command is not there.
                log.write(f"cannot start {self._argv[0]!r}: {err}\n".encode())
                self._inbox.put(Exited(self, self._launch, 127))
                return
        threading.Thread(target=self._wait, args=(self._process, self._launch, root), daemon=True).start()

    @property
    def log_path(self) -> Path:
        """Where the container's output goes, all launches one after another."""
        return self._folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The running container's process id, which is also its group's; None when none is running."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def is_current(self, exited: Exited) -> bool:
        """False for the end of a launch that has been replaced already."""
        return exited.replica is self and exited.launch == self._launch

    def send(self, number: signal.Signals) -> None:
        """Signals the container's process group; does nothing when it has ended."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def tail(self, limit: int = 1500) -> str:
        """The end of its log."""
        try:
            return self.log_path.read_bytes()[-limit:].decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def _wait(self, process: subprocess.Popen[bytes], launch: int, root: Path) -> None:
        code = process.wait()
        # A container ends with its first process: what it left behind goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(root, ignore_errors=True)
        self._inbox.put(Exited(self, launch, 128 - code if code < 0 else code))


def build_replicas(
    job: Any,
    images: Mapping[str, Sequence[str]],
    passed_on: Mapping[str, str],
    folder: Path,
    inbox: "queue.Queue[Any]",
) -> list[Replica]:
    """All replicas of `job` (a raw CustomJob), the primary first, not started.

    `images` maps an image URI to the command that stands for its entrypoint; `passed_on` is what the machine itself
    would give a container (the path, the endpoints' addresses).
    """
    pools = [pool for pool in job.job_spec.worker_pool_specs if pool.ByteSize()]
    suffix = secrets.token_hex(5)
    cluster = {
        f"workerpool{number}": [
            f"cmle-training-workerpool{number}-{suffix}-{index}:{_PORT}" for index in range(pool.replica_count)
        ]
        for number, pool in enumerate(pools)
    }
    replicas = []
    for number, pool in enumerate(pools):
        container = pool.container_spec
        # command overrides the image's entrypoint; args follow (ContainerSpec).
        argv = [*(container.command or images[container.image_uri]), *container.args]
        for index in range(pool.replica_count):
            env = {**passed_on, **_platform_env(job, cluster, number, index)}
            for variable in container.env:
                env[variable.name] = _expand(variable.value, env)
            replicas.append(Replica(f"workerpool{number}-{index}", argv, env, folder, inbox))
    return replicas


def _platform_env(job: Any, cluster: dict[str, list[str]], pool: int, index: int) -> dict[str, str]:
    """What Vertex AI sets, and nothing more.

    Source: CustomJobSpec.base_output_directory (AIP_*, trailing slashes included);
    https://cloud.google.com/vertex-ai/docs/training/distributed-training (CLUSTER_SPEC, TF_CONFIG);
    https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables.
    """
    env = {"CLOUD_ML_JOB_ID": job.name.rpartition("/")[2]}
    base = job.job_spec.base_output_directory.output_uri_prefix.rstrip("/")
    if base:
        env["AIP_MODEL_DIR"] = f"{base}/model/"
        env["AIP_CHECKPOINT_DIR"] = f"{base}/checkpoints/"
        env["AIP_TENSORBOARD_LOG_DIR"] = f"{base}/logs/"
    spec = {
        "cluster": cluster,
        "environment": "cloud",
        "task": {"type": f"workerpool{pool}", "index": index, "trial": ""},
    }
    tf_config = {
        "cluster": {_TF_TASKS[number]: hosts for number, hosts in enumerate(cluster.values())},
        "environment": "cloud",
        "task": {"type": _TF_TASKS[pool], "index": index},
    }
    return {**env, "CLUSTER_SPEC": json.dumps(spec), "TF_CONFIG": json.dumps(tf_config)}


def _expand(value: str, env: Mapping[str, str]) -> str:
    """``$(NAME)`` by an earlier variable; ``$$(NAME)`` escapes; an unknown one stays as it is. Source: EnvVar.value."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$$":
            return f"$({match[2]})"
        return env.get(match[2], match[0])

    return re.sub(r"(\$\$|\$)\(([A-Za-z_][A-Za-z0-9_]*)\)", replace, value)
