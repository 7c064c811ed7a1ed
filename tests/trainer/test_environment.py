"""What Vertex AI's environment changes, and what is refused of it."""

import json
from pathlib import Path

import pytest

from switchyard.core.errors import BadRequest
from trainer.environment import Environment, read_environment
from trainer.options import RunSpec, read_arguments
from trainer.starting import start

pytestmark = pytest.mark.usefixtures("gcs")  # a gs:// address is opened, and needs credentials elsewhere

BASE = "gs://bucket/quick_tests/7"


def make_cluster(**pools: int) -> str:
    cluster = {pool: [f"{pool}-{number}:2222" for number in range(count)] for pool, count in pools.items()}
    return json.dumps({"cluster": cluster, "environment": "cloud", "task": {"type": "chief", "index": 0}})


def read_run(variables: dict[str, str], *flags: str) -> RunSpec:
    return read_arguments([f"--artifacts-uri={BASE}", *flags], read_environment(variables))[0]


def test_nothing_said_is_nothing_changed() -> None:
    """Without the variables the model goes to the run's folder, and no checkpoints are kept."""
    assert read_environment({"PATH": "/bin", "TF_CONFIG": ""}) == Environment()
    run = read_run({})
    assert (run.model_uri, run.checkpoints_uri) == (f"{BASE}/model", "")


def test_what_the_report_needs_is_taken_from_the_environment_and_a_flag_wins() -> None:
    """BASELINES_PYTHON and, set by our launcher, TRAINED_IN; neither is asked for."""
    said = {"BASELINES_PYTHON": "/opt/implicit/bin/python", "TRAINED_IN": "r/trainer@sha256:1"}
    run = read_run(said)
    assert (run.baselines_python, run.image) == tuple(said.values())
    run = read_run(said, "--baselines-python=/usr/bin/python3", "--image=r/other@sha256:2")
    assert (run.baselines_python, run.image) == ("/usr/bin/python3", "r/other@sha256:2")
    assert (read_run({}).baselines_python, read_run({}).image) == ("", "")


def test_vertex_names_the_folders_and_a_flag_wins() -> None:
    """AIP_MODEL_DIR and AIP_CHECKPOINT_DIR are taken, also outside the run's folder, unless a flag names another."""
    variables = {"AIP_MODEL_DIR": "gs://other/model/", "AIP_CHECKPOINT_DIR": f"{BASE}/checkpoints/"}
    variables |= {
        "AIP_TENSORBOARD_LOG_DIR": f"{BASE}/logs/",
        "CLOUD_ML_JOB_ID": "123",
        "TF_CONFIG": make_cluster(chief=1),
    }
    variables["CLUSTER_SPEC"] = make_cluster(workerpool0=1)
    assert read_environment(variables).job_id == "123"
    run = read_run(variables)
    assert (run.model_uri, run.checkpoints_uri) == ("gs://other/model", f"{BASE}/checkpoints")
    run = read_run(variables, "--model-uri=gs://third/m", "--checkpoints-uri=gs://third/c")
    assert (run.model_uri, run.checkpoints_uri) == ("gs://third/m", "gs://third/c")


BAD: list[tuple[dict[str, str], str]] = [
    ({"TF_CONFIG": make_cluster(chief=1, worker=2)}, r"TF_CONFIG names 3 \(1 chief, 2 worker\): .*replica_count 1"),
    ({"CLUSTER_SPEC": make_cluster(workerpool0=1, workerpool1=1)}, "CLUSTER_SPEC names 2"),
    ({"TF_CONFIG": "{"}, "TF_CONFIG must be JSON"),
    ({"CLUSTER_SPEC": '{"cluster": []}'}, "CLUSTER_SPEC must be JSON"),
]


@pytest.mark.parametrize(("variables", "message"), BAD)
def test_an_environment_that_cannot_be_served_is_refused(
    variables: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several replicas, or a cluster that cannot be read: exit 2 before any compute, and nothing written."""
    with pytest.raises(BadRequest, match=message):
        read_environment(variables)
    assert start([f"--artifacts-uri={(tmp_path / 'run').as_uri()}"], variables) == 2
    assert next(iter(variables)) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["AIP_MODEL_DIR", "AIP_CHECKPOINT_DIR"])
def test_a_folder_that_is_no_uri_is_refused_by_its_name(name: str) -> None:
    """The message names the variable, not a flag that no one gave."""
    with pytest.raises(BadRequest, match=f"{name} must be a URI"):
        read_run({name: "/mnt/model"})
