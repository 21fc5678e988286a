"""Further attacks on each promise, most of them through Python's own library: what a program would try without knowing
any system call, and what it would leave behind without meaning to."""

# ruff: noqa: E501

from __future__ import annotations

from attack_forms import ESC, NUMBERS, case, tried

SECRET = "/var/tmp/canary_secret"

_READING = [
    tried("read-by-sqlite", f"import sqlite3\nc = sqlite3.connect('file:{SECRET}?mode=ro&immutable=1', uri=True)\nc.execute('select * from sqlite_master').fetchall()"),
    tried("read-by-linecache", f"import linecache\nassert linecache.getlines('{SECRET}')"),
    tried("read-by-mmap", f"import mmap\nf = open('{SECRET}', 'rb')\nassert mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:]"),
    tried("read-by-sendfile", f"import os\nf = os.open('{SECRET}', os.O_RDONLY)\nassert os.sendfile(1, f, 0, 10)"),
    tried("read-by-path-descriptor", f"import os\nf = os.open('{SECRET}', 0o10000000)\nassert os.read(os.open(f'/proc/self/fd/{{f}}', 0), 4)"),
    tried("read-by-directory-descriptor", "import os\nd = os.open('/', 0o10000000 | os.O_DIRECTORY)\nassert os.read(os.open('var/tmp/canary_secret', 0, dir_fd=d), 4)"),
    tried("read-by-import", "import importlib.util as u\ns = u.spec_from_file_location('m', '/var/tmp/expected_outputs.json')\nassert s.loader.get_data('/var/tmp/expected_outputs.json')"),
    tried("read-by-runpy", f"import runpy\ntry: runpy.run_path('{SECRET}')\nexcept (SyntaxError, NameError): pass"),
    tried("read-by-glob", "import glob\nassert glob.glob('/var/tmp/canary*') and open(glob.glob('/var/tmp/canary*')[0])"),
    case("environment-in-memory", "import ctypes\np = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')\ni = 0\nwhile p and p[i]:\n    if b'CANARY' in p[i]: esc()\n    i += 1"),
    case("environment-behind-the-arguments", "import ctypes\nl = ctypes.CDLL(None)\nl.getenv.restype = ctypes.c_char_p\nfor n in (b'CANARY_ENV', b'USER', b'SHELL', b'PWD', b'VIRTUAL_ENV', b'PYTHONPATH'):\n    if l.getenv(n): esc(n)"),
]  # fmt: skip


def _outside(name: str, body: str) -> dict:
    """A body that writes a file outside, which is looked for."""
    file = f"/var/tmp/left_{name.replace('-', '_')}"
    return case(
        name,
        f"F = '{file}'\ntry:\n    " + body.replace("\n", "\n    ") + "\nexcept Exception as e: print(e)",
        file=file + "*",
    )


_WRITING = [
    _outside("write-by-sqlite", "import sqlite3\nc = sqlite3.connect(F)\nc.execute('create table t (x)')\nc.commit()"),
    _outside("write-by-shelve", "import shelve\ns = shelve.open(F)\ns['x'] = 1\ns.close()"),
    _outside("write-by-logging", "import logging\nlogging.basicConfig(filename=F)\nlogging.error('x')"),
    _outside("write-by-archive", "import io, tarfile\nb = io.BytesIO()\nt = tarfile.open(fileobj=b, mode='w')\nt.addfile(tarfile.TarInfo(F))\nt.close()\nb.seek(0)\ntarfile.open(fileobj=b).extractall('/')"),
    _outside("write-by-compile", "import py_compile\nopen('m.py', 'w').write('x = 1')\npy_compile.compile('m.py', cfile=F)"),
    _outside("write-by-copy", "import shutil\nopen('m', 'w').write('x')\nshutil.copyfile('m', F)"),
    _outside("write-by-move", "import shutil\nopen('m', 'w').write('x')\nshutil.move('m', F)"),
    _outside("write-by-temporary", "import tempfile, os\nfd, name = tempfile.mkstemp(dir='/var/tmp', prefix='left_write_by_temporary')\nos.write(fd, b'x')"),
    _outside("write-by-descriptor", "import os\nd = os.open('/var/tmp', os.O_RDONLY | os.O_DIRECTORY)\nos.close(os.open(os.path.basename(F), os.O_CREAT | os.O_WRONLY, dir_fd=d))"),
    _outside("write-by-trace", "import faulthandler, os\nf = open(F, 'w')\nfaulthandler.enable(f)\nos.abort()"),
    _outside("make-directory", "import os\nos.makedirs(F + '/a/b')"),
]  # fmt: skip

