"""Attacks of our own, one a property. They run only inside the sandbox; ``esc`` says that one got out.

A payload stands on one line where it can be read on one.
"""

# ruff: noqa: E501

from __future__ import annotations

import textwrap

_ESC = """
import sys
def esc(x=''):
    sys.stdout.write('ESCAPED ' + str(x)[:200] + '\\n')
    sys.stdout.flush()
"""
_SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def attempt(number, *arguments):
    if number is not None and libc.syscall(number, *arguments) >= 0:
        esc(number)
"""


def _case(name: str, payload: str, check: str = "stdout_escaped", **more) -> dict:
    helpers = "" if check in ("fn", "judge") else _ESC
    helpers += _SYSCALL if "attempt(" in payload else ""
    return {"id": name, "check": check, "payload": helpers + textwrap.dedent(payload), **more}


def _tried(name: str, body: str, **more) -> dict:
    """A body that escapes if it comes to its end without an error."""
    return _case(
        name,
        "try:\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    esc()\nexcept Exception as e: print(e)",
        **more,
    )


_FILES = [
    _tried("read-passwd", "print(open('/etc/passwd').read(1))"),
    _tried("read-secret", "print(open('/var/tmp/canary_secret').read(1))"),
    _tried("read-by-relative-path", "print(open('../../../../../../var/tmp/canary_secret').read(1))"),
    _tried("read-by-chdir", "import os; os.chdir('/var/tmp'); print(open('canary_secret').read(1))"),
    _tried(
        "read-by-symlink", "import os; os.symlink('/var/tmp/canary_secret', 's'); print(open('s').read(1))"
    ),
    _tried("read-by-hardlink", "import os; os.link('/var/tmp/canary_secret', 's'); print(open('s').read(1))"),
    _tried("list-home", "import os; print(os.listdir('/home'), os.listdir('/root'))"),
    _tried("read-device", "print(open('/dev/vda', 'rb').read(1))"),
    _tried("read-kernel-log", "print(open('/dev/kmsg', 'rb').read(1))"),
    _tried("read-sys", "import os; print(os.listdir('/sys'))"),
    _tried("write-library", "import os; open(os.path.dirname(os.__file__) + '/PWNED.py', 'w')"),
    _tried("write-etc", "open('/etc/PWNED', 'w')"),
    _tried("truncate-secret", "import os; os.truncate('/var/tmp/canary_secret', 0)"),
    _tried("truncate-by-open", "import os; os.open('/var/tmp/canary_secret', os.O_RDONLY | os.O_TRUNC)"),
    _tried("delete-secret", "import os; os.unlink('/var/tmp/canary_secret')"),
    _tried("rename-secret", "import os; os.rename('/var/tmp/canary_secret', 's')"),
    _tried("change-mode", "import os; os.chmod('/var/tmp/canary_secret', 0o777)"),
    _tried("change-times", "import os; os.utime('/var/tmp/canary_secret')"),
    _tried("make-device", "import os, stat; os.mknod('d', 0o600 | stat.S_IFCHR, os.makedev(1, 1))"),
    _tried("make-fifo", "import os; os.mkfifo('f')"),
    _tried("chroot", "import os; os.chroot('.')"),
    _tried("mirror-write", "import json; open(json.__file__, 'a')"),
    _case(
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
    _case(
        "two-runs-file",
        "open('left', 'w').write('x'); open('/tmp/left2', 'w') if __import__('os').getcwd() == '/tmp' else 0",
        check="twostep",
        second=_ESC + "import os\nif os.listdir('.'): esc(os.listdir('.'))",
    ),
    _case(
        "two-runs-hidden",
        "import os; os.mkdir('d', 0o300); open('d/x', 'w')",
        check="twostep",
        second=_ESC + "import os\nif os.path.exists('d'): esc()",
    ),
    _case(
        "two-runs-memory",
        "import builtins, json; builtins.leak = json.leak = 1",
        check="twostep",
        second=_ESC + "import builtins, json\nif hasattr(builtins, 'leak') or hasattr(json, 'leak'): esc()",
    ),
]
_PROCESSES = [
    _tried("fork", "import os\npid = os.fork()\nif pid == 0: os._exit(0)"),
    _tried("fork-pty", "import pty\nif pty.fork()[0] == 0: __import__('os')._exit(0)"),
    _tried("spawn", "import os; os.posix_spawn('/bin/true', ['true'], {})"),
    _tried("exec", "import os; os.execv('/bin/echo', ['echo', 'ESCAPED'])"),
    _tried("shell", "import os; assert os.system('echo ESCAPED') == 0"),
    _tried("signal-parent", "import os; os.kill(os.getppid(), 0)"),
    _tried("signal-first", "import os; os.kill(1, 0)"),
    _tried("signal-group", "import os; os.kill(0, 0)"),
    _tried("signal-all", "import os; os.kill(-1, 0)"),
    _tried(
        "signal-by-owner", "import fcntl, os; r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())"
    ),
    _tried("pidfd", "import os; os.pidfd_open(os.getppid() or 1)"),
    _tried("set-priority", "import os; os.setpriority(os.PRIO_PROCESS, os.getppid() or 1, 5)"),
    _tried("set-affinity", "import os; os.sched_setaffinity(os.getppid() or 1, {0})"),
    _tried("become-root", "import os; os.setuid(0); open('/etc/shadow')"),
    _tried("new-session", "import os; os.setsid()"),
    _case(
        "raise-limits",
        """
        import resource
        for which in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
            try: resource.setrlimit(which, (1 << 50, 1 << 50)); esc(which)
            except (OSError, ValueError): pass
        """,
    ),
    _case("stopped", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", check="time", wall=1),
    _case(
        "deaf",
        "import signal, time\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
        check="time",
        wall=1,
    ),
    _case(
        "hung-thread",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
        check="time",
        wall=1,
    ),
    _case("hung-exit", "import atexit, time; atexit.register(time.sleep, 60)", check="time", wall=1),
    _case("busy-in-c", "9 ** 9 ** 9", check="time", wall=1),
    _case("crash", "import ctypes; ctypes.string_at(0)", check="alive"),
    _case("abort", "import os; os.abort()", check="alive"),
    _case("kill-self", "import os; os.kill(os.getpid(), 9)", check="alive"),
    _case("close-all", "import os; os.closerange(0, 100)", check="alive"),
]
_NETWORK = [
    _tried("socket-inet", "import socket; socket.socket()"),
    _tried("socket-unix", "import socket; socket.socket(socket.AF_UNIX)"),
    _tried("socket-netlink", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    _tried("socket-vsock", "import socket; socket.socket(40, socket.SOCK_STREAM)"),
    _tried("socket-crypto", "import socket; socket.socket(38, socket.SOCK_SEQPACKET)"),
    _tried(
        "datagram-pair",
        "import socket; a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b'x', '/var/tmp/sbx.sock')",
    ),
    _tried("pair-to-address", "import socket; a, b = socket.socketpair(); a.sendto(b'x', '\\0sbxcanary')"),
    _tried("pass-descriptor", "import socket; a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [0])"),
    _tried("out-of-band", "import socket; a, b = socket.socketpair(); a.send(b'x', socket.MSG_OOB)"),
    _case(
        "datagram",
        "import socket\ntry: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 18998))\nexcept OSError: pass",
        check="udp",
    ),
]
_NUMBERS = """
import os
arm = os.uname().machine == 'aarch64'
"""
_KERNEL = [
    _case("clone-process", _NUMBERS + "attempt(220 if arm else 56, 17, 0, 0, 0, 0)"),
    _case("clone-namespace", _NUMBERS + "attempt(220 if arm else 56, 0x10010100 | 0x20000, 0, 0, 0, 0)"),
    _case("clone3", "import ctypes\na = ctypes.create_string_buffer(88)\nattempt(435, a, 88)"),
    _case("vfork", _NUMBERS + "attempt(None if arm else 58)"),
    _case("process-memory", _NUMBERS + "attempt(270 if arm else 310, os.getppid() or 1, 0, 0, 0, 0, 0)"),
    _case("trace", _NUMBERS + "attempt(117 if arm else 101, 0, 0, 0, 0)"),
    _case("berkeley-filter", _NUMBERS + "attempt(280 if arm else 321, 0, 0, 0)"),
    _case("performance-events", _NUMBERS + "attempt(241 if arm else 298, 0, 0, 0, 0, 0)"),
    _case("fault-handler", _NUMBERS + "attempt(282 if arm else 323, 0)"),
    _case("keyring", _NUMBERS + "attempt(219 if arm else 250, 0, -3, 1)"),
    _case("shared-memory", _NUMBERS + "attempt(194 if arm else 29, 0, 4096, 0o1600)"),
    _case("memory-file", _NUMBERS + "attempt(279 if arm else 319, b'x', 0)"),
    _case(
        "open-by-handle",
        _NUMBERS
        + "attempt(265 if arm else 304, -100, 0, 0)\nattempt(264 if arm else 303, -100, b'.', ctypes.create_string_buffer(200), ctypes.byref(ctypes.c_int()), 0)",
    ),
    _case(
        "mounts",
        _NUMBERS
        + "attempt(40 if arm else 165, b'x', b'/tmp', b'tmpfs', 0, 0)\nattempt(430, b'tmpfs', 0)\nattempt(428, -100, b'/', 1)",
    ),
    _case("join-namespace", _NUMBERS + "attempt(268 if arm else 308, 0, 0)"),
    _case("more-filters", _NUMBERS + "attempt(277 if arm else 317, 1, 0, 0)\nattempt(444, 0, 0, 1)"),
    _case("message-queue", _NUMBERS + "attempt(180 if arm else 240, b'x', 0o102, 0o600, 0)"),
    _case("make-dumpable", _NUMBERS + "attempt(167 if arm else 157, 4, 1, 0, 0, 0)"),
    _case("no-death-signal", _NUMBERS + "attempt(167 if arm else 157, 1, 0, 0, 0, 0)"),
    _case(
        "grow-beyond-quota",
        _NUMBERS
        + "open('g', 'w').close()\nfd = os.open('g', os.O_RDWR)\nattempt(47 if arm else 285, fd, 1, ctypes.c_long(0), ctypes.c_long(1 << 28))",
    ),
    _case(
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
    _case("flood-stdout", "while True: print('x' * 10000)", check="time", wall=3),
    _case("flood-stderr", "import sys\nwhile True: sys.stderr.write('x' * 10000)", check="time", wall=3),
    _case("big-string", "x = 'x' * (3 << 30)", check="rss"),
    _case("mapped-memory", "import mmap\nm = [mmap.mmap(-1, 1 << 28) for _ in range(8)]", check="rss"),
    _case(
        "threads-with-memory",
        "import threading, time\nthreading.stack_size(1 << 28)\nfor _ in range(9): threading.Thread(target=time.sleep, args=(3,), daemon=True).start()",
        check="rss",
    ),
    _case(
        "small-threads",
        "import threading, time\nthreading.stack_size(32768)\nn = 0\ntry:\n    for i in range(1500): threading.Thread(target=time.sleep, args=(2,), daemon=True).start(); n += 1\n    esc(n)\nexcept RuntimeError as e: print(n, e)\nimport os; os._exit(0)",
    ),
    _case(
        "one-big-file",
        "try:\n    f = open('f', 'wb')\n    for i in range(300): f.write(b'x' * 10**6); f.flush()\n    esc()\nexcept OSError as e: print(e)",
    ),
    _case(
        "sparse-file", "try:\n    open('f', 'wb').truncate(1 << 40)\n    esc()\nexcept OSError as e: print(e)"
    ),
    _case(
        "deleted-files",
        "import os\nfs = []\ntry:\n    for i in range(300):\n        f = open('f', 'wb'); os.unlink('f'); fs.append(f)\n        for _ in range(4): f.write(b'x' * 10**6); f.flush()\n    esc()\nexcept OSError as e: print(e)",
    ),
    _case(
        "directories",
        "import os\ntry:\n    for i in range(5000): os.mkdir('d%d' % i)\n    esc()\nexcept OSError as e: print(e)",
    ),
    _case(
        "grow-input",
        "import os\ntry: os.write(0, b'x'); esc()\nexcept OSError: pass\ntry: os.truncate(0, 1 << 30); esc()\nexcept OSError: pass",
    ),
]
_DEEP = "import os\nfor _ in range(20): os.mkdir('d' * 250); os.chdir('d' * 250)\n"
_FORGE = """
import os, struct, sys
frame = sys._getframe()
while not hasattr(frame.f_locals.get('module'), '__dict__') or 'spec' not in frame.f_locals: frame = frame.f_back
NONCE = frame.f_locals['spec']['nonce']
def channel():
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get('self'), '_reply'): frame = frame.f_back
    return frame.f_locals['self']._reply
