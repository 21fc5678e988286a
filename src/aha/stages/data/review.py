"""People's review of cold-start chains: what waits, what was decided, and the file that the stage reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from aha import chat
from aha.files import read_jsonl, write_jsonl
from aha.stages.data.cold_start import EDITED, REVIEW, STATUSES
from aha.types import AhaError

Row = dict[str, Any]


class ChainReview:
    """The chains of one stage's folder with what was decided of each. Every decision is on the disk before the next
    chain is shown, so that a review may end at any moment and go on later."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / EDITED
        if not (folder / REVIEW).exists():
            raise AhaError(
                f"{folder} has no {REVIEW}: no chains wait there. Give a run whose cold_start has run."
            )
        self.rows: list[Row] = read_jsonl(folder / REVIEW)
        known = {str(row.get("id")): row for row in read_jsonl(self.path)} if self.path.exists() else {}
        gone = sorted(known.keys() - {row["id"] for row in self.rows})
        if gone:
            raise AhaError(
                f"{self.path} speaks of {gone[0]}, which is not in {REVIEW}: it is of other chains. Move it away."
            )
        self.rows = [row | known.get(row["id"], {}) for row in self.rows]
        if bad := next((row for row in self.rows if row.get("status") not in STATUSES), None):
            raise AhaError(
                f"{self.path}, {bad['id']}: status {bad.get('status')!r}. Known: {', '.join(STATUSES)}."
            )

    @property
    def waiting(self) -> list[int]:
        """The places of the chains that nobody decided on."""
        return [i for i, row in enumerate(self.rows) if row["status"] == "pending"]

    def decide(self, place: int, status: str, text: str | None = None, note: str | None = None) -> None:
        """Note a decision, with another text where it was edited, and write all of them down."""
        row = self.rows[place]
        row["status"] = status
        row["text"] = row["text"] if text is None else text
        row["note"] = row.get("note", "") if note is None else note
        write_jsonl(self.path, self.rows)

    def counts(self) -> dict[str, int]:
        """How many chains have each status, and how many were edited."""
        counted = Counter(str(row["status"]) for row in self.rows)
        edited = sum(row["text"] != row["rewritten"] for row in self.rows)
        return {**{status: counted[status] for status in STATUSES}, "edited": edited}


def fault(text: str) -> str:
    """What is wrong with a chain's form, in words; "" where nothing is. Whether it is right the stage's task says."""
    return chat.parse(text, require_answer=chat.ANSWER in text).problem or ""


def find_folder(run: Path) -> Path:
    """The folder of the chains in a run, or the stage's own. Raises AhaError for none, and for several."""
    if (run / REVIEW).exists():
        return run
    folders = sorted(path.parent for path in run.glob(f"*/{REVIEW}")) if run.is_dir() else []
    if len(folders) == 1:
        return folders[0]
    if not folders:
        raise AhaError(f"'{run}' has no {REVIEW}: give a run of aha r1 whose stage cold_start has run.")
    raise AhaError(f"'{run}' has chains in {', '.join(p.name for p in folders)}: give one of these folders.")
