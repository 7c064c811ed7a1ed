"""A loader's process: what it answers, and that nothing it does is more than an error to the server."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from serving.predictions.loader_process import RowLoader, to_environment
from serving.predictions.loaders.wire import Answers, Ready, Refused, decode_reply, encode, encode_reply
from switchyard.core.errors import BadRecord, BadSetup, TryAgain
from switchyard.core.predictions.signature import Column, Signature, Type
from tests.root import ROOT
from tests.serving.predictions.planting import HASTY, HASTY_TO_LOAD, PLANTED, open_planted


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_says_what_it_takes_and_answers_in_order(tmp_path: Path) -> None:
    """As often as it is asked; nulls and texts of any length pass."""
    model = open_planted(tmp_path)
    assert model.library == "planted 1.0"
    assert [(column.name, column.type) for column in model.signature.columns] == [
        ("a", Type.NUMBER),
        ("n", Type.INTEGER),
    ]
    assert model.answer([[0.5, 1], [None, 3]]) == [1.5, 3]
    many = [[float(number), 0] for number in range(20_000)]  # more than a pipe holds, both ways
    assert model.answer(many) == [row[0] for row in many]
    model.close()


def test_close_ends_the_process_and_a_second_one_does_nothing(tmp_path: Path) -> None:
    """What asks later is told to ask another."""
    model = open_planted(tmp_path)
    model.close()
    model.close()
    assert not model.is_alive
    assert not _is_running(model.pid)
    with pytest.raises(TryAgain, match="another model has taken its place"):
        model.answer([[1.0, 1]])


def test_a_model_that_no_one_holds_ends_its_process(tmp_path: Path) -> None:
    """Also where no one closed it."""
    model = open_planted(tmp_path)
    pid = model.pid
    del model
    assert not _is_running(pid)


@pytest.mark.parametrize("asks", [False, True], ids=["idle", "hanging"])
def test_a_server_that_is_killed_leaves_no_process(tmp_path: Path, asks: bool) -> None:
    """An idle one ends with its input; one that hangs ends itself a little after its time."""
    program = (
        "import sys; from pathlib import Path; from tests.serving.predictions.planting import HASTY, open_planted\n"
        f"model = open_planted(Path(sys.argv[1]), HASTY, answer='hang', on=2.0)\n"
        "print(model.pid, flush=True); sys.stdin.readline()\n"
        f"from serving.predictions.loaders.wire import Ask, encode\n"
        f"if {asks}: model._process.stdin.write(encode(Ask([[1.0, 1]])))\n"
        "print('asked', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        loader = psutil.Process(int(server.stdout.readline()))
        server.stdin.write("\n")
        server.stdin.flush()
        assert server.stdout.readline() == "asked\n"
        assert loader.is_running()
        server.kill()
    gone, _ = psutil.wait_procs([loader], timeout=60)
    assert gone == [loader]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("crash", r"it was not loaded: its process ended by signal 11 \(SIGSEGV\)"),
        ("exit", "it was not loaded: its process ended with exit status 7; it printed last: the library gave up"),
        ("hang", "it was not loaded: its process took longer than 1 s, and was ended"),
        ("memory", "it needs more than the [0-9,]+ bytes of memory that it may have"),
        ("write", "the loader failed: (PermissionError|OSError): .*(Permission denied|File too large)"),
        ("raise", "the loader failed: ValueError: bad leaf"),
        ("refuse", "the planted model: its trees have no leaves; nor a root"),
        ("babble", "it was not loaded: its process sent an unknown message"),
    ],
)
def test_a_file_that_does_something_to_its_reader_is_refused_with_the_reason(
    tmp_path: Path, trouble: str, said: str
) -> None:
    """Not a byte was written to a file."""
    with pytest.raises(BadRecord, match=said):
        open_planted(tmp_path, HASTY_TO_LOAD if trouble == "hang" else PLANTED, load=trouble)
    assert [path.read_bytes() for path in tmp_path.glob("written")] in ([], [b""])


def test_a_library_that_is_not_installed_is_named_with_what_to_do(tmp_path: Path) -> None:
    """That is no fault of the model."""
    with pytest.raises(
        BadSetup, match=r"needs planted, which is not installed .*pip install -e '\.\[xgboost\]' in the checkout"
    ):
        open_planted(tmp_path, load="no library")


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before any file is read."""
    with pytest.raises(BadSetup, match=r"/nowhere/python: No such file.*MODEL_LOADER_PYTHON"):
        open_planted(tmp_path, RowLoader(python="/nowhere/python", module=PLANTED.module))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("crash", "its process ended by signal 11"),
        ("exit", "with exit status 7; it printed last: the library gave up"),
        ("hang", "took longer than 1 s, and was ended"),
        ("babble", "sent an unknown message"),
    ],
)
def test_an_answer_that_ends_the_process_may_be_asked_of_the_next_one(tmp_path: Path, trouble: str, said: str) -> None:
    """This one is no more, and says so at once from then on."""
    model = open_planted(tmp_path, HASTY, answer=trouble)
    with pytest.raises(TryAgain, match=said):
        model.answer([[1.0, 1]])
    assert not model.is_alive
    assert not _is_running(model.pid)
    with pytest.raises(TryAgain):
        model.answer([[1.0, 1]])


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("raise", "the model failed: ValueError: bad leaf"),
        ("nan", "the answer to row 0 is NaN, infinite, or no answer"),
        ("few", "2 rows must have 2 answers; there are 1"),
        ("memory", "it needs more memory for these rows than it may have"),
    ],
)
def test_rows_that_a_model_fails_on_are_no_end_of_it(tmp_path: Path, trouble: str, said: str) -> None:
    """It answers others."""
    model = open_planted(tmp_path, answer=trouble, on=2.0)
    with pytest.raises(BadRecord, match=said):
        model.answer([[1.0, 1], [2.0, 2]])
    assert model.answer([[5.0, 5]]) == [10.0]
    model.close()


