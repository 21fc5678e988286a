"""Tests and programs whose tasks wait for each other: both event loops go on together, as one would.

(program, a wrong program, tests): the first passes, the second fails.
"""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from aha.sandbox import Sandbox, judge_asserts

TOGETHER = {
    "event between": (
        "import asyncio\nev = None\nasync def waiter(log):\n    global ev\n    ev = asyncio.Event()\n    await ev.wait()\n    return 'woken'\nasync def setter():\n    await asyncio.sleep(0.01)\n    ev.set()\n    return 'set'",
        "import asyncio\nev = None\nasync def waiter(log):\n    global ev\n    ev = asyncio.Event()\n    await ev.wait()\n    return 'wokem'\nasync def setter():\n    await asyncio.sleep(0.01)\n    ev.set()\n    return 'set'",
        "import asyncio\nasync def main():\n    return await asyncio.gather(waiter([]), setter())\nassert asyncio.run(main()) == ['woken','set']",
    ),
    "queue tasks": (
        "import asyncio\nq = asyncio.Queue(1)\nasync def producer(n):\n    for i in range(n):\n        await q.put(i)\n    await q.put(None)\nasync def consumer():\n    out = []\n    while (x := await q.get()) is not None:\n        out.append(x)\n    return out",
        "import asyncio\nq = asyncio.Queue(1)\nasync def producer(n):\n    for i in range(n):\n        await q.put(i)\n    await q.put(None)\nasync def consumer():\n    out = []\n    while (x := await q.get()) is not None:\n        out.append(x+1)\n    return out",
        "import asyncio\nasync def main():\n    async with asyncio.TaskGroup() as g:\n        a = g.create_task(producer(5)); b = g.create_task(consumer())\n    return b.result()\nassert asyncio.run(main()) == [0,1,2,3,4]",
    ),
    "tests' queue": (
        "import asyncio\nasync def producer(q, n):\n    for i in range(n):\n        await q.put(i)\nasync def consumer(q, n):\n    return [await q.get() for _ in range(n)]",
        "import asyncio\nasync def producer(q, n):\n    for i in range(n):\n        await q.put(-i)\nasync def consumer(q, n):\n    return [await q.get() for _ in range(n)]",
        "import asyncio\nasync def main():\n    q = asyncio.Queue(2)\n    _, out = await asyncio.gather(producer(q, 4), consumer(q, 4))\n    return out\nassert asyncio.run(main()) == [0,1,2,3]",
    ),
    "tests' event": (
        "import asyncio\nasync def work(ev):\n    await ev.wait()\n    return 5",
        "import asyncio\nasync def work(ev):\n    return 5",
        "import asyncio\nasync def main():\n    ev = asyncio.Event()\n    t = asyncio.create_task(work(ev))\n    await asyncio.sleep(0.02)\n    assert not t.done()\n    ev.set()\n    assert await t == 5\nasyncio.run(main())",
    ),
    "tests' lock": (
        "import asyncio\nlog = []\nasync def work(lock, i):\n    async with lock:\n        log.append(i); await asyncio.sleep(0.005); log.append(i)\n    return log",
        "import asyncio\nlog = []\nasync def work(lock, i):\n    log.append(i); await asyncio.sleep(0.005); log.append(i)\n    return log",
        "import asyncio\nasync def main():\n    lock = asyncio.Lock()\n    await asyncio.gather(*(work(lock, i) for i in range(3)))\nasyncio.run(main())\nassert log == [0,0,1,1,2,2]",
    ),
    "tests' semaphore": (
        "import asyncio\nnow = most = 0\nasync def work(sem):\n    global now, most\n    async with sem:\n        now += 1; most = max(most, now)\n        await asyncio.sleep(0.01)\n        now -= 1\ndef peak():\n    return most",
        "import asyncio\nnow = most = 0\nasync def work(sem):\n    global now, most\n    now += 1; most = max(most, now)\n    await asyncio.sleep(0.01)\n    now -= 1\ndef peak():\n    return most",
        "import asyncio\nasync def main():\n    sem = asyncio.Semaphore(2)\n    await asyncio.gather(*[work(sem) for _ in range(6)])\nasyncio.run(main())\nassert peak() == 2",
    ),
    "concurrent time": (
        "import asyncio\nasync def slow(x):\n    await asyncio.sleep(0.5)\n    return x",
        "import asyncio, time\nasync def slow(x):\n    time.sleep(0.5)\n    return x",
        "import asyncio, time\nasync def main():\n    t = time.perf_counter()\n    r = await asyncio.gather(*[slow(i) for i in range(5)])\n    assert time.perf_counter() - t < 2\n    return r\nassert asyncio.run(main()) == [0,1,2,3,4]",
    ),
    "as_completed": (
        "import asyncio\nasync def slow(d, x):\n    await asyncio.sleep(d)\n    return x",
        "import asyncio\nasync def slow(d, x):\n    return x",
        "import asyncio\nasync def main():\n    out = []\n    for f in asyncio.as_completed([slow(0.15, 'c'), slow(0.01, 'a'), slow(0.08, 'b')]):\n        out.append(await f)\n    return out\nassert asyncio.run(main()) == ['a','b','c']\nasync def two():\n    t=asyncio.create_task(slow(0.5,1))\n    await asyncio.sleep(0.02)\n    assert not t.done()\nasyncio.run(two())",
    ),
    "wait first": (
        "import asyncio\nasync def slow(d, x):\n    await asyncio.sleep(d)\n    return x",
        "import asyncio\nasync def slow(d, x):\n    return x",
        "import asyncio\nasync def main():\n    ts = {asyncio.create_task(slow(0.3, 'slow')), asyncio.create_task(slow(0.01, 'fast'))}\n    done, pending = await asyncio.wait(ts, return_when=asyncio.FIRST_COMPLETED)\n    assert len(pending) == 1\n    for p in pending: p.cancel()\n    return done.pop().result()\nassert asyncio.run(main()) == 'fast'",
    ),
    "timeout": (
        "import asyncio\nasync def forever():\n    await asyncio.Event().wait()",
        "import asyncio\nasync def forever():\n    return 1",
        "import asyncio, pytest\nasync def main():\n    with pytest.raises(asyncio.TimeoutError):\n        await asyncio.wait_for(forever(), 0.05)\nasyncio.run(main())",
    ),
    "program's timeout": (
        "import asyncio\nasync def limited():\n    await asyncio.wait_for(asyncio.sleep(9), 0.02)",
        "import asyncio\nasync def limited():\n    raise ValueError",
        "import asyncio, pytest\ndef test_a():\n    with pytest.raises(asyncio.TimeoutError):\n        asyncio.run(limited())",
    ),
    "cancel": (
        "import asyncio\nlog = []\nasync def job():\n    try:\n        await asyncio.sleep(10)\n    except asyncio.CancelledError:\n        log.append('cancelled')\n        raise",
        "import asyncio\nlog = []\nasync def job():\n    await asyncio.sleep(10)",
        "import asyncio\nasync def main():\n    t = asyncio.create_task(job())\n    await asyncio.sleep(0.01)\n    t.cancel()\n    try:\n        await t\n    except asyncio.CancelledError:\n        return 'ok'\nassert asyncio.run(main()) == 'ok'\nassert log == ['cancelled']",
    ),
    "cancel caught": (
        "import asyncio\nasync def job():\n    try:\n        await asyncio.sleep(10)\n    except asyncio.CancelledError:\n        await asyncio.sleep(0.01)\n        return 'cleaned'",
        "import asyncio\nasync def job():\n    await asyncio.sleep(10)",
        "import asyncio\nasync def main():\n    t = asyncio.create_task(job())\n    await asyncio.sleep(0.01)\n    t.cancel()\n    return await t\nassert asyncio.run(main()) == 'cleaned'",
    ),
    "background": (
        "import asyncio\nclass Bus:\n    def __init__(self):\n        self.got = []\n        self.q = asyncio.Queue()\n    def start(self):\n        self.task = asyncio.create_task(self.loop())\n    async def loop(self):\n        while True:\n            self.got.append(await self.q.get())\n    def send(self, x):\n        self.q.put_nowait(x)",
        "import asyncio\nclass Bus:\n    def __init__(self):\n        self.got = []\n    def start(self):\n        pass\n    def send(self, x):\n        pass",
        "import asyncio\nasync def main():\n    b = Bus()\n    b.start()\n    b.send(1); b.send(2)\n    await asyncio.sleep(0.02)\n    assert b.got == [1, 2]\nasyncio.run(main())",
    ),
    "tests' callback": (
        "import asyncio\nasync def retry(f, n):\n    for i in range(n):\n        try:\n            return await f()\n        except ValueError as e:\n            last = e\n    raise last",
        "import asyncio\nasync def retry(f, n):\n    return 3",
        "import asyncio, pytest\nn = 0\nasync def flaky():\n    global n\n    n += 1\n    await asyncio.sleep(0.001)\n    if n < 3: raise ValueError('boom')\n    return 'ok'\nassert asyncio.run(retry(flaky, 5)) == 'ok'\nassert n == 3\nn = -99\nwith pytest.raises(ValueError, match='boom'):\n    asyncio.run(retry(flaky, 2))",
    ),
    "async gen interleaved": (
        "import asyncio\nlog = []\nasync def ticks(name, n):\n    for i in range(n):\n        await asyncio.sleep(0)\n        log.append(name)\n        yield i",
        "import asyncio\nlog = []\nasync def ticks(name, n):\n    for i in range(n):\n        log.append(name)\n        yield i",
        "import asyncio\nasync def take(name, n):\n    return [x async for x in ticks(name, n)]\nasync def main():\n    return await asyncio.gather(take('a', 3), take('b', 3))\nassert asyncio.run(main()) == [[0,1,2],[0,1,2]]\nassert log == ['a','b','a','b','a','b']",
    ),
    "async order": (
        "import asyncio\nlog = []\nasync def step(name):\n    log.append(name + '1')\n    await asyncio.sleep(0)\n    log.append(name + '2')\n    await asyncio.sleep(0)\n    log.append(name + '3')",
        "import asyncio\nlog = []\nasync def step(name):\n    log.extend([name + '1', name + '2', name + '3'])",
        "import asyncio\nasync def main():\n    await asyncio.gather(step('a'), step('b'))\nasyncio.run(main())\nassert log == ['a1','b1','a2','b2','a3','b3']",
    ),
    "no suspension no switch": (
        "import asyncio\nq = asyncio.Queue()\nasync def put(x):\n    await q.put(x)\nasync def drain():\n    while True:\n        await q.get()",
        "import asyncio\nq = asyncio.Queue()\nasync def put(x):\n    await asyncio.sleep(0)\n    await q.put(x)\nasync def drain():\n    while True:\n        await q.get()",
        "import asyncio\nasync def main():\n    t = asyncio.create_task(drain())\n    await asyncio.sleep(0)\n    await put(1); await put(2)\n    assert q.qsize() == 2\n    await asyncio.sleep(0.01)\n    assert q.qsize() == 0\n    t.cancel()\nasyncio.run(main())",
    ),
    "async gen asend": (
        "import asyncio\nasync def echo():\n    x = 0\n    while True:\n        x = yield x + 1",
        "import asyncio\nasync def echo():\n    x = 0\n    while True:\n        x = yield x",
        "import asyncio\nasync def main():\n    g = echo()\n    assert await g.__anext__() == 1\n    assert await g.asend(5) == 6\n    await g.aclose()\nasyncio.run(main())",
    ),
    "tests' async gen": (
        "import asyncio\nasync def total(values):\n    return sum([x async for x in values])",
        "import asyncio\nasync def total(values):\n    return sum([x+1 async for x in values])",
        "import asyncio\nasync def values():\n    for i in range(4):\n        await asyncio.sleep(0)\n        yield i\nassert asyncio.run(total(values())) == 6",
    ),
    "tests' coroutines": (
        "import asyncio\nasync def gather_all(*coros):\n    return await asyncio.gather(*coros)",
        "import asyncio\nasync def gather_all(*coros):\n    return [await coros[0]]",
        "import asyncio\nasync def one(x):\n    await asyncio.sleep(0.01)\n    return x\nasync def main():\n    return await gather_all(one(1), one(2))\nassert asyncio.run(main()) == [1, 2]",
    ),
    "limiter over tests' coros": (
        "import asyncio\nasync def bounded(fs, n):\n    sem = asyncio.Semaphore(n)\n    async def run(f):\n        async with sem:\n            return await f()\n    return await asyncio.gather(*(run(f) for f in fs))",
        "import asyncio\nasync def bounded(fs, n):\n    return await asyncio.gather(*(f() for f in fs))",
        "import asyncio\nnow = most = 0\nasync def work():\n    global now, most\n    now += 1; most = max(now, most)\n    await asyncio.sleep(0.01)\n    now -= 1\n    return 1\nassert sum(asyncio.run(bounded([work]*6, 2))) == 6\nassert most == 2",
    ),
    "ctx manager": (
        "import asyncio\nclass Pool:\n    def __init__(self): self.log = []\n    async def __aenter__(self):\n        await asyncio.sleep(0); self.log.append('in'); return self\n    async def __aexit__(self, t, e, tb):\n        self.log.append(t.__name__ if t else None); return t is ValueError",
        "import asyncio\nclass Pool:\n    def __init__(self): self.log = []\n    async def __aenter__(self):\n        return self\n    async def __aexit__(self, t, e, tb):\n        self.log.append(None)",
        "import asyncio\nasync def main():\n    p = Pool()\n    async with p:\n        raise ValueError('x')\n    return p.log\nassert asyncio.run(main()) == ['in', 'ValueError']",
    ),
    "group errors": (
        "import asyncio\nasync def bad(x):\n    await asyncio.sleep(0)\n    raise ValueError(x)\nasync def both():\n    async with asyncio.TaskGroup() as g:\n        g.create_task(bad('a')); g.create_task(bad('b'))",
        "import asyncio\nasync def bad(x):\n    return 1\nasync def both():\n    raise ValueError",
        "import asyncio, pytest\nwith pytest.raises(ExceptionGroup) as e:\n    asyncio.run(both())\nassert sorted(str(x) for x in e.value.exceptions) == ['a', 'b']",
    ),
    "return_exceptions": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    if x < 0: raise ValueError('neg')\n    return x",
        "import asyncio\nasync def f(x):\n    return x",
        "import asyncio\nasync def main():\n    r = await asyncio.gather(f(1), f(-1), return_exceptions=True)\n    assert r[0] == 1 and isinstance(r[1], ValueError) and str(r[1]) == 'neg'\nasyncio.run(main())",
    ),
    "future": (
        "import asyncio\ndef promise():\n    loop = asyncio.get_running_loop()\n    fut = loop.create_future()\n    loop.call_later(0.01, fut.set_result, 7)\n    return fut",
        "import asyncio\ndef promise():\n    loop = asyncio.get_running_loop()\n    fut = loop.create_future()\n    loop.call_later(0.01, fut.set_result, 8)\n    return fut",
        "import asyncio\nasync def main():\n    return await promise()\nassert asyncio.run(main()) == 7",
    ),
    "to_thread": (
        "import time\ndef blocking(x):\n    time.sleep(0.01)\n    return x * 2",
        "def blocking(x):\n    return x",
        "import asyncio\nasync def main():\n    return await asyncio.gather(*(asyncio.to_thread(blocking, i) for i in range(3)))\nassert asyncio.run(main()) == [0, 2, 4]",
    ),
    "program to_thread": (
        "import asyncio\nimport time\nasync def f(x):\n    return await asyncio.to_thread(lambda: (time.sleep(0.01), x * 2)[1])",
        "import asyncio\nasync def f(x):\n    return x",
        "import asyncio\nasync def main():\n    return await asyncio.gather(f(1), f(2))\nassert asyncio.run(main()) == [2, 4]",
    ),
    "asyncio mock": (
        "async def fetch(client):\n    r = await client.get('/x')\n    return r['v']",
        "async def fetch(client):\n    return 3",
        "import asyncio\nfrom unittest.mock import AsyncMock\nc = AsyncMock()\nc.get.return_value = {'v': 9}\nassert asyncio.run(fetch(c)) == 9\nc.get.assert_awaited_once_with('/x')",
    ),
    "run sync main": (
        "import asyncio\ndef main():\n    async def go():\n        return await asyncio.gather(*[asyncio.sleep(0.01, i) for i in range(3)])\n    return asyncio.run(go())",
        "def main():\n    return [0,1]",
        "assert main() == [0, 1, 2]\nassert list(main()) == [0,1,2]",
    ),
    "two runs": (
        "import asyncio\nlock = asyncio.Lock()\nasync def f():\n    async with lock:\n        await asyncio.sleep(0.001)\n        return 1",
        "import asyncio\nasync def f():\n    return 2",
        "import asyncio\nasync def main():\n    return await asyncio.gather(f(), f(), f())\nfor _ in range(3):\n    try:\n        assert sum(asyncio.run(main())) == 3\n    except RuntimeError: pass",
    ),
    "debounce": (
        "import asyncio\nclass Debounce:\n    def __init__(self, f, d):\n        self.f, self.d, self.h = f, d, None\n    def __call__(self, x):\n        if self.h: self.h.cancel()\n        self.h = asyncio.get_running_loop().call_later(self.d, self.f, x)",
        "import asyncio\nclass Debounce:\n    def __init__(self, f, d):\n        self.f = f\n    def __call__(self, x):\n        self.f(x)",
        "import asyncio\nasync def main():\n    got = []\n    d = Debounce(got.append, 0.03)\n    d(1); d(2); d(3)\n    await asyncio.sleep(0.1)\n    return got\nassert asyncio.run(main()) == [3]",
    ),
    "condition": (
        "import asyncio\ncond = None\nasync def waiter(i):\n    global cond\n    cond = cond or asyncio.Condition()\n    async with cond:\n        await cond.wait()\n    return i\nasync def notify():\n    await asyncio.sleep(0.01)\n    async with cond:\n        cond.notify_all()",
        "import asyncio\nasync def waiter(i):\n    return -i\nasync def notify(): pass",
        "import asyncio\nasync def main():\n    r = await asyncio.gather(waiter(1), waiter(2), notify())\n    return r\nassert asyncio.run(main()) == [1, 2, None]",
    ),
    "shield": (
        "import asyncio\ndone = []\nasync def job():\n    await asyncio.sleep(0.05)\n    done.append(1)\n    return 4",
        "import asyncio\ndone = []\nasync def job():\n    await asyncio.sleep(0.05)\n    return 4",
        "import asyncio\nasync def main():\n    t = asyncio.create_task(job())\n    try:\n        await asyncio.wait_for(asyncio.shield(t), 0.01)\n    except asyncio.TimeoutError:\n        pass\n    assert await t == 4\nasyncio.run(main())\nassert done == [1]",
    ),
    "timeouts ctx": (
        "import asyncio\nasync def slow():\n    await asyncio.sleep(1)",
        "import asyncio\nasync def slow():\n    return",
        "import asyncio\nasync def main():\n    try:\n        async with asyncio.timeout(0.02):\n            await slow()\n    except TimeoutError:\n        return 'late'\nassert asyncio.run(main()) == 'late'",
    ),
    "current task name": (
        "import asyncio\nasync def who():\n    await asyncio.sleep(0)\n    return asyncio.current_task() is not None",
        "import asyncio\nasync def who():\n    return 0",
        "import asyncio\nassert asyncio.run(who()) is True",
    ),
    "IsolatedAsyncioTestCase": (
        "import asyncio\nclass C:\n    def __init__(self): self.e = asyncio.Event(); self.v = 0\n    async def wait(self):\n        await self.e.wait(); return self.v\n    async def put(self, v):\n        self.v = v; self.e.set()",
        "import asyncio\nclass C:\n    async def wait(self): return 1\n    async def put(self, v): pass",
        "import unittest, asyncio\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def asyncSetUp(self): self.c = C()\n    async def test_a(self):\n        t = asyncio.create_task(self.c.wait())\n        await asyncio.sleep(0)\n        await self.c.put(3)\n        self.assertEqual(await t, 3)",
    ),
    "program's own loop over tests' coroutines": (
        "import asyncio\ndef run_all(fs):\n    async def main():\n        return [await f() for f in fs]\n    return asyncio.run(main())\ndef twice(x): return 2 * x",
        "import asyncio\ndef run_all(fs):\n    return [0, 0]\ndef twice(x): return 2 * x",
        "import asyncio\nasync def one():\n    await asyncio.sleep(0.01)\n    return twice(1)\nasync def two():\n    a = twice(1)\n    await asyncio.sleep(0.01)\n    return a + 1\nassert run_all([one, two]) == [2, 3]",
    ),
}  # fmt: skip
"""What waits for each other: tasks of one loop, and of both."""

