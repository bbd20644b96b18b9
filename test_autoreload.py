# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py: `python -m unittest`, beside the file and with nothing else.

Up to the restart the parts are called directly, with values.  From the restart on, real
programs run in real processes, and nothing is simulated.
"""

import bz2
import concurrent.futures
import contextlib
import functools
import glob
import http.client
import importlib.util
import inspect
import itertools
import json
import os
import pathlib
import py_compile
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
import zipfile

try:
    import pty
    import termios
except ImportError:  # Windows
    import ctypes

import autoreload  # the one line to change, for a copy with another name

NAME = autoreload.__name__
# Seconds after which a process that does not say what it should is stuck.
DEADLINE = 60 if sys.platform == "win32" else 20


def session(sid):
    """Return the processes of a session, with the letter of their state."""
    rows, found = [], {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if os.getsid(int(path.split("/")[2])) == sid:
                with open(path) as file:
                    rows.append(re.sub(r"\(.*\)", "", file.read()).split()[:3])
    if not os.path.exists("/proc/self/stat"):
        with os.popen("ps -ax -o pid= -o stat= -o ppid=") as lines:
            rows.extend(map(str.split, lines))
    for pid, state, parent in sorted(rows, key=lambda row: row[1][0] == "Z"):
        try:
            is_there = os.getsid(int(pid)) == sid
        except OSError:  # macOS has forgotten it for a zombie
            is_there = state[0] == "Z" and int(parent) in found
        if is_there and (state[0], parent) != ("Z", "1"):  # which reaps in its own time
            found[int(pid)] = state[0]
    return found


JANITOR = "import contextlib, glob, os, re, sys\n"
JANITOR += f"{inspect.getsource(session)}for sid in list(sys.stdin):\n"
JANITOR += "    for pid in session(int(sid)): os.kill(pid, 9)"

if WINDOWS := sys.platform == "win32":
    kernel, jobs = ctypes.WinDLL("kernel32"), {}

    def new_job(process):
        """Have Windows end all that a process starts, at the latest with us."""
        job = jobs[process.pid] = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
        limits = (ctypes.c_uint32 * 36)()
        limits[4] = 0x2800  # KILL_ON_JOB_CLOSE, BREAKAWAY_OK
        kernel.SetInformationJobObject(job, 9, limits, 144)
        kernel.AssignProcessToJobObject(job, ctypes.c_void_p(int(process._handle)))

    def session(sid):  # noqa: F811
        """Return the processes of a job: there is neither a session nor a zombie."""
        ids = (ctypes.c_size_t * 4096)()
        kernel.QueryInformationJobObject(jobs[sid], 3, ids, ctypes.sizeof(ids), None)
        return dict.fromkeys(filter(None, ids[1:]), "S")


# Presses Ctrl-C on the console of each process whose id it reads.
PRESSER = """if True:
    import ctypes, sys
    kernel = ctypes.WinDLL("kernel32")
    for pid in map(int, sys.stdin):
        kernel.AttachConsole(pid) and kernel.SetConsoleCtrlHandler(None, True)
        kernel.GenerateConsoleCtrlEvent(0, 0)
        print(kernel.FreeConsole(), flush=True)  # or the console would stay
"""
# What a platform cannot have, and words from the names of the tests about that.
NOT_ON_WINDOWS = {
    "the first run of start() is the shell": "plain_program_ends_as",
    "a terminal has neither modes nor jobs": """
        input_works coloured echo_and _background stopped""",
    "no process can be replaced": "once_if_at_all",
    "there is no fork": "_fork by_sigterm crash_leaves not_started worker_s_watch",
    "Ctrl-C is for a whole console, so ours is raised in the program": "left_the_group",
    "listen() is ordinary": "keeps_its is_refused client_waits socket_file every_req",
    "a pipe does not tell that its reader has gone": "nobody_reads",
    "anybody can set all times that a file has": "same_mtime_second stale_bytecode_of_",
    "there are no masks, limits, umask": "launch_found",
}
NOT_BY_SECONDS = {
    "the times of files are whole seconds": """
        Installed each_start quick caught no_change y_imports late_import start_up
        to_collect is_watched odd_files""",
}
CONTROL_C = 0xC000013A  # the exit status of what Ctrl-C has ended on Windows
janitor = None  # a process that reads who was started, and ends who is left after us
presser, presser_lock = None, threading.Lock()


def setUpModule():
    """Heed signals even as a job in the background: the programs inherit that."""
    global janitor, presser
    if WINDOWS:
        words, pipes = [sys.executable, "-c", PRESSER], {"stdin": -1, "stdout": -1}
        detached = subprocess.DETACHED_PROCESS
        presser = subprocess.Popen(words, **pipes, creationflags=detached)
        unittest.addModuleCleanup(presser.communicate)
    elif os.name == "posix":
        words = [sys.executable, "-c", JANITOR]
        janitor = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        unittest.addModuleCleanup(janitor.communicate)
    handlers = {"SIGINT": signal.default_int_handler}
    for name in {"SIGINT", "SIGHUP", "SIGQUIT"} & set(dir(signal)):
        if signal.getsignal(number := getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(number, handlers.get(name, signal.SIG_DFL))


def clean_environment(**variables):
    """Return an environment in which nothing that runs the tests shows."""
    hidden = "PYTHON", "AUTORELOAD", "_AUTORELOAD", "TMPDIR"
    kept = {n: v for n, v in os.environ.items() if not n.startswith(hidden)}
    return kept | variables


def wrapped(*options):
    """Return the words that run app.py by the command line."""
    return ["-m", NAME, "--check-time", "100", "--grace", "1", *options, "app.py"]


PLAIN, WRAPPED = ["app.py"], wrapped()
BOTH = [PLAIN], [WRAPPED]
IDLE = "import time; time.sleep(60)\n"
START = f"import {NAME}; {NAME}.start(100, grace=1)\n"


def code(*parts):
    """Return a program made of these parts, each indented as its test is."""
    return "".join(textwrap.dedent(part) for part in parts)


def app(text, shown="''"):
    """Return a program that does this, says that it is up, shows a value, and idles."""
    return code(text, f"\nprint('up', {shown}, flush=True)\n", IDLE)


def become(condition, *not_yet):
    """Look until a condition is true, or for too long; some errors mean `not yet`."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        with contextlib.suppress(*not_yet):
            if result := condition():
                return result
        threading.Event().wait(0.01)


def replace(source, path):
    """Rename a file; on Windows, as soon as nobody has the other one open."""
    become(lambda: os.replace(source, path) or True, PermissionError)


def started(words, **options):
    """Start a process; Wine says now and then that it cannot: "internal error"."""

    def start():
        try:
            return subprocess.Popen(words, start_new_session=True, **options)
        except OSError as error:
            if getattr(error, "winerror", None) != 1359:
                raise

    process = become(start)
    if WINDOWS:
        new_job(process)
    elif janitor:
        os.write(janitor.stdin.fileno(), b"%d\n" % process.pid)
    return process


@functools.cache
def compiled():
    """Return the file's bytecode, so that not every program has to compile it."""
    with tempfile.TemporaryDirectory() as directory:
        cache = os.path.join(directory, "cache")
        return pathlib.Path(py_compile.compile(autoreload.__file__, cache)).read_bytes()


class Program:
    """A program in a directory of its own, run by a real interpreter."""

    def __init__(self, **files):
        self._holder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.directory = os.path.join(os.path.realpath(self._holder.name), "site")
        self.temporary = os.path.join(self._holder.name, "tmp")  # short, for sockets
        os.mkdir(self.directory)
        os.mkdir(self.temporary)
        self.process, self._unread = None, ""
        self.output = ""  # all that it has printed, on stdout and stderr
        shutil.copy2(autoreload.__file__, self.path(NAME + ".py"))
        cache = self.path(importlib.util.cache_from_source(NAME + ".py"))
        os.mkdir(os.path.dirname(cache))
        pathlib.Path(cache).write_bytes(compiled())
        for name, text in files.items():
            self.write(name + ".py", text)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def write(self, name, text=""):
        """Save a file as most editors do: whole, under its name at once."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + "~", "w", encoding="utf-8", newline="") as file:
            file.write(textwrap.dedent(text))
        replace(path + "~", path)

    def change(self, name, text="", *patterns):
        """Save a file, see the restart because of it, and read on until all this."""
        self.write(name, text)
        return self.expect(f"autoreload: {name} changed, restarting$", *patterns)

    def link(self, target, name):
        """Have a symbolic link point there, at once if it pointed elsewhere."""
        if WINDOWS:  # only an administrator may make one
            target = os.path.join(os.path.dirname(self.path(name)), target)
            copy = shutil.copytree if os.path.isdir(target) else shutil.copy
            return copy(target, self.path(name))
        os.symlink(target, self.path("new link"))
        replace(self.path("new link"), self.path(name))

    def zip(self, name, **files):
        with zipfile.ZipFile(self.path("new zip"), "w") as archive:
            for inner, text in files.items():
                archive.writestr(inner + ".py", text)
        replace(self.path("new zip"), self.path(name))

    def run(self, *arguments, **options):
        """Start the interpreter with these arguments, instead of an earlier one."""
        self.kill()
        self.output = self._unread = ""
        options = {"env": clean_environment(), "stdin": subprocess.DEVNULL} | options
        options["env"].setdefault("TMPDIR", self.temporary)
        options = {"cwd": self.directory, "stdout": subprocess.PIPE} | options
        options["creationflags"] = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        words = [sys.executable, *arguments]
        self.process = started(words, stderr=subprocess.STDOUT, **options)
        return self

    def wrap(self, *arguments, **options):
        """Start the interpreter with the command line in front of these arguments."""
        return self.run(NAME + ".py", *arguments, **options)

    def expect(self, *patterns):
        """Read on until a line matches, one after the other; return the last match."""
        match = None
        for pattern in patterns:
            match = self._expect(pattern)
        return match

    def _expect(self, pattern):
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            line, newline, rest = self._unread.partition("\n")
            if newline:
                self._unread = rest
                if WINDOWS and line.startswith("autoreload: "):
                    line = line.replace("\\", "/")
                if match := re.search(pattern, line):
                    return match
            elif not self._read():
                break
        raise AssertionError(f"{pattern!r} never came:\n{self.output[-4000:]}")

    def rest(self):
        """Read all that is left to come, wait for the end, return the exit status."""
        while self._read():
            pass
        try:
            status = self.process.wait(DEADLINE)
            is_ours = WINDOWS and status in (CONTROL_C, 130)
            return -signal.SIGINT if is_ours else status
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it never ended:\n{self.output[-2000:]}") from None

    def _read(self):
        killer = threading.Timer(DEADLINE, self.kill_all)
        killer.start()
        data = os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
        killer.cancel()
        return self._take(data)

    def _take(self, data):
        self.output = (self.output + data).replace("\r\n", "\n")
        self._unread = (self._unread + data).replace("\r\n", "\n")
        return data

    def interrupt(self):
        """Do as Ctrl-C does where there is no terminal: what was typed gets SIGINT."""
        self.fall_asleep()
        self.press()

    def press(self):
        if WINDOWS:
            with presser_lock:
                presser.stdin.write(b"%d\n" % self.process.pid)
                presser.stdin.flush()
                presser.stdout.readline()
        else:
            os.kill(self.process.pid, signal.SIGINT)

    def fall_asleep(self):
        """Wait until it sleeps: Python overlooks a Ctrl-C that comes just before."""
        looks = []

        def asleep():
            looks.append("R" not in session(self.process.pid).values())
            return len(looks) > 2 and all(looks[-3:])

        if os.name == "posix":
            become(asleep)

    def stop(self):
        """Press Ctrl-C, and return the exit status as a shell sees it."""
        self.interrupt()
        return self.status()

    def status(self):
        status = self.rest()
        return status if status >= 0 else 128 - status

    def kill(self):
        if self.process:
            self.kill_all()
            self.process.wait()
            for stream in filter(None, (self.process.stdin, self.process.stdout)):
                stream.close()

    def kill_all(self):
        """Kill the shell, the program and all that they have started."""
        if WINDOWS:
            kernel.TerminateJobObject(jobs[self.process.pid], 9)
            return
        while pids := {p for p, s in session(self.process.pid).items() if s != "Z"}:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def close(self):
        self.kill()
        self._holder.cleanup()


class ProgramTest(unittest.TestCase):
    def setUp(self):
        skipped = NOT_ON_WINDOWS.copy() if WINDOWS else {}
        if not os.stat(tempfile.gettempdir()).st_mtime_ns % 10**9:
            skipped |= NOT_BY_SECONDS
        for reason, words in skipped.items():
            if any(word in self.id() for word in words.split()):
                self.skipTest(reason)

    def program(self, kind=Program, **files):
        program = kind(**files)
        self.addCleanup(program.close)
        return program

    def launch(self, text, words=WRAPPED, state="^up", **files):
        """Run a program until it has said that it is in a state."""
        program = self.program(app=text, **files).run(*words)
        program.expect(state)
        return program

    def each(self, story, rows):
        """Tell a story for every row, some at the same time: programs mostly wait."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for row, told in [(row, pool.submit(story, *row)) for row in rows]:
                with self.subTest(row):
                    told.result()

    def assert_quiet(self, program, sentinel="sentinel.py"):
        """See that a change comes, and that it is the first one."""
        program.write(sentinel, "VALUE = 'changed'")
        line = program.expect("autoreload: (.*), restarting$")[1]
        self.assertEqual(line, f"{sentinel} changed", program.output)


# A program begins with this: `up N` is the line by which a test knows that it runs.
BEGIN = """\
import os, signal, sys, time
import autoreload, helper
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""
UP = 'say("up", autoreload.restarts)\n'
SLEEP = UP + "time.sleep(60)\n"
STUCK = UP + "while 1:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass\n"
# Where nothing heeds the interrupt.
HURRY, SHORT = START.replace("grace=1", "grace=0.3"), wrapped("--grace=0.3")
IGNORING = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP
BYE = "try:\n    say('up', autoreload.restarts); time.sleep(60)\n"
BYE += "finally:\n    say('bye')\n"


class Story(ProgramTest):
    """Programs that restart by an edit of helper.py."""

    def story(self, *parts, words=PLAIN, begin=START, kind=Program, **files):
        """Write a program, which calls start() itself if nothing is in front of it."""
        begin = begin if words == PLAIN else ""
        files = {"app": code(BEGIN, begin, *parts), "helper": "VALUE = 0", **files}
        program = self.program(kind, **files)
        program.value = 0
        return program

    def start(self, *parts, words=PLAIN, begin=START, **options):
        program = self.story(*parts, words=words, begin=begin).run(*words, **options)
        program.expect("^up 0")
        return program

    def edit(self, program, *patterns, up=True):
        """Save helper.py, and see the program say all this, at last that it is up."""
        program.value += 1
        program.change("helper.py", f"VALUE = {program.value}", *patterns)
        if up:
            program.expect(f"up {program.value}$")

    def assert_clean(self, program, *more):
        for text in ("Traceback", "unexpected", "Exception ignored", *more):
            self.assertNotIn(text, program.output)

    def assert_count(self, program, count):
        """Assert that there are so many processes, and no zombie."""
        count += 1 if WINDOWS and count else 0  # the console is a process, too
        look = functools.partial(session, program.process.pid)
        right = become(lambda: len(s := look()) == count and "Z" not in s.values())
        self.assertTrue(right, (count, look(), program.output))


IN_MAIN = "threading.current_thread() is threading.main_thread()"
HOOKS = f"""
    import asyncio, threading
    @autoreload.add_reload_hook
    def one(): say("one", {IN_MAIN})
    @autoreload.add_reload_hook
    async def two():
        await asyncio.sleep(0.01)
        say("two", {IN_MAIN})
