"""Real purchases through the whole walk on Vertex AI: processes with nothing but settings in their environment."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud.aiplatform_v1.types import JobState
from prefect.settings import PREFECT_API_URL

from switchyard.core.ports import ABSENT
from tests.emulators.vertex import VertexEmulator, passed_on_environment
from tests.emulators.vertex_core import CREATE, GET
from tests.flows.vertex_world import IMAGES, TRAINER, to_environ
from tests.root import ROOT

if TYPE_CHECKING:
    from tests.emulators.gcs import Gcs

RETAIL = ROOT.parent / "shared" / "data" / "online_retail.parquet"
"""541,909 rows of a wholesaler's real invoices; not in the repository."""
EPOCHS = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(not RETAIL.exists(), reason=f"the data set of real purchases is not at {RETAIL}"),
]


@pytest.fixture
def settings(
    gcs: "Gcs", gcs_root: str, start_vertex: Callable[..., VertexEmulator], tmp_path: Path, transport: str
) -> tuple[dict[str, str], VertexEmulator]:
    """The whole environment of every process: who starts programs, Prefect's address, and the settings."""
    vertex = start_vertex(images=IMAGES, passed_on=passed_on_environment())
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),  # whatever lies in the real one must not matter
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        **gcs.environ,
        **to_environ(vertex, tmp_path / "state", gcs_root, transport=transport, image=TRAINER),
    }
    return environ, vertex


def run(environ: Mapping[str, str], *command: str) -> str:
    """What `python -m ...` printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextmanager
def serving(environ: Mapping[str, str]) -> Iterator[httpx.Client]:
    """A client of a real `python -m serving`, which is ended with the block."""
    command = [sys.executable, "-m", "serving", "--port=0"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r"Serving (http://127\.0\.0\.1:\d+)/", said)
            assert found, said
            with httpx.Client(base_url=found[1], trust_env=False) as client:
                yield client
        finally:
            server.terminate()


def read(client: httpx.Client, path: str) -> dict[str, Any]:
    answer = client.get(path).raise_for_status().json()
    assert isinstance(answer, dict)
    return answer


def test_real_purchases_are_trained_on_vertex_and_read_over_http(
    settings: tuple[dict[str, str], VertexEmulator], gcs_root: str
) -> None:
    """By either transport, and by settings alone, from gs:// to a server that publishes what was trained.

    Uploaded, submitted, polled, trained in a container, its metrics on gs://, ingested, published, and read.
    """
    from switchyard.clients.objects.open import open_objects

    environ, vertex = settings
    objects = open_objects(gcs_root)
    data_uri = f"{gcs_root}/data/online_retail.parquet"
    objects.write(data_uri, RETAIL.read_bytes(), if_generation=ABSENT)

    run(environ, "flows", "migrate")
    answer = json.loads(run(environ, "flows", "train", "--json", f"--data-uri={data_uri}", f"--epochs={EPOCHS}"))
    folder = f"{gcs_root}/quick_tests/{answer['quick_test_id']}"
    assert (answer["status"], answer["gcs_artifacts_path"]) == ("completed", folder)

    assert vertex.core.faults.count(CREATE) == 1
    assert vertex.core.faults.count(GET) > 1
    [job_name] = vertex.core.list_names()
    assert vertex.core.read(job_name).state == JobState.JOB_STATE_SUCCEEDED

    record = json.loads(objects.read(f"{folder}/training_metrics.json")[0])
    assert (record["status"], record["epochs"]) == ("completed", list(range(EPOCHS)))
    assert record["params"]["data_uri"] == data_uri
    kept = {uri.removeprefix(f"{folder}/").partition("/")[0] for uri in objects.list(f"{folder}/")}
    assert {"training_metrics.json", "ended.json", "model", "embeddings"} <= kept

    with serving(environ) as client:
        path = f"/api/quick-tests/{answer['quick_test_id']}"
        history = read(client, f"{path}/training-history/")
        histograms = read(client, f"{path}/histogram-data/?type=gradients&tower=candidate")
        page = client.get(f"/quick-tests/{answer['quick_test_id']}").raise_for_status().text
    assert (history["status"], history["source"], history["epochs"]) == ("completed", "file", [0, EPOCHS - 1])
    assert history["loss"]["val"] == [record["loss"]["val_loss"][0], record["loss"]["val_loss"][-1]]
    assert (histograms["available"], histograms["epochs"]) == (True, record["epochs"])
    assert "online_retail.parquet" in page
    metrics = history["final_metrics"]
    assert metrics == record["final_metrics"] == answer["final_metrics"]
    for k in (5, 10, 50, 100):
        assert metrics[f"test_recall_at_{k}"] > metrics[f"popularity_recall_at_{k}"] > 0
