"""The schemas training data comes in: detected, said in words, read into one form, and written out of it.

Known: TRL (text, messages, prompt, prompt + completion, chosen + rejected), verl, open-r1, reasoning-gym, GSM8K,
OpenAI messages, ShareGPT, alpaca, UltraFeedback, HH-RLHF, s1K, and rollouts of our own. ``layouts.map_row`` reads
question and answer for grading; this reads whole conversations for training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aha import aside
from aha.aside import Aside
from aha.data.layouts import map_row
from aha.data.messages import Message, pair, read_label, read_messages, read_tools, with_system
from aha.data.sources import Row, numbered_rows
from aha.types import AhaError

DOMAINS = ("domain", "data_source", "source", "subject", "category", "ability", "task", "dataset")
"""Columns that may name a row's domain, the first that is there."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row in one form. ``messages``: role and content, and ``reasoning`` where it came apart; the last one is
    the assistant's where there is a completion. ``rejected``: the completion not preferred, if any. ``tools``:
    what the assistant may call; ``label``: how good the completion is said to be, 0 to 1; ``where``: its place in its
    source (``line 3``), "" where it was not read from one."""

    messages: tuple[Message, ...]
    answer: str | None = None
    domain: str = ""
    rejected: tuple[Message, ...] = ()
    rest: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Any, ...] = ()
    label: float | None = None
    where: str = ""

    @property
    def rounds(self) -> int:
        """How many times the user speaks."""
        return sum(m["role"] == "user" for m in self.messages)

    @property
    def text(self) -> str:
        """All that is said, one message after another, reasoning included."""
        return "\n".join(m.get("reasoning", "") + m["content"] for m in self.messages)

    @property
    def prompt(self) -> tuple[Message, ...]:
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

SYSTEMS = ("system", "system_prompt", "system_message")


def _conversation(row: Row, messages: tuple[Message, ...], **others: Any) -> Record:
    """A record of these messages, with the row's system prompt in front and its tools."""
    said = next((row[name] for name in SYSTEMS if row.get(name)), None)
    return Record(with_system(messages, said), tools=read_tools(row.get("tools")), **others)


def _from_messages(key: str) -> Callable[[Row], Record]:
    return lambda row: _conversation(row, read_messages(row[key]), label=read_label(row))


def _from_preference(row: Row) -> Record:
    chosen, rejected = pair(row.get("prompt"), row.get("chosen"), row.get("rejected"))
    return _conversation(row, chosen, rejected=rejected)


def _from_scored(row: Row) -> Record:
    """UltraFeedback's own rows: of its completions, the best scored one before the worst."""
    scored = [(c.get("overall_score", c.get("fine-grained_score")), c) for c in row["completions"]]
    known = sorted((float(s), str(c["response"])) for s, c in scored if s is not None and c.get("response"))
    if len(known) < 2 or known[0][0] == known[-1][0]:
        raise ValueError("its completions have no two different scores")
    best = next(said for score, said in known if score == known[-1][0])
    chosen, rejected = pair(row["instruction"], best, known[0][1])
    return _conversation(row, chosen, rejected=rejected)


def _from_two_judged(row: Row) -> Record:
    """PKU-SafeRLHF: two answers, and which is the better one."""
    better = row.get("better_response_id")
    if better not in (0, 1):
        raise ValueError("it does not say which response is better")
    sides = [str(row[f"response_{i}"]) for i in (better, 1 - better)]
    chosen, rejected = pair(row["prompt"], *sides)
    return _conversation(row, chosen, rejected=rejected)


def _from_safe(row: Row) -> Record:
    """BeaverTails: an answer, and whether it is safe."""
    said = {"role": "assistant", "content": str(row["response"])}
    return _conversation(row, (*read_messages(row["prompt"]), said), label=float(bool(row["is_safe"])))


def _from_question(row: Row) -> Record:
    mapped = map_row(row)
    messages: list[Message] = [*mapped.messages]
    worked = next((row[k] for k in ("solution", "answer") if isinstance(row.get(k), str)), "")
    if worked and worked.strip() != mapped.answer.strip():
        messages.append({"role": "assistant", "content": worked})
    return _conversation(row, tuple(messages), answer=mapped.answer)


def _from_verl(row: Row) -> Record:
    mapped = map_row(row)
    return _conversation(row, mapped.messages, answer=mapped.answer)


def _from_open_r1(row: Row) -> Record:
    answer = row.get("answer")
    return _conversation(row, read_messages(row["messages"]), answer=None if answer is None else str(answer))


