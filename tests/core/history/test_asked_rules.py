"""Which rules a run is published by: a table of what is given and what the run had."""

import pytest

from switchyard.core.history.asked_rules import NO_KEPT_RULES, KeptRules, choose_rules

BOTH = KeptRules(published="p", published_attempt=1, asked="a", asked_attempt=1)
CHOSEN: list[tuple[str, KeptRules, str]] = [
    ("", NO_KEPT_RULES, ""),
    ("g", NO_KEPT_RULES, "g"),
    ("g", BOTH, "g"),
    ("none", BOTH, "none"),
    ("", BOTH, "p"),
    (" \n", BOTH, "p"),  # a form that was left empty
    ("", KeptRules(published="p"), "p"),
    ("", KeptRules(asked="a", asked_attempt=1), "a"),
    ("", KeptRules(published="p", published_attempt=1, asked="a", asked_attempt=2), "a"),  # trained again
    ("", KeptRules(published="none", published_attempt=1, asked="a", asked_attempt=1), "none"),
    ("", KeptRules(published="p", published_attempt=3), "p"),
]


@pytest.mark.parametrize(("given", "kept", "expected"), CHOSEN)
def test_rules_that_nobody_gives_are_those_that_the_run_had(given: str, kept: KeptRules, expected: str) -> None:
    """What was published last goes before what a training was asked for, unless that came after it."""
    assert choose_rules(given, kept) == expected
