"""Ten further attacks on each of five promises: the next run, privileges, the network, other processes,
the caller; and what the promises name, each tried once."""

# ruff: noqa: E501

from __future__ import annotations

from attack_forms import ESC, NUMBERS, case, tried


def _left(name: str, first: str, second: str) -> dict:
    """What a first run leaves is looked for by a second one."""
    return case(f"left-{name}", first, check="twostep", second=f"{ESC}{second}")


_NEXT_RUN = [
    _left("link", "import os; os.symlink('/etc', 'l')", "import os\nif os.path.lexists('l'): esc()"),
    _left(
        "modules",
        "import os\nopen('m.py', 'w').write('x = 1')\nimport m",
        "try:\n    import m\n    esc()\nexcept ImportError: pass",
    ),
    _left(
        "library",
        "import json\njson.dumps = lambda *a, **k: 'leak'",
        "import json\nif json.dumps(1) == 'leak': esc()",
    ),
    _left(
        "environment",
        "import os, ctypes\nos.environ['LEFT'] = '1'\nctypes.CDLL(None).setenv(b'LEFT2', b'1', 1)",
        "import os\nif 'LEFT' in os.environ or 'LEFT2' in os.environ: esc()",
    ),
    _left(
        "mask",
        "import os, signal\nos.umask(0o777)\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "import os, signal\nif os.umask(0o22) == 0o777 or signal.pthread_sigmask(signal.SIG_BLOCK, []) or signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN: esc()",
    ),
    _left(
        "priority",
        "import os\ntry: os.nice(17)\nexcept OSError: pass",
        "import os\nif os.getpriority(os.PRIO_PROCESS, 0) == 17: esc()",
    ),
    _left(
        "locale",
        "import locale, time, os\nos.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()\nlocale.setlocale(locale.LC_ALL, 'C')",
        "import os, time\nif time.timezone == -32400: esc()",
    ),
    _left(
        "attributes",
        NUMBERS + "attempt(5 if arm else 188, b'.', b'user.left', b'1', 1, 0)",
        "import os\ntry:\n    if os.listxattr('.'): esc()\nexcept OSError: pass",
    ),
    _left(
        "space",
        "import os\nfs = []\ntry:\n    for i in range(60):\n        f = open(f'f{i}', 'wb'); f.write(b'x' * 10**6); f.flush(); fs.append(f)\nexcept OSError: pass\nos._exit(0)",
        "try:\n    for i in range(8): open(f'g{i}', 'wb').write(b'x' * 10**6)\nexcept OSError as e: esc(e)",
    ),
    _left(
        "input",
        "import sys, os\ntry: os.lseek(0, 5, 0)\nexcept OSError: pass\nos.set_blocking(0, False)",
        "import os\nif not os.get_blocking(0): esc()",
    ),
]
_PRIVILEGES = [
    tried("group-list", "import os; os.setgroups([0])"),
    tried("group-zero", "import os; os.setregid(0, 0) if os.getgid() else os.setgroups([1])"),
    tried(
        "user-file-system",
        "import ctypes, os\nl = ctypes.CDLL(None)\nl.setfsuid(0)\nassert l.setfsuid(-1) == 0 and os.getuid() and open('/etc/shadow')",
    ),
    case(
        "capabilities",
        NUMBERS
        + "import struct\nh = struct.pack('Ii', 0x20080522, 0)\nd = struct.pack('6I', *[0xffffffff] * 6)\nattempt(91 if arm else 126, h, d)",
    ),
    case("ambient-capability", NUMBERS + "attempt(167 if arm else 157, 47, 2, 21, 0, 0)"),
    case(
        "keep-capabilities",
        NUMBERS
        + "attempt(167 if arm else 157, 8, 1, 0, 0, 0)\nattempt(167 if arm else 157, 28, 0x1, 0, 0, 0)",
    ),
    case("new-privileges", "import ctypes\nif ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 0: esc()"),
    tried(
        "program-with-user-bit",
        "import os\nopen('p', 'w').close()\nos.chmod('p', 0o4755)\nassert os.stat('p').st_mode & 0o4000",
    ),
    case(
        "clock",
        NUMBERS
        + "import struct\nattempt(112 if arm else 227, 0, struct.pack('qq', 1, 0))\nattempt(170 if arm else 164, struct.pack('qq', 1, 0), 0)",
    ),
    case(
        "host-name",
        NUMBERS
        + "attempt(161 if arm else 170, b'x', 1)\nattempt(162 if arm else 171, b'x', 1)\nattempt(142 if arm else 169, 0xfee1dead, 672274793, 0, 0)",
    ),
]
_NETWORKS = [
    tried("socket-raw", "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    tried("socket-packet", "import socket; socket.socket(17, socket.SOCK_RAW, 3)"),
    tried("socket-six", "import socket; socket.create_connection(('::1', 18999), 1)"),
    tried("name-service", "import socket; socket.getaddrinfo('example.com', 80)"),
    tried("fetch", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:18999', timeout=1)"),
    tried("proxy-from-pair", "import socket; a, b = socket.socketpair(); b.connect(('127.0.0.1', 18999))"),
    tried("pair-listens", "import socket; a, b = socket.socketpair(); a.bind('here.sock'); a.listen()"),
    tried("pair-of-internet", "import socket; socket.socketpair(socket.AF_INET)"),
    case(
        "socket-by-number",
        NUMBERS + "for f in range(1, 46):\n    for t in (1, 2, 3, 5): attempt(198 if arm else 41, f, t, 0)",
    ),
    tried(
        "loop-serves",
        "import asyncio\nasync def main():\n    server = await asyncio.start_server(lambda r, w: None, '127.0.0.1', 0)\n    assert server.sockets\nasyncio.run(main())",
    ),
]
_OTHERS = [
    tried("alarm-to-parent", "import os, signal; os.kill(os.getppid() or -1, signal.SIGALRM)"),
    tried(
        "queue-signal", "import ctypes, os\nassert ctypes.CDLL(None).sigqueue(os.getppid() or 2, 10, 0) == 0"
    ),
    case(
        "thread-signal",
        NUMBERS + "for p in range(1, 40):\n    if p != os.getpid(): attempt(131 if arm else 234, p, p, 10)",
    ),
    case(
        "thread-signal-any",
        NUMBERS
        + "own = {int(t) for t in os.listdir('/proc/self/task')} if os.path.exists('/proc/self/task') else {os.getpid()}\nfor p in range(1, 40):\n    if p not in own: attempt(130 if arm else 200, p, 10)",
    ),
    case(
        "process-descriptor", NUMBERS + "for p in range(1, 40):\n    if p != os.getpid(): attempt(434, p, 0)"
    ),
    case("compare-processes", NUMBERS + "attempt(272 if arm else 312, 1, os.getpid(), 0, 0, 0)"),
    case(
        "limits-of-others",
        NUMBERS + "attempt(261 if arm else 302, os.getppid() or 1, 7, ctypes.create_string_buffer(16), 0)",
    ),
    case(
        "owner-of-descriptor",
        "import fcntl, os\nr, w = os.pipe()\nfor command in (8, 15):\n    try:\n        fcntl.fcntl(r, command, -1 if command == 8 else b'\\0' * 8)\n        esc(command)\n    except OSError: pass",
    ),
    case(
        "robust-list",
        NUMBERS
        + "attempt(100 if arm else 274, os.getppid() or 1, ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_size_t()))",
    ),
    case(
        "scheduling-of-others",
        NUMBERS
        + "attempt(118 if arm else 142, os.getppid() or 1, ctypes.create_string_buffer(4))\nattempt(122 if arm else 203, os.getppid() or 1, 8, ctypes.create_string_buffer(b'\\1' + b'\\0' * 7))",
    ),
]
_CALLER = [
    case("stop-self", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", check="time", wall=1),
    case(
        "stop-by-terminal",
        "import os, signal\nfor s in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU): os.kill(os.getpid(), s)\nwhile True: pass",
        check="time",
        wall=1,
    ),
    case(
        "endless-exit-hooks",
        "import atexit\ndef again(): atexit.register(again)\natexit.register(again)",
        check="time",
        wall=1,
    ),
    case(
        "endless-deletion",
        "class D:\n    def __del__(self):\n        while True: pass\nd = D()\ndel d",
        check="time",
        wall=1,
    ),
    case(
        "endless-error",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        check="time",
        wall=1,
    ),
    case(
        "endless-hook",
        "import sys\ndef hook(*a):\n    while True: pass\nsys.excepthook = hook\n1 / 0",
        check="time",
        wall=1,
    ),
    case("pattern", "import re; re.match('(a+)+$', 'a' * 40 + 'b')", check="time", wall=1),
    case(
        "wait-for-input",
        "import os, select\nr, w = os.pipe()\nselect.select([r], [], [])",
        check="time",
        wall=1,
    ),
    case(
        "drops-and-waits",
        "import sys, time\nsys.stdout.write('x' * 5_000_000)\nsys.stdout.flush()\nsys.stdout.close()\ntime.sleep(60)",
        check="time",
        wall=1,
    ),
    case(
        "result-that-takes-long",
        "class L(list):\n    def __iter__(self):\n        while True: yield 1\ndef f(a, b): return L()",
        check="fn",
        wall=1,
    ),
]
# What the promises name, each asked of the kernel itself.
_BY_NAME = [
    tried("owner", "import os\nopen('o', 'w').close()\nos.chown('o', os.getuid(), os.getgid())"),
    tried("owner-of-secret", "import os; os.lchown('/var/tmp/canary_secret', os.getuid(), -1)"),
    case("ring", NUMBERS + "attempt(425, 4, ctypes.create_string_buffer(120))\nattempt(427, 0, 0, 0, 0)"),
    case(
        "x32",
        NUMBERS
        + "attempt(None if arm else 0x40000000 + 39)\nattempt(None if arm else 0x40000000 + 2, b'/etc/passwd', 0)",
    ),
    case(
        "add-key",
        NUMBERS
        + "attempt(217 if arm else 248, b'user', b'left', b'1', 1, -4)\nattempt(218 if arm else 249, b'user', b'left', 0, -4)",
    ),
    case(
        "system-v",
        NUMBERS + "attempt(186 if arm else 68, 7, 0o1600)\nattempt(190 if arm else 64, 7, 1, 0o1600)",
    ),
    case(
        "write-memory-of-others",
        NUMBERS
        + "attempt(271 if arm else 311, os.getppid() or 1, 0, 0, 0, 0, 0)\nattempt(440, 0, 0, 0, 4, 0)",
    ),
    case("descriptor-of-others", NUMBERS + "attempt(438, 0, 0, 0)\nattempt(424, 0, 0, 0, 0)"),
    case(
        "new-namespace",
        NUMBERS
        + "for flag in (0x10000000, 0x20000, 0x40000000, 0x8000000): attempt(97 if arm else 272, flag)",
    ),
    tried(
        "named-memory",
        "from multiprocessing.shared_memory import SharedMemory\nSharedMemory('left', True, 64)",
    ),
    tried("named-semaphore", "import _multiprocessing\n_multiprocessing.SemLock(1, 1, 1, '/left', False)"),
    *[
        tried(
            f"limit-{name.lower()}",
            f"import resource as r\nhard = r.getrlimit(r.RLIMIT_{name})[1]\nassert hard == -1 or not r.setrlimit(r.RLIMIT_{name}, (hard + 1, hard + 1))",
        )
        for name in ("CPU", "AS", "FSIZE", "NOFILE", "CORE", "NPROC")
    ],
]

BY_PROMISE = [*_NEXT_RUN, *_PRIVILEGES, *_NETWORKS, *_OTHERS, *_CALLER, *_BY_NAME]
