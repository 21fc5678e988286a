"""What to say of a word that is not known: the nearest one that is."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], otherwise: str | None = None, cutoff: float = 0.6) -> str:
    """ "Did you mean 'x'?" for the closest known word; where none is close ``otherwise``, by default all there are."""
    import difflib

    words = list(known)
    lower = {name.lower(): name for name in reversed(words)}
    close = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    if not close:  # letters of another size
        close = [lower[name] for name in difflib.get_close_matches(word.lower(), lower, n=1, cutoff=cutoff)]
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(words)}." if otherwise is None else otherwise
