"""Runs a command and writes what it took to the descriptor that comes first: seconds, MiB, CPU seconds, exit code.

A process begins with the memory peak of the one that started it. Here that is a Python with nothing in it (about
9 MiB), so that what the benchmark itself holds is not taken for the command's.
"""

import os
import sys
import time

report, *command = sys.argv[1:]
os.set_inheritable(int(report), False)
begun = time.perf_counter()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
took = time.perf_counter() - begun
code = os.waitstatus_to_exitcode(status)
os.write(int(report), f"{took} {usage.ru_maxrss / 1024} {usage.ru_utime + usage.ru_stime} {code}".encode())
