"""What is read from a training's log."""

import json

from switchyard.clients.launchers.local.job_log import to_last_words, to_progress


def _line(**said: object) -> str:
    return json.dumps(said)


def test_last_words_are_the_training_s_own_error() -> None:
    """A person reads the reason, not the JSON lines around it."""
    tail = "\n".join(
        [_line(severity="INFO", message="reading"), _line(severity="ERROR", message="no rows are left"), "bye"]
    )
    assert to_last_words(tail) == "no rows are left"


def test_last_words_are_the_last_lines_where_no_error_was_said() -> None:
    """A crash outside our own code is shown as it stands in the log."""
    tail = "\n".join([_line(severity="INFO", message="reading"), "", "Segmentation fault"])
    assert to_last_words(tail).endswith("Segmentation fault")
    assert "reading" in to_last_words(tail)


def test_progress_is_the_last_whole_line_s() -> None:
    """Half a line at the end of a log that is being written is passed over."""
    tail = _line(epoch=2, epochs=20, loss=0.5) + '\n{"epoch": 3, "epo'
    progress = to_progress(tail)
    assert progress is not None
    assert (progress.epochs_done, progress.epochs_asked, progress.loss) == (3, 20, 0.5)
