"""Vertex AI and Cloud Storage on this machine as the settings name them: an environment, and nothing else."""

import sys
from pathlib import Path

from tests.emulators.vertex import VertexEmulator

TRAINER = "us-docker.pkg.dev/demo-project/switchyard/trainer:local"
"""An image that runs this environment's trainer."""
SCRIPTED = "us-docker.pkg.dev/demo-project/switchyard/scripted:local"
"""One that does at once what the run's name tells it: tests.flows.scripted_trainer."""
FAILING = "us-docker.pkg.dev/demo-project/switchyard/failing:local"
"""One whose training exits with status 3."""
DIGESTED = f"{SCRIPTED.rpartition(':')[0]}@sha256:{'ab' * 32}"
"""The same image by a digest."""
IMAGES = {
    TRAINER: [sys.executable, "-m", "trainer"],
    SCRIPTED: [sys.executable, "-m", "tests.flows.scripted_trainer"],
    DIGESTED: [sys.executable, "-m", "tests.flows.scripted_trainer"],
    FAILING: [sys.executable, "-c", "print('no such column'); raise SystemExit(3)"],
}


def to_environ(
    vertex: VertexEmulator, state: Path, artifacts_uri: str, *, transport: str = "rest", image: str = SCRIPTED
) -> dict[str, str]:
    """The settings by which everything finds the endpoints; STORAGE_EMULATOR_HOST is in the environment already."""
    return {
        "STATE_DIR": str(state),
        "TRAINING_BACKEND": "vertex",
        "ARTIFACTS_URI": artifacts_uri,
        "GCP_PROJECT_ID": "demo-project",
        "GCP_REGION": "us-central1",
        "TRAINER_IMAGE": image,
        "VERTEX_TRANSPORT": transport,
        "VERTEX_API_ENDPOINT": vertex.endpoint(transport),
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(vertex.certificate),
    }
