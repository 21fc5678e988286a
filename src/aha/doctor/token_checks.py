"""Tokens: what was sampled is what is trained; where training begins and ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aha import chat
from aha.doctor import ground_truth
from aha.doctor.finding import Check, Finding, NotApplicable, count, holds
from aha.doctor.subject import DoctorContext, made_groups
from aha.training import batching
from aha.types import Batch, Example, Finish, Group, Rollout

WHOLE = 1 << 20


def examples_of(
    subject: DoctorContext, groups: Sequence[Group], advantages: Sequence[np.ndarray]
) -> list[Example]:
    """Examples as the stage makes them."""
    if subject.to_examples is None:
        raise NotApplicable("no stage is examined, so there is no way from groups to examples")
    return subject.to_examples(groups, advantages)


def prompts(subject: DoctorContext) -> Iterator[Finding]:
    """Rendered prompts as token ids: one BOS at most, nothing lost, the opened thinking seen."""
    tokenizer = subject.tokenizer
    rendered = [subject.prompter.render(p) for p in subject.some_problems()]
    encoded = [subject.prompter.encode(p) for p in subject.some_problems()]
    bos, wrong = tokenizer.bos_token_id, []
    for index, ids in enumerate(ids for ids, _ in encoded):
        leading = _leading(ids, bos)
        if leading > 1:
            wrong.append(f"prompt {index} begins with {leading} BOS")
        if bos is not None and leading == 0 and _leading(tokenizer.encode("x"), bos):
            wrong.append(f"prompt {index} has no BOS, which the tokenizer puts in front")
        if (
            ids
            and ids[-1] == tokenizer.eos_token_id
            and not _ends_in(rendered[index].text, tokenizer.eos_token)
        ):
            wrong.append(f"prompt {index} ends in EOS")
    yield count("prompts with a wrong BOS or EOS", wrong, len(encoded),
                cause="template and tokenizer both add special tokens", fix="look at chat.encode_prompt")  # fmt: skip
    lost = []
    for index, (text, (ids, _)) in enumerate(zip(rendered, encoded, strict=True)):
        bare = tokenizer(text.text, add_special_tokens=False)["input_ids"]
        if list(ids[len(ids) - len(bare) :]) != list(bare):
            lost.append(f"prompt {index} reads {tokenizer.decode(ids[-20:])!r}")
    yield count("prompts whose ids are not those of the rendered text (special tokens in front apart)", lost,
                len(encoded), cause="another text was tokenized, or tokens were cut off",
                fix="look at the tokenizer and at chat.encode_prompt")  # fmt: skip
    opened = [t.text.rstrip().endswith("<think>") for t in rendered]
    unseen = [f"prompt {i}" for i, (a, (_, b)) in enumerate(zip(opened, encoded, strict=True)) if a != b]
    yield count("prompts whose opened <think> is not noticed (or is, and is not there)", unseen, len(opened),
                cause="the template opens the thinking and the parsing does not know it",
                fix="look at chat.render")  # fmt: skip
    yield _opened_template()


def _opened_template() -> Finding:
    """A chat template that opens the thinking itself: noticed, and the format then starts inside it."""

    class Stand:  # all that rendering asks of a tokenizer
        chat_template = "yes"

        def apply_chat_template(self, messages: Any, **_: Any) -> str:
            return f"<user>{messages[-1]['content']}<assistant><think>\n"

    rendered = chat.render(({"role": "user", "content": "2+2?"},), Stand(), prompt="bare")
    parsed = chat.parse("four</think><answer>4</answer>", opened_think=rendered.opened_think)
    ok = rendered.opened_think and parsed.well_formed and parsed.answer == "4"
    return holds("a template that opens <think> itself is detected and parsed", ok,
                 f"opened {rendered.opened_think}, {parsed.problem or 'well formed'}",
                 cause="the completion is parsed as if it had to open the thinking",
                 fix="look at chat.render and chat.parse")  # fmt: skip


def _leading(ids: Sequence[int], token: int | None) -> int:
    n = 0
    while token is not None and n < len(ids) and ids[n] == token:
        n += 1
    return n


def _ends_in(text: str, token: str | None) -> bool:
    return bool(token) and text.rstrip().endswith(str(token))


def tokens(subject: DoctorContext) -> Iterator[Finding]:
    """From sampling to the packed batch: the very ids, log probabilities and lengths."""
    yield from prompts(subject)
    sampled, unusual = subject.groups(), _unusual(subject)
    for what, groups in (("sampled", sampled), ("made-up (spelled as no tokenizer would)", unusual)):
        advantages = ground_truth.random_advantages(groups)
        got, expected = examples_of(subject, groups, advantages), ground_truth.examples(groups, advantages)
        yield count(f"{what} examples that are not the sampled ids and logprobs",
                    _different(got, expected, ("token_ids", "sampler_logprobs", "prompt_length")), len(expected),
                    cause="text is tokenized again, a token is lost or added, or logprobs are shifted",
                    fix="carry token ids from the sampler to the trainer (stages' to_examples)")  # fmt: skip
    wrong = []
    for rollout in (m.rollout for g in sampled for m in g.members):
        ids = rollout.completion_ids.tolist()
        bare = ids[:-1] if ids[-1] in _ends(subject) else ids
        if not subject.tokenizer.decode(bare, skip_special_tokens=False).startswith(rollout.text):
            wrong.append(f"{rollout.text[:40]!r}")
        if not len(ids) == len(rollout.logprobs) > 0:
            wrong.append(f"{len(ids)} ids, {len(rollout.logprobs)} logprobs")
    yield count("rollouts whose text is not their ids'", wrong, sum(len(g.members) for g in sampled),
                cause="text and ids of different rollouts, or a text cut elsewhere than the ids",
                fix="look at the engine's finishing of rows")  # fmt: skip
    prompts_now = [list(map(int, g.members[0].rollout.prompt_ids)) for g in sampled]
    asked = [list(subject.prompter.encode(p)[0]) for p in subject.some_problems()]
    yield count("rollouts whose prompt ids are not the ones asked for",
                [str(i) for i, (a, b) in enumerate(zip(prompts_now, asked, strict=True)) if a != b], len(asked),
                cause="the engine tokenizes or changes prompts", fix="hand token ids to the engine")  # fmt: skip


def _unusual(subject: DoctorContext) -> list[Group]:
    """Random ids: tokenizing their text again would give others."""
    return made_groups(subject, (4, 7), 3, seed=21)


def _different(got: Sequence[Example], expected: Sequence[Example], names: Sequence[str]) -> list[str]:
    if len(got) != len(expected):
        return [f"{len(got)} examples instead of {len(expected)}"]
    differing = []
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        off = [n for n in names if not np.array_equal(getattr(a, n), getattr(b, n))]
        differing += [f"example {i}: {', '.join(off)}"] if off else []
    return differing


def _ends(subject: DoctorContext) -> frozenset[int]:
    return frozenset(getattr(subject.engine, "eos_ids", {int(subject.tokenizer.eos_token_id)}))


def masks(subject: DoctorContext) -> Iterator[Finding]:
    """What is trained: the whole completion with its EOS, and nothing else."""
    yield from _endings(subject)
    groups = made_groups(subject, (2, 8, 5), 4, seed=22)
    advantages = ground_truth.random_advantages(groups)
    got = examples_of(subject, groups, advantages)
    rollouts = [m.rollout for g in groups for m in g.members]
    wrong: list[str] = []
    for i, (e, r) in enumerate(zip(got, rollouts, strict=True)):
        prompt = len(r.prompt_ids)
        wrong += [f"example {i}: a prompt token is trained"] if e.mask[:prompt].any() else []
        wrong += [f"example {i}: an advantage on the prompt"] if np.any(e.advantage[:prompt]) else []
        if r.finish is Finish.STOP and not e.mask[-1]:
            wrong.append(f"example {i}: the EOS is not trained")
        if not e.mask[prompt:].all():
            wrong.append(f"example {i}: {int((~e.mask[prompt:]).sum())} completion tokens are not trained")
        if len(e.mask) != prompt + len(r.completion_ids):
            wrong.append(f"example {i}: tokens after the end")
    yield count("examples that train something else than the completion with its EOS", wrong, len(got),
                cause="the mask does not follow prompt, completion and EOS",
                fix="look at the stages' to_examples")  # fmt: skip
    yield from _packed_masks(subject, got)


def _packed_masks(subject: DoctorContext, examples: Sequence[Example]) -> Iterator[Finding]:
    """After packing: a weight exactly where an example is masked in, on the right token; no padding."""
    wrong, seen = [], 0
    flat = {
        name: np.concatenate([np.asarray(getattr(e, name)) for e in examples])
        for name in ("token_ids", "mask", "advantage")
    }
    counted = np.zeros(len(flat["mask"]), np.int64)
    for batch in batching.pack(examples, subject.plan.algorithm.weighting(), WHOLE):
        at, trained = batch.origin, batch.weights != 0
        counted[at[trained]] += 1
        seen += len(at)
        wrong += _misplaced(batch, flat, at, trained)
    if (counted != flat["mask"]).any():
        wrong.append(f"{int((counted != flat['mask']).sum())} tokens are not trained exactly once")
    used = sum(len(e.token_ids) for e in examples)
    if seen > used:
        wrong.append(f"{seen} packed tokens for {used} given: padding")
    yield count("packed tokens whose weight, id or advantage is not their example's", wrong, used,
                cause="padding or prompt tokens get a weight, or columns are shifted against each other",
                fix="look at batching.pack")  # fmt: skip


def _misplaced(batch: Batch, flat: dict[str, np.ndarray], at: np.ndarray, trained: np.ndarray) -> list[str]:
    faults = []
    if (batch.token_ids != flat["token_ids"][at]).any():
        faults.append("token ids differ from the examples'")
    if not np.allclose(batch.advantages[trained], flat["advantage"][at][trained], atol=1e-6):
        faults.append("advantages stand on other tokens")
    if (batch.predictor[trained] < 0).any():
        faults.append("a trained token has no predictor")
    if trained[batch.sequence < 0].any():
        faults.append("a prompt token has a weight")
    return faults


def _endings(subject: DoctorContext) -> Iterator[Finding]:
    """The engine's completions: STOP exactly where EOS is last, nothing after it, LENGTH at the limit."""
    ends, limit = _ends(subject), subject.tokens()
    rollouts = [m.rollout for g in subject.groups() for m in g.members]
    wrong = [w for i, r in enumerate(rollouts) if (w := _ending(i, r, ends, limit))]
    cut = sum(r.finish is Finish.LENGTH for r in rollouts)
    finding = count(f"completions with a wrong end ({cut} of {len(rollouts)} were cut at {limit} tokens)",
                    wrong, len(rollouts),
                    cause="EOS is dropped from the completion, sampling goes on after it, or a truncated "
                    "completion counts as stopped", fix="look at the engine's retiring of rows")  # fmt: skip
    yield finding
    yield _forced_end(subject)


