"""Which words name MLflow, and what is told of them."""

import json
import time

import pytest

from switchyard.core.decommission.scanning import INSTEAD, What, find_mentions, is_binary, is_prose


def find(file: str, text: str) -> list[tuple[What, str]]:
    return [(one.what, one.found) for one in find_mentions(file, text.encode())]


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("a.py", "import mlflow", [(What.IMPORT, "import mlflow")]),
        ("a.py", "import mlflow.keras as mk", [(What.IMPORT, "import mlflow.keras")]),
        (
            "a.py",
            "    from mlflow.tracking import MlflowClient",
            [(What.IMPORT, "from mlflow.tracking"), (What.CALL, "MlflowClient")],
        ),
        ("a.py", "import os, mlflow", [(What.IMPORT, "import os, mlflow")]),
        ("a.py", "m = importlib.import_module('mlflow.sklearn')", [(What.IMPORT, "import_module('mlflow.sklearn'")]),
        ("a.R", "library(mlflow)", [(What.IMPORT, "library(mlflow)")]),
        ("A.scala", "import org.mlflow.tracking.MlflowContext", [(What.IMPORT, "org.mlflow.tracking.MlflowContext")]),
        ("a.py", "mlflow.log_metric('loss', 1)", [(What.CALL, "mlflow.log_metric")]),
        ("a.py", "with mlflow.start_run():", [(What.CALL, "mlflow.start_run")]),
        ("a.py", "@mlflow.trace", [(What.CALL, "mlflow.trace")]),
        ("a.py", "class M(mlflow.pyfunc.PythonModel):", [(What.CALL, "mlflow.pyfunc.PythonModel")]),
        ("a.py", "os.environ['MLFLOW_TRACKING_URI']", [(What.VARIABLE, "MLFLOW_TRACKING_URI")]),
        (".env", "MLFLOW_TRACKING_PASSWORD=hunter2", [(What.VARIABLE, "MLFLOW_TRACKING_PASSWORD")]),
        ("ci.yml", "  X: ${{ secrets.MLFLOW_TRACKING_TOKEN }}", [(What.VARIABLE, "MLFLOW_TRACKING_TOKEN")]),
        ("requirements.txt", "mlflow==2.9.2", [(What.REQUIREMENT, "mlflow==2.9.2")]),
        ("requirements-dev.txt", "mlflow", [(What.REQUIREMENT, "mlflow")]),
        ("requirements.txt", "mlflow[extras]>=2,<3  # tracking", [(What.REQUIREMENT, "mlflow[extras]>=2")]),
        ("requirements.txt", "mlflow-skinny ~= 3.1", [(What.REQUIREMENT, "mlflow-skinny ~= 3.1")]),
        ("pyproject.toml", '    "mlflow",', [(What.REQUIREMENT, "mlflow")]),
        ("pyproject.toml", 'mlflow = "^2.9"', [(What.REQUIREMENT, "mlflow")]),
        ("environment.yml", "  - mlflow=2.9.2", [(What.REQUIREMENT, "mlflow")]),
        ("uv.lock", 'name = "mlflow-skinny"', [(What.REQUIREMENT, "mlflow-skinny")]),
        ("Dockerfile", "RUN pip install psycopg2-binary mlflow gunicorn", [(What.REQUIREMENT, "pip install mlflow")]),
        ("Dockerfile", "FROM ghcr.io/mlflow/mlflow:v2.9.2", [(What.IMAGE, "ghcr.io/mlflow/mlflow:v2.9.2")]),
        ("Dockerfile", 'CMD ["mlflow", "server", "--host", "0.0.0.0"]', [(What.COMMAND, 'mlflow", "server')]),
        ("run.sh", "exec mlflow server --host 0.0.0.0", [(What.COMMAND, "mlflow server")]),
        ("deploy.sh", "mlflow db upgrade $URL", [(What.COMMAND, "mlflow db")]),
        ("a.py", "load('models:/shop/Production')", [(What.MODEL, "models:/shop/Production")]),
        ("a.yaml", "uri: models:/shop@champion", [(What.MODEL, "models:/shop@champion")]),
        ("a.py", "f\"models:/{name}/3\"", [(What.MODEL, "models:/{name}/3")]),
        ("a.py", "f'runs:/{run_id}/model'", [(What.RUN_FILES, "runs:/")]),
        ("a.yaml", "x: mlflow-artifacts:/0/a", [(What.ARTIFACTS, "mlflow-artifacts:")]),
        ("a.js", "fetch('https://mlflow.example.com/api')", [(What.ADDRESS, "https://mlflow.example.com")]),
        ("a.py", "HOST = 'mlflow.internal:5000'", [(What.ADDRESS, "mlflow.internal:5000")]),
        ("main.tf", 'resource "google_cloud_run_v2_service" "mlflow" {', [(What.NAME, "mlflow")]),
        ("cloudbuild.yaml", "  - deploy MLflow", [(What.NAME, "MLflow")]),
    ],
)  # fmt: skip
def test_a_line_that_names_mlflow_is_told(file: str, line: str, expected: list[tuple[What, str]]) -> None:
    """What it is, by its words and by the file's name."""
    assert find(file, line) == expected


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("a.py", "import mlflow_like"),
        ("a.py", "from switchyard.clients.mlflow import log"),
        ("a.py", "my_mlflow.log(1)"),
        ("a.py", "row.mlflow_run_id"),
        ("a.py", "# we once used MLflow"),
        ("compose.yml", "      - ./models:/models"),
        ("compose.yml", "      - models:/data"),
        ("a.py", "submodels:/x/1"),
        ("a.py", "NOMLFLOW_X"),
        ("a.py", "print('hello')"),
    ],
)
def test_a_line_that_does_not_is_not(file: str, line: str) -> None:
    """Names that only look like it, and comments in code."""
    assert find(file, line) == []