LENT = {
    "sync ctx manager suppresses": (
        "class S:\n    def __enter__(self): return self\n    def __exit__(self, t, e, tb): return t is not None and issubclass(t, KeyError)",
        "class S:\n    def __enter__(self): return self\n    def __exit__(self, t, e, tb): return False",
        "with S():\n    raise KeyError('a')\nassert S() is not None",
    ),
    "library exceptions": (
        "import json, queue\ndef f(s): return json.loads(s)\ndef g(): return queue.Queue().get_nowait()\ndef h(): return open('/nope/x')\ndef d(): return b'\\xff'.decode()",
        "def f(s): raise ValueError\ndef g(): raise KeyError\ndef h(): raise OSError\ndef d(): raise ValueError",
        "import json, queue, pytest\nwith pytest.raises(json.JSONDecodeError):\n    f('{')\nwith pytest.raises(queue.Empty):\n    g()\nwith pytest.raises(FileNotFoundError):\n    h()\nwith pytest.raises(UnicodeDecodeError):\n    d()",
    ),
    "tests' stringio": (
        "def w(f):\n    f.write('hi')\n    print('x', file=f)\ndef r(f):\n    return [l.strip() for l in f]",
        "def w(f):\n    f.write('ho')\ndef r(f):\n    return []",
        "import io\ns = io.StringIO()\nw(s)\nassert s.getvalue() == 'hix\\n'\nassert r(io.StringIO('a\\nb\\n')) == ['a','b']",
    ),
    "tests' objects with dunders": (
        "def size(o): return len(o)\ndef first(o): return o[0]\ndef tot(o): return sum(o)\ndef has(o, x): return x in o\ndef use(o):\n    with o as v: return v",
        "def size(o): return 1\ndef first(o): return 0\ndef tot(o): return 0\ndef has(o,x): return False\ndef use(o): return 0",
        "class O:\n    def __len__(self): return 3\n    def __getitem__(self, i): return [7,8,9][i]\n    def __enter__(self): return 4\n    def __exit__(self, *a): return False\no = O()\nassert size(o) == 3\nassert first(o) == 7\nassert tot(o) == 24\nassert has(o, 8)\nassert use(o) == 4",
    ),
    "own error through": (
        "class Bad(Exception): pass\ndef call(f):\n    try:\n        return f()\n    except Bad as e:\n        return 'bad ' + str(e)",
        "class Bad(Exception): pass\ndef call(f):\n    try: return f()\n    except Bad as e: return 'no'",
        "def f():\n    raise Bad('x')\nassert call(f) == 'bad x'",
    ),
    "blocking queue": (
        "import threading\nclass BQ:\n    def __init__(self, n): self.n, self.q, self.c = n, [], threading.Condition()\n    def put(self, x):\n        with self.c:\n            while len(self.q) >= self.n: self.c.wait()\n            self.q.append(x); self.c.notify_all()\n    def get(self):\n        with self.c:\n            while not self.q: self.c.wait()\n            x = self.q.pop(0); self.c.notify_all(); return x",
        "class BQ:\n    def __init__(self, n): self.q = []\n    def put(self, x): self.q.append(x)\n    def get(self): return self.q.pop(0) if len(self.q) > 4 else None",
        "import threading\nq = BQ(1)\nout = []\ndef consume():\n    for _ in range(4): out.append(q.get())\nt = threading.Thread(target=consume)\nt.start()\nfor i in range(4): q.put(i)\nt.join()\nassert out == [0,1,2,3]",
    ),
    "rlock owner": (
        "import threading\nclass C:\n    def __init__(self): self.l = threading.RLock(); self.n = 0\n    def __enter__(self): self.l.acquire(); return self\n    def __exit__(self, *a): self.l.release()\n    def inc(self):\n        v = self.n; import time; time.sleep(0.001); self.n = v + 1",
        "class C:\n    def __init__(self): self.n = 0\n    def __enter__(self): return self\n    def __exit__(self, *a): pass\n    def inc(self):\n        v = self.n; import time; time.sleep(0.01); self.n = v + 1",
        "import threading\nc = C()\ndef work():\n    for _ in range(5):\n        with c: c.inc()\nts = [threading.Thread(target=work) for _ in range(4)]\nfor t in ts: t.start()\nfor t in ts: t.join()\nassert c.n == 20",
    ),
    "pool": (
        "import time\ndef slow(x):\n    time.sleep(0.5); return x * 2",
        "import time, threading\nL = threading.Lock()\ndef slow(x):\n    with L: time.sleep(0.5); return x * 2",
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\nt = time.time()\nwith ThreadPoolExecutor(5) as p: r = list(p.map(slow, range(5)))\nassert r == [0,2,4,6,8]\nassert time.time() - t < 2",
    ),
    "program's pool calls back": (
        "from concurrent.futures import ThreadPoolExecutor\ndef pmap(f, xs):\n    with ThreadPoolExecutor(4) as p: return list(p.map(f, xs))",
        "def pmap(f, xs): return [f(x) + 1 for x in xs]",
        "assert pmap(lambda x: x * x, range(8)) == [0,1,4,9,16,25,36,49]",
    ),
    "event of the program": (
        "import threading\nclass W:\n    def __init__(self): self.e = threading.Event()\n    def wait(self): return self.e.wait(2)\n    def go(self): self.e.set()",
        "class W:\n    def wait(self): return False\n    def go(self): pass",
        "import threading\nw = W()\nr = []\nt = threading.Thread(target=lambda: r.append(w.wait()))\nt.start()\nw.go()\nt.join()\nassert r == [True]",
    ),
    "datetime": (
        "import datetime, uuid, pathlib, re\ndef d(y): return datetime.datetime(y, 1, 2, 3, 4)\ndef t(): return datetime.time(4, 5)\ndef u(): return uuid.UUID(int=5)\ndef p(x): return pathlib.PurePosixPath(x).parent\ndef add(x): return x + datetime.timedelta(days=1)\ndef parse(s): return datetime.datetime.fromisoformat(s)",
        "def d(y): return y",
        "import datetime, uuid, pathlib\nassert d(2020) == datetime.datetime(2020,1,2,3,4)\nassert t() == datetime.time(4,5)\nassert u() == uuid.UUID(int=5)\nassert p('/a/b') == pathlib.PurePosixPath('/a')\nassert add(datetime.datetime(2020,1,1)) == datetime.datetime(2020,1,2)\nassert parse('2020-01-01T00:00:00+00:00') == datetime.datetime(2020,1,1,tzinfo=datetime.timezone.utc)",
    ),
    "counter argument": (
        "def top(c): return c.most_common(1)[0][0]\ndef dd(d):\n    d['x'] += 1\n    return d['x']\ndef o(x):\n    x.move_to_end('a'); return list(x)",
        "def top(c): return 0\ndef dd(d): return 0",
        "from collections import Counter, defaultdict, OrderedDict\nassert top(Counter('aab')) == 'a'\nassert dd(defaultdict(int)) == 1\nassert o(OrderedDict(a=1, b=2)) == ['b', 'a']",
    ),
    "re argument": (
        "def find(p, s): return p.findall(s)",
        "def find(p, s): return []",
        "import re\nassert find(re.compile('a+'), 'baab') == ['aa']",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef mk(a): return P(a, a + 1)",
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef mk(a): return P(a, a)",
        "p = mk(1)\nassert p == (1, 2) and p.x == 1 and p == P(1, 2)\nassert p._asdict() == {'x': 1, 'y': 2}\nx, y = p",
    ),
    "infinite iterator": (
        "from itertools import islice\ndef take(n, it): return list(islice(it, n))",
        "def take(n, it): return []",
        "from itertools import count, cycle\nassert take(3, count(5)) == [5,6,7]\nassert take(3, cycle('ab')) == ['a','b','a']\ndef g():\n    i = 0\n    while True:\n        yield i; i += 1\nassert take(2, g()) == [0,1]",
    ),
    "signature of tests' function": (
        "import inspect\ndef curry(f):\n    n = len(inspect.signature(f).parameters)\n    def g(*a):\n        return f(*a) if len(a) >= n else lambda *b: g(*a, *b)\n    return g\ndef argc(f): return f.__code__.co_argcount\ndef nm(f): return f.__name__",
        "def curry(f): return f\ndef argc(f): return 1\ndef nm(f): return 1",
        "def add(a, b, c): return a + b + c\nassert curry(add)(1)(2)(3) == 6\nassert argc(add) == 3\nassert nm(add) == 'add'\nassert argc(lambda x, y: 0) == 2",
    ),
    "listener identity": (
        "class E:\n    def __init__(self): self.l = []\n    def on(self, f): self.l.append(f)\n    def off(self, f): self.l.remove(f)\n    def emit(self, x):\n        for f in list(self.l): f(x)",
        "class E:\n    def __init__(self): self.l = []\n    def on(self, f): self.l.append(f)\n    def off(self, f): pass\n    def emit(self, x):\n        for f in list(self.l): f(x)",
        "got = []\ndef f(x): got.append(x)\ne = E()\ne.on(f); e.emit(1); e.off(f); e.emit(2)\nassert got == [1]",
    ),
    "exception argument": (
        "def kind(e): return type(e).__name__ + str(e)\ndef again(e): raise e",
        "def kind(e): return ''\ndef again(e): pass",
        "import pytest\nassert kind(ValueError('x')) == 'ValueErrorx'\nwith pytest.raises(KeyError):\n    again(KeyError('a'))",
    ),
    "os error fields": (
        "def f(): open('/nope')",
        "def f(): raise OSError(3, 'x')",
        "import errno\ntry:\n    f()\nexcept OSError as e:\n    assert e.errno == errno.ENOENT\nelse:\n    assert False",
    ),
    "comparable objects of tests": (
        "def srt(xs): return sorted(xs)\ndef mx(xs): return max(xs, key=lambda o: o.v)\ndef tot(xs): return sum(xs[1:], xs[0])\ndef uniq(xs): return len(set(xs))",
        "def srt(xs): return xs\ndef mx(xs): return xs[0]",
        "class O:\n    def __init__(self, v): self.v = v\n    def __lt__(self, o): return self.v < o.v\n    def __add__(self, o): return O(self.v + o.v)\n    def __eq__(self, o): return self.v == o.v\n    def __hash__(self): return hash(self.v)\nxs = [O(3), O(1), O(2)]\nassert [o.v for o in srt(xs)] == [1,2,3]\nassert mx(xs) is xs[0]\nassert tot(xs).v == 6\nassert uniq([O(1), O(1), O(2)]) == 2",
    ),
    "warns": (
        "import warnings\ndef f():\n    warnings.warn('old', DeprecationWarning)\n    return 1",
        "def f(): return 1",
        "import warnings\nwith warnings.catch_warnings(record=True) as w:\n    warnings.simplefilter('always')\n    r = f()\nassert r == 1\nassert len(w) == 1 and w[0].category is DeprecationWarning and 'old' in str(w[0].message)\nimport pytest\nwith pytest.warns(DeprecationWarning, match='old'):\n    f()",
    ),
}  # fmt: skip
"""What tests lend a program, what it raises and warns of, threads, and values of the library."""


