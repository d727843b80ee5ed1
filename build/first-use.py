#!/usr/bin/env python3
"""Prints which functions of a program are met, in the order of first use: build/first-use.py ADDRESSES PROGRAM [ARG...]

ADDRESSES is a file with one hexadecimal address a line, the first byte of a function each. A breakpoint is put on all of
them, in the program and in all processes of the same file that it starts, and taken away when it is met. Each line of the
output is an address and `self`, or `other` if only processes that the program started met the function. Runs as the user
who may trace the program; x86-64 only. build/used-first.sh calls it.
"""
import ctypes
import os
import signal
import sys

TRACEME, POKEUSER, CONT, DETACH, SETOPTIONS = 0, 6, 7, 17, 0x4200
RIP = 16 * 8
# Forks, vforks, clones and execs stop; all end with this process.
OPTIONS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 20
EVENT_EXEC = 4
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, address=0, data=0):
    return libc.ptrace(request, pid, address, data)


def rip(pid):
    with open(f"/proc/{pid}/syscall") as file:
        return int(file.read().split()[-1], 16)


def arm(pid):
    """Puts the breakpoints into a fresh image of the program."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for address in addresses:
            memory.seek(address)
            originals[address] = memory.read(1)
            memory.seek(address)
            memory.write(b"\xcc")


def process(thread):
    with open(f"/proc/{thread}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Tgid:"))


def is_ours(pid):
    try:
        return os.stat(f"/proc/{pid}/exe").st_size == size
    except OSError:
        return False


addresses = {int(line, 16) for line in open(sys.argv[1])}
size = os.stat(sys.argv[2]).st_size
originals, met, own = {}, {}, set()
first = os.fork()
if first == 0:
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.execv(sys.argv[2], sys.argv[2:])
os.waitpid(first, WALL)
ptrace(SETOPTIONS, first, 0, OPTIONS)
ptrace(CONT, first)
code = 0
while True:
    try:
        pid, status = os.waitpid(-1, WALL)
    except ChildProcessError:
        break
    if not os.WIFSTOPPED(status):
        if pid == first:
            code = os.waitstatus_to_exitcode(status)
        continue
    number, event, passed = os.WSTOPSIG(status), status >> 16, 0
    if event == EVENT_EXEC:
        if not is_ours(pid):
            ptrace(DETACH, pid)
            continue
        arm(pid)
    elif number == signal.SIGTRAP and event == 0 and (at := rip(pid) - 1) in originals:
        met.setdefault(at)
        if process(pid) == first:
            own.add(at)
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(at)
            memory.write(originals[at])
        ptrace(POKEUSER, pid, RIP, at)
    elif event == 0 and number not in (signal.SIGSTOP, signal.SIGTRAP):
        passed = number
    ptrace(CONT, pid, 0, passed)
for address in met:
    print(f"{address:016x}", "self" if address in own else "other")
sys.exit(code)
