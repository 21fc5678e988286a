"""Answers made to take long: none takes 2.5 s of processor time."""

# ruff: noqa: E501, UP031

from __future__ import annotations

import time

import pytest
from test_math_mutations import NoWorkers

from aha.rewards.math import Extraction, verify

LENIENT = Extraction(answer_tags=True, phrase=True, bare=True, last_formula=True, last_number=True)
MOST_SECONDS = 2.5


def boxed(text: str) -> str:
    return f"\\boxed{{{text}}}"


COSTLY = {
    'floors nested': (r'\lfloor x \rfloor', boxed(r'\lfloor '*30+'x'+r'\rfloor '*30)),
    'floors many': (r'\lfloor n/2 \rfloor', boxed('+'.join(r'\lfloor n/%d \rfloor'%i for i in range(1,300)))),
    'floor self big': ('+'.join(r'\lfloor n/%d \rfloor'%i for i in range(1,300)), boxed('+'.join(r'\lfloor n/%d \rfloor'%i for i in range(299,0,-1)))),
    'double factorials': ('5', boxed('+'.join('1999!!' for _ in range(400)))),
    'double fact var': ('(2n-1)!!', boxed('*'.join('(n+%d)!!'%i for i in range(300)))),
    'permutations': (r'(1,2,3,4,5) \text{ and permutations}', boxed(','.join('(%d,2,3,4,5)'%i for i in range(300))+r'\text{ and permutations}')),
    'permutations many': (r'(1,2,3)', boxed(','.join('(%d,%d,3,4,5)'%(i,i+1) for i in range(400))+r'\text{ and permutations}')),
    'cases many': (r'\begin{cases} 1 & x<1 \\ 2 & x\ge1 \end{cases}', boxed(r'\begin{cases}'+r'\\'.join('%d & %d\\le x<%d'%(i,i,i+1) for i in range(300))+r'\end{cases}')),
    'cases both': (r'\begin{cases}'+r'\\'.join('\\sin(x^{%d}) & %d\\le x<%d'%(i+1,i,i+1) for i in range(60))+r'\end{cases}', boxed(r'\begin{cases}'+r'\\'.join('\\sin(x\\cdot x^{%d}) & %d\\le x<%d'%(i,i,i+1) for i in range(60))+r'\end{cases}')),
    'constants': ('y=C_1e^x+C_2e^{2x}+C_3e^{3x}', boxed('y='+'+'.join('c_%d e^{%dx}'%(i%9,i) for i in range(300)))),
    'constants 3': ('y='+'+'.join('C_%d \\sin(%d x)'%(1+i%3,i) for i in range(100)), boxed('y='+'+'.join('c_%d \\sin(%d x)'%(1+i%3,i+1) for i in range(100)))),
    'vectors': ('(1,2,3)', boxed('+'.join('%d\\mathbf{i}+%d\\mathbf{j}'%(i,i) for i in range(400)))),
    'named list': (','.join('x_%d=%d'%(i,i) for i in range(200)), boxed(','.join('x_%d=%d'%(i,i+1) for i in range(200)))),
    'tuples renamed': (','.join('(a,b+%d)'%i for i in range(60)), boxed(','.join('(c,d+%d)'%(i+1) for i in range(60)))),
    'domains': ('n', boxed('n'+', n\\in\\mathbb{N}'*800)),
    'where words': ('n', boxed('n'+r'\text{ where }'*900+'n>1')),
    'brackets conditions': ('n', boxed('('*35+'n'+r'(n\in\mathbb{N})'*500)),
    'circled': ('①②', boxed('①②③④⑤'*1500)),
    'Z groups': ('5', boxed(r'\mathbb{Z}/2\mathbb{Z}\times'*400+'1')),
    'residues': (r'n\equiv 1\pmod 4', boxed('n='+'+'.join('%dk'%i for i in range(900)))),
    'no such': (r'\text{no such } n', boxed(r'\text{no '+'such real '*1500+'}')),
    'unit frac': ('5', boxed('5'+r'\frac{\text{m}}{\text{s}}'*300)),
    'union points': (r'x<0', boxed(' \\text{ or } '.join('x=%d'%i for i in range(400))+r' \text{ or } x<0')),
    'huge root tower': ('2', boxed(r'\sqrt{2+'*39+'2'+'}'*39)),
    'binom floor': ('n', boxed(r'\binom{\lfloor n^9 \rfloor}{\lfloor n^8 \rfloor}')),
    'pi k': (r'\frac{\pi}{4}+k\pi', boxed('+'.join(r'\frac{\pi}{%d}n'%i for i in range(1,400)))),
    'predicate words': (r'k \text{ even}', boxed(r'k \text{ is even}'*300)),
    'text long': (r'\text{Alice}', boxed(r'\text{'+'the first player wins '*400+'}')),
}  # fmt: skip


@pytest.mark.parametrize("kind", COSTLY)
def test_no_answer_takes_long(kind: str) -> None:
    gold, answer = COSTLY[kind]
    started = time.thread_time()
    verdict = verify(gold, answer, LENIENT, NoWorkers())  # type: ignore[arg-type]
    assert time.thread_time() - started < MOST_SECONDS
    assert "the verifier failed" not in verdict.note
