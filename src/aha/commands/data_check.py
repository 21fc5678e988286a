"""``aha data check``: what a run would read of a file, before a run. Layout, columns, proven rows, prompts."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aha.types import AhaError

if TYPE_CHECKING:
    from aha.aside import Aside
    from aha.types import Problem

SHOWN = 3
"""Prompts, reasons and examples that are printed of each kind."""
LONGEST = 700  # characters of a prompt
CONVERSATIONS = "conversations"
NAMES = {
    "level": "level or difficulty (curricula, figures by level)",
    "domain": "domain, subject or category (figures by kind)",
    "language": "language (language reward)",
    "system": "system or system_prompt (said before the question)",
    "pass_rate": "pass_rate (share of attempts that solved it, for curricula)",
}
"""What a row may say beside its question and answer, and under which names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which task, and whose prompts."""
    parser.add_argument(
        "--task",
        help="what the rows are for: math, choice, code, ... or conversations (default: by their columns)",
    )
    parser.add_argument("--model", help="show prompts as this model is asked")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check every file; returns what was found of each."""
    reports = {file: _check(args, file) for file in args.files}
    if not args.json:
        for file, report in reports.items():
            _print(file, report)
    return reports


def _check(args: argparse.Namespace, file: str) -> dict[str, Any]:
    task = args.task or guess(file, args.split)
    if task == CONVERSATIONS:
        return _conversations(args, file)
    from aha.tasks import reader_of, rows

    reader = reader_of(task)
    matched = rows.read(file, reader, task, args.split)
    problems = matched.problems
    return {
        "task": task,
        "rows": matched.rows,
        "layouts": dict(Counter(str(p.metadata.get("layout", task)) for p in problems)),
        "used": sorted(matched.columns.keys() - set(matched.unused)),
        "not_used": matched.unused,
        "could_be": {} if not matched.unused else _missing(problems),
        "proven": len(problems),
        "by_grader": reader.prove is not None,
        "set_aside": _listed(matched.aside),
        "languages": dict(Counter(p.language for p in problems)),
        "levels": _few(p.metadata.get("level") for p in problems),
        "domains": _few(p.metadata.get("domain") for p in problems),
        "answers": _answers(problems),
        "brings": _brings(problems),
        "prompts": _prompts(problems, args.model),
    }


def guess(file: str, split: str = "train") -> str:
    """The task that a file's first row is for, by its columns."""
    from aha.data.sources import numbered_rows
    from aha.tasks.choice import has_options

    _, row = next(iter(numbered_rows(file, split, lambda where, why: None)), ("", {}))
    if has_options(row):
        return "choice"
    if {"instruction_id_list", "kwargs"} <= row.keys():
        return "ifeval"
    if {"nums", "target"} <= row.keys():
        return "countdown"
    if _is_code(row):
        return "code"
    return CONVERSATIONS if _is_spoken(row) else "math"


def _is_code(row: Mapping[str, Any]) -> bool:
    from aha.data.layouts import find

    tests = (
        "test_list",
        "input_output",
        "tests",
        "test_cases",
        "public_test_cases",
        "public_tests",
        "private_tests",
    )
    truth = find(row, "reward_model.ground_truth")
    packed = isinstance(truth, str) and truth.lstrip().startswith(("{", '[{"'))
    return bool(row.get("test") and row.get("entry_point")) or any(row.get(k) for k in tests) or packed


def _is_spoken(row: Mapping[str, Any]) -> bool:
    """Whether a row is a conversation without a reference answer."""
    from aha.data.layouts import map_row
    from aha.data.schemas import detect

    schema = detect(row)
    if schema is None:
        return False
    if schema.name == "rollouts" or _is_judged(row):
        return True
    try:
        map_row(row)
    except AhaError:
        return True
    return False


def _is_judged(row: Mapping[str, Any]) -> bool:
    """Whether a row says how good its completions are: a pair, or one with a label (which is no answer then)."""
    from aha.data.schemas import read_record

    try:
        record = read_record(row, 0)[0]
    except AhaError:
        return {"chosen", "rejected"} <= row.keys() or {"instruction", "completions"} <= row.keys()
    return bool(record.rejected) or (record.label is not None and record.prompt != record.messages)


def _listed(set_aside: Sequence[Aside]) -> dict[str, Any]:
    from aha.aside import kind_of

    reasons = Counter(kind_of(row.reason) for row in set_aside)
    return {
        "rows": len(set_aside),
        "reasons": dict(reasons.most_common()),
        "examples": [{"where": row.where, "reason": row.reason} for row in set_aside[: 2 * SHOWN]],
    }


def _few(values: Any) -> dict[str, int]:
    """The commonest values of a column, or its range where they are many numbers."""
    counts = Counter(value for value in values if value not in (None, ""))
    numbers = [value for value in counts if isinstance(value, float)]
    if len(numbers) > 12:
        return {f"{min(numbers):g} to {max(numbers):g}": counts.total()}
    return {str(value): n for value, n in counts.most_common(8)}


def _missing(problems: Sequence[Problem]) -> dict[str, str]:
    """What no row says, and what a column that does would have to be called."""
    said = {
        key for p in problems[:1000] for key in ("level", "domain") if p.metadata.get(key) not in (None, "")
    }
    said |= {"pass_rate"} if "level" in said else set()
    return {key: name for key, name in NAMES.items() if key not in said}


