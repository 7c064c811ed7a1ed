"""docs/artifacts.md: its commands are those of the code, and its numbers are its defaults."""

import re

from flows.__main__ import FLOWS, GROUPS
from flows.artifacts_parameters import ArtifactsCopyParameters
from flows.steps.artifact_batches import BATCH_RUNS
from switchyard.core.runs.flags import to_flag
from switchyard.services import artifact_copying, artifacts
from tests.docs.pages import read_page

PAGE = read_page("artifacts.md")


def test_its_commands_and_flags_are_there() -> None:
    """Each act is shown, and no flag that no act takes."""
    acts = set(re.findall(r"switchyard artifacts (\w+)", PAGE))
    assert acts == set(GROUPS["artifacts"])
    flags = {to_flag(name) for act in acts for name in FLOWS[f"artifacts-{act}"].__struct_fields__} | {"--json"}
    theirs = {"--artifacts-destination"}  # of MLflow's server, and of ours
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= flags | theirs


def test_its_numbers_are_the_codes() -> None:
    """What is held at once, and what is read again at most."""
    copy = ArtifactsCopyParameters()
    assert f"`--concurrency` ({copy.concurrency})" in PAGE
    assert (copy.in_flight_bytes, "(1 GiB)" in PAGE) == (1 << 30, True)
    assert f"at most {artifact_copying.NOTE_OBJECTS} objects or {artifact_copying.NOTE_BYTES >> 20} MB" in PAGE
    assert f"above {artifact_copying.IN_MEMORY_BYTES >> 20} MiB" in PAGE
    assert f"a batch of {BATCH_RUNS} runs" in PAGE
    assert f"of at most {artifacts.RUNS_AT_ONCE} runs" in PAGE
