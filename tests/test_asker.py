"""Who is said to have asked: the user, where no one else is named."""

import getpass

import pytest

from flows.parameters import CancelParameters
from flows.registry_parameters import PromoteParameters
from switchyard.asker import with_user


def test_empty_name_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is given stays, and what has no such field is left alone."""
    monkeypatch.setenv("LOGNAME", "n" * 300)
    assert with_user(PromoteParameters(name="shop", version=1)).by == "n" * 200
    assert with_user(PromoteParameters(name="shop", version=1, by="ann")).by == "ann"
    cancelled = CancelParameters(quick_test_id=1)
    assert with_user(cancelled) is cancelled


@pytest.mark.parametrize("error", [KeyError("uid not found: 4711"), OSError("No username set"), ImportError("pwd")])
def test_user_without_a_name_is_no_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A container may run under any user id."""

    def fail() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)
    assert with_user(PromoteParameters(name="shop", version=1)).by == ""
