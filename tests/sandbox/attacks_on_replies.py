# ruff: noqa: E501
"""Attacks on what a program sends back, and others that came later."""

from __future__ import annotations

from attack_forms import DEEP, ESC, FORGE, NUMBERS, case, tried

FORGERY = [
    case("forge-nothing", "raise SystemExit", check="judge"),
    case("forge-float", "print('42.0')", check="judge"),
    case("forge-more", "print('42'); print('42')", check="judge"),
    case("forge-then-crash", "print('42', flush=True); import os; os.abort()", check="judge"),
    case("forge-stderr", "import sys; print('42', file=sys.stderr)", check="judge"),
    case("forge-fullwidth", "print('４２')", check="judge"),
    case("forge-nul", "print('42\\0')", check="judge"),
    case("forge-true", "print('1')", check="judge", expected_out="True"),
    case(
        "fn-int-subclass",
        "class X(int):\n    def __eq__(s, o): return True\n    __hash__ = None\ndef f(a, b): return X(41)",
        check="fn",
    ),
    case(
        "fn-class-lie",
        "class X:\n    __class__ = int\n    def __eq__(s, o): return True\ndef f(a, b): return X()",
        check="fn",
    ),
    case(
        "fn-repr-lie",
        "class X(int):\n    def __repr__(s): return '42'\n    __str__ = __index__ = __int__ = lambda s: 42\ndef f(a, b): return X(41)",
        check="fn",
    ),
    case("fn-bool", "def f(a, b): return True", check="fn"),
    case("fn-float", "def f(a, b): return 42.0", check="fn"),
    case("fn-text", "def f(a, b): return '42'", check="fn"),
    case("fn-list", "def f(a, b): return [42]", check="fn"),
    case("fn-iterator", "def f(a, b):\n    yield 42", check="fn"),
    case("fn-decimal", "from decimal import Decimal\ndef f(a, b): return Decimal(42)", check="fn"),
    case("fn-raise", "def f(a, b): raise ValueError(42)", check="fn"),
    case("fn-base-exception", "def f(a, b): raise KeyboardInterrupt", check="fn"),
    case("fn-missing", "print(42)", check="fn"),
    case("fn-syntax", "def f(a, b) return 42", check="fn"),
    case("fn-exit-on-import", "import os; os._exit(0)", check="fn"),
    case("fn-hang-on-import", "while True: pass", check="fn", wall=1),
    case("fn-hang", "def f(a, b):\n    while True: pass", check="fn", wall=1),
    case("fn-huge", "def f(a, b): return [42] * 10**6", check="fn"),
    case("fn-deep", "def f(a, b):\n    x = 42\n    for _ in range(10**5): x = [x]\n    return x", check="fn"),
    case("fn-cycle", "def f(a, b):\n    x = []; x.append(x)\n    return x", check="fn"),
    case("fn-nan", "def f(a, b): return float('nan')", check="fn"),
    case(
        "fn-patched-builtins",
        "import builtins\nbuiltins.type = lambda *a: int\nbuiltins.repr = lambda x: '42'\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 2\nbuiltins.str = lambda x: '42'\ndef f(a, b): return 0",
        check="fn",
    ),
    case(
        "fn-patched-os",
        "import os\nos.write = lambda *a: 42\nos.read = lambda *a: b'42'\ndef f(a, b): return 0",
        check="fn",
    ),
    case(
        "fn-forged-frames",
        """
        import os, struct
        def f(a, b):
            for message in (b'42', b'ready', b'value\\n42', b'passed\\n', b'x\\nvalue\\n42'):
                for fd in range(3, 64):
                    try: os.write(fd, struct.pack('>I', len(message)) + message)
                    except OSError: pass
            return 0
        """,
        check="fn",
    ),
    case(
        "fn-endless-frame",
        "import os, struct\ndef f(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('>I', 2**32 - 1) + b'x' * 1000)\n        except OSError: pass\n    return 0",
        check="fn",
        wall=2,
    ),
    case(
        "fn-flood-frames",
        "import os\ndef f(a, b):\n    while True:\n        for fd in range(1, 16):\n            try: os.write(fd, b'\\xff' * 65536)\n            except OSError: pass",
        check="fn",
        wall=3,
    ),
    case(
        "fn-late-thread",
        "import threading, os, time\ndef f(a, b):\n    threading.Thread(target=lambda: (time.sleep(.1), os._exit(0))).start()\n    return 41",
        check="fn",
    ),
    case(
        "fn-frames-and-heap",
        """
        import sys, gc
        def f(a, b):
            frame = sys._getframe()
            while frame:
                for space in (frame.f_locals, frame.f_globals):
                    for value in list(space.values()):
                        if value == 42: return value
                frame = frame.f_back
            return next((o for o in gc.get_objects() if o == [42] or o == {'expected': 42}), 0)
        """,
        check="fn",
    ),
]