def _from_completion(row: Row) -> Record:
    said = row["completion"]
    last = ({"role": "assistant", "content": said},) if isinstance(said, str) else read_messages(said)
    return _conversation(row, (*read_messages(row["prompt"]), *last), label=read_label(row, strict=True))


def _from_traces(row: Row) -> Record:
    """s1K: a question, the thinking and the attempt."""
    thinking = row.get("deepseek_thinking_trajectory") or (row.get("thinking_trajectories") or [None])[0]
    said = row.get("deepseek_attempt") or row.get("attempt")
    if not isinstance(thinking, str) or not isinstance(said, str):
        raise ValueError("its thinking or its attempt is no text")
    last = {"role": "assistant", "content": said, "reasoning": thinking}
    return _conversation(row, (*read_messages(row["question"]), last))


def _from_alpaca(row: Row) -> Record:
    """LLaMA-Factory's alpaca rows: instruction and input together are asked, after the history."""
    messages: list[Message] = []
    for asked, said in row.get("history") or ():
        messages += [{"role": "user", "content": str(asked)}, {"role": "assistant", "content": str(said)}]
    asked = "\n".join(
        part for part in (row["instruction"], row.get("input")) if isinstance(part, str) and part
    )
    messages.append({"role": "user", "content": asked})
    if row.get("chosen") is not None or row.get("rejected") is not None:
        chosen, rejected = pair(messages, row.get("chosen"), row.get("rejected"))
        return _conversation(row, chosen, rejected=rejected)
    last = {"role": "assistant", "content": str(row["output"])}
    return _conversation(row, (*messages, last), label=read_label(row))


def _from_turns(row: Row) -> Record:
    """ShareGPT's rows, and LLaMA-Factory's with a preferred and a rejected last turn."""
    messages = read_messages(row["conversations"])
    if isinstance(row.get("chosen"), (Mapping, list)) and row.get("rejected"):
        chosen, rejected = pair([dict(m) for m in messages], row["chosen"], row["rejected"])
        return _conversation(row, chosen, rejected=rejected)
    return _conversation(row, messages, label=read_label(row))


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


def _asks(row: Row) -> bool:
    return _has_text(row, "question") and any(
        k in row for k in ("answer", "final_answer", "answer_number", "gt")
    )


