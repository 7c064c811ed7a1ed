"""Which MLflow run is a run's, and what mlflow_info.json may say."""

import pytest

from switchyard.core.errors import BadRecord
from switchyard.core.mlflow.sources import MlflowInfo, choose_mlflow, read_mlflow_info, to_shown_uri

ROW, INFO = "a" * 32, "b" * 32


@pytest.mark.parametrize(
    ("row", "info", "trained_here", "run_ids", "warns"),
    [
        ("", None, False, (), False),
        ("", None, True, (), False),
        (ROW, None, False, (ROW,), False),
        (ROW, None, True, (ROW,), False),
        ("", INFO, False, (INFO,), False),
        ("", INFO, True, (INFO,), False),
        (ROW, ROW, False, (ROW,), False),
        (ROW, ROW, True, (ROW,), False),
        # The row's owner knows best; but of our own runs the row may name an earlier attempt's.
        (ROW, INFO, False, (ROW, INFO), True),
        (ROW, INFO, True, (INFO, ROW), False),
    ],
)
def test_each_case_has_its_choice(
    row: str, info: str | None, trained_here: bool, run_ids: tuple[str, ...], warns: bool
) -> None:
    """The row's run goes first, then mlflow_info.json's; a contradiction that no one can explain is said."""
    found = choose_mlflow(row, MlflowInfo(run_id=info) if info else None, trained_here=trained_here)
    assert (found.run_ids, bool(found.warning)) == (run_ids, warns)


@pytest.mark.parametrize(
    ("data", "run_id", "uri"),
    [
        (b'{"run_id": "0bf8d36e", "tracking_uri": "https://mlflow.example/x"}', "0bf8d36e", "https://mlflow.example/x"),
        (b'{"run_id": "my-run_1"}', "my-run_1", ""),
        (b'{"run_id": "a", "tracking_uri": "databricks", "experiment": 4}', "a", "databricks"),
    ],
)
def test_an_info_file_is_read(data: bytes, run_id: str, uri: str) -> None:
    """Other keys, and addresses of any kind, are taken: nothing is read from there."""
    assert read_mlflow_info(data, where="file") == MlflowInfo(run_id=run_id, tracking_uri=uri)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is not JSON"),
        (b"<html>", "it is not JSON"),
        (b"\xff{}", "it is not"),
        (b"[1]", "it is not a JSON object"),
        (b"{}", "it is missing"),
        (b'{"run_id": 12}', "got 12"),
        (b'{"run_id": ""}', "got ''"),
        (b'{"run_id": "../experiments/get?x="}', "got '../experiments"),
        (b'{"run_id": "a b"}', "got 'a b'"),
        (b'{"run_id": "a\\u0000"}', r"got 'a\\x00'"),
        (b'{"run_id": "a", "more": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "it is not JSON"),
        (b'{"run_id": ' + b"[" * 300 + b"]" * 300 + b"}", "got .*\\.\\.\\."),
        (('{"run_id": "%s"}' % ("a" * 33)).encode(), "at most 32"),
        (b'{"tracking_uri": ["x"]}', r"it is missing; `tracking_uri` must be a text; got \['x'\]"),
    ],
)
def test_an_info_file_that_is_none_is_refused(data: bytes, problem: str) -> None:
    """With the place, what was expected and what is there; nothing that could change a URL passes for an id."""
    with pytest.raises(BadRecord, match=f"^file: .*{problem}"):
        read_mlflow_info(data, where="file")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:s3cret@mlflow.example:5000/x?token=y", "https://mlflow.example:5000/x"),
        ("databricks", "databricks"),
        ("https://a\n/\x1b[31m", "https://a/[31m"),
        ("http://[", "no address"),
    ],
)
def test_messages_show_an_address_without_its_secrets(uri: str, shown: str) -> None:
    """Whatever someone wrote into a bucket: no password, no control characters."""
    assert to_shown_uri(uri) == shown