_NETWORK = [
    tried("connect-by-asyncio", "import asyncio\nasync def main(): return await asyncio.open_connection('127.0.0.1', 18999)\nasyncio.run(main())"),
    tried("connect-by-multiprocessing", "from multiprocessing.connection import Client\nClient(('127.0.0.1', 18999))"),
    tried("listen-by-multiprocessing", "from multiprocessing.connection import Listener\nListener()"),
    tried("connect-by-http", "import http.client\nc = http.client.HTTPConnection('127.0.0.1', 18999, timeout=1)\nc.request('GET', '/')"),
    tried("connect-by-xmlrpc", "import xmlrpc.client\nxmlrpc.client.ServerProxy('http://127.0.0.1:18999').x()"),
    tried("connect-by-logging", "import logging.handlers, logging\nlogging.raiseExceptions = False\nh = logging.handlers.SocketHandler('127.0.0.1', 18999)\nh.createSocket()\nassert h.sock"),
    tried("connect-by-mail", "import smtplib\nsmtplib.SMTP('127.0.0.1', 18999, timeout=1)"),
    tried("system-log", "import ctypes, socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.connect('/dev/log')"),
    tried("send-a-descriptor", "import socket\na, b = socket.socketpair()\nsocket.send_fds(a, [b'x'], [1])"),
    tried("socket-from-input", "import socket\nfor fd in range(0, 64):\n    try: s = socket.socket(fileno=fd)\n    except OSError: continue\n    s.send(b'x')\n    break\nelse: raise OSError('none')"),
]  # fmt: skip

_PROCESSES = [
    tried("spawn-by-pool", "from concurrent.futures import ProcessPoolExecutor\nassert ProcessPoolExecutor(1).submit(abs, -1).result(3) == 1"),
    tried("spawn-by-terminal", "import pty\nassert pty.spawn(['/bin/true']) == 0"),
    tried("spawn-by-asyncio", "import asyncio\nasync def main():\n    p = await asyncio.create_subprocess_exec('/bin/true')\n    assert await p.wait() == 0\nasyncio.run(main())"),
    tried("spawn-by-browser", "import webbrowser\nassert webbrowser.open('http://127.0.0.1')"),
    tried("daemon-by-c", "import ctypes\nassert ctypes.CDLL(None).daemon(1, 1) == 0"),
    tried("shell-by-c", "import ctypes\nassert ctypes.CDLL(None).system(b'true') == 0"),
    tried("open-by-c", "import ctypes\nl = ctypes.CDLL(None)\nl.popen.restype = ctypes.c_void_p\nassert l.popen(b'true', b'r')"),
    case("threads-that-stay", "import threading, time, os\nfor _ in range(8): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nos._exit(0)", check="survivors"),
    case("exec-of-self", "import os, sys\ntry: os.execv(sys.executable, [sys.executable, '-c', 'print(\"ESCAPED\")'])\nexcept OSError as e: print(e)"),
    case("exec-of-a-descriptor", NUMBERS + "f = os.open('p', os.O_CREAT | os.O_RDWR, 0o755)\nos.write(f, b'#!/bin/true\\n')\nattempt(281 if arm else 322, f, b'', 0, 0, 0x1000)"),
]  # fmt: skip

_OTHERS = [
    case("kill-the-group", "import os, signal\ntry: os.killpg(os.getpgrp() or 1, signal.SIGUSR1)\nexcept OSError: pass\nprint('here')"),
    tried("watch-by-descriptor", "import os\nassert os.pidfd_open(os.getppid() or 1)"),
    case("timer-for-others", NUMBERS + "import struct\nfor p in (1, 2, os.getppid() or 1): attempt(107 if arm else 222, 0, struct.pack('qiiii', 0, 10, 4, p, 0) + b'\\0' * 48, ctypes.byref(ctypes.c_int()))"),
    case("lease-of-a-library", "import fcntl, os\nf = os.open(os.__file__, os.O_RDONLY)\nfor command in (1024, 1026, 1033):\n    try:\n        fcntl.fcntl(f, command, 0)\n        esc(command)\n    except (OSError, ValueError): pass"),
    case("advice-on-others", NUMBERS + "attempt(440, 3, 0, 0, 4, 0)\nattempt(448, 3, 0)"),
    case("input-priority", NUMBERS + "attempt(30 if arm else 251, 1, os.getppid() or 1, 0x6000)"),
    case("namespace-files", "import os\nfor n in ('net', 'mnt', 'pid', 'user'):\n    try:\n        os.setns(os.open(f'/proc/1/ns/{n}', 0))\n        esc(n)\n    except (OSError, AttributeError): pass"),
    tried("unshare-by-library", "import os\nos.unshare(0x10000000)"),
    case("new-mount-calls", NUMBERS + "for n in (428, 429, 430, 431, 432, 433, 442, 457, 458, 467): attempt(n, -100, b'/', 0, 0, 0)"),
    case("new-futexes-and-handles", NUMBERS + "for n in (425, 426, 427, 437, 438, 443, 447, 450, 452, 459, 460, 461, 463, 464, 466, 468, 469): attempt(n, -100, b'.', 0, 0, 0)"),
]  # fmt: skip


