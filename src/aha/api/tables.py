"""Rows as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any


def table(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as a pandas DataFrame where pandas is installed, else as a list of dicts."""
    records = [dict(row) for row in rows]
    if find_spec("pandas") is None:
        return records
    from importlib import import_module

    return import_module("pandas").DataFrame(records)