def forged(kind, body):
    message = (NONCE + '\\n' + kind + '\\n').encode() + body
    message = struct.pack('>I', len(message)) + message
    while message: message = message[os.write(channel(), message[:65536]):]
    while True: pass
HASH_OF_ZERO = [{'int': hex(n * (2 ** 61 - 1))} for n in range(1, 80000)]
"""
_TREES = [
    _case("deep-tree", _DEEP + "print(3)", check="judge"),
    _case("deep-tree-then-hang", _DEEP + "while True: pass", check="judge", wall=1),
    _case(
        "deep-tree-without-rights",
        "import os\nos.umask(0o777)\nos.mkdir('a'); os.mkdir('b')\nprint(3)",
        check="judge",
    ),
    _case(
        "deep-tree-by-renaming",
        "import os\nfor i in range(200):\n    os.mkdir('n'); os.path.exists('o') and os.rename('o', 'n/' + 'x' * 250); os.rename('n', 'o')\nprint(3)",
        check="judge",
    ),
    _case(
        "deep-tree-of-files",
        _DEEP
        + "n = 0\ntry:\n    for i in range(200):\n        with open(f'f{i}', 'wb') as f:\n            for _ in range(8): f.write(b'x' * (1 << 20)); n += 1\nexcept OSError: pass\nif n > 100: esc(n)",
    ),
    _case(
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
    _case(
        "whiteouts",
        _NUMBERS
        + "n = 0\nfor i in range(2000):\n    open('a', 'w').close()\n    n += libc.syscall(276 if arm else 316, -100, b'a', -100, b'b', 4) == 0\nif n: esc(n)",
    ),
    _case(
        "many-short-lives",
        "import os\nfor i in range(1000): open('x', 'w').close(); os.unlink('x')\nopen('still', 'w').close()",
        check="alive",
    ),
]
_LIES = [
    _case(
        "fn-colliding-set",
        _FORGE + "import json\ndef f(a, b): forged('value', json.dumps({'set': HASH_OF_ZERO}).encode())",
        check="fn",
    ),
    _case(
        "fn-colliding-dict",
        _FORGE
        + "import json\ndef f(a, b): forged('value', json.dumps({'dict': [[n, 1] for n in HASH_OF_ZERO]}).encode())",
        check="fn",
    ),
    _case(
        "fn-many-lists", _FORGE + "def f(a, b): forged('value', b'[' + b'[],' * 5000000 + b'1]')", check="fn"
    ),
    _case("fn-deep-lie", _FORGE + "def f(a, b): forged('value', b'[' * 1000000)", check="fn"),
    _case("fn-many-digits", _FORGE + "def f(a, b): forged('value', b'4' * 10000000)", check="fn"),
    _case(
        "fn-announced-only",
        _FORGE + "def f(a, b):\n    os.write(channel(), struct.pack('>I', 15000000))\n    while True: pass",
        check="fn",
        wall=2,
    ),
    _case(
        "fn-error-with-escapes",
        _FORGE + "def f(a, b): forged('error', b'\\x1b]0;title\\x07\\x1b[2J' * 9)",
        check="fn",
    ),
    _case(
        "fn-slow-import-and-call",
        "import time; time.sleep(1.4)\ndef f(a, b):\n    time.sleep(1.4)\n    return 41",
        check="fn",
        wall=1.5,
    ),
    _case("fn-deep-tree", "def f(a, b):\n" + textwrap.indent(_DEEP, "    ") + "    return 41", check="fn"),
]
_FORGERY = [
    _case("forge-nothing", "raise SystemExit", check="judge"),
    _case("forge-float", "print('42.0')", check="judge"),
    _case("forge-more", "print('42'); print('42')", check="judge"),
    _case("forge-then-crash", "print('42', flush=True); import os; os.abort()", check="judge"),
    _case("forge-stderr", "import sys; print('42', file=sys.stderr)", check="judge"),
    _case("forge-fullwidth", "print('４２')", check="judge"),
    _case("forge-nul", "print('42\\0')", check="judge"),
    _case("forge-true", "print('1')", check="judge", expected_out="True"),
    _case(
        "fn-int-subclass",
        "class X(int):\n    def __eq__(s, o): return True\n    __hash__ = None\ndef f(a, b): return X(41)",
        check="fn",
    ),
    _case(
        "fn-class-lie",
        "class X:\n    __class__ = int\n    def __eq__(s, o): return True\ndef f(a, b): return X()",
        check="fn",
    ),
    _case(
        "fn-repr-lie",
        "class X(int):\n    def __repr__(s): return '42'\n    __str__ = __index__ = __int__ = lambda s: 42\ndef f(a, b): return X(41)",
        check="fn",
    ),
    _case("fn-bool", "def f(a, b): return True", check="fn"),
    _case("fn-float", "def f(a, b): return 42.0", check="fn"),
    _case("fn-text", "def f(a, b): return '42'", check="fn"),
    _case("fn-list", "def f(a, b): return [42]", check="fn"),
    _case("fn-iterator", "def f(a, b):\n    yield 42", check="fn"),
    _case("fn-decimal", "from decimal import Decimal\ndef f(a, b): return Decimal(42)", check="fn"),
    _case("fn-raise", "def f(a, b): raise ValueError(42)", check="fn"),
    _case("fn-base-exception", "def f(a, b): raise KeyboardInterrupt", check="fn"),
    _case("fn-missing", "print(42)", check="fn"),
    _case("fn-syntax", "def f(a, b) return 42", check="fn"),
    _case("fn-exit-on-import", "import os; os._exit(0)", check="fn"),
    _case("fn-hang-on-import", "while True: pass", check="fn", wall=1),
    _case("fn-hang", "def f(a, b):\n    while True: pass", check="fn", wall=1),
    _case("fn-huge", "def f(a, b): return [42] * 10**6", check="fn"),
    _case(
        "fn-deep", "def f(a, b):\n    x = 42\n    for _ in range(10**5): x = [x]\n    return x", check="fn"
    ),
    _case("fn-cycle", "def f(a, b):\n    x = []; x.append(x)\n    return x", check="fn"),
    _case("fn-nan", "def f(a, b): return float('nan')", check="fn"),
    _case(
        "fn-patched-builtins",
        "import builtins\nbuiltins.type = lambda *a: int\nbuiltins.repr = lambda x: '42'\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 2\nbuiltins.str = lambda x: '42'\ndef f(a, b): return 0",
        check="fn",
    ),
    _case(
        "fn-patched-os",
        "import os\nos.write = lambda *a: 42\nos.read = lambda *a: b'42'\ndef f(a, b): return 0",
        check="fn",
    ),
    _case(
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
    _case(
        "fn-endless-frame",
        "import os, struct\ndef f(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('>I', 2**32 - 1) + b'x' * 1000)\n        except OSError: pass\n    return 0",
        check="fn",
        wall=2,
    ),
    _case(
        "fn-flood-frames",
        "import os\ndef f(a, b):\n    while True:\n        for fd in range(1, 16):\n            try: os.write(fd, b'\\xff' * 65536)\n            except OSError: pass",
        check="fn",
        wall=3,
    ),
    _case(
        "fn-late-thread",
        "import threading, os, time\ndef f(a, b):\n    threading.Thread(target=lambda: (time.sleep(.1), os._exit(0))).start()\n    return 41",
        check="fn",
    ),
    _case(
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

_FURTHER = [
    # files
    _tried(
        "read-packages-as-files",
        "import os\nfor d in ('/packages', '/packages/numpy'):\n    open(d + '/PWNED_p', 'w')",
    ),
    _tried(
        "write-through-numpy", "import numpy, os\nopen(os.path.dirname(numpy.__file__) + '/PWNED_n.py', 'w')"
    ),
    _tried(
        "map-and-change-numpy",
        "import numpy, mmap, os\nf = os.open(numpy.__file__, os.O_RDWR)\nmmap.mmap(f, 10)",
    ),
    _tried("memmap-a-secret", "import numpy; print(numpy.memmap('/var/tmp/canary_secret', mode='r')[0])"),
    _tried(
        "load-a-library-of-ones-own",
        "import ctypes, shutil, os\nopen('x.so', 'wb').write(open(ctypes.util.__file__, 'rb').read() if hasattr(ctypes, 'util') else b'')\nctypes.CDLL('./x.so')",
    ),
    _tried("read-by-proc-root", "print(open('/proc/self/root/etc/passwd').read(1))"),
    _tried(
        "read-by-proc-descriptor",
        "import os\nfor n in range(3, 64):\n    print(open(f'/proc/self/fd/{n}', 'rb').read(1))",
    ),
    _tried("write-to-own-memory", "open('/proc/self/mem', 'r+b').read(1)"),
    _tried("score-of-memory", "open('/proc/self/oom_score_adj', 'w').write('-1000')"),
    _tried(
        "exchange-with-a-secret",
        _NUMBERS
        + "assert libc.syscall(276 if arm else 316, -100, b'/var/tmp/canary_secret', -100, b'x', 2) == 0",
    ),
    _tried(
        "list-the-owner-of-the-work",
        "import os\nos.chdir('..'); print(os.listdir('.')[0]); assert 'owner' in os.listdir('.')",
    ),
    _tried("leave-the-work", "import os\nos.rename('.', '../x')"),
    # processes and channel
    _tried(
        "ask-the-zygote",
        "import os, json\nfor n in range(3, 64):\n    os.write(n, json.dumps({'tier': 'none'}).encode())",
    ),
    _tried(
        "adopt-a-listener",
        _NUMBERS + "assert libc.syscall(277 if arm else 317, 1, 8, ctypes.create_string_buffer(16)) >= 0",
    ),
    _tried("wait-for-others", "import os\nos.waitpid(-1, os.WNOHANG)"),
    _tried("priority-of-all", "import os\nos.setpriority(os.PRIO_USER, 0, -5)"),
    _tried("real-time", "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
    # network
    _tried(
        "socket-of-the-zygote", "import socket\nfor n in range(3, 64): socket.socket(fileno=n).send(b'{}')"
    ),
    _tried(
        "resolve",
        "import socket; print(socket.getaddrinfo('localhost', 80)); socket.create_connection(('localhost', 80), 1)",
    ),
    # resources
    _case(
        "many-callbacks",
        "import threading\nn = 0\ndef f():\n    global n\n    while True: n += 1\nfor _ in range(300):\n    try: threading.Thread(target=f, daemon=True).start()\n    except RuntimeError: break\nwhile True: pass",
        check="time",
        wall=1,
    ),
    _case("numpy-memory", "import numpy as np\nx = [np.ones(1 << 24) for _ in range(40)]", check="rss"),
    _case(
        "long-names",
        "import os\nfor i in range(300):\n    try: open('n' * 240 + str(i), 'w').close()\n    except OSError: break",
        check="alive",
    ),
    _case(
        "tree-of-nobody",
        "import os\nos.umask(0o777)\np = '.'\nfor i in range(60): os.mkdir(str(i)); p = str(i)\nfor i in range(60):\n    try: open(f'f{i}', 'w').close()\n    except OSError: pass",
        check="alive",
    ),
    _case(
        "closing-everything-then-a-tree",
        _DEEP + "os.closerange(0, 1000)\nwhile True: pass",
        check="time",
        wall=1,
    ),
    _case(
        "renaming-for-ever",
        "import os\nos.mkdir('a')\nwhile True: os.rename('a', 'b'); os.rename('b', 'a')",
        check="time",
        wall=1,
    ),
    _case(
        "creating-for-ever",
        "import os\nwhile True: open('a', 'w').close(); os.unlink('a')",
        check="time",
        wall=1,
    ),
    _case(
        "sparse-many",
        "import os\nfor i in range(200):\n    with open(f'{i}', 'wb') as f: f.seek((8 << 20) - 1); f.write(b'x')\nprint(3)",
        check="judge",
    ),
    # between runs
    _case(
        "left-by-renaming-the-work",
        "import os\nos.makedirs('a/b'); open('a/b/c', 'w').close(); os.chdir('a/b')\nos.rename('../../a', '../../z')",
        check="twostep",
        second=_ESC + "import os\nif os.listdir('.'): esc(os.listdir('.'))",
    ),
    _case(
        "left-in-numpy",
        "import numpy; numpy.left = 1; numpy.core.left = 1",
        check="twostep",
        second=_ESC + "import numpy\nif hasattr(numpy, 'left'): esc()",
    ),
    _case(
        "left-by-a-lock",
        "import fcntl, os\nf = open('/dev/null'); fcntl.flock(f, fcntl.LOCK_EX)",
        check="twostep",
        second=_ESC
        + "import fcntl\ntry: fcntl.flock(open('/dev/null'), fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError: esc()",
    ),
    # verdicts
    _case(
        "fn-answers-ahead",
        _FORGE
        + "def f(a, b):\n    for kind in ('value', 'error'):\n        body = (NONCE + '\\n' + kind + '\\n41').encode(); os.write(channel(), struct.pack('>I', len(body)) + body)\n    return 42",
        check="fn",
    ),
    _case(
        "fn-asks-back", _FORGE + "def f(a, b): forged('back', b'[-1,[],{\"dict\":[]}]')", check="fn", wall=2
    ),
    _case("fn-changed", _FORGE + "def f(a, b): forged('value', b'{\"changed\":[42,[6,7]]}')", check="fn"),
    _case(
        "fn-graph",
        _FORGE + 'def f(a, b): forged(\'value\', b\'{"graph":[{"node":0},[["int",[["real",42]]]]]}\')',
        check="fn",
    ),
    _case("fn-held", _FORGE + "def f(a, b): forged('value', b'{\"held\":[42,0]}')", check="fn"),
    _case(
        "fn-standard",
        _FORGE + 'def f(a, b): forged(\'value\', b\'{"standard":["Decimal","42"]}\')',
        check="fn",
    ),
    _case(
        "fn-huge-decimal",
        _FORGE + 'def f(a, b): forged(\'value\', b\'{"standard":["Decimal","9e999999999"]}\')',
        check="fn",
    ),
    _case("fn-array", _FORGE + "def f(a, b): forged('value', b'{\"array\":[\"<i8\",[42]]}')", check="fn"),
    _case("fn-numpy-number", "import numpy\ndef f(a, b): return numpy.int64(41)", check="fn"),
    _case(
        "fn-replaced-operations",
        "import sys\nfor n, m in list(sys.modules.items()):\n    if hasattr(m, 'OPERATIONS'): m.OPERATIONS.clear()\nimport operator\noperator.eq = lambda *a: True\ndef f(a, b): return 41",
        check="fn",
    ),
    _case(
        "fn-ends-the-first-thread",
        "import ctypes, threading, time\ndef f(a, b):\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    ctypes.CDLL(None).pthread_exit(None)",
        check="fn",
        wall=2,
    ),
    _case(
        "forge-by-the-prelude",
        "import sys\nsys.modules['__main__'].__dict__['print'] = lambda *a: sys.stdout.write('42')",
        check="judge",
    ),
]

ATTACKS = [*_FILES, *_PROCESSES, *_NETWORK, *_KERNEL, *_RESOURCES, *_TREES, *_FORGERY, *_LIES, *_FURTHER]

BENIGN = [
    {"description": name, "code": textwrap.dedent(code), "stdin": stdin, "expected_stdout": expected}
    for name, code, stdin, expected in [
        ("input", "a, b = map(int, input().split()); print(a * b)", "6 7\n", "42"),
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
