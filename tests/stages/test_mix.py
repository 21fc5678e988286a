"""The second fine-tuning's mix: every domain of the paper's is filled by rows of one's own, named, and short aloud."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from aha.runs.pipeline import Context
from aha.stages.data.general_data import FORMAT, GeneralData, asked
from aha.stages.data.mixing import by_quota, check_ratios, read_others
from aha.stages.data.reject import Reject
from aha.stages.data.select import row_text
from aha.tasks import get_task
from aha.types import AhaError

TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "required": ["name"]}}}
CALL = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'


def rows(i):
    """A row of each domain that the second fine-tuning is to have, as a user's file holds it."""
    return [
        {"prompt": f"Write a poem {i}.", "completion": f"Roses {i}.", "domain": "writing"},
        {"question": f"Who wrote book {i}?", "answer": f"Author {i}.", "domain": "factual_qa"},
        {"prompt": f"Who are you, {i}?", "completion": f"I am Aha {i}.", "domain": "Self-Cognition"},
        {"instruction": f"Translate into German: dog {i}", "output": f"Hund {i}", "domain": "translation"},
        {"prompt": f"Weather in town {i}?", "tools": [TOOL], "completion": CALL},
        {"prompt": f"Name {i} as JSON.", "response_format": SCHEMA, "completion": f'{{"name": "{i}"}}'},
        {"messages": [{"role": "user", "content": f"Hi {i}."}, {"role": "assistant", "content": "Hello."},
                      {"role": "user", "content": "And you?"}, {"role": "assistant", "content": f"Well {i}."}]},
        {"messages": [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": f"Say {i}."},
                      {"role": "assistant", "content": f"Arr {i}."}], "domain": "role_play"},
        {"prompt": f"Hello {i}.", "completion": f"Hi there {i}."},
    ]  # fmt: skip


DOMAINS = {"writing", "factual_qa", "Self-Cognition", "translation", "function_calling", "json", "several_turns",
           "role_play", "general"}  # fmt: skip


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def prompts(tmp_path):
    return write(tmp_path / "general.jsonl", [row for i in range(12) for row in rows(i)])


def run(stage, folder):
    folder.mkdir()
    summary = stage.run(Context(folder, plain=True, threads=1))
    return summary, [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]


def test_every_domain_of_a_users_prompts_is_named_and_all_are_the_general_part(prompts, tmp_path):
    summary, written = run(GeneralData(name="general", task="general", data=prompts), tmp_path / "a")
    assert set(summary["domains"]) == DOMAINS | {"total"}
    assert {row["domain"] for row in written} == DOMAINS
    assert {row["part"] for row in written} == {"general"}
    assert not summary["dropped"], "each kept its own form"
    card = (tmp_path / "a" / "data.card.md").read_text()
    assert all(name in card for name in DOMAINS)
    tools = next(row for row in written if row["domain"] == "function_calling")
    assert "<tools>" in tools["messages"][0]["content"], "what may be called is a part of the conversation"


def test_a_teacher_is_not_asked_who_the_student_is_and_is_given_one_system_message(
    prompts, tmp_path, monkeypatch
):
    said = []

    def teacher(problem):
        said.append(asked(problem))
        return "<think>a</think><answer>I am the teacher.</answer>"

    monkeypatch.setattr(GeneralData, "_teacher", lambda self, context: teacher)
    stage = GeneralData(
        name="general", task="general", data=prompts, teacher="http://h/v1#m", verified_only=False
    )
    _, written = run(stage, tmp_path / "a")
    own = [row["messages"][-1]["content"] for row in written if row["domain"] == "Self-Cognition"]
    assert own
    assert all("I am Aha" in text for text in own)
    assert all(
        "I am the teacher." in row["messages"][-1]["content"] for row in written if row["domain"] == "writing"
    )
    assert not any("Who are you" in m["content"] for messages in said for m in messages)
    assert all([m["role"] for m in messages].count("system") == 1 for messages in said)
    pirate = next(m for m in said if "pirate" in m[0]["content"])
    assert pirate[0]["content"] == f"You are a pirate.\n\n{FORMAT}"
    again = GeneralData(name="general", task="general", data=prompts, teacher="http://h/v1#m", own_answers=())
    assert again.fingerprint() != stage.fingerprint()