"""
LOOP = """
    import asyncio
    async def main():
        {start}
        try:
            say("up", autoreload.restarts)
            await asyncio.sleep(60)
        finally: say("cancelled")
    asyncio.run(main())
"""


def each(*rows):
    """Have a test tell its story for each of these rows, some at the same time."""

    def decorate(story):
        @functools.wraps(story)
        def test(self):
            self.each(functools.partial(story, self), rows)

        return test

    return decorate


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def get(port, *, timeout=DEADLINE):
    """Return the body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode().strip()


def patiently(function, *words, **options):
    """Return what a function returns as soon as it can."""
    call = functools.partial(function, *words, **options)
    return become(call, OSError, http.client.HTTPException)


WAYS = (PLAIN, START), (WRAPPED, "")
SLOW = """
    import time
    try: print("up", flush=True); time.sleep(60)
    finally: print("ending", flush=True); time.sleep({seconds})
"""


def table(text):
    """Return the rows of a table: a line each, with | between the cells."""
    return [line.strip().split("|") for line in text.strip().split("\n")]


INERT = f"""
    import _signal, _warnings, atexit, gc, os, sys, threading
    imports, forks = sys.modules["_frozen_importlib_external"], []
    os.register_at_fork = lambda **functions: forks.append(functions)
    def state():
        umask = os.umask(0o22); os.umask(umask)
        kinds = os, threading, imports.SourceFileLoader, imports.PathFinder
        return [
            umask, os.path.exists("/dev/fd") and len(os.listdir("/dev/fd")), [*forks],
            [*sys._current_frames()], threading.enumerate(), atexit._ncallbacks(),
            [*map(_signal.getsignal, _signal.valid_signals())], [*_warnings.filters],
            [*sys.meta_path], [*sys.path_hooks], [*sys.path], [*gc.callbacks],
            {{*sys.modules}} - {{"{NAME}"}}, sys.excepthook, sys.unraisablehook,
            [dict(vars(space)) for space in kinds], dict(os.environ),
        ]
    before = state()
    import {NAME}
    print(state() == before)
"""


class ModuleTest(ProgramTest):
    """A program that imports the file and calls start()."""

    @each(*WAYS)
    def test_a_change_ends_the_program_and_starts_it_again(self, words, start):
        up = '"up", helper.VALUE, os.getpid(), os.getppid()'
        text = "import helper, os\n" + code(SLOW).replace('"up"', up).format(seconds=0)
        again = start and f"{NAME}.start(check_time=100)\n"
        program = self.program(app=start + again + text, helper="VALUE = 0")
        first = program.run(*words).expect(r"up 0 (\d+) (\d+)")
        shell, pids = str(program.process.pid), {first[1]}
        self.assertEqual(first[1 if start and not WINDOWS else 2], shell)
        for value in 1, 2:
            up = "ending", rf"up {value} (\d+) (\d+)"
            pid, parent = program.change("helper.py", f"VALUE = {value}", *up).groups()
            pids.add(pid)
            self.assertEqual(parent, shell)
        self.assertEqual((len(pids), program.stop()), (3, 130))

    def test_misuse_raises_an_error_that_names_the_rule(self):
        rows = r"""
            TypeError|start(None, "5")|^check_time must be a number, not '5'
            ValueError|start(None, 0)|^check_time must be at least 1 and below 1e9, not
            TypeError|start("loop")|^io_loop must be an asyncio loop, a Tornado IOLoop
            TypeError|start(grace=None)|^grace must be
            ValueError|start(grace=-1)|^grace must be
            TypeError|watch(b"")|^a path must be str or os.PathLike, not b
            TypeError|listen(("x",))|^an address must be
            ValueError|ignore("\0")|^a path must not be empty nor contain NUL
            TypeError|add_reload_hook(3)|^a reload hook must be callable, not 3
        """
        for error, call, rule in table(rows):
            with self.subTest(call), self.assertRaisesRegex(eval(error), rule):
                eval("autoreload." + call)

    def test_autoreload_0_switches_everything_off(self):
        text = "import autoreload as a, os, sys; a.start(); a.wait(); a.restart()\n"
        text += "print(a.listen(('', 0)).fileno() > 0, sys.orig_argv[1:], flush=True)\n"
        text += "os._exit(0xC0000005 - 2**32)"  # the status of a crash on Windows
        for words in PLAIN, wrapped("--clear"):
            program, off = self.program(app=text), clean_environment(AUTORELOAD="0")
            status = program.run(*words, env=off).rest()
            self.assertEqual(status, 0xC0000005 if WINDOWS else 5)
            self.assertEqual(program.output, "True ['app.py']\n")

    def test_an_interactive_interpreter_is_told_once_that_nothing_is_watched(self):
        program = self.program()
        program.write("input", "import autoreload as a; a.start(); a.start()\n6 * 7\n")
        with open(program.path("input")) as file:
            program.run("-i", "-q", stdin=file)
        text = "an interactive interpreter has no command to repeat, nothing is watched"
        program.expect("RuntimeWarning: autoreload: " + text, "42")
        self.assertEqual((program.rest(), program.output.count(text)), (0, 1))

    def test_a_mere_import_is_inert(self):
        program = self.program().run("-c", code(INERT))
        self.assertEqual((program.rest(), program.output), (0, "True\n"))

    @each(*WAYS)
    def test_modules_of_the_user_s_are_neither_run_by_us_nor_hidden(self, words, start):
        foreign = "argparse ctypes glob inspect linecache logging select socket"
        foreign += " resource selectors subprocess termios tokenize queue tempfile"
        own = "json", "traceback", "signal", "fnmatch", "warnings"
        text = f"print('up', [getattr(__import__(n), 'OWN', 0) for n in {own}])\n"
        text += "import sys, time; sys.stdout.flush()\n"
        program, loaded = self.program(app=text), "import sys; print(*sys.modules)"
        program.run("-c", loaded).rest()  # those are Python's, whatever we do
        for name in {*foreign.split(), *own} - {*program.output.split()}:
            run = "OWN = 1" if name in own else "raise SystemExit('it is run')"
            program.write(name + ".py", run)
        env = clean_environment(PYTHONPATH=program.directory)
        up = re.escape(program.run("app.py", env=env).expect("^up .*")[0])
        program.write("app.py", start + text + IDLE)
        program.run(*words, env=env).expect(up)
        failed = "1 / 0", "^ZeroDivisionError", "failed, waiting"
        for last, *said in failed, (IDLE,):
            program.change("app.py", start + text + last, up, *said)
        self.assertEqual(program.stop(), 130)
        self.assertNotIn("it is run", program.output)


class EndingTest(ProgramTest):
    def test_a_program_that_has_ended_or_failed_runs_again_after_a_change(self):
        def story(text, outcome, words=WRAPPED, status=-signal.SIGINT):
            state = f"^autoreload: app.py {outcome}, waiting for a change$"
            program = self.launch(text, [*words, "x"], state)
            for name in "b", "c":  # one failure after the other
                said = f"No module named '{name}'", "app.py failed, waiting"
                program.change("app.py", f"import {name}", *said)
            program.change("c.py", "import sys; print('two', sys.argv)", "two .*'x'")
            if status:
                program.expect("app.py ended, waiting for a change$")
                program.interrupt()
            self.assertEqual(program.rest(), status)
            self.assertEqual(program.output.count("1 / 0\n"), text.count("/"))

        rows = ("", "ended"), ("exit(213)", "exited with status 213")
        failed = "def", "failed", wrapped("--until-success"), 0
        self.each(story, [*rows, failed, (START + "1 / 0", "failed", PLAIN, 0)])

    @each(("", 0), ("exit(3)", 3), ("os._exit(4)", 4), ("os.kill(0, 15)", -15))
    def test_the_first_run_of_a_plain_program_ends_as_without_us(self, text, status):
        program = self.program(app=f"{START}import os\n{text}").run("app.py")
        self.assertEqual((program.rest(), program.output), (status, ""))

    def test_what_is_saved_just_as_the_program_succeeds_is_run_too(self):
        text = "import own; print('ran', own.VALUE)\n"
        text += "if not own.VALUE: open('own.py', 'w').write('VALUE = 1 # now')\n"
        program = self.program(app=text, own="VALUE = 0")
        program.run(*wrapped("--until-success"))
        program.expect("^ran 0", "own.py changed, restarting", "^ran 1")
        self.assertEqual(program.rest(), 0)

    @each(("x.xml", 1), ("own.py", 2))
    def test_what_a_program_writes_as_it_succeeds_is_run_once_if_at_all(self, name, n):
        text = "import os, own, sys; print('ran', flush=True)\n"
        write = f"open({name!r}, 'a').write('# now\\n')"  # while nobody looks
        text += f"os.execv(sys.executable, [sys.executable, '-c', {write!r}])"
        program = self.program(app=text, own="")
        program.write("x.xml")
        program.run(*wrapped("--until-success", "--watch", "."))
        self.assertEqual((program.rest(), program.output.count("ran\n")), (0, n))

    def test_a_signal_by_hand_ends_program_and_shell_alike_unless_it_is_survived(self):
        def story(name, end, text, words=SHORT, state="^up"):
            number = getattr(signal, name)
            text = f"import signal, sys, time\nnumber = signal.{name}\n{text}"
            program = self.launch(text, words, state)
            program.fall_asleep()
            program.press() if WINDOWS else program.process.send_signal(number)
            if end == "survived":  # then it comes once, and ends nothing
                program.expect("^survived")
                program.change("app.py", "print('done')", "^done", "ended, waiting")
                return self.assertEqual(program.output.count("survived"), 1)
            end = -number if end == "signal" else end
            self.assertEqual(program.rest(), end, program.output)
            self.assertNotIn("autoreload.py", program.output)

        caught = "try: print('up', flush=True); time.sleep(60)\n"
        caught += "except KeyboardInterrupt: print('survived', flush=True)\n"
        awaiting = "import asyncio as a; print('up', flush=True); a.run(a.sleep(60))"
        handler = app("signal.signal(number, lambda *_: print('survived', flush=True))")
        exits = app("signal.signal(number, lambda *_: exit(7))")
        block = "signal.pthread_sigmask(signal.SIG_BLOCK, [number]); "
        server = block + "print('up', flush=True); signal.sigwait([number])"
        rows = [("SIGINT", "signal", awaiting), ("SIGINT", "survived", app(caught))]
        rows += [("SIGINT", "signal", START + "1 / 0", PLAIN, "failed, waiting")]
        rows += [("SIGINT", 3, START + caught + "sys.exit(3)", PLAIN)]
        rows += [("SIGINT", 0, caught)]
        others = () if WINDOWS else ("SIGTERM", "SIGHUP", "SIGQUIT")
        rows += [(n, "survived", handler) for n in (*others[:2], "SIGUSR1") if others]
        for name in others and ("SIGINT", *others):
            rows += [(name, "signal", block, WRAPPED, "ended, waiting")]
            rows += [(name, 7, exits), (name, 0, server)]
        self.each(story, rows)

    def test_a_typing_mistake_ends_with_status_2(self):
        def story(line, message=""):
            files = {"fast/__init__": "1 / 0", "dir/x": ""}
            files["pkg/__init__"] = "try: import fast\nexcept ZeroDivisionError: pass"
            program = self.program(**files)
            program.run(*line.split()).rest()
            message = message or program.output  # of Python's own
            self.assertEqual(program.wrap(*line.split()).rest(), 2, program.output)
            self.assertEqual(program.output[: len(message)], message)
            self.assertEqual(program.output.count("\n"), 1)

        rows = """
            |usage: autoreload.py [options] (-m module
            --nonsense x|autoreload: unrecognized arguments: --nonsense
            --grace nan x|autoreload: --grace must be at least 0 and below 1e9, not nan
            --watch|autoreload: argument --watch: expected one argument
            --ignore= x|autoreload: a path must not be empty nor contain NUL: ''
        """
        missing = "nowhere.py|dir|-m nowhere.all|-m pkg|-m pkg.nowhere|-m sys x|-m .pkg"
        self.each(story, [*table(rows), *([line] for line in missing.split("|"))])

    @each(("app.py",), (NAME + ".py",), *([] if WINDOWS else [("python",)]))
    def test_whatever_is_missing_later_is_waited_for(self, missing):
        program = self.program(app=app("import helper"), helper="")
        words = [NAME + ".py", "app.py"]
        if missing == "python":
            program.link(sys.executable, "python")
            words = ["-c", f"import os; os.execv('python', {['./python', *words]})"]
        program.run(*words).expect("^up")
        os.rename(program.path(missing), program.path("gone"))
        program.write("helper.py", "VALUE = 1")
        lacks = (
            rf"^autoreload: cannot run (.*/)?{missing} \((No such|File not) .*, waiting"
        )
        program.expect(lacks)
        os.rename(program.path("gone"), program.path(missing))
        program.expect("^up")
        self.assertEqual(program.stop(), 130)

    @each(("app.py", "app.py"), ("dir", "dir/__main__.py"))
    def test_a_script_that_goes_while_it_runs_is_waited_for(self, target, script):
        program = self.program(app="")
        program.write(script, f"import os; os.rename({target!r}, 'gone'); exit(1)")
        program.wrap(target).expect("exited with status 1", f"cannot run {target}")
        program.write(script, app(""))
        program.expect("^up")

    def test_ctrl_c_at_any_moment_of_a_restart_is_heeded_and_quiet(self):
        once = f"import os\nif not os.path.exists('second'): {START}"

        def story(words, start, first, shown, seconds):
            text = code(start, SLOW.format(seconds=0.1))
            program = self.launch(text, words)
            program.fall_asleep()
            program.write("second")
            save = functools.partial(program.write, "app.py", text + "\n")
            save() if first else program.interrupt()
            program.expect(*shown)
            pause(seconds)
            program.press() if first else save()
            self.assertEqual(program.rest(), -signal.SIGINT, program.output)
            self.assertNotRegex(program.output, "load.py|Fatal|unexp|ignored|waiting")

        # Once ours has been heeded: before that, two that meet are one to a program.
        moments = [(True, ["ending"], 0.03 + moment * 0.05) for moment in range(3)]
        moments += [(True, [], 0), (False, ["ending"], 0)]
        ways = (PLAIN, once), (WRAPPED, "")
        rows = [(*way, *moment) for way in ways for moment in moments]
        rows += [(WRAPPED, "", True, [], 0.1), (WRAPPED, "", True, ["restarting$"], 0)]
        hook = "import sys\nsys.excepthook = lambda *_: print('shown', flush=True)"
        hook += " or time.sleep(1)\n"  # the watching thread sees the change meanwhile
        if not WINDOWS:  # there the first run of start() is not plain
            rows.append((PLAIN, once + hook, False, ["shown"], 0))
        self.each(story, rows)


REPORT = """
    import os, pickle, sys, threading
    class Thing: pass
    if __name__ == "__main__":
        main = sys.modules["__main__"]
        spec = __spec__ and (__spec__.name, __spec__.parent, __spec__.origin)
        print(__name__, repr(__package__), spec, type(__loader__))
        print(__builtins__, __doc__)
        print(globals().get("__file__"), globals().get("__cached__"), os.getcwd())
        print(sys.argv, "".join(sys.orig_argv), sys.path, sys.flags, sys._xoptions)
        print(sorted(name for name in vars() if name.startswith("__")), sys.warnoptions)
        print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, main.Thing is Thing)
        print(os.environ, threading.active_count(), getattr(sys, "custom", None))
        print(sys.modules.get("sitecustomize"))
"""
SPAWNS = """
    import multiprocessing
    def twice(x): return 2 * x
    if __name__ == "__main__":
        with multiprocessing.get_context("spawn").Pool(1) as p: print(p.map(twice, "x"))
"""


