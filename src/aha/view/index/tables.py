"""The layout of an index, and how it is opened."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from aha.files import cache_folder
from aha.types import AhaError

VERSION = 2
CACHE_KIB, MAP_BYTES = 64 << 10, 4 << 30
HASH_BYTES = 48 << 20
"""Of memory for words before FTS5 writes them: fewer, longer pieces."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS about(key TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS source(id INTEGER PRIMARY KEY, stage TEXT, part TEXT, UNIQUE(stage, part));
CREATE TABLE IF NOT EXISTS file(id INTEGER PRIMARY KEY, name TEXT UNIQUE, source INT, inode INT, changed INT, size INT,
    at INT, rows INT, broken INT, first_broken INT, first INT, last INT);
CREATE TABLE IF NOT EXISTS problem(id INTEGER PRIMARY KEY, digest BLOB UNIQUE, name TEXT, task TEXT, question TEXT);
CREATE TABLE IF NOT EXISTS rollout(id INTEGER PRIMARY KEY, file INT, at INT, size INT, source INT, step INT,
    problem INT, member INT, right INT, reward REAL, advantage REAL, finish INT, tokens INT);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content='', columnsize=0, tokenize='ascii');
"""
# Made at the end of the first build: a table is indexed faster than an index is kept.
INDEXES = """
CREATE INDEX IF NOT EXISTS by_problem ON rollout(problem, step);
CREATE INDEX IF NOT EXISTS by_step ON rollout(step, source);
CREATE INDEX IF NOT EXISTS by_right ON rollout(right, id);
CREATE INDEX IF NOT EXISTS by_reward ON rollout(reward);
CREATE INDEX IF NOT EXISTS by_advantage ON rollout(advantage);
CREATE INDEX IF NOT EXISTS by_tokens ON rollout(tokens);
CREATE INDEX IF NOT EXISTS by_right_reward ON rollout(right, reward);
CREATE INDEX IF NOT EXISTS by_right_advantage ON rollout(right, advantage);
CREATE INDEX IF NOT EXISTS by_right_tokens ON rollout(right, tokens);
CREATE INDEX IF NOT EXISTS by_finish ON rollout(finish, id) WHERE finish > 0;
"""
FINISHES = ("stop", "length", "abort", "error", "")
"""Why a completion ended, by number; the last: something else, or not said."""


def index_path(run: Path) -> Path:
    """Where a run's index lies: in the cache, under its folder's place."""
    place = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:20]
    return cache_folder() / "view" / place / "rollouts.sqlite"


def open_to_write(path: Path, run: Path) -> sqlite3.Connection:
    """The index, made where there is none; one of another version, or a damaged one, is made anew."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _ready(_connected(path), run)
    except sqlite3.DatabaseError:
        forget(path)
        return _ready(_connected(path), run)


def forget(path: Path) -> None:
    """Delete an index."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink(missing_ok=True)


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    return db


def _ready(db: sqlite3.Connection, run: Path) -> sqlite3.Connection:
    known = db.execute("PRAGMA user_version").fetchone()[0]
    if known not in (0, VERSION):
        db.close()
        raise sqlite3.DatabaseError(f"version {known}")
    try:
        db.executescript(SCHEMA)
    except sqlite3.OperationalError as error:
        if "fts5" in str(error):
            raise AhaError(
                "This Python's SQLite has no FTS5: rollouts cannot be searched with it."
            ) from error
        raise
    db.execute(f"PRAGMA user_version={VERSION}")
    db.execute("INSERT OR REPLACE INTO about VALUES('run', ?)", (str(run.resolve()),))
    db.execute("INSERT INTO words(words, rank) VALUES('hashsize', ?)", (HASH_BYTES,))
    return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """The index for one question; nothing can be written through it."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10.0, check_same_thread=False)
    db.execute(f"PRAGMA mmap_size={MAP_BYTES}")
    db.execute("PRAGMA query_only=1")
    return db
