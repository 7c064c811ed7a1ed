"""What collecting all statistics costs a training: time as a ratio of steps with them to steps without, and memory.

One process holds three training functions of one model and runs them in turns, a call each: without statistics, without
once more (the control, which should differ by nothing), and with them. A call with statistics also has its share of an
epoch's end, which is run and timed apart; "steps" is without that share. Measured at the trainer's default batch and
width on the tables of Online Retail and of the made-up data that the trainer makes by itself, and at larger tables and
batches.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from itertools import count
from typing import Any

from tests.bench.purchases import LARGE, MADE_UP, ONLINE_RETAIL, Shape, draw_pairs
from tests.bench.step import make_call, make_model
from tests.bench.timing import Ratio, time_in_turns, to_ratio

SHAPES = {"online_retail": (ONLINE_RETAIL, 600), "made_up": (MADE_UP, 600), "large": (LARGE, 100)}  # and rounds
ENDS = 40
MEMORY_CALLS, MEMORY_EPOCHS, MEMORY_RUNS = 13, 4, 2


def main() -> dict[str, float | str]:
    """Prints the table; returns the overheads (parts of the epoch's time) with their intervals, and the memory [MB]."""
    figures: dict[str, float | str] = {}
    for name, (shape, rounds) in SHAPES.items():
        print(f"{name}: {shape}, {rounds} rounds")
        for what, ratio in measure_time(shape, rounds).items():
            print(f"  {what:22} {ratio.to_more()}", flush=True)
            key = f"{name}_{what.replace(' ', '_')}"
            figures |= {key: ratio.median - 1, f"{key}_low": ratio.low - 1, f"{key}_high": ratio.high - 1}
    memory_mb, growth_mb = measure_memory()
    print(f"memory, statistics on minus off      {memory_mb:+.1f} MB (medians of {MEMORY_RUNS} processes each)")
    print(f"memory, from the first epoch's end   {growth_mb:+.1f} MB with statistics, over {MEMORY_EPOCHS - 1} epochs")
    return figures | {"memory_mb": memory_mb, "memory_growth_mb": growth_mb}


def measure_time(shape: Shape, rounds: int) -> dict[str, Ratio]:
    """The overhead and the control, each by the clock and by processor time."""
    set_environment()
    from trainer.model.calls import STEPS_A_CALL
    from trainer.model.towers import TwoTower

    pairs = draw_pairs(shape)
    model = make_model(shape, pairs, TwoTower)
    calls = {name: make_call(model, pairs, shape, is_stacked=True) for name in ("off", "control")}
    for call in calls.values():
        call()  # traces
    callbacks = make_callbacks(model)
    calls["on"] = make_call(model, pairs, shape, is_stacked=True)
    calls["on"]()
    epochs = count()
    end_epoch(callbacks, next(epochs))  # traces what it needs
    times = time_in_turns(calls, rounds)
    seen = callbacks[-1].sums.steps.numpy()[2]
    assert 0 < seen <= rounds * STEPS_A_CALL, "the steps of one function must be seen, and none of the others"
    ends = time_in_turns({"end": lambda: end_epoch(callbacks, next(epochs))}, ENDS)["end"]
    found: dict[str, Ratio] = {}
    for clock in ("wall", "cpu"):
        off, control, on = (getattr(times[name], clock) for name in ("off", "control", "on"))
        calls_an_epoch = shape.epoch_steps / STEPS_A_CALL
        share = statistics.median(getattr(ends, clock)) / calls_an_epoch
        # Against both: they do the same, and a mean of two wavers less.
        without = [(one + other) / 2 for one, other in zip(off, control, strict=True)]
        found |= {f"overhead {clock}": to_ratio(on, without, share), f"steps {clock}": to_ratio(on, without)}
        found |= {f"control {clock}": to_ratio(control, off)}
    return found


def set_environment() -> None:
    """As the trainer does before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def make_callbacks(model: Any) -> list[Any]:
    """All that collects statistics, as the trainer does; the model's optimizer is watched from now on."""
    from trainer.output.epoch_record import EpochRecord
    from trainer.statistics.collecting import collect_statistics

    callbacks = collect_statistics(EpochRecord())
    for callback in callbacks:
        callback.set_model(model)
        callback.on_train_begin()
    return callbacks


def end_epoch(callbacks: list[Any], epoch: int) -> None:
    """All that statistics do between two epochs."""
    for callback in callbacks:
        callback.on_epoch_end(epoch)
    for callback in callbacks:
        callback.on_epoch_begin(epoch + 1)


def measure_memory() -> tuple[float, float]:
    """How much more memory processes with statistics hold than those without, and how much they grow [MB]."""
    runs = {flag: [_run_memory(flag) for _ in range(MEMORY_RUNS)] for flag in ("on", "off")}
    peak = {flag: statistics.median(max(run) for run in found) for flag, found in runs.items()}
    return peak["on"] - peak["off"], statistics.median(run[-1] - run[0] for run in runs["on"])


def _run_memory(flag: str) -> list[float]:
    command = [sys.executable, "-m", "tests.bench.statistics", "--memory", flag]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(json.loads(answer.splitlines()[-1]))


def print_memory(flag: str) -> None:
    """Trains some epochs, and prints the process' memory [MB] after each."""
    import psutil

    set_environment()
    from trainer.model.towers import TwoTower

    pairs = draw_pairs(LARGE)
    model = make_model(LARGE, pairs, TwoTower)
    callbacks = make_callbacks(model) if flag == "on" else []
    call = make_call(model, pairs, LARGE, is_stacked=True)
    resident_mb = []
    for epoch in range(MEMORY_EPOCHS):
        for _ in range(MEMORY_CALLS):
            call()
        end_epoch(callbacks, epoch)
        resident_mb.append(psutil.Process().memory_info().rss / 1e6)
    print(json.dumps(resident_mb))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", choices=("on", "off"))
    chosen = parser.parse_args().memory
    print_memory(chosen) if chosen else main()
