"""Tells Prefect what it must know of every outside effect: what is retried, how often, how long apart."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from switchyard.core.errors import TryAgain, TryLater

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 5
"""The number of retries, after 1, 2, 4, 8 and 16 s and up to half as much again: they outlast an outside that is away
for 30 s."""


def effect(function: Callable[P, R], *, retries: int = RETRIES) -> Task[P, R]:
    """Makes a task that calls `function`: `TryAgain` is retried, anything else is raised at once.

    Every effect may therefore run twice; `core.ports` says of each what a second call does. Nothing is cached: an
    answer from before would hide what has changed outside.
    """
    return Task(
        fn=function,
        name=function.__name__.replace("_", "-"),
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=exponential_backoff(1),
        retry_jitter_factor=0.5,
        retry_condition_fn=_is_passing,
    )


def _is_passing(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    found = state.result(raise_on_failure=False)
    return isinstance(found, TryAgain) and not isinstance(found, TryLater)
