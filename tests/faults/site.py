"""Where faults are tried: Vertex AI and Cloud Storage on this machine, and flows in processes that may be killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.emulators.gcs import Gcs, start_gcs
from tests.emulators.vertex import VertexEmulator, passed_on_environment
from tests.emulators.vertex_jobs import make_config
from tests.faults.orders import FlowNews, FlowOrder
from tests.faults.trainer import DOOR, NOTES
from tests.root import ROOT

IMAGE = "us-docker.pkg.dev/demo-project/switchyard/faulty:local"
"""An image that runs tests.faults.trainer."""
BUCKET = "switchyard-test"


class Flows:
    """Starts flows in processes of their own, through tests.faults.flow_process."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.flow_process"],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._changed = threading.Condition()
        self._news: dict[int, FlowNews] = {}
        self._numbers = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, order: FlowOrder) -> int:
        """Returns the number by which `wait` knows the process."""
        assert self._process.stdin is not None
        with self._changed:
            self._numbers += 1
            order = msgspec.structs.replace(order, number=self._numbers)
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
            return order.number

    def wait(self, number: int, timeout_s: float) -> int | None:
        """How the process ended (below 0: by that signal); None: it had not within `timeout_s`, and is killed."""
        with self._changed:
            if self._changed.wait_for(lambda: self._has_ended(number), timeout=max(0.0, timeout_s)):
                return self._news[number].status
            found = self._news.get(number)
        if found is not None:
            os.kill(found.pid, signal.SIGKILL)
        return None

    def is_alive(self, number: int) -> bool:
        """True until it has ended."""
        with self._changed:
            return not self._has_ended(number)

    def close(self) -> None:
        """Ends the process that starts the others."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _has_ended(self, number: int) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the process that starts flows ended with {self._process.returncode}; see its stderr")
        found = self._news.get(number)
        return found is not None and found.status is not None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            news = msgspec.json.decode(line, type=FlowNews)
            with self._changed:
                self._news[news.number] = news
                self._changed.notify_all()
        self._process.wait()
        with self._changed:
            self._changed.notify_all()


class Site(msgspec.Struct, frozen=True):
    """All endpoints; every try keeps to a region, a folder of the bucket and a results database of its own."""

    gcs: Gcs
    vertex: VertexEmulator
    flows: Flows
    folder: Path

    @property
    def notes(self) -> Path:
        """A file for each job that was acted on."""
        return self.folder / "notes"


@contextmanager
def open_site(folder: Path, prefect_api_url: str, **service: Any) -> Iterator[Site]:
    """`service`: fields of the Vertex AI endpoint's config to change."""
    (folder / "notes").mkdir(parents=True)
    with start_gcs(buckets=[BUCKET]) as gcs:
        passed_on = passed_on_environment() | gcs.environ | {NOTES: str(folder / "notes")}
        command = [sys.executable, "-m", "tests.faults.trainer"]
        with VertexEmulator(make_config(images={IMAGE: command}, passed_on=passed_on, **service)) as vertex:
            passed_on[DOOR] = vertex.rest_endpoint
            # A busy machine's Prefect server answers 503 for a while: that is not among the faults that are tried.
            quiet = {"PREFECT_LOGGING_TO_API_ENABLED": "false", "PREFECT_CLIENT_MAX_RETRIES": "20"}
            quiet |= {"PREFECT_API_URL": prefect_api_url}
            flows = Flows(os.environ | gcs.environ | quiet)
            try:
                yield Site(gcs, vertex, flows, folder)
            finally:
                flows.close()
