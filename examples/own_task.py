"""A task of your own: problems and a verifier. aha zero --task examples/own_task.py:Digits

Options stand behind another colon: examples/own_task.py:Digits:largest=999
"""

import random

from aha.chat import parse


class Digits:
    """What is the sum of the digits of a number?"""

    def __init__(self, largest=99):
        self.largest = largest

    def problems(self, seed):
        """Questions without end; 5% + 5% of them are held out for validation and test by their text."""
        rng = random.Random(seed)
        while True:
            number = rng.randint(10, self.largest)
            yield {
                "question": f"What is the sum of the digits of {number}?",
                "answer": sum(map(int, str(number))),
            }

    def verify(self, problem, text):
        """True, False, a number from 0 to 1, or None where it cannot be graded."""
        return (parse(text).answer or "").strip() == problem.answer
