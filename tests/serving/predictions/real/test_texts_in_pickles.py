"""A pickle of its library's own classes that hides a program in what they are given.

`make test-models` builds the environment.
"""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.convert.command import main
from serving.predictions.loader_process import RowLoader
from switchyard.core.errors import BadRecord
from switchyard.core.registry.manifest import Manifest, ModelFile
from tests.serving.predictions.real.environments import find_python

pytestmark = pytest.mark.needs_models
RAN = "the text of the pickle ran"
REFUSED = "it names scipy.stats._distn_infrastructure.rv_continuous. No scikit-learn model has a use for that"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """`rv_continuous` of SciPy runs this text when its state is set."""
    module, name = b"scipy.stats._distn_infrastructure", b"rv_continuous"
    state = pickle.dumps({"_parse_arg_template": f"raise SystemExit({RAN!r})"}, 2)
    path = tmp_path / "model" / "m.pkl"
    path.parent.mkdir()
    path.write_bytes(b"\x80\x02c" + module + b"\n" + name + b"\n)\x81" + state[2:-1] + b"b.")
    return path


def convert(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `switchyard convert` says of it."""
    assert main([str(path), "--to", str(path.parent / "new.skops"), "--run-its-code"]) == 1
    return capsys.readouterr().err


def serve(path: Path, _capsys: pytest.CaptureFixture[str]) -> str:
    """What the served loader says of it, where an operator has named it."""
    data = path.read_bytes()
    file = ModelFile(path="model/m.pkl", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    loader = RowLoader(find_python("xgboost"), pickle_digests=frozenset({file.sha256}))
    with pytest.raises(BadRecord) as raised:
        loader(path.parents[1], Manifest((file,)), "the model")
    return str(raised.value)


@pytest.mark.parametrize("read", [convert, serve])
def test_a_class_that_runs_a_text_is_refused_by_its_name(
    hostile: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    read: Callable[[Path, pytest.CaptureFixture[str]], str],
) -> None:
    """Though it is SciPy's, of which scikit-learn's models have other classes."""
    monkeypatch.setenv("MODEL_LOADER_PYTHON", find_python("xgboost"))
    said = read(hostile, capsys)
    assert REFUSED in said
    assert RAN not in said
