"""Right programs in many styles, each with a twin that is a little wrong: every judge tells them apart."""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from aha.sandbox import Sandbox, judge_asserts, judge_function, judge_stdio

pytestmark = pytest.mark.slow

# name: program, (stdin, stdout) pairs, a wrong program
STDIO = {
    "plain": ("a,b=map(int,input().split())\nprint(a*b)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "a,b=map(int,input().split())\nprint(abs(a*b))"),
    "main guard": ("def main():\n    a, b = [int(x) for x in input().split()]\n    print(a * b)\nif __name__ == '__main__':\n    main()", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "def main():\n    a, b = [int(x) for x in input().split()]\n    print(a * b)\nif __name__ == 'main':\n    main()"),
    "sys.stdin.read": ("import sys\nd=sys.stdin.read().split()\nprint(int(d[0])*int(d[1]))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import sys\nd=sys.stdin.read().split()\nprint(int(d[0])*int(d[0]))"),
    "buffer": ("import sys\nd=sys.stdin.buffer.read().split()\nsys.stdout.buffer.write(b'%d\\n'%(int(d[0])*int(d[1])))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import sys\nd=sys.stdin.buffer.read().split()\nsys.stdout.buffer.write(b'%d\\n'%(int(d[0])+int(d[1])))"),
    "readline alias": ("import sys\ninput=sys.stdin.readline\na,b=map(int,input().split())\nprint(a*b)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import sys\ninput=sys.stdin.readline\na,b=map(int,input().split())\nprint(a-b)"),
    "open 0": ("import sys\nd=open(0).read().split()\nprint(int(d[0])*int(d[1]))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "print(len(open(0).read()))"),
    "/dev/stdin": ("d=open('/dev/stdin').read().split()\nprint(int(d[0])*int(d[1]))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "d=open('/dev/stdin').read().split()\nprint(int(d[0])*int(d[1])+1)"),
    "os.read": ("import os\nd=os.read(0,10000).split()\nos.write(1,str(int(d[0])*int(d[1])).encode())", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import os\nd=os.read(0,10000).split()\nos.write(1,str(int(d[0])/int(d[1])).encode())"),
    "fast io class": ("import sys, os, io\nclass FastIO(io.IOBase):\n    newlines = 0\n    def __init__(self, file):\n        self._fd = file.fileno(); self.buffer = io.BytesIO(); self.writable = 'x' in file.mode or 'r' not in file.mode\n        self.write = self.buffer.write if self.writable else None\n    def read(self):\n        while True:\n            b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))\n            if not b: break\n            ptr = self.buffer.tell(); self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)\n        self.newlines = 0\n        return self.buffer.read()\n    def readline(self):\n        while self.newlines == 0:\n            b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192)); self.newlines = b.count(b'\\n') + (not b)\n            ptr = self.buffer.tell(); self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)\n        self.newlines -= 1\n        return self.buffer.readline()\n    def flush(self):\n        if self.writable:\n            os.write(self._fd, self.buffer.getvalue()); self.buffer.truncate(0), self.buffer.seek(0)\nclass IOWrapper(io.IOBase):\n    def __init__(self, file):\n        self.buffer = FastIO(file); self.flush = self.buffer.flush; self.writable = self.buffer.writable\n        self.write = lambda s: self.buffer.write(s.encode('ascii')); self.read = lambda: self.buffer.read().decode('ascii'); self.readline = lambda: self.buffer.readline().decode('ascii')\nsys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)\ninput = lambda: sys.stdin.readline().rstrip('\\r\\n')\na, b = map(int, input().split())\nprint(a * b)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "print(0)"),
    "threading stack": ("import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(128*1024*1024)\ndef main():\n    def r(n): return 0 if n == 0 else 1 + r(n - 1)\n    n = int(input())\n    print(r(n))\nt = threading.Thread(target=main)\nt.start(); t.join()", [('50000\n', '50000\n')], "print(int(input())-1)"),
    "recursion limit": ("import sys\nsys.setrecursionlimit(300000)\ndef r(n): return 0 if n == 0 else 1 + r(n - 1)\nprint(r(int(input())))", [('20000\n', '20000\n')], "def r(n): return 0 if n == 0 else 1 + r(n - 1)\nprint(r(int(input())))"),
    "sys.exit 0": ("import sys\na,b=map(int,input().split())\nprint(a*b)\nsys.exit(0)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import sys\na,b=map(int,input().split())\nprint(a*b)\nsys.exit(1)"),
    "exit()": ("a,b=map(int,input().split())\nprint(a*b)\nexit()", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "exit()\n"),
    "quit": ("a,b=map(int,input().split())\nprint(a*b)\nquit()", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "quit(3)"),
    "os._exit flushed": ("import os,sys\na,b=map(int,input().split())\nprint(a*b)\nsys.stdout.flush()\nos._exit(0)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import os,sys\na,b=map(int,input().split())\nprint(a*b)\nos._exit(0)"),
    "end flush": ("a,b=map(int,input().split())\nprint(a*b,end='',flush=True)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "a,b=map(int,input().split())\nprint(a*b,end=';',flush=True)"),
    "trailing spaces": ("a,b=map(int,input().split())\nprint(a*b,end='   \\n\\n\\n')", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "a,b=map(int,input().split())\nprint('',a*b)"),
    "until EOF": ("t=0\nwhile True:\n    try: t+=int(input())\n    except EOFError: break\nprint(t)", [('1\n2\n3\n', '6'), ('5', '5'), ('', '0')], "t=0\nwhile True:\n    try: t+=int(input())\n    except EOFError: break\n    t+=0.0\nprint(t)"),
    "for line in stdin": ("import sys\nprint(sum(int(l) for l in sys.stdin if l.strip()))", [('1\n2\n\n3\n', '6\n')], "import sys\nprint(sum(int(l) for l in sys.stdin if l.strip())-1)"),
    "fileinput": ("import fileinput\nprint(sum(map(int, fileinput.input())))", [('1\n2\n3\n', '6\n')], "import fileinput\nprint(max(map(int, fileinput.input())))"),
    "numpy": ("import sys, numpy as np\na=np.array(sys.stdin.read().split(),dtype=np.int64)\nprint(a.prod())", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import sys, numpy as np\na=np.array(sys.stdin.read().split(),dtype=np.int64)\nprint(a)"),
    "numpy loadtxt": ("import sys, numpy as np\nprint(int(np.loadtxt(sys.stdin).prod()))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import sys, numpy as np\nprint(np.loadtxt(sys.stdin).prod())"),
    "cache": ("from functools import cache\n@cache\ndef fib(n): return n if n<2 else fib(n-1)+fib(n-2)\nprint(fib(int(input())))", [('80\n', '23416728348467685\n')], "from functools import cache\n@cache\ndef fib(n): return 1.0*n if n<2 else fib(n-1)+fib(n-2)\nprint(int(fib(int(input()))))"),
    "heapq dijkstra": ("import heapq\nn,m=map(int,input().split())\ng=[[] for _ in range(n)]\nfor _ in range(m):\n    u,v,w=map(int,input().split())\n    g[u].append((v,w)); g[v].append((u,w))\nd=[float('inf')]*n; d[0]=0; h=[(0,0)]\nwhile h:\n    c,u=heapq.heappop(h)\n    if c>d[u]: continue\n    for v,w in g[u]:\n        if c+w<d[v]: d[v]=c+w; heapq.heappush(h,(d[v],v))\nprint(*d)", [('3 3\n0 1 5\n1 2 1\n0 2 9\n', '0 5 6\n')], "print('0 5 9')"),
    "class style": ("class Solver:\n    def __init__(self): self.read()\n    def read(self): self.a, self.b = map(int, input().split())\n    def solve(self): return self.a * self.b\nprint(Solver().solve())", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "class Solver:\n    a=b=0\n    def solve(self): return self.a * self.b\nprint(Solver().solve())"),
    "dataclass": ("from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    x: int\n    y: int\nps=sorted(P(*map(int,input().split())) for _ in range(int(input())))\nfor p in ps: print(p.x,p.y)", [('2\n3 1\n1 2\n', '1 2\n3 1\n')], "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\nps=[P(*map(int,input().split())) for _ in range(int(input()))]\nfor p in ps: print(p.x,p.y)"),
    "generator": ("def toks():\n    import sys\n    for l in sys.stdin: yield from l.split()\nt=toks()\nprint(int(next(t))*int(next(t)))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "def toks():\n    import sys\n    for l in sys.stdin: yield from l.split()\nt=toks()\nnext(t)\nprint(int(next(t)))"),
    "walrus match": ("match input().split():\n    case [a, b]: print(int(a) * int(b))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "match input().split():\n    case [a]: print(int(a))"),
    "float format": ("x=float(input())\nprint(f'{x/3:.6f}')", [('1\n', '0.333333\n')], "x=float(input())\nprint(f'{x/3:.5f}')"),
    "decimal": ("from decimal import Decimal, getcontext\ngetcontext().prec=30\nprint(Decimal(1)/Decimal(input()))", [('7\n', '0.142857142857142857142857142857\n')], "print(1/int(input()))"),
    "fractions": ("from fractions import Fraction\nprint(Fraction(input())+Fraction(1,3))", [('1/6\n', '1/2\n')], "from fractions import Fraction\nprint(float(Fraction(input())+Fraction(1,3)))"),
    "big ints": ("print(2**int(input()))", [('200\n', '1606938044258990275541962092341162602522202993782792835301376\n')], "print(int(2.0**int(input()))+1)"),
    "huge int str": ("import sys\nsys.set_int_max_str_digits(0)\nprint(len(str(3**int(input()))))", [('20000\n', '9543\n')], "print(9542)"),
    "unicode": ("s=input()\nprint(s[::-1])", [('añb→\n', '→bña\n')], "s=input()\nprint(s.encode('ascii','ignore').decode()[::-1])"),
    "windows lines": ("a,b=map(int,input().split())\nprint(a*b)", [('6 7\r\n', '42\r\n')], "print(input())"),
    "locale": ("import locale\nlocale.setlocale(locale.LC_ALL,'')\na,b=map(int,input().split())\nprint(locale.format_string('%d',a*b))", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "import locale\nprint(locale.getlocale())"),
    "sys.stdout.writelines": ("import sys\nsys.stdout.writelines(f'{i}\\n' for i in range(int(sys.stdin.readline())))", [('3', '0\n1\n2')], "import sys\nsys.stdout.writelines(f'{i}' for i in range(int(sys.stdin.readline())))"),
    "redirect stdout": ("import io, sys\nout=sys.stdout=io.StringIO()\nprint(int(input())+1)\nsys.__stdout__.write(out.getvalue())", [('1\n', '2\n')], "import io, sys\nout=sys.stdout=io.StringIO()\nprint(int(input())+1)"),
    "atexit": ("import atexit\nout=[]\natexit.register(lambda: print(*out))\nout.append(int(input())*2)", [('4\n', '8\n')], "import atexit\nout=[]\natexit.register(print)\n"),
    "stderr noise": ("import sys\nprint('debug',file=sys.stderr)\nprint(int(input())*2)", [('4\n', '8\n')], "print('debug')\nprint(int(input())*2)"),
    "asyncio": ("import asyncio\nasync def main():\n    a,b=map(int,input().split())\n    print(sum(await asyncio.gather(*(f(a) for _ in range(b)))))\nasync def f(x):\n    await asyncio.sleep(0)\n    return x\nasyncio.run(main())", [('6 7\n', '42\n')], "import asyncio\nasync def main(): pass\nmain()"),
    "pool threads": ("from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as p: print(sum(p.map(lambda x: x*x, range(int(input())))))", [('10\n', '285\n')], "print(284)"),
    "exec": ("exec('a,b=map(int,input().split())\\nprint(a*b)')", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "exec('print(1)')"),
    "globals": ("a,b=map(int,input().split())\nglobals()['c']=a*b\nprint(c)", [('6 7\n', '42\n'), ('1 2\n', '2\n'), ('-3 4', '-12\n')], "a,b=map(int,input().split())\nglobals()['c']=a\nprint(c)"),
    "complex": ("z=complex(input())\nprint(abs(z))", [('3+4j\n', '5.0\n')], "z=complex(input())\nprint(int(abs(z)))"),
    "bisect collections": ("import bisect, collections, itertools, math\nxs=sorted(map(int,input().split()))\nprint(bisect.bisect(xs,3),collections.Counter(xs).most_common(1)[0][0],math.gcd(*xs),len(list(itertools.permutations(xs))))", [('3 3 6\n', '2 3 3 6\n')], "print('2 3 3 5')"),
    "re": ("import re\nprint(re.sub(r'(\\d+)',lambda m:str(int(m[1])*2),input()))", [('a1b22\n', 'a2b44\n')], "import re\nprint(re.sub(r'(\\d)',lambda m:str(int(m[1])*2),input()+'9'))"),
    "random seed": ("import random\nrandom.seed(1)\nxs=list(map(int,input().split()))\nrandom.shuffle(xs)\nprint(*sorted(xs))", [('3 1 2\n', '1 2 3\n')], "xs=list(map(int,input().split()))\nprint(*xs)"),
    "file in cwd": ("open('t.txt','w').write(input())\nprint(open('t.txt').read()[::-1])", [('abc\n', 'cba\n')], "open('t.txt','w').write(input())\nprint(open('t.txt').read())"),
    "tempfile": ("import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write(input()); f.seek(0); print(f.read().upper())", [('abc\n', 'ABC\n')], "print('ABc')"),
}  # fmt: skip
# name: program, entry point, (arguments, result) pairs, a wrong program
FUNCTIONS = {
    "def": ("def mul(a,b): return a*b", "mul", [((6, 7), 42), ((0, 5), 0)], "def mul(a,b): return float(a*b)"),
    "lambda": ("mul=lambda a,b:a*b", "mul", [((6, 7), 42), ((0, 5), 0)], "mul=lambda a,b:str(a*b)"),
    "partial": ("from functools import partial\nimport operator\nmul=partial(operator.mul)", "mul", [((6, 7), 42), ((0, 5), 0)], "import operator\nmul=operator.add"),
    "callable object": ("class M:\n    def __call__(self,a,b): return a*b\nmul=M()", "mul", [((6, 7), 42), ((0, 5), 0)], "class M:\n    def __call__(self,a,b): return [a*b]\nmul=M()"),
    "Solution": ("class Solution:\n    def mul(self,a,b): return a*b", "mul", [((6, 7), 42), ((0, 5), 0)], "class Solution:\n    def mul(self,a,b): return a|b"),
    "Solution.mul": ("class Solution:\n    def mul(self,a:int,b:int)->int: return a*b", "Solution.mul", [((6, 7), 42), ((0, 5), 0)], "class Solution:\n    def mul(self,a,b): return None"),
    "static": ("class Solution:\n    @staticmethod\n    def mul(a,b): return a*b", "mul", [((6, 7), 42), ((0, 5), 0)], "class Solution:\n    @staticmethod\n    def mul(a,b): return a*b or 1"),
    "classmethod": ("class Solution:\n    @classmethod\n    def mul(cls,a,b): return a*b", "mul", [((6, 7), 42), ((0, 5), 0)], "class Solution:\n    @classmethod\n    def mul(cls,a,b): return True"),
    "state": ("n=0\ndef c():\n    global n\n    n+=1\n    return n", "c", [((), 1), ((), 2)], "def c(): return 1"),
    "lru": ("from functools import lru_cache\n@lru_cache(None)\ndef g(n): return n if n<2 else g(n-1)+g(n-2)", "g", [((50,), 12586269025)], "from functools import lru_cache\n@lru_cache(None)\ndef g(n): return n if n<2 else g(n-1)+g(n-2)+1"),
    "default mutable": ("def h(x,acc=[]):\n    acc.append(x)\n    return list(acc)", "h", [((1,), [1]), ((2,), [1, 2])], "def h(x): return [x]"),
    "kwonly": ("def k(a,*,b=2): return a*b", "k", [((3,), 6)], "def k(a,*,b=2): return a+b+2"),
    "tuple for list": ("def t(): return (1,2)", "t", [((), [1, 2])], "def t(): return {1,2}"),
    "numpy int": ("import numpy as np\ndef s(xs): return int(np.sum(xs))", "s", [(([1, 2],), 3)], "import numpy as np\ndef s(xs): return np.array(xs)"),
    "dict int keys": ("def d(): return {1:'a'}", "d", [((), {1: 'a'})], "def d(): return {'1':'a'}"),
    "nested": ("def n(): return [[1,[2]],{'a':(3,)}]", "n", [((), [[1, [2]], {'a': [3]}])], "def n(): return [[1,[2]],{'a':3}]"),
    "nan": ("def n(): return float('nan')", "n", [((), float("nan"))], "def n(): return 0.0"),
    "closure": ("def mk():\n    s=5\n    def g(x): return x+s\n    return g\ng=mk()", "g", [((1,), 6)], "def g(x): return x+4"),
    "property cache": ("class Solution:\n    def __init__(self): self.memo={}\n    def fib(self,n):\n        if n<2: return n\n        if n not in self.memo: self.memo[n]=self.fib(n-1)+self.fib(n-2)\n        return self.memo[n]", "fib", [((60,), 1548008755920)], "class Solution:\n    def fib(self,n): return n"),
    "bool": ("def e(x): return x%2==0", "e", [((2,), True), ((3,), False)], "def e(x): return 1-x%2"),
    "None result": ("def e(x): pass", "e", [((2,), None)], "def e(x): return 0"),
    "long list": ("def r(n): return list(range(n))", "r", [((20_000,), list(range(20_000)))], "def r(n): return list(range(n-1))+[n]"),
    "strings": ("def r(s): return s[::-1]+'\\n\\u2028\"'", "r", [(('ab',), 'ba\n\u2028"')], "def r(s): return s"),
    "inner class": ("class Outer:\n    class Solution:\n        def f(self,x): return x\nSolution=Outer.Solution", "f", [((1,), 1)], "class Solution:\n    def f(self,x): return -x"),
    "decorated": ("import functools\ndef d(g):\n    @functools.wraps(g)\n    def w(*a,**k): return g(*a,**k)*2\n    return w\n@d\ndef f(x): return x", "f", [((1,), 2)], "def f(x): return x"),
    "singledispatch": ("from functools import singledispatch\n@singledispatch\ndef f(x): return 'o'\n@f.register\ndef _(x:int): return 'i'\n@f.register(list)\ndef _(x): return 'l'", "f", [((1,), 'i'), (([],), 'l'), (('a',), 'o')], "def f(x): return 'i'"),
    "overload typing": ("from typing import overload, TypeVar, Generic, Union, Optional, List\nT=TypeVar('T')\nclass Box(Generic[T]):\n    def __init__(self,v:T): self.v=v\n@overload\ndef f(x:int)->int: ...\n@overload\ndef f(x:str)->str: ...\ndef f(x): return Box(x).v", "f", [((1,), 1)], "def f(x): return type(x)"),
    "future": ("from __future__ import annotations\ndef f(x: Undefined) -> Nope: return x", "f", [((1,), 1)], "def f(x: Undefined): return x"),
    "print noise": ("def f(x):\n    print('noise',x)\n    return x", "f", [((1,), 1)], "def f(x):\n    print(x)"),
    "recursion": ("import sys\nsys.setrecursionlimit(50000)\ndef f(n): return 0 if n==0 else 1+f(n-1)", "f", [((20000,), 20000)], "def f(n): return 0 if n==0 else 1+f(n-1)"),
    "starred": ("def f(*xs): return sum(xs)", "f", [((1, 2, 3), 6)], "def f(*xs): return len(xs)+1"),
    "main guard tests": ("def f(x): return x\nif __name__=='__main__':\n    assert f(2)==3", "f", [((1,), 1)], "def f(x): return x+1\nif __name__=='__main__':\n    assert f(2)==3"),
    "reads stdin at load": ("import sys\nX=sys.stdin.read()\ndef f(x): return x", "f", [((1,), 1)], "import sys\nX=input()\ndef f(x): return x"),
}  # fmt: skip
LEETCODE = """class ListNode:
    def __init__(self,val=0,next=None): self.val=val; self.next=next
class TreeNode:
    def __init__(self,val=0,left=None,right=None): self.val=val; self.left=left; self.right=right
from typing import *
from collections import *
import math
def build(xs):
    h=None
    for x in reversed(xs): h=ListNode(x,h)
    return h
def values(h):
    out=[]
    while h: out.append(h.val); h=h.next
    return out
"""
# name: program, tests, entry point, prelude, a wrong program
ASSERTS = {
    "leet list": ("class Solution:\n    def reverseList(self, head: Optional[ListNode]) -> Optional[ListNode]:\n        p=None\n        while head: head.next,p,head=p,head,head.next\n        return p", "def check(candidate):\n    assert values(candidate(build([1,2,3])))==[3,2,1]\n    assert candidate(None) is None", "Solution().reverseList", LEETCODE, "class Solution:\n    def reverseList(self, head):\n        return head"),
    "leet tree": ("class Solution:\n    def depth(self, root: Optional[TreeNode]) -> int:\n        return 0 if not root else 1+max(self.depth(root.left),self.depth(root.right))", "def check(candidate):\n    assert candidate(TreeNode(1,TreeNode(2)))==2\n    assert candidate(root=None)==0", "Solution().depth", LEETCODE, "class Solution:\n    def depth(self, root): return 1 if root else 0"),
    "leet in place": ("class Solution:\n    def moveZeroes(self, nums: List[int]) -> None:\n        nums.sort(key=lambda x: x==0)", "def check(candidate):\n    a=[0,1,0,3]\n    candidate(a)\n    assert a==[1,3,0,0]", "Solution().moveZeroes", LEETCODE, "class Solution:\n    def moveZeroes(self, nums): nums.sort()"),
    "leet design": ("class LRUCache:\n    def __init__(self, capacity): self.c=capacity; self.d=OrderedDict()\n    def get(self,k):\n        if k not in self.d: return -1\n        self.d.move_to_end(k); return self.d[k]\n    def put(self,k,v):\n        self.d[k]=v; self.d.move_to_end(k)\n        if len(self.d)>self.c: self.d.popitem(last=False)", "c=LRUCache(2)\nc.put(1,1); c.put(2,2)\nassert c.get(1)==1\nc.put(3,3)\nassert c.get(2)==-1\nassert [c.get(k) for k in (1,3)]==[1,3]", "", LEETCODE, "class LRUCache:\n    def __init__(self, capacity): self.c=capacity; self.d=OrderedDict()\n    def get(self,k): return self.d.get(k,-1)\n    def put(self,k,v):\n        self.d[k]=v\n        if len(self.d)>self.c: self.d.popitem(last=False)"),
    "mbpp": ("def add(a,b): return a+b", "assert add(1,2)==3\nassert add(-1,1)==0", "", "", "def add(a,b): return a-b if a<0 else a+b"),
    "isclose": ("def h(): return 0.1+0.2", "import math\nassert math.isclose(h(),0.3)", "", "", "def h(): return 0.31"),
    "abs diff": ("def h(): return 1/3", "assert abs(h()-0.333333)<1e-5", "", "", "def h(): return 0.34"),
    "set result": ("def u(x): return set(x)", "assert u([1,1,2])=={1,2}", "", "", "def u(x): return sorted(set(x))"),
    "sorted": ("def u(x): return (i for i in x)", "assert sorted(u([2,1]))==[1,2]", "", "", "def u(x): return (i for i in x[1:])"),
    "raises": ("def d(a): return 1/a", "try:\n    d(0)\n    assert False\nexcept ZeroDivisionError:\n    pass\nassert d(2)==0.5", "", "", "def d(a): return 0.5"),
    "unittest": ("def up(s): return s.upper()", "import unittest\nclass T(unittest.TestCase):\n    def setUp(self): self.s='a'\n    def test_up(self): self.assertEqual(up(self.s),'A')\n    def test_err(self):\n        with self.assertRaises(AttributeError): up(3)", "", "", "def up(s): return str(s).upper()"),
    "pytest params": ("def sq(x): return x*x", "import pytest\n@pytest.mark.parametrize('x,y',[(2,4),(3,9)])\ndef test_sq(x,y): assert sq(x)==y", "", "", "def sq(x): return x+x"),
    "operators": ("class V:\n    def __init__(s,x,y): s.x,s.y=x,y\n    def __add__(s,o): return V(s.x+o.x,s.y+o.y)\n    def __eq__(s,o): return (s.x,s.y)==(o.x,o.y)\n    def __repr__(s): return f'V({s.x}, {s.y})'", "assert repr(V(1,2)+V(3,4))=='V(4, 6)'\nassert V(1,2)==V(1,2)\nassert V(1,2)!=V(1,3)", "", "", "class V:\n    def __init__(s,x,y): s.x,s.y=x,y\n    def __add__(s,o): return V(s.x+o.x,s.y)\n    def __eq__(s,o): return True\n    def __repr__(s): return f'V({s.x}, {s.y})'"),
    "iterator class": ("class C:\n    def __init__(s,n): s.n=n\n    def __iter__(s): return iter(range(s.n))\n    def __len__(s): return s.n\n    def __getitem__(s,i): return i*2\n    def __contains__(s,x): return x==7", "c=C(3)\nassert list(c)==[0,1,2] and len(c)==3 and c[2]==4\nassert sum(c)==3", "", "", "class C:\n    def __init__(s,n): s.n=n\n    def __iter__(s): return iter(range(s.n))\n    def __len__(s): return 3\n    def __getitem__(s,i): return i"),
    "property setter": ("class T:\n    def __init__(s): s._c=0\n    @property\n    def f(s): return s._c*9/5+32\n    @f.setter\n    def f(s,v): s._c=(v-32)*5/9", "t=T()\nassert t.f==32\nt.f=212\nassert round(t._c)==100", "", "", "class T:\n    f=32\n    _c=99"),
    "inherit": ("import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def area(s): ...\nclass Sq(A):\n    def __init__(s,a): s.a=a\n    def area(s): return s.a**2", "assert Sq(3).area()==9\nassert isinstance(Sq(1),A)\nassert issubclass(Sq,A)\ntry:\n    A()\nexcept TypeError: pass\nelse: assert False", "", "", "class A: pass\nclass Sq(A):\n    def __init__(s,a): s.a=a\n    def area(s): return s.a**2"),
    "humaneval": ("def has_close(n,t):\n    n=sorted(n)\n    return any(b-a<t for a,b in zip(n,n[1:]))", "def check(candidate):\n    assert candidate([1.0,2.0,3.9,4.0],0.3)==True\n    assert candidate([1.0,2.0,3.0],0.5)==False\ncheck(has_close)", "has_close", "", "def has_close(n,t):\n    return True"),
    "global constants": ("MAX=5\nconfig={'a':1}\ndef f(): return MAX", "assert MAX==5\nassert config['a']==1\nassert f()==MAX", "", "", "MAX=6\nconfig={'a':1}\ndef f(): return 6"),
    "generator send": ("def acc():\n    t=0\n    while True:\n        x=yield t\n        t+=x", "g=acc()\nnext(g)\nassert g.send(3)==3\nassert g.send(4)==7\ng.close()", "", "", "def acc():\n    t=0\n    while True:\n        x=yield t\n        t=x"),
    "context": ("from contextlib import contextmanager\nlog=[]\n@contextmanager\ndef c():\n    log.append('in')\n    try: yield 5\n    finally: log.append('out')", "with c() as v:\n    assert v==5\nassert log==['in','out']", "", "", "from contextlib import contextmanager\nlog=[]\n@contextmanager\ndef c():\n    log.append('in')\n    yield 5"),
    "memo decorator": ("def memo(f):\n    c={}\n    def w(*a):\n        if a not in c: c[a]=f(*a)\n        return c[a]\n    return w", "n=0\ndef slow(x):\n    global n\n    n+=1\n    return x\nm=memo(slow)\nassert m(1)==1 and m(1)==1 and n==1", "", "", "def memo(f): return f"),
    "comparison sort": ("class P:\n    def __init__(s,v): s.v=v\n    def __lt__(s,o): return s.v<o.v", "ps=sorted([P(3),P(1)])\nassert [p.v for p in ps]==[1,3]\nassert min(P(2),P(1)).v==1", "", "", "class P:\n    def __init__(s,v): s.v=v\n    def __lt__(s,o): return False"),
    "numpy": ("import numpy as np\ndef m(a): return np.array(a)*2", "import numpy as np\nassert np.array_equal(m([1,2]),np.array([2,4]))\nassert np.allclose(m([0.5]),[1.0])", "", "", "import numpy as np\ndef m(a): return np.array(a)*3"),
    "str methods": ("class S:\n    def __str__(s): return 'hi'\n    def __len__(s): return 2\n    def __bool__(s): return False\n    def __call__(s,x): return x\n    def __hash__(s): return 5", "s=S()\nassert str(s)=='hi' and len(s)==2 and not s and s(4)==4 and f'{s}'=='hi'", "", "", "class S:\n    def __str__(s): return 'ho'\n    def __len__(s): return 2\n    def __bool__(s): return False\n    def __call__(s,x): return x"),
    "class attr counter": ("class C:\n    count=0\n    def __init__(s): C.count+=1", "a=C(); b=C()\nassert C.count==2", "", "", "class C:\n    count=0\n    def __init__(s): s.count+=1"),
    "any order": ("def p(x): return [x,-x]", "from collections import Counter\nassert Counter(p(2))==Counter([-2,2])\nassert set(p(2))=={2,-2}", "", "", "def p(x): return [x,x]"),
    "namedtuple result": ("from typing import NamedTuple\nclass R(NamedTuple):\n    a:int\n    b:int\ndef f(): return R(1,2)", "r=f()\nassert r==(1,2)\nassert r.a==1", "", "", "from typing import NamedTuple\nclass R(NamedTuple):\n    a:int\n    b:int\ndef f(): return R(2,1)"),
    "string long": ("def f(n): return 'ab'*n", "assert f(50000)=='ab'*50000\nassert len(f(3))==6", "", "", "def f(n): return 'ab'*(n-1)+'aB'"),
    "loop of asserts": ("def f(x): return x*x", "for i in range(200):\n    assert f(i)==i**2", "", "", "def f(x): return x*x if x<199 else 0"),
    "random tests": ("def f(xs): return sorted(xs)", "import random\nfor _ in range(20):\n    xs=[random.randint(0,99) for _ in range(30)]\n    ys=list(xs)\n    assert f(xs)==sorted(ys)", "", "", "def f(xs): return sorted(set(xs))"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as one:
        yield one


@pytest.mark.parametrize("name", STDIO)
def test_programs_that_read_and_print(name, sandbox):
    right, pairs, wrong = STDIO[name]
    assert judge_stdio(right, pairs, sandbox=sandbox, wall=20).passed is True
    assert judge_stdio(wrong, pairs, sandbox=sandbox, wall=20).passed is False


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, sandbox):
    right, entry_point, pairs, wrong = FUNCTIONS[name]
    assert judge_function(right, entry_point, pairs, sandbox=sandbox, wall=20).passed is True
    assert judge_function(wrong, entry_point, pairs, sandbox=sandbox, wall=20).passed is False


@pytest.mark.parametrize("name", ASSERTS)
def test_asserts_and_classes(name, sandbox):
    right, tests, entry_point, prelude, wrong = ASSERTS[name]
    one, other = (
        judge_asserts(each, tests, entry_point, prelude=prelude, sandbox=sandbox, wall=20).passed
        for each in (right, wrong)
    )
    assert (one, other) == (True, False)