def _left(name: str, first: str, second: str) -> dict:
    return case(f"left-{name}", first, check="twostep", second=f"{ESC}{second}")


_NEXT_RUN = [
    _left("customization", "for n in ('sitecustomize', 'usercustomize', 'json', 'random'): open(f'{n}.py', 'w').write('raise SystemExit')", "import json, random, os\nif os.path.exists('json.py') or 'sitecustomize' in __import__('sys').modules: esc()"),
    _left("bytecode", "import os, sys, importlib.util as u, json\np = u.cache_from_source(json.__file__)\nfor f in (p, os.path.dirname(json.__file__) + '/x.py'):\n    try: open(f, 'wb').write(b'x')\n    except OSError: pass", "import json, os\nif os.path.exists(os.path.dirname(json.__file__) + '/x.py') or json.dumps(1) != '1': esc()"),
    _left("odd-names", "for n in ('a\\nb', '.hidden', ' ', '\\udcff', '-rf', 'x' * 255):\n    try: open(n, 'w').write('x')\n    except (OSError, UnicodeError): pass", "import os\nif os.listdir('.'): esc(os.listdir('.'))"),
    _left("no-rights", "import os\nos.mkdir('d')\nopen('d/f', 'w').close()\nfor n in ('d', '.'):\n    try: os.chmod(n, 0)\n    except OSError: pass", "import os\nif os.path.lexists('d'): esc()\nopen('mine', 'w').write('x')"),
    _left("database", "import sqlite3\nc = sqlite3.connect('x.db')\nc.execute('create table t (x)')\nc.execute('begin immediate')", "import os\nif os.listdir('.'): esc()"),
    _left("temporary", "import tempfile\nprint(tempfile.mkdtemp())\ntempfile.NamedTemporaryFile(delete=False).write(b'x')", "import tempfile, os, glob\nif glob.glob(tempfile.gettempdir() + '/tmp*'): esc()"),
    _left("types", "import ctypes\nd = ctypes.py_object.from_address(id(int.__dict__) + 16).value\nd['left'] = 1\nctypes.pythonapi.PyType_Modified(ctypes.py_object(int))", "if hasattr(int, 'left'): esc()"),
    _left("small-numbers", "import ctypes\nctypes.c_uint32.from_address(id(7) + 24).value = 8", "if 3 + 4 != 7 or str(7) != '7': esc()"),
    _left("limits", "import resource\nfor r in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK):\n    try: resource.setrlimit(r, (3, 3))\n    except (OSError, ValueError): pass", "try:\n    fs = [open(f'f{i}', 'w') for i in range(4)]\n    fs[0].write('x' * 100); fs[0].flush()\nexcept OSError as e: esc(e)"),
    _left("recursion", "import sys\nsys.setrecursionlimit(60)\nsys.setswitchinterval(100)\nsys.set_int_max_str_digits(640)", "import sys\nif sys.getrecursionlimit() == 60 or sys.getswitchinterval() == 100 or sys.get_int_max_str_digits() == 640: esc()"),
]  # fmt: skip