def _ending(i: int, r: Rollout, ends: frozenset[int], limit: int) -> str:
    ids = r.completion_ids.tolist()
    inside = any(t in ends for t in ids[:-1])
    if inside:
        return f"completion {i} goes on after EOS"
    if ids[-1] in ends and r.finish is not Finish.STOP:
        return f"completion {i} ends in EOS and says {r.finish}"
    if ids[-1] not in ends and (r.finish is not Finish.LENGTH or len(ids) != limit):
        return f"completion {i} says {r.finish} after {len(ids)} of {limit} tokens, without EOS"
    return ""


def _forced_end(subject: DoctorContext) -> Finding:
    """A completion that ends: the token the model would write anyway is declared to be an end of sequence."""
    engine = subject.engine
    if not hasattr(engine, "eos_ids"):
        return Finding("", None, "a completion that ends in EOS", cause="the engine hides its EOS ids")
    greedy = subject.sample(0.0, seed=9, alone=True)
    ids = greedy[0].members[0].rollout.completion_ids.tolist()
    end = int(ids[min(3, len(ids) - 1)])
    fresh = subject.new_engine(subject.model)
    fresh.eos_ids = frozenset({*fresh.eos_ids, end})
    first = ids.index(end)
    asked = replace(subject, engine=fresh).sample(0.0, seed=9, alone=True)
    r = asked[0].members[0].rollout
    ok = r.completion_ids.tolist() == ids[: first + 1] and r.finish is Finish.STOP
    ok = ok and len(r.logprobs) == first + 1
    return holds("greedy completion cut where its own token becomes an EOS: the EOS is its last token", ok,
                 f"{len(r.completion_ids)} tokens, {r.finish}", threshold=f"{first + 1} tokens, stop",
                 cause="the EOS is dropped from what is trained, or sampling goes on after it",
                 fix="look at the engine's retiring of rows")  # fmt: skip


CHECKS = (
    Check("tokens", "token ids survive render, sample, store and train", tokens, quick=True),
    Check("masks", "EOS trained; prompt, padding and what follows the end never", masks, quick=True),
)