SCHEMAS: tuple[Schema, ...] = (
    Schema("sharegpt", "conversations (from, value) -> messages; system, tools",
           lambda r: _is_list(r, "conversations"), _from_turns),
    Schema("alpaca", "instruction + input -> prompt; output -> completion; history, system",
           lambda r: _has_text(r, "instruction") and ("output" in r or "chosen" in r), _from_alpaca),
    Schema("ultrafeedback", "instruction -> prompt; the best and the worst of completions -> messages, rejected",
           lambda r: _has_text(r, "instruction") and _is_list(r, "completions"), _from_scored),
    Schema("trl-preference", "prompt + chosen -> messages; rejected -> rejected",
           lambda r: "chosen" in r and "rejected" in r, _from_preference),
    Schema("pku-saferlhf", "prompt + the better of response_0, response_1 -> messages; the other -> rejected",
           lambda r: {"prompt", "response_0", "response_1"} <= r.keys(), _from_two_judged),
    Schema("beavertails", "prompt + response -> messages; is_safe -> label",
           lambda r: {"prompt", "response", "is_safe"} <= r.keys(), _from_safe),
    Schema("rollouts", "question + text -> messages; answer -> answer",
           lambda r: _has_text(r, "question", "text") and "scores" in r, _from_rollout),
    Schema("verl", "prompt -> messages; reward_model.ground_truth -> answer; data_source -> domain",
           lambda r: isinstance(r.get("reward_model"), Mapping) and r.get("prompt") is not None
           and r["reward_model"].get("ground_truth") is not None, _from_verl),
    Schema("open-r1", "messages -> messages; answer -> answer",
           lambda r: _is_list(r, "messages") and _has_text(r, "problem"), _from_open_r1),
    Schema("messages", "messages -> messages; system, tools, label",
           lambda r: _is_list(r, "messages"), _from_messages("messages")),
    Schema("trl-prompt-completion", "prompt + completion -> messages; label",
           lambda r: r.get("prompt") is not None and r.get("completion") is not None, _from_completion),
    Schema("s1k", "question -> prompt; thinking_trajectories + attempt -> completion",
           lambda r: _has_text(r, "question") and ("attempt" in r or "deepseek_attempt" in r), _from_traces),
    Schema("gsm8k", "question -> messages; answer -> completion; after #### -> answer",
           lambda r: _has_text(r, "question", "answer") and "####" in r["answer"], _from_question),
    Schema("reasoning-gym", "question -> messages; answer -> answer; metadata kept",
           lambda r: _has_text(r, "question") and isinstance(r.get("metadata"), Mapping) and "answer" in r,
           _from_question),
    Schema("open-r1-problem", "problem -> messages; solution -> completion; answer -> answer",
           lambda r: _has_text(r, "problem") and ("answer" in r or "solution" in r), _from_question),
    Schema("question-answer", "question -> messages; answer -> answer", _asks, _from_question),
    Schema("orz", "0.value -> messages; 1.ground_truth.value -> answer",
           lambda r: isinstance(r.get("0"), Mapping) and isinstance(r.get("1"), Mapping), _from_question),
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
    return replace(record, domain=domain_of(row), rest=row), schema


def read_records(rows: Sequence[Row]) -> tuple[list[Record], dict[str, int]]:
    """All rows in one form, and how many there are of each schema."""
    records, counts = [], dict[str, int]()
    for number, row in enumerate(rows, 1):
        record, schema = read_record(row, number)
        records.append(record)
        counts[schema.name] = counts.get(schema.name, 0) + 1
    return records, counts


def read_source(source: str, split: str = "train") -> tuple[list[Record], dict[str, int]]:
    """All rows of a source in one form, those that cannot be read set aside (``aha.aside``), and how many there
    are of each schema. Raises AhaError where too many cannot."""
    records: list[Record] = []
    counts: dict[str, int] = {}
    bad: list[Aside] = []
    for where, row in numbered_rows(source, split, lambda where, why: bad.append(Aside(where, why))):
        try:
            record, schema = read_record(row, 0)
        except AhaError as error:
            bad.append(Aside(where, reason_of(error)))
            continue
        records.append(replace(record, where=where))
        counts[schema.name] = counts.get(schema.name, 0) + 1
    aside.report(source, len(records) + len(bad), bad)
    return records, counts


def reason_of(error: AhaError) -> str:
    """Why a row is set aside, without the place, which stands beside it."""
    return re.sub(r"^Row 0:? ?(\([\w.-]+\) cannot be read: (Row )?)?", "", str(error))


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


def _write_message(message: Message) -> dict[str, Any]:
    """A message out: reasoning in both fields in use."""
    written = {key: value for key, value in message.items() if key != "reasoning"}
    if "reasoning" in message:
        written |= {"reasoning": message["reasoning"], "reasoning_content": message["reasoning"]}
    return written


def flat(message: Message) -> str:
    """A message's text for schemas without a field for reasoning: between think tags in front."""
    reasoning = message.get("reasoning")
    return f"<think>{reasoning}</think>{message['content']}" if reasoning else message["content"]


def _last(record: Record) -> Message:
    if not record.messages or record.messages[-1]["role"] != "assistant":
        raise AhaError("it has no completion")
    return record.messages[-1]


def _need_answer(record: Record) -> str:
    if record.answer is None:
        raise AhaError("it has no answer")
    return record.answer


def _to_messages(record: Record) -> dict[str, Any]:
    tools = {"tools": list(record.tools)} if record.tools else {}
    return {"messages": [_write_message(m) for m in record.messages]} | tools


def _to_completion(record: Record) -> dict[str, Any]:
    last = _last(record)
    return {
        "prompt": [_write_message(m) for m in record.prompt],
        "completion": [{"role": "assistant", "content": flat(last)}],
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
    return {"conversations": [{"from": names[m["role"]], "value": flat(m)} for m in record.messages]}


TARGETS: Mapping[str, Callable[[Record], dict[str, Any]]] = {
    "messages": _to_messages,
    "prompt_completion": _to_completion,
    "preference": _to_preference,
    "verl": _to_verl,
    "question_answer": _to_question,
    "sharegpt": _to_sharegpt,
}


def check_target(target: str) -> None:
    """Raise AhaError for a schema that cannot be written."""
    if target not in TARGETS:
        raise AhaError(f"No schema '{target}' to write. Known: {', '.join(TARGETS)}.")


def convert(record: Record, target: str, number: int = 0) -> dict[str, Any]:
    """A record in a target schema (``TARGETS``), with answer and domain where they are known.

    Raises AhaError naming the row and what it lacks.
    """
    check_target(target)
    try:
        row = TARGETS[target](record)
    except AhaError as error:
        raise AhaError(f"Row {number} cannot be written as {target}: {error}.") from error
    known = {"answer": record.answer, "domain": record.domain or None}
    if target != "verl":
        row |= {key: value for key, value in known.items() if value is not None and key not in row}
    return row
