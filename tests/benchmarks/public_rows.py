"""Rows as public benchmarks lay them out on the hub (column names and types; contents of our own), each with an answer
that is right, one that is wrong, and rows that cannot be graded with what must be said of them."""

# ruff: noqa: E501
from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """``name`` of the catalogue; what a model must say to be right and to be wrong; ``refused``: (row, words)."""

    name: str
    row: Row
    right: str
    wrong: str
    refused: tuple[tuple[Row, str], ...] = ()
    judge: Mapping[str, str] = field(default_factory=dict)  # (answer -> what the judge says of it)
    options: Sequence[str] = ()


def boxed(text: str) -> str:
    """An answer as the prompt for mathematics asks for it."""
    return f"Step by step it follows.\n\n\\boxed{{{text}}}"


def letter(text: str) -> str:
    """An answer as the prompt for options asks for it."""
    return f"Step by step it follows.\n\nAnswer: {text}"


def python(code: str) -> str:
    """A program in its fence."""
    return f"```python\n{code}\n```"


def without(row: Row, *names: str) -> Row:
    """The row without some columns."""
    return {k: v for k, v in row.items() if k not in names}


def packed(tests: list[dict[str, str]]) -> str:
    """Private tests as LiveCodeBench packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


# --- mathematics -----------------------------------------------------------------------------------------------

AIME24 = {"id": 60, "problem": "What is $20+3$?", "solution": "It is $\\boxed{023}$.", "answer": "023",
          "url": "https://example.org/1", "year": "2024"}  # fmt: skip
AIME24_MAXWELL = {"ID": "2024-I-1", "Problem": "What is $20+4$?", "Solution": "It is 24.", "Answer": 24}
AIME25 = {"problem": "What is $70$?", "answer": "70", "id": "0"}
AMC23 = {"id": 0, "answer": 27.0, "url": "https://example.org/2", "question": "What is $20+7$?"}
MATH500 = {"problem": "Give $(1,2)$ as an interval.", "solution": "$\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}$",
           "answer": "\\left( 3, \\frac{\\pi}{2} \\right)", "subject": "Precalculus", "level": 2,
           "unique_id": "test/precalculus/807.json"}  # fmt: skip
GSM8K = {"question": "Two and three apples?", "answer": "2+3=<<2+3=5>>5\n#### 5"}
CMATH = {"question": "小明有3个苹果，吃了1个，还剩几个？", "golden": "2", "grade": 1, "reasoning_step": 1}
MINERVA = {"question": "What wavelength in $\\AA$ is it?", "answer": "4.5e33"}
CNMO = {"question": "设 $x=2$，求 $x^3$。", "answer": "$8$"}
OLYMPIAD = {"id": 1606, "question": "What is $a+b$ for $a=b=1$?", "solution": ["It is $2$."], "final_answer": ["2"],
            "context": None, "image_1": None, "modality": "Text-only", "difficulty": "Competition",
            "is_multiple_answer": False, "unit": None, "answer_type": "Numerical", "error": None,
            "question_type": "Open-ended", "subfield": "Algebra", "subject": "Math", "language": "English"}  # fmt: skip

# --- options ---------------------------------------------------------------------------------------------------

GPQA = {"Question": "Which is a noble gas?", "Correct Answer": "neon\n", "Incorrect Answer 1": "iron",
        "Incorrect Answer 2": "zinc", "Incorrect Answer 3": "lead", "Explanation": "It is neon.",
        "High-level domain": "Chemistry", "Subdomain": "Inorganic Chemistry", "Record ID": "rec1",
        "Extra Revised Correct Answer": None, "Extra Revised Question": None}  # fmt: skip
MMLU = {
    "question": "Which is even?",
    "subject": "elementary_mathematics",
    "choices": ["1", "2", "3", "5"],
    "answer": 1,
}
REDUX = {"question": "Which is odd?", "choices": ["2", "4", "7", "8"], "answer": 2, "error_type": "ok",
         "source": None, "correct_answer": None, "potential_reason": None}  # fmt: skip
MMLU_PRO = {"question_id": 70, "question": "Which one is the tenth?", "options": list("abcdefghij"), "answer": "J",
            "answer_index": 9, "cot_content": "", "category": "other", "src": "theoremQA"}  # fmt: skip
CEVAL = {
    "id": 0,
    "question": "下列是偶数的是____",
    "A": "1",
    "B": "3",
    "C": "4",
    "D": "5",
    "answer": "C",
    "explanation": "",
}
CLUEWSC = {"idx": 0, "text": "小明对小红说他累了。", "target": {"span1_text": "小明", "span2_text": "他",
           "span1_index": 0, "span2_index": 6}, "label": 0}  # fmt: skip
CLUEWSC_FILE = {"target": {"span2_index": 6, "span1_index": 3, "span1_text": "小红", "span2_text": "他"}, "idx": 1,
                "label": "false", "text": "小明对小红说他饿了。"}  # fmt: skip
ARC = {"id": "Mercury_1", "question": "What orbits the sun?", "choices": {"text": ["a moon", "a planet", "a cloud",
       "a wave"], "label": ["1", "2", "3", "4"]}, "answerKey": "2"}  # fmt: skip

# --- reading and instructions ----------------------------------------------------------------------------------

DROP = {"section_id": "nfl_1", "query_id": "q1", "passage": "The Bears scored 21 points, the Lions 14.",
        "question": "How many points did the Bears score?", "answers_spans": {"spans": ["21", "21"],
        "types": ["number", "number"]}}  # fmt: skip
DROP_ANNOTATED = {"section_id": "h1", "query_id": "q2", "passage": "Anna and Bob met in May 1920.",
                  "question": "Who met?", "answer": {"number": "", "date": {"day": "", "month": "", "year": ""},
                  "spans": ["Anna", "Bob"], "worker_id": "", "hit_id": ""}, "validated_answers": {"number": [],
                  "date": [], "spans": [], "worker_id": [], "hit_id": []}}  # fmt: skip
DROP_SIMPLE = {
    "context": "Passage: Carl sold 7 pears.\nQuestion: How many pears did Carl sell?\nAnswer:",
    "completion": "7",
    "ref_text": "7|seven",
}
IFEVAL = {"key": 1000, "prompt": "Name a colour in small letters and without commas.",
          "instruction_id_list": ["change_case:english_lowercase", "punctuation:no_comma"],
          "kwargs": [{}, {"num_words": None}]}  # fmt: skip
IFEVAL_ZH = {"key": "0_1", "prompt": "写一句关于春天的话，不要用逗号，并用“春”字。",
             "instruction_id_list": ["zh:punctuation:no_comma", "zh:keywords:existence"],
             "kwargs": [{}, {"keywords": ["春"]}]}  # fmt: skip


def multi_if(*turns: tuple[str, str, Mapping[str, Any]], language: str = "English") -> Row:
    """A row of Multi-IF: (question, instruction, what it is told) of each turn, instructions add up, cells are JSON."""
    row: dict[str, Any] = {
        "turns": None,
        "responses": None,
        "key": "1000:1:en",
        "turn_index": 0,
        "language": language,
    }
    for number in (1, 2, 3):
        cells = [""] * 3
        if number <= len(turns):
            asked = {"role": "user", "content": turns[number - 1][0]}
            told = [json.dumps(kwargs) for _, _, kwargs in turns[:number]]
            cells = [json.dumps(asked), json.dumps([kind for _, kind, _ in turns[:number]]), json.dumps(told)]
        names = ("prompt", "instruction_id_list", "kwargs")
        row |= {f"turn_{number}_{name}": cell for name, cell in zip(names, cells, strict=True)}
    return row


MULTI_IF = multi_if(
    ("Describe the sea in small letters.", "change_case:english_lowercase", {}),
    ("Now without any comma.", "punctuation:no_comma", {}),
    ("It must hold the word salt.", "keywords:existence", {"keywords": ["salt"]}),
)
MULTI_IF_SHORT = multi_if(
    ("Nenne eine Farbe, klein geschrieben.", "change_case:english_lowercase", {}),
    ("Nun ohne Komma.", "punctuation:no_comma", {}),
    language="German",
)

# --- programs --------------------------------------------------------------------------------------------------

HUMANEVAL = {"task_id": "HumanEval/900", "prompt": 'def plus(a: int, b: int) -> int:\n    """ The sum. """\n',
             "canonical_solution": "    return a + b\n", "entry_point": "plus",
             "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n"}  # fmt: skip
EVALPLUS = {
    "task_id": "HumanEval/901", "prompt": 'def halved(x: float) -> float:\n    """ Half of x. """\n', "entry_point": "halved",
    "canonical_solution": "    return x / 2\n", "base_input": [[1.0], [3.0]], "plus_input": [[-1.5], [0.1]], "atol": 0,
    "contract": '\n    assert type(x) == float, "invalid inputs" # $_CONTRACT_$\n',
}  # fmt: skip
"""As EvalPlus' own HumanEvalPlus.jsonl: inputs and a solution, no tests."""
HUMANEVAL_PLUS = {
    **HUMANEVAL,
    "test": (
        "import numpy as np\n\ndef is_floats(x) -> bool:\n    return isinstance(x, float)\n\n\ndef assertion(out, exp, atol):\n"
        "    if atol == 0 and is_floats(exp):\n        atol = 1e-6\n    if out != exp and atol != 0:\n"
        "        assert np.allclose(out, exp, rtol=1e-07, atol=atol)\n    else:\n        assert out == exp\n\n\n"
        "def check(candidate):\n    inputs = [[2, 3], [0, 0]]\n    results = [5, 0]\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n"
    ),
}
MBPP = {"task_id": 901, "text": "Write a function to double a number.", "code": "def double(x):\n    return 2 * x",
        "test_list": ["assert double(2) == 4", "assert double(0) == 0", "assert double(-1) == -2"],
        "test_setup_code": "", "challenge_test_list": []}  # fmt: skip