class TargetTest(ProgramTest):
    """What runs behind the command line sees what plain `python` would show it."""

    def setUp(self):
        super().setUp()
        names = "app __main__ folder/__main__ pkg/__main__ pkg/module sub/link".split()
        files = {"pkg/failing": "1 / 0", "failing": "1 / 0", "broken": "def"}
        files |= {"pkg/__init__": "", "lib/sitecustomize": "import sys; sys.custom = 1"}
        files |= {"dir/app": f"import {NAME} as a; print(a.X)", f"dir/{NAME}": "X = 1"}
        files |= {"spawning": SPAWNS, **dict.fromkeys(names, REPORT)}
        self.files = self.program(**files)
        self.files.zip("app.zip", __main__=code(REPORT))
        self.files.link(self.files.path("sub", "link.py"), "link.py")
        self.files.write("no_suffix", REPORT)
        shutil.copy(autoreload.__file__, self.files.path("pkg", "copied.py"))
        py_compile.compile(self.files.path("app.py"), self.files.path("compiled.pyc"))

    def output(self, *words, **variables):
        env = clean_environment(TMPDIR=self.files.temporary, **variables)
        program = self.program().run(*words, cwd=self.files.directory, env=env)
        return program.rest(), program.output

    def test_targets_of_all_kinds_see_the_same(self):
        def story(target, flags=(), wrapper=(NAME + ".py",), variables={}):
            words = *target, "a b", "", "ä\n'\"", "-m", "--until-success", "--", "-c"
            plain = self.output(*flags, *words, **variables)
            behind = *flags, *wrapper, "--until-success", *words
            self.assertEqual(self.output(*behind, **variables), plain)

        lines = "-mapp|.|app.py|link.py|no_suffix|compiled.pyc|folder/|app.zip"
        lines += "|dir/app.py|spawning.py|-m pkg|-m pkg.module"
        targets = [*map(str.split, lines.split("|")), ["-c", textwrap.dedent(REPORT)]]
        flags, ours = ["-u", "-X", "dev", "-Werror", "-OO"], [NAME + ".py"]
        path = {"PYTHONSAFEPATH": "1", "PYTHONPATH": self.files.path("lib")}
        rows = [(target,) for target in targets]
        rows += [(target, flags) for target in targets[-3:]]
        rows += [(["-m", "app"], (), ["-m", name]) for name in (NAME, "pkg.copied")]
        rows += [(["-m", "spawning"], ["-E"]), (["app.py"], (), ours, path)]
        self.each(story, [*rows, (["folder"], (), ours, {"PYTHONPATH": ""})])

    @each(["failing.py"], ["broken.py"], ["-c1/0"], ["-mpkg.failing"], ["-mbroken"])
    def test_tracebacks_show_none_of_our_frames(self, target):
        _, plain = self.output(target)
        program = self.program()
        program.run(NAME + ".py", target, cwd=self.files.directory)
        program.expect("failed, waiting for a change")
        self.assertEqual(program.output.rpartition("autoreload:")[0], plain)

    @each(["cProfile"], ["pdb -c continue"], ["trace --count -C ."])
    def test_the_script_of_a_tool_is_watched(self, tool):
        program = self.launch(app(""), wrapped("-m", *tool.split()))
        program.change("app.py", app("#"), "^up")

    def test_temporary_files_may_have_a_place_that_no_search_path_can_name(self):
        program = self.program(app=app("import own"), own="")
        place = program.path(f"a{os.pathsep}b")
        os.mkdir(place)
        program.run(*WRAPPED, env=clean_environment(TMPDIR=place)).expect("^up")
        program.change("own.py", "1", "^up")
        self.assertEqual((program.stop(), os.listdir(place)), (130, []))

    def test_where_python_ignores_our_hook_the_program_sees_and_does_the_same(self):
        text = """
            import os, pickle, sys, time
            class Thing: pass
            assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
            path = sys.path[0] and os.path.abspath(sys.path[0])
            sys.path.append(os.getcwd()); import helper
            names = [name for name in os.environ if "AUTORELOAD" in name]
            print("up", __name__, sys.argv, path, os.getcwd(), names, flush=True)
            time.sleep(60)
        """

        def story(flags, *target):
            files = dict.fromkeys(("app", "pkg/__main__", "pkg/module"), text)
            program, flags = self.program(helper="", **files), flags.split()
            up = re.escape(program.run(*flags, *target, "x").expect("^up .*")[0])
            program.run(*flags, NAME + ".py", *wrapped()[2:-1], *target, "x").expect(up)
            program.change("helper.py", "VALUE = 1", up)
            self.assertEqual(program.stop(), 130)

        rows = ("-E", "app.py"), ("-I", "app.py"), ("-S -u", "app.py"), ("-I", "pkg")
        self.each(story, [*rows, ("-E", "-m", "pkg.module"), ("-I", "-c", code(text))])

    def test_the_restarted_program_is_launched_as_before(self):
        text = """
            import os, sys, time
            print("run", repr((sys.argv, sys.flags, sys._xoptions, sys.warnoptions,
                os.getcwd(), sys.path, __name__, __package__, sys.orig_argv[-6:],
                __spec__ and __spec__.name, sorted(os.environ.items()))), flush=True)
            import autoreload; autoreload.start(100)
            os.chdir("/"); sys.argv[:] = ["spoilt"]; os.environ["SPOILT"] = "1"
            print("ready", flush=True); time.sleep(60)
        """
        arguments = ["a b", "", "'\"\n", "ä\udcff", "--until-success", "-m"]

        def save(program):
            program.write("sub/app.py", text)
            program.write("sub/pkg/__main__.py", text)
            program.zip("sub/app.zip", __main__=code(text))

        def story(flags, line):
            program = self.program(**{"sub/pkg/__init__": "", "sub/x/y": ""})
            save(program)
            # PWD may name another directory, as after subprocess.run(cwd=...).
            here, words = program.directory, [*flags, *line.split(), *arguments]
            env = clean_environment(PWD=here, PYTHONPATH=here)
            program.run(*words, env=env, cwd=program.path("sub"))
            first = program.expect("run (.*)")[1]
            for _ in range(2):
                program.expect("ready")
                save(program)
                self.assertEqual(program.expect("run (.*)")[1], first)

        some = ["-u", "-Xdev", "-Wd", "-W", "error::ImportWarning"]
        others = ["-OO", "-bb", "-X", "dev", "--check-hash-based-pycs", "always"]
        lines = ["-bbmpkg", "app.zip", "pkg", "./x/../app.py", f"-m {NAME} -m pkg"]
        lines += ["-m pkg.__main__", f"../{NAME}.py ./x/../app.py"]
        self.each(story, zip(itertools.cycle((some, others)), lines))


pause = time.sleep  # between two saves, the spacing of which is what is tested

FUZZED = """
    {start}
    import alpha, json, time; import pkg.one; from pkg import two
    VALUE = "00000"
    time.sleep(0.2); import late
    own = globals(), *map(vars, (alpha, pkg, pkg.one, two, late))
    print("state", json.dumps([names["VALUE"] for names in own]), flush=True)
    time.sleep(600)
"""


class Typist:
    """Somebody who saves at random, in every way that editors and tools have."""

    STYLES = "in place|in place|in halves|deleted first|backed up first|replaced"
    STYLES += "|touched|replaced, past|in place, same second|replaced, same second"

    def __init__(self, program, seed, text):
        self.program, self.random, self.log = program, random.Random(seed), []
        names = "app alpha pkg/__init__ pkg/one pkg/two late".split()
        self.texts = dict.fromkeys(names, 'VALUE = "00000"\n') | {"app": text}
        for name, text in self.texts.items():
            program.write(name + ".py", text)

    def burst(self):
        for _ in range(self.random.randint(1, 6)):
            name = self.random.choice([*self.texts])
            style = self.random.choice(self.STYLES.split("|"))
            self.log.append((round(time.time() % 1000, 3), name, style))
            if style == "touched":
                os.utime(self.program.path(name + ".py"))
            else:
                value = f'VALUE = "{len(self.log):05}"' + self.random.choice(("", "#"))
                self.texts[name] = re.sub('VALUE = ".*', value, self.texts[name])
                self.save(self.program.path(name + ".py"), self.texts[name], style)
            pause(0.005 * 300 ** self.random.random())

    def save(self, path, text, style):
        if style.endswith("first"):
            os.replace(path, path + "~") if style[0] == "b" else os.remove(path)
            pause(self.random.choice((0, 0.005, 0.02, 0.1, 0.3)))
        half = self.random.randrange(len(text)) if style == "in halves" else len(text)
        place = path + ".tmp" if style.startswith("replaced") else path
        for mode, part in ("w", text[:half]), ("a", text[half:]):
            with open(place, mode) as file:
                file.write(part)
            pause(0.03 if part and style == "in halves" else 0)
        past = time.time_ns() - 3600 * 10**9 if "past" in style else 10**18
        if "," in style:
            os.utime(place, ns=(past + self.random.randrange(10**9),) * 2)
        os.replace(place, path)


class FuzzTest(ProgramTest):
    """Whatever is saved, and however: what runs in the end is what is on disk.

    AUTORELOAD_FUZZ=500 in the environment runs 500, AUTORELOAD_SEED=3 repeats one.
    """

    ROUNDS = int(os.environ.get("AUTORELOAD_FUZZ", 2))
    SEED = int(os.environ.get("AUTORELOAD_SEED", random.randrange(10**6)))

    def test_bursts_of_saves_however_the_program_is_started(self):
        ways = *WAYS, ([*wrapped("-m")[:-1], "app"], "")
        self.each(self.fuzz, [*ways, (PLAIN, "import alpha, pkg.one; " + START)])

    def fuzz(self, words, start):
        program, text = self.program(), code(FUZZED).format(start=start.strip())
        typist = Typist(program, self.SEED, text)
        program.run(*words)
        for number in range(self.ROUNDS + 1):
            began = len(typist.log)
            typist.burst() if number else None
            found = [re.search('VALUE = "(.*)"', t)[1] for t in typist.texts.values()]
            state = "state " + json.dumps(found)
            try:
                while state not in program.output.rpartition("\nautoreload: ")[2]:
                    program.expect("^state ")
            except AssertionError as error:
                saves = "\n".join(map(str, typist.log[max(0, began - 8) :]))
                self.fail(f"AUTORELOAD_SEED={self.SEED}, {number}\n{saves}\n{error}")


class NothingMissedTest(ProgramTest):
    """The code that runs is the code on disk; what it writes itself is no change."""

    def test_an_edit_during_start_up_of_what_is_already_loaded(self):
        # Before, it works for a while: its processor time tells when it was started.
        module = """
            import own, os, time; VALUE = own.VALUE
            while time.process_time() < 0.4: pass
            if VALUE == 1:
                open("new", "w").write("VALUE = 22"); os.replace("new", "own.py")
        """
        older = code(module) + "if VALUE == 1: os.utime('own.py', (10**9, 10**9))\n"
        itself = """
            VALUE = 1; import os, time
            while time.process_time() < 0.4: pass
            text = open(__file__).read().replace("VALUE = 1;", "VALUE = 22;", 1)
            if VALUE == 1: open("new", "w").write(text); os.replace("new", __file__)
        """

        def story(words, text, before="", after=""):
            text = app(before + code(text) + after, "VALUE")
            self.launch(text, words, "^up 22", own="VALUE = 1")

        texts = module, older, itself
        rows = [(WRAPPED, text) for text in texts] + [(PLAIN, module, START)]
        rows += [(PLAIN, text, "", START) for text in texts]
        rows += [([*wrapped("-m")[:-1], "app"], itself)]
        self.each(story, [*rows, (["-m", "app"], itself, "", START)])

    @each(
        *[("", "app/late"), ("..", "late"), ("other/../lib", "app/lib/late")],
        *[("", "app/late", "import copied\ncopied.start()\n")],
        *[("link", "app/lib/late")] * (not WINDOWS),
    )
    def test_an_edit_right_after_a_late_import(self, path, where, first=""):
        text = f"""
            import sys, time; time.sleep(0.1)
            sys.path.insert(0, {path!r} and __file__[:-6] + {path!r})
            import late
            if late.VALUE == 1: open(late.__file__, "w").write("VALUE = 2")
        """
        files = {"app/app": first + app(text, "late.VALUE"), where: "VALUE = 1"}
        program = self.program(**files, **{"app/other/x": "", "app/lib/x": ""})
        program.link("lib", "app/link")
        shutil.copy(autoreload.__file__, program.path("app", "copied.py"))
        program.run(*WRAPPED[:-1], "app/app.py").expect("up 1")
        program.expect("late.py changed, restarting", "up 2")

    def test_an_emptied_file_is_given_time_to_be_filled(self):
        text = app("import own, time", "time.time()")
        program = self.launch(text, own="VALUE = 1")
        ran = float(program.change("own.py", "", "^up (.*)")[1])
        self.assertGreater(ran - os.stat(program.path("own.py")).st_mtime, 0.2)

    def test_an_edit_while_the_program_stops(self):
        text = """
            import own, time
            try: print("up", own.VALUE, flush=True); time.sleep(60)
            finally:
                print("ending", flush=True)
                while "2" not in open("own.py").read(): pass
                time.sleep(2.1)
        """
        program = self.program(app=text, own="VALUE = 1", new="VALUE = 2")
        for name in "own.py", "new.py":  # bytecode tells whole seconds apart, and sizes
            os.utime(program.path(name), (10**9, 10**9))
        program.run(*wrapped("--grace", "9")).expect("up 1")
        program.change("app.py", text + "\n", "ending")
        replace(program.path("new.py"), program.path("own.py"))
        program.expect("up 2")

    def test_no_stale_bytecode_of_the_same_mtime_second_is_run(self):
        text = "import os, time\nwhile os.path.exists('go'):\n"
        text += "  print('paused', flush=True); time.sleep(0.1)\nimport own\n"
        program = self.program(app=app(text, "own.VALUE"))
        for name in "own2.{}.pyc", "own.{}-pytest-8.pyc":
            name = name.format(sys.implementation.cache_tag)
            program.write(f"__pycache__/{name}")

        def save(value):
            program.write("new", f"VALUE = {value}")
            os.utime(program.path("new"), ns=(10**18 + value,) * 2)
            os.replace(program.path("new"), program.path("own.py"))

        save(1)
        program.run("-O", *WRAPPED).expect("up 1")
        save(2)  # while a program runs
        program.expect("up 2")
        program.write("go")
        program.change("app.py", app(text, "own.VALUE") + "\n", "paused")
        save(3)  # while one starts
        os.remove(program.path("go"))
        program.expect("up 3")
        left = " ".join(os.listdir(program.path("__pycache__")))
        self.assertEqual((left.count("own2"), left.count("pytest")), (1, 0))

    MADE = "import time, sentinel; file = open('made.py', 'w')\n"
    MADE += "file.write(f'a = {time.time()}'); file.close(); import made\n"
    LOGS = """
        import logging, os, sqlite3, time, sentinel
        logging.basicConfig(filename="data/own.log", level="INFO")
        for number in range(2000):
            logging.info("still there")
            open("data/x.tmp", "w").write("x")
            db = sqlite3.connect("data/own.sqlite3")
            db.execute(f"create table t{number} (x)"); db.commit(); db.close()
            if number > 9: print("up", flush=True)
            time.sleep(0.05)
    """

    @each(
        *[(WRAPPED, MADE), (PLAIN, START + MADE), (wrapped("--watch=data"), LOGS)],
        *[(PLAIN, f"import {NAME}\n{MADE}{START}")],
    )
    def test_what_the_program_writes_itself_is_no_change(self, words, text):
        files = {"sentinel": "", "data/x": ""}
        self.assert_quiet(self.launch(app(text), words, **files))

    @each(*[(*way, end) for way in WAYS for end in ("", "raise OSError")])
    def test_what_it_writes_is_no_change_without_bytecode(self, words, start, end):
        program = self.program(app=app(f"{start}{self.MADE}{end}"), sentinel="")
        env = clean_environment(PYTHONDONTWRITEBYTECODE="1")
        program.run(*words, env=env).expect("waiting for a change" if end else "^up")
        program.fall_asleep()
        self.assert_quiet(program)

    def test_a_program_that_changes_its_file_at_each_start_is_slowed_down(self):
        def story(words, start, written, work, *more):
            text = f"{start}import own, sentinel, os, time, {NAME} as a\n"
            text += "print('start', a.restarts, time.monotonic(), flush=True)\n" + work
            program = self.program(app=app(text), own="", sentinel="").run(*words)
            starts = []  # by the program's own clock
            for count, least in (3, 1), (4, 2), *more:
                starts.append(float(program.expect(rf"^start {count - 1} (.*)")[1]))
                said = f"^autoreload: {written} has changed soon after each of the last"
                said += f" {count} starts, no restart until {least} s after this one"
                said += f"; --ignore {written}"
                program.expect(said + " leaves it out$")
            program.write("sentinel.py", "#")  # of another file it is not held back
            program.expect("^autoreload: .* changed.*, restarting$")
            starts.append(float(program.expect(f"^start {count} (.*)")[1]))
            *gaps, last = [b - a for a, b in itertools.pairwise(starts)]
            # From one first line to the next, each of which may come late.
            self.assertTrue(all(a > b for a, b in zip(gaps, (0.5, 1))), gaps)
            self.assertTrue(not more or last < 2, last)

        shell, utime = "os.system('echo > new; mv new own.py')", "os.utime('own.py')"
        shell = utime if WINDOWS else shell  # what is open there cannot be replaced
        data = "a.watch('data'); open('data', 'a').write('#')"
        rows = (WRAPPED, "", "data", data), (PLAIN, START, "own.py", utime)
        always = "import _thread; a.watch('data')\ndef write():\n"
        always += "    while 1: open('data', 'a').write('#'); time.sleep(0.2)\n"
        always += "_thread.start_new_thread(write, ())"
        rows += ((WRAPPED, "", "data", always, (5, 4)),)
        self.each(story, [(WRAPPED, "", "own.py", shell, (5, 4)), *rows])

    def test_the_last_of_quick_saves_is_run(self):
        text = "import own; value = own.VALUE + 1\n"
        text += "if value < 4: open('own.py', 'w').write(f'VALUE = {value}')"
        program = self.launch(app(text, "own.VALUE"), own="VALUE = 0")
        program.expect("no restart until 1 s after this one", "up 3")


