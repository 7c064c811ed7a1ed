"""What collecting all statistics costs a training: time as a ratio of steps with them to steps without, and memory.

The case: 200,000 buyers and 20,000 products, 64 wide, batches of 1,024, the optimizer that ships. One process holds
both training functions of one model and runs them in turns, blocks of 20 steps (a sampled one in each); each block with
statistics also bears its share (20 of 1,000 steps) of an epoch's end, which is run and timed after 1,000 such steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BUYERS, PRODUCTS, DIM, BATCH = 200_000, 20_000, 64, 1_024
EPOCH_STEPS, BLOCK_STEPS, PAIRS = 1_000, 20, 125
Seconds = tuple[float, float]  # by the clock, and of processor time in all threads

MEMORY_STEPS, MEMORY_EPOCHS, MEMORY_RUNS = 250, 4, 2


def main() -> dict[str, float | str]:
    """Prints the table; returns the overhead (a part of the epoch's time), its interval, and the memory [MB]."""
    wall, processor, step_ms, epoch_end_ms = measure_time()
    overhead, low, high = (ratio - 1 for ratio in bootstrap_median(wall))
    cpu, cpu_low, cpu_high = (ratio - 1 for ratio in bootstrap_median(processor))
    memory_mb, growth_mb = measure_memory()
    print(f"a step without statistics            {step_ms:.2f} ms (median block)")
    print(
        f"an epoch's end with all statistics   {epoch_end_ms:.1f} ms (median of {PAIRS * BLOCK_STEPS // EPOCH_STEPS})"
    )
    print(f"overhead, {PAIRS} paired blocks          {overhead:+.2%}, 95 % interval {low:+.2%} to {high:+.2%}")
    print(f"the same in processor time           {cpu:+.2%}, 95 % interval {cpu_low:+.2%} to {cpu_high:+.2%}")
    print(f"memory, statistics on minus off      {memory_mb:+.1f} MB (medians of {MEMORY_RUNS} processes each)")
    print(f"memory, from the first epoch's end   {growth_mb:+.1f} MB with statistics, over {MEMORY_EPOCHS - 1} epochs")
    return {
        "overhead": overhead,
        "overhead_low": low,
        "overhead_high": high,
        "cpu_overhead": cpu,
        "cpu_overhead_low": cpu_low,
        "cpu_overhead_high": cpu_high,
        "step_ms": step_ms,
        "epoch_end_ms": epoch_end_ms,
        "memory_mb": memory_mb,
        "memory_growth_mb": growth_mb,
    }


def measure_time() -> tuple[list[float], list[float], float, float]:
    """The paired ratios by the clock and by processor time, a step without statistics [ms], and an epoch's end [ms]."""
    model, batches = make_training()
    callbacks = make_callbacks(model)
    plain = trace(model, batches)
    for callback in callbacks:
        callback.on_train_begin()
    watched = trace(model, batches)
    end_epoch(callbacks, 0)  # traces what it needs
    for function in (plain, watched):
        time_steps(function, batches, BLOCK_STEPS)  # warms up
    blocks: dict[str, list[Seconds]] = {"off": [], "on": []}
    ends: list[Seconds] = []
    block_pairs = EPOCH_STEPS // BLOCK_STEPS
    for pair in range(PAIRS):
        order = (("off", plain), ("on", watched))
        for name, function in order if pair % 2 else order[::-1]:  # so that a drift does not always hit the same
            blocks[name].append(time_steps(function, batches, BLOCK_STEPS))
        if pair % block_pairs == block_pairs - 1:
            ends.append(time_call(lambda: end_epoch(callbacks, len(ends) + 1)))
    seen = callbacks[-1].sums.norms.numpy()[-1]
    assert seen == PAIRS % block_pairs * BLOCK_STEPS, "each step of one function must be seen, and none of the other"
    ratios = []
    for clock in (0, 1):
        share = statistics.median(end[clock] for end in ends) / block_pairs
        ratios.append([(on[clock] + share) / off[clock] for off, on in zip(blocks["off"], blocks["on"], strict=True)])
    step_ms = statistics.median(off[0] for off in blocks["off"]) / BLOCK_STEPS * 1e3
    return ratios[0], ratios[1], step_ms, statistics.median(end[0] for end in ends) * 1e3


def bootstrap_median(values: list[float], draws: int = 10_000) -> tuple[float, float, float]:
    """The median, and the ends of its 95 % percentile interval."""
    drawn = np.random.default_rng(7).choice(values, size=(draws, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return statistics.median(values), float(low), float(high)


def make_training() -> tuple[Any, Iterator[Any]]:
    """The model, and its endless batches, from the trainer's own pipeline."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import keras

    from switchyard.core.runs.spec import TrainSpec
    from trainer.data.batches import to_train_batches
    from trainer.data.splitting import Pairs
    from trainer.model.optimizers import make_optimizer
    from trainer.model.towers import TwoTower

    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(7)
    rows = EPOCH_STEPS * BATCH
    popularity = 1.0 / np.arange(1, PRODUCTS + 1) ** 0.8
    products = rng.choice(PRODUCTS, size=rows, p=popularity / popularity.sum()).astype(np.int32)
    pairs = Pairs(rng.integers(0, BUYERS, size=rows, dtype=np.int32), products)
    spec = TrainSpec()
    model = TwoTower(buyers=BUYERS, products=PRODUCTS, dim=DIM, temperature=spec.temperature, l2=spec.l2)
    model.correct_for(np.bincount(products, minlength=PRODUCTS) + 1)
    model.compile(optimizer=make_optimizer(spec), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    batches, _ = to_train_batches(pairs, batch_size=BATCH, epochs=1_000, seed=spec.seed)
    return model, iter(batches)


def make_callbacks(model: Any) -> list[Any]:
    """All that collects statistics, as the trainer does."""
    from trainer.output.epoch_record import EpochRecord
    from trainer.statistics.collecting import collect_statistics

    callbacks = collect_statistics(EpochRecord())
    for callback in callbacks:
        callback.set_model(model)
    return callbacks


def trace(model: Any, batches: Iterator[Any]) -> Callable[[Any], Any]:
    """The model's training function as its optimizer is now: it is traced here, by a first step, and not later."""
    model.make_train_function(force=True)
    model.train_function(batches)
    return model.train_function  # type: ignore[no-any-return]


def time_steps(function: Callable[[Any], Any], batches: Iterator[Any], steps: int) -> Seconds:
    """What so many steps take, until the last one's result is there."""

    def run() -> None:
        for _ in range(steps):
            logs = function(batches)
        float(logs["loss"])

    return time_call(run)


def time_call(call: Callable[[], None]) -> Seconds:
    """What a call takes."""
    began = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began[0], time.process_time() - began[1]


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

    model, batches = make_training()
    callbacks = make_callbacks(model) if flag == "on" else []
    for callback in callbacks:
        callback.on_train_begin()
    function = trace(model, batches)
    resident_mb = []
    for epoch in range(MEMORY_EPOCHS):
        time_steps(function, batches, MEMORY_STEPS)
        end_epoch(callbacks, epoch)
        resident_mb.append(psutil.Process().memory_info().rss / 1e6)
    print(json.dumps(resident_mb))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", choices=("on", "off"))
    chosen = parser.parse_args().memory
    print_memory(chosen) if chosen else main()
