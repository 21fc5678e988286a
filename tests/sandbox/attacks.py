"""Attacks of our own, one a property. They run only inside the sandbox; ``esc`` says that one got out.

A payload stands on one line where it can be read on one.
"""

# ruff: noqa: E501

from __future__ import annotations

import textwrap

from attack_forms import DEEP, ESC, FORGE, NUMBERS, case, tried
from attacks_by_promise import BY_PROMISE
from attacks_on_replies import FORGERY, FURTHER

_FILES = [
    tried("read-passwd", "print(open('/etc/passwd').read(1))"),
    tried("read-secret", "print(open('/var/tmp/canary_secret').read(1))"),
    tried("read-by-relative-path", "print(open('../../../../../../var/tmp/canary_secret').read(1))"),
    tried("read-by-chdir", "import os; os.chdir('/var/tmp'); print(open('canary_secret').read(1))"),
    tried(
        "read-by-symlink", "import os; os.symlink('/var/tmp/canary_secret', 's'); print(open('s').read(1))"
    ),
    tried("read-by-hardlink", "import os; os.link('/var/tmp/canary_secret', 's'); print(open('s').read(1))"),
    tried("list-home", "import os; print(os.listdir('/home'), os.listdir('/root'))"),
    tried("read-device", "print(open('/dev/vda', 'rb').read(1))"),
    tried("read-kernel-log", "print(open('/dev/kmsg', 'rb').read(1))"),
    tried("read-sys", "import os; print(os.listdir('/sys'))"),
    tried("write-library", "import os; open(os.path.dirname(os.__file__) + '/PWNED.py', 'w')"),
    tried("write-etc", "open('/etc/PWNED', 'w')"),
    tried("truncate-secret", "import os; os.truncate('/var/tmp/canary_secret', 0)"),
    tried("truncate-by-open", "import os; os.open('/var/tmp/canary_secret', os.O_RDONLY | os.O_TRUNC)"),
    tried("delete-secret", "import os; os.unlink('/var/tmp/canary_secret')"),
    tried("rename-secret", "import os; os.rename('/var/tmp/canary_secret', 's')"),
    tried("change-mode", "import os; os.chmod('/var/tmp/canary_secret', 0o777)"),
    tried("change-times", "import os; os.utime('/var/tmp/canary_secret')"),
    tried("make-device", "import os, stat; os.mknod('d', 0o600 | stat.S_IFCHR, os.makedev(1, 1))"),
    tried("make-fifo", "import os; os.mkfifo('f')"),
    tried("chroot", "import os; os.chroot('.')"),
    tried("mirror-write", "import json; open(json.__file__, 'a')"),
    case(
        "write-everywhere",
        """
        import os
        for d in ('/tmp', '/var/tmp', '/dev/shm', '/run', '/home', '/root', '/', '/usr/lib', '/etc'):
            try: open(d + '/PWNED_everywhere', 'w').write('x')
            except OSError: pass
        """,
        check="hostglob",
        file="/*/PWNED_everywhere",
    ),
    case(
        "two-runs-file",
        "open('left', 'w').write('x'); open('/tmp/left2', 'w') if __import__('os').getcwd() == '/tmp' else 0",
        check="twostep",
        second=ESC + "import os\nif os.listdir('.'): esc(os.listdir('.'))",
    ),
    case(
        "two-runs-hidden",
        "import os; os.mkdir('d', 0o300); open('d/x', 'w')",
        check="twostep",
        second=ESC + "import os\nif os.path.exists('d'): esc()",
    ),
    case(
        "two-runs-memory",
        "import builtins, json; builtins.leak = json.leak = 1",
        check="twostep",
        second=ESC + "import builtins, json\nif hasattr(builtins, 'leak') or hasattr(json, 'leak'): esc()",
    ),
]
_PROCESSES = [
    tried("fork", "import os\npid = os.fork()\nif pid == 0: os._exit(0)"),
    tried("fork-pty", "import pty\nif pty.fork()[0] == 0: __import__('os')._exit(0)"),
    tried("spawn", "import os; os.posix_spawn('/bin/true', ['true'], {})"),
    tried("exec", "import os; os.execv('/bin/echo', ['echo', 'ESCAPED'])"),
    tried("shell", "import os; assert os.system('echo ESCAPED') == 0"),
    tried("signal-parent", "import os; os.kill(os.getppid(), 0)"),
    tried("signal-first", "import os; os.kill(1, 0)"),
    tried("signal-group", "import os; os.kill(0, 0)"),
    tried("signal-all", "import os; os.kill(-1, 0)"),
    tried(
        "signal-by-owner", "import fcntl, os; r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())"
    ),
    tried("pidfd", "import os; os.pidfd_open(os.getppid() or 1)"),
    tried("set-priority", "import os; os.setpriority(os.PRIO_PROCESS, os.getppid() or 1, 5)"),
    tried("set-affinity", "import os; os.sched_setaffinity(os.getppid() or 1, {0})"),
    tried("become-root", "import os; os.setuid(0); open('/etc/shadow')"),
    tried("new-session", "import os; os.setsid()"),
    case(
        "raise-limits",
        """
        import resource
        for which in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
            try: resource.setrlimit(which, (1 << 50, 1 << 50)); esc(which)
            except (OSError, ValueError): pass
        """,
    ),
    case("stopped", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", check="time", wall=1),
    case(
        "deaf",
        "import signal, time\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
        check="time",
        wall=1,
    ),
    case(
        "hung-thread",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
        check="time",
        wall=1,
    ),
    case("hung-exit", "import atexit, time; atexit.register(time.sleep, 60)", check="time", wall=1),
    case("busy-in-c", "9 ** 9 ** 9", check="time", wall=1),
    case("crash", "import ctypes; ctypes.string_at(0)", check="alive"),
    case("abort", "import os; os.abort()", check="alive"),
    case("kill-self", "import os; os.kill(os.getpid(), 9)", check="alive"),
    case("close-all", "import os; os.closerange(0, 100)", check="alive"),
]
_NETWORK = [
    tried("socket-inet", "import socket; socket.socket()"),
    tried("socket-unix", "import socket; socket.socket(socket.AF_UNIX)"),
    tried("socket-netlink", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    tried("socket-vsock", "import socket; socket.socket(40, socket.SOCK_STREAM)"),
    tried("socket-crypto", "import socket; socket.socket(38, socket.SOCK_SEQPACKET)"),
    tried(
        "datagram-pair",
        "import socket; a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b'x', '/var/tmp/sbx.sock')",
    ),
    tried("pair-to-address", "import socket; a, b = socket.socketpair(); a.sendto(b'x', '\\0sbxcanary')"),
    tried("pass-descriptor", "import socket; a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])"),
    tried("out-of-band", "import socket; a, b = socket.socketpair(); a.send(b'x', socket.MSG_OOB)"),
    case(
        "datagram",
        "import socket\ntry: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 18998))\nexcept OSError: pass",
        check="udp",
    ),
]
_KERNEL = [
    case("clone-process", NUMBERS + "attempt(220 if arm else 56, 17, 0, 0, 0, 0)"),
    case("clone-namespace", NUMBERS + "attempt(220 if arm else 56, 0x10010100 | 0x20000, 0, 0, 0, 0)"),
    case("clone3", "import ctypes\na = ctypes.create_string_buffer(88)\nattempt(435, a, 88)"),
    case("vfork", NUMBERS + "attempt(None if arm else 58)"),
    case("process-memory", NUMBERS + "attempt(270 if arm else 310, os.getppid() or 1, 0, 0, 0, 0, 0)"),
    case("trace", NUMBERS + "attempt(117 if arm else 101, 0, 0, 0, 0)"),
    case("berkeley-filter", NUMBERS + "attempt(280 if arm else 321, 0, 0, 0)"),
    case("performance-events", NUMBERS + "attempt(241 if arm else 298, 0, 0, 0, 0, 0)"),
    case("fault-handler", NUMBERS + "attempt(282 if arm else 323, 0)"),
    case("keyring", NUMBERS + "attempt(219 if arm else 250, 0, -3, 1)"),
    case("shared-memory", NUMBERS + "attempt(194 if arm else 29, 0, 4096, 0o1600)"),
    case("memory-file", NUMBERS + "attempt(279 if arm else 319, b'x', 0)"),
    case(
        "open-by-handle",
        NUMBERS
        + "attempt(265 if arm else 304, -100, 0, 0)\nattempt(264 if arm else 303, -100, b'.', ctypes.create_string_buffer(200), ctypes.byref(ctypes.c_int()), 0)",
    ),
    case(
        "mounts",
        NUMBERS
        + "attempt(40 if arm else 165, b'x', b'/tmp', b'tmpfs', 0, 0)\nattempt(430, b'tmpfs', 0)\nattempt(428, -100, b'/', 1)",
    ),
    case("join-namespace", NUMBERS + "attempt(268 if arm else 308, 0, 0)"),
    case("more-filters", NUMBERS + "attempt(277 if arm else 317, 1, 0, 0)\nattempt(444, 0, 0, 1)"),
    case("message-queue", NUMBERS + "attempt(180 if arm else 240, b'x', 0o102, 0o600, 0)"),
    case("make-dumpable", NUMBERS + "attempt(167 if arm else 157, 4, 1, 0, 0, 0)"),
    case("no-death-signal", NUMBERS + "attempt(167 if arm else 157, 1, 0, 0, 0, 0)"),
    case(
        "grow-beyond-quota",
        NUMBERS
        + "open('g', 'w').close()\nfd = os.open('g', os.O_RDWR)\nattempt(47 if arm else 285, fd, 1, ctypes.c_long(0), ctypes.c_long(1 << 28))",
    ),
    case(
        "thirty-two-bit",
        """
        import ctypes, mmap, platform
        if platform.machine() == 'x86_64':
            code = mmap.mmap(-1, 4096, prot=7)
            code.write(bytes.fromhex('b814000000cd80c3'))  # mov eax, 20 (getpid); int 0x80; ret
            address = ctypes.addressof(ctypes.c_char.from_buffer(code))
            esc(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
        """,
    ),
]
_RESOURCES = [
    case("flood-stdout", "while True: print('x' * 10000)", check="time", wall=3),
    case("flood-stderr", "import sys\nwhile True: sys.stderr.write('x' * 10000)", check="time", wall=3),
    case("big-string", "x = 'x' * (3 << 30)", check="rss"),
    case("mapped-memory", "import mmap\nm = [mmap.mmap(-1, 1 << 28) for _ in range(8)]", check="rss"),
    case(
        "threads-with-memory",
        "import threading, time\nthreading.stack_size(1 << 28)\nfor _ in range(9): threading.Thread(target=time.sleep, args=(3,), daemon=True).start()",
        check="rss",
    ),
    case(
        "small-threads",
        "import threading, time\nthreading.stack_size(32768)\nn = 0\ntry:\n    for i in range(1500): threading.Thread(target=time.sleep, args=(2,), daemon=True).start(); n += 1\n    esc(n)\nexcept RuntimeError as e: print(n, e)\nimport os; os._exit(0)",
    ),
    case(
        "one-big-file",
        "try:\n    f = open('f', 'wb')\n    for i in range(300): f.write(b'x' * 10**6); f.flush()\n    esc()\nexcept OSError as e: print(e)",
    ),
    case(
        "sparse-file", "try:\n    open('f', 'wb').truncate(1 << 40)\n    esc()\nexcept OSError as e: print(e)"
    ),
    case(
        "deleted-files",
        "import os\nfs = []\ntry:\n    for i in range(300):\n        f = open('f', 'wb'); os.unlink('f'); fs.append(f)\n        for _ in range(4): f.write(b'x' * 10**6); f.flush()\n    esc()\nexcept OSError as e: print(e)",
    ),
    case(
        "directories",
        "import os\ntry:\n    for i in range(5000): os.mkdir('d%d' % i)\n    esc()\nexcept OSError as e: print(e)",
    ),
    case(
        "grow-input",
        "import os\ntry: os.write(0, b'x'); esc()\nexcept OSError: pass\ntry: os.truncate(0, 1 << 30); esc()\nexcept OSError: pass",
    ),
]
_TREES = [
    case("deep-tree", DEEP + "print(3)", check="judge"),
    case("deep-tree-then-hang", DEEP + "while True: pass", check="judge", wall=1),
    case(
        "deep-tree-without-rights",
        "import os\nos.umask(0o777)\nos.mkdir('a'); os.mkdir('b')\nprint(3)",
        check="judge",
    ),
    case(
        "deep-tree-by-renaming",
        "import os\nfor i in range(200):\n    os.mkdir('n'); os.path.exists('o') and os.rename('o', 'n/' + 'x' * 250); os.rename('n', 'o')\nprint(3)",
        check="judge",
    ),
    case(
        "deep-tree-of-files",
        DEEP
        + "n = 0\ntry:\n    for i in range(200):\n        with open(f'f{i}', 'wb') as f:\n            for _ in range(8): f.write(b'x' * (1 << 20)); n += 1\nexcept OSError: pass\nif n > 100: esc(n)",
    ),
    case(
        "moved-while-counted",
        """
        import os, threading
        os.makedirs('a'); os.makedirs('b')
        def move():
            while True:
                for i in range(100):
                    for one, other in ('ab', 'ba'):
                        try: os.rename(f'{one}/f{i}', f'{other}/f{i}')
                        except OSError: pass
        threading.Thread(target=move, daemon=True).start()
        n = 0
        try:
            for i in range(100):
                with open(f'a/f{i}', 'wb') as f:
                    for _ in range(8): f.write(b'x' * (1 << 20)); n += 1
        except OSError: pass
        if n > 200: esc(n)
        os._exit(0)
        """,
    ),
    case(
        "whiteouts",
        NUMBERS
        + "n = 0\nfor i in range(2000):\n    open('a', 'w').close()\n    n += libc.syscall(276 if arm else 316, -100, b'a', -100, b'b', 4) == 0\nif n: esc(n)",
    ),
    case(
        "many-short-lives",
        "import os\nfor i in range(1000): open('x', 'w').close(); os.unlink('x')\nopen('still', 'w').close()",
        check="alive",
    ),
]
_LIES = [
    case(
        "fn-colliding-set",
        FORGE + "import json\ndef f(a, b): forged('value', json.dumps({'set': HASH_OF_ZERO}).encode())",
        check="fn",
    ),
    case(
        "fn-colliding-dict",
        FORGE
        + "import json\ndef f(a, b): forged('value', json.dumps({'dict': [[n, 1] for n in HASH_OF_ZERO]}).encode())",
        check="fn",
    ),
    case(
        "fn-many-lists", FORGE + "def f(a, b): forged('value', b'[' + b'[],' * 5000000 + b'1]')", check="fn"
    ),
    case("fn-deep-lie", FORGE + "def f(a, b): forged('value', b'[' * 1000000)", check="fn"),
    case("fn-many-digits", FORGE + "def f(a, b): forged('value', b'4' * 10000000)", check="fn"),
    case(
        "fn-announced-only",
        FORGE + "def f(a, b):\n    os.write(channel(), struct.pack('>I', 15000000))\n    while True: pass",
        check="fn",
        wall=2,
    ),
    case(
        "fn-error-with-escapes",
        FORGE + "def f(a, b): forged('error', b'\\x1b]0;title\\x07\\x1b[2J' * 9)",
        check="fn",
    ),
    case(
        "fn-slow-import-and-call",
        "import time; time.sleep(1.4)\ndef f(a, b):\n    time.sleep(1.4)\n    return 41",
        check="fn",
        wall=1.5,
    ),
    case("fn-deep-tree", "def f(a, b):\n" + textwrap.indent(DEEP, "    ") + "    return 41", check="fn"),
]
ATTACKS = [
    *_FILES,
    *_PROCESSES,
    *_NETWORK,
    *_KERNEL,
    *_RESOURCES,
    *_TREES,
    *FORGERY,
    *_LIES,
    *FURTHER,
    *BY_PROMISE,
]

BENIGN = [
    {"description": name, "code": textwrap.dedent(code), "stdin": stdin, "expected_stdout": expected}
    for name, code, stdin, expected in [
        ("input", "a, b = map(int, input().split()); print(a * b)", "6 7\n", "42"),
        (
            "the streams' own attributes, as templates of fast input look at them",
            "import sys\nprint(sys.stdin.mode, sys.stdout.mode, sys.stdin.name, sys.stdout.buffer.name)",
            "",
            "r w <stdin> <stdout>",
        ),
        ("a stream by name that is never closed", "f = open('/dev/stdout', 'w')\nf.write('42')", "", "42"),
        (
            "the first stream after another took its place",
            "import io, sys\nsys.stdout = io.StringIO()\nprint(42)\nsys.__stdout__.write(sys.stdout.getvalue())",
            "",
            "42",
        ),
        (
            "a stream that is wrapped again",
            "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(42)",
            "",
            "42",
        ),
        ("open zero", "print(sum(map(int, open(0).read().split())))", "1 2 3", "6"),
        (
            "recursion",
            "import sys; sys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(50000))",
            "",
            "50000",
        ),
        (
            "threads",
            "from concurrent.futures import ThreadPoolExecutor as E\nwith E(4) as e: print(sum(e.map(abs, range(9))))",
            "",
            "36",
        ),
        (
            "asyncio",
            "import asyncio\nasync def m(): await asyncio.sleep(0.01); print(1)\nasyncio.run(m())",
            "",
            "1",
        ),
        (
            "files",
            "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nos.rename('a/b/c', 'a/d')\nprint(open('a/d').read(), sorted(os.listdir('a')))",
            "",
            "x ['b', 'd']",
        ),
        (
            "tempfile",
            "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f: f.write('x'); f.seek(0); print(f.read())\nwith tempfile.TemporaryDirectory(): print('y')",
            "",
            "x\ny",
        ),
        ("null device", "import os\nprint('x', file=open(os.devnull, 'w')); print('y')", "", "y"),
        ("exit", "print(5); exit()", "", "5"),
        ("exit hook", "import atexit; atexit.register(print, 'bye'); print('hi')", "", "hi\nbye"),
        (
            "pickle of a class",
            "import pickle\nclass A: x = 3\nprint(pickle.loads(pickle.dumps(A())).x)",
            "",
            "3",
        ),
        (
            "dataclass",
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(3).x)",
            "",
            "3",
        ),
        ("unicode", "print(input()[::-1], 'é中')", "中é\n", "é中 é中"),
        (
            "modules",
            "import sqlite3, ssl, zlib, bz2, lzma, xml.etree.ElementTree, unittest, csv, hashlib; print(hashlib.sha256().hexdigest()[:4])",
            "",
            "e3b0",
        ),
        (
            "alarm",
            "import signal, time\nsignal.signal(signal.SIGALRM, lambda *a: print('ring'))\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(0.1)",
            "",
            "ring",
        ),
        (
            "limits",
            "import resource; resource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK)); print(1)",
            "",
            "1",
        ),
        (
            "many small writes",
            "import sys\nfor i in range(3): sys.stdout.write(str(i)); sys.stdout.flush()",
            "",
            "012",
        ),
        ("main guard", "if __name__ == '__main__': print('main')", "", "main"),
        (
            "random",
            "import random, uuid; print(random.random() != random.random(), len(str(uuid.uuid4())))",
            "",
            "True 36",
        ),
    ]
]