class RecoveryTest(ProgramTest):
    def test_failures_are_mended(self):
        def story(_, app, mended, files=()):
            text = code(app, "\nprint('repaired', flush=True)")
            program = self.program(app=text, **dict(files))
            program.wrap("--until-success", "app.py").expect("waiting for a change")
            for name, change in mended.items():
                if change is None:
                    os.remove(program.path(name))
                elif isinstance(change, int):
                    os.chmod(program.path(name), change)
                else:
                    program.write(name, change)
            program.expect("repaired")
            self.assertNotRegex(program.output, f'unexpected|{NAME}.py", line')

        a, b, x = {"a/__init__": ""}, "import a.b", {"x.txt": ""}
        tried = "try: open('x.txt')\nexcept OSError as e: "
        odd = "class Odd(Exception):\n    exceptions, filename = None, property(len)\n"
        odd += "import a\nif a.bad: raise Odd"
        denied = "import os\nif os.stat('x.py').st_mode & 0o777 != 0o640:\n"
        denied += "    raise PermissionError(13, 'denied', 'x.py')"
        gone = "import os, tempfile\nwith tempfile.TemporaryDirectory() as d:\n"
        gone += "    os.chdir(d); open('missing.txt')"
        came = "try: import c\nexcept ImportError: open('c.py', 'w').close(); raise"
        done = "print('repaired', flush=True)"
        conf = "exec(compile(open('conf').read(), 'conf', 'exec'))"
        lib = "import sys; sys.path.append('lib'); import new"
        rows = (
            ("a missing module", b, {"missing.py": ""}, {**a, "a/b": "import missing"}),
            ("a missing module in a package", b, {"a/b.py": ""}, a),
            ("a missing package", b, {"a/__init__.py": "", "a/b.py": ""}),
            ("a missing subpackage", "import a.b.c", {"a/b/c.py": ""}, a),
            ("a module that has just come", came, {}),
            ("a file that has just come", tried + "open('x.txt', 'w'); raise", {}),
            ("a directory to import from", lib, {"lib/new.py": ""}, {"lib/x": ""}),
            ("a syntax error", b, {"a/b.py": "1"}, {**a, "a/b": "def"}),
            ("a missing name", "from b import c", {"b.py": "c = 1"}, {"b": ""}),
            ("a data file", "open('data/x.txt')", {"data/x.txt": ""}),
            ("a cause", tried + "raise ValueError from e", x),
            ("a context", tried + "1/0", x),
            ("a file given to exec()", conf, {"conf": "1"}),
            ("a directory that has been removed", gone, {"app.py": done}),
            ("null bytes", "import a", {"a.py": "1"}, {"a": "\0"}),
            ("a bad encoding", "import a", {"a.py": "1"}, {"a": "# coding: nonsense"}),
            ("a file too many", "import csv; csv.Error", {"csv.py": None}, {"csv": ""}),
            *([] if WINDOWS else [("a mode", denied, {"x.py": 0o640}, {"x": ""})]),
            ("an odd exception", odd, {"a.py": "bad = 0"}, {"a": "bad = 1"}),
        )
        if sys.version_info >= (3, 11):
            rows += (("a group", tried + "raise ExceptionGroup('', [e])", x),)
        self.each(story, rows)

    @each(("pkg", "pkg"), ("pkg.app", "pkg"), ("pkg.sub.app", "pkg/sub"))
    def test_a_package_that_fails_is_no_target_that_is_missing(self, name, folder):
        files = dict.fromkeys(["pkg/__init__", "pkg/sub/__init__"], "")
        files |= dict.fromkeys(["pkg/__main__", "pkg/app", "pkg/sub/app"], app(""))
        files[folder + "/__init__"] = "from . import views"
        program = self.program(**files).wrap("-m", name)
        program.expect("exited with status 1, waiting for a change")
        program.change(folder + "/views.py", "", "^up")

    @each(("import missing", "discover", "-stests"), ("1 / 0",))
    def test_a_test_file_that_the_runner_failed_to_collect(self, bad, *words):
        good = "import unittest\nclass T(unittest.TestCase):\n    def test(self): "
        files = {"tests/__init__": "", "tests/test_x": bad, "test_y": good + "0"}
        program = self.program(**files).wrap("-m", "unittest", *words)
        program.expect("waiting for a change")
        program.change("tests/test_x.py", good + "print('mended')", "mended")

    @each(*WAYS)
    def test_a_module_whose_failure_the_program_has_caught(self, words, start):
        text = "try: import plugin; shown = plugin.VALUE\n"
        text += "except Exception as error: shown = type(error).__name__"
        text = app(start + text, "shown")
        program = self.launch(text, words, "up SyntaxError", plugin="VALUE =")
        for value, said in ("1", "1"), ("1 / 0", "ZeroDivisionError"), ("3", "3"):
            program.change("plugin.py", f"VALUE = {value}", f"up {said}$")

    FAILS = "open('new.txt', 'w'); open('data.bin', 'w'); 1 / 0"
    FILLS = "import os; open('a/x', 'w').close(); os.remove('a/x'); os.mkdir('a')"

    @each(
        (FAILS, "waiting for a change$", ["x.txt"], "app.py"),
        (FILLS, "waiting for a change$", ["x.txt"], "app.py"),
        (app("import a.b"), "up", ["new.py", "a/new.py"], "data/new.txt"),
    )
    def test_new_files_that_are_no_change(self, text, said, new, changed):
        program = self.program(app=text, **{"a/__init__": "", "a/b": ""})
        os.mkdir(program.path("data"))
        program.run(*wrapped("--watch", "data")).expect(said)
        for name in new:
            program.write(name)
        self.assert_quiet(program, changed)

    @each((app(""), "up", "--watch", "."), ("1 / 0", "waiting for a change$"))
    def test_what_nobody_imports_need_not_compile(self, text, said, *more):
        program = self.launch(text, wrapped(*more), said, legacy="")
        program.change("legacy.py", "def", said)
        program.change("app.py", app("", "'mended'"), "up mended")
        self.assertNotIn("does not compile", program.output)

    def test_a_script_without_a_suffix_has_to_compile_and_a_zip_has_not(self):
        program = self.program()
        program.write("manage", app(""))
        program.wrap("manage").expect("^up")
        program.write("manage", "def")
        program.expect("^SyntaxError", "manage does not compile, the old code runs on$")
        program.change("manage", app("", "'mended'"), "up mended")
        program.zip("manage", __main__=app("", "'zipped'"))
        program.expect("manage changed, restarting$", "up zipped")
        program.zip("manage", __main__=app("", "'again'"))
        program.expect("manage changed, restarting$", "up again")


class InstalledTest(ProgramTest):
    """Installed packages, which change seldom, and then all at once."""

    SITE = "env/lib/site-packages"

    def start(self, words, app, installed="other", module="VALUE = 1"):
        """Run a program that has a directory of installed packages, and one in it."""
        program = self.program(app=app, sentinel="")
        program.write("env/pyvenv.cfg")
        self.install(program, installed, *[module] * 70)
        path = clean_environment(PYTHONPATH=program.path(self.SITE))
        return program.run(*words, env=path)

    def install(self, program, package, *texts, gap=0.0):
        """Install a package of these modules as installers do, in another's stead."""
        folder = program.path(self.SITE, package)
        for path in folder, folder + ".dist-info":
            shutil.rmtree(path, ignore_errors=True)
            pause(gap)
        os.makedirs(folder)
        for i, text in enumerate(texts):
            pathlib.Path(folder, f"m{i}.py").write_text(text)
        os.mkdir(folder + ".dist-info")

    @each(("400", 0), ("100", 0.5))
    def test_a_package_that_is_replaced_is_one_change(self, check_time, gap):
        names = ", ".join(f"m{i}" for i in range(70))
        text = f"import sentinel; from pkg import {names}"
        words = wrapped("--check-time", check_time)
        program = self.start(words, app(text, "m69.VALUE"), "pkg")
        program.expect("up 1")
        self.install(program, "pkg", *["VALUE = 2"] * 70, gap=gap)
        # The last modules may not be listed yet.
        program.expect(r"pkg/m\d+.py changed \(\+\d+ more\), restarting$", "up 2$")
        self.assertEqual(program.output.count("restarting"), 1, program.output)
        self.assert_quiet(program)

    CRASH = "import os\ntry: import pkg.m0\nexcept ImportError: os.abort()\n"

    @each(
        *[(WRAPPED, "import pkg.m0", "failed"), (WRAPPED, "import half.m0", "failed")],
        *[(PLAIN, START + "import pkg.m0", "failed")],
        *[(WRAPPED, CRASH, "exited with status 3" if WINDOWS else "died of SIGABRT")],
    )
    def test_a_failure_is_mended_by_an_installation(self, words, text, said):
        is_half = "half" in text
        package = "half" if is_half else "other"
        program = self.start(words, app(text), package, "import half.rest")
        program.expect(f"app.py {said}, waiting for a change$")
        if is_half:
            program.write(f"{self.SITE}/half/rest.py")
        else:
            self.install(program, "pkg", "")
        program.expect(f"{self.SITE}{'/half' * is_half} changed, restarting$", "up")

    def test_stale_bytecode_of_many_installed_files_is_dropped(self):
        program = self.start(WRAPPED, app("import m0, m1, m2, m3, m4, m5", "m5.VALUE"))
        program.expect("failed, waiting for a change$")
        for value in 1, 2:
            for i in range(6):
                path = program.path(self.SITE, f"m{i}.py")
                program.write(path, f"VALUE = {value}")
                os.utime(path, (10**9, 10**9))
            program.expect(f"up {value}$")

    @each(
        *[("other", 1, 1000), ("other", -1, 1000), ("other/m69.py", -1, 1000)],
        *[("other/*.py", 1, 1000), ("other/m1.py", 1, 20)],
    )
    def test_an_installed_file_is_seen_later_or_if_named_at_once(self, name, step, ms):
        lines = f"{NAME}.watch('{self.SITE}/{name}')", "from other import m69"
        text = app("\n".join([f"import {NAME}", *lines[::step]]))
        # As an installed one, a file is seen within 32 times as long.
        program = self.start(wrapped(f"--check-time={ms}"), text)
        program.expect("up")
        program.change(f"{self.SITE}/other/m69.py", "VALUE = 2", "up")

    def test_a_program_whose_failing_start_installs_something_is_slowed_down(self):
        text = f"import os; os.mkdir('{self.SITE}/x'); os.rmdir('{self.SITE}/x'); 1 / 0"
        program = self.start(WRAPPED, text)
        soon = f"{self.SITE} has changed soon after each of the last 4 starts"
        soon += f", no restart until 2 s after this one; --ignore {self.SITE} leaves"
        program.expect(f"{soon} it out$", f"{self.SITE} changed, restarting$")
        program.write("app.py", app("", "'at last'"))
        program.expect("up at last")


