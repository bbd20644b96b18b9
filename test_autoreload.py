# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py: `python -m unittest`, beside the file and with nothing else.

Up to the restart the parts are called directly, with values.  From the restart on, real
programs run in real processes, and nothing is simulated.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

import autoreload  # the one line to change, for a copy with another name

NAME = autoreload.__name__
DEADLINE = 60  # seconds after which a process that does not say what it should is stuck


def clean_environment(**variables):
    """Return an environment in which nothing that runs the tests shows."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "AUTORELOAD", "_AUTORELOAD"))
    }
    return environment | variables


class Program:
    """A program in a directory of its own, run by a real interpreter."""

    def __init__(self, **files):
        self._holder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.directory = os.path.realpath(self._holder.name)
        self.process = None
        self.output = ""  # all that it has printed, on stdout and stderr
        self._unread = ""
        shutil.copy(autoreload.__file__, self.path(NAME + ".py"))
        for name, text in files.items():
            self.write(name + ".py", text)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def write(self, name, text):
        """Save a file as most editors do: whole, under its name at once."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + "~", "w", encoding="utf-8", newline="") as file:
            file.write(textwrap.dedent(text))
        os.replace(path + "~", path)

    def run(self, *arguments, **options):
        """Start the interpreter with these arguments."""
        options.setdefault("env", clean_environment())
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=options.pop("cwd", self.directory),
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        return self

    def wrap(self, *arguments, **options):
        """Start the interpreter with the command line in front of these arguments."""
        return self.run(NAME + ".py", *arguments, **options)

    def expect(self, pattern):
        """Read on until a line matches; return the match."""
        while True:
            line, newline, rest = self._unread.partition("\n")
            if newline:
                self._unread = rest
                if match := re.search(pattern, line):
                    return match
            elif not self._read():
                raise AssertionError(f"{pattern!r} never came:\n{self.output}")

    def rest(self):
        """Read all that is left to come, wait for the end, and return the exit status."""
        while self._read():
            pass
        return self.process.wait(DEADLINE)

    def _read(self):
        killer = threading.Timer(DEADLINE, self.kill)
        killer.start()
        data = os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
        killer.cancel()
        data = data.replace("\r\n", "\n")
        self.output += data
        self._unread += data
        return data

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)

    def stop(self):
        """Press Ctrl-C, and return the exit status as a shell sees it."""
        self.interrupt()
        status = self.rest()
        return status if status >= 0 else 128 - status

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self):
        if self.process:
            self.kill()
            self.process.wait()
            self.process.stdout.close()
        self._holder.cleanup()


class ProgramTest(unittest.TestCase):
    def program(self, **files):
        program = Program(**files)
        self.addCleanup(program.close)
        return program
