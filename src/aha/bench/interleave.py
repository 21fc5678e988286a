"""Two sides in turn: the same work done by ours and by a peer, alternating, in one run.

What a machine gives drifts from minute to minute, and a ratio of two runs drifts with it; taken in turn,
both sides see the same machine.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

OURS = "aha"
Work = Callable[[], tuple[float, float]]
"""Does the work once -> (units done, seconds it took)."""


@dataclass(slots=True)
class TimedReading:
    """One side's measured runs."""

    units: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median rate, units a second."""
        return statistics.median(u / s for u, s in zip(self.units, self.seconds, strict=True))

    @property
    def median_seconds(self) -> float:
        """The median duration of one run."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """How far the fastest and the slowest run lie apart, as a part of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median_seconds

    def describe(self, unit: str) -> dict[str, Any]:
        """For JSON."""
        return {
            unit: round(self.rate, 2),
            "seconds": round(self.median_seconds, 6),
            "spread": round(self.spread, 4),
            "runs": [round(s, 6) for s in self.seconds],
        }


def in_turn(sides: Mapping[str, Work], runs: int, warm_ups: int = 1) -> dict[str, TimedReading]:
    """Every side once, then again, ``runs`` times; who goes first changes each time. Warm-ups do not count."""
    readings = {name: TimedReading() for name in sides}
    names = list(sides)
    for i in range(warm_ups + runs):
        for name in names if i % 2 == 0 else reversed(names):
            units, seconds = sides[name]()
            if i >= warm_ups:
                readings[name].units.append(units)
                readings[name].seconds.append(seconds)
    return readings


def timed(work: Callable[[], float], device: torch.device) -> Work:
    """A side whose clock waits for the device before and after."""
    from aha.bench.roofline import synchronise

    def run() -> tuple[float, float]:
        synchronise(device)
        started = time.perf_counter()
        units = work()
        synchronise(device)
        return units, time.perf_counter() - started

    return run


def result(
    benchmark: str,
    work: Mapping[str, Any],
    readings: Mapping[str, TimedReading],
    unit: str,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The figures of a run: each side's, and how many times as fast as the peer ours is."""
    sides = {
        name: reading.describe(unit) | dict((extra or {}).get(name, {})) for name, reading in readings.items()
    }
    figures: dict[str, Any] = {"benchmark": benchmark, "work": dict(work), "sides": sides}
    peers = [name for name in readings if name != OURS]
    if peers:
        figures["peer"] = peers[0]
        figures["ratio"] = round(readings[OURS].rate / readings[peers[0]].rate, 3)
    return figures


def show(figures: Mapping[str, Any], unit: str, as_json: bool, notes: tuple[str, ...] = ()) -> None:
    """Print the figures: one JSON object with the machine described, or lines for people."""
    from aha import attention, hardware, kernels

    if as_json:
        machine = hardware.describe_machine() | {"kernels": kernels.compiled()}
        machine["attention"] = sorted(attention.WAYS)
        print(json.dumps({**figures, "machine": machine}, indent=1, ensure_ascii=False))
        return
    model = figures.get("model")
    if model:
        print(f"{model['name']}: {model['parameters']:,} parameters, {model['dtype']} on {model['device']}")
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures["work"].items()))
    label = unit.replace("_per_second", "/s").replace("_", " ")
    for name, side in figures["sides"].items():
        line = (
            f"  {name:<16} {side[unit]:>12,.1f} {label}, {side['seconds']:.3f} s, spread {side['spread']:.1%}"
        )
        if "percent_of_limit" in side:
            line += f", {side['percent_of_limit']:.1f} % of what {side['binds']} allow"
        print(line)
    if "ratio" in figures:
        print(f"  {figures['ratio']} times as fast as {figures['peer']}")
    for note in notes:
        print(f"  {note}")
