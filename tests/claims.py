"""Reads what chains of the world corpus claim and says whether it is so: for the corpus, and for models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_SAFE = {"__builtins__": {}, "abs": abs, "max": max, "min": min, "sum": sum, "len": len, "sorted": sorted}
_EQUALS = re.compile(r"(?<![=<>!])=(?!=)| is ")
_STOPS = r"(?:^|: |：|[.!] |[。！>])"
_CHECK = re.compile(rf"{_STOPS} ?([^.。！!?：]+?)(?: vs |比)([^.!。！]+?)(?: (yes)!| (no)\.|(对)！|(不对)。)")
_SUPPOSE = re.compile(r"(?:suppose |假设)(.+?)(?:\. |。|$)")
_TRUTH = re.compile(r"([ABC])(?: (knight|knave): |(骑士|无赖)：)([^.。]+?)(?:, (true|false)\.|，(真|假)。)")
_IFF = re.compile(r"当且仅当([ABC我])是骑士时，([ABC我])是骑士")
_ROLE = re.compile(r"([ABC]) ?(knight|knave|骑士|无赖)")
_KNIGHT = ("knight", "骑士")


def worth(text: str) -> object:
    """The value of an expression; a name that stands for no value if it has none."""
    if len(text) > 80 or "**" in text or "__" in text:
        return "unreadable"
    try:
        return eval(text, _SAFE)  # short, without attributes
    except Exception:
        return f"unreadable {text}"


def sums(text: str) -> Iterator[tuple[str, bool]]:
    """Each comparison with a target: (``yes`` or ``no``, whether verdict and calculation before it are right),
    the calculation as the kind ``steps``."""
    at = 0
    while (match := _CHECK.search(text, at)) is not None:
        at = match.end() - 1  # the stop of this check is what the next begins after
        parts = _EQUALS.split(match.group(1).rpartition(": ")[2].strip().removeprefix("<think>"))
        expected = worth(match.group(2).strip())
        values = [worth(part.strip()) for part in parts]
        yield "steps", all(v == values[-1] for v in values)
        said = bool(match.group(3) or match.group(5))
        same = values[-1] == expected and isinstance(values[-1], bool) == isinstance(expected, bool)
        yield ("yes" if said else "no"), same == said


def suppositions(text: str) -> Iterator[tuple[str, bool]]:
    """Each supposition: whether truths follow from the roles (``truth``), the roles are those supposed
    (``roles``), and the end is right (``fits``, ``contradiction``)."""
    for block in re.split(r"(?=suppose |假设)", text):
        block_start = _SUPPOSE.match(block)
        if block_start is None:
            continue
        roles = {name: role in _KNIGHT for name, role in _ROLE.findall(block_start.group(1))}
        ends: list[bool] = []
        body = _IFF.sub(r"当且仅当\1\2", block[block_start.end() :])
        for name, en, zh, said, *verdict in _TRUTH.findall(body):
            statement, *about = re.split(r"[,，] ?", said)
            yield (
                "roles",
                all(roles.get(n) == (r in _KNIGHT) for part in about for n, r in _ROLE.findall(part)),
            )
            true = "true" in verdict or "真" in verdict
            yield "truth", truth(statement, name, roles) == true
            ends.append(true == ((en or zh) in _KNIGHT))
        if "all fit" in block or "全部符合" in block:
            yield "fits", all(ends) and len(ends) == len(roles)
        elif "contradiction" in block or "矛盾" in block:
            yield "contradiction", bool(ends) and not ends[-1] and all(ends[:-1])


def truth(statement: str, speaker: str, roles: dict[str, bool]) -> bool | None:
    """Whether the statement in words is true under the roles; None if it is about nobody."""
    who = re.findall(r"[ABC]", statement)
    who += [speaker] * bool(re.search(r"\b(I|me)\b|我", statement))
    of_sides = [roles.get(name, False) for name in who]
    if not of_sides:
        return None
    if re.search("not the same|不是同类", statement):
        return of_sides[0] != of_sides[-1]
    if re.search("the same|同类|if and only if|当且仅当", statement):
        return of_sides[0] == of_sides[-1]
    knave = bool(re.search("knave|无赖", statement))
    values = [not value for value in of_sides] if knave else of_sides
    return any(values) if re.search("at least|至少", statement) else all(values)


def count(texts: Iterator[str] | list[str]) -> dict[str, tuple[int, int]]:
    """By kind of claim: (how many, how many of them wrong)."""
    seen: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for text in texts:
        for kind, right in (*sums(text), *suppositions(text)):
            seen[kind] += 1
            wrong[kind] += not right
    return {kind: (seen[kind], wrong[kind]) for kind in sorted(seen)}