FURTHER = [
    # files
    tried(
        "read-packages-as-files",
        "import os\nfor d in ('/packages', '/packages/numpy'):\n    open(d + '/PWNED_p', 'w')",
    ),
    tried(
        "write-through-numpy", "import numpy, os\nopen(os.path.dirname(numpy.__file__) + '/PWNED_n.py', 'w')"
    ),
    tried(
        "map-and-change-numpy",
        "import numpy, mmap, os\nf = os.open(numpy.__file__, os.O_RDWR)\nmmap.mmap(f, 10)",
    ),
    tried("memmap-a-secret", "import numpy; print(numpy.memmap('/var/tmp/canary_secret', mode='r')[0])"),
    tried(
        "load-a-library-of-ones-own",
        "import ctypes, shutil, os\nopen('x.so', 'wb').write(open(ctypes.util.__file__, 'rb').read() if hasattr(ctypes, 'util') else b'')\nctypes.CDLL('./x.so')",
    ),
    tried("read-by-proc-root", "print(open('/proc/self/root/etc/passwd').read(1))"),
    tried(
        "read-by-proc-descriptor",
        "import os\nfor n in range(3, 64):\n    print(open(f'/proc/self/fd/{n}', 'rb').read(1))",
    ),
    tried("write-to-own-memory", "open('/proc/self/mem', 'r+b').read(1)"),
    tried("score-of-memory", "open('/proc/self/oom_score_adj', 'w').write('-1000')"),
    tried(
        "exchange-with-a-secret",
        NUMBERS
        + "assert libc.syscall(276 if arm else 316, -100, b'/var/tmp/canary_secret', -100, b'x', 2) == 0",
    ),
    tried(
        "list-the-owner-of-the-work",
        "import os\nos.chdir('..'); print(os.listdir('.')[0]); assert 'owner' in os.listdir('.')",
    ),
    tried("leave-the-work", "import os\nos.rename('.', '../x')"),
    # processes and channel
    tried(
        "ask-the-zygote",
        "import os, json\nfor n in range(3, 64):\n    os.write(n, json.dumps({'tier': 'none'}).encode())",
    ),
    tried(
        "adopt-a-listener",
        NUMBERS + "assert libc.syscall(277 if arm else 317, 1, 8, ctypes.create_string_buffer(16)) >= 0",
    ),
    tried("wait-for-others", "import os\nos.waitpid(-1, os.WNOHANG)"),
    tried("priority-of-all", "import os\nos.setpriority(os.PRIO_USER, 0, -5)"),
    tried("real-time", "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
    # network
    tried(
        "socket-of-the-zygote", "import socket\nfor n in range(3, 64): socket.socket(fileno=n).send(b'{}')"
    ),
    tried(
        "resolve",
        "import socket; print(socket.getaddrinfo('localhost', 80)); socket.create_connection(('localhost', 80), 1)",
    ),
    # resources
    case(
        "many-callbacks",
        "import threading\nn = 0\ndef f():\n    global n\n    while True: n += 1\nfor _ in range(300):\n    try: threading.Thread(target=f, daemon=True).start()\n    except RuntimeError: break\nwhile True: pass",
        check="time",
        wall=1,
    ),
    case("numpy-memory", "import numpy as np\nx = [np.ones(1 << 24) for _ in range(40)]", check="rss"),
    case(
        "long-names",
        "import os\nfor i in range(300):\n    try: open('n' * 240 + str(i), 'w').close()\n    except OSError: break",
        check="alive",
    ),
    case(
        "tree-of-nobody",
        "import os\nos.umask(0o777)\np = '.'\nfor i in range(60): os.mkdir(str(i)); p = str(i)\nfor i in range(60):\n    try: open(f'f{i}', 'w').close()\n    except OSError: pass",
        check="alive",
    ),
    case(
        "closing-everything-then-a-tree",
        DEEP + "os.closerange(0, 1000)\nwhile True: pass",
        check="time",
        wall=1,
    ),
    case(
        "renaming-for-ever",
        "import os\nos.mkdir('a')\nwhile True: os.rename('a', 'b'); os.rename('b', 'a')",
        check="time",
        wall=1,
    ),
    case(
        "creating-for-ever",
        "import os\nwhile True: open('a', 'w').close(); os.unlink('a')",
        check="time",
        wall=1,
    ),
    case(
        "sparse-many",
        "import os\nfor i in range(200):\n    with open(f'{i}', 'wb') as f: f.seek((8 << 20) - 1); f.write(b'x')\nprint(3)",
        check="judge",
    ),
    # between runs
    case(
        "left-by-renaming-the-work",
        "import os\nos.makedirs('a/b'); open('a/b/c', 'w').close(); os.chdir('a/b')\nos.rename('../../a', '../../z')",
        check="twostep",
        second=ESC + "import os\nif os.listdir('.'): esc(os.listdir('.'))",
    ),
    case(
        "left-in-numpy",
        "import numpy; numpy.left = 1; numpy.core.left = 1",
        check="twostep",
        second=ESC + "import numpy\nif hasattr(numpy, 'left'): esc()",
    ),
    case(
        "left-by-a-lock",
        "import fcntl, os\nf = open('/dev/null'); fcntl.flock(f, fcntl.LOCK_EX)",
        check="twostep",
        second=ESC
        + "import fcntl\ntry: fcntl.flock(open('/dev/null'), fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError: esc()",
    ),
    # verdicts
    case(
        "fn-answers-ahead",
        FORGE
        + "def f(a, b):\n    for kind in ('value', 'error'):\n        body = (NONCE + '\\n' + kind + '\\n41').encode(); os.write(channel(), struct.pack('>I', len(body)) + body)\n    return 42",
        check="fn",
    ),
    case("fn-asks-back", FORGE + "def f(a, b): forged('back', b'[-1,[],{\"dict\":[]}]')", check="fn", wall=2),
    case("fn-changed", FORGE + "def f(a, b): forged('value', b'{\"changed\":[42,[6,7]]}')", check="fn"),
    case(
        "fn-graph",
        FORGE + 'def f(a, b): forged(\'value\', b\'{"graph":[{"node":0},[["int",[["real",42]]]]]}\')',
        check="fn",
    ),
    case("fn-held", FORGE + "def f(a, b): forged('value', b'{\"held\":[42,0]}')", check="fn"),
    case(
        "fn-standard",
        FORGE + 'def f(a, b): forged(\'value\', b\'{"standard":["Decimal","42"]}\')',
        check="fn",
    ),
    case(
        "fn-huge-decimal",
        FORGE + 'def f(a, b): forged(\'value\', b\'{"standard":["Decimal","9e999999999"]}\')',
        check="fn",
    ),
    case("fn-array", FORGE + "def f(a, b): forged('value', b'{\"array\":[\"<i8\",[42]]}')", check="fn"),
    case("fn-numpy-number", "import numpy\ndef f(a, b): return numpy.int64(41)", check="fn"),
    case(
        "fn-replaced-operations",
        "import sys\nfor n, m in list(sys.modules.items()):\n    if hasattr(m, 'OPERATIONS'): m.OPERATIONS.clear()\nimport operator\noperator.eq = lambda *a: True\ndef f(a, b): return 41",
        check="fn",
    ),
    case(
        "fn-ends-the-first-thread",
        "import ctypes, threading, time\ndef f(a, b):\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    ctypes.CDLL(None).pthread_exit(None)",
        check="fn",
        wall=2,
    ),
    case(
        "forge-by-the-prelude",
        "import sys\nsys.modules['__main__'].__dict__['print'] = lambda *a: sys.stdout.write('42')",
        check="judge",
    ),
]