class WatchTest(ProgramTest):
    def story(self, watched, *steps, seen=""):
        """Restart after each step: "verb path [other] [> what the shell names]"."""
        text = f"import {NAME}; {NAME}.watch({watched!r}); {seen}"
        program = self.program(app=app(text))
        program.write("a[1].txt")
        os.mkdir(program.path("data"))
        self.link(program, "x.txt", "one", "two")
        program.run(*WRAPPED).expect("up")
        for step in steps:
            words, _, named = step.partition(" > ")
            verb, path, *other = words.split()
            if verb == "save":
                program.write(path, f"{time.time()}")
            elif verb == "link":
                program.link("two", path)
            else:
                getattr(os, verb)(program.path(path), *map(program.path, other))
            named = named or re.escape(path)
            program.expect(f"{NAME}: {named} changed.*, restarting", "up")

    @staticmethod
    def link(program, name, one, two):
        """Have `current` link to the directory `one`; `two` has a file just as old."""
        for folder, text in (("one", one), ("two", two)):
            program.write(f"{folder}/{name}", text)
            os.utime(program.path(folder, name), (10**9, 10**9))
        program.link("one", "current")

    def test_what_is_watched(self):
        moved = "rename data/new.txt data/other.txt > data/(new|other).txt"
        new, deep = "save data/new.txt", "save data/sub/deep/x.txt"
        away = "rename data away > data", "rename away data > data"
        html = "save data/a.html", "save data/x/y/b.html", "save data/x/y/b.html"
        swap = "link current > current.*", "save two/x.txt > current/x.txt"
        at_once = [("data/new/sub", "makedirs data/new/sub", "save data/new/sub/x")]
        at_once += [("a[1].txt", "save a[1].txt"), ("current/x.txt", *swap)]
        # What is gone can be missed only by a program that has looked at it.
        once_seen = [("current", *swap), ("current/*.txt", *swap)]
        once_seen += [("data", new, new, deep, deep, moved)]
        once_seen += [("data", new, "remove data/new.txt", *away, new)]
        once_seen += [("b[1].txt", "save b[1].txt", "save b[1].txt")]
        once_seen += [("data/**/*.html", *html, "remove data/a.html")]
        seen = functools.partial(self.story, seen="import time; time.sleep(0.3)")
        for story, rows in (self.story, at_once), (seen, once_seen):
            self.each(story, [row for row in rows if not WINDOWS or swap[0] not in row])

    def test_paths_of_the_command_line(self):
        program = self.program(**{"in/app": app("")})
        words = wrapped("--watch", "tempaltes", "--watch", "..", "--ignore", "../out")
        program.run(f"../{NAME}.py", *words[2:], cwd=program.path("in"))
        program.expect(f"^{NAME}: tempaltes does not exist yet, waiting for it$", "up")
        program.write("out/x.txt")
        program.write("sentinel")
        program.expect("autoreload: ../sentinel changed, restarting", "up")
        self.assertEqual(program.output.count("waiting"), 1, program.output)

    @each(["data"], ["data/**/*"], ["d*/**"])
    def test_what_a_directory_watch_and_a_glob_leave_out(self, watched):
        program = self.program(app=app(""))
        program.write("data/venv/pyvenv.cfg")
        program.run(*wrapped("--watch", watched)).expect("up")
        names = ".hidden/x .hidden.txt .git/index __pycache__/x.pyc node_modules/a/x.js"
        names += " venv/lib/x.py app.log app.log.1 x.txt~ .x.txt.swp #x.txt# 4913 x.tmp"
        for name in f"{names} ~$x.xlsx x.db x.db-journal x.sqlite3".split():
            program.write("data/" + name, "1")
        self.assert_quiet(program, "data/sentinel.txt")

    def test_where_the_output_goes_is_left_out(self):
        text = "import sys, time\nwhile True:\n    time.sleep(0.01)\n"
        text += "    print('output', flush=True); print('error', file=sys.stderr)\n"
        redirect = """
            import subprocess, sys
            files = {"stdout": open("out", "w"), "stderr": open("err", "w")}
            subprocess.call([sys.executable, *sys.argv[1:]], **files)
        """
        program = self.program(app=text)
        program.write("err")
        program.run("-c", code(redirect), *wrapped("--watch", "."))
        path = pathlib.Path(program.path("err"))
        self.assertTrue(become(lambda: path.read_text().count("error") > 50))
        program.write("sentinel.py", "1")
        said = f"{NAME}: sentinel.py changed, restarting\n"
        self.assertTrue(become(lambda: said in path.read_text()), path.read_text())
        self.assertEqual(path.read_text().count(NAME), 1)

    def test_what_is_ignored(self):
        # What is above the program has names that are no matter.
        above = self.program().directory, tempfile.gettempdir()
        before = "own1.py", "./own2.py", "pkg1", "pkg2/*", *map(os.path.basename, above)
        after = "pkg3", "../*/own3.py", "{}/own4.py"
        names = "own1 own2 pkg1/one pkg2/one pkg3/one own3 own4".split()
        ignore = f"for name in {{}}: {NAME}.ignore(name.format(os.getcwd()))\n"
        text = f"import os, time, {NAME}\n{ignore.format(before)}{START}"
        text += f"import sentinel, {', '.join(names).replace('/', '.')}\n"
        text += "time.sleep(0.3)  # the files saved last are looked at most often now\n"
        text = "import sys; sys.path.append('../lib')\n" + text
        files = dict.fromkeys(["../lib/sentinel", *names], "")
        program = self.launch(app(text + ignore.format(after)), PLAIN, **files)
        for name in names:
            program.write(name + ".py", "1")
        self.assert_quiet(program, "../lib/sentinel.py")

    def test_a_module_that_is_no_plain_file(self):
        def archive(program, value):
            program.zip("lib.zip", own=f"VALUE = {value}")

        def link(program, value):
            if value == 1:
                self.link(program, "own.py", "VALUE = 1", "VALUE = 2")
            else:
                program.link("two", "current")

        def extension(program, value):
            found = importlib.util.find_spec("_heapq").origin
            os.makedirs(program.path("lib"), exist_ok=True)
            new = shutil.copy(found, program.path("new"))
            os.replace(new, program.path("lib", os.path.basename(found)))

        def story(folder, save, named, text="import own", shown="own.VALUE"):
            text = f"import sys; sys.path.insert(0, {folder!r}); {text}"
            program = self.program(app=app(text, shown))
            save(program, 1)
            program.wrap("app.py").expect("up (1|.*/lib/_heapq)")
            save(program, 2)
            program.expect(f"{named} changed, restarting", "up (2|.*/lib/_heapq)")

        rows = [("lib.zip", archive, "lib.zip"), ("current", link, "current/own.py")]
        if os.path.isfile(importlib.util.find_spec("_heapq").origin or ""):
            heap = "lib/_heapq.*", "import _heapq", "_heapq.__file__"
            rows += [("lib", extension, *heap)]
        self.each(story, rows[:1] if WINDOWS else rows)

    def test_thousands_of_files_delay_no_edit(self):
        modules = dict.fromkeys(("old", "b", "c", "d"), "")
        text = f"import time, {', '.join(modules)}; time.sleep(1)"
        program = self.program(**modules, app=app(text))
        for i in range(500):
            program.write(f"data/{i}")
        watch = [word for i in range(60) for word in ("--watch", "data/" + "*" * i)]
        program.run(*wrapped(*watch)).expect("up")
        program.change("old.py", "1")


class SurvivalTest(ProgramTest):
    """The watcher never dies, and has no side effects."""

    def test_a_module_in_the_stead_of_another_is_watched(self):
        text = """
            import importlib.util, sys, time
            for name in "one", "two":
                spec = importlib.util.spec_from_file_location(name, name + ".py")
                sys.modules[name] = importlib.util.module_from_spec(spec)
                sys.modules.pop("one") if name == "two" else time.sleep(0.5)
        """
        program = self.launch(app(text, "spec.name"), one="", two="")
        program.fall_asleep()
        program.change("two.py", "#", "up two")

    def test_odd_things_in_sys_modules_while_it_changes(self):
        text = r"""
            import sys, types, importlib.util
            def touch(*names): print("touched", *names, flush=True); raise SystemExit
            class Raising(types.ModuleType): __getattr__ = touch
            class Worse: __getattribute__ = touch
            class Proxy: __slots__ = (); __getattr__ = touch; __dict__ = property(touch)
            class Text(str): __eq__ = lambda *_: 1 / 0; __hash__ = str.__hash__
            files = b"/tmp/x", "nul\0nul", None, 7, "", "<frozen>", "/tmp/\udc80/\ud800"
            for i, value in enumerate((*files, Text("x"), "/tmp", Proxy(), Worse())):
                for name in "__file__", "__loader__":
                    module = sys.modules[f"{name}{i}"] = types.ModuleType("odd")
                    setattr(module, name, value)
            fake = type("p", (), {"__file__": "x"})
            odd = None, Raising("b"), Worse(), Proxy(), 3, fake
            sys.modules |= dict(zip(("a", "b", "c", "d\0", "\udc80", "f"), odd))
            spec = importlib.util.find_spec("slow")
            spec.loader = importlib.util.LazyLoader(spec.loader)
            sys.modules["slow"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules["slow"])
            import sentinel, threading
            sys.setswitchinterval(1e-5)
            def churn(name):
                names = [f"{name}{i}" for i in range(300)]
                while True:
                    sys.modules.update({name: types.ModuleType("x") for name in names})
                    for name in names: del sys.modules[name]
            for name in "xyz":
                threading.Thread(target=churn, args=name, daemon=True).start()
        """
        slow = "print('touched the lazy module', flush=True)"
        words = wrapped("--check-time=50")
        program = self.launch(app(text), words, sentinel="", slow=slow)
        self.assert_quiet(program)
        self.assertNotRegex(program.output, "touched|unexpected")

    def test_odd_files_and_directories_in_a_watched_directory(self):
        text = f"import {NAME}\nif not {NAME}.restarts: import big"
        program = self.program(app=app(text), big="")
        os.makedirs(program.path("data", "closed"), 0o777 * WINDOWS)
        links = [("nowhere", "dangling"), ("..", "loop"), ("self", "self")]
        for target, link in [] if WINDOWS else links:
            program.link(target, "data/" + link)
        make = os.mkdir if WINDOWS else os.mkfifo
        make(program.path("data", "fifo.py"))
        names = "surrogate-\udcff.py", "line\nfeed.py", "-rf.py", "\x1b[31m.py"
        names = ("ä b.py", "-rf.py") if WINDOWS else names
        for name in names:
            program.write(f"data/{name}")
        program.run(*wrapped("--watch=data", "--watch=data/fifo.py")).expect("up")
        os.truncate(program.path("big.py"), 2**33)  # longer to read than anybody waits
        program.expect("big.py changed.* restarting$", "up")
        for name in names:
            program.write(f"data/{name}", "1")
            program.expect("autoreload: data.* changed, restarting$", "up")
        if not WINDOWS:
            os.utime(program.path("data", "fifo.py"), (1, 1))
            program.expect("data/fifo.py changed, restarting$", "up")
        for _ in range(300):
            program.write("data/sub/x.txt")
            shutil.rmtree(program.path("data/sub"), ignore_errors=WINDOWS)
        program.write("app.py", app("", "'at last'"))
        program.expect("up at last")
        self.assertNotIn("Traceback", program.output)


class HookTest(Story):
    def test_hooks_run_in_order_on_the_thread_of_their_loop(self):
        running = "asyncio.get_running_loop()"
        loops = "None", running, running + ".call_soon_threadsafe"
        loops = [LOOP.format(start=f"autoreload.start({loop}, 100)") for loop in loops]
        queue = """
            import queue
            tasks = queue.Queue()
            autoreload.start(tasks.put, 100)
            say("up", autoreload.restarts)
            while True: tasks.get()()
        """
        ended = """
            async def main(): autoreload.start(None, 100, grace=1)
            asyncio.run(main())
            say("up", autoreload.restarts)
            autoreload.wait()
        """

        def story(words, begin, text, on_main, *end):
            program = self.start(HOOKS, text, words=words, begin=begin)
            self.edit(program, f"^one {on_main}", f"^two {on_main}", *end)
            self.assert_clean(program, "not done", "never awaited")

        rows = [(PLAIN, START, BYE, False, "^bye"), (WRAPPED, "", BYE, False, "^bye")]
        rows += [(PLAIN, "", loop, True, "^cancelled") for loop in loops]
        rows += [(WRAPPED, "", loop, True, "^cancelled") for loop in loops[:2]]
        self.each(story, [*rows, (PLAIN, "", queue, True), (PLAIN, "", ended, False)])

    def test_a_hook_that_requires_them_gets_the_changed_paths(self):
        hooks = """
            @autoreload.add_reload_hook
            def one(paths): say("one", *map(os.path.basename, paths))
            class Cache:
                def clear(self, paths): say("two", len(paths))
            autoreload.add_reload_hook(Cache().clear)
            @autoreload.add_reload_hook
            async def three(paths=None): say("three", paths)
        """
        self.edit(self.start(hooks, SLEEP), "^one helper.py", "^two 1", "^three None")

    def test_failing_and_hanging_hooks_do_not_stop_the_restart(self):
        hooks = """
            import asyncio
            def failing(): 1 / 0
            async def failing_later(): 1 / 0
            def leaving(): sys.exit(3)
            async def leaving_later(): sys.exit(3)
            async def cancelled(): raise asyncio.CancelledError
            class Odd: __await__ = 3
            class Shy: __call__ = __repr__ = lambda self: 1 / 0
            def hanging(): time.sleep(60)
            async def hanging_later(): await asyncio.sleep(60)
            hooks = [failing, failing_later, leaving, leaving_later, cancelled, Odd]
            hooks += [Shy(), print, int, hanging, hanging_later]
            for hook in hooks + [hanging] * 30:  # which share one grace period
                autoreload.add_reload_hook(hook)
        """
        program = self.start(hooks, SLEEP)
        failed = "autoreload: hook {} failed, restarting anyway$"
        names = "failing failing_later leaving leaving_later cancelled Odd Shy".split()
        late = "autoreload: hook {} is not done after 1 s, restarting anyway$"
        lates = map(late.format, ("hanging", "hanging_later", "hanging"))
        self.edit(program, *map(failed.format, names), *lates)
        self.assertNotIn("Exception in thread", program.output)

    @each(
        *[("1 / 0", PLAIN), ("sys.exit(3)", SHORT), ("raise KeyboardInterrupt", PLAIN)],
        *[("time.sleep(60)", SHORT), ("raise asyncio.CancelledError", PLAIN)],
        *[("await asyncio.sleep(60)", SHORT)],
    )
    def test_failing_hooks_on_a_loop_do_not_end_the_program_otherwise(self, way, words):
        hook = f"@autoreload.add_reload_hook\nasync def hook(): {way}\n"
        loop = LOOP.format(start="autoreload.start(None, 100, grace=0.3)")
        program = self.start(hook, loop, words=words, begin="")
        self.edit(program)
        if way.startswith("await"):  # by the end of the loop it is cancelled
            self.assertNotIn("failed", program.output)

    def test_a_loop_that_fails_or_a_signal_that_is_survived_is_no_obstacle(self):
        hook = """
            def schedule(fn): raise ValueError("no loop any more")
            autoreload.start(schedule, 100, grace=0.5)
            signal.signal(signal.SIGTERM, lambda *_: say("survived"))
            @autoreload.add_reload_hook
            def hook():
                signal.raise_signal(signal.SIGTERM)
                time.sleep(0.1)
            if not autoreload.restarts: autoreload.restart()
        """
        program = self.start(hook, SLEEP, begin="")
        program.expect(r"restart\(\) was called, restarting", "^survived", "^up 1")


class InterruptTest(Story):
    """The program is interrupted as by Ctrl-C, and ended if it does not end."""

    def test_clean_up_happens_before_the_restart(self):
        cleaning = """
            import atexit, contextlib; atexit.register(say, "atexit")
            try:
                with contextlib.ExitStack() as stack: stack.callback(say, "with"); SLEEP
            finally: say("finally")
        """.replace("SLEEP", SLEEP.strip().replace("\n", "; "))
        program = self.start(cleaning)
        for _ in range(2):
            self.edit(program, "^with", "^finally", "^atexit")
        self.assert_clean(program)
        self.assertEqual(program.output.count("atexit"), 2)  # each runs once

    def test_neither_threads_nor_ignored_interrupts_hold_the_restart(self):
        exiting = "import atexit; atexit.register(say, 'atexit')\n"
        thread = "from threading import Timer; Timer(60, int).start()\n"
        pool = "import concurrent.futures as c\n"
        pool += "c.ThreadPoolExecutor().submit(time.sleep, 60)\n"
        line = len(code(BEGIN, HURRY, exiting, STUCK).splitlines())
        default = IGNORING.replace("SIG_IGN", "SIG_DFL")

        def story(text, place="", words=PLAIN):
            program = self.start(exiting + text, words=words, begin=HURRY)
            program.fall_asleep()
            stuck = f"main thread is at {place} after 0.3 s, restarting anyway$"
            for _ in range(2):  # what start() is given holds after a restart, too
                self.edit(program, *["autoreload: " + stuck] * bool(place), "^atexit")
            self.assertEqual(program.output.count("anyway"), 2 * bool(place))
            self.assert_clean(program)

        rows = [(STUCK, f"app.py:({line}|{line - 1}|{line - 2})"), (IGNORING,)]
        rows += [(thread + SLEEP, ".*"), (default,)]
        if not WINDOWS:  # where no wait for a thread heeds Ctrl-C
            rows += [(pool + UP,), (pool + UP, "", WRAPPED)]
        self.each(story, rows)


