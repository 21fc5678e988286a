"""Attacks through every channel that a program has: descriptors, frames, the collector, signals, raw system calls,
what stays behind, odd bytes, and ends that look well."""

# ruff: noqa: E501

from __future__ import annotations

_PRELUDE = """import ctypes, os, sys, signal, time
libc = ctypes.CDLL(None, use_errno=True)
"""

# (name, check, program, the second program of two)
_ATTACKS: list[tuple[str, ...]] = [
    ("forge-write-every-fd", "judge", "import os\nfor fd in range(3,256):\n    for m in (b'\\x00\\x00\\x00\\x0242', b'42\\n', b'passed\\n', b'value\\n42'):\n        try: os.write(fd, m)\n        except OSError: pass\nprint(41)"),
    ("fn-forge-every-fd", "fn", "import os, struct\ndef f(a, b):\n    for fd in range(0,256):\n        for b in (b'value\\n42', b'deadbeefdeadbeef\\nvalue\\n42'):\n            try: os.write(fd, struct.pack('>I', len(b)) + b)\n            except OSError: pass\n    return 41"),
    ("fn-frames-nonce-42", "fn", "import sys\ndef f(a, b):\n    fr = sys._getframe()\n    while fr:\n        s = fr.f_locals.get('self')\n        if hasattr(s, '_nonce'):\n            s._send('value\\n43')\n        fr = fr.f_back\n    return 41"),
    ("fn-gc-answering", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *a: '41.99999'\n    return 41"),
    ("fn-colliding-set", "fn", "def f(a, b):\n    return {i * (2**61 - 1) for i in range(3000)}"),
    ("fn-forge-colliding", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *x: '{\"set\":[' + ','.join(str(i * (2**61 - 1)) for i in range(80000)) + ']}'\n    return 41"),
    ("fn-deep-json", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *x: '[' * 10**6\n    return 41"),
    ("fn-huge-int", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *x: '9' * 10**7\n    return 41"),
    ("fn-hex-int-huge", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *x: '{\"int\":\"0x' + 'f' * 10**7 + '\"}'\n    return 41"),
    ("fn-fraction-bomb", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *x: '{\"standard\":[\"Decimal\",\"1e999999999\"]}'\n    return 41"),
    ("fn-pattern-bomb", "fn", "import gc\ndef f(a, b):\n    for o in gc.get_objects():\n        if type(o).__name__ == 'Answering':\n            o._encode = lambda *x: '{\"standard\":[\"Pattern\",\"((((a{1,1000}){1,1000}){1,1000})\",0]}'\n    return 41"),
    ("fn-equal-object", "fn", "class E(int):\n    def __eq__(s, o): return True\n    def __hash__(s): return 42\n    def __sub__(s, o): return 0\ndef f(a, b): return E(41)"),
    ("fn-numpy-42", "fn", "def f(a, b):\n    import numpy\n    return numpy.float64(42.0)"),
    ("fn-atexit-42", "fn", "import atexit, os, sys\ndef f(a, b):\n    os._exit(0)\natexit.register(lambda: print(42))"),
    ("fn-thread-reply-later", "fn", "import threading, time, gc\ndef f(a, b):\n    def late():\n        time.sleep(0.05)\n        for o in gc.get_objects():\n            if type(o).__name__ == 'Answering': o._send('value\\n42.0')\n    threading.Thread(target=late, daemon=True).start()\n    return 41"),
    ("fn-sys-exit-42", "fn", "import sys\ndef f(a, b): sys.exit(42)"),
    ("kill-parent-all-signals", "judge", "import os\nfor pid in (os.getppid(), 1, 2, -1, 0, -os.getpgrp() if os.getpgrp() > 1 else 0):\n    for s in range(1, 65):\n        try: os.kill(pid, s) if pid not in (os.getpid(),) and pid != 0 else None\n        except OSError: pass\nprint(41)"),
    ("sigstop-self", "judge", "import os, signal\nprint('41', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)"),
    ("tkill-raw", "judge", _PRELUDE + "for n in (200, 234, 297, 129, 424, 434, 438):\n    for pid in (1, 2, os.getppid()):\n        libc.syscall(n, pid, pid, 9, 0)\nprint(41)"),
    ("ptrace-raw", "alive", _PRELUDE + "for op in (0, 16, 0x4206):\n    for pid in (os.getppid(), 1, 2):\n        r = libc.syscall(101, op, pid, 0, 0)\n        if r >= 0 and op == 16: print('ESCAPED')\nprint(41)"),
    ("proc-mem", "stdout_escaped", "import os, glob\nfor p in ('/proc/self/mem', '/proc/1/mem', f'/proc/{os.getppid()}/mem', '/proc/self/fd/3', '/proc/self/maps', '/proc/self/environ', '/proc/self/cmdline', '/dev/mem', '/dev/kmsg', '/sys/kernel'):\n    try:\n        open(p, 'rb').read(1)\n        print('ESCAPED', p)\n    except OSError as e: pass"),
    ("vm-readv", "stdout_escaped", _PRELUDE + "import ctypes as c\nb = c.create_string_buffer(64)\nclass IO(c.Structure): _fields_ = [('b', c.c_void_p), ('l', c.c_size_t)]\nl = IO(c.addressof(b), 64); r = IO(0x400000, 64)\nfor pid in (os.getppid(), 1):\n    if libc.syscall(310, pid, c.byref(l), 1, c.byref(r), 1, 0) > 0: print('ESCAPED')\nprint(41)"),
    ("io-uring", "stdout_escaped", _PRELUDE + "for n in (425, 426, 427):\n    if libc.syscall(n, 8, ctypes.create_string_buffer(256), 0) >= 0: print('ESCAPED')\nprint(41)"),
    ("keyring", "twostep", _PRELUDE + "print('ESCAPED') if libc.syscall(248, b'user', b'k', b'secret', 6, -3) > 0 else 0\nprint(41)", "import ctypes\nl = ctypes.CDLL(None)\nprint('ESCAPED') if l.syscall(249, b'user', b'k', None, -3) > 0 else print('ok')"),
    ("sysv-ipc", "twostep", _PRELUDE + "for n, a in ((29, (0x42, 4096, 0o1666)), (64, (0x42, 1, 0o1666)), (68, (0x42, 0o1666))):\n    if libc.syscall(n, *a) >= 0: print('ESCAPED')\nprint(41)", "print('ok')"),
    ("posix-mq", "twostep", _PRELUDE + "if libc.syscall(240, b'mqx', 0o102, 0o666, None) >= 0: print('ESCAPED')\nprint(41)", "print('ok')"),
    ("memfd-exec", "stdout_escaped", _PRELUDE + "fd = libc.syscall(319, b'x', 0)\nprint('ESCAPED memfd') if fd >= 0 else 0\nprint(41)"),
    ("inotify-fanotify", "stdout_escaped", _PRELUDE + "for n in (253, 294, 300):\n    if libc.syscall(n, 0, 0) >= 0: print('ESCAPED')\nprint(41)"),
    ("abstract-socket", "stdout_escaped", "import socket\ntry:\n    s = socket.socket(socket.AF_UNIX); s.connect('\\0sbxcanary'); print('ESCAPED', s.recv(9))\nexcept OSError as e: print(e)"),
    ("sockets-of-families", "stdout_escaped", "import socket\nfor fam in range(1, 46):\n    for t in (1, 2, 3, 5):\n        try: socket.socket(fam, t); print('ESCAPED', fam, t)\n        except OSError: pass"),
    ("socketpair-scm-rights", "stdout_escaped", "import socket, os\na, b = socket.socketpair()\ntry:\n    socket.send_fds(a, [b'x'], [0]); print('ESCAPED')\nexcept OSError: pass\ntry:\n    a2, b2 = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); print('ESCAPED')\nexcept OSError: pass"),
    ("fork-every-way", "survivors", _PRELUDE + "for n, a in ((57, ()), (58, ()), (56, (17, 0, 0, 0, 0)), (435, (ctypes.create_string_buffer(88), 88)), (59, (b'/bin/sh', 0, 0)), (322, (-100, b'/bin/sh', 0, 0, 0))):\n    r = libc.syscall(n, *a)\n    if r == 0: time.sleep(30)\n    if r > 0: print('ESCAPED', n)\nprint(41)"),
    ("setsid-daemon", "survivors", "import os\nfor f in (os.setsid, os.setpgrp, lambda: os.setpgid(0, 0), os.fork, lambda: os.posix_spawn('/bin/sleep', ['sleep', '30'], {})):\n    try: f()\n    except OSError: pass\nprint(41)"),
    ("links-everywhere", "twostep", "import os\nfor s, d in (('/var/tmp/canary_secret', 'l'), ('/etc/passwd', 'p')):\n    for f in (os.symlink, os.link):\n        try: f(s, d)\n        except OSError: pass\nfor n in ('l', 'p'):\n    try: print('ESCAPED', open(n).read(9))\n    except OSError: pass\nfor f in (lambda: os.mkfifo('ff'), lambda: os.mknod('nn'), lambda: os.mknod('dd', 0o20666, os.makedev(1, 5))):\n    try: f(); print('made')\n    except OSError: pass", "import os\nprint('ESCAPED' if os.listdir('.') else 'ok')"),
    ("deep-tree-wrong", "judge", "import os\nfor _ in range(30):\n    try: os.mkdir('d' * 250); os.chdir('d' * 250)\n    except OSError: break\nopen('x', 'w').write('y' * 1000)\nprint(41)"),
    ("many-files-cwd-gone", "judge", "import os\nos.mkdir('a'); os.chdir('a'); os.rmdir('../a')\ntry: open('z', 'w')\nexcept OSError: pass\nfor i in range(3000):\n    try: open(f'../f{i}', 'w').write('x')\n    except OSError: break\nprint(41)"),
    ("rename-storm-threads", "judge", "import os, threading, time\nend = time.time() + 1\ndef w(i):\n    n = 0\n    while time.time() < end:\n        try:\n            os.makedirs(f'{i}/{n % 7}/x'); os.rename(f'{i}/{n % 7}', f'{i}/{(n + 3) % 7}_')\n        except OSError: pass\n        n += 1\nts = [threading.Thread(target=w, args=(i,)) for i in range(8)]\n[t.start() for t in ts]; [t.join() for t in ts]\nprint(41)"),
    ("unlinked-open-files", "judge", "import os\nfs = []\ntry:\n    for i in range(400):\n        f = open(f'q{i}', 'wb'); f.write(b'x' * 10**6); f.flush(); os.unlink(f'q{i}'); fs.append(f)\nexcept OSError: pass\nprint(41)"),
    ("sparse-and-fallocate", "judge", "import os\nf = open('s', 'wb')\ntry: f.seek(2**40); f.write(b'x')\nexcept OSError: pass\ntry: os.posix_fallocate(f.fileno(), 0, 10**9)\nexcept OSError: pass\nprint(41)"),
    ("thread-bomb", "judge", "import threading, time\ntry:\n    for _ in range(10000): threading.Thread(target=time.sleep, args=(20,), daemon=True).start()\nexcept RuntimeError: pass\nprint(41)"),
    ("mmap-bomb", "judge", "import mmap\nm = []\ntry:\n    while True: m.append(mmap.mmap(-1, 1 << 28))\nexcept (OSError, MemoryError, ValueError): pass\nprint(41)"),
    ("pipe-bomb", "judge", "import os\np = []\ntry:\n    while True:\n        r, w = os.pipe(); os.set_blocking(w, False); p.append((r, w))\n        try: os.write(w, b'x' * 65536)\n        except OSError: pass\nexcept OSError: pass\nprint(41)"),
    ("alarm-ignored-spin", "time", "import signal, os\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nwhile True: pass"),
    ("block-all-signals", "time", "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nimport time\nwhile True: time.sleep(100)"),
    ("stdout-flood", "time", "import os\nwhile True: os.write(1, b'x' * 65536)"),
    ("stderr-flood-then-42", "judge", "import os\ntry:\n    while True: os.write(2, b'e' * 65536)\nfinally: print(42)"),
    ("close-stdout-hold", "time", "import os, time\nos.dup2(1, 50); os.close(1); os.close(2); os.close(0)\ntime.sleep(100)"),
    ("nul-and-invalid", "judge", "import sys\nsys.stdout.buffer.write(b'42\\x00\\n')"),
    ("invalid-utf8", "judge", "import sys\nsys.stdout.buffer.write(b'42\\xff\\n')"),
    ("fullwidth-digits", "judge", "print('\\uff14\\uff12')"),
    ("cr-tricks", "judge", "import sys\nsys.stdout.write('41\\r42')"),
    ("many-answers", "judge", "print(*range(100), sep='\\n')"),
    ("42-then-fail", "judge", "print(42, flush=True)\nraise SystemExit(1)"),
    ("42-then-hang", "judge", "import time\nprint(42, flush=True)\ntime.sleep(60)"),
    ("42-then-segv", "judge", "import ctypes\nprint(42, flush=True)\nctypes.string_at(0)"),
    ("42-then-threads-live", "judge", "import threading, time\nprint(42, flush=True)\nthreading.Thread(target=time.sleep, args=(60,)).start()"),
    ("excepthook-exit-0", "judge", "import sys, os\nsys.excepthook = lambda *a: (print(41, flush=True), os._exit(0))\nraise ValueError"),
    ("tamper-runner", "judge", "import sys, builtins, json, io, os\nfor n in list(sys.modules):\n    if n not in ('sys', 'builtins'):\n        sys.modules[n] = None\nbuiltins.print = lambda *a: None\nos._exit(0)"),
    ("stdin-reopen-seek", "twostep", "import os\nos.lseek(0, 0, 0)\nprint(os.read(0, 10))\ntry:\n    os.write(0, b'ESCAPED'); os.ftruncate(0, 0)\nexcept OSError as e: print(e)", "import sys\nprint('ESCAPED' if sys.stdin.read() else 'ok')"),
    ("tmp-and-shm-left", "twostep", "import os\nfor p in ('/tmp/left_x', '/dev/shm/left_x', '/var/tmp/left_x', '/run/left_x', os.path.expanduser('~/left_x')):\n    try: open(p, 'w').write('x')\n    except OSError: pass\nimport sys\nfor d in sys.path:\n    try: open(os.path.join(d or '.', 'left_x.py'), 'w').write('print(\"ESCAPED\")')\n    except OSError: pass", "try:\n    import left_x\nexcept ImportError: pass\nimport os\nfor p in ('/tmp/left_x', '/dev/shm/left_x', '/var/tmp/left_x', os.path.expanduser('~/left_x')):\n    if os.path.exists(p): print('ESCAPED', p)"),
    ("pycache-poison", "twostep", "import os, sys, json\nd = os.path.dirname(json.__file__)\nfor n in ('__pycache__/x.pyc', '__init__.py', '../json/decoder.py'):\n    try: open(os.path.join(d, n), 'a').write('ESCAPED')\n    except OSError: pass\n    try: os.utime(os.path.join(d, n), (0, 0))\n    except OSError: pass", "import json, os\nprint('ESCAPED' if os.stat(json.__file__).st_mtime == 0 else 'ok')"),
    ("priority-rlimit-others", "stdout_escaped", _PRELUDE + "import resource\nfor p in (os.getppid(), 1, 2):\n    try: resource.prlimit(p, resource.RLIMIT_NOFILE, (3, 3)); print('ESCAPED')\n    except (OSError, PermissionError): pass\nfor f in (lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19), lambda: os.sched_setaffinity(os.getppid(), {0}), lambda: os.nice(5)):\n    try: f(); print('changed')\n    except OSError: pass\nprint(41)"),
    ("namespaces-again", "stdout_escaped", _PRELUDE + "for n, a in ((272, (0x10000000,)), (308, (0, 0)), (165, (b'a', b'b', b'c', 0, 0)), (161, (b'.',)), (155, (b'.', b'.')), (428, (0, b'.', 1)), (429, (0, b'', 1, b'x', 0)), (321, (0, 0, 0)), (323, (0,)), (298, (0, 0, -1, -1, 0)), (317, (1, 0, 0)), (444, (0, 0, 0)), (246, (0, 0, 0, 0)), (169, (0xfee1dead, 672274793, 0, 0))):\n    r = libc.syscall(n, *a)\n    if r >= 0: print('ESCAPED', n)\nprint(41)"),
    ("wait-forever-in-c", "time", _PRELUDE + "libc.syscall(202, ctypes.byref(ctypes.c_int(0)), 0, 0, None)\nprint(41)"),
    ("recursion-in-reply", "fn", "def f(a, b):\n    x = []\n    x.append(x)\n    return x"),
    ("generator-endless", "fn", "def f(a, b):\n    def g():\n        while True: yield 42\n    return g()"),
    ("fn-stdout-42", "fn", "def f(a, b):\n    print('value\\n42', flush=True)\n    return None"),
    ("fn-replace-json", "fn", "import json, _json\njson.dumps = lambda *a, **k: '42'\njson.encoder = None\n_json.encode_basestring_ascii = lambda s: '42'\ndef f(a, b): return '41'"),
    ("fn-os-write-hook", "fn", "import os\nreal = os.write\nos.write = lambda fd, d: real(fd, bytes(d).replace(b'41', b'4x'))\ndef f(a, b): return 41"),
    ("fn-settrace", "fn", "import sys\ndef t(fr, ev, arg):\n    if fr.f_code.co_name == '_done': fr.f_locals['value'] = 43\n    return t\nsys.settrace(t)\ndef f(a, b): return 41"),
    ("fn-codeobj-patch", "fn", "import sys, gc, types\ndef f(a, b):\n    for o in gc.get_objects():\n        if isinstance(o, types.FunctionType) and o.__name__ == '_encode' and o is not f:\n            try: o.__code__ = (lambda *a, **k: '42.5').__code__\n            except ValueError: pass\n    return 41"),
]  # fmt: skip

BY_CHANNEL = [
    {"id": f"channel-{name}", "check": check, "payload": payload} | ({"second": second[0]} if second else {})
    for name, check, payload, *second in _ATTACKS
]
