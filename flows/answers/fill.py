"""What fill answers: counts, and a reason for each run that lacks its series or its values."""

import msgspec

from switchyard.core.errors import SwitchyardError

_SHOWN, _ROWS_SHOWN = 20, 200


class FillResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the runs that had no full series; reasons by quick test id."""

    to_do: int
    filled: int = 0  # series and values
    values_alone: dict[int, str] = {}  # nothing is left to make series of; their history's points are served
    replaced: dict[int, str] = {}  # published again meanwhile
    failed: dict[int, str] = {}

    @property
    def counts(self) -> list[list[str | int]]:
        """Returns names and numbers."""
        return [
            ["without series", self.to_do],
            ["filled", self.filled],
            ["values alone", len(self.values_alone)],
            ["replaced meanwhile", len(self.replaced)],
            ["failed", len(self.failed)],
        ]

    @property
    def table(self) -> list[dict[str, str | int]]:
        """Returns a Prefect artifact's rows: the counts, and the first of the runs that were not filled whole."""
        rows: list[dict[str, str | int]] = [
            {"what": str(name), "runs": number, "why": ""} for name, number in self.counts
        ]
        for title, found in self._reasons:
            for id_, why in list(found.items())[:_ROWS_SHOWN]:
                rows.append({"what": title, "runs": f"quick test {id_}", "why": why})
        return rows

    @property
    def lists(self) -> list[tuple[str, list[list[str]]]]:
        """Returns each list that has lines, with its title."""
        lists = [(title, [[f"quick test {id_}", why] for id_, why in found.items()]) for title, found in self._reasons]
        return [(title, lines) for title, lines in lists if lines]

    @property
    def _reasons(self) -> list[tuple[str, dict[int, str]]]:
        return [
            ("failed", self.failed),
            ("values alone", self.values_alone),
            ("replaced meanwhile", self.replaced),
        ]


class FillFailed(SwitchyardError):
    """Some runs could not be filled; `result` says which, and what became of the others."""

    def __init__(self, result: FillResult) -> None:
        self.result = result
        lines = [f"quick test {id_}: {error}" for id_, error in list(result.failed.items())[:_SHOWN]]
        more = len(result.failed) - _SHOWN
        said = "; ".join(lines) + (f"; and {more} more, see the ledger" if more > 0 else "")
        super().__init__(
            f"{len(result.failed)} of {result.to_do} runs could not be filled: {said}. "
            "Run the same command again to try them"
        )