LISTEN = """
    s = autoreload.listen(("127.0.0.1", 0))
    say("port", s.getsockname()[1])
    def slow():
        say("asked"); time.sleep(0.3)
        return b"%d" % helper.VALUE
"""
HTTP_SERVER = """
    import http.server
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(slow())
        def log_message(self, *arguments): pass
    server = http.server.ThreadingHTTPServer(s.getsockname(), Handler, False)
    server.socket = s
"""
WERKZEUG = """
    import logging, werkzeug.serving
    def answer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [slow()]
    logging.getLogger("werkzeug").setLevel("ERROR")
    server = werkzeug.serving.make_server("localhost", 0, answer, True, fd=s.fileno())
"""
ASYNCIO_SERVER = """
    import asyncio
    tasks = set()
    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        await reader.readuntil(b"\\r\\n\\r\\n"); await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + slow()); await writer.drain()
        writer.close(); await writer.wait_closed(); tasks.remove(asyncio.current_task())
    async def main():
        server = await asyncio.start_server(serve, sock=s)
        autoreload.start(None, 100)
        @autoreload.add_reload_hook
        async def drain():
            server.close(); await asyncio.sleep(0.1)  # those just accepted begin
            while tasks: await asyncio.wait(tasks)
        say("up", autoreload.restarts); await asyncio.sleep(60)
    asyncio.run(main())
"""
UVICORN_SERVER = """
    import uvicorn
    async def answer(scope, receive, send):
        while scope["type"] == "lifespan":
            kind = (await receive())["type"]
            if kind.endswith("startup"): say("up", autoreload.restarts)
            await send({"type": kind + ".complete"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": slow()})
"""
# By Ctrl-C a server drops, and says so, what it is just handing to a new thread.
SERVE = "server.handle_error = lambda *_: None\n"
SERVE += "say('up', autoreload.restarts); server.serve_forever()\n"
UVICORN_FD = "uvicorn.run(answer, fd=s.fileno(), log_level='error')\n"
UVICORN_SOCKETS = "uvicorn.Server(uvicorn.Config(answer)).run(sockets=[s])\n"


class ListenTest(Story):
    def port(self, program):
        return int(re.search(r"port (\d+)", program.output)[1])

    @each(*BOTH)
    def test_an_address_keeps_its_socket_while_each_run_asks_for_it(self, words):
        listening = """
            import pathlib
            if autoreload.restarts == 1: say("up", 1); time.sleep(60)
            for address in (("127.0.0.1", 0), ("::1", 0), ("", 0), ("localhost", 0),
                            "s.sock", pathlib.Path("path.sock")):
                with autoreload.listen(address) as s:  # closing it is no harm
                    s.settimeout(1)
                s = autoreload.listen(address)
                node, blocks = os.fstat(s.fileno()).st_ino, s.getblocking()
                say("socket", node, blocks, s.getsockname())
            if autoreload.restarts < 1: autoreload.listen("dropped")
        """
        program = self.start(listening, SLEEP, words=words)
        sockets = re.findall("socket .* True .*", program.output)
        self.assertEqual(len(set(sockets)), 6)
        self.edit(program)  # that run ends before it asks for any
        for _ in range(2):
            self.edit(program, *(f"^{re.escape(line)}$" for line in sockets))
        self.assert_clean(program)
        with socket.socket(socket.AF_UNIX) as client:
            dropped = program.path("dropped")
            self.assertRaises(ConnectionRefusedError, client.connect, dropped)

    @each(*BOTH)
    def test_a_client_waits_while_a_restart_or_a_failure_is_waited_for(self, words):
        answering = """
            say("up", autoreload.restarts)
            while True:
                with s.accept()[0] as c: c.sendall(slow())
        """
        everywhere = LISTEN.replace("127.0.0.1", "")
        program = self.start(everywhere, answering, words=words)
        for value, host in (1, "127.0.0.1"), (2, "::1"):
            address = host, self.port(program)
            program.change("helper.py", "1 / 0", "app.py failed, waiting for a change")
            with socket.create_connection(address, DEADLINE) as client:
                program.write("helper.py", f"VALUE = {value}")
                self.assertEqual(client.recv(10), b"%d" % value)
        self.assertEqual(program.stop(), 130)
        self.assertRaises(ConnectionRefusedError, socket.create_connection, address)

    def test_only_the_socket_file_of_a_dead_server_is_removed(self):
        program = self.start("s = autoreload.listen('stream')\n", SLEEP)
        program.run("app.py").expect("^up 0")  # the first one has been killed
        program.write("file")
        names = "stream", "datagram", "file"
        stream, datagram, file = paths = [program.path(name) for name in names]
        living = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with living, socket.socket(socket.AF_UNIX) as client:
            living.bind(datagram)
            for path in paths:
                self.assertRaises(OSError, autoreload.listen, path)
            living.connect(datagram)
            client.connect(stream)
        self.assertTrue(os.path.exists(file))

    @each(*BOTH)
    def test_what_we_hold_is_private_and_gone_in_the_end(self, words):
        children = """
            import subprocess
            look = '''if True:
                import os
                ours = [name for name in os.environ if "AUTORELOAD" in name]
                for fd in range(3, 100):
                    try: ours.append(os.fstat(fd))
                    except OSError: pass
                print("inherited", ours, os.environ.get("PYTHONPATH"))
            '''
            subprocess.run([sys.executable, "-c", look], close_fds=False)
        """
        program = self.start(LISTEN, children, SLEEP, words=words)
        mode = "0o40777" if WINDOWS else "0o40700"  # there, it is another matter
        for _ in range(2):
            self.edit(program, r"inherited \[\] None")
            private = pathlib.Path(program.temporary).glob("*autoreload-*")
            self.assertEqual([oct(p.stat().st_mode) for p in private], [mode])
        self.assertEqual(program.stop(), 130)
        self.assertEqual(os.listdir(program.temporary), [])

    @each(*BOTH)
    def test_a_program_that_closes_all_descriptors_gets_a_new_one(self, words):
        closing = """
            if autoreload.restarts < 2: os.closerange(3, 256)
            files = [open(f"{i}.txt", "w") for i in range(20)]
        """
        program = self.start(LISTEN, closing, SLEEP, words=words)
        for _ in range(2):
            self.edit(program)
        sizes = map(os.path.getsize, glob.glob(program.path("*.txt")))
        self.assertEqual(set(sizes), {0})
        self.assert_clean(program)

    @each(
        *[(WRAPPED, ASYNCIO_SERVER), (PLAIN, code(HTTP_SERVER, SERVE))],
        *[(WRAPPED, code(WERKZEUG, SERVE), "werkzeug")],
        *[(PLAIN, code(UVICORN_SERVER, UVICORN_FD), "uvicorn")],
        *[(WRAPPED, code(UVICORN_SERVER, UVICORN_SOCKETS), "uvicorn")],
    )
    def test_servers_answer_every_request_and_finish(self, words, server, needs=""):
        if needs and not importlib.util.find_spec(needs):
            self.skipTest(f"not installed: {needs}")
        program = self.start(LISTEN, server, words=words)
        port, stop, served, lost = self.port(program), threading.Event(), [], []
        cut = ConnectionResetError, http.client.IncompleteRead, ValueError

        def ask():
            while not stop.wait(0.01):
                try:
                    served.append(int(get(port)))
                except cut as error:
                    lost.append(error)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            clients = [pool.submit(ask) for _ in range(4)]
            try:
                for value in range(1, 4):
                    program.expect("asked")
                    self.edit(program)
                    become(lambda value=value: value in served)
            finally:
                stop.set()
            for client in clients:
                client.result()
        self.assertEqual(set(served), {0, 1, 2, 3})
        self.assert_clean(program)
        self.assertLessEqual(len(lost), 3)  # one by each Ctrl-C, but not all four


# Each worker says `worker N` with its process id.
WORKER = """
    def work(): say("worker", os.getpid()); time.sleep(600)
    def fork(work=work):
        if not os.fork(): work()
"""
SPAWNING = """
    if __name__ == "__main__":
        import concurrent.futures, multiprocessing
        context = multiprocessing.get_context({method!r})
"""


class ChildrenTest(Story):
    """What the program has started ends with it, and becomes no zombie."""

    def workers(self, program, count, shells, others=0, restarts=2):
        """Restart, and see that exactly the newest workers exist; in the end, none."""
        old = set()
        for turn in range(restarts + 1):
            if turn:
                self.edit(program, up=False)
            pids = {int(program.expect(r"worker (\d+)")[1]) for _ in range(count)}
            self.assertEqual(len(pids - old), count, program.output)
            shells = shells or turn > 0 or WINDOWS
            self.assert_count(program, 1 + shells + count + others)
            self.assertLessEqual(pids, session(program.process.pid).keys())
            old = pids
        self.assert_clean(program, "Warning")
        self.assertEqual(program.stop(), 130)

    def test_forked_workers_are_replaced(self):
        waiting = """
            for _ in range(3): fork(lambda: (autoreload.start(100), work()))
            os.wait() if autoreload.restarts else time.sleep(60)
        """
        stubborn = """
            def stubborn():
                for n in (2, 15): signal.signal(n, signal.SIG_IGN)
                work()
            fork(stubborn); fork(stubborn)
        """
        middle = "fork(lambda: (fork(), work()))\n"

        def story(count, words, begin, *parts):
            program = self.story(WORKER, *parts, words=words, begin=begin)
            self.workers(program.run(*words), count, words == WRAPPED)
            self.assertEqual(program.output.count("restarting"), 2)

        rows = [(3, PLAIN, START, waiting), (3, WRAPPED, "", waiting)]
        rows += [(2, PLAIN, START, middle, SLEEP), (2, PLAIN, HURRY, stubborn, SLEEP)]
        self.each(story, rows)

    def test_workers_end_by_sigterm_although_the_program_ignores_the_interrupt(self):
        working = """
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if not os.fork():
                signal.signal(signal.SIGTERM, lambda *_: (say("ended"), os._exit(0)))
                say("up", autoreload.restarts)
            time.sleep(60)
        """
        self.edit(self.start(working), "^ended")

    def test_a_worker_forked_during_the_stop_ends_too(self):
        ending = """
            fork()
            autoreload.add_reload_hook(fork)
            try: say("up", autoreload.restarts); time.sleep(60)
            finally: fork()
        """
        harmless = "if os.fork(): os.wait()\nelse: os._exit(0)\n"  # before start()
        program = self.start(WORKER, ending, begin=harmless + START)
        for _ in range(2):
            self.edit(program)
        self.assert_count(program, 3)

    def test_workers_of_multiprocessing_are_replaced(self):
        processes = """
            for d in (False, True): context.Process(target=work, daemon=d).start()
            time.sleep(60)
        """
        executor = """
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                assert pool.submit(int).result() == 0
                jobs = [pool.submit(work) for _ in range(2)]
                time.sleep(60)
        """
        pool = """
            with context.Manager(), context.Pool(2) as pool:
                jobs = [pool.apply_async(work) for _ in range(2)]
                time.sleep(60)
        """

        def story(method, others, words, text):
            """Beside the workers there are forkserver, resource tracker and manager."""
            text = textwrap.indent(textwrap.dedent(text), "    ")
            spawning = code(SPAWNING.format(method=method)) + text
            program = self.story(WORKER, spawning, words=words).run(*words)
            self.workers(program, 2, words == WRAPPED, others, restarts=1)

        rows = [("fork", 0, PLAIN, processes), ("spawn", 1, WRAPPED, processes)]
        rows += [("forkserver", 2, PLAIN, processes), ("fork", 1, WRAPPED, pool)]
        rows += [("spawn", 1, PLAIN, executor), ("forkserver", 2, WRAPPED, executor)]
        if WINDOWS:  # which has no resource tracker
            rows = [("spawn", 0, PLAIN, processes), ("spawn", 1, WRAPPED, pool)]
        self.each(story, rows)

    @each(*BOTH)
    def test_other_programs_are_interrupted_and_what_left_the_group_lives(self, words):
        child = """
            import os, sys, time
            try: print(sys.argv[1], os.getpid(), flush=True); time.sleep(600)
            except KeyboardInterrupt: print("interrupted", flush=True)
        """
        starting = """
            import subprocess
            def start(name, **options):
                words = [sys.executable, "child.py", name]
                process = subprocess.Popen(words, stdout=subprocess.PIPE, **options)
                say(process.stdout.readline().decode().strip())
                return process
            if not autoreload.restarts: start("daemon", preexec_fn=os.setpgrp)
            children = [start("child") for _ in range(2)]
            try: say("up", autoreload.restarts); time.sleep(60)
            finally: say([child.communicate()[0] for child in children])
        """
        program = self.story(starting, words=words, child=code(child))
        program.run(*words).expect("^up 0")
        for _ in range(2):
            self.edit(program, r"\[b'interrupted\\n', b'interrupted\\n'\]")
            self.assert_count(program, 5)
        self.assert_clean(program, "anyway")

    def test_what_a_crash_leaves_is_ended_before_the_next_run(self):
        listening = """
            import socket
            s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
            fork()
            say("up", autoreload.restarts)
            if not autoreload.restarts: os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        """
        program = self.start(WORKER, listening, words=[*WRAPPED, str(free_port())])
        program.expect("app.py died of SIGKILL, waiting for a change")
        self.edit(program)
        self.assert_count(program, 3)

    def test_a_worker_whose_parent_has_not_started_us_is_no_second_shell(self):
        app = """
            import os, sys, time
            if os.fork(): sys.exit(print("parent", os.wait()[1], flush=True))
            import autoreload, helper
            autoreload.start(100); autoreload.start(100)
            print("worker", helper.VALUE, flush=True)
            time.sleep(0.5)
            print("nothing happened", 1 / 0)
        """
        program = self.launch(app, PLAIN, "worker 0", helper="VALUE = 0")
        program.write("helper.py", "VALUE = 1")
        program.expect("ZeroDivisionError", "^parent 256$")
        self.assertEqual(program.rest(), 0)
        warnings = re.findall("RuntimeWarning: .* nothing is watched", program.output)
        self.assertEqual(len(warnings), 1)
        self.assertNotRegex(program.output, "restarting|waiting")

    @each(*BOTH)
    def test_forks_while_a_save_is_looked_at_do_not_hang(self, words):
        forking = """
            say("up", autoreload.restarts)
            for _ in range(500):
                for _ in range(20):
                    if os.fork(): os.wait(); continue
                    import traceback, linecache, tokenize, warnings; os._exit(0)
                say("forked")
        """
        program = self.start(forking, words=words)
        for value in range(4):
            program.write("helper.py", f"VALUE = {value} +")
            program.expect("helper.py does not compile", "forked", "forked")
        self.edit(program)
        program.expect("forked")
        program.press()
        self.assertEqual(program.status(), 130)  # once all have closed its stdout

    @each(
        *[("spawn", WRAPPED)],
        *[("forkserver", WRAPPED), ("fork", WRAPPED), ("fork", PLAIN)] * (not WINDOWS),
    )
    def test_a_module_that_only_a_worker_imports_is_watched(self, method, words):
        working = """
            import multiprocessing, os, sys, time
            def work():
                import late
                print("worker", late.VALUE, flush=True); time.sleep(600)
            if __name__ == "__main__":
                multiprocessing.get_context(sys.argv[1]).Process(target=work).start()
                time.sleep(600)
        """
        text = code(START if words == PLAIN else "", working)
        program = self.launch(text, [*words, method], "ZeroDivisionErr", late="1 / 0")
        for value in 2, 3:
            program.change("late.py", f"VALUE = {value}", f"worker {value}")
        self.assertEqual(program.output.count("Error"), 1)

    def test_a_worker_s_watch_and_restart_reach_the_parent(self):
        working = """
            if not os.fork():
                autoreload.watch("data.txt")
                autoreload.ignore("gen_*.py")
                import gen_a
                say("ready", autoreload.restarts)
                sys.stdin.readline()
                autoreload.restart()
            time.sleep(60)
        """
        program = self.story(working, gen_a="").run("app.py", stdin=subprocess.PIPE)
        program.expect("ready 0")
        program.write("gen_a.py", "1")
        program.change("data.txt", "1", "ready 1")
        os.write(program.process.stdin.fileno(), b"\n")
        program.expect(r"restart\(\) was called, restarting", "ready 2")


