"""Run by path, in a fresh interpreter, between the fork and a child's own program (Linux).

Asks the kernel to kill this process when its parent dies, then becomes the program.
It is a program of its own because a process with threads must not run Python
between fork and exec. Imports nothing of the package.

Arguments: the parent's pid, the descriptor on which to tell a failed exec, the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command; on failure write its errno to the descriptor and end."""
    parent, told = int(sys.argv[1]), int(sys.argv[2])
    command = sys.argv[3:]
    os.set_inheritable(told, False)  # closed by a successful exec, which is the good news
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, _environ_as_given())  # noqa: S606 - its whole purpose
    except OSError as error:
        os.write(told, str(error.errno).encode())
        os._exit(127)


def _environ_as_given() -> dict[bytes, bytes]:
    """The environment before this interpreter put its own LC_CTYPE there (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib costs 10 ms here
        pairs = [pair.partition(b"=") for pair in file.read().split(b"\0") if b"=" in pair]
    return {name: value for name, _, value in pairs}


if __name__ == "__main__":
    main()
