"""System call numbers of the two supported machines, as the kernel headers give them."""

from __future__ import annotations

import os

AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

_BOTH = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69,
pwritev 296 70, preadv2 327 286, pwritev2 328 287, lseek 8 62, close 3 57, close_range 436 436,
fstat 5 80, newfstatat 262 79, statx 332 291, faccessat 269 48, faccessat2 439 439, openat 257 56,
readlinkat 267 78, getcwd 79 17, chdir 80 49, fchdir 81 50, getdents64 217 61, dup 32 23, dup3 292 24,
pipe2 293 59, fcntl 72 25, flock 73 32, fsync 74 82, fdatasync 75 83, ftruncate 77 46, mkdirat 258 34,
unlinkat 263 35, renameat 264 38, renameat2 316 276, umask 95 166, sendfile 40 71, copy_file_range 326 285,
statfs 137 43, fstatfs 138 44, fadvise64 221 223, ioctl 16 29, mmap 9 222, munmap 11 215, mprotect 10 226,
mremap 25 216, madvise 28 233, brk 12 214, msync 26 227, membarrier 324 283, rseq 334 293,
set_robust_list 273 99, get_robust_list 274 100, futex 202 98, set_tid_address 218 96, exit 60 93,
exit_group 231 94, getpid 39 172, gettid 186 178, getppid 110 173, getuid 102 174, geteuid 107 175,
getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150, getgroups 115 158, getpgid 121 155,
getsid 124 156, uname 63 160, sysinfo 99 179, times 100 153, getrusage 98 165, clock_gettime 228 113,
clock_getres 229 114, clock_nanosleep 230 115, nanosleep 35 101, gettimeofday 96 169, getcpu 309 168,
sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler 145 120,
sched_get_priority_max 146 125, sched_get_priority_min 147 126, getpriority 140 141, getrandom 318 278,
capget 125 90, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136,
rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132, setitimer 38 103, getitimer 36 102,
restart_syscall 219 128, kill 62 129, tgkill 234 131, wait4 61 260, waitid 247 95, clone 56 220,
clone3 435 435, prctl 157 167, prlimit64 302 261, getrlimit 97 163, setrlimit 160 164, ppoll 271 73,
pselect6 270 72, epoll_create1 291 20, epoll_ctl 233 21, epoll_pwait 281 22, epoll_pwait2 441 441,
eventfd2 290 19, timerfd_create 283 85, timerfd_settime 286 86, timerfd_gettime 287 87, socketpair 53 199,
sendto 44 206, recvfrom 45 207, getsockname 51 204, getpeername 52 205, getsockopt 55 209, shutdown 48 210,
openat2 437 437, execve 59 221, execveat 322 281, ptrace 101 117, socket 41 198, connect 42 203, bind 49 200,
sendmsg 46 211, io_uring_setup 425 425, bpf 321 280, unshare 272 97, setns 308 268, mount 165 40,
keyctl 250 219, add_key 248 217, process_vm_readv 310 270, process_vm_writev 311 271, memfd_create 319 279,
pidfd_open 434 434, pidfd_send_signal 424 424, pidfd_getfd 438 438, perf_event_open 298 241,
userfaultfd 323 282, seccomp 317 277, fchmodat 268 53, fchmod 91 52, truncate 76 45, symlinkat 266 36,
linkat 265 37, mknodat 259 33, utimensat 280 88, setresuid 117 147, setxattr 188 5, chroot 161 51,
shmget 29 194, msgget 68 186, semget 64 190, mq_open 240 180, fallocate 285 47, name_to_handle_at 303 264,
open_by_handle_at 304 265, rt_sigqueueinfo 129 138, tkill 200 130, sched_setaffinity 203 122,
personality 135 92, sethostname 170 161, capset 126 91, mount_setattr 442 442, pivot_root 155 41,
umount2 166 39, landlock_create_ruleset 444 444, landlock_add_rule 445 445, landlock_restrict_self 446 446
"""
_X86_64_ONLY = """
stat 4, lstat 6, access 21, open 2, readlink 89, getdents 78, dup2 33, pipe 22, mkdir 83, unlink 87,
rmdir 84, rename 82, arch_prctl 158, getpgrp 111, time 201, pause 34, alarm 37, poll 7, select 23,
epoll_create 213, epoll_wait 232, eventfd 284, creat 85, mknod 133, fork 57, vfork 58, chmod 90
"""


def _entries(text: str) -> list[list[str]]:
    return [entry.split() for entry in text.replace("\n", " ").split(",")]


TABLES: dict[str, dict[str, int]] = {
    "x86_64": {name: int(number) for name, number, _ in _entries(_BOTH)}
    | {name: int(number) for name, number in _entries(_X86_64_ONLY)},
    "aarch64": {name: int(number) for name, _, number in _entries(_BOTH)},
}

MACHINE = os.uname().machine
NUMBERS = TABLES.get(MACHINE, {})
