"""Says in a flow's log how far it is. A terminal may draw it as a bar (`flows.terminal`)."""

from typing import Any, Final

import msgspec

EXTRA: Final = "bar"
"""The attribute of a log record that has one: ``get_run_logger().info(..., extra=Bar(...).extra)``."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """`done` of `total` things, which `unit` names in the plural."""

    label: str  # what is being done; one bar each
    unit: str
    done: int
    total: int
    detail: str = ""  # a few words behind it

    @property
    def extra(self) -> dict[str, Any]:
        """Returns what a log call takes as ``extra``."""
        return {EXTRA: self}

    def __str__(self) -> str:
        return f"{self.done} of {self.total} {self.unit}" + (f", {self.detail}" if self.detail else "")
