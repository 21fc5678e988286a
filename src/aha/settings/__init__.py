"""Settings: fields with a meaning, a unit and marks, groups of them under headings, and their former names."""

from aha.settings.fields import (
    HEADINGS,
    Settings,
    heading,
    is_machine,
    is_measure,
    setting,
    unit,
    with_groups,
)

__all__ = ["HEADINGS", "Settings", "heading", "is_machine", "is_measure", "setting", "unit", "with_groups"]
