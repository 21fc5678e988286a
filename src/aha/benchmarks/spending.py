"""What an evaluation may cost before it begins, and what it did cost: tokens, time, and money behind an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aha.files import json_object
from aha.runs.charts import duration, show
from aha.sampling.client.metering import Usage


@dataclass(frozen=True, slots=True)
class SpendingEstimate:
    """``most`` tokens that may be sampled; ``likely`` tokens and ``speed`` (tokens a second) where the same model was
    evaluated before, in the folder of its results; ``price`` of a million sampled tokens."""

    most: int
    likely: float | None = None
    speed: float | None = None
    price: float = 0.0

    def sentence(self) -> str:
        """In words."""
        parts = [f"at most {show(self.most, 'tokens')} tokens"]
        if self.likely is not None:
            parts.append(f"{show(self.likely, 'tokens')} by the lengths of earlier answers")
        if self.speed:
            tokens = self.most if self.likely is None else self.likely
            parts.append(
                f"{duration(tokens / self.speed)} at {self.speed:.0f} tokens a second, as measured before"
            )
        if self.price:
            parts.append(f"{self.most * self.price / 1e6:.2f} for them at most, questions not counted")
        return ", ".join(parts)


def estimate(
    folder: Path, samples: int, max_tokens: int, price: float = 0.0, benchmark: str = ""
) -> SpendingEstimate:
    """Of so many samples, by what stands in a model's folder of results: lengths of the same benchmark where there are
    any, else of all that were answered in text."""
    every = [record for file in sorted(folder.glob("*.json")) if (record := _read(file))]
    before = [record for record in every if record["benchmark"] == benchmark] or every
    lengths = [min(max_tokens, b["mean_tokens"]) for b in before if b.get("mean_tokens")]
    speeds = [b["tokens_per_second"] for b in before if b.get("tokens_per_second")]
    return SpendingEstimate(
        samples * max_tokens,
        samples * sum(lengths) / len(lengths) if lengths else None,
        speeds[-1] if speeds else None,
        price,
    )


def _read(file: Path) -> Mapping[str, Any]:
    """An earlier result's lengths and speed; empty where the file is something else."""
    record = json_object(file)
    figures, spent = record.get("figures"), record.get("spent")
    if not isinstance(figures, Mapping) or record.get("choice", "text") != "text":
        return {}
    length = figures.get("mean_tokens")
    speed = spent.get("tokens_per_second") if isinstance(spent, Mapping) else None
    return {"benchmark": record.get("benchmark", ""), "mean_tokens": length, "tokens_per_second": speed}


def spending(tokens: int, seconds: float, before: Usage | None, after: Usage | None) -> dict[str, Any]:
    """What was spent: tokens that were sampled now, seconds, and of an endpoint what its bill grew by."""
    figures: dict[str, Any] = {"tokens": tokens, "seconds": round(seconds, 3)}
    figures["tokens_per_second"] = round(tokens / seconds, 1) if tokens and seconds else None
    if before is not None and after is not None:
        then, now = before.as_dict(), after.as_dict()
        figures["endpoint"] = {name: round(now[name] - then[name], 6) for name in now}
    return figures


def sentence(spent: Sequence[Mapping[str, Any]]) -> str:
    """What several evaluations cost together, in words."""
    tokens, seconds = sum(s["tokens"] for s in spent), sum(s["seconds"] for s in spent)
    bills = [s["endpoint"] for s in spent if "endpoint" in s]
    said = f"{show(tokens, 'tokens')} tokens sampled in {duration(seconds)}"
    if not bills:
        return said
    asked, cached = (int(sum(b[name] for b in bills)) for name in ("requests", "cached"))
    cost = sum(b["cost"] for b in bills)
    return f"{said}; {asked} requests, {cached} from answers that were kept" + (
        f", {cost:.4f} paid" if cost else ""
    )