@pytest.mark.parametrize(
    "line",
    [
        "MLFLOW_BACKEND_STORE_URI=postgresql://mlflow:hunter2@db/mlflow",
        "uri = 'https://user:hunter2@mlflow.example.com/?token=hunter2'",
        "url: https://mlflow.example.com/?next=a@hunter2",
        "url: https://example.com/mlflow?token=hunter2",
        "x: postgresql://u:hunter2/mlflow@host/db",
        "x: postgresql://mlflow:mlflow-hunter2@host/db",
        "x: https://mlflow-hunter2@host.example/db",
        "mlflow @ https://hunter2@host/mlflow.whl",
        "password: hunter2  # of mlflow",
        "mlflow.set_tracking_uri('hunter2')",
        "export MLFLOW_TRACKING_TOKEN='hunter2' && mlflow server --secret hunter2",
    ],
)
@pytest.mark.parametrize("file", ["a.yaml", "a.py", "requirements.txt", ".env"])
def test_no_secret_of_a_line_is_told(file: str, line: str) -> None:
    """The word alone, and of an address its host where that is MLflow's."""
    assert not [found for _, found in find(file, line) if "hunter2" in found]


def test_lines_and_cells_are_counted_from_one() -> None:
    """Of a notebook the code's, and nothing of what it has answered."""
    cells = [
        {"cell_type": "markdown", "source": ["import mlflow"]},
        {
            "cell_type": "code",
            "source": ["import os\n", "import mlflow\n"],
            "outputs": [{"text": ["mlflow.log_metric()"]}],
        },
        {"cell_type": "code", "source": "mlflow.end_run()"},
    ]
    found = find_mentions("a.ipynb", json.dumps({"cells": cells}).encode())
    assert [(one.cell, one.line, one.found) for one in found] == [(2, 2, "import mlflow"), (3, 1, "mlflow.end_run")]
    (broken,) = find_mentions("a.ipynb", b'{"cells": [\n"import mlflow"')
    assert (broken.cell, broken.line) == (0, 2)


def test_what_is_no_utf8_hides_nothing() -> None:
    """Bytes that are no text are passed over, on their line alone."""
    assert find_mentions("a.py", b"# gr\xf6\xdfe\nimport mlflow")[0].line == 2
    assert find_mentions("a.py", "# größe".encode("utf-16") + b"\nimport mlflow")
    assert is_binary(b"\x7fELF\x00")
    assert not is_binary("größe".encode())


def test_every_kind_says_what_to_do() -> None:
    """In a sentence, and once."""
    assert set(INSTEAD) == set(What)
    assert all(said.endswith(".") for said in INSTEAD.values())
    assert [is_prose(name) for name in ("README.md", "docs/a.rst", "a.py", "requirements.txt")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "part", ["mlflow", "a://mlflow", "models:/", "import a,", "pip install ", "mlflow.", "'\"mlflow "]
)
def test_a_line_of_a_megabyte_takes_no_time(part: str) -> None:
    """Minified files have one; no pattern may go back and forth over it."""
    began = time.process_time()
    find_mentions("a.json", (part * (1_000_000 // len(part))).encode())
    assert time.process_time() - began < 20
