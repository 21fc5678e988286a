"""Parts that come from outside the package: ``file.py:name``, ``package.module:name``, or a Python object.

``names``: how a part is written. ``loading``: from its name to the object, on every process alike. ``neighbours``: the
files beside that it imports. ``passed``: what tells apart those that stand in no file. ``guard``: someone else's code
called so that its faults are named and end nothing. ``keeping``: its text, for fingerprints and folders.
"""

from aha.plugins.guard import CallFailed, await_all, call, location, number, numbers
from aha.plugins.keeping import FOLDER, Source, keep_copies, load, parts_of, source_of, sources
from aha.plugins.loading import (
    Parcel,
    check_not_loading,
    entry,
    entry_names,
    file_of,
    install,
    parcel,
    reference_to,
    references_to,
    resolve,
    want,
    wanted,
)
from aha.plugins.names import PartName, check_reference, is_reference, label, of_file, options, reference

__all__ = [
    "FOLDER", "CallFailed", "Parcel", "PartName", "Source", "await_all", "call", "check_not_loading",
    "check_reference", "entry", "entry_names", "file_of", "install", "is_reference", "keep_copies", "label", "load",
    "location", "number", "numbers", "of_file", "options", "parcel", "parts_of", "reference", "reference_to",
    "references_to", "resolve", "source_of", "sources", "want", "wanted",
]  # fmt: skip
