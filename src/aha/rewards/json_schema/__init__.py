"""Does a JSON value keep a schema? JSON Schema, draft 2020-12, and what older drafts wrote otherwise.

``checking`` refuses what is no schema when it is read; ``keeping`` holds values against one; ``references`` knows where
``$ref`` leads; ``patterns`` and ``automaton`` are its regular expressions, in time linear in the text.
"""

from aha.rewards.json_schema.checking import check_schema
from aha.rewards.json_schema.keeping import CheckedSchema, equal, violation

__all__ = ["CheckedSchema", "check_schema", "equal", "violation"]
