"""Runs in a fresh interpreter between the fork and a child's own program (Linux only).

Asks the kernel to kill this process when its parent dies, then replaces itself with the
program. It is a separate program because a process with threads must not run Python code
between fork and exec. Run by path; imports nothing of the package.

Arguments: the parent's pid, the descriptor that receives the errno of a failed exec, the
command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Execute the command; on failure write the errno to the descriptor and exit."""
    parent, error_pipe = int(sys.argv[1]), int(sys.argv[2])
    command = sys.argv[3:]
    os.set_inheritable(error_pipe, False)  # a successful exec closes it, which reports success
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the prctl
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, _original_environ())  # noqa: S606 - its whole purpose
    except OSError as error:
        os.write(error_pipe, str(error.errno).encode())
        os._exit(127)


def _original_environ() -> dict[bytes, bytes]:
    """The environment without the LC_CTYPE that this interpreter sets (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - importing pathlib costs 10 ms
        pairs = [pair.partition(b"=") for pair in file.read().split(b"\0") if b"=" in pair]
    return {name: value for name, _, value in pairs}


if __name__ == "__main__":
    main()