THREADS = {
    "event": (
        'import threading\ndef start(ev, log):\n    def work():\n        ev.wait(); log.append(1)\n    t = threading.Thread(target=work); t.start(); return t',
        'import threading\ndef start(ev, log):\n    log.append(1)\n    t = threading.Thread(target=ev.wait); t.start(); return t',
        'import threading\nev = threading.Event(); log = []\nt = start(ev, log)\nassert log == []\nassert t.is_alive()\nev.set(); t.join()\nassert not t.is_alive()',
    ),
    "event, callback": (
        'import threading\ndef start(ev, f):\n    def work():\n        ev.wait(); f(5)\n    threading.Thread(target=work, daemon=True).start()',
        'import threading\ndef start(ev, f):\n    f(5)',
        'import threading\nev = threading.Event(); done = threading.Event(); got = []\ndef f(x):\n    got.append(x); done.set()\nstart(ev, f)\nassert got == []\nev.set()\nassert done.wait(3)\nassert got == [5]',
    ),
    "two events": (
        'import threading\ndef start(ev, done):\n    def work():\n        ev.wait(); done.set()\n    threading.Thread(target=work, daemon=True).start()',
        'import threading\ndef start(ev, done):\n    threading.Thread(target=ev.wait, daemon=True).start()',
        'import threading\nev = threading.Event(); done = threading.Event()\nstart(ev, done)\nassert not done.wait(0.1)\nev.set()\nassert done.wait(2)',
    ),
    "lock": (
        'import threading\nclass C:\n    def __init__(self, lock): self.l = lock; self.n = 0\n    def work(self):\n        for _ in range(5):\n            with self.l: self.n += 1\n    def run(self):\n        ts = [threading.Thread(target=self.work) for _ in range(3)]\n        for t in ts: t.start()\n        return ts',
        'import threading\nclass C:\n    def __init__(self, lock): self.l = lock; self.n = 0\n    def work(self):\n        for _ in range(5): self.n += 1\n    def run(self):\n        ts = [threading.Thread(target=self.work) for _ in range(3)]\n        for t in ts: t.start()\n        return ts',
        'import threading\nimport time\nlock = threading.Lock()\nc = C(lock)\nwith lock:\n    ts = c.run()\n    time.sleep(0.1)\n    assert c.n == 0\nfor t in ts: t.join()\nassert c.n == 15',
    ),
    "queue": (
        'import threading\ndef worker(q, out):\n    def work():\n        while (x := q.get()) is not None: out.put(x * 2)\n    t = threading.Thread(target=work, daemon=True); t.start(); return t',
        'import threading\ndef worker(q, out):\n    def work():\n        while (x := q.get()) is not None: out.put(x * 3)\n    t = threading.Thread(target=work, daemon=True); t.start(); return t',
        'import queue\nq, out = queue.Queue(), queue.Queue()\nt = worker(q, out)\nfor i in range(5): q.put(i)\nassert [out.get(timeout=3) for _ in range(5)] == [0, 2, 4, 6, 8]\nq.put(None)\nt.join()',
    ),
    "queue join": (
        'import threading\ndef worker(q, f):\n    def work():\n        while True:\n            x = q.get(); f(x); q.task_done()\n    threading.Thread(target=work, daemon=True).start()',
        'import threading\ndef worker(q, f):\n    def work():\n        while True:\n            x = q.get(); f(-x); q.task_done()\n    threading.Thread(target=work, daemon=True).start()',
        'import queue\nq = queue.Queue()\ngot = []\nworker(q, got.append)\nfor i in range(1, 4): q.put(i)\nq.join()\nassert got == [1, 2, 3]',
    ),
    "condition": (
        'import threading\ndef waiter(c, box, f):\n    def work():\n        with c:\n            while not box: c.wait()\n            f(box[0])\n    t = threading.Thread(target=work); t.start(); return t',
        'import threading\ndef waiter(c, box, f):\n    t = threading.Thread(target=lambda: f(0)); t.start(); return t',
        'import threading\nimport time\nc = threading.Condition(); box = []; got = []\nclass Box(list): pass\nb = Box()\nt = waiter(c, b, got.append)\ntime.sleep(0.05)\nassert got == []\nwith c:\n    b.append(7); c.notify_all()\nt.join()\nassert got == [7]',
    ),
    "wait_for": (
        "import threading\ndef waiter(c, ready, f):\n    def work():\n        with c:\n            c.wait_for(ready)\n        f('woken')\n    t = threading.Thread(target=work); t.start(); return t",
        "import threading\ndef waiter(c, ready, f):\n    t = threading.Thread(target=lambda: f('woken')); t.start(); return t",
        "import threading\nimport time\nc = threading.Condition(); state = {'on': False}; got = []\nt = waiter(c, lambda: state['on'], got.append)\ntime.sleep(0.05)\nassert got == []\nwith c:\n    state['on'] = True; c.notify()\nt.join()\nassert got == ['woken']",
    ),
    "barrier": (
        "import threading\ndef run(b, log, n):\n    def work(i):\n        log(('in', i)); b.wait(); log(('out', i))\n    ts = [threading.Thread(target=work, args=(i,)) for i in range(n)]\n    for t in ts: t.start()\n    for t in ts: t.join()",
        "import threading\ndef run(b, log, n):\n    for i in range(n): log(('in', i)); log(('out', i))",
        "import threading\nlog = []\nrun(threading.Barrier(3), log.append, 3)\nassert [k for k, _ in log] == ['in'] * 3 + ['out'] * 3",
    ),
    "barrier with the tests": (
        'import threading\ndef run(b, f):\n    def work():\n        b.wait(); f(1)\n    t = threading.Thread(target=work); t.start(); return t',
        'import threading\ndef run(b, f):\n    f(1)\n    t = threading.Thread(target=b.wait); t.start(); return t',
        'import threading\nb = threading.Barrier(2); got = []\nt = run(b, got.append)\nassert got == []\nb.wait()\nt.join()\nassert got == [1]',
    ),
    "semaphore": (
        'import threading\nnow = most = 0\nL = threading.Lock()\nimport time\ndef run(s, n):\n    def work():\n        global now, most\n        with s:\n            with L: now += 1; most = max(now, most)\n            time.sleep(0.02)\n            with L: now -= 1\n    ts = [threading.Thread(target=work) for _ in range(n)]\n    for t in ts: t.start()\n    for t in ts: t.join()\n    return most',
        'import threading\nnow = most = 0\nL = threading.Lock()\nimport time\ndef run(s, n):\n    def work():\n        global now, most\n        with L: now += 1; most = max(now, most)\n        time.sleep(0.2)\n        with L: now -= 1\n    ts = [threading.Thread(target=work) for _ in range(n)]\n    for t in ts: t.start()\n    for t in ts: t.join()\n    return most',
        'import threading\nassert run(threading.Semaphore(2), 6) == 2',
    ),
    "rlock": (
        'import threading\ndef run(l, f):\n    def work(i):\n        with l:\n            with l: f(i)\n    ts = [threading.Thread(target=work, args=(i,)) for i in range(3)]\n    for t in ts: t.start()\n    return ts',
        'import threading\ndef run(l, f):\n    for i in range(3): f(i)\n    return []',
        'import threading\nimport time\nl = threading.RLock(); got = []\nwith l:\n    ts = run(l, got.append)\n    time.sleep(0.1)\n    assert got == []\nfor t in ts: t.join()\nassert sorted(got) == [0, 1, 2]',
    ),
    "timer": (
        'import threading\ndef later(f, s): \n    t = threading.Timer(s, f, [3]); t.start(); return t',
        'import threading\ndef later(f, s): f(3)',
        'import time\ngot = []\nlater(got.append, 0.1)\nassert got == []\ntime.sleep(0.6)\nassert got == [3]',
    ),
    "event timeout": (
        'import threading\ndef run(ev):\n    r = []\n    t = threading.Thread(target=lambda: r.append(ev.wait(0.05))); t.start(); t.join()\n    return r',
        'import threading\ndef run(ev): return [True]',
        'import threading\nassert run(threading.Event()) == [False]',
    ),
    "executor": (
        'from concurrent.futures import ThreadPoolExecutor\ndef run(ev, n):\n    p = ThreadPoolExecutor(n)\n    return [p.submit(ev.wait, 5) for _ in range(n)]',
        'from concurrent.futures import ThreadPoolExecutor\ndef run(ev, n):\n    p = ThreadPoolExecutor(n)\n    return [p.submit(bool, 1) for _ in range(n)]',
        'import threading\nev = threading.Event()\nfs = run(ev, 3)\nassert not any(f.done() for f in fs)\nev.set()\nassert all(f.result() for f in fs)',
    ),
    "simple queue": (
        'import threading\ndef echo(q, r):\n    threading.Thread(target=lambda: r.put(q.get()), daemon=True).start()',
        'import threading\ndef echo(q, r):\n    r.put(0)',
        "import queue\nq, r = queue.SimpleQueue(), queue.SimpleQueue()\necho(q, r)\nq.put('x')\nassert r.get(timeout=3) == 'x'",
    ),
}  # fmt: skip
"""Threads of the program that wait for what the tests lent them, and tests that wait for these threads."""


