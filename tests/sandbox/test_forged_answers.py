"""Programs that forge what they answer to tests, in every form that a conversation has: none is right by it, none
cannot be judged, and none keeps the caller waiting."""

# ruff: noqa: E501

from __future__ import annotations

import time

import pytest

from aha.sandbox import Isolation, Sandbox, judge_asserts

pytestmark = pytest.mark.slow

_FIND = """import gc
def A():
    return [o for o in gc.get_objects() if type(o).__name__ == 'Answering'][0]
"""
PROGRAMS = {
    "garbage": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "deep": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '['*10**6\n    return 1\nasync def g(*a):\n    return f()\n",
    "kept -1": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"kept\":-1}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "kept -5": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"kept\":-5}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "kept huge": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"kept\":999999999}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "same 9": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"same\":9}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "same -1": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"same\":-1}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "changed": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"changed\":[1,[42,42]]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "alias": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"alias\":[[42],-3]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "held": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"held\":[41,-2]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "graph": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"graph\":[{\"node\":0},[[\"object\",[]]]]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "class": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"class\":\"object\"}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "standard": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"standard\":[\"Pattern\",\"(\",0]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "collide": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"set\":[' + ','.join(str(i*(2**61-1)) for i in range(60000)) + ']}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "huge": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '9'*10**8\n    return 1\nasync def g(*a):\n    return f()\n",
    "pending": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"tuple\":[\"a task of the program\",7]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "pending neg": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"tuple\":[\"a task of the program\",-7]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "array": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"array\":[\"O\",[1]]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "array big": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"array\":[\"S999999999\",[\"a\"]]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "lazy": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"range\":[0,999999999999,1]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "counter": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"standard\":[\"Counter\",{\"dict\":[[\"a\",1]]}]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "defaultdict": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"standard\":[\"defaultdict\",{\"class\":\"int\"},{\"dict\":[]}]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "deque bomb": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"standard\":[\"deque\",[1],99999999999999]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "decimal": _FIND + "def f(*a):\n    o = A()\n    o._encode = lambda *x: '{\"standard\":[\"Decimal\",\"1e99999999\"]}'\n    return 1\nasync def g(*a):\n    return f()\n",
    "send back -1": _FIND + "def f(*a):\n    o=A()\n    for n in range(-12,0):\n        try: o.ask_back(n,(1,2),{})\n        except BaseException: pass\n    return 41\nasync def g(*a): return f()\n",
    "error skip": _FIND + "def f(*a):\n    o=A()\n    o._send('error\\n[[\"unittest.case.SkipTest\"],\"x\",0,[]]')\n    return 41\nasync def g(*a): return f()\n",
    "error own -1": _FIND + "def f(*a):\n    o=A()\n    o._send('error\\n[[\"ValueError\"],\"x\",-5,[]]')\n    return 41\nasync def g(*a): return f()\n",
    "error stop": _FIND + "def f(*a):\n    o=A()\n    o._send('error\\n[[\"StopIteration\"],\"x\",0,[]]')\n    return 41\nasync def g(*a): return f()\n",
    "error sysexit": _FIND + "def f(*a):\n    o=A()\n    o._send('error\\n[[\"SystemExit\"],\"x\",0,[]]')\n    return 41\nasync def g(*a): return f()\n",
    "no nonce": "import os,struct\ndef f(*a):\n    b=b'value\\n42'\n    for fd in range(3,40):\n        try: os.write(fd,struct.pack('>I',len(b))+b)\n        except OSError: pass\n    return 41\nasync def g(*a): return f()\n",
    "passed kind": _FIND + "def f(*a):\n    o=A()\n    o._write(o._reply, o._nonce.encode()+b'\\npassed\\n')\n    return 41\nasync def g(*a): return f()\n",
    "turn forged": _FIND + "def f(*a): return 41\nasync def g(*a):\n    import asyncio\n    o=A()\n    o._loop.turn=lambda *x: ([(1,True),(2,False),('a','b')],[(1,None),(2,41)],True)\n    o._operations['@turn']=o._loop.turn\n    await asyncio.sleep(1)\n    return 41\n",
    "turn busy": _FIND + "def f(*a): return 41\nasync def g(*a):\n    import asyncio\n    o=A()\n    o._operations['@turn']=lambda *x: ([],[],True)\n    await asyncio.sleep(1)\n    return 41\n",
    "result 42.5": _FIND + "def f(*a): return 41\nasync def g(*a):\n    import asyncio\n    o=A()\n    o._operations['@result']=lambda *x: 42.5\n    await asyncio.sleep(0.01)\n    return 41\n",
    "pickle": "import pickle\nclass X:\n    def __reduce__(s): return (print,('ESCAPED',))\ndef f(*a): return X()\nasync def g(*a): return X()\n",
    "hang": "def f(*a):\n    while True: pass\nasync def g(*a):\n    while True: pass\n",
    "exit 0": "import os\ndef f(*a): os._exit(0)\nasync def g(*a): os._exit(0)\n",
    "eq object": "class E:\n    def __eq__(s,o): return True\n    def __hash__(s): return 42\n    def __bool__(s): return True\ndef f(*a): return E()\nasync def g(*a): return E()\n",
    "int sub": "class E(int):\n    def __eq__(s,o): return True\n    def __hash__(s): return 42\ndef f(*a): return E(41)\nasync def g(*a): return E(41)\n",
    "gen": "def f(*a):\n    yield 41\nasync def g(*a):\n    yield 41\n",
    "cancel all": "import asyncio\ndef f(*a): raise asyncio.CancelledError\nasync def g(*a):\n    for t in asyncio.all_tasks(): t.cancel()\n    await asyncio.sleep(0)\n",
    "stop loop": "import asyncio\ndef f(*a):\n    asyncio.get_running_loop().stop()\nasync def g(*a):\n    l=asyncio.get_running_loop(); l.stop(); l.close()\n",
    "patch library": "import asyncio, warnings, threading\nasyncio.Task=None\nasyncio.tasks.Task=None\nasyncio.new_event_loop=lambda: None\nthreading.Thread=None\ndef f(*a): return 41\nasync def g(*a): return 41\n",
}  # fmt: skip
TESTS = {
    "simple": "def h():\n    assert f(6,7) == 42\nh()",
    "rewritten": "assert f(6,7) == 42",
    "unittest": "import unittest\nclass X(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(6,7), 42)\n    def test_b(self): self.assertEqual(f(6,7), 42)",
    "pytest": "import pytest\n@pytest.mark.parametrize('x',[1,2])\ndef test_a(x): assert f(6,7) == 42",
    "async": "import asyncio\nasync def main():\n    assert await g(6,7) == 42\nasyncio.run(main())",
    "group": "import asyncio\nasync def one():\n    assert await g(6,7) == 42\nasync def main():\n    async with asyncio.TaskGroup() as t: t.create_task(one())\nasyncio.run(main())",
    "threads": "import threading\nr=[]\nts=[threading.Thread(target=lambda: r.append(f(6,7))) for _ in range(2)]\nfor t in ts: t.start()\nfor t in ts: t.join()\nassert r == [42,42]",
    "lent": "def cb(x): return 42\nassert f(cb, [1], {'a':cb}) == 42",
    "raises": "import pytest\nwith pytest.raises(ValueError):\n    f(6,7)\nassert f(6,7) == 42",
}  # fmt: skip


@pytest.fixture(scope="module", params=[Isolation.NAMESPACES, Isolation.LANDLOCK])
def sandbox(request):
    with Sandbox(isolation=request.param) as one:
        yield one


@pytest.mark.parametrize("tests", TESTS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_forged_answer_decides(program, tests, sandbox):
    start = time.monotonic()
    judgement = judge_asserts(PROGRAMS[program], TESTS[tests], sandbox=sandbox, wall=2)
    assert judgement.passed is False, judgement
    assert time.monotonic() - start < 20  # of a busy machine