SHELL = """
    import os, signal, sys
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        if sys.argv[1] == "foreground": os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
    while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
        print("stopped by", signal.Signals(os.WSTOPSIG(status)).name, flush=True)
        os.tcsetpgrp(0, os.getpid()); os.tcsetpgrp(0, pid)
        os.kill(-pid, signal.SIGCONT)
"""
PROMPT = """
    {}
    while True:
        say("got", input(f"prompt {{helper.VALUE}}\\n"), sys.stdin.isatty())
"""
EXEC = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal(Program):
    """A program on a terminal of its own."""

    def run(self, *arguments, control=True, TERM="dumb", **variables):
        self.master, self.slave = pty.openpty()
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)
        # The terminal that the leader of a session opens becomes one that it controls.
        opened = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&1', os.ttyname(self.slave)]
        words = [*(opened if control else []), sys.executable, *arguments]
        environment = clean_environment(TERM=TERM, **variables)
        self.process = started(words, cwd=self.directory, env=environment, **streams)
        self.process.stdout = os.fdopen(self.master, "rb", 0)
        return self

    def _read(self):
        data, end = b"", time.monotonic() + DEADLINE
        while not data and time.monotonic() < end:
            ended = self.process.poll() is not None
            if select.select([self.master], [], [], 0 if ended else 0.05)[0]:
                data = os.read(self.master, 65536)
            elif ended:
                break
        return self._take(data.decode(errors="replace"))

    def type(self, text):
        self.fall_asleep() if text == "\x03" else None
        os.write(self.master, text.encode())

    def modes(self):
        flags = termios.tcgetattr(self.slave)[3]
        return bool(flags & termios.ECHO), bool(flags & termios.ICANON)

    def close(self):
        super().close()
        if self.process:
            os.close(self.slave)


class Console(Program):
    """The same on Windows: input comes by a pipe, Ctrl-C by a console."""

    def run(self, *arguments):
        return super().run(*arguments, stdin=subprocess.PIPE)

    def type(self, text):
        if text == "\x03":
            return self.press()
        os.write(self.process.stdin.fileno(), text.replace("\r", "\n").encode())


class TerminalTest(Story):
    """The terminal is as it was, and Ctrl-C and Ctrl-Z do as ever."""

    def terminal(self, *parts, words=PLAIN, way=(), begin=START, **options):
        kind = Console if WINDOWS else Terminal
        program = self.story(*parts, words=words, begin=begin, kind=kind, shell=SHELL)
        return program.run(*way, *words, **options)

    @each(*itertools.product(("import readline", ""), (PLAIN, WRAPPED)))
    def test_input_works_before_and_after_a_restart(self, module, words):
        program = self.terminal(PROMPT.format(module), words=words)
        for turn in range(2):
            program.expect(f"prompt {turn}")
            program.type(f"hello {turn}\r")
            program.expect(f"got hello {turn} True", f"prompt {turn}")
            program.type("half")
            self.edit(program, up=False)
        program.expect("prompt 2")
        self.assert_clean(program)
        ended = become(lambda: program.type("\x03") or program.process.poll())
        self.assertEqual(ended, -signal.SIGINT)  # readline overlooks some

    @each((True, "xterm"), (False, "dumb"), (False, "xterm", ("NO_COLOR", "1")))
    def test_messages_are_coloured_unless_that_is_not_wanted(self, wanted, term, *more):
        program = self.terminal(SLEEP, words=WRAPPED, TERM=term, **dict(more))
        program.expect("up 0")
        program.write("helper.py", "VALUE = (")
        program.expect("helper.py does not compile, the old code runs on")
        self.assertIs("\033[2mautoreload:\033[0m" in program.output, wanted)
        self.assertIs("\033[31mhelper.py does" in program.output, wanted)
        by_python = wanted and sys.version_info >= (3, 13)
        self.assertIs("35mSyntaxError" in program.output, by_python)

    def test_echo_and_lines_are_restored(self):
        def story(way, words):
            way = "if not helper.VALUE:\n" + textwrap.indent(way, "    ")
            program = self.terminal(way, SLEEP, words=words, begin=HURRY)
            program.expect("up 0")
            self.assertTrue(become(lambda: not all(program.modes())))
            if "_exit" in way:
                program.type("x")
                program.expect("waiting for a change")
            self.edit(program)
            self.assertEqual(program.modes(), (True, True))

        raw, crash = "import tty; tty.setraw(0)\n", "sys.stdin.read(1); os._exit(1)\n"
        curses = "import curses; curses.initscr(); curses.noecho(); curses.raw()\n"
        getpass = "import getpass; getpass.getpass('up 0\\n')\n"
        rows = [(raw + STUCK, PLAIN), (getpass, PLAIN), (getpass, WRAPPED)]
        rows += [(curses, PLAIN), (curses, WRAPPED), (raw + UP + crash, WRAPPED)]
        self.each(story, rows)

    def test_ctrl_c_ends_program_and_shell_in_every_state(self):
        grace, wrap = START.replace("grace=1", "grace=40"), wrapped("--grace", "40")

        def story(words, part, state, status=130):
            program = self.terminal(part, words=words, begin=grace)
            if state == "^bye":
                program.expect("^up 0")
                self.edit(program, up=False)
            program.expect(state)
            program.type("\x03")
            self.assertEqual(program.status(), status)
            self.assertNotIn('autoreload.py"', program.output)

        hook = "@autoreload.add_reload_hook\n{}def hook(): say('bye'); {}.sleep(60)\n"
        on_a_loop = hook.format("async ", "await asyncio")
        on_a_loop += code(LOOP.format(start=grace.strip()))
        hook, stopping = hook.format("", "time"), BYE + "    time.sleep(60)\n"
        swallowing = hook + BYE.replace("finally", "except KeyboardInterrupt")
        rows = [(SLEEP, "^up 0"), ("1 / 0", "failed, waiting"), (hook + SLEEP, "^bye")]
        rows += [(stopping, "^bye"), (on_a_loop, "^bye")]
        rows = [(words, *row) for row in rows for words in (wrap, PLAIN)]
        rows += [(wrap, swallowing, "^bye"), (PLAIN, swallowing, "^bye", 130 * WINDOWS)]
        self.each(story, [*rows, (wrap, UP, "ended, waiting")])

    ALONE = {"way": ["shell.py", "background"]}, {"control": False}

    @each(*itertools.product((PLAIN, WRAPPED), ALONE))
    def test_jobs_in_the_background_and_without_control_restart(self, words, alone):
        program = self.terminal(SLEEP, words=words, **alone)
        program.expect("up 0")
        self.edit(program), self.edit(program)
        self.assert_clean(program, "stopped")

    @each(*BOTH)
    def test_a_stopped_job_goes_on_in_the_foreground(self, words):
        way, prompt = ["shell.py", "foreground"], PROMPT.format("")
        program = self.terminal(prompt, words=words, way=way)
        for turn in range(2):
            program.expect(f"prompt {turn}")
            program.type("\x1a")
            program.expect("stopped by SIGTSTP")
            self.edit(program, f"prompt {turn + 1}", up=False)
            program.type("hi\r")
            program.expect("got hi True")

    IN_THREAD = "import threading; threading.Thread(target=debug).start()\n"

    @each(*itertools.product((PLAIN, WRAPPED), ("debug()\n", IN_THREAD)))
    def test_a_restart_waits_for_a_debugger_prompt_on_any_thread(self, words, call):
        debug = "def debug():\n    breakpoint()\n    say('continued')\n"
        program = self.terminal(UP, debug, call, "time.sleep(60)\n", words=words)
        program.expect("up 0", "app.py")
        program.write("helper.py", "VALUE = 1")
        for number in range(10):
            program.type(f"p {number} + 1000\r")
            program.expect(f"^(.Pdb. )?{number + 1000}$")
        self.assertNotIn("restarting", program.output)
        program.type("c\r")
        program.expect("restarting", "up 1")
        self.assert_clean(program, "Program interrupted", "restarting anyway")


class LaunchedStateTest(Story):
    STATE = """
        import resource
        def identity(fd):
            try: return os.fstat(fd).st_ino
            except OSError: return None
        def affinity(): return getattr(os, "sched_getaffinity", {}.get)(0)
        LIMITS = resource.RLIMIT_NOFILE, resource.RLIMIT_CORE
        say("found", os.getcwd(), os.umask(0o077), "X" in os.environ, sys.argv,
            sorted(signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGTERM])),
            [int(n) for n in signal.valid_signals()
             if signal.getsignal(n) == signal.SIG_IGN],
            *map(signal.getitimer, range(3)), os.nice(0), affinity(),
            *map(resource.getrlimit, LIMITS), os.get_blocking(0),
            *map(identity, (0, 1, 2, PIPE, 50)))
        os.chdir("/"); os.environ["X"] = "1"; sys.argv.append("x")
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, int)
        for n in signal.SIGHUP, signal.SIGPIPE: signal.signal(n, signal.SIG_DFL)
        for timer in range(3): signal.setitimer(timer, 100, 100)
        if affinity(): os.sched_setaffinity(0, [min(affinity())])
        os.set_blocking(0, False); os.dup2(os.open("/", os.O_RDONLY), 50)
        for n in LIMITS:
            hard = resource.getrlimit(n)[1]
            resource.setrlimit(n, (min(60, hard), hard))
    """

    # What is not, or cannot be, put back where there is no shell in the first run.
    FOR_GOOD = "os.nice(5); resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))\n"
    FOR_GOOD += "os.dup2(os.open('/dev/null', os.O_RDONLY), 0); os.close(PIPE)\n"

    @each((PLAIN, ""), (WRAPPED, FOR_GOOD))
    def test_each_run_finds_what_the_launch_found(self, words, more):
        def prepare():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
            for number in signal.SIGHUP, signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)

        read, write = os.pipe()
        options = {"stdin": read, "pass_fds": [write], "preexec_fn": prepare}
        parts = f"PIPE = {write}\n", self.STATE, more, SLEEP
        program = self.start(*parts, words=words, **options)
        found = re.search("found .*", program.output)[0]
        for _ in range(2):
            self.edit(program, f"^{re.escape(found)}$")
        os.close(read), os.close(write)

    @each(*BOTH)
    def test_many_restarts_leak_nothing(self, words):
        text = """
            import subprocess
            s, f = autoreload.listen(("127.0.0.1", 0)), open("app.py")
            os.set_inheritable(f.fileno(), True)
            subprocess.Popen([sys.executable, "-c", ""])
            hasattr(os, "fork") and (os.fork() or time.sleep(600))
            def is_open(fd):
                try: return bool(os.fstat(fd))
                except OSError: return False
            def count(): time.sleep(0.01); return sum(map(is_open, range(99)))
            say("count", min(count() for _ in range(9)))  # our thread opens some, too
        """
        program = self.start(text, SLEEP, words=words)
        for _ in range(3):
            self.edit(program)
        counts = re.findall("count .*", program.output)[1:]
        self.assertEqual(len(set(counts)), 1, counts)
        self.assertTrue(become(lambda: len(session(program.process.pid)) <= 4))

    @each(*BOTH)
    def test_what_a_failed_program_held_is_free(self, words):
        text = """
            import socket; server = socket.create_server(("127.0.0.1", 0))
            lock = open("lock", "w")
            if hasattr(os, "lockf"): os.lockf(lock.fileno(), os.F_LOCK, 0)
            say("port", server.getsockname()[1]); 1 / 0
        """
        program = self.story(text, words=words).run(*words)
        port = int(program.expect("^port (.*)")[1])
        program.expect("waiting for a change")
        with open(program.path("lock"), "w") as file:
            WINDOWS or os.lockf(file.fileno(), os.F_TLOCK, 0)
        socket.create_server(("127.0.0.1", port)).close()


