"""Rendering prompts and reading tags: every rule once, then hostile text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from aha.chat import R1_ZERO_TEMPLATE, choose, encode_prompt, find_tags, parse, render, warn_prompt
from aha.types import AhaError

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is {2}+{2}?"}]
PLAIN_CHAT = (
    "{% for m in messages %}<u>{{ m.content }}<e>{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
WORDS = ["<unk>", "<s>", "</s>", "<u>", "<a>", "<e>", "<think>", "hello", "world", "User:", "Assistant:"]


def tokenizer(
    chat: str | None = None, *, adds_bos: bool = True, eos: str = "</s>"
) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that puts <s> before and </s> behind, as some real ones do."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token=eos,
        additional_special_tokens=["<u>", "<a>", "<e>", "<think>"],
    )
    fast.chat_template = chat
    return fast


class TestRender:
    def test_the_papers_template_is_one_line_around_the_prompt(self):
        text = render(QUESTION[1:]).text
        assert text.startswith("A conversation between User and Assistant. The user asks a question, and the")
        assert "i.e., <think> reasoning process here </think> <answer> answer here </answer>. User:" in text
        assert text.endswith(" User: What is {2}+{2}? Assistant:")
        assert "\n" not in R1_ZERO_TEMPLATE
        assert "  " not in R1_ZERO_TEMPLATE
        assert "`" not in R1_ZERO_TEMPLATE

    def test_a_system_message_stands_before_the_question(self):
        assert render(QUESTION).text.endswith(
            "answer here </answer>. Be brief. User: What is {2}+{2}? Assistant:"
        )

    def test_auto_is_the_papers_template_unless_the_tokenizer_has_its_own(self):
        assert render(QUESTION).prompt == "r1_zero"
        assert render(QUESTION, tokenizer()).prompt == "r1_zero"
        own = render(QUESTION, tokenizer(PLAIN_CHAT))
        assert (own.prompt, own.text) == ("boxed", "<u>Be brief.<e><u>What is {2}+{2}?<e><a>")

    def test_the_last_user_message_is_asked(self):
        turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]
        assert render([*turns, {"role": "user", "content": "two"}]).text.endswith("User: two Assistant:")

    def test_none_gives_the_contents_alone(self):
        assert render(QUESTION, prompt="bare").text == "Be brief.\n\nWhat is {2}+{2}?"

    @pytest.mark.parametrize(
        ("ending", "opened"),
        [("<think>", True), ("<think>\n", True), ("", False), ("<think>\n\n</think>\n\n", False)],
    )
    def test_whether_think_is_open_is_read_off_the_text(self, ending: str, opened: bool):
        assert render(QUESTION, tokenizer(PLAIN_CHAT + ending)).opened_think is opened

    def test_options_reach_the_chat_template(self):
        chat = "{% if thinking %}<think>{% else %}<a>{% endif %}"
        assert render(QUESTION, tokenizer(chat), chat_options={"thinking": True}).opened_think
        assert not render(QUESTION, tokenizer(chat)).opened_think

    def test_what_cannot_be_rendered_is_refused_with_the_reason(self):
        with pytest.raises(AhaError, match="needs a user message"):
            render([{"role": "system", "content": "x"}])
        with pytest.raises(AhaError, match="is list, not text"):
            render([{"role": "user", "content": ["image"]}])  # type: ignore[dict-item]
        with pytest.raises(AhaError, match=r"no prompt 'r1_zeor'.*Did you mean 'r1_zero'"):
            render(QUESTION, prompt="r1_zeor")
        with pytest.raises(AhaError, match="no system here"):
            render(QUESTION, tokenizer("{{ raise_exception('no system here') }}"))


class TestEncode:
    def encode(self, chat: str | None, content: str = "hello world", **options: bool) -> list[str]:
        with_template = tokenizer(chat, **options)
        ids = encode_prompt(render([{"role": "user", "content": content}], with_template), with_template)
        return with_template.convert_ids_to_tokens(ids)

    def test_a_bos_that_the_template_wrote_is_not_doubled(self):
        assert self.encode("<s> hello <a>") == ["<s>", "hello", "<a>"]

    def test_a_bos_that_the_template_left_out_is_added_and_no_eos(self):
        assert self.encode("hello <a>") == ["<s>", "hello", "<a>"]

    def test_the_papers_template_gets_what_the_tokenizer_adds_in_front(self):
        tokens = self.encode(None)
        assert tokens[0] == "<s>"
        assert tokens[-2:] == ["world", "Assistant:"]

    def test_nothing_is_added_where_the_tokenizer_adds_nothing(self):
        assert self.encode("hello <a>", adds_bos=False) == ["hello", "<a>"]


class TestWarning:
    @pytest.mark.parametrize(
        ("name", "chat", "eos", "prompt", "warned"),
        [
            ("org/Tiny-7B-Base", PLAIN_CHAT, "<e>", "boxed", "base"),
            ("org/Tiny-7B-Instruct", PLAIN_CHAT, "</s>", "r1_zero", "instruct"),
            ("org/tiny-7b-it", None, "</s>", "r1_zero", "instruct"),
            ("org/Tiny-7B-Instruct", PLAIN_CHAT, "<e>", "boxed", ""),
            ("org/Tiny-7B", PLAIN_CHAT, "</s>", "boxed", "base"),  # the template never writes this EOS
            ("org/Tiny-7B", PLAIN_CHAT, "<e>", "boxed", ""),
            ("org/Tiny-7B", PLAIN_CHAT, "<e>", "r1_zero", "instruct"),
            ("org/Tiny-7B", None, "</s>", "r1_zero", ""),
            ("org/database-7B", None, "</s>", "r1_zero", ""),
        ],
    )
    def test_base_under_chat_and_the_reverse(self, name: str, chat: str, eos: str, prompt: str, warned: str):
        with_template = tokenizer(chat, eos=eos)
        warning = warn_prompt(choose(prompt, with_template), with_template, model_name=name)
        assert (
            (f"looks like a{'n' if warned[:1] == 'i' else ''} {warned} model" in warning)
            if warned
            else not warning
        )


GOOD = "<think>two and two</think> <answer>4</answer>"


class TestParse:
    @pytest.mark.parametrize(
        "text",
        [
            GOOD,
            f"\n {GOOD}\n\n",
            "<think>\na\n</think>\n<answer>\n4\n</answer>",
            "<think>the `<answer>` tag comes next, after `</think>`</think><answer>4</answer>",
            "<think>like this:\n```\n<think>x</think><answer>y</answer>\n```\nnow</think><answer>4</answer>",
            "<think>```html\n<answer>\n```</think><answer>4</answer>",  # fences that hang on the tags
            "<think>Like this: ```html\n<answer>\n```\n</think><answer>4</answer>",
            "<think>``a ` <answer>``</think><answer>4</answer>",
            "<think>a</think><answer>```python\nprint('</answer>')\n```</answer>",
            "<think>a < b and <b>c</b> </ think></think><answer>4</answer>",
        ],
    )
    def test_well_formed(self, text: str):
        parsed = parse(text)
        assert parsed.well_formed, parsed.problem
        assert parsed.problem == ""

    @pytest.mark.parametrize(
        "text",
        [
            "<think>a ` stray</think> <answer>`4`</answer>",
            "<think>```python\nnever closed</think><answer>4</answer>",
            "<think>\n```python\nx\n</think>\n<answer>\n```python\ny\n```\n</answer>",
        ],
    )
    def test_a_stray_backtick_does_not_hide_the_tags(self, text: str):
        assert parse(text).well_formed
        assert parse(text).answer

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "no <think>"),
            ("4", "no <think>"),
            ("<answer>4</answer>", "no <think>"),
            ("<think>a", "no </think>"),
            ("<think>a<answer>4</answer>", "no </think>"),
            ("a</think><answer>4</answer>", "no <think>"),
            ("<think>a</think>", "no <answer>"),
            ("<think>a</think>4", "no <answer>"),
            ("<think>a</think><answer>4", "no </answer>"),
            ("<think>a</think>4</answer>", "no <answer>"),
            ("<think>a</think><think>b</think><answer>4</answer>", "2 times <think>"),
            ("<think>a</think></think><answer>4</answer>", "2 times </think>"),
            ("<think>a</think><answer>3</answer><answer>4</answer>", "2 times <answer>"),
            ("<answer>4</answer><think>a</think>", "<answer> stands where <think> should"),
            ("<think>a<answer>4</think></answer>", "<answer> stands where </think> should"),
            ("</think>a<think><answer>4</answer>", "</think> stands where <think> should"),
            ("<think></think><answer>4</answer>", "the thinking is empty"),
            ("<think> \n\u200b</think><answer>4</answer>", "the thinking is empty"),
            ("<think>a</think><answer> </answer>", "the answer is empty"),
            (f"Sure! {GOOD}", "text before <think>"),
            ("<think>a</think> so <answer>4</answer>", "text between </think> and <answer>"),
            (f"{GOOD} I am sure.", "text after </answer>"),
            ("<think>a</think>`<answer>4</answer>`", "no <answer>"),
            ("<THINK>a</THINK><answer>4</answer>", "no <think>"),
        ],
    )
    def test_the_first_violation_is_named(self, text: str, problem: str):
        parsed = parse(text)
        assert not parsed.well_formed
        assert parsed.problem == problem

    @pytest.mark.parametrize(
        ("text", "think", "answer", "body"),
        [
            (GOOD, "two and two", "4", "<answer>4</answer>"),
            ("<think>a</think><answer>3</answer> no: <answer> 4 </answer>", "a", "4", None),
            ("<think>a</think><answer>3<answer>4</answer>", "a", "4", None),
            ("<think>a</think><answer>3</answer><answer>4", "a", "3", None),
            ("<think>a <answer>3</answer></think> then 4", "a <answer>3</answer>", None, "then 4"),
            ("<answer>3</answer></think><answer>4</answer>", "<answer>3</answer>", "4", "<answer>4</answer>"),
            ("<think>a</think>b</think><answer>4</answer>", "a</think>b", "4", "<answer>4</answer>"),
            ("<think>a<answer>4</answer>", "a<answer>4</answer>", None, ""),
            ("<think>a</think><answer>4</answer><think>b", "a</think><answer>4</answer><think>b", None, ""),
            ("just <answer>4</answer>", None, "4", "just <answer>4</answer>"),
            ("just 4", None, None, "just 4"),
            ("", None, None, ""),
        ],
    )
    def test_what_is_read_even_where_the_format_is_broken(self, text: str, think, answer, body):
        parsed = parse(text)
        assert (parsed.think, parsed.answer) == (think, answer)
        assert body is None or parsed.body == body

    def test_the_prompt_may_have_opened_the_thinking(self):
        parsed = parse("a</think><answer>4</answer>", opened_think=True)
        assert (parsed.think, parsed.answer, parsed.well_formed) == ("a", "4", True)
        again = parse(GOOD, opened_think=True)
        assert not again.well_formed
        assert "again" in again.problem
        assert (again.think, again.answer) == ("two and two", "4")
        endless = parse("a <answer>4</answer>", opened_think=True)
        assert (endless.think, endless.answer, endless.body) == ("a <answer>4</answer>", None, "")
        assert parse("</think><answer>4</answer>", opened_think=True).problem == "the thinking is empty"

    def test_a_summary_may_take_the_place_of_the_answer(self):
        parsed = parse("<think>a</think>\nSo it is \\boxed{4}.", require_answer=False)
        assert parsed.well_formed
        assert (parsed.answer, parsed.body) == (None, "So it is \\boxed{4}.")
        assert parse("<think>a</think>\n", require_answer=False).problem == "nothing after </think>"
        assert parse("x <think>a</think> b", require_answer=False).problem == "text before <think>"
        assert parse(GOOD, require_answer=False).well_formed


PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "`",
    "```",
    "\n",
    " ",
    "a",
    "<",
    ">",
    "中",
    "\u200b",
    "\\",
]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


class TestProperties:
    @given(texts, st.booleans(), st.booleans())
    def test_it_never_raises_and_its_parts_agree(self, text: str, opened: bool, require_answer: bool):
        parsed = parse(text, opened_think=opened, require_answer=require_answer)
        assert parsed.well_formed == (parsed.problem == "")
        for part in (parsed.think, parsed.answer, parsed.body):
            assert part is None or part in text
        if parsed.well_formed:
            assert parsed.think
            assert parsed.body
            assert parsed.answer or not require_answer

    @given(texts)
    def test_opening_the_thinking_in_the_prompt_changes_nothing_else(self, text: str):
        inside = parse(text, opened_think=True)
        whole = parse("<think>" + text)
        assert inside.well_formed == whole.well_formed
        if inside.well_formed:
            assert (inside.think, inside.answer, inside.body) == (whole.think, whole.answer, whole.body)

    @given(texts)
    def test_tags_come_in_order_and_are_where_they_are_said_to_be(self, text: str):
        tags = find_tags(text)
        assert all(text[tag.start : tag.end] == tag.name for tag in tags)
        assert [tag.start for tag in tags] == sorted({tag.start for tag in tags})

    @pytest.mark.parametrize(
        "hostile",
        [
            "<" * 100_000,
            "`" * 100_000,
            "```a " * 20_000,
            "` " * 50_000,
            "<think>" * 14_000,
            "<answer>" * 12_000,
            "<answer></answer>" * 6_000,
            "```a\n" * 20_000,
            "\n".join("`" * k + "a" for k in range(1, 440)),
            "\n".join("`" * k for k in range(440, 0, -1)),
            "`".join("x<think>" for _ in range(11_000)),
            "`" + " " * 100_000 + "`",
            "<think>" + "\u200b" * 100_000 + "</think>",
        ],
        ids=range(13),
    )
    def test_100_kb_of_anything_takes_a_moment(self, hostile: str):
        start = time.thread_time()
        parse(hostile + GOOD)
        parse(GOOD + hostile, opened_think=True)
        assert (
            time.thread_time() - start < 3.0
        )  # 0.3 s on an idle core; what grows with the square takes minutes