def _answers(problems: Sequence[Problem]) -> dict[str, Any]:
    """How many have several reference answers, and questions that stand in several rows with different ones."""
    by_question: dict[str, set[str]] = {}
    for p in problems:
        said = "\n".join(str(m["content"]) for m in p.messages)
        by_question.setdefault(said, set()).add(str(p.answer))
    return {
        "several": sum(bool(p.metadata.get("answers")) for p in problems),
        "repeated_questions": len(problems) - len(by_question),
        "repeated_with_other_answers": sum(len(answers) > 1 for answers in by_question.values()),
    }


def _brings(problems: Sequence[Problem]) -> dict[str, int]:
    """What prompts that no rule grades have beside them; {} for problems with a verifier."""
    if not any("given_pairs" in p.metadata for p in problems):
        return {}
    said = [p.metadata.get("prompt_label") for p in problems]
    turns = [[m["role"] for m in p.messages] for p in problems]
    return {
        "references": sum(p.answer is not None for p in problems),
        "pairs": sum(len(p.metadata["given_pairs"]) for p in problems),
        "answers called safe or unsafe": sum(len(p.metadata["given_labels"]) for p in problems),
        "called harmful": said.count("harmful"),
        "called benign": said.count("benign"),
        "several turns": sum(roles.count("user") > 1 for roles in turns),
        "system message": sum("system" in roles for roles in turns),
    }


def _chosen(every: Sequence[Any]) -> list[Any]:
    """Some from its beginning, middle and end."""
    n = min(SHOWN, len(every))
    return [every[i * len(every) // n] for i in range(n)]


def _prompts(problems: Sequence[Problem], model: str | None) -> list[str]:
    chosen = _chosen(problems)
    if model is None:
        return ["\n".join(f"{m['role']}: {m['content']}" for m in p.messages) for p in chosen]
    from aha.modeling import load_tokenizer
    from aha.sampling.rollouts import Prompter

    prompter = Prompter(load_tokenizer(model))
    return [prompter.render(p).text for p in chosen]


def _conversations(args: argparse.Namespace, file: str) -> dict[str, Any]:
    """Rows that are trained on or judged, not asked."""
    from aha.data import schemas
    from aha.data.sources import numbered_rows
    from aha.tasks.rows import Watched

    bad: list[Aside] = []
    records, counts, columns, used = [], Counter[str](), dict[str, None](), set[str]()
    for where, row in numbered_rows(file, args.split, lambda where, why: bad.append(_aside(where, why))):
        columns |= dict.fromkeys(row)
        watched = Watched(row)
        try:
            record, schema = schemas.read_record(watched, 0)
        except AhaError as error:
            bad.append(_aside(where, schemas.reason_of(error)))
            continue
        used |= watched.seen
        counts[schema.name] += 1
        records.append(record)
    return {
        "task": CONVERSATIONS,
        "rows": len(records) + len(bad),
        "layouts": dict(counts),
        "used": sorted(columns.keys() & used),
        "not_used": [c for c in columns if c not in used],
        "could_be": {"system": NAMES["system"], "tools": "tools (what the assistant may call)"},
        "proven": len(records),
        "set_aside": _listed(bad),
        "languages": {},
        "levels": {},
        "domains": _few(r.domain for r in records),
        "completions": sum(r.prompt != r.messages for r in records),
        "pairs": sum(bool(r.rejected) for r in records),
        "labels": sum(r.label is not None for r in records),
        "with_system": sum(r.messages[0]["role"] == "system" for r in records),
        "with_tools": sum(bool(r.tools) for r in records),
        "prompts": _spoken(records, args.model),
    }


def _aside(where: str, why: str) -> Aside:
    from aha.aside import Aside

    return Aside(where, why)


def _spoken(records: Sequence[Any], model: str | None) -> list[str]:
    chosen = _chosen(records)
    if model is None:
        return ["\n".join(f"{m['role']}: {m['content']}" for m in r.messages) for r in chosen]
    from aha import chat
    from aha.modeling import load_tokenizer

    tokenizer = load_tokenizer(model)
    return [chat.render(r.prompt, tokenizer).text for r in chosen]


def _print(file: str, report: Mapping[str, Any]) -> None:
    layouts = ", ".join(f"{name} ({n})" for name, n in report["layouts"].items())
    print(f"{file}: {report['rows']} rows for {report['task']}; layout {layouts or 'unknown'}")
    print(f"  columns used      {', '.join(report['used']) or 'none'}")
    if report["not_used"]:
        print(f"  columns not used  {', '.join(report['not_used'])}")
        print(f"                    to be used: {'; '.join(report['could_be'].values())}")
    way = "proven by their own grader" if report.get("by_grader") else "read (no reference in them to prove)"
    print(f"  {report['proven']} rows {way}, all {report['rows']} looked at")
    gone = report["set_aside"]
    if gone["rows"]:
        print(f"  {gone['rows']} set aside: " + ", ".join(f"{n} {why}" for why, n in gone["reasons"].items()))
        for row in gone["examples"]:
            print(f"    {row['where']}: {row['reason'][:200]}")
    for name in ("languages", "levels", "domains", "answers", "brings"):
        if report.get(name):
            print(f"  {name:17} " + ", ".join(f"{key}: {n}" for key, n in report[name].items()))
    for name in ("completions", "pairs", "labels", "with_system", "with_tools"):
        if report.get(name):
            print(f"  {name:17} {report[name]}")
    for i, text in enumerate(report["prompts"], 1):
        shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"
        print(f"  prompt {i}:\n    " + shown.replace("\n", "\n    "))