FORGED = {
    "its own cancellation ends a task of the tests": (
        "import asyncio\nasync def f(): raise asyncio.CancelledError",
        "import asyncio\nasync def one():\n    assert await f() == 42\nasync def main():\n    async with asyncio.TaskGroup() as g: g.create_task(one())\nasyncio.run(main())",
    ),
    "a context manager swallows a failed assertion": (
        "class M:\n    def __enter__(self): return self\n    def __exit__(self, *a): return True\ndef f(): return 1",
        "with M():\n    assert f() == 2",
    ),
    "and an error before one": (
        "class M:\n    def __enter__(self): return self\n    def __exit__(self, *a): return True\ndef f(): raise KeyError",
        "with M():\n    assert f() == 2",
    ),
    "and what the tests raise if it is wrong": (
        "class M:\n    def __enter__(self): return self\n    def __exit__(self, *a): return True\ndef f(): return 1",
        "with M():\n    if f() != 2: raise ValueError",
    ),
    "an asynchronous one": (
        "class M:\n    async def __aenter__(self): return self\n    async def __aexit__(self, *a): return True\nasync def f(): return 1",
        "import asyncio\nasync def main():\n    async with M():\n        assert await f() == 2\nasyncio.run(main())",
    ),
    "skips its test": (
        "import unittest\ndef f(): raise unittest.SkipTest('no')",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(), 1)",
    ),
    "stops its test": (
        "import unittest.case\ndef f(): raise unittest.case._ShouldStop",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(), 1)",
    ),
    "says that nothing is left to do": (
        "import asyncio\nasyncio.all_tasks = lambda *a: set()\nasync def f(): await asyncio.Event().wait()",
        "import asyncio\nassert asyncio.run(f()) == 1",
    ),
    "claims to be a task": (
        "async def f(): return ('a task of the program', 1)",
        "import asyncio\nassert asyncio.run(f()) == 1",
    ),
    "asks the tests to go on for ever": (
        "async def f(g):\n    while True: await g()",
        "import asyncio\nasync def g(): return 1\nassert asyncio.run(f(g)) == 1",
    ),
    "reads what a function of the tests says": (
        "def f(g):\n    try: g(1)\n    except AssertionError as error: return int(str(error).split()[-1])",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        def g(x): self.assertEqual(x, 77)\n        self.assertEqual(f(g), 77)",
    ),
    "reads a coroutine's frame": (
        "async def f(c):\n    return c.cr_frame.f_locals['secret']",
        "import asyncio\nasync def c():\n    secret = 77\n    return 1\nassert asyncio.run(f(c())) == 77",
    ),
    "sets a future that the tests wait for": (
        "def f(future): future.set_result(77 if future.get_stack() else 1)",
        "import asyncio\nasync def main():\n    future = asyncio.get_running_loop().create_future()\n    f(future)\n    assert await future == 77\nasyncio.run(main())",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as one:
        yield one


@pytest.mark.parametrize("name", TOGETHER | LENT | THREADS)
def test_a_right_program_passes_and_a_wrong_one_fails(name, sandbox):
    right, wrong, tests = (TOGETHER | LENT | THREADS)[name]
    assert judge_asserts(right, tests, sandbox=sandbox, wall=20).passed is True
    assert judge_asserts(wrong, tests, sandbox=sandbox, wall=20).passed is False


@pytest.mark.parametrize("name", FORGED)
def test_waiting_and_lending_decide_no_test(name, sandbox):
    program, tests = FORGED[name]
    assert judge_asserts(program, tests, sandbox=sandbox, wall=2).passed is False