MBPP_PLUS = {"task_id": 902, "code": "def triple(x):\n    return 3 * x", "prompt": "Write a function to triple a number.",
             "source_file": "Benchmark Questions.ipynb", "test_imports": [], "test_list": ["assert triple(2) == 6",
             "assert triple(0) == 0", "assert triple(-1) == -3"], "test": HUMANEVAL_PLUS["test"].split("def check")[0]
             + "inputs = [[2], [0]]\nresults = [6, 0]\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n"
             "    assertion(triple(*inp), exp, 0)\n"}  # fmt: skip
_STDIO = {"input": "2 3\n", "output": "5\n", "testtype": "stdin"}
LIVE = {"question_title": "A. Sum", "question_content": "You are given a and b. Print a + b.", "platform": "atcoder",
        "question_id": "abc370_a", "contest_id": "abc370", "contest_date": "2024-09-07T00:00:00", "starter_code": "",
        "difficulty": "easy", "public_test_cases": json.dumps([_STDIO]),
        "private_test_cases": packed([{**_STDIO, "input": "10 -4\n", "output": "6\n"}]), "metadata": "{}"}  # fmt: skip
_CALL = {"input": "[1, 2, 3]\n2", "output": "8", "testtype": "functional"}
LIVE_CALL = {**LIVE, "question_content": "Return the sum of nums plus k.", "platform": "leetcode",
             "question_id": "3500", "contest_id": "weekly-contest-410", "contest_date": "2024-08-11T00:00:00",
             "starter_code": "class Solution:\n    def total(self, nums: List[int], k: int) -> int:\n        ",
             "public_test_cases": json.dumps([_CALL]), "private_test_cases": packed([{**_CALL, "input": "[]\n1",
             "output": "1"}]), "metadata": json.dumps({"func_name": "total"})}  # fmt: skip