class OutputTest(Story):
    @each((SLEEP, PLAIN), (SLEEP, WRAPPED), (STUCK, PLAIN), (IGNORING, WRAPPED))
    def test_nothing_written_is_lost(self, end, words):
        text = """
            import atexit, bz2, gzip, io, logging, logging.handlers, tempfile, zipfile
            target = logging.FileHandler("log")
            memory = logging.handlers.MemoryHandler(1000, target=target)
            logging.getLogger().addHandler(memory)
            logging.warning("written"); print("printed", helper.VALUE, end="|")
            atexit.register(print, "at exit", helper.VALUE, file=sys.stdout)
            class Text(io.TextIOWrapper):
                def close(self):
                    super().close(); open("once", "a").write("written\\n")
            class Odd(gzip.GzipFile):
                def __subclasshook__(cls): 1 / 0
            text, data = Text(open(f"text{helper.VALUE}", "wb")), open("data", "ab")
            text.write("written\\n"); data.write(b"written\\n")
            archive = zipfile.ZipFile(f"zip{helper.VALUE}", "w")
            archive.writestr("name", "zipped")
            packed = bz2.open(f"bz2{helper.VALUE}", "wb"); packed.write(b"packed")
            temporary = tempfile.NamedTemporaryFile(dir=".", prefix="temporary")
            sys.stdout = io.StringIO()
        """
        program = self.start(text, end, words=words)
        [removed] = glob.glob(program.path("temporary*"))
        self.edit(program, r"printed 0\|at exit 0")
        self.assertFalse(os.path.exists(removed))
        for name in "log", "text0", "data", "once":
            found = pathlib.Path(program.path(name)).read_text()
            self.assertEqual(found, "written\n")
        with zipfile.ZipFile(program.path("zip0")) as archive:
            self.assertEqual(archive.read("name"), b"zipped")
        with bz2.open(program.path("bz20")) as packed:
            self.assertEqual(packed.read(), b"packed")

    @each(*BOTH)
    def test_what_is_printed_is_shown_though_no_file_is_open(self, words):
        text = "import io; print('printed'); sys.stdout = io.StringIO()\n"
        text += "other = open(1, 'w', closefd=False); print('by another', file=other)\n"
        program = self.start(text, SLEEP, words=words)
        self.edit(program, "^by another$", "^printed")

    ONCE = "import atexit; atexit.register(say, 'exit function')\n"

    @each(*BOTH)
    def test_an_exit_function_runs_once_where_a_hook_ends_the_program(self, words):
        text = "import threading; done = threading.Event()\n"
        text += f"autoreload.add_reload_hook(done.set)\n{UP}done.wait(60)\n"
        program = self.start(self.ONCE, text, words=words)
        self.edit(program)
        self.assertEqual(program.output.count("exit function"), 1, program.output)

    @each(*BOTH)
    def test_an_exit_function_runs_once_in_a_run_that_fails(self, words):
        program = self.story(self.ONCE, "1 / 0", words=words).run(*words)
        program.expect("failed, waiting for a change")
        self.assertEqual(program.output.count("exit function"), 1, program.output)

    @each((SLEEP, PLAIN), (SLEEP, WRAPPED), (STUCK, WRAPPED))
    def test_files_are_closed_though_an_exit_function_hangs(self, end, words):
        text = "import atexit; atexit.register(time.sleep, 60)\n"
        text += "file = open(f'file{helper.VALUE}', 'w'); file.write('written')\n"
        program = self.start(text, self.ONCE, end, words=words)
        self.edit(program, "^exit function")
        self.assertEqual(program.output.count("exit function"), 1)
        self.assertEqual(pathlib.Path(program.path("file0")).read_text(), "written")

    @each(*BOTH)
    def test_files_of_a_request_stay_open_till_it_is_done(self, words):
        text = """
            import threading
            file = open(f"file{helper.VALUE}", "w")
            def process_request_thread():
                time.sleep(0.3); file.write("whole"); say("answered")
            thread = threading.Thread(target=process_request_thread, daemon=True)
            try: say("up", autoreload.restarts); time.sleep(60)
            finally: thread.start()
        """
        program = self.start(text, words=words)
        self.edit(program, "^answered")
        self.assertEqual(pathlib.Path(program.path("file0")).read_text(), "whole")

    # `head` is gone while the program prints, has failed, or has ended.
    ENDS = "while True: print('line', flush=True)\n", "1 / 0\n", ""

    @each(*itertools.product((PLAIN, WRAPPED), ENDS))
    def test_the_loop_ends_when_nobody_reads_its_output_any_more(self, words, end):
        text = "for n in range(9): print('line', n, flush=True)\n"
        head = "-c", EXEC, "sh", "-c", '"$@" | head -3', "sh", sys.executable
        program = self.story(text, end, words=words).run(*head, *words)
        self.assertEqual(program.rest(), 0)
        self.assertEqual(len(re.findall("(?m)^line", program.output)), 3)


# It holds the interpreter's lock for ever, as an endless regular expression does.
HANGING = "import ctypes; say('hangs'); lock = ctypes.PyDLL(None).pthread_mutex_lock; "
HANGING += "mutex = ctypes.create_string_buffer(99); lock(mutex); lock(mutex)"
USE_UP = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 99))\n"
USE_UP += "try:\n  while 1: os.dup(0)\nexcept OSError: 0"
if WINDOWS:
    HANGING = "import ctypes; say('hangs'); ctypes.PyDLL('kernel32').Sleep(60000)"
UNSHARE = "unshare", "-fp", "--mount-proc"
PID_1 = ["-c", EXEC, *UNSHARE, sys.executable, *WRAPPED]


class CrashTest(Story):
    def survive(self, words, way, change, *outcome):
        once = "if not autoreload.restarts:\n" + textwrap.indent(way, " ")
        program = self.start(UP, once, "\n" + SLEEP, words=words)
        program.expect(*outcome)
        program.write(change.split()[0], "VALUE = 1")
        program.expect(f"^autoreload: {change}, restarting$", "up 1")
        self.assertEqual(program.stop(), 130)

    def lose_the_shell(self, text):
        program = self.start(text, words=WRAPPED)
        program.process.kill()
        program.rest()
        self.assert_count(program, 0)

    def be_deaf(self):
        program = self.story(UP, SLEEP)
        program.write("python", f'#!/bin/sh\nPYTHONPATH= exec {sys.executable} "$@"')
        os.chmod(program.path("python"), 0o700)
        main = "sys.executable = './python'; autoreload.main(['app.py'])"
        program.run("-c", "import sys, autoreload; " + main).expect("^up 0")
        text = "app.py does not let autoreload in, a change is seen at its end"
        program.expect(f"^autoreload: {text}$")

    def end(self, words, number, text, state):
        program = self.story(text, words=words).run(*words)
        program.expect(state)
        program.fall_asleep()
        os.kill(sorted(session(program.process.pid))[words == PID_1], number)
        self.assertEqual(program.status(), 128 + number)
        self.assertNotIn('autoreload.py"', program.output)

    def be_away(self, words):
        text = code(BEGIN, START if words == PLAIN else "", SLEEP)
        program = self.program(**{"here/app": text, "here/helper": "VALUE = 0"})
        env = clean_environment(PYTHONPATH=program.directory)
        program.run(*words, env=env, cwd=program.path("here")).expect("up 0")
        shutil.rmtree(program.temporary)
        program.write("here/helper.py", "VALUE = 1")
        program.expect("helper.py changed, restarting", "up 1")
        shutil.rmtree(program.path("here"))
        program.expect("cannot run .*here .*, waiting until it is back")
        program.write("here/helper.py")
        program.write("here/app.py", text)
        program.expect("up 2")
        self.assertEqual(program.stop(), 130)

    def test_the_shell_goes_on_unless_the_user_wants_it_to_end(self):
        fault, changed = "import ctypes; ctypes.string_at(0)", "helper.py changed"
        execute, hangs = "os.execvp('sleep', ['sleep', '60'])", " and the program hangs"
        exits = "raise SystemExit(1)", "exited with status 1, waiting"
        has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        hanging = changed + (hangs if has_gil else f"({hangs})?"), "^hangs"
        rows = [
            (self.survive, WRAPPED, HANGING, *hanging),  # three take ten seconds
            (self.survive, WRAPPED, execute, changed + hangs),
            (self.be_deaf,),
            (self.survive, PLAIN, USE_UP, changed),
            (self.survive, WRAPPED, fault, changed, "died of SIGSEGV, waiting"),
            (self.survive, WRAPPED, "os._exit(1)", "new.py changed", "1, waiting"),
            (self.end, WRAPPED, signal.SIGTERM, *exits),
            (self.end, PLAIN, 1, "1 / 0", "failed, waiting"),  # SIGHUP
            *((self.lose_the_shell, text) for text in (SLEEP, STUCK, IGNORING)),
            *((self.be_away, words) for words in (PLAIN, WRAPPED)),
        ]
        if WINDOWS:  # a signal ends a process there, and nobody removes its directory
            posix = self.end, self.be_away, self.be_deaf
            rows = [row for row in rows if row[0] not in posix]
            others = USE_UP, execute, fault
            rows = [row for row in rows if not any(way in row for way in others)]
        if shutil.which("unshare") and not subprocess.call([*UNSHARE, "true"]):
            states = (SLEEP, "up 0"), exits, (UP, "ended, waiting")
            rows += [(self.end, PID_1, signal.SIGTERM, *state) for state in states]
        self.each(lambda story, *row: story(*row), rows)


class VendoredTest(ProgramTest):
    # Beside the copy lie modules named as some of Python's, which are not for it.
    INNER = [f"pkg/_vendor/{name}" for name in ("types", "json", "threading")]
    PACKAGES = {"pkg/__init__": "", "pkg/_vendor/__init__": ""}
    PACKAGES |= dict.fromkeys(INNER, "1 / 0")

    def test_a_copy_works_in_a_package_and_under_another_name(self):
        def story(copy, line, *words):
            text = app(line + "\nimport helper", "helper.VALUE")
            program = self.program(app=text, helper="VALUE = 1", **self.PACKAGES)
            os.renames(program.path(NAME + ".py"), program.path(copy))
            shutil.rmtree(program.path("__pycache__"))
            program.run(*words, "app.py").expect("up 1")
            if "-m" in words:  # what happens to its package does not end the loop
                program.write("again/__init__.py")
                program.write("pkg/__init__.py", "1 / 0")
            program.change("helper.py", "1 / 0", "py failed")
            program.change("helper.py", "VALUE = 2", "up 2")
            self.assertEqual(program.stop(), 130, program.output)

        vendored, other = "pkg/_vendor/autoreload.py", "an-other name.py"
        path = f"import sys; sys.path[:0] = '.', 'lib'; import {NAME} as a; a.start()"
        inner = "from pkg._vendor import autoreload as a; a.start()"
        rows = (vendored, "", vendored), (vendored, "", "-m", "pkg._vendor.autoreload")
        rows = [*rows, (vendored, inner), ("again.py", "import again as a; a.start()")]
        rows += [("again.py", "", "-m", "again"), (other, "", other)]
        rows += [(f"lib/{NAME}.py", path), (f"{NAME}.py", path, "-I")]
        self.each(story, rows)

    def test_a_copy_in_a_zip_warns_and_does_nothing(self):
        source, program = pathlib.Path(autoreload.__file__).read_text(), self.program()
        program.zip("app.pyz", **{NAME: source, "__main__": app(START)})
        program.run("app.pyz").expect("Warning: autoreload: a copy in a zip", "^up")
        self.assertEqual(program.stop(), 130)

    def test_a_copy_of_another_version_acts_as_one_with_the_first(self):
        def story(words, first, second):
            text = f"""
                import importlib
                for name in {first!r}, {second!r}:
                    module = importlib.import_module(name)
                    words = "hook", name, module.__version__
                    module.add_reload_hook(lambda words=words: print(*words))
                    module.watch("data of " + name)
                    module.start(100)
                    print(name, module.restarts)
            """
            program = self.program(app=app(text), **self.PACKAGES)
            source = pathlib.Path(autoreload.__file__).read_text("utf-8")
            source = re.sub("(?m)^__version__ = .*", '__version__ = "0.0.1"', source)
            inner = r"\b(begin_lock|hooks|set_up|watcher|Program)\b"
            source = re.sub(inner, r"other_\1", source)
            program.write("pkg/_vendor/again.py", source)
            program.run("-u", *words).expect("up")
            for number, name in enumerate((first, second), 1):
                program.change(f"data of {name}")
                program.expect(f"hook {first} ", f"hook {second} ")
                program.expect(f"{first} {number}", f"{second} {number}", "up")
            counts = map(program.output.count, ("restarting", "hook"))
            self.assertEqual([*counts], [2, 4], program.output)
            self.assertIn("hook pkg._vendor.again 0.0.1", program.output)
            self.assertEqual(program.stop(), 130)

        other = "pkg._vendor.again"
        rows = [(["app.py"], NAME, other), (["app.py"], other, NAME)]
        rows += [(["-m", m, "app.py"], n, m) for _, n, m in rows]
        self.each(story, rows)


class WarningsTest(ProgramTest):
    @each(*itertools.product((PLAIN, WRAPPED), ("error", "always")))
    def test_a_program_for_which_warnings_are_errors_sees_none(self, words, action):
        text = """
            import asyncio, autoreload, os, time
            @autoreload.add_reload_hook
            async def hook(): await asyncio.sleep(0)
            autoreload.watch("data"); autoreload.ignore("*.txt"); autoreload.start(100)
            autoreload.listen(("127.0.0.1", 0)).close()
            if hasattr(os, "fork") and not os.fork(): time.sleep(60)
        """
        flags = ["-bb", "-X", "dev", "-X", "warn_default_encoding", "-W", action]
        text = app(text, "autoreload.restarts")
        program = self.launch(text, [*flags, *words], "up 0")
        program.change("data", "", "up 1")
        self.assertEqual(program.stop(), 130)
        # Some become errors that are lost: those must not be shown, either.
        self.assertNotIn("Warning", program.output)


def readme_snippets():
    """Return the README's blocks of Python."""
    path = pathlib.Path(__file__).absolute().with_name("README.md")
    text = path.read_text("utf-8") if path.exists() else ""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@unittest.skipUnless(readme_snippets(), "there is no README here")
class ReadmeTest(ProgramTest):
    def snippet(self, word, port=8000):
        text = next(text for text in readme_snippets() if word in text)
        return text.replace("8000", str(port))

    def ask(self, port):
        return patiently(get, port) or self.fail("nobody answers")

    def test_the_first_command_serves_and_restarts(self):
        program, port = self.program(), free_port()
        program.run(*f"-u {NAME}.py --watch=watched -m http.server {port}".split())
        for _ in range(2):
            program.expect("Serving HTTP on")
            self.assertIn("Directory listing", self.ask(port))
            program.change("watched")
        program.expect("Serving HTTP on")
        self.assertEqual(program.stop(), 0)  # as it ends by hand

    def test_start_in_a_program(self):
        ready = "print('ready'); autoreload.wait"
        text = self.snippet("ignore(").replace("autoreload.wait", ready)
        program = self.program(app=text).run("-u", "app.py")
        program.expect("open the browser now, but only once", "ready")
        program.write("generated_x.py")
        program.write("templates/index.html")
        program.expect("templates changed.*, restarting", "saving", "ready")
        program.change("templates/index.html", "changed", "saving", "ready")
        self.assertEqual(program.output.count("browser"), 1)

    def test_no_connection_is_refused_and_no_request_cut_off(self):
        slow = """
            import http.server, time
            class Handler(http.server.SimpleHTTPRequestHandler):
                def do_GET(self):
                    print("asked", flush=True)
                    time.sleep(0.5)
                    self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\nin full")
        """
        port, begun = free_port(), "start(); print('start', autoreload.restarts)"
        text = self.snippet("listen(", port).replace("start()", begun)
        text = text.replace("http.server.SimpleHTTPRequestHandler", "Handler")
        program = self.program(app=code(slow, text)).run("-u", "app.py")
        with concurrent.futures.ThreadPoolExecutor(51) as pool:
            for number in range(3):
                program.expect(f"start {number}")
                asked = [pool.submit(self.ask, port)]
                program.expect("asked")
                program.change("app.py", code(slow, text, "#" * number))
                # While the old run ends, in between, and thereafter.
                asked += [pool.submit(get, port) for _ in range(50)]
                self.assertEqual({each.result() for each in asked}, {"in full"})

    def test_the_processor_time_is_shown(self):
        text = self.snippet("process_time").replace(", tornado.web", "")
        text = text.replace("sleep(5)", "sleep(0)").replace("sleep(60)", "sleep(0.1)")
        self.program(app=text).run("app.py").expect("of a core$")


class Notes(list):
    """A result of unittest that only notes what a test tells it."""

    failfast = False

    def __getattr__(self, name):
        return lambda *words: self.append((name, words))


class Together:
    """Tests that run two at a time, since programs mostly wait; reported in order."""

    def __init__(self, tests):
        self.tests = list(tests)
        self.countTestCases = self.tests.__len__

    def __call__(self, result):
        def run(test):
            test(notes := Notes())
            return notes

        pool = concurrent.futures.ThreadPoolExecutor(2)
        try:
            for job in [pool.submit(run, test) for test in self.tests]:
                for name, words in job.result():
                    getattr(result, name)(*words)
                if result.shouldStop:
                    break
        finally:
            pool.shutdown(cancel_futures=True)


def load_tests(loader, classes, pattern):
    """Run the tests of all classes together, where the whole file is asked for."""
    return unittest.TestSuite([Together(itertools.chain.from_iterable(classes))])


if __name__ == "__main__":
    unittest.main()