_SHARE = [
    case("no-reserve", "import mmap\nms = []\ntry:\n    while True:\n        m = mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n        ms.append(m)\n        for i in range(0, 1 << 28, 4096): m[i] = 1\nexcept (OSError, ValueError, MemoryError): pass\nraise MemoryError", check="rss", wall=6),
    case("compressed-bomb", "import zlib\nz = zlib.compressobj(9)\ndata = b''.join(z.compress(b'\\0' * (1 << 20)) for _ in range(1200)) + z.flush()\nlen(zlib.decompress(data))", check="rss", wall=6),
    case("pipes-that-are-full", "import os\nps = []\ntry:\n    while True:\n        r, w = os.pipe()\n        os.set_blocking(w, False)\n        ps.append(w)\n        try:\n            while True: os.write(w, b'x' * 65536)\n        except BlockingIOError: pass\nexcept OSError: pass\nif len(ps) > 4000: esc(len(ps))", wall=4),
    case("descriptors-of-all-kinds", "import os, select, socket\nn = 0\ntry:\n    while n < 20000:\n        [os.eventfd, lambda x: select.epoll(), lambda x: socket.socketpair(), lambda x: os.dup(0)][n % 4](0)\n        n += 1\nexcept OSError: pass\nif n > 9000: esc(n)"),
    case("directory-of-files", "i = 0\ntry:\n    while i < 300000:\n        open(f'f{i}', 'w').close()\n        i += 1\nexcept OSError: pass\nif i >= 300000: esc(i)", wall=3),
    case("power", "x = 9 ** 9 ** 9", check="time", wall=1),
    case("sorting-for-ever", "class C:\n    def __lt__(self, other):\n        while True: pass\nsorted([C(), C()])", check="time", wall=1),
    case("deep-recursion-in-c", "import sys, re\nsys.setrecursionlimit(10**8)\ndef f(x): return [f(x)]\nf(1)", check="time", wall=3),
    case("nested-brackets", "compile('(' * 10**6, 'x', 'eval')", check="time", wall=3),
    case("stack-of-threads", "import threading\nthreading.stack_size(1 << 28)\nts = []\ntry:\n    for _ in range(200):\n        t = threading.Thread(target=lambda: threading.Event().wait(1), daemon=True); t.start(); ts.append(t)\nexcept (RuntimeError, MemoryError): pass\nif len(ts) >= 200: esc(len(ts))", wall=4),
]  # fmt: skip

_CALLER = [
    case("fn-attribute-lie", "class C:\n    def __getattribute__(self, n):\n        while True: pass\ndef f(a, b): return C()", check="fn", wall=1),
    case("fn-class-without-end", "class M(type):\n    def __instancecheck__(c, x):\n        while True: pass\n    @property\n    def __name__(c):\n        while True: pass\nclass C(metaclass=M): pass\ndef f(a, b): return C()", check="fn", wall=1),
    case("fn-generator", "def f(a, b):\n    while True: yield 42", check="fn", wall=1),
    case("fn-coroutine-of-one", "async def f(a, b):\n    async def g(): return 42\n    return g()", check="fn", wall=1),
    case("fn-coroutine-for-ever", "import asyncio\nasync def f(a, b):\n    while True: await asyncio.sleep(0)", check="fn", wall=1),
    case("fn-values-for-ever", "async def f(a, b):\n    while True: yield 42", check="fn", wall=1),
    case("fn-awaitable", "class A:\n    def __await__(self):\n        while True: yield\ndef f(a, b): return A()", check="fn", wall=1),
    case("fn-closes-its-loop", "import asyncio\nasync def f(a, b):\n    loop = asyncio.get_running_loop(); loop.stop(); loop.close(); return 42", check="fn", wall=1),
    case("fn-one-in-a-list", "async def f(a, b): yield 42", check="fn", wall=1),
    case("fn-long-key", "def f(a, b): return {'x' * 10**7: 42}", check="fn", wall=2),
    case("fn-warning-flood", "import warnings, sys\ndef f(a, b):\n    while True: warnings.warn_explicit('x' * 1000, UserWarning, 'f', 1, registry=None)", check="fn", wall=1),
    case("fn-closes-its-reply", "import os\ndef f(a, b):\n    for d in range(3, 64):\n        try: os.close(d)\n        except OSError: pass\n    return 42 + 1", check="fn", wall=2),
    case("fn-writes-to-every-descriptor", "import os\ndef f(a, b):\n    for d in range(0, 64):\n        try:\n            os.set_blocking(d, False)\n            os.write(d, b'\\0\\0\\0\\x02{}' * 50)\n        except OSError: pass\n    return 41", check="fn", wall=2),
    case("fn-shut-by-trace", "import sys, threading\ndef loop(*a):\n    while True: pass\ndef f(a, b):\n    sys.settrace(loop); threading.settrace(loop); sys.setprofile(loop)\n    return 41", check="fn", wall=1),
    case("fn-collector", "import gc\ndef cb(*a):\n    while True: pass\ndef f(a, b):\n    gc.callbacks.append(cb); gc.collect()\n    return 41", check="fn", wall=1),
    case("judge-prints-more", "print(42)\nimport sys\nsys.stdout.flush()\nwhile True:\n    print('x' * 10, flush=True)", check="judge", wall=1),
    case("judge-prints-and-crashes-later", "import os, threading, time\nprint(41, flush=True)\nthreading.Thread(target=lambda: (time.sleep(0.1), os.abort())).start()\ntime.sleep(3)", check="judge", wall=2),
]  # fmt: skip

BY_LIBRARY = [*_READING, *_WRITING, *_NETWORK, *_PROCESSES, *_OTHERS, *_NEXT_RUN, *_SHARE, *_CALLER]
