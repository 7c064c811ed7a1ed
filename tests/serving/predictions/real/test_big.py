"""Whole models of many bytes (`BIG_BYTES`): answered as their library does, or refused with the reason.

The old model answers meanwhile. `make test-models` builds what this needs.
"""

import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.predicting import promote, register_folder
from tests.serving.predictions.real.environments import find_python, run_there
from tests.serving.predictions.real.near import near
from tests.serving.predictions.world import World, open_client

pytestmark = [pytest.mark.slow, pytest.mark.needs_models, pytest.mark.timeout(1800)]
BIG_BYTES = int(os.environ.get("BIG_BYTES", 64 * 1024**2))
ALWAYS_SERVED = 64 * 1024**2
"""Up to here no machine that runs these tests has a reason to refuse it."""
BOUNDS = (" bytes of memory that it may have", "took longer than ", "its process ended")
"""What may be said of one that is too big for its process."""


@pytest.mark.parametrize("library", ["xgboost", "sklearn", "keras", "tensorflow"])
def test_a_big_model_is_served_or_refused_with_its_reason(world: World, library: str) -> None:
    """The server answers all the while."""
    python = sys.executable if library in ("keras", "tensorflow") else find_python("xgboost")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as disk:  # the tests' own folder may be in memory
        said = run_there(python, Path(__file__).with_name("make_big.py"), library, disk, str(BIG_BYTES))
        assert sum(path.stat().st_size for path in Path(disk, "big").rglob("*")) >= BIG_BYTES
        app = world.application(model_loader_python=python, model_cache_dir=f"{disk}/cache")
        with open_client(app) as client:
            promote(world.place.models, register_folder(world.place.models, Path(disk, "small")))
            app.routes.holder.look()
            promote(world.place.models, register_folder(world.place.models, Path(disk, "big")))
            looking = threading.Thread(target=app.routes.holder.look)
            looking.start()
            while looking.is_alive():
                version, found = ask(client, said["row"])
                assert near(found, said["answers"]["big" if version == 2 else "small"])
            version, found = ask(client, said["row"])
            health = client.get("/health").json()
        app.routes.holder.close()
    assert near(found, said["answers"]["big" if version == 2 else "small"])
    if version == 1:
        assert BIG_BYTES > ALWAYS_SERVED
        assert health["status"] == "degraded"
        assert any(bound in health["why"] for bound in BOUNDS), health["why"]
    print(f"{library}, {BIG_BYTES:,} bytes: {'served' if version == 2 else health['why']}")


def ask(client: TestClient, row: list[float]) -> tuple[int, list[Any]]:
    """Which version answered, and what."""
    answer = client.post("/predict", json={"instances": [row]})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return said["model"]["version"], [each["prediction"] for each in said["predictions"]]
