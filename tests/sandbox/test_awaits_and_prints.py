"""Tests that await the program's coroutines, or read what it printed."""

from __future__ import annotations

import pytest

from aha.sandbox import Sandbox, judge_asserts

PROGRAM = """
import asyncio, sys
print("loaded")
write = sys.stdout.write

async def double(x):
    await asyncio.sleep(0)
    if x < 0:
        raise ValueError("below zero")
    return WRONG or 2 * x

async def count(n):
    for i in range(n):
        yield WRONG or i

def ask():
    return WRONG or int(input("a? ")) + int(input())

def lines():
    return WRONG or [int(line) for line in sys.stdin]

def ask_twice(i):
    return WRONG or 2 * i

class Box:
    "A box."
    def __format__(self, form):
        return str(WRONG or "box" + form)
    def __init__(self):
        self.lock = asyncio.Lock()
        self.open = False
    async def __aenter__(self):
        self.open = not WRONG
        return self
    async def __aexit__(self, *error):
        self.open = False
    async def get(self):
        async with self.lock:
            return WRONG or 7

def greet(name):
    print("hello", WRONG or name)
    return None

def raw(name):
    write(f"{WRONG or name}\\n")

def warn(text):
    print(WRONG or text, file=sys.stderr)
"""
TESTS = {
    "run": "import asyncio\nassert asyncio.run(double(2)) == 4",
    "await": "import asyncio\nasync def main():\n    assert await double(2) == 4\nasyncio.run(main())",
    "test": "import pytest\n@pytest.mark.asyncio\nasync def test_it():\n    assert await double(2) == 4",
    "fixture": "import pytest\n@pytest.fixture\nasync def four():\n    return await double(2)\n"
    "async def test_it(four):\n    assert four == 4",
    "gather": "import asyncio\nasync def main():\n    return await asyncio.gather(double(1), double(2))\n"
    "assert asyncio.run(main()) == [2, 4]",
    "task": "import asyncio\nasync def main():\n    t = asyncio.create_task(double(3))\n    return await t\n"
    "assert asyncio.run(main()) == 6",
    "wait": "import asyncio\nasync def main():\n    return await asyncio.wait_for(double(3), 1)\n"
    "assert asyncio.run(main()) == 6",
    "loop": "import asyncio\nloop = asyncio.new_event_loop()\nassert loop.run_until_complete(double(5)) == 10",
    "for": "import asyncio\nasync def main():\n    return [x async for x in count(3)]\n"
    "assert asyncio.run(main()) == [0, 1, 2]",
    "with": "import asyncio\nasync def main():\n    async with Box() as box:\n        assert box.open is True\n"
    "        assert await box.get() == 7\n    assert box.open is False\nasyncio.run(main())",
    "check": "async def check(candidate):\n    assert await candidate(2) == 4",
    "unittest": "import unittest\nclass TestIt(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n"
    "        self.assertEqual(await double(2), 4)",
    "redirected": "import io, contextlib\nbuffer = io.StringIO()\nwith contextlib.redirect_stdout(buffer):\n"
    "    greet('Ann')\nassert buffer.getvalue() == 'hello Ann\\n'",
    "replaced": "import io, sys\nsys.stdout = io.StringIO()\ngreet('Ann')\n"
    "assert sys.stdout.getvalue() == 'hello Ann\\n'",
    "patched": "import io\nfrom unittest.mock import patch\n"
    "with patch('sys.stdout', new_callable=io.StringIO) as out:\n"
    "    greet('Ann')\n    greet('Bo')\nassert out.getvalue().split() == ['hello', 'Ann', 'hello', 'Bo']",
    "capsys": "def test_it(capsys):\n    greet('Ann')\n    assert capsys.readouterr().out == 'hello Ann\\n'\n"
    "    raw('x')\n    assert capsys.readouterr().out == 'x\\n'",
    "input": "from unittest.mock import patch\nwith patch('builtins.input', side_effect=['4', '5']):\n"
    "    assert ask() == 9",
    "stdin": "import io, sys\nsys.stdin = io.StringIO('4\\n5\\n7\\n8\\n')\nassert ask() == 9\nassert lines() == [7, 8]",
    "threads": "import threading\nresults = []\ndef work(i):\n    results.append(ask_twice(i))\n"
    "threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]\n"
    "for t in threads:\n    t.start()\nfor t in threads:\n    t.join()\nassert sorted(results) == [0, 2, 4]",
    "format": "assert f'{Box():>5}' == 'box>5'\nassert Box.__doc__ == 'A box.'",
    "stderr": "def test_it(capsys):\n    warn('oh')\n"
    "    out, err = capsys.readouterr()\n    assert (out, err) == ('', 'oh\\n')",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as one:
        yield one


@pytest.mark.parametrize("kind", TESTS)
def test_the_right_program_passes_and_a_wrong_one_fails(sandbox, kind):
    entry_point = "double" if kind == "check" else ""
    for wrong, verdict in ((None, True), (99, False)):
        program = f"WRONG = {wrong}\n{PROGRAM}"
        judgement = judge_asserts(program, TESTS[kind], entry_point, sandbox=sandbox, wall=20)
        assert judgement.passed is verdict, judgement


@pytest.mark.parametrize(
    "program",
    [
        "async def double(x):\n    raise StopAsyncIteration",
        "def double(x):\n    class A:\n        def __await__(self):\n            raise SystemExit\n    return A()",
        "import asyncio\nasync def double(x):\n    await asyncio.sleep(99)",
        "import asyncio\nasync def double(x):\n    asyncio.get_running_loop().stop()",
        "def double(x):\n    return 4",
        "async def double(x):\n    return double",
    ],
)
def test_no_coroutine_passes_without_the_value(sandbox, program):
    assert judge_asserts(program, TESTS["await"], sandbox=sandbox, wall=2).passed is False


def test_what_is_printed_is_no_value(sandbox):
    test = (
        "import sys\ndef test_it(capsys):\n    greet('x')\n    assert capsys.readouterr().out.count('y') == 0"
    )
    assert (
        judge_asserts("def greet(x):\n    print('z' * 10**6)", test, sandbox=sandbox, wall=20).passed is True
    )
    flood = "import sys\ndef greet(x):\n    while True:\n        print('y' * 10**6)"
    assert judge_asserts(flood, test, sandbox=sandbox, wall=3).passed is False
