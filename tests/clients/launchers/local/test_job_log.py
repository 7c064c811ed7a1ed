"""What is read from a training's log."""

import json

import pytest

from switchyard.clients.launchers.local.job_log import find_error, to_last_words, to_progress
from switchyard.core.runs.jobs import Progress


def _line(**said: object) -> str:
    return json.dumps(said)


def test_last_words_are_the_training_s_own_error() -> None:
    """A person reads the reason, not the JSON lines around it."""
    tail = "\n".join(
        [_line(severity="INFO", message="reading"), _line(severity="ERROR", message="no rows are left"), "bye"]
    )
    assert (find_error(tail), to_last_words(tail)) == ("no rows are left", "no rows are left")


def test_last_words_are_the_last_lines_where_no_error_was_said() -> None:
    """A crash outside our own code is shown as it stands in the log."""
    tail = "\n".join([_line(severity="INFO", message="reading"), "", "Segmentation fault"])
    assert to_last_words(tail).endswith("Segmentation fault")
    assert "reading" in to_last_words(tail)
    assert find_error(tail) == ""


def test_progress_is_the_last_whole_line_s() -> None:
    """Half a line at the end of a log that is being written is passed over."""
    tail = _line(epoch=2, epochs=20, loss=0.5) + '\n{"epoch": 3, "epo'
    progress = to_progress(tail)
    assert progress is not None
    assert (progress.epochs_done, progress.epochs_asked, progress.loss) == (3, 20, 0.5)


@pytest.mark.parametrize(
    ("tail", "progress"),
    [
        ("", None),
        ("epoch 3 of 20", None),
        ('{"epoch": 2, "epochs": 20, "loss": 0.5}', Progress(3, 20, 0.5)),
        ('{"epoch": 2, "epochs": 20, "loss": 1}\nother\n', Progress(3, 20, 1.0)),
        ('{"epoch": 1, "epochs": 20}\n{"epoch": 2, "epochs": 20, "lo', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20}\n{"message": "saved"}\n{}', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20, "loss": null}', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20, "loss": NaN}', Progress(2, 20)),
        ('{"epoch": 1, "epochs": 20, "loss": "0.5"}', Progress(2, 20)),
        ('{"epoch": true, "epochs": 20}', None),
        ('{"epoch": "1", "epochs": 20}', None),
        ('[{"epoch": 1, "epochs": 20}]', None),
        ('s": 3}\n{"epoch": 1, "epochs": 2}', Progress(2, 2)),
    ],
)
def test_progress_is_read_from_the_last_whole_line(tail: str, progress: Progress | None) -> None:
    """Whatever else is in the log, and wherever its tail begins."""
    assert to_progress(tail) == progress


def test_last_words_skip_empty_lines() -> None:
    """At most 15 lines and 2,000 characters, from the end."""
    assert to_last_words("a\n\n \nb  \n") == "a\nb"
    assert to_last_words("\n".join(map(str, range(100)))) == "\n".join(map(str, range(85, 100)))
    assert to_last_words("x" * 5_000) == "x" * 2_000
