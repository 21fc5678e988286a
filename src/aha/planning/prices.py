"""What hours of GPUs cost, in money and energy, by a table that is there to be edited.

Rents differ by a factor of three between houses and change within months: those here are rough, in US dollars for one
GPU and hour, to be replaced by yours. Watts are the board powers of data sheets: what a GPU draws at most.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.hints import nearest
from aha.planning.machines import GPUS, Machine
from aha.types import AhaError

CURRENCY = "USD"
OVERHEAD = 1.3
"""Energy of the whole machine room over that of its GPUs: processors, memory, network, cooling."""
TABLE: dict[str, tuple[float, float]] = {
    "b200": (5.5, 1000), "h200": (3.5, 700), "h100": (2.5, 700), "h800": (2.5, 700), "h20": (1.5, 400),
    "a100-80": (1.6, 400), "a100-40": (1.2, 400), "rtx-6000-ada": (0.8, 300), "l40s": (0.9, 350),
    "rtx-5090": (0.7, 575), "rtx-4090": (0.45, 450), "rtx-3090": (0.25, 350), "a10": (0.6, 150), "l4": (0.5, 72),
}  # fmt: skip
"""GPU -> (money an hour, watts)."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What one hour of each kind of GPU costs and draws; ``overhead`` times its watts are drawn in all."""

    gpus: Mapping[str, tuple[float, float]]
    currency: str = CURRENCY
    overhead: float = OVERHEAD
    source: str = "rough rents and data sheets; aha plan --write-prices FILE writes them for you to edit"

    def of(self, machine: Machine, hours: float) -> dict[str, Any] | None:
        """Money and energy of so many hours on a machine; None for a GPU that is not in the table."""
        if machine.gpu.name not in self.gpus:
            return None
        price, watts = self.gpus[machine.gpu.name]
        spent = hours * machine.count
        return {
            "gpu_hours": spent,
            "money": spent * price,
            "currency": self.currency,
            "kwh": spent * watts * self.overhead / 1000,
            "prices_from": self.source,
        }


DEFAULT = Prices(TABLE)


def words(cost: Mapping[str, Any]) -> str:
    """A cost in one line."""
    money, energy = f"{cost['money']:,.0f} {cost['currency']}", f"{cost['kwh']:,.0f} kWh"
    return f"about {money} and {energy} for {cost['gpu_hours']:,.1f} GPU hours ({cost['prices_from']})"


def as_toml(prices: Prices = DEFAULT) -> str:
    """The table as a file to be edited."""
    head = [
        "# For one GPU: money an hour, and watts at most. `aha plan --prices FILE` reads it.",
        f'currency = "{prices.currency}"',
        f"overhead = {prices.overhead}  # energy of the whole machine room over that of its GPUs",
    ]
    rows = [
        f'\n[gpus."{name}"]\nhour = {hour}\nwatts = {watts}' for name, (hour, watts) in prices.gpus.items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def read(path: Path) -> Prices:
    """The table in a file; GPUs that it leaves out keep the usual figures. Raises AhaError, naming what is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AhaError(
            f"{path} cannot be read as TOML: {error}. aha plan --write-prices FILE writes one."
        ) from error
    gpus = {name: _row(path, name, row) for name, row in table.get("gpus", {}).items()}
    overhead = _number(path, "overhead", table.get("overhead", OVERHEAD), 1)
    return Prices(TABLE | gpus, str(table.get("currency", CURRENCY)), overhead, str(path))


def _row(path: Path, name: str, row: Any) -> tuple[float, float]:
    if name not in GPUS:
        hint = nearest(name, GPUS, f"Known: {', '.join(GPUS)}.")
        raise AhaError(f"{path}: unknown GPU '{name}'. {hint}")
    usual = TABLE[name]
    values = row if isinstance(row, Mapping) else {}
    return tuple(  # type: ignore[return-value]
        _number(path, f"gpus.{name}.{key}", values.get(key, usual[i]), 0)
        for i, key in enumerate(("hour", "watts"))
    )


def _number(path: Path, name: str, value: Any, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise AhaError(f"{path}: {name} is {value!r}; give a number of {least} or more.")
    return float(value)
