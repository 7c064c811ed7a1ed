"""What a local train leaves unloaded: who trains on one machine pays for no cloud's client."""

import os
import subprocess
import sys

from prefect.settings import PREFECT_API_URL

from switchyard.clients.connect import Outside
from switchyard.core.runs.rows import RunStatus
from tests.flows.test_command_line import TOY

CODE = """if True:
    import sys
    before = set(sys.modules)  # a .pth file of Google's makes empty `google` modules at every start of Python
    from flows.__main__ import main
    status = main(["train", *sys.argv[1:]])
    print("LOADED", *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    sys.exit(status)
"""


def test_a_local_train_loads_no_vendor(outside: Outside, prefect_server: None) -> None:
    """From submit to publish in one process: no module of Google's, MLflow's or gRPC's; TensorFlow is the job's own."""
    environ = os.environ | {"STATE_DIR": outside.settings.state_dir, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *TOY, "--epochs=1"], env=environ, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert outside.runs.read_run(1).status is RunStatus.COMPLETED
    [line] = [line for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    loaded = set(line.split())
    assert {"switchyard", "flows", "prefect", "sqlalchemy"} <= loaded
    vendors = ("google", "grpc", "mlflow", "tensorflow", "keras", "proto", "googleapiclient", "psycopg", "pyarrow")
    assert {name for name in loaded if name.startswith(vendors)} == set()
