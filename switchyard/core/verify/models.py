"""What verify finds of the models that were imported from MLflow's registry: counted like runs, and no verdict."""

import msgspec

from switchyard.core.registry.importing import NOT_HERE, ModelVerified, SourceModel


class VerifiedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model of MLflow's registry, and what of it is here."""

    name: str  # there
    here: str = ""  # its name here; empty: it was not imported
    versions: int = 0  # that there are there
    equal: int = 0  # of these: every field is the same, and every file to the last byte
    differs: dict[str, list[str]] = {}  # what is not as there, by version; "model": the model itself
    missing: list[int] = []  # versions that are not here
    without_files: list[
        int
    ] = []  # versions with files that could not be read when they were imported; in no other count
    files: int = 0  # that were read again
    size_bytes: int = 0
    unread: str = ""  # why it could not be compared

    def __str__(self) -> str:
        """Returns what is wrong, for people; empty: nothing."""
        name = self.here or self.name
        said = [f"version {number}: {'; '.join(problems)}" for number, problems in self.differs.items()]
        said += [self.unread] if self.unread else []
        return f"model {name}: {'; '.join(said)}" if said else ""


class VerifiedModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a verify found of a registry. `unread`: why the registry could not be read; then there are no models."""

    compared_with: str = ""
    unread: str = ""
    models: list[VerifiedModel] = []

    @property
    def counts(self) -> dict[str, int]:
        """How many models and versions there are in the registry, and how many of them are here, by what was found."""
        versions = sum(one.versions for one in self.models)
        return {
            "models": len(self.models),
            "models_imported": sum(bool(one.here) for one in self.models),
            "versions": versions,
            "equal": sum(one.equal for one in self.models),
            "differ": sum(len(one.differs) - ("model" in one.differs) for one in self.models),
            "models_differ": sum("model" in one.differs for one in self.models),
            "without_files": sum(len(one.without_files) for one in self.models),
            "missing": sum(len(one.missing) for one in self.models),
            "unread": sum(bool(one.unread) for one in self.models),
        }

    @property
    def failed(self) -> list[str]:
        """What differs, or could not be compared, of what was imported."""
        return [said for one in self.models if one.here and (said := str(one))]


def to_verified(model: SourceModel, here: str, found: ModelVerified) -> VerifiedModel:
    """Returns what a comparison of the model with the one that is called `here` found."""
    missing = [int(number) for number, problems in found.differs.items() if problems == [NOT_HERE]]
    differs = {number: problems for number, problems in found.differs.items() if problems != [NOT_HERE]}
    without = [number for number in found.without_files if str(number) not in differs]
    return VerifiedModel(
        name=model.name,
        here=here,
        versions=len(model.versions),
        equal=found.versions - len(without),
        differs=differs,
        missing=missing,
        without_files=without,
        files=found.files,
        size_bytes=found.size_bytes,
    )


def to_absent(model: SourceModel) -> VerifiedModel:
    """Returns a model that was not imported."""
    return VerifiedModel(
        name=model.name, versions=len(model.versions), missing=[version.number for version in model.versions]
    )
