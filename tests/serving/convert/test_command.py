"""`switchyard convert` where nothing is made: no file is left, and nothing that the pickle names is called."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.convert.command import main

Run = Callable[..., tuple[int, str]]


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in a folder with a hostile pickle; its exit status, and what it says on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_LOADER_PYTHON", raising=False)
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Hostile(tmp_path / "written")))

    def call(*arguments: str) -> tuple[int, str]:
        try:
            status = main(arguments, prog="switchyard convert")
        except SystemExit as err:
            assert isinstance(err.code, int)
            status = err.code
        return status, capsys.readouterr().err

    return call


def test_nothing_is_run_that_was_not_agreed_to(run: Run, tmp_path: Path) -> None:
    """It says what a pickle is, what this one names, and the flag."""
    status, said = run("hostile.pkl", "--to", "model.skops")
    assert status == 1
    assert "a pickle is a program: reading it runs its code" in said
    assert f"it names: '{os.system.__module__}.system'" in said
    assert "nothing was run. To agree: --run-its-code" in said
    assert {path.name for path in tmp_path.iterdir()} == {"hostile.pkl"}


@pytest.mark.parametrize("ending", ["ubj", "skops", "json"])
def test_what_no_model_is_made_of_is_refused_by_its_name(run: Run, tmp_path: Path, ending: str) -> None:
    """And not called; or the library is named that is not installed here."""
    status, said = run("hostile.pkl", "--to", f"model.{ending}", "--run-its-code")
    assert status == 1
    if ending == "json":
        assert f"it names {os.system.__module__}.system. No Keras tokenizer has a use for that" in said
    else:
        assert "which is not installed for " in said
        assert "MODEL_LOADER_PYTHON" in said
    assert {path.name for path in tmp_path.iterdir()} == {"hostile.pkl"}


@pytest.mark.parametrize("arguments", [["--to", "model.skops"], ["--to", "model.json", "--run-its-code"]])
def test_nothing_of_a_pickle_steers_the_terminal(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    """Neither the names before it is read, nor those of a problem."""
    (tmp_path / "odd.pkl").write_bytes(b"cfoo\x1b[2K\x1b[1A\nbar\n.")
    status, said = run("odd.pkl", *arguments)
    assert status == 1
    assert "foo\\x1b[2K\\x1b[1A" in said
    assert "\x1b" not in said


def test_a_tokenizer_that_the_server_does_not_read_is_not_kept(run: Run, tmp_path: Path) -> None:
    """Keras reads it again and finds no difference; the server has a reader of its own."""
    from keras.src.legacy.preprocessing.text import Tokenizer

    (tmp_path / "never_fitted.pkl").write_bytes(pickle.dumps(Tokenizer(oov_token="?")))
    (tmp_path / "rows.csv").write_text("text\na good shoe\n")
    status, said = run("never_fitted.pkl", "--to", "tokenizer.json", "--rows", "rows.csv")
    assert status == 1
    assert "the server does not read it: `config.word_index` must have the word of `config.oov_token`, '?'" in said
    assert not (tmp_path / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["hostile.pkl", "--to", "model.pkl"], 2, "--to must end in one of .ubj (XGBoost model)"),
        (["hostile.pkl", "--to", "hostile.pkl.json", "--count", "0"], 2, "--count must be 1 to 10,000; got 0"),
        (["none.pkl", "--to", "model.ubj"], 1, "No such file"),
        (["hostile.pkl", "--to", "no/model.ubj"], 1, "there is no folder no. Make it: mkdir -p no"),
        (["hostile.pkl", "--to", "model.ubj", "--rows", "none.csv"], 1, "No such file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(
    run: Run, tmp_path: Path, arguments: list[str], status: int, problem: str
) -> None:
    """In words that name the flag or the file."""
    assert run(*arguments)[0] == status
    assert problem in run(*arguments)[1]
    assert {path.name for path in tmp_path.iterdir()} == {"hostile.pkl"}


def test_a_file_that_is_there_is_kept(run: Run, tmp_path: Path) -> None:
    """Also by a second call of a conversion that was made."""
    (tmp_path / "model.ubj").write_text("mine")
    status, said = run("hostile.pkl", "--to", "model.ubj", "--run-its-code")
    assert status == 1
    assert "model.ubj is there already, and nothing was changed" in said
    assert (tmp_path / "model.ubj").read_text() == "mine"