CODEFORCES = {"id": "1/A", "aliases": None, "contest_id": "1", "contest_name": "Round 1", "contest_type": "CF",
              "index": "A", "time_limit": 2.0, "memory_limit": 256.0, "title": "Sum", "description": "Find the sum.",
              "input_format": "Two whole numbers.", "output_format": "Their sum.", "interaction_format": None,
              "note": None, "examples": [{"input": "2 3", "output": "5"}], "rating": 800, "tags": ["math"],
              "official_tests": [{"input": "2 3\n", "output": "5\n"}, {"input": "9 1\n", "output": "10\n"}],
              "official_tests_complete": True, "input_mode": "stdio", "generated_checker": None,
              "executable": True}  # fmt: skip

# --- judged ----------------------------------------------------------------------------------------------------

SIMPLEQA = {"metadata": "{'topic': 'Geography', 'answer_type': 'Place', 'urls': ['https://example.org']}",
            "problem": "What is the capital of France?", "answer": "Paris"}  # fmt: skip
CSIMPLEQA = {"id": "a1", "primary_category": "自然与自然科学", "secondary_category": "化学", "question": "水的化学式是什么？",
             "answer": "H2O", "urls": ["https://example.org"]}  # fmt: skip
FRAMES = {"Unnamed: 0": 0, "Prompt": "How old was Ann when Bob was born?", "Answer": "12", "wikipedia_link_1": "x",
          "reasoning_types": "Numerical reasoning", "wiki_links": "['x']"}  # fmt: skip
