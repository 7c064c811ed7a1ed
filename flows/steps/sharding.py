"""Runs a backfill in parts, each a flow run of its deployment, and waits for as long as they get on."""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.mlflow_parameters import BackfillParameters
from flows.progress.batches import Watch
from switchyard.core.errors import SwitchyardError
from tasks.shards import cancel_shards, read_shards, start_shard

LOOK_S: Final = 5.0
_STARTS_AT_ONCE: Final = 8


def run_shards(wanted: BackfillParameters, watch: Watch) -> list[str]:
    """Returns what went wrong with which part; nothing if all did their work.

    It waits until all have ended, or until no part has begun, ended, or settled a run for `wanted.shard_patience_s`:
    then no worker takes them, or one has died. Parts that have not begun are cancelled then; a part at work goes on.
    """
    ids, broken = _start(wanted)
    seen: tuple[int, dict[str, Any]] | None = None
    news_at = time.monotonic()
    states: Mapping[str, State[Any]] = {}
    while ids:
        found = read_shards(list(ids))
        settled = watch.look()
        if found is not None:
            states = found
            if all(state.is_final() for state in states.values()):
                break  # none of those that someone deleted will ever end
            news = (settled, {id_: state.type for id_, state in states.items()})
            if news != seen:
                seen, news_at = news, time.monotonic()
        if time.monotonic() - news_at > wanted.shard_patience_s:
            return broken + _give_up(ids, states, wanted.shard_patience_s)
        time.sleep(min(LOOK_S, wanted.shard_patience_s))
    ends = {name: states[id_].name if id_ in states else "deleted" for id_, name in ids.items()}
    return broken + [f"{name} ended as {end}" for name, end in ends.items() if end != "Completed"]


def _start(wanted: BackfillParameters) -> tuple[dict[str, str], list[str]]:
    """Returns the name of each part by its flow run's id, and why others could not be started."""
    base = msgspec.to_builtins(msgspec.structs.replace(wanted, adopt=False, experiments=()))
    runner: TaskRunner[PrefectConcurrentFuture[Any]] = ThreadPoolTaskRunner(
        max_workers=min(wanted.shards, _STARTS_AT_ONCE)
    )
    ids: dict[str, str] = {}
    broken = []
    with runner:
        parts = [(number, base | {"shard": number}) for number in range(1, wanted.shards + 1)]
        futures = [(number, runner.submit(start_shard, {"parameters": part})) for number, part in parts]
        for number, future in futures:
            started = future.result(raise_on_failure=False)
            if isinstance(started, SwitchyardError):
                broken.append(str(started))
            elif isinstance(started, BaseException):
                raise started
            else:
                ids[started] = f"shard {number}"
    return ids, sorted(set(broken))


def _give_up(ids: Mapping[str, str], states: Mapping[str, State[Any]], patience_s: float) -> list[str]:
    waiting = [id_ for id_, state in states.items() if state.is_scheduled() or state.is_pending()]
    if waiting:
        cancel_shards(waiting)
    said = []
    for id_, name in ids.items():
        state = states.get(id_)
        if id_ in waiting:
            said.append(f"{name} was cancelled: no worker had begun it")
        elif state is None or not state.is_final():
            said.append(f"{name} was {state.name if state else 'unknown'}, and goes on if its process is alive")
        elif not state.is_completed():
            said.append(f"{name} ended as {state.name}")
    return [
        *said,
        f"nothing had happened for {patience_s:.0f} s (--shard-patience-s); see the workers of the work pool",
    ]
