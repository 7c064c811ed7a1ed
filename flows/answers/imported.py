"""What import-models answers."""

import msgspec

from switchyard.core.errors import SwitchyardError
from switchyard.core.registry.importing import ModelVerified, VersionImport

_SHOWN = 20


class ImportModelsResult(msgspec.Struct, kw_only=True):
    """What was imported, by the models' names here."""

    source: str = ""  # which registry was read
    models: int = 0  # looked at
    versions: int = 0  # made in this call
    there: int = 0  # made by a call before
    files: int = 0  # copied in this call
    size_bytes: int = 0
    verified: int = 0  # versions that are as there: every field, and every file to the last byte
    verified_files: int = 0
    listed: dict[str, list[str]] = {}  # what was not taken, or not chosen, and what to do
    without_files: dict[str, dict[int, str]] = {}  # versions that cannot be loaded, and why
    differs: dict[str, dict[str, list[str]]] = {}  # what is not as there, by version
    failed: dict[str, str] = {}  # models that could not be imported, by their names there

    def add(self, name: str, done: VersionImport) -> None:
        """Counts what became of a version."""
        self.versions += done.is_new
        self.there += not done.is_new
        self.files += done.files
        self.size_bytes += done.size_bytes
        if done.no_files:
            self.without_files.setdefault(name, {})[done.number] = done.no_files

    def add_verified(self, name: str, found: ModelVerified) -> None:
        """Counts what of a model is the same as there."""
        self.verified += found.versions
        self.verified_files += found.files
        if found.differs:
            self.differs[name] = found.differs


class ImportFailed(SwitchyardError):
    """Some models could not be imported, or differ; `result` says which, and what became of the others."""

    def __init__(self, result: ImportModelsResult) -> None:
        self.result = result
        said = [f"model {name}: {error}" for name, error in result.failed.items()]
        said += [
            f"model {name}, version {number}: {'; '.join(problems)}"
            for name, found in result.differs.items()
            for number, problems in found.items()
        ]
        more = len(said) - _SHOWN
        super().__init__("; ".join(said[:_SHOWN]) + (f"; and {more} more" if more > 0 else ""))
