"""What a model is asked, by name: rendered, carried in a checkpoint, read back by transformers, and where turns end."""

from __future__ import annotations

import pytest
from test_chat_templates import ASKED, TEMPLATES, tokenizer_of
from transformers import AutoTokenizer

from aha import chat, modeling
from aha.chat.prompts import FINAL, THINK_SYSTEM
from aha.files import read_json
from aha.sampling.rollouts import Prompter
from aha.training.checkpoint import write_tokenizer
from aha.types import AhaError, Problem, TestCase

TEXT = "Solve it, result in \\boxed{}.\nProblem: {question}\nSolution:"
JINJA = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>\n{% endfor %}[assistant] in <answer>: "
)
ANSWERED = [*ASKED, {"role": "assistant", "content": "4"}, {"role": "user", "content": "And 3+3?"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *ASKED]
FINAL_QUESTION = Problem("f", "gsm8k", tuple(ASKED), "4")
KINDS = {
    "final": (FINAL_QUESTION, FINAL["en"]),
    "chinese": (Problem("z", "cmath", tuple(ASKED), "4", "zh"), FINAL["zh"]),
    "choice": (
        Problem("c", "choice", tuple(ASKED), "A", metadata={"options": ("4", "5", "6")}),
        "Please reason step by step. The last line of your response should be 'Answer: $LETTER' (without quotes), "
        "where LETTER is one of ABC.",
    ),
    "stdio": (
        Problem("p", "code", tuple(ASKED), (TestCase("stdio", "1", "2"),)),
        "Write a complete Python program that reads from standard input and writes to standard output, in one "
        "```python block.",
    ),
    "function": (
        Problem("q", "code", tuple(ASKED), (TestCase("function", [1], 2, "f"),)),
        "Write the complete Python function in one ```python block.",
    ),
    "general": (Problem("g", "general", tuple(ASKED), None, metadata={"rubric": {"x": 1}}), ""),
}


@pytest.fixture
def files(tmp_path):
    text, jinja = tmp_path / "mine.txt", tmp_path / "mine.jinja"
    text.write_text(TEXT)
    jinja.write_text(JINJA)
    return {"text": str(text), "jinja": str(jinja)}


def conversations(family, prompt):
    """Those that the prompt and the family's own template can show."""
    texts = [ASKED]
    if not (prompt.words and not prompt.jinja):
        texts.append(ANSWERED)
    if family != "gemma" or not prompt.turns or prompt.jinja:
        texts.append(SYSTEM)
    return texts


@pytest.mark.parametrize("family", [*TEMPLATES, "none"])
@pytest.mark.parametrize("setting", [*chat.NAMES, "text", "jinja"])
def test_transformers_renders_the_carried_template_as_the_prompt_itself(family, setting, files, tmp_path):
    """Token for token, with system messages and earlier turns, and read back by name."""
    tokenizer = tokenizer_of("llama3" if family == "none" else family)
    if family == "none":
        tokenizer.chat_template = None
    prompter = Prompter(tokenizer, files.get(setting, setting))
    prompt = prompter.prompt
    instruction = prompt.one_instruction([FINAL_QUESTION])
    expected = {}
    for i, messages in enumerate(conversations(family, prompt)):
        rendered = chat.render(messages, tokenizer, prompt=prompt, instruction=instruction)
        expected[i] = chat.encode_prompt(rendered, tokenizer)
    own = tokenizer.chat_template
    chat.save_prompt(tokenizer, prompt, instruction)
    write_tokenizer(tokenizer, tmp_path)
    assert (tmp_path / "chat_template.jinja").exists()
    plain = AutoTokenizer.from_pretrained(tmp_path)
    for i, messages in enumerate(conversations(family, prompt)):
        text = plain.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert list(text) == expected[i], messages
    back = modeling.load_tokenizer(str(_with_config(tmp_path)))
    again = Prompter(back, "auto")
    assert (again.prompt.name, again.prompt.trained, again.prompt.own) == (prompt.name, prompt.name, own)
    assert again.encode(FINAL_QUESTION)[0] == expected[0]
    assert chat.turn_end(back, again.prompt) == chat.turn_end(tokenizer, prompt)


def _with_config(folder):
    (folder / "config.json").write_text('{"model_type": "llama", "vocab_size": 1000}')
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_boxed_adds_what_is_usual_for_the_kind_of_question(kind):
    problem, words = KINDS[kind]
    prompter = Prompter(tokenizer_of("qwen2.5"), "boxed")
    asked = f"What is 2+2?\n{words}<|im_end|>" if words else "What is 2+2?<|im_end|>"
    assert asked in prompter.render(problem).text
    assert prompter.asked([problem])[0].metadata["place"] == "boxed"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("2+2? Put your final answer within \\boxed{}.", "boxed"),
        ("2+2? Return the final answer in <answer> </answer> tags.", "tags"),
    ],
)
def test_a_question_that_says_where_its_answer_belongs_is_not_told_twice(content, place):
    problem = Problem("x", "math", ({"role": "user", "content": content},), "4")
    prompter = Prompter(tokenizer_of("qwen2.5"), "boxed")
    assert prompter.render(problem).text.count("\\boxed") == (place == "boxed")
    assert prompter.prompt.asked(problem).metadata["place"] == place
    # Nor by the template that the checkpoint carries.
    tokenizer = tokenizer_of("qwen2.5")
    chat.save_prompt(tokenizer, prompter.prompt, FINAL["en"])
    text = tokenizer.apply_chat_template(list(problem.messages), tokenize=False)
    assert text.count("\\boxed") == (place == "boxed")


