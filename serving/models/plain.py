"""The registry's values as the API sends them."""

from typing import Any

import msgspec

from switchyard.core.registry.listing import ModelLine, enters_production
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.rows import ModelVersion, Transition


def to_plain_model(line: ModelLine) -> dict[str, Any]:
    """Returns a model: who answers, and since when."""
    model, last = line.model, line.last
    challenger = None if model.challenger is None else {"version": model.challenger, "share": model.share}
    change = None
    if last is not None:
        change = {"seq": last.seq, "version": last.version, "act": str(last.act), "at": last.at, "by": last.by}
    return {
        "name": model.name,
        "description": model.description,
        "production": to_plain_champion(line.standing, model.production),
        "previous": model.previous,
        "challenger": challenger,
        "version_count": line.versions,
        "last_number": model.last_number,
        "revision": model.revision,
        "last_change": change,
    }


def to_plain_champion(standing: Transition | None, version: int | None) -> dict[str, Any] | None:
    """Returns the version in Production, with the line that says how it came there, if there is one."""
    if version is None:
        return None
    if standing is None or not enters_production(standing) or standing.version != version:
        return {"version": version, "since": None, "by": "", "act": None, "reason": "", "forced": False}
    return {
        "version": version,
        "since": standing.at,
        "by": standing.by,
        "act": str(standing.act),
        "reason": standing.reason,
        "forced": standing.forced,
    }


def to_plain_version(version: ModelVersion) -> dict[str, Any]:
    """Returns a version as a list has it."""
    return {
        "version": version.version,
        "stage": str(version.stage),
        "validation_status": str(version.judgement.status),
        "compared_with": version.judgement.against,
        "digest": version.digest,
        "quick_test_id": version.lineage.quick_test_id,
        "flavor": version.flavor,
        "description": version.description,
        "created_at": version.created_at,
        "created_by": version.created_by,
        "tombstoned_at": version.tombstoned_at,
    }


def to_plain_details(
    version: ModelVersion, manifest: Manifest, aliases: dict[str, int], tags: dict[str, str]
) -> dict[str, Any]:
    """Returns a version with its files, where it comes from, and what its last comparison said."""
    return {
        "name": version.name,
        **to_plain_version(version),
        "aliases": [alias for alias, number in aliases.items() if number == version.version],
        "tags": tags,
        "source_uri": version.source_uri,
        "lineage": msgspec.to_builtins(version.lineage),
        "judgement": msgspec.to_builtins(version.judgement),
        "size_bytes": manifest.size_bytes,
        "files": [{"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in manifest.files],
    }


def to_plain_line(line: Transition) -> dict[str, Any]:
    """Returns a line of a history, its evidence as it is stored."""
    return {
        "seq": line.seq,
        "version": line.version,
        "act": str(line.act),
        "from_stage": str(line.from_stage),
        "to_stage": str(line.to_stage),
        "at": line.at,
        "by": line.by,
        "reason": line.reason,
        "forced": line.forced,
        "replaced": line.replaced,
        "share": line.share,
        "evidence": line.evidence,
    }
