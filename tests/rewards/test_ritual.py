"""Chains that think nothing are not paid for, and are counted; short chains that do work are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from aha.rewards.format import strict_format, tag_count
from aha.rewards.ritual import chain_figures, empty_chain
from aha.types import Finish, Problem, Rollout

QUESTION = "A baker makes 12 rolls an hour and works for 3 hours. How many rolls are there in the end?"
PROBLEM = Problem("p", "gsm8k", ({"role": "user", "content": QUESTION},), "36")


def rollout(text: str, opened: bool = False) -> Rollout:
    none = np.zeros(0, np.int64)
    return Rollout(none, none, np.zeros(0), text, Finish.STOP, opened_think=opened)


@pytest.mark.parametrize(
    "chain",
    [
        "reasoning process here",
        " reasoning process here ",
        "Reasoning process here.",
        "...",
        "…",
        "---",
        "[reasoning process]",
        "The reasoning process goes here.",
        "Let me think step by step.",
        "I will solve this problem carefully.",
        "ok",
        "thinking",
        "your reasoning here",
        "思考过程",
        "在这里写推理过程。",
        "让我们一步一步地思考",
        "18",
        "The answer is 18.",
        "reasoning process here 18",
        QUESTION,
        QUESTION.upper(),
        "works for 3 hours. How many rolls are there in the end?",
        "Step 1: Step 2: Step 3:",
        "1. Think. 2. Answer.",
        "第一步，第二步，第三步。",
        "First, I need to understand the problem. Then, I will solve it. Finally, I will give the answer.",
        "Sure! Let me help you with that.",
        "As an AI language model, I will answer the question.",
        "So, the final answer is 18.",
        "所以答案是18",
        "好的，我来解答您的问题。",
        "TODO",
        "n/a",
        "lorem ipsum",
        "Denkprozess hier",
        "razonamiento aquí",
        "raisonnement ici",
        "ここに推論の過程",
        "здесь рассуждение",
        "I need to analyze the problem carefully.",
        "We are given a problem and must find the solution.",
        "Calculating...",
        "No reasoning needed.",
        "1. 2. 3.",
        "asdf",
        "首先，我需要理解问题，然后解决它。",
        "まず問題を理解します。",
        "단계별로 생각해 봅시다",
        "Vamos a pensar paso a paso.",
        "Réfléchissons étape par étape.",
        "Lass uns Schritt für Schritt denken.",
        "Pensiamo passo dopo passo.",
        "Vamos pensar passo a passo.",
        "Давайте подумаем шаг за шагом.",
        "Laten we stap voor stap denken.",
        "دعنا نفكر خطوة بخطوة",
        "तर्क प्रक्रिया यहाँ",
        "Hãy suy nghĩ từng bước.",
        "Mari kita berpikir langkah demi langkah.",
        "Adım adım düşünelim.",
        "กระบวนการคิด",
        "tutaj proces rozumowania",
    ],
)
def test_a_ritual_is_not_paid_for(chain: str):
    text = f"<think>{chain}</think> <answer> 18 </answer>"
    for reward in (strict_format(), tag_count()):
        score = reward(PROBLEM, [rollout(text)])[0]
        assert score.value == 0.0
        assert "the thinking" in score.note
    opened = strict_format()(PROBLEM, [rollout(text.removeprefix("<think>"), opened=True)])[0]
    assert opened.value == 0.0


@pytest.mark.parametrize(
    "answer", [" answer here ", "[your answer]", "respuesta aquí", "答案", "ответ здесь"]
)
def test_the_answers_placeholder_is_not_paid_for(answer: str):
    score = strict_format()(PROBLEM, [rollout(f"<think>12*3=36</think><answer>{answer}</answer>")])[0]
    assert (score.value, score.note) == (0.0, "the answer is the placeholder of the prompt")


@pytest.mark.parametrize(
    "chain",
    [
        "12*3=36",
        "12 x 3 hours is 36",
        "4*14+4。",
        "(11-2)*19.",
        "就是8+23+8。",
        "He makes 36 in 3 hours.",
        "12 rolls, thrice: 36",
        "Let me think: 12 * 3 = 36",
        "Alice is a knave, so Bob is a knight.",
        "a",
        "x",
        "B",
        "Paris is the capital of France.",
        "每小时做十二个，三小时就是三十六个。",
        "Add the 2 numbers 12 and 24 to get 36.",
        "Step 1: 12 * 3 = 36",
        "Step 1: triple the dozen",
        "twelve times three is thirty-six",
        "rate times time",
        "Multiply hourly production by hours worked.",
        "把12加三次",
        "Doce por tres son treinta y seis.",
        "36 ist zwölf mal drei",
        "Dozen each hour, triple it",
        "La moitié de 48 est 24.",
        "Die Hälfte von 48 ist 24.",
        "Половина от 48 это 24.",
        "48の半分は24です",
        "48의 절반은 24입니다",
        "Primero sumamos 3 y 4.",
    ],
)
def test_a_short_thought_is_one(chain: str):
    assert empty_chain(chain, "36", QUESTION) == ""
    assert strict_format()(PROBLEM, [rollout(f"<think>{chain}</think><answer>36</answer>")])[0].value == 1.0


def test_one_chain_for_all_questions_is_counted():
    problems = [Problem(str(i), "t", ({"role": "user", "content": f"{i} + {i}?"},)) for i in range(10)]
    same = [rollout("<think>We add both of them up</think><answer>4</answer>")] * 6
    own = [rollout(f"<think>{i}+{i}={2 * i}</think><answer>{2 * i}</answer>") for i in range(3)]
    hollow = [rollout("<think> reasoning process here </think><answer>4</answer>")]
    figures = chain_figures(problems, [*same, *own, *hollow])
    assert figures == {"chains/empty": 0.1, "chains/repeated": 0.6}
    alone = chain_figures(
        problems[:1] * 4, same[:4]
    )  # one question asked several times may be answered alike
    assert alone == {"chains/empty": 0.0, "chains/repeated": 0.0}