ALPACA = {"dataset": "helpful_base", "instruction": "Name three colours.", "output": "Red, green and blue.",
          "generator": "gpt4_1106_preview"}  # fmt: skip
MTBENCH = {"question_id": 111, "category": "math", "turns": ["What is the half of 48?", "And twice that?"],
           "reference": ["24", "48"]}  # fmt: skip
ARENA = {"question_id": "q1", "category": "arena-hard-v0.1", "cluster": "Sums", "turns": [{"content": "Say hello."}],
         "answer": "Hello!"}  # fmt: skip

# --- form ------------------------------------------------------------------------------------------------------

BFCL = {"id": "simple_0", "question": [[{"role": "user", "content": "The area of a triangle, base 10, height 5?"}]],
        "function": [{"name": "triangle_area", "description": "An area.", "parameters": {"type": "dict",
        "properties": {"base": {"type": "integer"}, "height": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["base", "height"]}}],
        "ground_truth": [{"triangle_area": {"base": [10], "height": [5], "unit": ["units", ""]}}]}  # fmt: skip
SCHEMA = {"json_schema": json.dumps({"type": "object", "properties": {"age": {"type": "integer"}},
          "required": ["age"], "additionalProperties": False}), "unique_id": "Github_easy---o1"}  # fmt: skip

SUM = python("a, b = map(int, input().split())\nprint(a + b)")
LAYOUTS = (
    Layout("aime24", AIME24, boxed("23"), boxed("24"), ((without(AIME24, "answer", "solution"), "no answer"),)),
    Layout("aime24", AIME24_MAXWELL, boxed("24"), boxed("23")),
    Layout("aime25", AIME25, boxed("70"), boxed("71")),
    Layout("amc23", AMC23, boxed("27"), boxed("2.7")),
    Layout("math500", MATH500, boxed("(3, \\pi/2)"), boxed("(3, \\pi)")),
    Layout("gsm8k", GSM8K, boxed("5"), boxed("6"), (({"question": "What?", "answer": ""}, "no answer"),)),
    Layout("cmath", CMATH, boxed("2"), boxed("4")),
    Layout("minerva", MINERVA, boxed("4.5 \\times 10^{33}"), boxed("4.5 \\times 10^{32}")),
    Layout("cnmo24", CNMO, boxed("8"), boxed("6")),
    Layout("olympiadbench", OLYMPIAD, boxed("2"), boxed("3")),
    Layout("gpqa", GPQA, "neon", "iron", ((without(GPQA, "Correct Answer"), "no options"),)),
    Layout("mmlu", MMLU, letter("B"), letter("C"), (({**MMLU, "answer": 4}, "no options with a right one"),)),
    Layout("mmlu_redux", REDUX, letter("C"), letter("A"), (
        ({**REDUX, "error_type": "no_correct_answer"}, "no_correct_answer"),
        ({**REDUX, "error_type": "wrong_groundtruth", "correct_answer": "1"}, "wrong_groundtruth"))),
    Layout("mmlu_pro", MMLU_PRO, letter("J"), letter("I"), (({**MMLU_PRO, "answer": "A"}, "different options"),)),
    Layout("ceval", CEVAL, "想一想。\n答案：C", "想一想。\n答案：A", (({**CEVAL, "answer": ""}, "no options with a right one"),)),
    Layout("cluewsc", CLUEWSC, "想一想。\n答案：A", "想一想。\n答案：B", (({**CLUEWSC, "label": -1}, "neither true nor false"),)),
    Layout("cluewsc", CLUEWSC_FILE, "想一想。\n答案：B", "想一想。\n答案：A"),
    Layout("arc", ARC, letter("B"), letter("D")),
    Layout("drop", DROP, boxed("21"), boxed("14"), (({**DROP, "answers_spans": {"spans": [], "types": []}}, "answer"),)),
    Layout("drop", DROP_ANNOTATED, boxed("Bob and Anna"), boxed("May 1920")),
    Layout("drop", DROP_SIMPLE, boxed("seven"), boxed("8")),
    Layout("ifeval", IFEVAL, "a deep blue", "a deep, Blue", (
        ({**IFEVAL, "instruction_id_list": ["new:kind", "punctuation:no_comma"]}, "new:kind"),)),
    Layout("ifeval", IFEVAL_ZH, "春天来了。", "夏天，来了。"),
    Layout("multiif", MULTI_IF, "water and salt", "Water, wind", (
        ({**MULTI_IF, "turn_2_prompt": "{"}, "is no JSON"),
        ({**MULTI_IF, "turn_3_kwargs": "[]"}, "3 instructions, but 0 kwargs"))),
    Layout("multiif", MULTI_IF_SHORT, "dunkles blau", "Dunkles, blau"),
    Layout("livecodebench", LIVE, SUM, SUM.replace("+", "*"), (
        ({**LIVE, "private_test_cases": "!!!"}, "tests cannot be read"),)),
    Layout("livecodebench", LIVE_CALL, python("class Solution:\n    def total(self, nums, k):\n        return sum(nums) + k"),
           python("class Solution:\n    def total(self, nums, k):\n        return sum(nums)")),
    Layout("codeforces", CODEFORCES, SUM, SUM.replace("+", "-"), (
        ({**CODEFORCES, "generated_checker": "import sys"}, "generated_checker"),)),
    Layout("humaneval", HUMANEVAL, python("def plus(a, b):\n    return a + b"), python("def plus(a, b):\n    return a"),
           ((without(HUMANEVAL, "test", "entry_point"), "tests cannot be read"),)),
    Layout("humaneval_plus", HUMANEVAL_PLUS, python("def plus(a, b):\n    return a + b"),
           python("def plus(a, b):\n    return 5")),
    Layout("humaneval_plus", EVALPLUS, python("def halved(x):\n    return x * 0.5"), python("def halved(x):\n    return x // 2"), (
        ({**EVALPLUS, "canonical_solution": "    return x / 0\n"}, "its own solution gives no results for them"),)),
    Layout("mbpp", MBPP, python("def double(x):\n    return x + x"), python("def double(x):\n    return x")),
    Layout("mbpp_plus", MBPP_PLUS, python("def triple(x):\n    return x * 3"), python("def triple(x):\n    return x")),
    Layout("simpleqa", SIMPLEQA, "It is Paris.", "It is Rome.", (({**SIMPLEQA, "answer": None}, "no answer"),),
           judge={"It is Paris.": "correct", "It is Rome.": "incorrect"}),
    Layout("csimpleqa", CSIMPLEQA, "H2O。", "CO2。", judge={"H2O。": "correct", "CO2。": "incorrect"}),
    Layout("frames", FRAMES, "She was 12.", "She was 13.", judge={"She was 12.": "right", "She was 13.": "wrong"}),
    Layout("alpaca_eval", ALPACA, "Red, green, blue, of course.", "No.", (({**ALPACA, "output": ""}, "no answer"),),
           judge={"Red, green, blue, of course.": "better", "No.": "worse"}),
    Layout("arena_hard", ARENA, "Hello there!", "No!", ((without(ARENA, "answer"), "no answer"),),
           judge={"Hello there!": "better", "No!": "worse"}),
    Layout("mtbench", MTBENCH, "It is as you say.", "Nothing.", ((without(MTBENCH, "turns"), "no questions"),),
           judge={"It is as you say.": "good", "Nothing.": "bad"}),
    Layout("bfcl", BFCL, "[triangle_area(base=10, height=5)]", "[triangle_area(base=10, height=6)]",
           ((without(BFCL, "ground_truth"), "no question, function and ground_truth"),)),
    Layout("jsonschema", SCHEMA, '{"age": 3}', '{"age": "3"}', ((without(SCHEMA, "json_schema"), "schema"),)),
)  # fmt: skip