def test_a_teacher_that_is_cut_is_told_with_the_way_out(prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(GeneralData, "_teacher", lambda self, context: lambda problem: "<think>and so on")
    stage = GeneralData(name="general", task="general", data=prompts, teacher="http://h/v1#m", max_tokens=40,
                        own_answers=(), verified_only=False)  # fmt: skip
    with pytest.raises(
        AhaError, match=r"'bad format': \d+}. One that is cut at max_tokens=40 leaves .*: raise it"
    ):
        run(stage, tmp_path / "a")


def mixed_rows(prompts, tmp_path, reasoning=40):
    _, written = run(GeneralData(name="general", task="general", data=prompts), tmp_path / "made")
    return [*written, *({"domain": d, "i": i} for d in ("gsm8k", "code") for i in range(reasoning))]


def counts(mixed):
    return Counter(row["domain"] for row in mixed.rows)


def test_quotas_are_by_domain_or_by_part(prompts, tmp_path):
    every = mixed_rows(prompts, tmp_path)
    both = counts(by_quota(every, "reasoning:3,general:1", 40, 0))
    assert sum(n for d, n in both.items() if d in ("gsm8k", "code")) == 30
    named = counts(by_quota(every, "reasoning:2,writing:1,json:1,general:1", 20, 0))
    assert (named["writing"], named["json"]) == (4, 4)
    with pytest.raises(
        AhaError, match=r"give no share to .*factual_qa.*Name them, or 'general' for all of its kind"
    ):
        by_quota(every, "reasoning:2,writing:1", 20, 0)


def test_what_is_short_is_said(prompts, tmp_path):
    every = mixed_rows(prompts, tmp_path)
    n = sum(row["domain"] == "writing" for row in every)
    mixed = by_quota(every, "reasoning:1,writing:1,general:1", 90, 0)
    assert mixed.short == [f"writing has {n} rows of the 30 that its share is"]
    assert mixed.taken["writing"] == n
    small = by_quota(every, "reasoning:1,writing:1,general:1", None, 0)
    assert small.short == [f"writing has {n} rows, and by its share {len(every) - 3 * n} of the others go"]
    assert small.over["reasoning beyond its share"] == 80 - n
    assert by_quota(every, "reasoning:1,general:1", 20, 0).short == []


def test_an_empty_domain_is_named_before_anything_is_sampled(tmp_path, prompts, monkeypatch):
    others = [read_others("file", prompts)]
    check_ratios("reasoning:3,writing:1,general:1,gsm8k:1", others, {"gsm8k"})
    told = r"gives a share to poetry, and no row is of it. Domains of the other rows: .*writing"
    with pytest.raises(AhaError, match=told):
        check_ratios("reasoning:3,poetry:1", others, {"gsm8k"})
    stage = Reject(
        name="reject", model="tiny", mix_with=(prompts,), domain_ratios="reasoning:3,poetry:1", problems=4
    )
    sampled = []
    monkeypatch.setattr(Reject, "graded_answers", lambda *a, **k: sampled.append(1) or [])
    (tmp_path / "r").mkdir()
    with pytest.raises(AhaError, match="gives a share to poetry"):
        stage.run(Context(tmp_path / "r", plain=True, threads=1, dtype="float32"))
    assert not sampled
    with pytest.raises(AhaError, match="is no quota"):
        Reject(name="r", model="tiny", domain_ratios="reasoning").check_inputs(Context(tmp_path))


def test_other_rows_keep_their_tools_and_bad_or_unanswered_ones_are_counted(tmp_path):
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "weather", "arguments": {}}}],
    }
    other = {**call, "tool_calls": [{"function": {"name": "weather", "arguments": {"town": "Ulm"}}}]}
    lines = [
        {"messages": [{"role": "user", "content": "Weather?"}, call], "tools": [TOOL]},
        {"messages": [{"role": "user", "content": "Weather?"}, other], "tools": [TOOL]},
        {"prompt": "Hello", "completion": "Go away.", "label": False},
        {"prompt": "Hello", "completion": "Hi.", "label": True},
        {"prompt": "Only asked."},
        {"question": "1+1?", "answer": "1+1=2 #### 2", "domain": "math"},
    ]
    read = read_others("file", write(tmp_path / "mix.jsonl", lines))
    assert read.dropped == {"said to be bad": 1, "no completion": 1}
    written = read.rows(None)
    assert [row["domain"] for row in written] == ["function_calling", "function_calling", "general", "math"]
    assert [row.get("part") for row in written] == ["general", "general", "general", None]
    assert written[0]["tools"] == [TOOL]
    assert written[0]["tokens"] > 0, "a call is something that is said"
    assert row_text(written[0]) != row_text(written[1]), "other arguments are another answer"
    assert "said to be bad: 1" in "; ".join(f"{k}: {n}" for k, n in read.filter.reasons.items())


def test_the_made_world_has_one_domain_that_no_rule_of_the_world_names():
    """What docs/r1.md says that the miniature lacks."""
    kinds = {p.metadata["kind"] for p in get_task("general").load("train", 400, 0)}
    assert kinds == {"greet", "sorry", "thank", "list", "opposite", "tip", "care", "harm"}
