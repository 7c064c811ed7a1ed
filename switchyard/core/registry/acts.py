"""What registering, promoting and taking back do outside: one walk calls them, as tasks of a flow run or plainly."""

from collections.abc import Callable
from dataclasses import dataclass

from switchyard.core.registry.rows import Model, ModelVersion, Outcome, Promotion, Registered, Rollback


@dataclass(frozen=True)
class Acts:
    """The acts on the registry: each is the function of its name in `tasks.registry`, or the same without Prefect."""

    register_run: Callable[[int, str, str, str], Registered]
    register_source: Callable[[str, str, str, str], Registered]
    read_model: Callable[[str], Model]
    find_request: Callable[[str, str], Outcome | None]
    check_files: Callable[[str, int], str]
    promote_version: Callable[[Promotion], Outcome]
    roll_back: Callable[[Rollback], Outcome]
    announce_model: Callable[[Outcome], bool]
    announce_registered: Callable[[ModelVersion], bool]
