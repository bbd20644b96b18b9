# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py: `python -m unittest`, beside the file and with nothing else.

Up to the restart the parts are called directly, with values.  From the restart on, real
programs run in real processes, and nothing is simulated.
"""

import concurrent.futures
import contextlib
import functools
import glob
import http.client
import importlib.util
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
    pass

import autoreload  # the one line to change, for a copy with another name

NAME = autoreload.__name__
DEADLINE = 20  # seconds after which a process that does not say what it should is stuck


def setUpModule():
    """Heed signals even as a job in the background: the programs inherit that."""
    handlers = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    for name in handlers.keys() & set(dir(signal)):
        if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), handlers[name])


def clean_environment(**variables):
    """Return an environment in which nothing that runs the tests shows."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "AUTORELOAD", "_AUTORELOAD"))
    }
    return environment | variables


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


def session(sid):
    """Return the processes of a session, with the letter of their state."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                words = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == sid:
            found[int(pid)] = words[0]
    return found


def become(condition):
    """Look until a condition is true, or for too long."""
    end = time.monotonic() + DEADLINE
    while not (result := condition()) and time.monotonic() < end:
        select.select([], [], [], 0.01)
    return result


@functools.cache
def compiled():
    """Return the file's bytecode, so that not every program has to compile it."""
    with tempfile.TemporaryDirectory() as directory:
        cache = os.path.join(directory, "cache")
        with open(py_compile.compile(autoreload.__file__, cache), "rb") as file:
            return file.read()


class Program:
    """A program in a directory of its own, run by a real interpreter."""

    def __init__(self, **files):
        self._holder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.directory = os.path.realpath(self._holder.name)
        self.process = None
        self.output = ""  # all that it has printed, on stdout and stderr
        self._unread = ""
        shutil.copy2(autoreload.__file__, self.path(NAME + ".py"))
        cache = self.path(importlib.util.cache_from_source(NAME + ".py"))
        os.mkdir(os.path.dirname(cache))
        with open(cache, "wb") as file:
            file.write(compiled())
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
        os.replace(path + "~", path)

    def link(self, target, name):
        """Have a symbolic link point there, at once if it pointed elsewhere."""
        os.symlink(target, self.path("new link"))
        os.replace(self.path("new link"), self.path(name))

    def zip(self, name, **files):
        with zipfile.ZipFile(self.path("new zip"), "w") as archive:
            for inner, text in files.items():
                archive.writestr(inner + ".py", text)
        os.replace(self.path("new zip"), self.path(name))

    def run(self, *arguments, **options):
        """Start the interpreter with these arguments, in the stead of an earlier one."""
        self.kill()
        self.output = self._unread = ""
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
                if match := re.search(pattern, line):
                    return match
            elif not self._read():
                break
        raise AssertionError(f"{pattern!r} never came:\n{self.output[-4000:]}")

    def rest(self):
        """Read all that is left to come, wait for the end, and return the exit status."""
        while self._read():
            pass
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it never ended:\n{self.output[-2000:]}") from None

    def _read(self):
        killer = threading.Timer(
            DEADLINE, os.killpg, (self.process.pid, signal.SIGKILL)
        )
        killer.start()
        data = os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
        killer.cancel()
        return self._take(data)

    def _take(self, data):
        data = data.replace("\r\n", "\n")
        self.output += data
        self._unread += data
        return data

    def interrupt(self):
        self.fall_asleep()
        os.killpg(self.process.pid, signal.SIGINT)

    def fall_asleep(self):
        """Wait until it sleeps: Python overlooks a Ctrl-C that comes just before."""
        looks = []

        def asleep():
            looks.append("R" not in session(self.process.pid).values())
            return len(looks) > 2 and all(looks[-3:])

        if sys.platform == "linux":
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
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()

    def close(self):
        self.kill()
        self._holder.cleanup()


class ProgramTest(unittest.TestCase):
    def program(self, **files):
        program = Program(**files)
        self.addCleanup(program.close)
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


class ModuleTest(ProgramTest):
    """A program that imports the file and calls start()."""

    def test_a_change_restarts_the_program_in_place(self):
        program = self.program(
            app=f"""
                import {NAME}; {NAME}.start()
                import helper, os, time
                print("up", helper.VALUE, os.getpid(), flush=True)
                try:
                    time.sleep(60)
                finally:
                    print("bye", helper.VALUE, flush=True)
            """,
            helper="VALUE = 1",
        )
        pid = program.run("app.py").expect(r"up 1 (\d+)")[1]
        for value in range(2, 5):
            program.write("helper.py", f"VALUE = {value}")
            program.expect("autoreload: helper.py changed, restarting$")
            program.expect(f"bye {value - 1}")
            self.assertEqual(program.expect(rf"up {value} (\d+)")[1], pid)
        self.assertEqual(program.stop(), 130)

    def test_tornado_s_five_functions_keep_their_names_and_parameters(self):
        program = self.program(
            app="""
                import autoreload
                def hook():
                    print("hook", flush=True)
                autoreload.add_reload_hook(hook)
                autoreload.watch("data.txt")
                autoreload.start(100)
                autoreload.start(check_time=100)
                print("up", autoreload.restarts, flush=True)
                autoreload.wait()
            """
        )
        program.run("app.py").expect("up 0")
        program.write("data.txt", "now it exists")
        program.expect("data.txt changed, restarting", "hook", "up 1")
        self.assertEqual(program.stop(), 130)

    def test_misuse_raises_an_error_that_names_the_rule(self):
        start, watch, ignore = autoreload.start, autoreload.watch, autoreload.ignore
        hook, path = autoreload.add_reload_hook, "a path must not be empty nor contain"
        listen = autoreload.listen
        loops = "a Tornado IOLoop, a Twisted reactor, a trio token, a function"
        for error, rule, call in (
            (
                TypeError,
                "check_time must be a number, not '5'",
                lambda: start(None, "5"),
            ),
            (
                ValueError,
                "check_time must be at least 1 and below 1e9, not 0",
                lambda: start(None, 0),
            ),
            (TypeError, "grace must be a number, not None", lambda: start(grace=None)),
            (ValueError, "grace must be at least 0 and", lambda: start(grace=-1)),
            (TypeError, "io_loop must be an asyncio loop, ", lambda: start("loop")),
            (TypeError, loops, lambda: start(object())),
            (TypeError, "a path must be str or os.PathLike, not b", lambda: watch(b"")),
            (TypeError, "a path must be str or os.PathLike, not 3", lambda: watch(3)),
            (TypeError, "an address must be (host, port) or", lambda: listen(("x",))),
            (TypeError, "an address must be (host, port) or", lambda: listen(3)),
            (ValueError, path, lambda: watch("")),
            (ValueError, path, lambda: ignore("\0")),
            (TypeError, "a reload hook must be callable, not 3", lambda: hook(3)),
        ):
            with self.subTest(rule), self.assertRaisesRegex(error, re.escape(rule)):
                call()

    def test_autoreload_0_switches_everything_off(self):
        program = self.program(
            app="""
                import autoreload
                autoreload.start(); autoreload.wait(); autoreload.restart()
                print("done", autoreload.restarts)
            """
        )
        for line in (["app.py"], [NAME + ".py", "app.py"]):
            with self.subTest(line):
                program.run(*line, env=clean_environment(AUTORELOAD="0"))
                program.expect("done 0")
                self.assertEqual(program.rest(), 0)
                self.assertNotIn("autoreload:", program.output)

    def test_an_interactive_interpreter_is_told_once_that_nothing_is_watched(self):
        program = self.program()
        read, write = os.pipe()
        program.run("-i", "-q", stdin=read)
        os.write(write, b"import autoreload; autoreload.start(); autoreload.start()\n")
        os.write(write, b"print(6 * 7)\n")
        os.close(write)
        os.close(read)
        program.expect(
            "RuntimeWarning: autoreload: an interactive interpreter has no command "
            "to repeat, nothing is watched",
            "42",
        )
        self.assertEqual(program.rest(), 0)
        self.assertEqual(program.output.count("nothing is watched"), 1)