def test_an_answer_that_is_too_long_is_refused_alone(tmp_path: Path) -> None:
    """Fewer rows are answered, and so are others."""
    model = open_planted(tmp_path, answer="long")
    with pytest.raises(BadRecord, match=r"answer has [0-9,]+ bytes, but may have at most 4,194,304; send fewer rows"):
        model.answer([[1.0, 1], [2.0, 2]])
    assert len(model.answer([[5.0, 5]])[0]) == 300_000
    model.close()


def test_a_model_of_too_many_columns_is_refused_with_their_number(tmp_path: Path) -> None:
    """Not by a message that the server cannot read."""
    with pytest.raises(BadRecord, match="it has 700,002 columns; served are models of at most 10,000"):
        open_planted(tmp_path, more_columns=700_000)


@pytest.mark.parametrize(
    "said",
    [
        Ready(signature=Signature(columns=(Column(name="x" * 501, type=Type.TEXT),), answers=""), library=""),
        Ready(signature=Signature(columns=(), answers="x" * 10_001), library=""),
        Ready(signature=Signature(columns=(), answers=""), library="x" * 10_001),
        Ready(signature=Signature(columns=(), answers=""), library="", unconfined=["x"] * 21),
        Ready(signature=Signature(columns=(Column(name="x", type=Type.TEXT, shape=(1,) * 9),), answers=""), library=""),
        Refused(problems=["x" * 10_001]),
    ],
)
def test_the_server_reads_no_part_that_is_longer_than_it_may_be(said: Ready | Refused) -> None:
    """That holds for any writer."""
    with pytest.raises(msgspec.ValidationError):
        decode_reply(encode(said)[4:])


def test_an_answer_of_many_lists_is_refused_before_it_is_decoded() -> None:
    """The server would answer no one meanwhile."""
    many = Answers([[[]] * 200_000])
    with pytest.raises(ValueError, match="a message of 200,003 lists, but may have at most 200,000"):
        decode_reply(encode(many)[4:])
    refused = decode_reply(encode_reply(many)[4:])
    assert refused == Refused(problems=["the answer has 200,003 lists, but may have at most 200,000; send fewer rows"])


def test_the_server_makes_no_example_of_any_size(tmp_path: Path) -> None:
    """A short message may name a long list."""
    huge = Column(name="x", type=Type.NUMBER, shape=(30_000, 1_000))
    with pytest.raises(BadRecord, match="it takes 30,000,000 values in a row"):
        open_planted(tmp_path, load="babble", babbled=encode(Ready(signature=_of(huge), library="")).decode("latin-1"))


def _of(*columns: Column) -> Signature:
    return Signature(columns=columns, answers="")


def test_what_a_library_prints_is_no_part_of_the_conversation(tmp_path: Path) -> None:
    """However much it is."""
    model = open_planted(tmp_path, load="print", answer="print")
    assert model.answer([[1.0, 1]]) == [2.0]
    model.close()


def test_the_process_sees_no_setting_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither passwords nor where anything is."""
    for name in ("RESULTS_URL", "MLFLOW_TRACKING_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "PYTHONPATH", "API_TOKEN"):
        monkeypatch.setenv(name, "secret")
    model = open_planted(tmp_path, answer="environment")
    seen: set[str] = set(model.answer([[1.0, 1]])[0])
    model.close()
    assert seen <= {*to_environment(), "HOME", "TMPDIR", "LC_CTYPE", "SHLVL", "PWD", "_"}
    assert "secret" not in to_environment().values()


def test_only_names_of_a_short_list_are_passed_on() -> None:
    """Of whatever the server's environment has."""
    given: dict[str, Any] = {"PATH": "/bin", "HOME": "/h", "AWS_SECRET_ACCESS_KEY": "x", "LANG": "C"}
    assert {"PATH", "LANG"} <= set(to_environment(given))
    assert not {"HOME", "AWS_SECRET_ACCESS_KEY"} & set(to_environment(given))