def test_auto_is_what_was_trained_with_then_boxed_then_the_papers():
    tokenizer = tokenizer_of("qwen2.5")
    assert chat.choose("auto", tokenizer).name == "boxed"
    chat.save_prompt(tokenizer, chat.choose("r1_zero", tokenizer))
    assert chat.choose("auto", tokenizer).name == "r1_zero"
    tokenizer.chat_template = TEMPLATES["qwen3"][
        0
    ]  # somebody gave it another since: the note is no longer true
    assert chat.choose("auto", tokenizer).name == "boxed"
    tokenizer.chat_template = None
    assert chat.choose("auto", tokenizer).name == "r1_zero"
    assert chat.choose("think", tokenizer).name == "r1_zero", "the same for models without turns"


def test_another_prompt_than_the_trained_one_is_warned_of_with_both_names():
    tokenizer = tokenizer_of("qwen2.5")
    chat.save_prompt(tokenizer, chat.choose("r1_zero", tokenizer))
    warning = chat.warn_prompt(chat.choose("boxed", tokenizer), tokenizer, model_name="x-instruct")
    assert "trained with prompt=r1_zero" in warning
    assert "asked with prompt=boxed" in warning
    assert not chat.warn_prompt(chat.choose("auto", tokenizer), tokenizer, model_name="x-instruct")
    assert "<|im_start|>user" in chat.render(ASKED, tokenizer, prompt="bare").text, (
        "its own template is not lost"
    )


def test_thinks_system_message_goes_behind_the_own_one_or_into_the_question():
    text = chat.render(SYSTEM, tokenizer_of("qwen2.5"), prompt="think").text
    assert f"Be brief.\n\n{THINK_SYSTEM}<|im_end|>" in text
    text = chat.render(ASKED, tokenizer_of("gemma"), prompt="think").text
    assert text.startswith(f"<bos><start_of_turn>user\n{THINK_SYSTEM}\n\nWhat is 2+2?<end_of_turn>")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.txt", "no place", r"0 places for the question: write \{question\} once"),
        ("mine.txt", "{question} {question}", "2 places"),
        ("mine.jinja", "{{ question }}", "never uses `messages`"),
        ("mine.txt", None, "no prompt"),
    ],
)
def test_a_file_without_a_place_for_the_question_is_refused(tmp_path, name, text, said):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(AhaError, match=said):
        chat.check_setting(str(path))


def test_a_files_words_say_where_answers_are_looked_for(files):
    tokenizer = tokenizer_of("qwen2.5")
    assert chat.choose(files["text"], tokenizer).place == "boxed"
    assert chat.choose(files["jinja"], tokenizer).place == "tags"
    assert chat.render(ASKED, tokenizer, prompt=files["text"]).text.endswith(
        "Problem: What is 2+2?\nSolution:"
    )
    with pytest.raises(AhaError, match="takes one question"):
        chat.render(ANSWERED, tokenizer, prompt=files["text"])


ENDS = {  # by family
    "qwen2.5": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "r1": "<｜end▁of▁sentence｜>",
    "gemma": "<end_of_turn>",
}


@pytest.mark.parametrize("family", ENDS)
def test_a_turn_ends_as_its_template_ends_it_and_sampling_stops_at_both(family):
    tokenizer = tokenizer_of(family)
    end = tokenizer.convert_tokens_to_ids(ENDS[family])
    tokenizer.add_special_tokens(
        {"eos_token": "<|endoftext|>"}
    )  # as base models and some ChatML models have it
    assert chat.turn_end(tokenizer, chat.choose("boxed", tokenizer)) == (end,)
    assert chat.turn_end(tokenizer, chat.choose("r1_zero", tokenizer)) == (tokenizer.eos_token_id,)
    assert chat.stop_ids(tokenizer) == {end, tokenizer.eos_token_id}


def test_a_template_that_writes_no_mark_ends_with_eos():
    tokenizer = tokenizer_of("qwen2.5")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    assert chat.turn_end(tokenizer) == (tokenizer.eos_token_id,)


def test_the_note_of_a_checkpoint_names_prompt_and_place(tmp_path):
    tokenizer = tokenizer_of("qwen2.5")
    chat.save_prompt(tokenizer, chat.choose("think", tokenizer))
    write_tokenizer(tokenizer, tmp_path)
    note = read_json(tmp_path / modeling.ASKED)
    assert (note["prompt"], note["place"], note["own_template"]) == ("think", "tags", TEMPLATES["qwen2.5"][0])
    (tmp_path / modeling.ASKED).write_text("[]")
    with pytest.raises(AhaError, match="no record of a prompt"):
        modeling.load_tokenizer(str(_with_config(tmp_path)))