class EndingTest(ProgramTest):
    """The table of endings."""

    WAITING = "autoreload: app.py failed, waiting for a change$"

    def test_a_program_that_ends_runs_again_after_a_change(self):
        program = self.program(
            app="import atexit; atexit.register(print, 'exit'); print('one')"
        )
        program.wrap("app.py")
        program.expect("one", "exit")
        program.expect("autoreload: app.py ended, waiting for a change$")
        program.write("app.py", "print('two')")
        program.expect("autoreload: app.py changed, restarting$", "two")
        program.expect("waiting for a change")
        self.assertEqual(program.stop(), 130)
        self.assertNotIn("Traceback", program.output)

    def test_until_success_ends_with_the_program(self):
        program = self.program(app="raise SystemExit(3)")
        program.wrap("--until-success", "app.py")
        program.expect("autoreload: app.py exited with status 3, waiting for a change$")
        program.write("app.py", "print('fine')")
        program.expect("fine")
        self.assertEqual(program.rest(), 0)

    def test_a_status_that_is_empty_but_no_zero_is_a_failure_as_python_has_it(self):
        for status in ("''", "0.0", "[]"):
            with self.subTest(status):
                program = self.program(app=f"raise SystemExit({status})")
                program.wrap("--until-success", "app.py")
                program.expect("app.py exited with status 1, waiting for a change$")
                self.assertEqual(program.stop(), 130)

    def test_a_failure_is_waited_out_wherever_its_repair_is(self):
        program = self.program(
            app="import a; print('repaired')", a="import b", b="import c"
        )
        program.wrap("--until-success", "app.py")
        program.expect("ModuleNotFoundError: No module named 'c'", self.WAITING)
        program.write("c.py", "def")
        program.expect("SyntaxError: ", "autoreload: c.py does not compile")
        program.write("c.py", "open('data.txt')")
        program.expect("FileNotFoundError")
        program.write("data.txt")
        program.expect("repaired")
        self.assertEqual(program.rest(), 0)

    def test_start_waits_out_an_uncaught_exception_in_the_first_run_too(self):
        program = self.program(app="import autoreload; autoreload.start(); 1 / 0")
        program.run("app.py").expect("ZeroDivisionError", self.WAITING)
        program.write("app.py", "import autoreload; autoreload.start(); 1 / 0; 2")
        program.expect("ZeroDivisionError", self.WAITING)
        program.write("app.py", "import autoreload; autoreload.start(); print('fine')")
        program.expect("fine")
        self.assertEqual(program.rest(), 0)

    def test_ctrl_c_ends_the_loop_in_every_state(self):
        def story(app, state):
            program = self.program(app=app)
            program.wrap("app.py").expect(state)
            self.assertEqual(program.stop(), 130)
            self.assertNotIn("autoreload.py", program.output)

        endless = "import sys, time; print('up', flush=True); time.sleep(60)"
        running = f"try: {endless}\nexcept KeyboardInterrupt: "
        awaiting = """
            import asyncio
            async def main(): print('up', flush=True); await asyncio.sleep(60)
            asyncio.run(main())
        """
        self.each(
            story,
            (
                (endless, "up"),
                ("print('up')", "waiting"),
                ("1 / 0", "waiting"),
                (running + "print('bye')", "up"),
                (running + "sys.exit(0)", "up"),
                (awaiting, "up"),
            ),
        )

    def test_a_signal_that_the_program_ignored_ends_the_loop_once_it_has_ended(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                program = self.program(
                    app=f"import signal; signal.signal({int(number)}, signal.SIG_IGN)"
                )
                program.wrap("app.py").expect("app.py ended, waiting for a change$")
                program.fall_asleep()
                program.process.send_signal(number)
                self.assertEqual(program.rest(), -number)

    def test_a_signal_that_the_program_blocked_ends_the_loop_once_it_has_ended(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                program = self.program(
                    app="import signal\n"
                    f"signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])"
                )
                program.wrap("app.py").expect("app.py ended, waiting for a change$")
                program.fall_asleep()
                program.process.send_signal(number)
                self.assertEqual(program.rest(), -number)

    def test_a_signal_ends_the_loop_with_its_status(self):
        for handler in ("", "import signal; signal.signal(15, lambda *_: exit(0))"):
            with self.subTest(handler):
                program = self.program(app=app(handler))
                program.wrap("app.py").expect("up")
                program.process.terminate()
                self.assertEqual(program.rest(), -signal.SIGTERM)

    def test_a_signal_that_the_program_survives_does_not_end_the_loop(self):
        text = app(
            "import os, signal; signal.signal(15, lambda *_: os.write(1, b'!\\n'))"
        )
        program = self.program(app=text)
        program.wrap("app.py").expect("up")
        program.fall_asleep()
        program.process.terminate()
        program.expect("!")
        program.write("app.py", text + "\n")
        program.expect("restarting$", "up")
        self.assertEqual(program.stop(), 130)

    def test_a_target_that_is_missing_at_first_is_a_typing_mistake(self):
        files = {"pkg/__init__": "", "dir/x": "", "odd/__main__/x": ""}
        program = self.program(**files)
        name_it = "name a target: -m module, a script, a directory, a zip or -c code"
        for line, message in (
            ("nowhere.py", "cannot open nowhere.py (No such file or directory)"),
            ("dir", "there is no __main__ module in dir"),
            ("-m nowhere", "there is no module named nowhere"),
            ("-m nowhere.at.all", "there is no module named nowhere"),
            ("-m pkg", "there is no module named pkg.__main__"),
            ("odd", "there is no __main__ module in odd"),
            ("-m sys first last", "there is no code in sys"),
            ("-m .pkg", "there is no module named .pkg"),
            ("", name_it),
            ("-m", name_it),
            ("-", name_it),
            ("--nonsense x", "unrecognized arguments: --nonsense"),
            ("--grace soon x", "argument --grace: invalid float value: 'soon'"),
            ("--grace -1 x", "--grace must be at least 0 and below 1e9, not -1.0"),
            ("--grace nan x", "--grace must be at least 0 and below 1e9, not nan"),
            ("--watch", "argument --watch: expected one argument"),
            ("--watch= x", "a path must not be empty nor contain NUL: ''"),
            ("--ignore= x", "a path must not be empty nor contain NUL: ''"),
        ):
            with self.subTest(line):
                program.wrap(*line.split())
                self.assertEqual(program.rest(), 2)
                self.assertEqual(program.output, f"autoreload: {message}\n")

    def test_a_target_that_is_missing_later_is_waited_for(self):
        program = self.program(app="print('one')")
        program.wrap("app.py").expect("waiting")
        os.rename(program.path("app.py"), program.path("gone"))
        program.expect("autoreload: app.py changed, restarting")
        program.expect(
            r"autoreload: cannot open app.py \(No such file or directory\), "
            "waiting for a change"
        )
        program.write("app.py", "print('two')")
        program.expect("two")

    def test_a_file_or_directory_of_ours_that_is_missing_later_is_waited_for(self):
        def story(missing, *wrapper):
            program = self.program(
                **{"site/app": app("import helper"), "site/helper": ""}
            )
            os.rename(program.path(NAME + ".py"), program.path("site", NAME + ".py"))
            program.run(*wrapper, "app.py", cwd=program.path("site")).expect("up")
            path = program.path(missing)
            os.rename(path, path + "-gone")
            if missing != "site":
                program.write("site/helper.py", "VALUE = 1")
            name = NAME + ".py" if missing != "site" else re.escape(path)
            program.expect(f"cannot run {name} .*, waiting until it is back$")
            os.rename(path + "-gone", path)
            program.expect("up")
            self.assertEqual(program.stop(), 130)

        rows = (
            (f"site/{NAME}.py", NAME + ".py"),
            (f"site/{NAME}.py", "-m", NAME),
            ("site", NAME + ".py"),
            ("site", NAME + ".py", "--supervise"),
        )
        self.each(story, rows)

    def test_a_program_that_waits_for_a_thread_pool_at_its_end_restarts(self):
        text = """
            import time
            from concurrent.futures import ThreadPoolExecutor
            print("up", flush=True)
            def job():
                for _ in range(600): time.sleep(0.1)
            ThreadPoolExecutor().submit(job)
        """

        def story(words, start):
            program = self.program(app=code(start, text))
            program.run(*words).expect("up")
            program.fall_asleep()
            program.write("app.py", code(start, text, "\n"))
            program.expect("app.py changed, restarting$", "^up")

        self.each(story, ((PLAIN, START), (WRAPPED, "")))

    def test_ctrl_c_after_an_edit_ends_the_program_at_any_moment(self):
        slow = """
            import one, two, time
            try:
                print("up", flush=True); time.sleep(60)
            finally:
                time.sleep(0.5)
        """

        def story(words, start, seconds):
            program = self.program(app=code(start, slow), one="", two="")
            program.run(*words).expect("up")
            program.fall_asleep()
            for name in ("one.py", "two.py"):
                program.write(name, "VALUE = 1")
            pause(seconds)
            program.interrupt()
            self.assertIn(program.status(), (130, -signal.SIGINT))

        moments = 0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3
        for way in ((PLAIN, START), (WRAPPED, "")):
            self.each(story, [(*way, moment) for moment in moments])

    def test_an_edit_after_ctrl_c_does_not_start_an_ending_program_again(self):
        slow = """
            import time
            try:
                print("up", flush=True); time.sleep(60)
            finally:
                print("ending", flush=True); time.sleep(0.5)
        """
        program = self.program(app=slow)
        program.wrap("app.py").expect("up")
        program.interrupt()
        program.expect("ending")
        program.write("app.py", code(slow, "\n"))
        self.assertEqual(program.status(), 130)
        self.assertNotIn("restarting", program.output)


REPORT = """
    import os, pickle, sys
    class Thing:
        pass
    if __name__ == "__main__":
        main = sys.modules["__main__"]
        spec = __spec__ and (__spec__.name, __spec__.parent, __spec__.origin)
        print(__name__, repr(__package__), spec, type(__loader__), __builtins__, __doc__)
        print(globals().get("__file__"), globals().get("__cached__"))
        print(sys.argv, sys.path, sys.flags, sys._xoptions, sys.warnoptions)
        print(sorted(name for name in vars() if name.startswith("__")), os.getcwd())
        print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, main.Thing is Thing)
        print(sorted(name for name in os.environ if "AUTORELOAD" in name))
"""
FAILING = """
    def fail():
        raise ValueError("on purpose")
    fail()
"""


class TargetTest(ProgramTest):
    """What runs behind the command line sees what plain `python` would show it."""

    def setUp(self):
        files = "app folder/__main__ pkg/__main__ pkg/module sub/link_target".split()
        self.files = self.program(
            **dict.fromkeys(files, REPORT),
            **{"pkg/failing": FAILING, "failing": FAILING},
            **{"pkg/__init__": "", "broken": "def"},
        )
        self.files.zip("app.zip", __main__=textwrap.dedent(REPORT))
        self.files.link(self.files.path("sub", "link_target.py"), "link.py")
        for copy in ("no_suffix", "__main__.py"):
            shutil.copy(self.files.path("app.py"), self.files.path(copy))
        py_compile.compile(self.files.path("app.py"), self.files.path("compiled.pyc"))

    def output(self, *words, **variables):
        run = subprocess.run(
            [sys.executable, *words],
            cwd=self.files.directory,
            env=clean_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE,
            encoding="utf-8",
            errors="replace",
        )
        return run.stdout, run.returncode

    def compare(self, target, flags=(), wrapper=(NAME + ".py",), **variables):
        """See that a target does the same with the command line in front of it."""
        plain = self.output(*flags, *target, **variables)
        behind = *flags, *wrapper, "--until-success", *target
        self.assertEqual(self.output(*behind, **variables), plain)

    def test_targets_of_all_kinds_see_the_same(self):
        arguments = ["a b", "", "ä\n'\"", "-m", "--until-success", "--", "-c"]
        modules = ["-m", "app"], ["-mapp"], ["-m", "pkg"], ["-m", "pkg.module"]
        scripts = (
            ". app.py ./app.py link.py no_suffix compiled.pyc folder folder/ app.zip"
        )
        others = *([word] for word in scripts.split()), ["-c", textwrap.dedent(REPORT)]
        flags = [], ["-u", "-X", "dev", "-Werror", "-OO"]
        rows = *itertools.product(modules, flags), *itertools.product(others, flags)
        rows += tuple((target, ["-I"]) for target in others)  # which finds no modules
        self.each(
            lambda target, flags: self.compare([*target, *arguments], flags), rows
        )

    def test_the_wrapper_can_be_run_as_a_module(self):
        self.compare(["-m", "pkg.module", "x"], wrapper=["-m", NAME])

    def test_a_program_may_have_a_module_of_the_wrapper_s_name(self):
        files = {
            "site/app": f"import {NAME}; print({NAME}.OWN)",
            f"site/{NAME}": "OWN = 1",
        }
        words = NAME + ".py", "--until-success", "site/app.py"
        self.assertEqual(self.program(**files).run(*words).rest(), 0)

    def test_a_safe_path_stays_safe(self):
        for target in ("app.py", "folder"):
            with self.subTest(target):
                self.compare([target], PYTHONSAFEPATH="1")

    def test_tracebacks_show_none_of_our_frames(self):
        for target in (["failing.py"], ["broken.py"], ["-c", "1 / 0"]):
            with self.subTest(target):
                plain, _ = self.output(*target)
                self.files.wrap(*target).expect("waiting for a change")
                self.files.stop()
                shown = self.files.output.rpartition("autoreload:")[0]
                self.assertEqual(shown, plain)
        for target in (["-m", "pkg.failing"], ["-m", "broken"]):
            with self.subTest(target):
                self.files.wrap(*target).expect("waiting for a change")
                for ours in ("runpy", "importlib", NAME + ".py"):
                    self.assertNotIn(ours, self.files.output)

    def test_main_can_be_spawned_from(self):
        self.files.write(
            "spawning.py",
            """
            import multiprocessing
            def double(x):
                return 2 * x
            if __name__ == "__main__":
                multiprocessing.set_start_method("spawn")
                with multiprocessing.Pool(1) as pool:
                    print(pool.map(double, [21]))
            """,
        )
        for target in (["spawning.py"], ["-m", "spawning"]):
            with self.subTest(target):
                words = NAME + ".py", "--until-success", *target
                self.assertEqual(self.output(*words), ("[42]\n", 0))


class LaunchTest(ProgramTest):
    """A restart repeats the launch."""

    def test_split_tells_options_from_the_target(self):
        valued = ("-W", "-X", "--check-hash-based-pycs", "--watch")
        interpreter = "-u -X dev -Xdev -Wd -W error -OO -bb"
        for line, options, target in (
            ("app.py -m x", "", "app.py -m x"),
            (interpreter + " app.py", interpreter, "app.py"),
            ("-Im mod -u", "-I", "-m mod -u"),
            ("-um mod", "-u", "-m mod"),
            ("-mmod x", "", "-m mod x"),
            ("-uc code x", "-u", "-c code x"),
            ("--check-hash-based-pycs -m app", "--check-hash-based-pycs -m", "app"),
            ("--watch -m --watch=-m -- -c", "--watch -m --watch=-m", "-c"),
            ("-", "", "-"),
            ("-m", "", "-m"),
            ("-W", "-W", ""),
            ("", "", ""),
        ):
            with self.subTest(line):
                expected = options.split(), target.split()
                self.assertEqual(autoreload.split(line.split(), valued), expected)

    def test_the_restarted_program_is_launched_as_before(self):
        app = """
            import os, sys, time
            print("run", repr((sys.argv, sys.flags, sys._xoptions, sys.warnoptions,
                os.getcwd(), sys.path[0], __name__, __package__,
                __spec__ and __spec__.name, sorted(os.environ))), flush=True)
            import NAME; NAME.start(100)
            os.chdir("/"); sys.argv[:] = ["spoilt"]; os.environ["SPOILT"] = "1"
            print("ready", flush=True)
            time.sleep(60)
        """.replace("NAME", NAME)

        def story(flags, target):
            program = self.program(
                **{"app": app, "pkg/__init__": "", "pkg/module": app}
            )
            arguments = ["a b", "", "'\"\n", "ä\udcff", "--until-success", "-m"]
            program.run(*flags, *target, *arguments)
            first = program.expect("run (.*)")[1]
            for _ in range(2):
                program.expect("ready")
                for name in ("app.py", "pkg/module.py"):
                    program.write(name, app + "\n")
                self.assertEqual(program.expect("run (.*)")[1], first)

        flags = (
            ["-u", "-Xdev", "-Wd", "-W", "error::ImportWarning"],
            ["-OO", "-bb", "-X", "dev", "--check-hash-based-pycs", "always"],
        )
        wrappers = [NAME + ".py", "app.py"], ["-m", NAME, "app.py"]
        targets = PLAIN, ["-m", "pkg.module"], *wrappers
        self.each(story, itertools.product(flags, targets))

    def test_a_program_may_change_its_directory_before_it_imports_us(self):
        text = code("import os; os.chdir('/')\n", START, app(""))
        for words in (["app.py"], ["-m", "app"]):
            with self.subTest(words):
                program = self.program(app=text)
                env = clean_environment(PWD=program.directory)
                program.run(*words, env=env).expect("up")
                program.write("app.py", text + "\n")
                program.expect("restarting$", "up")

    def test_the_directory_that_the_environment_names_may_be_another_one(self):
        program = self.program(**{"sub/app": START + app("")})
        here = program.directory
        env = clean_environment(PWD=here, PYTHONPATH=here)
        program.run("-m", "app", env=env, cwd=program.path("sub")).expect("up")
        program.write("sub/app.py", START + app("\n"))
        program.expect("restarting$", "up")

    def test_what_the_program_set_before_importing_us_is_not_repeated(self):
        program = self.program(
            app=app(
                """
                import os
                for line in open("settings"):
                    os.environ.setdefault(*line.strip().split("="))
                import NAME
                NAME.watch("settings"); NAME.start()
                """.replace("NAME", NAME),
                shown="os.environ['COLOUR']",
            )
        )
        program.write("settings", "COLOUR=red\n")
        program.run("app.py").expect("up red")
        program.write("settings", "COLOUR=green\n")
        program.expect("up green")


pause = time.sleep  # between two saves, the spacing of which is what is tested

FUZZED = """
    {start}
    import alpha, beta, json, time
    import pkg.one
    from pkg import two
    VALUE = "00000"
    time.sleep(0.2)
    import late
    own = globals(), *map(vars, (alpha, beta, pkg, pkg.one, two, late))
    print("state", json.dumps([names["VALUE"] for names in own]), flush=True)
    time.sleep(600)
"""


class Typist:
    """Somebody who saves at random, in every way that editors and tools have."""

    PAST = 1_600_000_000  # a second in which several saves fall
    FILES = (
        *("app.py", "alpha.py", "beta.py", "pkg/__init__.py"),
        *("pkg/one.py", "pkg/two.py", "late.py"),
    )

    def __init__(self, program, seed, app):
        self.program = program
        self.random = random.Random(seed)
        self.count = 0
        self.log = []
        self.values = dict.fromkeys(self.FILES, "00000")
        self.texts = dict.fromkeys(self.FILES, 'VALUE = "00000"\n')
        self.texts["app.py"] = textwrap.dedent(app)
        for name, text in self.texts.items():
            program.write(name, text)

    def burst(self):
        for _ in range(self.random.randint(1, 6)):
            name = self.random.choice(self.FILES)
            style = self.random.choice(self.STYLES)
            self.log.append((round(time.time() % 1000, 3), name, style.__name__))
            style(self, name)
            pause(0.005 * 300 ** self.random.random())

    def edited(self, name):
        """Return the file's path, and its next text: another value, often no longer."""
        self.count += 1
        self.values[name] = value = f"{self.count:05}"
        padding = self.random.choice(("", "", "", f"  # {'x' * (self.count % 7)}"))
        self.texts[name] = re.sub(
            'VALUE = "[0-9]{5}".*', f'VALUE = "{value}"{padding}', self.texts[name]
        )
        return self.program.path(name), self.texts[name]

    def in_place(self, name):
        path, text = self.edited(name)
        with open(path, "w") as file:
            file.write(text)

    def two_halves(self, name):
        path, text = self.edited(name)
        half = self.random.randrange(len(text))
        with open(path, "w") as file:
            file.write(text[:half])
            file.flush()
            pause(0.03)
            file.write(text[half:])

    def delete_then_create(self, name):
        os.remove(self.program.path(name))
        pause(self.random.choice((0, 0.02, 0.1, 0.3)))
        self.in_place(name)

    def backup_rename(self, name):
        path = self.program.path(name)
        os.replace(path, path + "~")
        pause(self.random.choice((0, 0.005)))
        self.in_place(name)

    def atomic_rename(self, name, moment=None):
        path, text = self.edited(name)
        with open(path + ".tmp", "w") as file:
            file.write(text)
        if moment:
            os.utime(path + ".tmp", ns=(moment, moment))
        os.replace(path + ".tmp", path)

    def past(self, name):
        moment = time.time_ns() - self.random.randrange(3600 * 10**9)
        self.atomic_rename(name, moment)

    def same_past_second(self, name):
        moment = self.PAST * 10**9 + self.random.randrange(10**9)
        self.atomic_rename(name, moment)

    def past_in_place(self, name):
        self.in_place(name)
        moment = self.PAST * 10**9 + self.random.randrange(10**9)
        os.utime(self.program.path(name), ns=(moment, moment))

    def touch(self, name):
        os.utime(self.program.path(name))

    STYLES = (in_place, two_halves, atomic_rename, delete_then_create, backup_rename)
    STYLES += (in_place, past, past_in_place, same_past_second, touch)


class FuzzTest(ProgramTest):
    """Whatever is saved, and however: what runs in the end is what is on disk.

    AUTORELOAD_FUZZ=500 in the environment runs 500 bursts, AUTORELOAD_SEED=3 repeats one.
    """

    ROUNDS = int(os.environ.get("AUTORELOAD_FUZZ", 3))
    SEED = int(os.environ.get("AUTORELOAD_SEED", random.randrange(10**6)))

    def test_bursts_of_saves_however_the_program_is_started(self):
        start = f"import {NAME}; {NAME}.start()"
        self.each(
            self.fuzz,
            (
                ("", NAME + ".py", "app.py"),
                ("", NAME + ".py", "-m", "app"),
                (start, "app.py"),
                ("import alpha, pkg.one; " + start, "app.py"),
            ),
        )

    def fuzz(self, start, *words):
        program = self.program()
        typist = Typist(program, self.SEED, textwrap.dedent(FUZZED).format(start=start))
        failures = []
        program.run(*words)
        self.await_state(program, list(typist.values.values()))
        for number in range(self.ROUNDS):
            mark, began = len(program.output), len(typist.log)
            typist.burst()
            expected = list(typist.values.values())
            try:
                self.await_state(program, expected)
            except AssertionError:
                saves = "\n".join(map(str, typist.log[max(0, began - 8) :]))
                failures.append(
                    f"AUTORELOAD_SEED={self.SEED}, round {number}: "
                    f"{self.running(program)} runs, {expected} is on disk\n"
                    f"{saves}\n{program.output[max(0, mark - 3000) :]}"
                )
            if len(failures) > 20 or program.process.poll() is not None:
                break
        if failures:
            self.fail("\n\n".join(failures))

    def await_state(self, program, expected):
        deadline = time.monotonic() + DEADLINE
        while self.running(program) != expected:
            wait = max(0, deadline - time.monotonic())
            if not select.select([program.process.stdout], [], [], wait)[0]:
                raise AssertionError
            if not program._read():
                raise AssertionError

    def running(self, program):
        states = re.findall("^state (.*)\n", program.output, re.M)
        return json.loads(states[-1]) if states else None


class NothingMissedTest(ProgramTest):
    """The code that runs is the code on disk."""

    def test_an_edit_during_start_up_of_a_module_already_imported(self):
        def story(words, start="", late=""):
            program = self.program(
                own="VALUE = 1",
                app=app(
                    f"""
                    {start}
                    import own, time
                    time.sleep(0.02)  # starts are told apart in hundredths of a second
                    print("loaded", own.VALUE, flush=True)
                    if own.VALUE == 1: open("own.py", "w").write("VALUE = 2")
                    {late}
                    """,
                    shown="own.VALUE",
                ),
            )
            program.run(*words)
            program.expect("loaded 1", "own.py changed, restarting", "up 2")

        start = f"import {NAME}; {NAME}.start()"
        self.each(
            story,
            (
                ([NAME + ".py", "app.py"],),
                ([NAME + ".py", "-m", "app"],),
                (PLAIN, start),
                (PLAIN, f"import {NAME}", f"{NAME}.start()"),
                (PLAIN, "", start),
            ),
        )

    def test_an_edit_during_start_up_with_an_older_mtime(self):
        program = self.program(
            own="VALUE = 1",
            app=app(
                f"""
                import own, os, time
                time.sleep(0.02)  # starts are told apart in hundredths of a second
                if own.VALUE == 1:
                    open("own.py", "w").write("VALUE = 22")
                    os.utime("own.py", (10**9, 10**9))
                import {NAME}; {NAME}.start()
                """,
                shown="own.VALUE",
            ),
        )
        program.run("app.py").expect("up 22")

    def test_an_edit_during_start_up_of_the_program_itself(self):
        text = f"""
            VALUE = 1
            if VALUE == 1:
                import time; time.sleep(0.02)  # as above
                text = open(__file__).read().replace("VALUE = 1", "VALUE = 2", 1)
                open(__file__, "w").write(text)
            import {NAME}; {NAME}.start()
        """
        wrapper = [NAME + ".py"]
        self.each(
            lambda *words: (
                self.program(app=app(text, "VALUE")).run(*words).expect("up 2")
            ),
            (PLAIN, wrapper + PLAIN, [*wrapper, "-m", "app"], ["-m", "app"]),
        )

    def test_the_program_itself_is_watched_however_it_is_named(self):
        def story(words, start):
            def save(value):
                text = start + app("", value)
                for name in ("app.py", "pkg/tool.py", "pkg/__main__.py"):
                    program.write(name, text)
                program.zip("app.zip", __main__=text)

            program = self.program(**{"pkg/__init__": "", "x/y": ""})
            save("1")
            program.run(
                *([] if start else [NAME + ".py"]),
                *words.split(),
                env=clean_environment(PYTHONPATH=program.directory),
            )
            program.expect("up 1")
            save("2")
            program.expect("up 2")

        modules, paths = ("-m app", "-m pkg.tool", "-m pkg"), ("app.py", "pkg")
        targets = *modules, *paths, "app.zip", "./x/../app.py"
        self.each(story, itertools.product(targets, ("", START)))

    def test_an_edit_right_after_a_late_import(self):
        def story(path, where):
            program = self.program()
            program.write(
                "app/app.py",
                f"""
                import sys, time
                time.sleep(0.3)
                sys.path.insert(0, {path!r} and __file__[:-6] + {path!r})
                import late
                if late.VALUE == 1:
                    open(late.__file__, "w").write("VALUE = 2")
                print("late", late.VALUE, flush=True)
                time.sleep(60)
                """,
            )
            os.mkdir(program.path("app", "other"))
            os.mkdir(program.path("app", "lib"))
            program.link("lib", "app/link")
            program.write(where + "/late.py", "VALUE = 1")
            program.wrap("app/app.py").expect("late 1")
            program.expect("late.py changed, restarting", "late 2")

        self.each(
            story,
            (
                ("", "app"),
                ("..", "."),
                ("other/../lib", "app/lib"),
                ("link", "app/lib"),
            ),
        )

    def test_an_edit_while_the_program_stops(self):
        text = """
            import own, time
            print("up", own.VALUE, flush=True)
            try:
                time.sleep(60)
            finally:
                print("stopping", flush=True)
                while own.VALUE == 1 and "2" not in open("own.py").read():
                    time.sleep(0.01)
        """
        program = self.program(app=text, own="VALUE = 1")
        program.wrap("app.py").expect("up 1")
        program.write("app.py", text + "\n")
        program.expect("stopping")
        program.write("own.py", "VALUE = 2")
        program.expect("up 2")

    def test_another_copy_of_the_file_does_not_make_edits_go_unseen(self):
        program = self.program(
            app=app(
                """
                import vendored.copied
                vendored.copied.start()
                import late
                if late.VALUE == 1:
                    open(late.__file__, "w").write("VALUE = 2")
                print("late", late.VALUE, flush=True)
                """
            ),
            late="VALUE = 1",
            **{"vendored/__init__": ""},
        )
        shutil.copy(program.path(NAME + ".py"), program.path("vendored", "copied.py"))
        program.wrap("app.py").expect("late 1", "late 2")

    def test_bytecode_is_dropped_of_all_kinds(self):
        program = self.program(own="", **{"own2": ""})
        for optimization in (0, 1, 2):
            for name in ("own.py", "own2.py"):
                py_compile.compile(program.path(name), optimize=optimization)
        cache = program.path("__pycache__")
        with open(
            os.path.join(cache, f"own.{sys.implementation.cache_tag}-pytest-8.0.pyc"),
            "w",
        ):
            pass
        with open(program.path("sourceless.pyc"), "w"):
            pass
        autoreload.drop_bytecode(
            map(program.path, ("own.py", "gone.py", "sourceless.pyc"))
        )
        self.assertFalse(
            [name for name in os.listdir(cache) if name.startswith("own.")]
        )
        self.assertTrue(
            [name for name in os.listdir(cache) if name.startswith("own2.")]
        )
        self.assertTrue(os.path.exists(program.path("sourceless.pyc")))

    def test_a_second_save_of_equal_size_within_the_second_is_not_run_as_the_first(
        self,
    ):
        program = self.program(app=app("import own", "own.VALUE"), own="VALUE = 0")
        program.run(*WRAPPED).expect("up 0")
        for value in range(1, 5):
            path = program.path("own.py")
            with open(path, "w") as file:
                file.write(f"VALUE = {value}")
            os.utime(path, ns=(10**18 + value,) * 2)
            program.expect(f"up {value}")

    def test_a_save_with_the_mtime_second_of_the_cached_bytecode_during_the_restart(
        self,
    ):
        # The next run begins with a pause; meanwhile own.py is saved.
        text = app(
            """
            import os, time
            if os.path.exists("go"):
                print("paused", flush=True)
                while os.path.exists("go"):
                    time.sleep(0.01)
            import own
            """,
            shown="own.VALUE",
        )
        program = self.program(own="VALUE = 1", app=text)
        own = program.path("own.py")
        os.utime(own, ns=(10**18 + 1,) * 2)
        program.wrap("app.py").expect("up 1")
        program.write("go")
        program.write("app.py", text + "\n")
        program.expect("paused")
        with open(own + ".tmp", "w") as file:
            file.write("VALUE = 2")
        os.utime(own + ".tmp", ns=(10**18 + 2,) * 2)
        os.replace(own + ".tmp", own)
        os.remove(program.path("go"))
        program.expect("up 2")


class OwnWritesTest(ProgramTest):
    """What the program writes is no change."""

    def test_a_module_that_the_program_writes_before_importing_it(self):
        def story(words, begin="", end=""):
            program = self.program(
                app=app(f"""
                    {begin}
                    import time, sentinel
                    open("made.py", "w").write(f"VALUE = {{time.time_ns()}}")
                    import made
                    {end}
                """),
                sentinel="",
            )
            program.run(*words).expect("up")
            self.assert_quiet(program)

        start, wrapper = f"import {NAME}; {NAME}.start()", [NAME + ".py", "app.py"]
        self.each(
            story,
            (
                (wrapper,),
                (wrapper, "", start),
                (PLAIN, start),
                (PLAIN, start, start),
                (PLAIN, f"import {NAME}", start),
            ),
        )

    def test_own_log_and_database_in_a_watched_directory(self):
        program = self.program(
            app="""
                import logging, os, sqlite3, time, sentinel
                logging.basicConfig(filename="data/own.log", level="INFO")
                for number in range(2000):
                    logging.info("still there")
                    db = sqlite3.connect("data/own.sqlite3")
                    db.execute("create table if not exists t (x)")
                    db.execute("insert into t values (1)")
                    db.commit(); db.close()
                    open("data/x.tmp", "w").write("x")
                    print("written", number, flush=True)
                    time.sleep(0.05)
            """,
            sentinel="",
        )
        os.mkdir(program.path("data"))
        program.wrap("--watch", "data", "--check-time", "50", "app.py")
        program.expect("written 10")
        self.assert_quiet(program)

    def test_a_program_that_rewrites_a_file_at_each_start_loops_three_times(self):
        def story(written):
            program = self.program(
                app=app(f"""
                    import own, sentinel, time, {NAME}
                    {NAME}.watch("data.txt")
                    print("start", {NAME}.restarts, flush=True)
                    time.sleep(0.2)
                    open({written!r}, "a").write("#")
                """),
                own="",
                sentinel="",
            )
            program.write("data.txt")
            program.run(*WRAPPED)
            program.expect("start 0", "start 1", "start 2", "start 3")
            program.expect(
                f"autoreload: {written} changed after each of the last 3 starts, "
                "ignored until another file changes"
            )
            self.assert_quiet(program)
            program.expect("start 4")

        self.each(story, [("own.py",), ("data.txt",)])

    def test_what_the_program_has_others_rewrite_at_each_start_does_not_loop_either(
        self,
    ):
        def story(work):
            program = self.program(
                app=app(f"import os, own, pathlib, shutil, subprocess\n{work}"), own="#"
            )
            program.run(*WRAPPED)
            program.expect("own.py changed after each of the last 3 starts, ignored")

        truncated = "os.open('own.py', os.O_RDWR | os.O_TRUNC, dir_fd=os.open('.', 0))"
        self.each(
            story,
            (
                ("subprocess.run(['sh', '-c', 'echo > own.py'])",),
                ("os.utime('own.py')",),
                ("shutil.copy('own.py', 'copy'); shutil.copy('copy', 'own.py')",),
                ("shutil.copy('own.py', 'copy'); os.replace('copy', 'own.py')",),
                ("pathlib.Path('own.py').write_text('#')",),
                (f"os.close({truncated})",),
            ),
        )


class RecoveryTest(ProgramTest):
    """A failure is mended wherever it can be."""

    def test_failures_are_mended(self):
        def story(_, files, mended):
            text = files["app"] + "\nprint('repaired', flush=True)"
            program = self.program(**{**files, "app": text})
            program.wrap("--until-success", "app.py").expect("waiting for a change")
            for name, text in mended.items():
                if text is None:
                    os.remove(program.path(name))
                else:
                    program.write(name, text)
            program.expect("repaired")

        package = {"app": "import a.b", "a/__init__": ""}
        tried = "try: open('x.txt')\nexcept OSError as e: "
        self.each(
            story,
            (
                (
                    "a missing module",
                    {**package, "a/b": "import missing"},
                    {"missing.py": ""},
                ),
                ("a missing module in a package", package, {"a/b.py": ""}),
                (
                    "a missing package",
                    {"app": "import a.b"},
                    {"a/__init__.py": "", "a/b.py": ""},
                ),
                (
                    "a missing subpackage",
                    {"app": "import a.b.c", "a/__init__": ""},
                    {"a/b/c.py": ""},
                ),
                (
                    "a syntax error three imports deep",
                    {"app": "import a", "a": "import b", "b": "import c", "c": "def"},
                    {"c.py": "def f(): 0"},
                ),
                (
                    "a missing name",
                    {"app": "import a", "a": "from b import c", "b": ""},
                    {"b.py": "c = 1"},
                ),
                ("a data file", {"app": "open('data/x.txt')"}, {"data/x.txt": ""}),
                ("a cause", {"app": tried + "raise ValueError from e"}, {"x.txt": ""}),
                ("a context", {"app": tried + "1/0"}, {"x.txt": ""}),
                (
                    "a group",
                    {"app": tried + "raise ExceptionGroup('', [e])"},
                    {"x.txt": ""},
                ),
                (
                    "a file given to exec()",
                    {"app": "exec(compile(open('conf').read(), 'conf', 'exec'))"},
                    {"conf": "1"},
                ),
                (
                    "in a directory that has been removed",
                    {
                        "app": "import os, tempfile\n"
                        "with tempfile.TemporaryDirectory() as d:\n"
                        "    os.chdir(d); open('missing.txt')"
                    },
                    {"app.py": "print('repaired', flush=True)"},
                ),
                ("null bytes", {"app": "import a", "a": "\0"}, {"a.py": "1"}),
                (
                    "a bad encoding",
                    {"app": "import a", "a": "# coding: nonsense"},
                    {"a.py": "1"},
                ),
                (
                    "a module to be removed",
                    {"app": "import os\nassert not os.path.exists('a.py')", "a": ""},
                    {"a.py": None},
                ),
            ),
        )

    def test_a_module_created_while_the_program_fails(self):
        def story(fail, start):
            program = self.program(
                app=f"""
                    import os, time; {start}
                    try:
                        {fail}
                    except Exception:
                        print("failing", flush=True)
                        while not os.path.exists("c.py"):
                            time.sleep(0.01)
                        raise
                    print("repaired", flush=True)
                """
            )
            program.run(*PLAIN if start else WRAPPED).expect("failing")
            program.write("c.py")
            program.expect("repaired")

        fails = "import c", "open('c.py').close()"
        self.each(story, itertools.product(fails, ("", START.strip())))

    def test_a_module_created_in_a_directory_to_import_from(self):
        files = {"site/app": "import new; print(new.VALUE)", "lib/x": ""}
        program = self.program(**files)
        path = clean_environment(PYTHONPATH=program.path("lib"))
        program.wrap("site/app.py", env=path).expect("waiting for a change$")
        program.write("lib/new.py", "VALUE = 'found'")
        program.expect("^found$")

    def test_a_test_file_that_the_runner_failed_to_collect(self):
        good = """
            import unittest
            class T(unittest.TestCase):
                def test(self): print('repaired', flush=True)
        """

        def story(bad, *words):
            program = self.program(
                **{"tests/__init__": "", "tests/test_x": bad},
                test_y=good.replace("repaired", "other"),
            )
            program.wrap("-m", "unittest", *words).expect("waiting for a change")
            program.write("tests/test_x.py", good)
            program.expect("repaired")

        bad = "import missing_thing", "def", "1 / 0"
        discover = "discover", "-s", "tests"
        self.each(story, [*((b,) for b in bad), *((b, *discover) for b in bad)])

    def test_a_failure_amid_thousands_of_files_is_reported_once(self):
        program = self.program(app="1 / 0")
        for i in range(1500):
            open(program.path(f"m{i}.py"), "w").close()
        program.wrap("--check-time", "50", "app.py").expect("waiting for a change")
        program.write("m1.py", "1")
        program.expect("autoreload: m1.py changed, restarting$", "waiting for a change")
        self.assertNotIn("unexpected", program.output)
        self.assertEqual(program.output.count("changed"), 1, program.output)

    def test_a_module_whose_failure_the_program_has_caught(self):
        text = """
            import time
            try:
                import plugin
                print("up", plugin.VALUE, flush=True)
            except Exception as error:
                print("caught", type(error).__name__, flush=True)
            time.sleep(60)
        """

        def story(words, start):
            program = self.program(app=code(start, text), plugin="VALUE =")
            program.run(*words).expect("caught SyntaxError")
            for value, said in (
                ("1", "up 1"),
                ("1 / 0", "caught ZeroDiv"),
                ("3", "up 3"),
            ):
                program.write("plugin.py", f"VALUE = {value}")
                program.expect("plugin.py changed, restarting", said)
            self.assertEqual(program.stop(), 130)

        self.each(story, ((PLAIN, START), (WRAPPED, "")))

    def test_new_files_count_only_after_a_failure(self):
        program = self.program(app=app("import a.b"), **{"a/__init__": "", "a/b": ""})
        os.mkdir(program.path("data"))
        program.run(*wrapped("--watch", "data")).expect("up")
        for new in ("new.py", "a/new.py"):
            program.write(new)
        self.assert_quiet(program, "data/new.txt")

    def test_a_file_created_in_a_directory_is_no_change_of_the_directory(self):
        text = "open('new.txt', 'w'); open('data.bin', 'w'); 1 / 0"
        program = self.program(app=text)
        program.wrap("app.py").expect("ZeroDivisionError", "waiting for a change$")
        self.assert_quiet(program, "app.py")


class InstalledTest(ProgramTest):
    """Installed packages, which change seldom, and then all at once."""

    SITE = "env/lib/site-packages"
    EDITED = "import sys; edited = sys._autoreload['_reloader'].watch_list._edited"

    def start(self, words, app, installed="other", module="VALUE = 1"):
        """Run a program that has a directory of installed packages, and one in it."""
        program = self.program(app=app)
        program.write("env/pyvenv.cfg")
        self.install(program, installed, *[module] * 70)
        path = clean_environment(PYTHONPATH=program.path(self.SITE))
        return program.run(*words, env=path)

    def install(self, program, package, *texts):
        """Install a package of these modules as installers do, in another's stead."""
        described = program.path(self.SITE, f"{package}.dist-info")
        for folder in (described, program.path(self.SITE, package)):
            shutil.rmtree(folder, ignore_errors=True)
        for i, text in enumerate(texts):
            program.write(f"{self.SITE}/{package}/m{i}.py", text)
        os.mkdir(described)

    def test_a_package_that_is_replaced_is_one_change(self):
        names = ", ".join(f"m{i}" for i in range(70))
        text = app(f"from pkg import {names}; {self.EDITED}", "m69.VALUE, edited")
        # A round in between is rare then: it would see some of the files.
        program = self.start(wrapped("--check-time", "1000"), text, "pkg")
        program.expect("up 1")
        self.install(program, "pkg", *["VALUE = 2"] * 70)
        program.expect(r"pkg/m0.py changed \(\+69 more\), restarting$")
        program.expect(r"up 2 set\(\)$")

    def test_an_installation_is_over_when_it_has_paused_and_all_is_there(self):
        def story(installed, when):
            program = self.program(
                app=f"""
                    import os, {NAME}
                    reloader = {NAME}._reloader
                    reloader.watch_list.installed[:] = {installed!r}
                    reloader.snapshot.update(dict.fromkeys({installed!r}, 1))
                    installations = {NAME}.Installations()
                    installations.watch(["."])
                    for mtime in 1, 2, *[3] * 21:
                        os.utime(".", (mtime, mtime))
                        print(len(installations.over()), end="")
                """
            )
            program.run("app.py").rest()
            self.assertEqual(program.output.index("1"), when, program.output)

        self.each(story, ((["app.py"], 4), (["missing.py"], 22)))

    def test_a_failure_is_mended_by_the_missing_package(self):
        def story(words, start):
            text = app(f"import pkg.m0; {self.EDITED}", "edited")
            program = self.start(words, code(start, text))
            program.expect("waiting for a change$")
            self.install(program, "pkg", "")
            program.expect("env/lib/site-packages changed, restarting$")
            program.expect(r"up set\(\)$")

        supervised = wrapped("--supervise")
        self.each(story, ((WRAPPED, ""), (PLAIN, START), (supervised, "")))

    def test_a_crash_is_mended_by_an_installation(self):
        text = "import os\ntry: import pkg.m0\nexcept ImportError: os.abort()\n"
        program = self.start(wrapped("--supervise"), app(text))
        program.expect("app.py died")
        self.install(program, "pkg", "")
        program.expect("env/lib/site-packages changed, restarting$", "up")

    def test_stale_bytecode_of_many_installed_files_is_dropped(self):
        program = self.start(WRAPPED, app("import m0, m1, m2, m3, m4, m5", "m5.VALUE"))
        program.expect("failed, waiting for a change$")
        for value in 1, 2:
            for i in range(6):
                path = program.path(self.SITE, f"m{i}.py")
                program.write(path, f"VALUE = {value}")
                os.utime(path, (10**9, 10**9))
            program.expect(f"up {value}$")

    def test_a_failure_is_mended_by_what_an_installed_package_lacks(self):
        program = self.start(WRAPPED, app("import half.m0"), "half", "import half.rest")
        program.expect("No module named 'half.rest'", "waiting for a change$")
        program.write(f"{self.SITE}/half/rest.py")
        program.expect("env/lib/site-packages/half changed, restarting$", "up")

    def test_an_edit_of_an_installed_file_is_seen_later(self):
        words = wrapped("--check-time", "20")
        program = self.start(words, app("from other import m0, m1", "m1.VALUE"))
        program.expect("up 1")
        program.write(f"{self.SITE}/other/m1.py", "VALUE = 2")
        program.expect("other/m1.py changed, restarting$", "up 2")

    def test_what_is_watched_by_name_counts_as_own(self):
        def story(name, before, after):
            call = f"{NAME}.watch({f'{self.SITE}/{name}'!r})"
            lines = (
                f"import {NAME}",
                before and call,
                "from other import m69",
                after and call,
            )
            words = wrapped("--check-time", "10000")
            program = self.start(words, app("\n".join(map(str, lines)), "m69.VALUE"))
            program.expect("up 1")
            program.write(f"{self.SITE}/other/m69.py", "VALUE = 2")
            program.expect("other/m69.py changed, restarting$", "up 2")

        names = "other", "other/m69.py", "other/*.py"
        orders = (True, False), (False, True)
        self.each(story, ((name, *order) for name in names for order in orders))

    def test_the_bytecode_of_what_was_just_installed_stays(self):
        text = f"""
            import os, py_compile
            bytecode = py_compile.compile("{self.SITE}/other/m0.py")
            before = os.stat(bytecode)
            import other.m0
        """
        program = self.start(
            PLAIN, app(code(START, text), "os.stat(bytecode) == before")
        )
        program.expect("up True")

    def test_a_program_that_fails_and_installs_is_ignored_at_last(self):
        program = self.start(
            WRAPPED,
            f"""
                import os
                os.close(os.open("{self.SITE}/x", os.O_CREAT))
                os.remove("{self.SITE}/x")
                1 / 0
            """,
        )
        often = "after each of the last 3 starts, ignored until another file changes$"
        program.expect(f"env/lib/site-packages changed {often}")
        self.install(program, "pkg", "")
        program.expect("env/lib/site-packages changed, restarting$")


class WatchTest(ProgramTest):
    """Directories, globs and single files."""

    def story(self, watched, *steps, before=lambda program: None):
        """Restart after each step, naming what it says; a path is one to be saved."""
        program = self.program(app=app(f"import {NAME}; {NAME}.watch({watched!r})"))
        before(program)
        program.run(*WRAPPED).expect("up")
        for named, step in steps:
            step(program)
            program.expect(f"autoreload: {named} changed.*, restarting", "up")
        return program

    @staticmethod
    def save(name):
        return name, lambda program: program.write(name, f"{time.time()}")

    @staticmethod
    def move(old, new, named):
        return named, lambda program: os.rename(program.path(old), program.path(new))

    @staticmethod
    def remove(name):
        return name, lambda program: os.remove(program.path(name))

    def test_a_directory(self):
        def rename_and_save(program):
            os.rename(program.path("data/sub"), program.path("data/sub2"))
            program.write("data/sub2/y.txt")

        self.story(
            "data",
            self.save("data/new.txt"),
            self.save("data/new.txt"),
            self.save("data/sub/deep/x.txt"),
            self.save("data/sub/deep/x.txt"),
            self.move("data/new.txt", "data/other.txt", "data/(new|other).txt"),
            self.remove("data/sub/deep/x.txt"),
            ("data/sub2/y.txt", rename_and_save),
            self.move("data", "away", "data"),
            self.move("away", "data", "data"),
            self.save("data/other.txt"),
            before=lambda program: os.mkdir(program.path("data")),
        )

    def test_a_directory_that_does_not_exist_yet(self):
        self.story(
            "data/sub",
            ("data/sub", lambda program: os.makedirs(program.path("data/sub"))),
            self.save("data/sub/x"),
        )

    def test_a_glob(self):
        program = self.story(
            "data/**/*.html",
            self.save("data/a.html"),
            self.save("data/x/y/b.html"),
            self.save("data/x/y/b.html"),
            self.remove("data/a.html"),
            before=lambda program: os.mkdir(program.path("data")),
        )
        program.write("data/x.txt")
        self.assert_quiet(program, "data/c.html")

    def test_a_file_with_the_characters_of_a_glob_that_does_not_exist_yet(self):
        name, save = self.save("d [x].txt")
        self.story(name, (re.escape(name), save), (re.escape(name), save))

    def test_a_file_with_the_characters_of_a_glob(self):
        name, save = self.save("a[1].txt")
        self.story(name, (re.escape(name), save), before=save)

    def test_what_a_directory_watch_skips(self):
        program = self.program(app=app(""))
        program.write("data/venv/pyvenv.cfg")
        program.run(*wrapped("--watch", "data")).expect("up")
        for name in (
            *(".hidden/x", ".hidden.txt", ".git/index", "__pycache__/x.pyc"),
            *("node_modules/a/x.js", "venv/lib/x.py"),
            *("x.txt~", ".x.txt.swp", "#x.txt#", "4913", "x.tmp"),
        ):
            program.write("data/" + name, "1")
        self.assert_quiet(program, "data/sentinel.txt")

    def test_symbolic_links_that_are_swapped(self):
        def before(program):
            for name in ("one", "two"):
                program.write(name + "/x.txt", name)
                os.utime(program.path(name, "x.txt"), (10**9, 10**9))
            program.link("one", "current")

        def story(watched, named):
            self.story(
                watched,
                (named, lambda program: program.link("two", "current")),
                ("current/x.txt", self.save("two/x.txt")[1]),
                before=before,
            )

        self.each(
            story,
            (
                ("current", "current.*"),
                ("current/x.txt", "current/x.txt"),
                ("current/*.txt", "current/x.txt"),
            ),
        )

    def test_a_module_behind_a_link_that_is_swapped(self):
        program = self.program(
            app=app(
                "import sys; sys.path.insert(0, 'current'); import own", "own.VALUE"
            ),
            **{"one/own": "VALUE = 1", "two/own": "VALUE = 2"},
        )
        for name in ("one", "two"):
            os.utime(program.path(name, "own.py"), (10**9, 10**9))
        program.link("one", "current")
        program.wrap("app.py").expect("up 1")
        program.link("two", "current")
        program.expect("current/own.py changed, restarting", "up 2")

    def test_a_zip_that_is_rewritten(self):
        program = self.program(
            app=app(
                """
                import sys, time; sys.path.insert(0, 'lib.zip'); import own
                time.sleep(0.5)  # until the zip has been looked at
                """,
                shown="own.VALUE",
            )
        )
        program.zip("lib.zip", own="VALUE = 1")
        program.run(*WRAPPED).expect("up 1")
        program.zip("lib.zip", own="VALUE = 2")
        program.expect("autoreload: lib.zip changed, restarting", "up 2")

    def test_an_extension_module_that_is_rebuilt_in_steps(self):
        origin = importlib.util.find_spec("_heapq").origin
        if not os.path.isfile(origin or ""):
            self.skipTest("no extension module to copy")
        program = self.program(app=app("import _heapq", "_heapq.__file__"))
        path = program.path(os.path.basename(origin))
        shutil.copy(origin, path)
        with open(origin, "rb") as file:
            content = file.read()
        program.wrap("app.py").expect(f"up {re.escape(path)}")
        for _ in range(2):
            os.remove(path)
            with open(path, "wb") as file:
                for start in range(0, len(content), len(content) // 4 + 1):
                    file.write(content[start : start + len(content) // 4 + 1])
                    file.flush()
                    pause(0.03)
            program.expect("_heapq.* changed, restarting$", f"up {re.escape(path)}")
        self.assertEqual(program.output.count("restarting"), 2, program.output)

    def test_what_is_ignored(self):
        before = "own1.py", "*/own2.py", "pkg1", "pkg2/*"
        after = "own3.py", "{}/own4.py", "pkg3"
        ignore = f"for name in {{}}: {NAME}.ignore(name.format(os.getcwd()))"
        names = "own1 own2 own3 own4 pkg1/one pkg2/one pkg3/one".split()
        program = self.program(
            app=app(f"""
                import os, {NAME}
                {ignore.format(before)}
                {NAME}.start(check_time=100)
                import {", ".join(names).replace("/", ".")}, sentinel
                {ignore.format(after)}
            """),
            sentinel="",
            **dict.fromkeys(names, ""),
        )
        program.run("app.py").expect("up")
        for name in names:
            program.write(name + ".py", "1")
        self.assert_quiet(program)

    def test_thousands_of_files_changed_at_once(self):
        program = self.program(app=app("import sentinel"), sentinel="")
        # All their names together would be too long for an environment variable.
        names = [program.path("data", f"{i:05}-" + "x" * 200) for i in range(1000)]
        os.mkdir(program.path("data"))
        for text in ("", "1"):
            for name in names:
                with open(name, "w") as file:
                    file.write(text)
            if not text:
                program.run(*wrapped("--watch", "data")).expect("up")
        program.expect("changed .*restarting", "up")
        program.write("sentinel.py", "1")
        program.expect("sentinel.py changed", "up")
        self.assertNotIn("too long", program.output)


class SurvivalTest(ProgramTest):
    """The watcher never dies, and has no side effects."""

    def test_odd_things_in_sys_modules(self):
        program = self.program(
            app=app(
                """
                import sys, types, importlib.util
                class Raising(types.ModuleType):
                    def __getattr__(self, name): print("touched", name, flush=True); raise RuntimeError(name)
                class Worse:
                    def __getattribute__(self, name): print("touched", name, flush=True); raise SystemExit(name)
                class Proxy:
                    __slots__ = ()
                    def __getattr__(self, name): print("touched", name, flush=True); return "x"
                    @property
                    def __dict__(self): print("touched dict", flush=True); return {}
                class Text(str):
                    def __eq__(self, other): 1 / 0
                    __hash__ = str.__hash__
                def module(name, **names):
                    result = types.ModuleType(name); vars(result).update(names); return result
                sys.modules.update({
                    "a": None, "b": Raising("b"), "c": Worse(), "d": Proxy(), "e": 3, "f": module("f", __file__=b"/tmp/x"),
                    "g": module("g", __file__="nul\\0nul"), "h": module("h", __file__=None), "i": module("i", __file__=7),
                    "j": module("j", __file__=""), "k": module("k", __file__="<frozen>"), "l": module("l", __loader__=Proxy()),
                    "m\\0": module("m"), "\\udc80": module("n", __file__="/tmp/\\udc80/\\ud800"), "o": module("o", __file__=Text("x")),
                    "p": type("p", (), {"__file__": "x"}), "q": module("q", __loader__=Worse()), "r": module("r", __file__="/tmp"),
                })
                def lazy(name):
                    spec = importlib.util.find_spec(name)
                    spec.loader = importlib.util.LazyLoader(spec.loader)
                    result = sys.modules[name] = importlib.util.module_from_spec(spec)
                    spec.loader.exec_module(result)
                lazy("slow")
                import sentinel
            """.replace("\\\\", "\\")
            ),
            sentinel="",
            slow="print('touched the lazy module', flush=True)",
        )
        program.wrap("--check-time", "50", "app.py").expect("up")
        self.assert_quiet(program)
        self.assertNotIn("touched", program.output)
        self.assertNotIn("unexpected", program.output)

    def test_sys_modules_changing_size_all_the_time(self):
        program = self.program(
            app=app("""
                import sys, threading, time, types, sentinel
                sys.setswitchinterval(1e-5)
                def churn(thread):
                    end = time.monotonic() + 0.5
                    while True:
                        for i in range(300): sys.modules[f"x{thread}{i}"] = types.ModuleType("x")
                        for i in range(300): del sys.modules[f"x{thread}{i}"]
                        if thread == "a" and end < time.monotonic():
                            end *= 2
                            print("churned", flush=True)
                for name in "abc": threading.Thread(target=churn, args=(name,), daemon=True).start()
            """),
            sentinel="",
        )
        program.wrap("--check-time", "50", "app.py").expect("churned")
        self.assert_quiet(program)
        self.assertNotIn("unexpected", program.output)

    def test_odd_files_and_directories_in_a_watched_directory(self):
        program = self.program(app=app(""))
        os.makedirs(program.path("data", "closed"))
        os.chmod(program.path("data", "closed"), 0)
        for target, link in (("nowhere", "dangling"), ("..", "loop"), ("self", "self")):
            program.link(target, "data/" + link)
        os.mkfifo(program.path("data", "fifo.py"))
        data = os.fsencode(program.path("data"))
        names = (
            b"surrogate-\xff.py",
            b"line\nfeed.py",
            b"-rf.py",
            b"\x1b[31m.py",
            b"a[b].py",
        )
        for name in names:
            open(os.path.join(data, name), "w").close()
        program.run(*wrapped("--watch", "data")).expect("up")
        for name in names:
            with open(os.path.join(data, name), "w") as file:
                file.write("1")
            program.expect("autoreload: data/.* changed, restarting$", "up")
        os.chmod(program.path("data", "closed"), 0o700)
        self.assertNotIn("Traceback", program.output)

    def test_files_that_come_and_go_in_a_watched_directory_do_no_harm(self):
        program = self.program(
            app=app("import sentinel", "sentinel.VALUE"), sentinel="VALUE = 0"
        )
        os.mkdir(program.path("data"))
        words = "--watch", "data", "--check-time", "50", "app.py"
        program.wrap(*words).expect("up 0")
        for value in range(1, 3):
            for _ in range(500):
                program.write("data/sub/x.txt")
                os.remove(program.path("data/sub/x.txt"))
                os.rmdir(program.path("data/sub"))
            program.write("sentinel.py", f"VALUE = {value}")
            program.expect(f"up {value}")
        self.assertNotIn("unexpected", program.output)


# A program begins with this: `up N` is the line by which a test knows that it runs.
BEGIN = """\
import os, signal, sys, time
import autoreload, helper
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""
UP = 'say("up", autoreload.restarts)\n'
SLEEP = UP + "time.sleep(60)\n"
STUCK = (
    UP + "while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass\n"
)
HURRY = START.replace("grace=1", "grace=0.3")  # where nothing heeds the interrupt
IGNORING = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP
BYE = "try:\n    say('up', autoreload.restarts); time.sleep(60)\nfinally:\n    say('bye')\n"


@unittest.skipUnless(sys.platform == "linux", "needs /proc and a pty")
class Story(ProgramTest):
    """Programs that restart by an edit of helper.py."""

    def story(self, *parts, begin=START, kind=Program, **files):
        program = kind(app=code(BEGIN, begin, *parts), helper="VALUE = 0", **files)
        self.addCleanup(program.close)
        program.value = 0
        return program

    def start(self, *parts, words=PLAIN, begin=None, **options):
        """Run a program, which calls start() itself if nothing is in front of it."""
        begin = (START if words == PLAIN else "") if begin is None else begin
        program = self.story(*parts, begin=begin).run(*words, **options)
        program.expect("^up 0")
        return program

    def edit(self, program, *patterns, up=True):
        """Save helper.py, and see the program say all this, at last that it is up."""
        program.value += 1
        program.write("helper.py", f"VALUE = {program.value}")
        program.expect("helper.py changed, restarting", *patterns)
        if up:
            program.expect(f"up {program.value}$")

    def assert_clean(self, program, *more):
        for text in ("Traceback", "unexpected", "Exception ignored", *more):
            self.assertNotIn(text, program.output)

    def assert_count(self, program, count):
        """Assert that there are so many processes, and no zombie."""
        found = become(lambda: self.count(program) == count) and count
        self.assertEqual(found, count, (session(program.process.pid), program.output))

    def count(self, program):
        states = list(session(program.process.pid).values())
        return "zombies" if "Z" in states else len(states)


IN_MAIN = "threading.current_thread() is threading.main_thread()"
HOOKS = f"""
    import asyncio, threading
    @autoreload.add_reload_hook
    def one():
        say("one", {IN_MAIN})
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
        finally:
            say("cancelled")
    asyncio.run(main())
"""


class HookTest(Story):
    """Hooks run before the restart, on the loop's thread if there is one."""

    def test_hooks_run_in_order_on_a_thread_when_there_is_no_loop(self):
        program = self.start(HOOKS, BYE)
        self.edit(program, "^one False", "^two False", "^bye")
        self.assert_clean(program)

    def test_hooks_run_on_the_asyncio_loop_that_is_given_or_adopted(self):
        def story(loop, words):
            loop = LOOP.format(start=f"autoreload.start({loop}, 100)")
            program = self.start(HOOKS, loop, words=words, begin="")
            self.edit(program, "^one True", "^two True", "^cancelled")
            self.assert_clean(program)

        adopted, given = "None", "asyncio.get_running_loop()"
        self.each(
            story,
            (
                *itertools.product((adopted, given), (PLAIN, WRAPPED)),
                (given + ".call_soon_threadsafe", PLAIN),
            ),
        )

    def test_hooks_run_where_a_bare_callable_schedules_them(self):
        program = self.start(
            HOOKS,
            """
            import queue
            tasks = queue.Queue()
            autoreload.start(tasks.put, 100)
            say("up", autoreload.restarts)
            while True:
                tasks.get()()
            """,
            begin="",
        )
        self.edit(program, "^one True", "^two True")
        self.assert_clean(program)

    def test_a_bare_callable_that_fails_does_not_stop_the_restart(self):
        program = self.start(
            """
            def schedule(fn):
                raise ValueError("no loop any more")
            autoreload.start(schedule, 100, grace=0.5)
            autoreload.add_reload_hook(lambda: say("hook"))
            """,
            SLEEP,
            begin="",
        )
        self.edit(program)

    def test_hooks_run_after_the_loop_has_ended(self):
        program = self.start(
            HOOKS,
            "async def main(): autoreload.start(None, 100, grace=1)\n",
            "asyncio.run(main())\n",
            UP,
            "autoreload.wait()\n",
            begin="",
        )
        self.edit(program, "^one", "^two")
        self.assert_clean(program, "not done", "never awaited")

    def test_failing_and_hanging_hooks_do_not_stop_the_restart(self):
        program = self.start(
            """
            autoreload.start(None, 100, grace=1)
            @autoreload.add_reload_hook
            def failing(): 1 / 0
            @autoreload.add_reload_hook
            async def failing_later(): 1 / 0
            @autoreload.add_reload_hook
            def leaving(): sys.exit(3)
            @autoreload.add_reload_hook
            async def leaving_later(): sys.exit(3)
            @autoreload.add_reload_hook
            def nonsense(): return 42
            autoreload.add_reload_hook(print)
            @autoreload.add_reload_hook
            class Odd:
                __await__ = 3
            @autoreload.add_reload_hook
            def hanging(): time.sleep(60)
            @autoreload.add_reload_hook
            async def hanging_later():
                import asyncio
                await asyncio.sleep(60)
            for _ in range(100):  # which share one grace period
                autoreload.add_reload_hook(lambda: time.sleep(60))
            """,
            SLEEP,
            begin="",
        )
        self.edit(
            program,
            "ZeroDivisionError",
            "autoreload: hook failing failed, restarting anyway",
            "ZeroDivisionError",
            "autoreload: hook failing_later failed, restarting anyway",
            "hook leaving",
            "hook leaving_later",
            "hook Odd failed",
            "hook hanging is not done after 1 s, restarting anyway",
        )

    def test_a_cancelled_hook_is_told_as_failing(self):
        program = self.start(
            """
            @autoreload.add_reload_hook
            async def cancelled():
                import asyncio
                raise asyncio.CancelledError
            """,
            SLEEP,
        )
        self.edit(program, "CancelledError", "hook cancelled failed, restarting anyway")
        self.assertNotIn("Exception in thread", program.output)

    def test_a_request_to_restart_survives_a_signal_that_is_survived(self):
        program = self.start(
            """
            signal.signal(signal.SIGTERM, lambda *_: say("survived"))
            @autoreload.add_reload_hook
            def hook():
                if not os.path.exists("once"):
                    open("once", "w").close()
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(0.1)
            """,
            START,
            UP,
            "if not autoreload.restarts: autoreload.restart()\n",
            "time.sleep(60)\n",
            begin="",
        )
        program.expect(r"restart\(\) was called, restarting", "survived", "up")

    def test_failing_hooks_on_a_loop_do_not_end_the_program_otherwise(self):
        def story(way, words):
            program = self.start(
                f"@autoreload.add_reload_hook\nasync def hook(): {way}\n",
                LOOP.format(start="autoreload.start(None, 100, grace=0.3)"),
                words=words,
                begin="",
            )
            self.edit(program)
            if way.startswith("await"):  # by the end of the loop it is cancelled
                self.assertNotIn("failed", program.output)

        ways = "1 / 0", "sys.exit(3)", "raise KeyboardInterrupt", "time.sleep(60)"
        ways += "raise asyncio.CancelledError", "await asyncio.sleep(60)"
        self.each(story, itertools.product(ways, (PLAIN, wrapped("--grace", "0.3"))))


class InterruptTest(Story):
    """The program is interrupted as by Ctrl-C, and left behind if it does not end."""

    def test_clean_up_happens_before_the_restart(self):
        program = self.start(
            """
            import atexit, contextlib
            atexit.register(say, "atexit")
            @contextlib.contextmanager
            def context():
                try:
                    yield
                finally:
                    say("with")
            try:
                with context():
                    say("up", autoreload.restarts)
                    time.sleep(60)
            finally:
                say("finally")
            """
        )
        for _ in range(3):
            self.edit(program, "^with", "^finally", "^atexit")
        self.assertEqual(program.stop(), 130)

    def test_a_stuck_main_thread_is_named_and_left_behind(self):
        exiting = "import atexit; atexit.register(say, 'atexit')\n"
        program = self.start(exiting, STUCK, begin=HURRY)
        stuck = (
            r"autoreload: main thread is at app.py:{} after 0.3 s, restarting anyway"
        )
        line = len(code(BEGIN, START, "\n", STUCK).splitlines())
        for _ in range(2):  # what start() is given holds after a restart, too
            self.edit(
                program, stuck.format(f"({line}|{line - 1}|{line - 2})"), "atexit"
            )

    def test_ctrl_c_while_a_stuck_main_thread_is_waited_for_ends_it(self):
        program = self.start(
            f"import {NAME}; {NAME}.start(100, grace=2)\n",
            STUCK.replace("pass", "say('no')"),
            begin="",
        )
        self.edit(program, "^no", up=False)
        self.assertEqual(program.stop(), 130)
        self.assertNotIn("up 1", program.output)

    def test_a_non_daemon_thread_does_not_hold_the_restart(self):
        program = self.start(
            "import threading; threading.Thread(target=time.sleep, args=[60]).start()\n",
            SLEEP,
            begin=HURRY,
        )
        self.edit(program, "main thread is at .* after 0.3 s")
        self.assert_clean(program)

    def test_an_ignored_interrupt_does_not_hold_the_restart(self):
        def story(ignoring):
            program = self.start(ignoring)
            self.edit(program)
            self.edit(program)
            self.assertNotIn("anyway", program.output)

        self.each(story, ([IGNORING], [IGNORING.replace("SIG_IGN", "SIG_DFL")]))

    def test_a_background_job_keeps_ignoring_the_interrupt(self):
        ignored = "signal.getsignal(signal.SIGINT) == signal.SIG_IGN"
        for words in (PLAIN, WRAPPED):
            with self.subTest(words):
                program = self.story(f"say('ignored', {ignored})\n", SLEEP)
                program.run(
                    *words,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
                )
                program.expect("ignored True", "up")
                for _ in range(2):
                    self.edit(program, "ignored True")


LISTEN = """
    s = autoreload.listen(("127.0.0.1", 0))
    say("port", s.getsockname()[1])
"""


HTTP_SERVER = """
    import http.server
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"%d" % helper.VALUE)
        def log_message(self, *arguments): pass
    server = http.server.ThreadingHTTPServer(s.getsockname(), Handler, False)
    server.socket = s
    say("up", autoreload.restarts)
    server.serve_forever()
"""
WSGI = """
    def answer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % helper.VALUE]
"""
WSGIREF = code(
    WSGI,
    """
    from wsgiref import simple_server
    class Handler(simple_server.WSGIRequestHandler):
        def log_message(self, *arguments): pass
    server = simple_server.WSGIServer(s.getsockname(), Handler, False)
    server.socket, server.base_environ = s, {}
    server.set_app(answer)
    say("up", autoreload.restarts)
    server.serve_forever()
    """,
)
WERKZEUG = code(
    WSGI,
    """
    import logging, werkzeug.serving
    logging.getLogger("werkzeug").setLevel("ERROR")
    server = werkzeug.serving.make_server("localhost", 0, answer, True, fd=s.fileno())
    say("up", autoreload.restarts)
    server.serve_forever()
    """,
)
ASYNCIO_SERVER = """
    import asyncio
    tasks = set()
    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        await reader.readuntil(b"\\r\\n\\r\\n")
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % helper.VALUE)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        tasks.remove(asyncio.current_task())
    async def main():
        server = await asyncio.start_server(serve, sock=s)
        autoreload.start(None, 100)
        @autoreload.add_reload_hook
        async def drain():
            server.close()
            await asyncio.sleep(0)
            while tasks:
                await asyncio.wait(tasks)
        say("up", autoreload.restarts)
        await asyncio.sleep(60)
    asyncio.run(main())
"""
UVICORN_APP = """
    import uvicorn
    async def answer(scope, receive, send):
        while scope["type"] == "lifespan":
            kind = (await receive())["type"]
            if kind.endswith("startup"):
                say("up", autoreload.restarts)
            await send({"type": kind + ".complete"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % helper.VALUE})
"""
UVICORN_FD = code(
    UVICORN_APP, "uvicorn.run(answer, fd=s.fileno(), log_level='error')\n"
)
UVICORN_SOCKETS = code(
    UVICORN_APP,
    """
    server = uvicorn.Server(uvicorn.Config(answer, log_level="error"))
    server.run(sockets=[s])
    """,
)


class ListenTest(Story):
    """A listening socket stays open across restarts."""

    def test_the_same_address_gives_the_same_socket(self):
        def story(words):
            program = self.start(
                """
                import pathlib
                for address in (("127.0.0.1", 0), ("::1", 0), ("", 0), ("localhost", 0),
                                "s.sock", pathlib.Path("path.sock")):
                    s = autoreload.listen(address)
                    say("socket", os.fstat(s.fileno()).st_ino, s.getsockname())
                """,
                SLEEP,
                words=words,
            )
            sockets = re.findall("socket .*", program.output)
            self.assertEqual(len(set(sockets)), 6)
            for _ in range(2):
                self.edit(program, *(f"^{re.escape(line)}$" for line in sockets))
            self.assert_clean(program)

        self.each(story, BOTH)

    def test_asked_twice_it_is_one_socket_and_closing_is_the_program_s_own_affair(self):
        program = self.start(
            """
            inodes = set()
            for _ in range(4):
                with autoreload.listen(("127.0.0.1", 0)) as s:
                    say("blocking", s.getblocking())
                    s.settimeout(1)
                    inodes.add(os.fstat(s.fileno()).st_ino)
            say("inodes", len(inodes))
            """,
            SLEEP,
        )
        self.assertIn("inodes 1\n", program.output)
        self.edit(program)
        self.assert_clean(program)

    def test_a_regular_file_is_not_mistaken_for_a_socket(self):
        with tempfile.NamedTemporaryFile() as file:
            with self.assertRaises(OSError):
                autoreload.listen(file.name)
            self.assertTrue(os.path.exists(file.name))

    def test_children_do_not_inherit_it(self):
        program = self.start(
            LISTEN,
            """
            import subprocess
            look = '''if True:
                import os
                fds = [f"/proc/self/fd/{n}" for n in range(100)]
                sockets = ["socket" in os.readlink(fd) for fd in fds if os.path.exists(fd)]
                print("inherited", sum(sockets), "_AUTORELOAD" in os.environ)
            '''
            subprocess.run([sys.executable, "-c", look], close_fds=False)
            """,
            SLEEP,
        )
        self.edit(program, "inherited 0 False")
        self.edit(program, "inherited 0 False")

    def test_what_is_not_asked_for_again_is_closed_by_the_next_restart(self):
        program = self.start("if autoreload.restarts < 2:" + LISTEN, SLEEP)
        port = int(re.search(r"port (\d+)", program.output)[1])
        for _ in range(3):
            self.edit(program)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()

    def test_a_connection_made_during_the_restart_waits(self):
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        program = self.start(
            LISTEN,
            """
            try:
                say("up", autoreload.restarts)
                while True:
                    c, _ = s.accept()
                    c.sendall(b"%d" % autoreload.restarts)
                    c.close()
            finally:
                s.close()
                say("closed")
                sys.stdin.readline()
            """,
            stdin=read,
        )
        os.close(read)
        port = int(re.search(r"port (\d+)", program.output)[1])
        self.edit(program, "closed", up=False)
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            os.write(write, b"\n")
            self.assertEqual(client.recv(10), b"1")

    def test_servers_answer_every_request(self):
        self.each_server(self.answers_every_request)

    def test_servers_finish_a_request(self):
        self.each_server(self.finishes_a_request)

    def each_server(self, story):
        rows = (
            (None, HTTP_SERVER, PLAIN),
            (None, HTTP_SERVER.replace("Threading", ""), WRAPPED),
            (None, WSGIREF, WRAPPED),
            (None, ASYNCIO_SERVER, PLAIN),
            (None, ASYNCIO_SERVER, WRAPPED),
            ("werkzeug", WERKZEUG, PLAIN),
            ("uvicorn", UVICORN_SOCKETS, PLAIN),
            ("uvicorn", UVICORN_FD, WRAPPED),
        )
        missing = {
            name for name, *_ in rows if name and not importlib.util.find_spec(name)
        }
        self.each(story, [row for row in rows if row[0] not in missing])
        if missing:
            self.skipTest(f"not installed: {', '.join(sorted(missing))}")

    def finishes_a_request(self, _, server, words):
        """Edit while a request is being answered."""
        slow = """
            def slow():
                say("asked"); time.sleep(0.5)
                return helper.VALUE
        """
        server = server.replace("helper.VALUE", "slow()")
        program = self.start(LISTEN, slow, server, words=words)
        port = int(re.search(r"port (\d+)", program.output)[1])
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(get, port)
            program.expect("asked")
            self.edit(program)
            self.assertEqual(answer.result(), "0")

    def answers_every_request(self, _, server, words):
        """Ask again and again while the program restarts."""
        program = self.start(LISTEN, server, words=words)
        port = int(re.search(r"port (\d+)", program.output)[1])
        served, stop = [], threading.Event()

        def ask():
            while not stop.wait(0.01):
                served.append(int(get(port)))

        with concurrent.futures.ThreadPoolExecutor() as pool:
            clients = [pool.submit(ask) for _ in range(2)]
            try:
                for value in range(1, 6):
                    self.edit(program)
                    become(lambda: value in served)
            finally:
                stop.set()
            for client in clients:
                client.result()
        self.assertEqual(set(served), {0, 1, 2, 3, 4, 5})
        self.assert_clean(program)

    def test_a_program_that_closes_all_descriptors_gets_a_new_one(self):
        closing = "if not autoreload.restarts:\n    os.closerange(3, 256)\n"
        reopening = closing + "    files = [open('app.py') for _ in range(20)]\n"
        for part in (closing, reopening):
            program = self.start(LISTEN, part, SLEEP)
            self.edit(program)
            self.edit(program)
            self.assert_clean(program)

    def test_under_supervision_it_is_an_ordinary_socket(self):
        program = self.start(LISTEN, SLEEP, words=wrapped("--supervise"))
        self.edit(program)
        self.edit(program)
        self.assert_clean(program)


# Each worker says `worker N` with its process id; `up` comes last of all.
WORKER = """
    def work():
        say("worker", os.getpid())
        time.sleep(600)
    def fork(work=work):
        if not os.fork():
            work()
"""
SPAWNING = """\
if __name__ == "__main__":
    import concurrent.futures, multiprocessing
    context = multiprocessing.get_context({method!r})
"""


class ChildrenTest(Story):
    """Workers end with the program that began them, and become no zombies."""

    def workers(self, program, count, restarts=2, others=0):
        """Restart, and see that exactly the newest workers exist."""
        old = set()
        for turn in range(restarts + 1):
            if turn:
                self.edit(program, up=False)
            pids = {int(program.expect(r"worker (\d+)")[1]) for _ in range(count)}
            self.assertEqual(len(pids - old), count, program.output)
            self.assert_count(program, 1 + count + others)
            self.assertLessEqual(pids, session(program.process.pid).keys())
            old = pids
        self.assert_clean(program)

    def spawning(self, method, text, words=PLAIN):
        main = textwrap.indent(textwrap.dedent(text), "    ")
        begin = START if words == PLAIN else ""
        program = self.story(WORKER, SPAWNING.format(method=method) + main, begin=begin)
        return program.run(*words)

    def test_forked_workers_are_replaced(self):
        def story(words):
            program = self.story(
                WORKER,
                """
                for _ in range(3):
                    fork()
                if autoreload.restarts == 0: time.sleep(60)
                if autoreload.restarts == 1: os.wait()
                while True:
                    try: os.wait()
                    except InterruptedError: pass
                """,
                begin=START if words == PLAIN else "",
            )
            self.workers(program.run(*words), 3, restarts=3)

        self.each(story, BOTH)

    def test_workers_that_ignore_sigterm_are_killed(self):
        program = self.story(
            WORKER,
            """
            def stubborn():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                work()
            fork(stubborn)
            fork(stubborn)
            """,
            SLEEP,
            begin=HURRY,
        )
        self.workers(program.run("app.py"), 2, restarts=1)

    def test_workers_end_by_sigterm_although_the_program_ignores_the_interrupt(self):
        program = self.start(
            """
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if not os.fork():
                signal.signal(signal.SIGTERM, lambda *_: (say("terminated"), os._exit(0)))
                say("up", autoreload.restarts)
                time.sleep(600)
            time.sleep(60)
            """
        )
        self.edit(program, "terminated")

    def test_workers_of_workers_end_too(self):
        def story(begin):
            program = self.story(
                WORKER,
                """
                def middle():
                    fork(lambda: (autoreload.start(100), work()))
                    work()
                fork(middle)
                """,
                SLEEP,
                begin=begin,
            )
            self.workers(program.run("app.py"), 2, restarts=1)

        self.each(story, [(START,), ("",)])

    def test_a_worker_forked_during_the_stop_ends_too(self):
        program = self.story(
            WORKER,
            """
            fork()
            autoreload.add_reload_hook(fork)
            try:
                say("up", autoreload.restarts); time.sleep(60)
            finally:
                fork()
            """,
        ).run("app.py")
        program.expect("up 0")
        for _ in range(2):
            self.edit(program)
            self.assert_count(program, 2)

    def test_multiprocessing_workers_are_replaced(self):
        def story(method, others, words):
            program = self.spawning(
                method,
                """
                context.Process(target=work).start()
                context.Process(target=work, daemon=True).start()
                time.sleep(60)
                """,
                words,
            )
            self.workers(program, 2, others=others)

        methods = ("fork", 0), ("spawn", 1), ("forkserver", 2)
        self.each(story, ((*m, w) for m in methods for w in (PLAIN, WRAPPED)))

    def test_a_process_pool_is_replaced(self):
        def story(method, others):
            program = self.spawning(
                method,
                """
                pool = concurrent.futures.ProcessPoolExecutor(2, mp_context=context)
                with pool:
                    jobs = [pool.submit(work) for _ in range(2)]
                    time.sleep(60)
                """,
            )
            self.workers(program, 2, others=others)

        self.each(story, (("fork", 0), ("spawn", 1), ("forkserver", 2)))

    def test_a_multiprocessing_pool_is_replaced(self):
        program = self.spawning(
            "fork",
            """
            with context.Pool(2) as pool:
                for _ in range(2):
                    pool.apply_async(work)
                time.sleep(60)
            """,
        )
        self.workers(program, 2)

    def test_a_worker_that_calls_start_causes_one_restart_of_its_parent(self):
        program = self.story(
            WORKER,
            """
            for _ in range(3):
                fork(lambda: (autoreload.start(100), work()))
            try:
                os.wait()
            finally:
                say("bye")
            """,
            begin="",
        )
        self.workers(program.run("app.py"), 3)
        self.assertEqual(program.output.count("restarting"), 2)
        self.assertEqual(program.output.count("bye"), 2)

    def test_a_program_that_closes_all_descriptors_finds_no_words_of_ours(self):
        program = self.start(
            """
            if os.fork():
                os.wait()
            os.closerange(3, 256)
            files = [open(f"{os.getpid()}-{i}.txt", "w") for i in range(12)]
            import colorsys, csv, json
            if os.getpid() != os.getsid(0):
                time.sleep(0.3); os._exit(0)
            """,
            SLEEP,
        )
        self.edit(program)
        self.edit(program)
        for name in os.listdir(program.directory):
            if name.endswith(".txt"):
                self.assertEqual(os.path.getsize(program.path(name)), 0, name)
        self.assert_clean(program)

    def test_a_fork_before_start_does_no_harm(self):
        program = self.story(
            f"import {NAME}\nif not os.fork(): os._exit(0)\n", START, SLEEP, begin=""
        )
        program.run("app.py").expect("^up 0")
        self.edit(program)
        self.assert_clean(program)

    def test_a_module_that_only_a_worker_imports_is_watched(self):
        def story(begin):
            program = self.story(
                """
                if not os.fork():
                    autoreload.start(100)
                    import late
                    say("worker", late.VALUE)
                    time.sleep(600)
                time.sleep(60)
                """,
                begin=begin,
                late="VALUE = 1",
            )
            program.run("app.py").expect("worker 1")
            for value in (2, 3):
                program.write("late.py", f"VALUE = {value}")
                program.expect("late.py changed, restarting", f"worker {value}")
            self.assert_clean(program)

        self.each(story, [(START,), ("",)])

    def test_a_module_by_which_a_forked_worker_fails_is_watched(self):
        program = self.story(
            """
            if not os.fork():
                import late
                say("worker", late.VALUE)
                time.sleep(600)
            time.sleep(60)
            """,
            late="1 / 0",
        )
        program.run("app.py").expect("ZeroDivisionError")
        program.write("late.py", "VALUE = 1")
        program.expect("late.py changed, restarting", "worker 1")

    def test_a_module_that_only_a_spawned_worker_imports_is_watched(self):
        text = """
            def work():
                import late
                print("worker", late.VALUE, flush=True)
                time.sleep(600)
            import multiprocessing, time
            if __name__ == "__main__":
                process = multiprocessing.get_context(METHOD).Process(target=work)
                process.start()
                process.join()
        """

        def story(method):
            app = code(text.replace("METHOD", repr(method)))
            program = self.program(app=app, late="VALUE = 1")
            program.wrap("app.py").expect("worker 1")
            for value in (2, 3):
                program.write("late.py", f"VALUE = {value}")
                program.expect("late.py changed, restarting", f"worker {value}")
            program.write("late.py", "1 / 0")
            program.expect("restarting", "ZeroDivisionError", "app.py ended, waiting")
            program.write("late.py", "VALUE = 4")
            program.expect("late.py changed, restarting", "worker 4")
            self.assertEqual(program.stop(), 130)

        self.each(story, [("spawn",), ("forkserver",)])

    def test_a_worker_s_watch_and_restart_reach_the_parent(self):
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        program = self.story(
            """
            if not os.fork():
                autoreload.watch("data.txt")
                autoreload.ignore("gen_*.py")
                autoreload.start(100)
                import gen_a
                say("ready", autoreload.restarts)
                sys.stdin.readline()
                autoreload.restart()
                time.sleep(600)
            time.sleep(60)
            """,
            begin="",
        )
        program.write("gen_a.py")
        program.run("app.py", stdin=read).expect("ready 0")
        os.close(read)
        program.write("gen_a.py", "1")
        program.write("data.txt", "1")
        program.expect("data.txt changed, restarting", "ready 1")
        os.write(write, b"\n")
        program.expect(r"restart\(\) was called, restarting", "ready 2")

    def test_a_worker_whose_parent_has_ended_imports_on(self):
        program = self.story(
            """
            import importlib, threading, helper
            if os.fork():
                os._exit(0)
            def load():
                for _ in range(500):  # together more than a pipe has room for
                    helper.__loader__.get_code("helper")
            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            """,
            UP,
        )
        program.run("app.py").expect("up")
        self.assertNotIn("Error", program.output)

    def test_a_child_left_by_the_last_run_becomes_no_zombie(self):
        program = self.start(
            """
            import subprocess
            if not autoreload.restarts:
                words = [sys.executable, "-c", "input()"]
                child = subprocess.Popen(words, stdin=subprocess.PIPE)
            """,
            SLEEP,
        )
        self.assert_count(program, 2)
        self.edit(program)
        self.assert_count(program, 1)


SHELL = """
    import os, signal, sys
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    background = sys.argv[1] == "background"
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        if not background:
            os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        print("stopped by", signal.Signals(os.WSTOPSIG(status)).name, flush=True)
        os.tcsetpgrp(0, os.getpid())
        if background:
            break
        os.tcsetpgrp(0, pid)
        os.kill(-pid, signal.SIGCONT)
    print("shell: status", status, flush=True)
"""
PROMPT = """
    import readline
    while True:
        line = input(f"prompt {helper.VALUE}\\n")
        say("got", line, sys.stdin.isatty())
"""


class Terminal(Program):
    """A program on a terminal of its own."""

    def run(self, *arguments, control=True, **variables):
        self.master, self.slave = pty.openpty()
        # The terminal that the leader of a session opens becomes one that it controls.
        opened = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&1', os.ttyname(self.slave)]
        self.process = subprocess.Popen(
            [*(opened if control else []), sys.executable, *arguments],
            cwd=self.directory,
            env=clean_environment(**{"TERM": "dumb", **variables}),
            stdin=self.slave,  # kept open here, so that its settings can be asked for
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
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
        if text == "\x03":
            self.fall_asleep()
        os.write(self.master, text.encode())

    def modes(self):
        """Return whether the terminal echoes, and hands over whole lines."""
        flags = termios.tcgetattr(self.slave)[3]
        return bool(flags & termios.ECHO), bool(flags & termios.ICANON)

    def close(self):
        if self.process:
            os.close(self.slave)
            for pid in session(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        super().close()


class TerminalTest(Story):
    """The terminal is as it was, and Ctrl-C and Ctrl-Z do as ever."""

    def terminal(self, *parts, begin=START):
        return self.story(*parts, begin=begin, kind=Terminal, shell=SHELL)

    def test_input_works_before_and_after_a_restart(self):
        def story(prompt, words):
            program = self.terminal(prompt).run(*words)
            for turn in range(3):
                program.expect(f"prompt {turn}")
                program.type(f"hello {turn}\r")
                program.expect(f"got hello {turn} True", f"prompt {turn}")
                program.type("half")
                self.edit(program, up=False)
            program.expect("prompt 3")
            self.assert_clean(program)
            status = None  # readline itself may overlook a Ctrl-C just as it begins
            while status is None:
                program.type("\x03")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = program.process.wait(0.5)
            self.assertEqual(status, -signal.SIGINT)

        prompts = PROMPT, PROMPT.replace("import readline", "")
        self.each(story, itertools.product(prompts, (PLAIN, WRAPPED)))

    def test_echo_and_lines_are_restored(self):
        def story(way):
            program = self.terminal(
                "import tty\nif not autoreload.restarts:\n"
                + textwrap.indent(way, "    "),
                SLEEP,
            ).run("app.py")
            program.expect("up 0")
            self.assertTrue(become(lambda: program.modes() == (False, False)))
            self.edit(program)
            self.assertEqual(program.modes(), (True, True))

        curses = "import curses; curses.initscr(); curses.noecho(); curses.raw()\n"
        ways = "tty.setraw(0)\n" + SLEEP, "tty.setcbreak(0)\n" + STUCK, curses
        self.each(story, ([way] for way in ways))
        program = self.terminal("import getpass; getpass.getpass('up 0\\n')\n")
        program.run("app.py").expect("up 0")
        self.assertTrue(become(lambda: not program.modes()[0]))
        program.write("app.py", code(BEGIN, SLEEP))
        program.expect("up 1")
        self.assertEqual(program.modes(), (True, True))

    def test_echo_and_lines_are_restored_after_a_crash_under_supervision(self):
        crash = "import tty; tty.setcbreak(0); say('up 0'); os._exit(1)\n"
        text = f"if not helper.VALUE:\n    {crash}{SLEEP}"
        program = self.terminal(text, begin="").run(*wrapped("--supervise"))
        program.expect(r"died \(exit status 1\)")
        self.edit(program)
        self.assertEqual(program.modes(), (True, True))

    def test_a_terminal_that_is_not_ours_to_control_is_no_obstacle(self):
        program = self.terminal(SLEEP).run("app.py", control=False)
        program.expect("up 0")
        self.edit(program)
        self.edit(program)
        self.assert_clean(program)

    def test_ctrl_c_ends_program_and_wrapper_in_every_state(self):
        grace = f"import {NAME}; {NAME}.start(100, grace={2 * DEADLINE})\n"

        def story(part, state, words):
            begin = grace if words == PLAIN else ""
            program = self.terminal(part, begin=begin).run(*words)
            program.expect("^up 0" if state == "bye" else state)
            if state == "bye":
                self.edit(program, "^bye", up=False)
            program.type("\x03")
            self.assertEqual(program.status(), 130)
            self.assertNotIn('autoreload.py"', program.output)

        words = wrapped("--grace", str(2 * DEADLINE))
        sleep = "time.sleep(60)\n"
        hook = "autoreload.add_reload_hook(lambda: (say('bye'), time.sleep(60)))\n"
        graceful = BYE + f"    try: {sleep}    except KeyboardInterrupt: pass\n"
        swallowed = BYE.replace("finally", "except KeyboardInterrupt")
        on_a_loop = """
            @autoreload.add_reload_hook
            async def hook():
                say("bye"); await asyncio.sleep(60)
        """
        loop = LOOP.format(start=grace.strip())
        rows = (
            (SLEEP, "up 0"),
            ("1 / 0", "failed, waiting"),
            (BYE + "    " + sleep, "bye"),
            (graceful, "bye"),
            (hook + SLEEP, "bye"),
            (hook + swallowed, "bye"),
            (code(on_a_loop, loop), "bye"),
        )
        self.each(
            story,
            (
                (UP, "ended, waiting", words),
                *((*row, words) for row in rows),
                *((*row, PLAIN) for row in rows),
            ),
        )

    def test_a_background_job_is_not_stopped(self):
        def story(words):
            program = self.terminal(SLEEP).run("shell.py", "background", *words)
            program.expect("up 0")
            self.edit(program)
            self.edit(program)
            self.assertNotIn("stopped", program.output)

        self.each(story, BOTH)

    def test_a_stopped_job_goes_on_in_the_foreground(self):
        def story(words):
            program = self.terminal(PROMPT).run("shell.py", "foreground", *words)
            for turn in range(2):
                program.expect(f"prompt {turn}")
                program.type("\x1a")
                program.expect("stopped by SIGTSTP")
                self.edit(program, f"prompt {turn + 1}", up=False)
                program.type("hi\r")
                program.expect("got hi True")
            self.assert_clean(program)

        self.each(story, BOTH)

    def test_a_debugger_prompt_delays_the_restart(self):
        program = self.terminal(UP, "breakpoint()\nsay('continued')\n", SLEEP)
        program.run("app.py").expect("up 0", "app.py")
        program.write("helper.py", "VALUE = 1")
        for number in range(10):
            program.type(f"p {number} + 1000\r")
            program.expect(f"^(.Pdb. )?{number + 1000}$")
        self.assertNotIn("restarting", program.output)
        program.type("c\r")
        program.expect("restarting", "up 1")
        self.assert_clean(program, "Program interrupted", "restarting anyway")
        program.type("p 6 * 7\r")
        program.expect("42$")


class SweepTest(Story):
    """The next run finds what the launch found, and nothing else."""

    def test_mask_ignored_signals_and_timers_are_those_of_the_launch(self):
        def prepare():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        for words in (PLAIN, WRAPPED):
            with self.subTest(words):
                program = self.start(
                    """
                    ignored = [int(n) for n in signal.valid_signals()
                               if signal.getsignal(n) == signal.SIG_IGN]
                    mask = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
                    say("found", mask, ignored, *map(signal.getitimer, range(3)))
                    usual = {signal.SIGUSR1, signal.SIGTERM}
                    signal.pthread_sigmask(signal.SIG_SETMASK, usual)
                    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                    signal.signal(signal.SIGHUP, signal.SIG_DFL)
                    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
                    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                    signal.signal(signal.SIGALRM, lambda *_: None)
                    for n in range(3):
                        signal.setitimer(n, 100, 100)
                    """,
                    SLEEP,
                    words=words,
                    preexec_fn=prepare,
                )
                found = re.search("found .*", program.output)[0]
                self.assertIn("SIGWINCH", found)
                for _ in range(2):
                    self.edit(program, f"^{re.escape(found)}$")

    def test_a_program_that_has_used_up_its_descriptors_is_restarted_once(self):
        def story(words):
            program = self.start(
                """
                import resource
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
                files = []
                try:
                    while not autoreload.restarts:
                        files.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    pass
                """,
                SLEEP,
                words=words,
            )
            self.edit(program)
            self.assertEqual(program.stop(), 130)
            self.assertEqual(program.output.count("restarting"), 1)
            self.assertNotIn("watching goes on", program.output)

        self.each(story, BOTH)

    def test_the_standard_streams_block_again(self):
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        self.addCleanup(os.close, read)
        program = self.start(
            "say('blocking', os.get_blocking(0)); os.set_blocking(0, False)\n",
            SLEEP,
            stdin=read,
        )
        self.edit(program, "blocking True")

    def test_a_pending_signal_does_not_reach_the_next_run(self):
        program = self.start(
            """
            if not autoreload.restarts:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
                os.kill(os.getpid(), signal.SIGUSR1)
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                while signal.SIGALRM not in signal.sigpending():
                    pass
            """,
            START,
            SLEEP,
            begin="",
        )
        self.edit(program)

    def test_a_program_that_waits_for_signals_gets_them(self):
        for words in (PLAIN, WRAPPED):
            with self.subTest(words):
                program = self.start(
                    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n",
                    UP,
                    "say('got', int(signal.sigwait({signal.SIGUSR1})))\n",
                    "time.sleep(60)\n",
                    words=words,
                )
                program.process.send_signal(signal.SIGUSR1)
                program.expect(f"got {int(signal.SIGUSR1)}")

    def test_descriptors_are_those_of_the_launch(self):
        read, write = os.pipe()
        listener = socket.create_server(("127.0.0.1", 0))
        for thing in (read, write):
            self.addCleanup(os.close, thing)
        self.addCleanup(listener.close)
        found = re.escape("['/dev/null', 'pipe', 'pipe'] pipe socket None")

        def story(words):
            program = self.start(
                f"PIPE, SOCKET = {write}, {listener.fileno()}\n",
                """
                import socket
                def kind(fd):
                    try: return os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
                    except OSError: return None
                say("found", [kind(n) for n in range(3)], kind(PIPE), kind(SOCKET), kind(100))
                os.dup2(os.open("/", os.O_RDONLY), 100)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                if autoreload.restarts == 1:
                    os.set_inheritable(PIPE, False)
                    os.set_inheritable(SOCKET, False)
                if autoreload.restarts == 2:
                    socket.socket(fileno=SOCKET).close()
                """,
                SLEEP,
                words=words,
                pass_fds=[write, listener.fileno()],
            )
            self.assertRegex(program.output, f"found {found}")
            for _ in range(3):
                self.edit(program, f"^found {found}$")

        self.each(story, BOTH)

    def test_directory_environment_and_umask_are_those_of_the_launch(self):
        program = self.start(
            """
            say("found", os.getcwd(), "X" in os.environ, os.umask(0o077), sys.argv)
            os.chdir("/")
            os.environ["X"] = "1"
            sys.argv.append("x")
            """,
            SLEEP,
        )
        found = re.search("found .*", program.output)[0]
        for _ in range(2):
            self.edit(program, f"^{re.escape(found)}$")

    def test_many_restarts_leak_nothing(self):
        program = self.start(
            """
            import subprocess, threading
            s = autoreload.listen(("127.0.0.1", 0))
            f = open("app.py")
            os.set_inheritable(f.fileno(), True)
            subprocess.Popen(["true"])
            if not os.fork():
                time.sleep(600)
            fds, threads = (os.listdir(f"/proc/self/{of}") for of in ("fd", "task"))
            say("count", len(fds), len(threads))
            """,
            SLEEP,
        )
        for _ in range(6):
            self.edit(program)
        counts = re.findall("count .*", program.output)[1:]
        self.assertEqual(len(set(counts)), 1, counts)
        self.assertTrue(become(lambda: len(session(program.process.pid)) <= 3))


class OutputTest(Story):
    """Nothing that the program has written is lost."""

    def test_nothing_printed_is_lost_through_a_pipe(self):
        def story(end, words):
            program = self.start(
                """
                import atexit, logging, logging.handlers
                target = logging.FileHandler("log.txt")
                memory = logging.handlers.MemoryHandler(1000, target=target)
                logging.getLogger().addHandler(memory)
                logging.warning("logged %d", helper.VALUE)
                print("printed", helper.VALUE, end="|")
                atexit.register(print, "at exit", helper.VALUE)
                """,
                end,
                words=words,
            )
            self.edit(program, r"printed 0\|at exit 0")
            with open(program.path("log.txt")) as file:
                self.assertEqual(file.read(), "logged 0\n")

        ends = SLEEP, STUCK, IGNORING
        self.each(story, itertools.product(ends, (PLAIN, WRAPPED)))

    def test_files_and_replaced_streams_are_flushed(self):
        def story(end):
            program = self.start(
                """
                import io
                f = open(f"file{helper.VALUE}.txt", "w")
                print("written", file=f)
                b = open(f"bytes{helper.VALUE}.txt", "wb")
                b.write(b"written")
                print("first", helper.VALUE)
                sys.stdout = io.StringIO()
                """,
                end,
            )
            self.edit(program, "first 0")
            for path in ("file0.txt", "bytes0.txt"):
                with open(program.path(path)) as file:
                    self.assertEqual(file.read().strip(), "written")

        self.each(story, [[SLEEP], [STUCK]])

    def test_a_pipe_that_nobody_reads_does_not_hold_the_restart(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        program = self.start(
            f"""
            if sys.argv[1:]:
                os.dup2({write}, 1)
                os.execv(sys.executable, [sys.executable, "app.py"])
            """,
            START,
            """
            if not autoreload.restarts:
                os.write(2, b"up 0\\n")
                while True:
                    print("x" * 1000)
            os.write(2, b"up 1\\n")
            time.sleep(60)
            """,
            begin="",
            words=["app.py", "by way of exec"],
            pass_fds=[write],
        )
        os.close(write)
        self.edit(program)


class SuperviseTest(Story):
    """A program in a process of its own, which may crash."""

    WORDS = wrapped("--supervise")
    DIED = r"autoreload: app.py died \({}\), waiting for a change$"

    def test_crashes_are_survived(self):
        def story(crash, fate):
            program = self.start(UP, crash + "\n", words=self.WORDS)
            program.expect(self.DIED.format(fate))
            program.write("app.py", code(BEGIN, SLEEP, "#"))
            program.expect("app.py changed, restarting", "up 1")
            program.value = 1
            self.edit(program)
            self.assertEqual(program.stop(), 130)

        self.each(
            story,
            (
                ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
                ("os._exit(3)", "exit status 3"),
                ("os._exit(0)", "exit status 0"),
                ("os._exit(75)", "exit status 75"),
                ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
                ("os.abort()", "SIGABRT"),
            ),
        )

    def test_an_imported_module_mends_a_crash(self):
        program = self.start(
            UP, "time.sleep(60) if helper.VALUE else os._exit(1)\n", words=self.WORDS
        )
        program.expect(self.DIED.format("exit status 1"))
        self.edit(program)

    def test_ctrl_c_while_a_crash_is_waited_out_ends_quietly(self):
        program = self.start(UP, "os._exit(1)\n", words=self.WORDS)
        program.expect(self.DIED.format("exit status 1"))
        self.assertEqual(program.stop(), 130)
        self.assertNotIn("Traceback", program.output)

    def test_what_a_crash_left_of_python_s_path_mends_it(self):
        program = self.story()
        program.write("bin/app.py", app("import mod, os; mod.VALUE or os._exit(1)"))
        program.write("src/mod.py", "VALUE = 0")
        words = [*self.WORDS[:-1], "bin/app.py"]
        path = os.pathsep.join([program.directory, program.path("src")])
        program.run(*words, env=clean_environment(PYTHONPATH=path))
        program.expect(r"bin/app.py died \(exit status 1\), waiting for a change$")
        program.write("src/mod.py", "VALUE = 1")
        program.expect("src/mod.py changed, restarting", "up")

    def test_a_program_that_rewrites_a_source_and_crashes_is_ignored(self):
        text = 'open("gen.py", "w").close()\n'
        program = self.story(text, UP, "time.sleep(0.7); os._exit(1)\n")
        program.write("gen.py", "0")
        program.run(*self.WORDS)
        for _ in range(3):
            program.expect("up", "gen.py changed, restarting")
        program.expect(
            "gen.py changed after each .*, ignored until another file changes"
        )

    def test_ctrl_c_ends_it_although_its_temporary_files_were_cleaned_up(self):
        program = self.story(SLEEP)
        os.mkdir(program.path("tmp"))
        env = clean_environment(TMPDIR=program.path("tmp"))
        program.run(*self.WORDS, env=env).expect("up")
        shutil.rmtree(program.path("tmp"))
        self.edit(program)
        shutil.rmtree(program.path("tmp"))
        self.assertEqual(program.stop(), 130)

    def test_a_directory_that_is_removed_is_waited_for(self):
        program = self.story(SLEEP)
        text = pathlib.Path(program.path("app.py")).read_text()
        for name in ("app.py", "helper.py"):
            os.renames(program.path(name), program.path("site", name))
        env = clean_environment(PYTHONPATH=program.directory)
        words = [program.path(NAME + ".py"), *self.WORDS[2:]]
        program.run(*words, env=env, cwd=program.path("site")).expect("up")
        shutil.rmtree(program.path("site"))
        program.expect("cannot run .*site .*, waiting until it is back")
        program.write("site/helper.py")
        program.write("site/app.py", text)
        program.expect("up")

    def test_normal_edits_restart_and_are_counted(self):
        program = self.start(BYE, words=self.WORDS)
        for _ in range(3):
            self.edit(program, "bye")
        self.assert_count(program, 2)
        self.assertEqual(program.stop(), 130)

    def test_the_status_is_passed_on(self):
        for handler in ("", "signal.signal(15, lambda *_: sys.exit(0))\n"):
            program = self.start(handler, SLEEP, words=self.WORDS)
            program.process.terminate()
            self.assertEqual(program.rest(), -signal.SIGTERM)
        program = self.start(SLEEP, words=self.WORDS)
        self.assertEqual(program.stop(), 130)
        words = [*self.WORDS[:-1], "--until-success", "app.py"]
        self.assertEqual(self.start(UP, words=words).rest(), 0)

    def test_failures_and_endings_are_waited_out_as_ever(self):
        program = self.start(UP, "1 / 0\n", words=self.WORDS)
        program.expect("ZeroDivisionError", "app.py failed, waiting for a change")
        program.write("app.py", code(BEGIN, UP))
        program.expect("up 1", "app.py ended, waiting for a change")
        self.assertEqual(program.stop(), 130)

    def test_arguments_with_spaces_and_quotes_arrive(self):
        arguments = ["a b", 'c"d', "e\\", ""]
        program = self.story("say(sys.argv[1:])\n", UP, begin="")
        program.run(*self.WORDS, *arguments)
        program.expect(re.escape(str(arguments)), "waiting")
        self.edit(program, re.escape(str(arguments)))


class WindowsChoiceTest(SuperviseTest):
    """The way of Windows, on this system."""

    WORDS = WRAPPED

    def story(self, *parts, **options):
        program = super().story(*parts, **options)
        with open(program.path(NAME + ".py")) as file:
            text = file.read()
        text, count = re.subn(
            "^_restart = .*", "_restart = supervise", text, flags=re.M
        )
        self.assertEqual(count, 1)
        program.write(NAME + ".py", text)
        return program

    def test_a_program_that_calls_start_restarts(self):
        program = self.start(BYE)
        for _ in range(3):
            self.edit(program, "bye")
        self.assert_clean(program)
        self.assertEqual(program.stop(), 130)

    def test_a_program_that_calls_start_and_fails_is_waited_out(self):
        program = self.start(UP, "1 / 0\n")
        program.expect("app.py failed, waiting for a change")
        program.write("app.py", code(BEGIN, START, SLEEP))
        program.expect("up 1")
        program.value = 1
        self.edit(program)
        self.assertEqual(program.stop(), 130)

    def test_a_program_that_ends_by_itself_after_restarts_ends(self):
        program = self.start(
            UP, "if helper.VALUE < 2: time.sleep(60)\nsys.exit(helper.VALUE - 2)\n"
        )
        self.edit(program)
        self.edit(program)
        self.assertEqual(program.rest(), 0)


class VendoredTest(ProgramTest):
    """Copies of the file: in packages, renamed, in zips, and beside other copies."""

    # Beside the copy lie modules that are named as some of Python's, and are not for it.
    PACKAGES = {
        **{"pkg/__init__": "", "pkg/_vendor/__init__": ""},
        **{f"pkg/_vendor/{name}": "1 / 0" for name in ("types", "json", "threading")},
    }
    VENDORED = "pkg/_vendor/autoreload.py"

    def lives(self, program, words):
        """Edit, break and mend a program, then stop it; return what it has said."""
        program.run(*words).expect("up 1")
        program.write("helper.py", "VALUE = 2")
        program.expect("autoreload: helper.py changed, restarting$", "up 2")
        program.write("helper.py", "VALUE =")
        program.expect("autoreload: helper.py does not compile, the old code runs on$")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError: ", "app.py failed, waiting for a change$")
        program.write("helper.py", "VALUE = 3")
        program.expect("up 3")
        self.assertEqual(program.stop(), 130, program.output)
        return program.output

    def copied(self, copy, line=""):
        """Return a program that begins with a line, and has the file only there."""
        text = app(line + "\nimport helper", "helper.VALUE")
        program = self.program(app=text, helper="VALUE = 1", **self.PACKAGES)
        os.renames(program.path(NAME + ".py"), program.path(copy))
        shutil.rmtree(program.path("__pycache__"))
        return program

    def test_a_copy_works_in_a_package_and_under_another_name(self):
        vendored, beside = self.VENDORED, NAME + ".py"
        path = f"import sys; sys.path.insert(0, {{!r}}); import {NAME}; {NAME}.start()"

        def story(copy, words, line):
            self.lives(self.copied(copy, line), words)

        self.each(
            story,
            (
                (vendored, ["-m", "pkg._vendor.autoreload", "app.py"], ""),
                (vendored, [vendored, "app.py"], ""),
                (
                    vendored,
                    ["app.py"],
                    "from pkg._vendor import autoreload; autoreload.start()",
                ),
                ("again.py", ["-m", "again", "app.py"], ""),
                ("again.py", ["app.py"], "import again; again.start()"),
                ("an-other name.py", ["an-other name.py", "app.py"], ""),
                (f"lib/{beside}", ["app.py"], path.format("lib")),
                (beside, ["-I", "app.py"], path.format(".")),
            ),
        )

    def test_a_package_with_the_name_of_a_copy_does_not_end_its_loop(self):
        def story(words, line):
            program = self.copied("again.py", line)
            program.run(*words).expect("up 1")
            program.write("again/__init__.py")
            program.write("helper.py", "VALUE = 2")
            program.expect("helper.py changed, restarting$")
            program.expect("waiting for a change" if line else "up 2")

        self.each(
            story,
            (
                (["-m", "again", "app.py"], ""),
                (["app.py"], "import again; again.start()"),
            ),
        )

    def test_a_package_that_fails_does_not_end_the_loop_of_the_copy_in_it(self):
        program = self.copied(self.VENDORED)
        program.run("-m", "pkg._vendor.autoreload", "app.py").expect("up 1")
        program.write("pkg/__init__.py", "1 / 0")
        program.expect("autoreload: pkg/__init__.py changed, restarting$", "up 1")

    def test_a_copy_in_a_zip_restarts_the_program_in_it(self):
        def pack(value):
            program.zip("app.pyz", **files, inner=f"VALUE = {value}")

        program = self.program()
        source = pathlib.Path(program.path(NAME + ".py")).read_text(encoding="utf-8")
        text = app(START + "import inner", "inner.VALUE")
        files = {NAME: source, "__main__": text}
        for words in (["app.pyz"], [NAME + ".py", "app.pyz"]):
            with self.subTest(words):
                pack(1)
                program.run(*words).expect("up 1")
                for value in (2, 3):
                    pack(value)
                    program.expect("autoreload: app.pyz changed, restarting$")
                    program.expect(f"up {value}")
                self.assertEqual(program.stop(), 130)

    def test_a_copy_in_a_zip_runs_other_programs(self):
        program = self.program(app=app("import helper", "helper.VALUE"))
        program.write("helper.py", "VALUE = 1")
        source = pathlib.Path(program.path(NAME + ".py")).read_text(encoding="utf-8")
        # This is what zipapp makes of --main=autoreload:main.
        main = f"import {NAME}\n{NAME}.main()\n"
        program.zip("tool.pyz", **{NAME: source, "__main__": main})
        os.remove(program.path(NAME + ".py"))
        self.lives(program, ["tool.pyz", "app.py"])

    def test_a_copy_of_another_version_acts_as_one_with_the_first(self):
        def story(words, first, second):
            text = """
                import importlib
                for name in FIRST, SECOND:
                    module = importlib.import_module(name)
                    module.add_reload_hook(
                        lambda name=name, module=module:
                        print("hook", name, module.__version__, flush=True))
                    module.watch("data of " + name)
                    module.start(100)
                    print(name, module.restarts)
            """
            text = text.replace("FIRST", repr(first)).replace("SECOND", repr(second))
            program = self.program(app=app(text), **self.PACKAGES)
            with open(program.path(NAME + ".py"), encoding="utf-8") as file:
                source = file.read()
            source = re.sub("(?m)^__version__ = .*", '__version__ = "0.0.1"', source)
            for inner in ("watch_list", "lookout", "begin", "hooks", "watcher", "run"):
                source = re.sub(rf"\b{inner}\b", "other_" + inner, source)
            program.write("pkg/_vendor/again.py", source)
            program.run("-u", *words).expect("up")
            for number, name in enumerate((first, second), 1):
                program.write(f"data of {name}")
                program.expect(f"autoreload: data of {name} changed, restarting$")
                program.expect(f"hook {first} ", f"hook {second} ")
                program.expect(f"{first} {number}", f"{second} {number}", "up")
            self.assertEqual(program.output.count("restarting"), 2, program.output)
            self.assertEqual(program.output.count("hook"), 4, program.output)
            self.assertIn("hook pkg._vendor.again 0.0.1", program.output)
            self.assertEqual(program.stop(), 130)

        other = "pkg._vendor.again"
        self.each(
            story,
            (
                (["app.py"], NAME, other),
                (["app.py"], other, NAME),
                (["-m", NAME, "app.py"], other, NAME),
                (["-m", other, "app.py"], NAME, other),
            ),
        )

    def test_a_program_for_which_warnings_are_errors_sees_none(self):
        text = app(
            f"""
            import asyncio, {NAME}, os, time
            @{NAME}.add_reload_hook
            async def hook():
                await asyncio.sleep(0)
            {NAME}.watch("data")
            {NAME}.ignore("*.txt")
            {NAME}.start(100)
            {NAME}.listen(("127.0.0.1", 0)).close()
            if hasattr(os, "fork") and not os.fork():
                time.sleep(60)
            """,
            f"{NAME}.restarts",
        )

        def story(words, action):
            program = self.program(app=text)
            flags = ["-bb", "-X", "dev", "-X", "warn_default_encoding", "-W", action]
            program.run(*flags, *words).expect("up 0")
            program.write("data")
            program.expect("autoreload: data changed, restarting$", "up 1")
            self.assertEqual(program.stop(), 130)
            self.assertNotIn("Warning", program.output)

        # Some become errors that are lost: those must not be shown, either.
        self.each(story, itertools.product((PLAIN, WRAPPED), ("error", "always")))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def get(port, *, timeout=DEADLINE):
    """Return the body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode().strip()


# An app of each framework; all servers answer helper.VALUE.
FLASK = """
    import flask, helper
    app = flask.Flask(__name__)
    @app.get("/")
    def index():
        return str(helper.VALUE)
"""
WSGI = """
    import helper
    print("is up", flush=True)
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(helper.VALUE).encode()]
"""
FASTAPI = """
    import fastapi, helper
    app = fastapi.FastAPI()
    @app.get("/")
    async def index():
        return helper.VALUE
"""
STARLETTE = """
    import helper
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    async def index(request):
        return PlainTextResponse(str(helper.VALUE))
    app = Starlette(routes=[Route("/", index)])
"""
AIOHTTP = """
    import helper, sys
    from aiohttp import web
    async def index(request):
        return web.Response(text=str(helper.VALUE))
    app = web.Application()
    app.router.add_get("/", index)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"""
DJANGO_URLS = """
    import helper
    from django.http import HttpResponse
    from django.urls import path
    urlpatterns = [path("", lambda request: HttpResponse(str(helper.VALUE)))]
"""
TORNADO = """
    import asyncio, helper, sys, tornado.web
    class Index(tornado.web.RequestHandler):
        def get(self):
            self.write(str(helper.VALUE))
    async def main():
        tornado.web.Application([("/", Index)]).listen(int(sys.argv[1]), "127.0.0.1")
        await asyncio.Event().wait()
    asyncio.run(main())
"""
TORNADO_MULTI = """
    import asyncio, helper, sys
    import tornado.httpserver, tornado.netutil, tornado.process, tornado.web
    import autoreload
    class Index(tornado.web.RequestHandler):
        def get(self):
            self.write(str(helper.VALUE))
    sockets = tornado.netutil.bind_sockets(int(sys.argv[1]), "127.0.0.1")
    tornado.process.fork_processes(2)
    async def main():
        autoreload.start()
        server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Index)]))
        server.add_sockets(sockets)
        await asyncio.Event().wait()
    asyncio.run(main())
"""
BOTTLE = """
    import bottle, helper, sys
    @bottle.route("/")
    def index():
        return str(helper.VALUE)
    bottle.run(host="127.0.0.1", port=int(sys.argv[1]))
"""
CHERRYPY = """
    import cherrypy, helper, sys
    class Root:
        @cherrypy.expose
        def index(self):
            return str(helper.VALUE)
    cherrypy.config.update({
        "server.socket_host": "127.0.0.1", "server.socket_port": int(sys.argv[1]),
        "engine.autoreload.on": False})
    cherrypy.engine.subscribe("start", lambda: print("is up", flush=True), 100)
    cherrypy.quickstart(Root())
"""
GEVENT = """
    from gevent import monkey; monkey.patch_all()
    import sys
    from gevent.pywsgi import WSGIServer
    from wsgi import app
    WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
"""
HOOK = """
    import asyncio, helper, sys, threading, autoreload
    @autoreload.add_reload_hook
    async def hook():
        await sleep(0)
        print("hook on", threading.current_thread().name, flush=True)
    async def serve(read, write):
        await read(4096)
        await write(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % helper.VALUE)
"""
TWISTED = """
    async def sleep(_): pass
    from twisted.internet import reactor
    from twisted.web import resource, server
    class Index(resource.Resource):
        isLeaf = True
        def render_GET(self, request):
            return str(helper.VALUE).encode()
    reactor.listenTCP(int(sys.argv[1]), server.Site(Index()), interface="127.0.0.1")
    autoreload.start(reactor)
    reactor.run()
"""
TRIO = """
    import trio
    from trio import sleep
    async def handler(stream):
        await serve(stream.receive_some, stream.send_all)
        await stream.aclose()
    async def main():
        autoreload.start(trio.lowlevel.current_trio_token())
        await trio.serve_tcp(handler, int(sys.argv[1]), host="127.0.0.1")
    trio.run(main)
"""
UVLOOP = """
    import uvloop
    from asyncio import sleep
    async def handler(reader, writer):
        async def write(data):
            writer.write(data)
            await writer.drain()
        await serve(reader.read, write)
        writer.close()
    async def main():
        autoreload.start()
        port = int(sys.argv[1])
        async with await asyncio.start_server(handler, "127.0.0.1", port) as server:
            await server.serve_forever()
    uvloop.run(main())
"""
TWISTD = """
    import helper, os
    from twisted.application import service, strports
    from twisted.web import resource, server
    class Index(resource.Resource):
        isLeaf = True
        def render_GET(self, request):
            return str(helper.VALUE).encode()
    application = service.Application("app")
    web = strports.service(f"tcp:{os.environ['PORT']}:interface=127.0.0.1", server.Site(Index()))
    web.setServiceParent(application)
"""
CELERY = """
    import celery, helper
    from celery.signals import worker_ready
    app = celery.Celery("app", broker="memory://")
    app.conf.broker_connection_retry_on_startup = True
    app.conf.worker_hijack_root_logger = False
    app.conf.worker_redirect_stdouts = False
    @app.task
    def show():
        print("task", helper.VALUE, flush=True)
    @worker_ready.connect
    def ready(**_):
        show.delay()
"""
CLICK = """
    import click, helper, time
    @click.command()
    @click.option("--name")
    def main(name):
        print("hello", name, helper.VALUE, flush=True)
        if helper.VALUE == 2:
            time.sleep(60)
    if __name__ == "__main__":
        main()
"""
TYPER = """
    import helper, time, typer
    def main(name: str = "x"):
        print("hello", name, helper.VALUE, flush=True)
        if helper.VALUE == 2:
            time.sleep(60)
    if __name__ == "__main__":
        typer.run(main)
"""
TKINTER = """
    import helper, signal, tkinter
    root = tkinter.Tk()
    tkinter.Label(root, text=str(helper.VALUE)).pack()
    signal.signal(signal.SIGINT, lambda *_: root.quit())
    def tick():  # mainloop() sees a signal only when something happens
        root.after(100, tick)
    tick()
    root.update()
    print("shows", helper.VALUE, flush=True)
    root.mainloop()
    print("closes", flush=True)
"""
HANG = """
    import time
    print("waits", flush=True)
    time.sleep(60)
"""
TEST = """
    import helper, unittest
    class Test(unittest.TestCase):
        def test(self):
            self.assertEqual(2, helper.VALUE)
"""
GUNICORN = "-m gunicorn -b 127.0.0.1:PORT wsgi:app"
HYPERCORN = "-m hypercorn -b 127.0.0.1:PORT app:app"
UVICORN_RUN = """
    if __name__ == "__main__":
        import autoreload, sys, uvicorn
        autoreload.start(grace=10)
        uvicorn.run(app, port=int(sys.argv[1]))
"""
UVICORN = "-m uvicorn --port PORT app:app"
WAITRESS = "-m waitress --listen 127.0.0.1:PORT wsgi:app"
FLASK_RUN = "-m flask --app app run --debug --no-reload --port PORT"
APP_RUN = "\n    import sys; app.run(port=int(sys.argv[1]), use_reloader=False)\n"
TWISTD_RUN = os.path.join(os.path.dirname(sys.executable), "twistd") + " -noy app.tac"


class FrameworksTest(ProgramTest):
    """Real servers and tools, where they are installed."""

    def require(self, packages):
        for name in packages.split():
            if not importlib.util.find_spec(name):
                self.skipTest(f"not installed: {name}")

    def served(
        self, packages, command, *, wrap=True, options=("--grace", "10"), **files
    ):
        """Start a server, usually under the wrapper; return it and its port."""
        self.require(packages)
        program, port = self.program(**{"helper": "VALUE = 1", **files}), free_port()
        if "app.tac" in command:
            os.rename(program.path("app.py"), program.path("app.tac"))
        words = command.replace("PORT", str(port)).split()
        env = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": ".", "PORT": str(port)}
        words = [NAME + ".py", *options, *words] if wrap else words
        return program.run(*words, env=clean_environment(**env)), port

    def answers(self, program, port, value):
        """Ask until the answer is `value`: the run before may still be ending."""

        def right():
            try:
                answer = get(port, timeout=2)
            except (OSError, http.client.HTTPException) as error:
                answer = repr(error)
            answers.append(answer)
            return answer == str(value) or program.process.poll() is not None

        answers = []
        if not become(right) or answers[-1] != str(value):
            program.interrupt()
            program.rest()
            self.fail(f"{value} was never answered:\n{answers[-1]}\n{program.output}")

    def lives(self, packages, command, *, own=130, up=(), respawns=False, **options):
        """Edit, break and mend a server's helper.py, then stop it."""
        program, port = self.served(packages, command, **options)
        program.expect(*up)
        self.answers(program, port, 1)
        program.write("helper.py", "VALUE = 2")
        program.expect("autoreload: helper.py changed, restarting$", *up)
        self.answers(program, port, 2)
        program.write("helper.py", "VALUE =")
        program.expect("autoreload: helper.py does not compile, the old code runs on")
        self.assertEqual(get(port), "2")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError: division by zero")
        if not respawns:
            program.expect("autoreload: .*, waiting for a change$")
        program.write("helper.py", "VALUE = 3")
        program.expect(*up)
        self.answers(program, port, 3)
        self.assertEqual(program.stop(), own, program.output)
        for bad in ("restarting anyway", "something unexpected", 'autoreload.py"'):
            self.assertNotIn(bad, program.output)
        with self.assertRaises(OSError):  # nobody is left at the port
            get(port, timeout=1)
        return program

    def each_lives(self, packages, *rows):
        """Let servers of the same packages live: their commands, and other options."""

        def story(command, options):
            self.lives(packages, command, **options)

        self.require(packages)
        self.each(story, rows)

    def test_flask(self):
        self.each_lives(
            "flask",
            (FLASK_RUN, {"app": FLASK}),
            ("app.py PORT", {"app": FLASK + APP_RUN}),
        )

    def test_django(self):
        self.require("django")
        made = self.program().run("-m", "django", "startproject", "mysite", ".")
        self.assertEqual(made.rest(), 0, made.output)
        paths = [made.path("manage.py"), *glob.glob(made.path("mysite", "*.py"))]
        texts = [pathlib.Path(path).read_text() for path in paths]
        names = [os.path.relpath(path, made.directory)[: -len(".py")] for path in paths]
        files = {**dict(zip(names, texts)), "mysite/urls": DJANGO_URLS}
        self.lives("django", "manage.py runserver --noreload PORT", **files)

    def test_fastapi_on_uvicorn(self):
        several = {"respawns": True, "up": ["startup complete"] * 2}
        self.each_lives(
            "fastapi uvicorn",
            (UVICORN, {"app": FASTAPI}),
            # It starts dying workers again and again, as by hand.
            (UVICORN + " --workers 2", {"app": FASTAPI, **several}),
            # By itself, uvicorn.run() returns after Ctrl-C, and the status is 0.
            (
                "app.py PORT",
                {"app": code(FASTAPI, UVICORN_RUN), "wrap": False, "own": 0},
            ),
        )

    def test_starlette_on_hypercorn(self):
        self.each_lives(
            "starlette hypercorn",
            (HYPERCORN, {"app": STARLETTE}),
            (HYPERCORN + " -w 0", {"app": STARLETTE}),
        )

    def test_aiohttp(self):
        self.lives("aiohttp", "app.py PORT", app=AIOHTTP)

    def test_tornado(self):
        self.lives("tornado", "app.py PORT", app=TORNADO)

    def test_tornado_in_several_processes(self):
        self.each_lives(
            "tornado",
            ("app.py PORT", {"app": TORNADO_MULTI}),
            ("app.py PORT", {"app": TORNADO_MULTI, "wrap": False}),
        )

    def test_bottle(self):
        self.lives("bottle", "app.py PORT", app=BOTTLE)

    def test_cherrypy(self):
        self.lives("cherrypy", "app.py PORT", app=CHERRYPY, up=["is up"])

    def test_gunicorn(self):
        self.each_lives(
            "gunicorn",
            (GUNICORN + " -w 2", {"wsgi": WSGI, "up": ["is up"] * 2}),
            (GUNICORN + " --preload", {"wsgi": WSGI, "up": ["is up"]}),
            (GUNICORN + " -k gthread", {"wsgi": WSGI, "up": ["is up"]}),
        )

    def test_gevent(self):
        self.lives("gevent", "app.py PORT", app=GEVENT, wsgi=WSGI)

    def test_gevent_under_gunicorn(self):
        self.lives("gevent gunicorn", GUNICORN + " -k gevent", wsgi=WSGI)

    def test_waitress(self):
        self.lives("waitress", WAITRESS, wsgi=WSGI)

    def test_twistd(self):
        self.lives("twisted", TWISTD_RUN, app=TWISTD, options=["--watch", "app.tac"])

    def lives_with_a_hook(self, package, app, **options):
        program = self.lives(package, "app.py PORT", app=code(HOOK, app), **options)
        self.assertIn("hook on MainThread", program.output)

    def test_twisted(self):
        self.require("twisted")
        # By itself, reactor.run() returns after Ctrl-C, and the status is 0.
        self.each(
            lambda options: self.lives_with_a_hook("twisted", TWISTED, **options),
            [[{}], [{"wrap": False, "own": 0}]],
        )

    def test_trio(self):
        self.lives_with_a_hook("trio", TRIO, wrap=False)

    def test_uvloop(self):
        self.lives_with_a_hook("uvloop", UVLOOP, wrap=False)

    def test_celery(self):
        def story(pool):
            command = f"-m celery -A app worker -P {pool} -c 1"
            program, _ = self.served("celery", command, app=CELERY)
            program.expect("task 1")
            program.write("helper.py", "VALUE = 2")
            program.expect("autoreload: helper.py changed, restarting$", "task 2")
            program.write("helper.py", "VALUE =")
            program.expect("autoreload: helper.py does not compile")
            program.write("helper.py", "1 / 0")
            program.expect("ZeroDivisionError", "waiting for a change$")
            program.write("helper.py", "VALUE = 3")
            program.expect("task 3")
            self.assertEqual(program.stop(), 130, program.output)

        self.require("celery")
        self.each(story, [["solo"], ["prefork"], ["threads"]])

    def answers_to_commands(self, package, app):
        """Edit, break and mend what a command imports, then stop it."""
        program, _ = self.served(package, "app.py --name you", app=app)
        program.expect("hello you 1")
        program.expect("autoreload: app.py ended, waiting for a change$")
        program.write("helper.py", "VALUE = 2")  # which does not end
        program.expect("hello you 2")
        program.write("helper.py", "VALUE =")
        program.expect("does not compile, the old code runs on")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError")
        program.expect("autoreload: app.py failed, waiting for a change$")
        program.write("helper.py", "VALUE = 2")
        program.expect("hello you 2")
        self.assertEqual(program.stop(), 130, program.output)

    def test_click(self):
        self.answers_to_commands("click", CLICK)

    def test_typer(self):
        self.answers_to_commands("typer", TYPER)

    def runs_tests(self, runner, command):
        """Have tests fail, break, hang, and pass; stop them while they wait, and run."""
        files = {"options": ["--until-success"], "test_it": TEST}
        program, _ = self.served(runner, command, **files)
        program.expect("2 != 1")
        program.expect("autoreload: .* exited with status 1, waiting for a change$")
        program.write("helper.py", "VALUE =")
        program.expect("does not compile|SyntaxError")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError", "waiting for a change$")
        program.write("helper.py", "VALUE = 2")
        self.assertEqual(program.rest(), 0, program.output)
        program, _ = self.served(runner, command, **files)
        program.expect("waiting for a change$")
        self.assertEqual(program.stop(), 130)
        program, _ = self.served(runner, command, **files)
        program.expect("waiting for a change$")
        program.write("helper.py", HANG)
        program.expect("waits")
        self.assertEqual(program.stop(), 130, program.output)

    def test_unittest(self):
        self.runs_tests("unittest", "-m unittest")

    def test_pytest(self):
        self.runs_tests("pytest", "-m pytest -s")

    def test_tkinter(self):
        self.require("tkinter _tkinter")
        display = os.environ.get("DISPLAY") or self.framebuffer()
        program = self.program(app=TKINTER, helper="VALUE = 1")
        environment = clean_environment(DISPLAY=display, PYTHONUNBUFFERED="1")
        program.wrap("--grace", "10", "app.py", env=environment).expect("shows 1")
        program.write("helper.py", "VALUE = 2")
        program.expect(
            "autoreload: helper.py changed, restarting$", "closes", "shows 2"
        )
        program.write("helper.py", "VALUE =")
        program.expect("does not compile, the old code runs on")
        program.write("helper.py", "1 / 0")
        program.expect("closes", "ZeroDivisionError", "waiting for a change$")
        program.write("helper.py", "VALUE = 3")
        program.expect("shows 3")
        self.assertEqual(program.stop(), 130, program.output)
        self.assertNotIn("restarting anyway", program.output)

    def framebuffer(self):
        """Start an X server that shows nothing, and return its display."""
        if not shutil.which("Xvfb"):
            self.skipTest("neither a display nor Xvfb")
        words = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp"]
        server = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        number = server.stdout.readline().strip()
        return f":{number}" if number else self.skipTest("Xvfb does not start")

    TWICE = "import autoreload; autoreload.start(); autoreload.start(); print(6 * 7)"

    def test_ipython(self):
        command = "-m IPython --colors=NoColor -c exec(open('app.py').read())"
        program, _ = self.served("IPython", command, wrap=False, app=self.TWICE)
        program.expect("an interactive interpreter has no command to repeat", "42")
        self.assertEqual(program.rest(), 0)
        self.assertEqual(program.output.count("nothing is watched"), 1)

    def test_ipykernel(self):
        try:
            from jupyter_client.manager import start_new_kernel

            importlib.import_module("ipykernel")
        except ImportError as error:
            self.skipTest(str(error))
        program = self.program()
        manager, client = start_new_kernel(
            cwd=program.directory, env=clean_environment()
        )
        self.addCleanup(manager.shutdown_kernel, now=True)
        self.addCleanup(client.stop_channels)
        said = []
        reply = client.execute_interactive(
            self.TWICE,
            timeout=DEADLINE,
            output_hook=lambda message: said.append(message["content"].get("text", "")),
        )
        self.assertEqual(reply["content"]["status"], "ok")
        self.assertIn("42", "".join(said))
        self.assertEqual("".join(said).count("nothing is watched"), 1, said)


def readme_snippets(language):
    """Return the README's code blocks in a language."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return re.findall(rf"```{language}\n(.*?)```", file.read(), re.DOTALL)


@unittest.skipUnless(readme_snippets("python"), "there is no README here")
class ReadmeTest(ProgramTest):
    """Every snippet of the README."""

    def snippet(self, word):
        return next(text for text in readme_snippets("python") if word in text)

    def ask(self, port):
        """Ask the server until it answers, and return that."""
        answers = []

        def answered():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(get(port))
            return answers

        self.assertTrue(become(answered))
        return answers[0]

    def test_the_first_command_serves_and_restarts(self):
        program, port = self.program(), free_port()
        program.run(
            "-u", NAME + ".py", "--watch=watched", "-m", "http.server", str(port)
        )
        for _ in range(2):
            program.expect("Serving HTTP on")
            self.assertIn("Directory listing", self.ask(port))
            program.write("watched", "")
            program.expect("autoreload: watched changed, restarting")
        program.expect("Serving HTTP on")
        self.assertEqual(program.stop(), 130)

    def test_start_in_a_program(self):
        text = self.snippet("ignore(").replace(
            "autoreload.wait", "print('ready');autoreload.wait"
        )
        program = self.program(app=text)
        program.run("-u", "app.py")
        program.expect("open the browser now, but only once", "ready")
        program.write("generated_x.py")
        program.write("templates/index.html")
        program.expect("templates changed, restarting", "saving", "ready")
        program.write("templates/index.html", "changed")
        program.expect("index.html changed, restarting", "saving")
        self.assertEqual(program.output.count("browser"), 1)

    def test_tests_run_again_until_they_pass(self):
        text = TEST.replace("helper.VALUE", "VALUE") + "    VALUE = {}\n"
        program = self.program(test_app=text.format(1), helper="")
        program.wrap("--until-success", "-m", "unittest")
        program.expect("FAILED")
        program.expect(
            "autoreload: unittest exited with status 1, waiting for a change"
        )
        program.write("test_app.py", text.format(2))
        program.expect("OK")
        self.assertEqual(program.rest(), 0)

    def test_no_connection_is_refused(self):
        port = free_port()
        text = self.snippet("listen(").replace("8000", str(port))
        text = text.replace(
            "start()", "start(); print('start', autoreload.restarts, flush=True)"
        )
        program = self.program(app=text)
        program.run("app.py")
        for number in range(4):
            program.expect(f"start {number}")
            program.write("app.py", text + "#" * number)
            self.assertIn("Directory listing", self.ask(port))

    def test_a_request_is_finished_before_a_restart(self):
        port = free_port()
        text = self.snippet("def drain").replace("8000", str(port))
        slow = """
            import time
            class Handler(http.server.SimpleHTTPRequestHandler):
                def do_GET(self):
                    print("asked", flush=True)
                    time.sleep(0.5)
                    self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\nin full")
        """
        text = text.replace("http.server.SimpleHTTPRequestHandler", "Handler")
        text = "import http.server\n" + textwrap.dedent(slow) + text
        program = self.program(app=text)
        program.run("app.py")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asking = pool.submit(self.ask, port)
            program.expect("asked")
            program.write("app.py", text + "\n")
            program.expect("autoreload: app.py changed, restarting")
            self.assertEqual(asking.result(), "in full")


if __name__ == "__main__":
    unittest.main()
