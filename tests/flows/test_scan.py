"""`switchyard decommission scan` as people and scripts call it."""

import json
from pathlib import Path

import pytest

from flows.__main__ import main


def test_scan_exits_with_what_it_has_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 nothing, 1 something, 2 it could not look; file, line, what, and what to do."""
    code = tmp_path / "train.py"
    code.write_text("x = 1\n")
    assert main(["decommission", "scan", str(tmp_path)]) == 0
    assert "0 mentions of MLflow in 0 of 1 files" in capsys.readouterr().out
    code.write_text("x = 1\nimport mlflow\n")
    assert main(["decommission", "scan", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "train.py:2: import: import mlflow" in said
    assert "import (1): Train with `switchyard train`" in said
    assert main(["decommission", "scan", str(tmp_path / "none")]) == 2
    assert "decommission scan failed: " in capsys.readouterr().err


def test_scan_answers_one_json_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With all that was found, and what was left out."""
    (tmp_path / "requirements.txt").write_text("mlflow==2.9.2\n")
    (tmp_path / "b.bin").write_bytes(b"\x00")
    assert main(["decommission", "scan", str(tmp_path), "--json"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    (mention,) = answer["mentions"]
    assert (mention["file"], mention["line"], mention["what"]) == ("requirements.txt", 1, "requirement")
    assert mention["instead"].endswith(".")
    assert answer["left_out"] == [{"file": "b.bin", "reason": "no text"}]


def test_the_group_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """Two words; anything else is refused with what there is."""
    assert main(["decommission", "sca"]) == 2
    assert "decommission takes" in capsys.readouterr().err
