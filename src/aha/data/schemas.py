"""The schemas training data comes in: detected, said in words, read into one form, and written out of it.

Known: TRL (text, messages, prompt, prompt + completion, chosen + rejected), verl, open-r1, reasoning-gym,
GSM8K, OpenAI messages, ShareGPT, and rollouts of our own. ``sources.map_row`` reads question and answer for
grading; this reads whole conversations for training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aha.data.layouts import map_row
from aha.data.sources import Row
from aha.types import AhaError

ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bot": "assistant",
    "model": "assistant", "system": "system", "tool": "tool", "observation": "tool", "function_call": "assistant",
}  # fmt: skip
DOMAINS = ("domain", "data_source", "source", "subject", "category", "ability", "task", "dataset")
"""Columns that may name a row's domain, the first that is there."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row in one form. ``messages``: role and content, and ``reasoning`` where it came apart; the last one is
    the assistant's where there is a completion. ``rejected``: the completion not preferred, if any."""

    messages: tuple[Mapping[str, str], ...]
    answer: str | None = None
    domain: str = ""
    rejected: tuple[Mapping[str, str], ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How many times the user speaks."""
        return sum(m["role"] == "user" for m in self.messages)

    @property
    def text(self) -> str:
        """All that is said, one message after another, reasoning included."""
        return "\n".join(m.get("reasoning", "") + m["content"] for m in self.messages)

    @property
    def prompt(self) -> tuple[Mapping[str, str], ...]:
        """The messages before the completion."""
        last = bool(self.messages) and self.messages[-1]["role"] == "assistant"
        return self.messages[:-1] if last else self.messages


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema by name, which columns go where in words, and how a row of it is read."""

    name: str
    mapping: str
    fits: Callable[[Row], bool]
    read: Callable[[Row], Record]


# --- reading -------------------------------------------------------------------------------------------


def _content(value: Any) -> str:
    """A message's text; parts of type text are put together, others refused."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in value):
        return "".join(str(p.get("text", "")) for p in value)
    if value is None:
        return ""
    raise ValueError(f"content is {type(value).__name__}, not text")


def read_messages(value: Any) -> tuple[Mapping[str, str], ...]:
    """Messages in OpenAI's or ShareGPT's form, or a text as one user message. ValueError for others."""
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    if not isinstance(value, Sequence) or not value or not all(isinstance(m, Mapping) for m in value):
        raise ValueError(f"messages are {type(value).__name__}, not a list of messages")
    return tuple(_message(m) for m in value)


def _message(message: Mapping[str, Any]) -> Mapping[str, str]:
    role = str(message.get("role", message.get("from", ""))).lower()
    if role not in ROLES:
        raise ValueError(f"a message's role is {role!r}")
    found = {"role": ROLES[role], "content": _content(message.get("content", message.get("value")))}
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        found["reasoning"] = reasoning
    return found


def _assistant(value: Any) -> tuple[Mapping[str, str], ...]:
    return ({"role": "assistant", "content": value},) if isinstance(value, str) else read_messages(value)


def _from_messages(key: str) -> Callable[[Row], Record]:
    return lambda row: Record(read_messages(row[key]))


def _from_preference(row: Row) -> Record:
    chosen, rejected = _assistant(row["chosen"]), _assistant(row["rejected"])
    if row.get("prompt") is not None:
        return Record((*read_messages(row["prompt"]), *chosen), rejected=rejected)
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return Record(chosen, rejected=rejected[shared:])


def _from_question(row: Row) -> Record:
    mapped = map_row(row, 0)
    messages: list[Mapping[str, str]] = [{"role": "user", "content": mapped.question}]
    worked = next((row[k] for k in ("solution", "answer") if isinstance(row.get(k), str)), "")
    if worked and worked.strip() != mapped.answer.strip():
        messages.append({"role": "assistant", "content": worked})
    return Record(tuple(messages), mapped.answer)


def _from_verl(row: Row) -> Record:
    return Record(read_messages(row["prompt"]), str(row["reward_model"]["ground_truth"]))


def _from_open_r1(row: Row) -> Record:
    answer = row.get("answer")
    return Record(read_messages(row["messages"]), None if answer is None else str(answer))


def _from_completion(row: Row) -> Record:
    return Record((*read_messages(row["prompt"]), *_assistant(row["completion"])))


def _from_rollout(row: Row) -> Record:
    user, said = (
        {"role": "user", "content": str(row["question"])},
        {"role": "assistant", "content": str(row["text"])},
    )
    answer = row.get("answer")
    return Record((user, said), None if answer is None else str(answer))


def _is_list(row: Row, key: str) -> bool:
    value = row.get(key)
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def _has_text(row: Row, *keys: str) -> bool:
    return all(isinstance(row.get(key), str) for key in keys)


SCHEMAS: tuple[Schema, ...] = (
    Schema("sharegpt", "conversations (from, value) -> messages",
           lambda r: _is_list(r, "conversations"), _from_messages("conversations")),
    Schema("trl-preference", "prompt + chosen -> messages; rejected -> rejected",
           lambda r: r.get("chosen") is not None and r.get("rejected") is not None, _from_preference),
    Schema("rollouts", "question + text -> messages; answer -> answer",
           lambda r: _has_text(r, "question", "text") and "scores" in r, _from_rollout),
    Schema("verl", "prompt -> messages; reward_model.ground_truth -> answer; data_source -> domain",
           lambda r: isinstance(r.get("reward_model"), Mapping) and r.get("prompt") is not None
           and r["reward_model"].get("ground_truth") is not None, _from_verl),
    Schema("open-r1", "messages -> messages; answer -> answer",
           lambda r: _is_list(r, "messages") and _has_text(r, "problem"), _from_open_r1),
    Schema("messages", "messages -> messages",
           lambda r: _is_list(r, "messages"), _from_messages("messages")),
    Schema("trl-prompt-completion", "prompt + completion -> messages",
           lambda r: r.get("prompt") is not None and r.get("completion") is not None, _from_completion),
    Schema("gsm8k", "question -> messages; answer -> completion; after #### -> answer",
           lambda r: _has_text(r, "question", "answer") and "####" in r["answer"], _from_question),
    Schema("reasoning-gym", "question -> messages; answer -> answer; metadata kept",
           lambda r: _has_text(r, "question") and isinstance(r.get("metadata"), Mapping) and "answer" in r,
           _from_question),
    Schema("open-r1-problem", "problem -> messages; solution -> completion; answer -> answer",
           lambda r: _has_text(r, "problem") and ("answer" in r or "solution" in r), _from_question),
    Schema("question-answer", "question -> messages; answer -> answer",
           lambda r: _has_text(r, "question") and any(k in r for k in ("answer", "final_answer", "gt")),
           _from_question),
    Schema("trl-prompt", "prompt -> messages", lambda r: r.get("prompt") is not None, _from_messages("prompt")),
    Schema("trl-text", "text -> one user message", lambda r: _has_text(r, "text"), _from_messages("text")),
)  # fmt: skip


def detect(row: Row) -> Schema | None:
    """The first schema that a row fits; None if it fits none."""
    return next((schema for schema in SCHEMAS if schema.fits(row)), None)


def read_record(row: Row, number: int) -> tuple[Record, Schema]:
    """A row in one form, and its schema. Raises AhaError naming the row, its columns and what is known."""
    schema = detect(row)
    if schema is None:
        raise AhaError(
            f"Row {number} fits no schema: its columns are {sorted(row)}. Known: "
            f"{', '.join(s.name for s in SCHEMAS)}."
        )
    try:
        record = schema.read(row)
    except (ValueError, KeyError, TypeError, AhaError) as error:
        raise AhaError(f"Row {number} ({schema.name}) cannot be read: {error}.") from error
    return Record(record.messages, record.answer, domain_of(row), record.rejected, row), schema


def read_records(rows: Sequence[Row]) -> tuple[list[Record], dict[str, int]]:
    """All rows in one form, and how many there are of each schema."""
    records, counts = [], dict[str, int]()
    for number, row in enumerate(rows, 1):
        record, schema = read_record(row, number)
        records.append(record)
        counts[schema.name] = counts.get(schema.name, 0) + 1
    return records, counts


def describe(counts: Mapping[str, int]) -> list[str]:
    """The mapping in words, for printing: one line a schema."""
    by_name = {schema.name: schema for schema in SCHEMAS}
    return [f"{name} ({n} rows): {by_name[name].mapping}" for name, n in counts.items()]


def domain_of(row: Row) -> str:
    """What the row says of its domain; "" if nothing."""
    metadata = row.get("metadata")
    for holder in (row, row.get("extra_info"), metadata):
        if isinstance(holder, Mapping):
            for key in (*DOMAINS, "source_dataset"):
                if isinstance(holder.get(key), str) and holder[key]:
                    return holder[key]
    return ""


# --- writing -------------------------------------------------------------------------------------------


def _write_message(message: Mapping[str, str]) -> dict[str, str]:
    """A message out: reasoning in both fields in use."""
    written = {"role": message["role"], "content": message["content"]}
    if "reasoning" in message:
        written |= {"reasoning": message["reasoning"], "reasoning_content": message["reasoning"]}
    return written


def _flat(message: Mapping[str, str]) -> str:
    """A message's text for schemas without a field for reasoning: between think tags in front."""
    reasoning = message.get("reasoning")
    return f"<think>{reasoning}</think>{message['content']}" if reasoning else message["content"]


def _last(record: Record) -> Mapping[str, str]:
    if not record.messages or record.messages[-1]["role"] != "assistant":
        raise AhaError("it has no completion")
    return record.messages[-1]


def _need_answer(record: Record) -> str:
    if record.answer is None:
        raise AhaError("it has no answer")
    return record.answer


def _to_messages(record: Record) -> dict[str, Any]:
    return {"messages": [_write_message(m) for m in record.messages]}


def _to_completion(record: Record) -> dict[str, Any]:
    last = _last(record)
    return {
        "prompt": [_write_message(m) for m in record.prompt],
        "completion": [{"role": "assistant", "content": _flat(last)}],
    }


def _to_preference(record: Record) -> dict[str, Any]:
    if not record.rejected:
        raise AhaError("it has no rejected completion")
    chosen, rejected = ([_write_message(m) for m in side] for side in ((_last(record),), record.rejected))
    return {"prompt": [_write_message(m) for m in record.prompt], "chosen": chosen, "rejected": rejected}


def _to_verl(record: Record) -> dict[str, Any]:
    return {
        "data_source": record.domain or "unknown",
        "prompt": [_write_message(m) for m in record.prompt],
        "ability": record.domain or "unknown",
        "reward_model": {"style": "rule", "ground_truth": _need_answer(record)},
        "extra_info": {},
    }


def _to_question(record: Record) -> dict[str, Any]:
    users = [m["content"] for m in record.prompt if m["role"] == "user"]
    if len(users) != 1:
        raise AhaError(f"it has {len(users)} user messages instead of one")
    return {"question": users[0], "answer": _need_answer(record)}


def _to_sharegpt(record: Record) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt", "system": "system", "tool": "tool"}
    return {"conversations": [{"from": names[m["role"]], "value": _flat(m)} for m in record.messages]}


TARGETS: Mapping[str, Callable[[Record], dict[str, Any]]] = {
    "messages": _to_messages,
    "prompt_completion": _to_completion,
    "preference": _to_preference,
    "verl": _to_verl,
    "question_answer": _to_question,
    "sharegpt": _to_sharegpt,
}


def convert(record: Record, target: str, number: int = 0) -> dict[str, Any]:
    """A record in a target schema (``TARGETS``), with answer and domain where they are known.

    Raises AhaError naming the row and what it lacks.
    """
    if target not in TARGETS:
        raise AhaError(f"No schema '{target}' to write. Known: {', '.join(TARGETS)}.")
    try:
        row = TARGETS[target](record)
    except AhaError as error:
        raise AhaError(f"Row {number} cannot be written as {target}: {error}.") from error
    known = {"answer": record.answer, "domain": record.domain or None}
    if target != "verl":
        row |= {key: value for key, value in known.items() if value is not None and key not in row}
    return row
