# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py: `python -m unittest`, beside the file and with nothing else.

Up to the restart the parts are called directly, with values.  From the restart on, real
programs run in real processes, and nothing is simulated.
"""

import contextlib
import http.client
import importlib.util
import json
import os
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
import urllib.request
import zipfile

try:
    import fcntl
    import pty
    import termios
except ImportError:  # Windows
    pass

import autoreload  # the one line to change, for a copy with another name

NAME = autoreload.__name__
DEADLINE = 20  # seconds after which a process that does not say what it should is stuck


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

    def expect(self, pattern):
        """Read on until a line matches; return the match."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            line, newline, rest = self._unread.partition("\n")
            if newline:
                self._unread = rest
                if match := re.search(pattern, line):
                    return match
            elif not self._read():
                break
        raise AssertionError(f"{pattern!r} never came:\n{self.output[-2000:]}")

    def rest(self):
        """Read all that is left to come, wait for the end, and return the exit status."""
        while self._read():
            pass
        return self.process.wait(DEADLINE)

    def _read(self):
        killer = threading.Timer(
            DEADLINE, os.killpg, (self.process.pid, signal.SIGKILL)
        )
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


SERVER = """
    import helper, os, time
    print("up", helper.VALUE, os.getpid(), flush=True)
    try:
        while True:
            time.sleep(60)
    finally:
        print("bye", helper.VALUE, flush=True)
"""


class ModuleTest(ProgramTest):
    """A program that imports the file and calls start()."""

    def test_a_change_restarts_the_program_in_place(self):
        program = self.program(
            app="import autoreload; autoreload.start()\n" + textwrap.dedent(SERVER),
            helper="VALUE = 1",
        )
        program.run("app.py")
        pid = program.expect(r"up 1 (\d+)")[1]
        for value in range(2, 7):
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
        program.expect("data.txt changed, restarting")
        program.expect("hook")
        program.expect("up 1")
        self.assertEqual(program.stop(), 130)

    def test_misuse_raises_an_error_that_names_the_rule(self):
        for error, rule, call in (
            (
                TypeError,
                "check_time must be a number, not '5'",
                lambda: autoreload.start(None, "5"),
            ),
            (
                ValueError,
                "check_time must be at least 1, not 0",
                lambda: autoreload.start(None, 0),
            ),
            (
                TypeError,
                "grace must be a number, not None",
                lambda: autoreload.start(grace=None),
            ),
            (
                ValueError,
                "grace must be at least 0, not -1",
                lambda: autoreload.start(grace=-1),
            ),
            (
                TypeError,
                "io_loop must be an asyncio loop, a Tornado",
                lambda: autoreload.start("loop"),
            ),
            (
                TypeError,
                "a path must be str or os.PathLike, not b'x'",
                lambda: autoreload.watch(b"x"),
            ),
            (
                TypeError,
                "expected str, bytes or os.PathLike",
                lambda: autoreload.watch(3),
            ),
            (
                ValueError,
                "a path must not be empty nor contain NUL",
                lambda: autoreload.watch(""),
            ),
            (
                ValueError,
                "a path must not be empty nor contain NUL",
                lambda: autoreload.ignore("\0"),
            ),
            (
                TypeError,
                "a reload hook must be callable, not 3",
                lambda: autoreload.add_reload_hook(3),
            ),
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
        os.write(
            write,
            b"import autoreload; autoreload.start(); autoreload.start()\nprint(6 * 7)\n",
        )
        os.close(write)
        program.expect(
            "RuntimeWarning: autoreload: an interactive interpreter has no command to repeat, nothing is watched"
        )
        program.expect("42")
        self.assertEqual(program.rest(), 0)
        self.assertEqual(program.output.count("nothing is watched"), 1)


class EndingTest(ProgramTest):
    """The table of endings."""

    def test_a_program_that_ends_runs_again_after_a_change(self):
        program = self.program(
            app="import atexit; atexit.register(print, 'exit'); print('one')"
        )
        program.wrap("app.py")
        program.expect("one")
        program.expect("exit")
        program.expect("autoreload: app.py ended, waiting for a change$")
        program.write("app.py", "print('two')")
        program.expect("autoreload: app.py changed, restarting$")
        program.expect("two")
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

    def test_a_failure_is_waited_out_wherever_its_repair_is(self):
        program = self.program(
            app="import a; print('repaired')", a="import b", b="import c"
        )
        program.wrap("--until-success", "app.py")
        program.expect("ModuleNotFoundError: No module named 'c'")
        program.expect("autoreload: app.py failed, waiting for a change$")
        program.write("c.py", "def")
        program.expect("SyntaxError: ")
        program.expect("autoreload: c.py does not compile")
        program.write("c.py", "open('data.txt')")
        program.expect("FileNotFoundError")
        program.write("data.txt", "")
        program.expect("repaired")
        self.assertEqual(program.rest(), 0)

    def test_start_waits_out_an_uncaught_exception_in_the_first_run_too(self):
        program = self.program(app="import autoreload; autoreload.start(); 1 / 0")
        program.run("app.py").expect("ZeroDivisionError")
        program.expect("autoreload: app.py failed, waiting for a change$")
        program.write("app.py", "import autoreload; autoreload.start(); 1 / 0; 2")
        program.expect("ZeroDivisionError")
        program.expect("autoreload: app.py failed, waiting for a change$")
        program.write("app.py", "import autoreload; autoreload.start(); print('fine')")
        program.expect("fine")
        self.assertEqual(program.rest(), 0)

    def test_ctrl_c_ends_the_loop_in_every_state(self):
        endless = "import time; print('up', flush=True); time.sleep(60)"
        for name, app, state in (
            ("running", endless, "up"),
            ("ended", "print('up')", "waiting"),
            ("failed", "1 / 0", "waiting"),
            (
                "graceful",
                f"try: {endless}\nexcept KeyboardInterrupt: print('bye')",
                "up",
            ),
            (
                "exits",
                f"import sys\ntry: {endless}\nexcept KeyboardInterrupt: sys.exit(0)",
                "up",
            ),
            (
                "asyncio",
                "import asyncio\nasync def main():\n print('up', flush=True); await asyncio.sleep(60)\nasyncio.run(main())",
                "up",
            ),
        ):
            with self.subTest(name):
                program = self.program(app=app)
                program.wrap("app.py").expect(state)
                self.assertEqual(program.stop(), 130)
                self.assertNotIn("autoreload.py", program.output)

    def test_a_signal_ends_the_loop_with_its_status(self):
        for handler in ("", "import signal; signal.signal(15, lambda *_: exit(0))\n"):
            with self.subTest(handler):
                program = self.program(
                    app=handler + "import time; print('up', flush=True); time.sleep(60)"
                )
                program.wrap("app.py").expect("up")
                program.process.terminate()
                self.assertEqual(program.rest(), -signal.SIGTERM)

    def test_a_target_that_is_missing_at_first_is_a_typing_mistake(self):
        program = self.program(**{"pkg/__init__": "", "dir/x": ""})
        for target, message in (
            (["nowhere.py"], "cannot open nowhere.py (No such file or directory)"),
            (["dir"], "there is no __main__ module in dir"),
            (["-m", "nowhere"], "there is no module named nowhere"),
            (["-m", "nowhere.at.all"], "there is no module named nowhere"),
            (["-m", "pkg"], "there is no module named pkg.__main__"),
            ([], "name a target: -m module, a script, a directory, a zip or -c code"),
            (
                ["-m"],
                "name a target: -m module, a script, a directory, a zip or -c code",
            ),
            (
                ["-"],
                "name a target: -m module, a script, a directory, a zip or -c code",
            ),
            (["--nonsense", "x"], "unrecognized arguments: --nonsense"),
            (
                ["--grace", "soon", "x"],
                "argument --grace: invalid number value: 'soon'",
            ),
            (["--grace", "-1", "x"], "argument --grace: invalid number value: '-1'"),
            (["--watch"], "argument --watch: expected one argument"),
        ):
            with self.subTest(target):
                program.wrap(*target)
                self.assertEqual(program.rest(), 2)
                self.assertEqual(program.output, f"autoreload: {message}\n")

    def test_a_target_that_is_missing_later_is_waited_for(self):
        program = self.program(app="print('one')")
        program.wrap("app.py").expect("waiting")
        os.rename(program.path("app.py"), program.path("gone"))
        program.expect("autoreload: app.py changed, restarting")
        program.expect(
            r"autoreload: cannot open app.py \(No such file or directory\), waiting for a change"
        )
        program.write("app.py", "print('two')")
        program.expect("two")


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
        self.files = self.program(
            **{
                "app": REPORT,
                "folder/__main__": REPORT,
                "pkg/__init__": "",
                "pkg/__main__": REPORT,
                "pkg/module": REPORT,
                "pkg/failing": FAILING,
                "failing": FAILING,
                "broken": "def",
                "sub/link_target": REPORT,
            }
        )
        with zipfile.ZipFile(self.files.path("app.zip"), "w") as archive:
            archive.write(self.files.path("app.py"), "__main__.py")
        os.symlink(self.files.path("sub", "link_target.py"), self.files.path("link.py"))
        shutil.copy(self.files.path("app.py"), self.files.path("no_suffix"))
        py_compile.compile(self.files.path("app.py"), self.files.path("compiled.pyc"))

    def output(self, *arguments, **options):
        status = self.files.run(*arguments, **options).rest()
        return self.files.output, status

    def test_targets_of_all_kinds_see_the_same(self):
        arguments = ["a b", "", "ä\n'\"", "-m", "--until-success", "--", "-c"]
        for target in (
            ["app.py"],
            ["./app.py"],
            ["link.py"],
            ["no_suffix"],
            ["compiled.pyc"],
            ["folder"],
            ["folder/"],
            ["app.zip"],
            ["-m", "app"],
            ["-mapp"],
            ["-m", "pkg"],
            ["-m", "pkg.module"],
            ["-c", textwrap.dedent(REPORT)],
        ):
            for flags in ([], ["-I"], ["-u", "-X", "dev", "-Werror", "-OO"]):
                if flags == ["-I"] and target[0].startswith("-m"):
                    continue  # cannot be found, even by python
                with self.subTest(target=target[:1], flags=flags):
                    plain = self.output(*flags, *target, *arguments)
                    wrapper = [NAME + ".py", "--until-success"]
                    wrapped = self.output(*flags, *wrapper, *target, *arguments)
                    self.assertEqual(wrapped, plain)

    def test_the_wrapper_can_be_run_as_a_module(self):
        plain = self.output("-m", "pkg.module", "x")
        wrapped = self.output("-m", NAME, "--until-success", "-m", "pkg.module", "x")
        self.assertEqual(wrapped, plain)

    def test_a_safe_path_stays_safe(self):
        safe = clean_environment(PYTHONSAFEPATH="1")
        for target in ("app.py", "folder"):
            with self.subTest(target):
                plain = self.output(target, env=safe)
                wrapped = self.output(NAME + ".py", "--until-success", target, env=safe)
                self.assertEqual(wrapped, plain)

    def test_tracebacks_show_none_of_our_frames(self):
        for target in (["failing.py"], ["broken.py"], ["-c", "1 / 0"]):
            with self.subTest(target):
                plain, _ = self.output(*target)
                self.files.wrap(*target).expect("waiting for a change")
                self.files.interrupt()
                self.files.rest()
                shown = self.files.output.rpartition("autoreload:")[0]
                self.assertEqual(shown, plain)
        for target in (["-m", "pkg.failing"], ["-m", "broken"]):
            with self.subTest(target):
                self.files.wrap(*target).expect("waiting for a change")
                self.assertNotIn("runpy", self.files.output)
                self.assertNotIn("importlib", self.files.output)
                self.assertNotIn(NAME + ".py", self.files.output)

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
                self.assertEqual(
                    self.output(NAME + ".py", "--until-success", *target), ("[42]\n", 0)
                )


class LaunchTest(ProgramTest):
    """A restart repeats the launch."""

    def test_split_tells_options_from_the_target(self):
        valued = ("-W", "-X", "--check-hash-based-pycs", "--watch")
        for line, options, target in (
            ("app.py -m x", "", "app.py -m x"),
            (
                "-u -X dev -Xdev -Wd -W error -OO -bb app.py",
                "-u -X dev -Xdev -Wd -W error -OO -bb",
                "app.py",
            ),
            ("-Im mod -u", "-I", "-m mod -u"),
            ("-um mod", "-u", "-m mod"),
            ("-mmod x", "", "-m mod x"),
            ("-uc code x", "-u", "-c code x"),
            (
                "--check-hash-based-pycs always -m mod",
                "--check-hash-based-pycs always",
                "-m mod",
            ),
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
            print("run", repr((sys.argv, sys.flags, sys._xoptions, sys.warnoptions, os.getcwd(),
                  sys.path[0], __name__, __package__, __spec__ and __spec__.name,
                  sorted(os.environ) , os.umask(0o22))), flush=True)
            import NAME; NAME.start()
            os.chdir("/"); sys.argv[:] = ["spoilt"]; os.environ["SPOILT"] = "1"; os.umask(0o77)
            print("ready", flush=True)
            time.sleep(60)
        """.replace("NAME", NAME)
        program = self.program(**{"app": app, "pkg/__init__": "", "pkg/module": app})
        arguments = ["a b", "", "'\"\n", "ä\udcff", "--until-success", "-m"]
        for flags in (
            ["-u"],
            ["-Xdev", "-Wd", "-W", "error::ImportWarning"],
            ["-OO", "-bb", "-X", "dev", "--check-hash-based-pycs", "always"],
        ):
            for target in (["app.py"], ["-m", "pkg.module"], [NAME + ".py", "app.py"]):
                with self.subTest(flags=flags, target=target):
                    program.run(*flags, *target, *arguments)
                    first = program.expect("run (.*)")[1]
                    for _ in range(2):
                        program.expect("ready")
                        for name in ("app.py", "pkg/module.py"):
                            program.write(name, app + "\n")
                        self.assertEqual(program.expect("run (.*)")[1], first)

    def test_what_the_program_set_before_importing_us_is_not_repeated(self):
        program = self.program(
            app="""
                import os, time
                for line in open("settings"):
                    os.environ.setdefault(*line.strip().split("="))
                import NAME
                NAME.watch("settings"); NAME.start()
                print("COLOUR is", os.environ["COLOUR"], flush=True)
                time.sleep(60)
            """.replace("NAME", NAME)
        )
        program.write("settings", "COLOUR=red\n")
        program.run("app.py").expect("COLOUR is red")
        program.write("settings", "COLOUR=green\n")
        program.expect("COLOUR is green")


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
    while True:
        time.sleep(60)
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
        self.values[name] = f"{self.count:05}"
        padding = self.random.choice(("", "", "", f"  # {'x' * (self.count % 7)}"))
        self.texts[name] = re.sub(
            'VALUE = "[0-9]{5}".*',
            f'VALUE = "{self.count:05}"{padding}',
            self.texts[name],
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

    def atomic_rename(self, name):
        path, text = self.edited(name)
        with open(path + ".tmp", "w") as file:
            file.write(text)
        os.replace(path + ".tmp", path)

    def delete_then_create(self, name):
        path, text = self.edited(name)
        os.remove(path)
        pause(self.random.choice((0, 0.02, 0.1, 0.3)))
        with open(path, "w") as file:
            file.write(text)

    def backup_rename(self, name):
        path, text = self.edited(name)
        os.replace(path, path + "~")
        pause(self.random.choice((0, 0.005)))
        with open(path, "w") as file:
            file.write(text)

    def past(self, name):
        path, text = self.edited(name)
        with open(path + ".tmp", "w") as file:
            file.write(text)
        moment = time.time_ns() - self.random.randrange(3600 * 10**9)
        os.utime(path + ".tmp", ns=(moment, moment))
        os.replace(path + ".tmp", path)

    def past_in_place(self, name):
        self.in_place(name)
        moment = self.PAST * 10**9 + self.random.randrange(10**9)
        os.utime(self.program.path(name), ns=(moment, moment))

    def same_past_second(self, name):
        path, text = self.edited(name)
        with open(path + ".tmp", "w") as file:
            file.write(text)
        moment = self.PAST * 10**9 + self.random.randrange(10**9)
        os.utime(path + ".tmp", ns=(moment, moment))
        os.replace(path + ".tmp", path)

    def touch(self, name):
        os.utime(self.program.path(name))

    STYLES = (in_place, two_halves, atomic_rename, delete_then_create, backup_rename)
    STYLES += (in_place, past, past_in_place, same_past_second, touch)


class FuzzTest(ProgramTest):
    """Whatever is saved, and however: what runs in the end is what is on disk.

    AUTORELOAD_FUZZ=500 in the environment runs 500 bursts, AUTORELOAD_SEED=3 repeats one.
    """

    ROUNDS = int(os.environ.get("AUTORELOAD_FUZZ", 4))
    SEED = int(os.environ.get("AUTORELOAD_SEED", random.randrange(10**6)))

    def test_bursts_of_saves_under_the_command_line(self):
        self.fuzz("", NAME + ".py", "app.py")

    def test_bursts_of_saves_under_the_command_line_with_m(self):
        self.fuzz("", NAME + ".py", "-m", "app")

    def test_bursts_of_saves_in_a_program_that_calls_start(self):
        self.fuzz(f"import {NAME}; {NAME}.start()", "app.py")

    def test_bursts_of_saves_in_a_program_that_starts_late(self):
        text = f"import alpha, pkg.one; import {NAME}; {NAME}.start()"
        self.fuzz(text, "app.py")

    def fuzz(self, start, *words):
        program = self.program()
        typist = Typist(program, self.SEED, textwrap.dedent(FUZZED).format(start=start))
        failures = 0
        program.run(*words)
        self.await_state(program, list(typist.values.values()))
        for number in range(self.ROUNDS):
            mark, began = len(program.output), len(typist.log)
            typist.burst()
            with self.subTest(seed=self.SEED, round=number):
                expected = list(typist.values.values())
                try:
                    self.await_state(program, expected)
                except AssertionError:
                    failures += 1
                    saves = "\n".join(map(str, typist.log[max(0, began - 8) :]))
                    self.fail(
                        f"{self.running(program)} runs, {expected} is on disk\n"
                        f"{saves}\n{program.output[max(0, mark - 3000) :]}"
                    )
            if failures > 20 or program.process.poll() is not None:
                break

    def await_state(self, program, expected):
        deadline = time.monotonic() + 8
        while self.running(program) != expected:
            wait = deadline - time.monotonic()
            stream = program.process.stdout
            if wait <= 0 or not select.select([stream], [], [], wait)[0]:
                raise AssertionError
            if not program._read():
                raise AssertionError

    def running(self, program):
        states = re.findall("^state (.*)\n", program.output, re.M)
        return json.loads(states[-1]) if states else None


IDLE = """
    while True:
        time.sleep(60)
"""


def app(text):
    """Return a program that does this, says that it is up, and idles."""
    return (
        textwrap.dedent(text)
        + "\nprint('up', flush=True)\nimport time\n"
        + textwrap.dedent(IDLE)
    )


class QuietTest(ProgramTest):
    """A base for programs that must not restart."""

    def assert_quiet(self, program, sentinel="sentinel.py"):
        """See that a change comes, and that it is the first one."""
        program.write(sentinel, "VALUE = 'changed'")
        line = program.expect("autoreload: (.*), restarting")[1]
        self.assertIn(os.path.basename(sentinel) + " changed", line, program.output)
        self.assertNotIn("+", line, program.output)


class NothingMissedTest(QuietTest):
    """The code that runs is the code on disk."""

    def test_an_edit_during_start_up_of_a_module_already_imported(self):
        text = """
            {start}
            import own, time
            print("loaded", own.VALUE, flush=True)
            {edit}
            {late}
            print("up", own.VALUE, flush=True)
            while True:
                time.sleep(60)
        """
        edit = "open('own.py', 'w').write('VALUE = 2') if own.VALUE == 1 else 0"
        begin = f"import {NAME}; {NAME}.start()"
        for case, words, parts in (
            ("wrapped", [NAME + ".py", "app.py"], {"start": "", "late": ""}),
            ("wrapped -m", [NAME + ".py", "-m", "app"], {"start": "", "late": ""}),
            ("start first", ["app.py"], {"start": begin, "late": ""}),
            (
                "import first",
                ["app.py"],
                {"start": f"import {NAME}", "late": f"{NAME}.start()"},
            ),
            ("start last", ["app.py"], {"start": "", "late": begin}),
        ):
            with self.subTest(case):
                program = self.program(own="VALUE = 1")
                program.write(
                    "app.py", textwrap.dedent(text).format(edit=edit, **parts)
                )
                program.run(*words)
                program.expect("loaded 1")
                program.expect("own.py changed, restarting")
                program.expect("up 2")

    def test_an_edit_during_start_up_with_an_older_mtime(self):
        program = self.program(
            own="VALUE = 1",
            app=f"""
                import own, os, time
                if own.VALUE == 1:
                    open("own.py", "w").write("VALUE = 22")
                    os.utime("own.py", (10**9, 10**9))
                import {NAME}; {NAME}.start()
                print("up", own.VALUE, flush=True)
                while True:
                    time.sleep(60)
            """,
        )
        program.run("app.py").expect("up 22")

    def test_an_edit_during_start_up_of_the_program_itself(self):
        text = f"""
            VALUE = 1
            if VALUE == 1:
                text = open(__file__).read().replace("VALUE = 1", "VALUE = 2", 1)
                open(__file__, "w").write(text)
            import {NAME}; {NAME}.start()
            print("up", VALUE, flush=True)
            import time
            while True:
                time.sleep(60)
        """
        for words in (
            ["app.py"],
            [NAME + ".py", "app.py"],
            [NAME + ".py", "-m", "app"],
            ["-m", "app"],
        ):
            with self.subTest(words):
                program = self.program(app=text)
                program.run(*words).expect("up 2")

    def test_the_program_itself_is_watched_however_it_is_named(self):
        for words in (
            ["app.py"],
            ["-m", "app"],
            ["-m", "pkg.tool"],
            ["-m", "pkg"],
            ["pkg"],
            ["app.zip"],
            ["./x/../app.py"],
        ):
            for start in ("", f"import {NAME}; {NAME}.start();"):
                with self.subTest(words, start=start):
                    text = (
                        start
                        + "import time; print('up', {}, flush=True); time.sleep(60)"
                    )
                    names = ["app.py", "pkg/tool.py", "pkg/__main__.py"]
                    files = {name[:-3]: text.format(1) for name in names}
                    program = self.program(**files, **{"pkg/__init__": "", "x/y": ""})
                    self.zip(program, "app.zip", {"__main__.py": files["app"]})
                    program.run(
                        *([] if start else [NAME + ".py"]),
                        *words,
                        env=clean_environment(PYTHONPATH=program.directory),
                    )
                    program.expect("up 1")
                    for name in names:
                        program.write(name, text.format(2))
                    self.zip(program, "app.zip", {"__main__.py": text.format(2)})
                    program.expect("up 2")

    def zip(self, program, name, files):
        with zipfile.ZipFile(program.path("new.zip"), "w") as archive:
            for inner, text in files.items():
                archive.writestr(inner, text)
        os.replace(program.path("new.zip"), program.path(name))

    def test_an_edit_right_after_a_late_import(self):
        for path in ("", "..", "other/../lib", "link"):
            with self.subTest(path):
                program = self.program(
                    app=f"""
                        import sys, time
                        print("up", flush=True)
                        time.sleep(0.3)
                        sys.path.insert(0, {path!r} and __file__[:-6] + {path!r})
                        import late
                        if late.VALUE == 1:
                            open(late.__file__, "w").write("VALUE = 2")
                        print("late", late.VALUE, flush=True)
                        while True:
                            time.sleep(60)
                    """
                )
                program.write("app/app.py", open(program.path("app.py")).read())
                os.mkdir(program.path("app", "other"))
                os.mkdir(program.path("app", "lib"))
                os.symlink("lib", program.path("app", "link"))
                where = {
                    "": "app/",
                    "..": "",
                    "other/../lib": "app/lib/",
                    "link": "app/lib/",
                }[path]
                program.write(where + "late.py", "VALUE = 1")
                program.wrap("app/app.py").expect("up")
                program.expect("late 1")
                program.expect("late.py changed, restarting")
                program.expect("late 2")

    def test_an_edit_while_the_program_stops(self):
        program = self.program(
            app="""
                import own, time
                print("up", own.VALUE, flush=True)
                try:
                    while True:
                        time.sleep(60)
                finally:
                    print("stopping", flush=True)
                    while own.VALUE == 1 and "2" not in open("own.py").read():
                        time.sleep(0.01)
            """,
            own="VALUE = 1",
        )
        program.wrap("app.py").expect("up 1")
        program.write("app.py", open(program.path("app.py")).read() + "\n")
        program.expect("stopping")
        program.write("own.py", "VALUE = 2")
        program.expect("up 2")

    def test_another_copy_of_the_file_does_not_make_edits_go_unseen(self):
        program = self.program(
            app="""
                import sys, time, vendored.copied
                vendored.copied.start()
                import late
                if late.VALUE == 1:
                    open(late.__file__, "w").write("VALUE = 2")
                print("late", late.VALUE, flush=True)
                while True:
                    time.sleep(60)
            """,
            late="VALUE = 1",
            **{"vendored/__init__": ""},
        )
        program.write("vendored/copied.py", open(program.path(NAME + ".py")).read())
        program.wrap("app.py").expect("late 1")
        program.expect("late 2")

    def test_a_second_save_of_equal_size_within_the_second_is_not_run_as_the_first(
        self,
    ):
        program = self.program(
            app=app("import own; print('value', own.VALUE)"), own="VALUE = 0"
        )
        program.wrap("app.py").expect("value 0")
        for value in range(1, 7):
            path = program.path("own.py")
            with open(path, "w") as file:
                file.write(f"VALUE = {value}")
            os.utime(path, ns=(10**18 + value,) * 2)
            program.expect(f"value {value}")

    def test_a_save_with_the_mtime_second_of_the_cached_bytecode_during_the_restart(
        self,
    ):
        program = self.program(own="VALUE = 1")
        own = program.path("own.py")
        os.utime(own, ns=(10**18 + 1,) * 2)
        program.write(
            "app.py",
            """
            import time, os, own
            print("value", own.VALUE, flush=True)
            try:
                while True:
                    time.sleep(60)
            finally:
                if own.VALUE == 1:
                    import atexit
                    atexit.register(lambda: None)
                    if os.fork() == 0:  # saves once the next run has begun
                        os.setpgid(0, 0)
                        while b"other" not in open(f"/proc/{os.getppid()}/environ", "rb").read():
                            pass
        """,
        )
        # The next run begins with a pause; meanwhile own.py is saved.
        text = """
            import os, time
            if os.path.exists("go"):
                print("paused", flush=True)
                while os.path.exists("go"):
                    time.sleep(0.01)
            import own
            print("value", own.VALUE, flush=True)
            while True:
                time.sleep(60)
        """
        program.write("app.py", text)
        program.wrap("app.py").expect("value 1")
        program.write("go", "")
        program.write("app.py", text + "\n")
        program.expect("paused")
        with open(own + ".tmp", "w") as file:
            file.write("VALUE = 2")
        os.utime(own + ".tmp", ns=(10**18 + 2,) * 2)
        os.replace(own + ".tmp", own)
        os.remove(program.path("go"))
        program.expect("value 2")


class OwnWritesTest(QuietTest):
    """What the program writes is no change."""

    def test_a_module_that_the_program_writes_before_importing_it(self):
        for start, words in (
            ("", [NAME + ".py", "app.py"]),
            (f"import {NAME}; {NAME}.start()", ["app.py"]),
            (f"import {NAME}", ["app.py"]),
        ):
            for end in ("", f"import {NAME}; {NAME}.start()"):
                with self.subTest(start, end=end):
                    program = self.program(
                        app=app(f"""
                            {start}
                            import time, sentinel
                            open("made.py", "w").write(f"VALUE = {{time.time_ns()}}")
                            import made
                            {end}
                        """),
                        sentinel="",
                    )
                    program.run(*words).expect("up")
                    if start != f"import {NAME}" or end:
                        self.assert_quiet(program)

    def test_own_log_and_database_in_a_watched_directory(self):
        program = self.program(
            app=app("""
                import logging, sqlite3, threading, time, sentinel
                logging.basicConfig(filename="data/own.log", level="INFO")
                def work():
                    while True:
                        logging.info("still there")
                        db = sqlite3.connect("data/own.sqlite3")
                        db.execute("create table if not exists t (x)")
                        db.execute("insert into t values (1)")
                        db.commit(); db.close()
                        open("data/x.tmp", "w").write("x")
                        time.sleep(0.05)
                threading.Thread(target=work, daemon=True).start()
            """),
            sentinel="",
        )
        os.mkdir(program.path("data"))
        program.wrap("--watch", "data", "--check-time", "100", "app.py").expect("up")
        pause(1)
        self.assert_quiet(program)

    def test_a_program_that_rewrites_a_file_at_each_start_loops_three_times(self):
        for written in ("own.py", "data.txt"):
            with self.subTest(written):
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
                    **{"data.txt": ""},
                )
                program.write("data.txt", "")
                program.wrap("--check-time", "100", "app.py").expect("start 0")
                program.expect("start 1")
                program.expect("start 2")
                program.expect("start 3")
                program.expect(
                    f"autoreload: {written} changed after each of the last 3 starts, ignored until another file changes"
                )
                pause(1)
                self.assertNotIn("start 4", program.output)
                program.write("sentinel.py", "1")
                program.expect("sentinel.py changed")
                program.expect("start 4")

    def test_what_the_program_has_others_rewrite_at_each_start_does_not_loop_either(
        self,
    ):
        for case, work in (
            (
                "subprocess",
                "subprocess.run([sys.executable, '-c', 'open(\\'own.py\\', \\'w\\').write(chr(35))'])",
            ),
            ("utime", "os.utime('own.py')"),
            ("copy", "shutil.copy('own.py', 'copy'); shutil.copy('copy', 'own.py')"),
            ("move", "shutil.copy('own.py', 'copy'); os.replace('copy', 'own.py')"),
            ("pathlib", "pathlib.Path('own.py').write_text('#')"),
            (
                "directory descriptor",
                "os.close(os.open('own.py', os.O_RDWR | os.O_TRUNC, dir_fd=os.open('.', 0)))",
            ),
        ):
            with self.subTest(case):
                program = self.program(
                    app=app(f"""
                        import os, own, pathlib, shutil, subprocess, sys
                        {work}
                    """),
                    own="#",
                )
                program.wrap("--check-time", "100", "app.py")
                program.expect(
                    "own.py changed after each of the last 3 starts, ignored"
                )


class RecoveryTest(ProgramTest):
    """A failure is mended wherever it can be."""

    def check(
        self,
        files,
        mend,
        *,
        words=(NAME + ".py", "--until-success", "app.py"),
        failed="waiting for a change",
    ):
        program = self.program(**files)
        program.run(*words).expect(failed)
        mend(program)
        program.expect("repaired")
        return program

    def test_failures_are_mended(self):
        print_ = "print('repaired', flush=True)"

        def write(name, text=""):
            return lambda program: program.write(name, text)

        for case, files, mend in (
            (
                "missing module",
                {
                    "app": "import a.b; " + print_,
                    "a/__init__": "",
                    "a/b": "import missing",
                },
                write("missing.py"),
            ),
            (
                "missing module in a package",
                {"app": "import a.b; " + print_, "a/__init__": ""},
                write("a/b.py"),
            ),
            (
                "missing package",
                {"app": "import a.b; " + print_},
                lambda p: (p.write("a/__init__.py", ""), p.write("a/b.py", "")),
            ),
            (
                "missing subpackage",
                {"app": "import a.b.c; " + print_, "a/__init__": ""},
                write("a/b/c.py"),
            ),
            (
                "syntax error three imports deep",
                {
                    "app": "import a; " + print_,
                    "a": "import b",
                    "b": "import c",
                    "c": "def",
                },
                write("c.py", "def f(): 0"),
            ),
            (
                "missing name",
                {"app": "import a; " + print_, "a": "from b import c", "b": ""},
                write("b.py", "c = 1"),
            ),
            (
                "missing data file",
                {"app": "open('data/x.txt'); " + print_},
                write("data/x.txt"),
            ),
            (
                "cause",
                {
                    "app": "try: open('x.txt')\nexcept OSError as e: raise ValueError from e\n"
                    + print_
                },
                write("x.txt"),
            ),
            (
                "context",
                {"app": "try: open('x.txt')\nexcept OSError: 1/0\n" + print_},
                write("x.txt"),
            ),
            (
                "group",
                {
                    "app": "try: open('x.txt')\nexcept OSError as e: raise ExceptionGroup('', [e])\n"
                    + print_
                },
                write("x.txt"),
            ),
            (
                "exec'd file",
                {
                    "app": "exec(compile(open('conf').read(), 'conf', 'exec')); "
                    + print_,
                    "conf": "",
                },
                write("conf", "1"),
            ),
            (
                "null bytes",
                {"app": "import a; " + print_, "a": "\0"},
                write("a.py", "1"),
            ),
            (
                "bad encoding",
                {"app": "import a; " + print_, "a": "# coding: nonsense"},
                write("a.py", "1"),
            ),
            (
                "removed module",
                {
                    "app": "import os.path\nassert not os.path.exists('a.py')\n"
                    + print_,
                    "a": "",
                },
                lambda p: os.remove(p.path("a.py")),
            ),
        ):
            with self.subTest(case):
                if case == "exec'd file":
                    files.pop("conf")
                self.check(files, mend)

    def test_a_module_created_while_the_program_fails(self):
        slow = """
            try:
                {fail}
            except Exception:
                print("failing", flush=True)
                while not os.path.exists("c.py"):
                    time.sleep(0.01)
                raise
            print("repaired", flush=True)
        """
        for fail in ("import c", "open('c.py').close()"):
            for start in (
                "import os, time",
                f"import os, time, {NAME}; {NAME}.start()",
            ):
                with self.subTest(fail, start=start):
                    program = self.program(
                        app=start + "\n" + textwrap.dedent(slow).format(fail=fail)
                    )
                    program.run(
                        *(["app.py"] if NAME in start else [NAME + ".py", "app.py"])
                    ).expect("failing")
                    program.write("c.py", "")
                    program.expect("repaired")

    def test_a_test_file_that_the_runner_failed_to_collect(self):
        good = "import unittest\nclass T(unittest.TestCase):\n    def test(self): print('repaired', flush=True)\n"
        for words in (
            ("-m", "unittest"),
            ("-m", "unittest", "discover", "-s", "tests"),
        ):
            for bad in ("import missing_thing", "def", "1 / 0"):
                with self.subTest(words, bad=bad):
                    self.check(
                        {
                            "tests/__init__": "",
                            "tests/test_x": bad,
                            "test_y": good.replace("repaired", "other"),
                        },
                        lambda program: program.write("tests/test_x.py", good),
                        words=(NAME + ".py", *words),
                    )

    def test_a_failure_amid_thousands_of_files_is_reported_once(self):
        program = self.program(app="1 / 0")
        for i in range(6000):
            open(program.path(f"m{i}.py"), "w").close()
        program.wrap("--check-time", "50", "app.py").expect("waiting for a change")
        pause(2)
        program.write("m1.py", "1")
        program.expect("autoreload: m1.py changed, restarting")
        self.assertNotIn("unexpected", program.output)
        self.assertEqual(program.output.count("changed"), 1, program.output)

    def test_new_files_count_only_after_a_failure(self):
        program = self.program(app=app("import a.b"), **{"a/__init__": "", "a/b": ""})
        program.wrap("--check-time", "50", "app.py").expect("up")
        program.write("new.py", "")
        program.write("a/new.py", "")
        pause(0.5)
        program.write("a/b.py", "1")
        program.expect("autoreload: a/b.py changed, restarting")


class WatchTest(QuietTest):
    """Directories, globs and single files."""

    def story(self, watched, *steps, before=lambda program: None):
        """Restart after each step, naming what it says."""
        program = self.program(
            app=app(
                f"import {NAME}; {NAME}.start(check_time=100); {NAME}.watch({watched!r})"
            )
        )
        before(program)
        program.run("app.py").expect("up")
        for step, named in steps:
            step(program)
            program.expect(f"autoreload: {named} changed.*, restarting")
            program.expect("up")
        return program

    def test_a_directory(self):
        def write(name):
            return lambda program: program.write(name, f"{time.time()}")

        self.story(
            "data",
            (write("data/new.txt"), "data/new.txt"),
            (write("data/new.txt"), "data/new.txt"),
            (write("data/sub/deep/x.txt"), "data/sub/deep/x.txt"),
            (write("data/sub/deep/x.txt"), "data/sub/deep/x.txt"),
            (
                lambda p: os.rename(p.path("data/new.txt"), p.path("data/other.txt")),
                "data/(new|other).txt",
            ),
            (lambda p: os.remove(p.path("data/sub/deep/x.txt")), "data/sub/deep/x.txt"),
            (
                lambda p: (
                    os.rename(p.path("data/sub"), p.path("data/sub2"))
                    or p.write("data/sub2/y.txt", "")
                ),
                "data/sub2/y.txt",
            ),
            (lambda p: os.rename(p.path("data"), p.path("away")), "data"),
            (lambda p: os.rename(p.path("away"), p.path("data")), "data"),
            (write("data/other.txt"), "data/other.txt"),
            before=lambda p: os.mkdir(p.path("data")),
        )

    def test_a_directory_that_does_not_exist_yet(self):
        self.story(
            "data/sub",
            (lambda p: os.makedirs(p.path("data/sub")), "data/sub"),
            (lambda p: p.write("data/sub/x", ""), "data/sub/x"),
        )

    def test_a_glob(self):
        def write(name):
            return lambda program: program.write(name, f"{time.time()}")

        program = self.story(
            "data/**/*.html",
            (write("data/a.html"), "data/a.html"),
            (write("data/x/y/b.html"), "data/x/y/b.html"),
            (write("data/x/y/b.html"), "data/x/y/b.html"),
            (lambda p: os.remove(p.path("data/a.html")), "data/a.html"),
            before=lambda p: os.mkdir(p.path("data")),
        )
        program.write("data/x.txt", "")
        pause(0.5)
        program.write("data/c.html", "")
        program.expect("autoreload: data/c.html changed, restarting")

    def test_a_file_with_the_characters_of_a_glob(self):
        self.story(
            "a[1].txt",
            (lambda p: p.write("a[1].txt", "2"), re.escape("a[1].txt")),
            before=lambda p: p.write("a[1].txt", "1"),
        )

    def test_what_a_directory_watch_skips(self):
        names = (
            ".hidden/x",
            ".hidden.txt",
            "__pycache__/x.pyc",
            "node_modules/a/x.js",
            "x.txt~",
            ".x.txt.swp",
            "#x.txt#",
            "4913",
            "x.tmp",
            "venv/lib/x.py",
            ".git/index",
        )
        program = self.program(
            app=app("import sentinel"), sentinel="", **{"data/venv/pyvenv": ""}
        )
        program.write("data/venv/pyvenv.cfg", "")
        program.wrap("--watch", "data", "--check-time", "100", "app.py").expect("up")
        for name in names:
            program.write("data/" + name, "1")
        pause(0.5)
        self.assert_quiet(program)

    def test_symbolic_links_that_are_swapped(self):
        def swap(program):
            os.symlink("two", program.path("new"))
            os.replace(program.path("new"), program.path("current"))

        for watched, named in (
            ("current", "current.*"),
            ("current/x.txt", "current/x.txt"),
            ("current/*.txt", "current/x.txt"),
        ):
            with self.subTest(watched):

                def before(program):
                    for name in ("one", "two"):
                        program.write(name + "/x.txt", name)
                        os.utime(program.path(name, "x.txt"), (10**9, 10**9))
                    os.symlink("one", program.path("current"))

                self.story(
                    watched,
                    (swap, named),
                    (lambda p: p.write("two/x.txt", "two again"), "current/x.txt"),
                    before=before,
                )

    def test_a_module_behind_a_link_that_is_swapped(self):
        program = self.program(
            app="""
                import sys, time
                sys.path.insert(0, "current")
                import own
                print("up", own.VALUE, flush=True)
                while True:
                    time.sleep(60)
            """,
            **{"one/own": "VALUE = 1", "two/own": "VALUE = 2"},
        )
        for name in ("one", "two"):
            os.utime(program.path(name, "own.py"), (10**9, 10**9))
        os.symlink("one", program.path("current"))
        program.wrap("app.py").expect("up 1")
        os.symlink("two", program.path("new"))
        os.replace(program.path("new"), program.path("current"))
        program.expect("current/own.py changed, restarting")
        program.expect("up 2")

    def test_a_zip_that_is_rewritten(self):
        program = self.program(
            app=app("""
            import sys, time; sys.path.insert(0, 'lib.zip'); import own; print('own', own.VALUE)
            time.sleep(0.5)  # until the zip has been looked at
        """)
        )
        for value in (1, 2, 3):
            with zipfile.ZipFile(program.path("lib.zip"), "w") as archive:
                archive.writestr("own.py", f"VALUE = {value}")
            if value == 1:
                program.wrap("app.py")
            else:
                program.expect("autoreload: lib.zip changed, restarting")
            program.expect(f"own {value}")
            program.expect("up")

    def test_what_is_ignored(self):
        for pattern, before in (
            ("own.py", True),
            ("own.py", False),
            ("*/own.py", False),
            ("{dir}/own.py", False),
            ("pkg", False),
            ("pkg", True),
            ("pkg/*", True),
        ):
            with self.subTest(pattern, before=before):
                ignore = f"{NAME}.ignore({pattern!r}.replace('{{dir}}', os.getcwd()))"
                program = self.program(
                    app=app(f"""
                        import os, sys, {NAME}
                        {ignore if before else ""}
                        {NAME}.start(check_time=100)
                        import own, pkg.one, sentinel
                        {"" if before else ignore}
                    """),
                    own="",
                    sentinel="",
                    **{"pkg/__init__": "", "pkg/one": ""},
                )
                program.run("app.py").expect("up")
                program.write("own.py" if "own" in pattern else "pkg/one.py", "1")
                pause(0.5)
                self.assert_quiet(program)

    def test_thousands_of_files_changed_at_once(self):
        program = self.program(app=app("import sentinel"), sentinel="")
        names = [program.path("data", f"{i:05}-" + "x" * 60) for i in range(3000)]
        os.mkdir(program.path("data"))
        for name in names:
            open(name, "w").close()
        program.wrap("--watch", "data", "--check-time", "50", "app.py").expect("up")
        for name in names:
            with open(name, "w") as file:
                file.write("1")
        program.expect("changed .*restarting")
        program.expect("up")
        program.write("sentinel.py", "1")
        program.expect("sentinel.py changed")
        program.expect("up")
        self.assertNotIn("too long", program.output)


class SurvivalTest(QuietTest):
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
        pause(0.5)
        self.assert_quiet(program)
        self.assertNotIn("touched", program.output)
        self.assertNotIn("unexpected", program.output)

    def test_sys_modules_changing_size_all_the_time(self):
        program = self.program(
            app=app("""
                import sys, threading, types, sentinel
                sys.setswitchinterval(1e-5)
                def churn(thread):
                    while True:
                        for i in range(300): sys.modules[f"x{thread}{i}"] = types.ModuleType("x")
                        for i in range(300): del sys.modules[f"x{thread}{i}"]
                for name in "abc": threading.Thread(target=churn, args=(name,), daemon=True).start()
            """),
            sentinel="",
        )
        program.wrap("--check-time", "50", "app.py").expect("up")
        pause(2)
        self.assert_quiet(program)
        self.assertNotIn("unexpected", program.output)

    def test_odd_files_and_directories_in_a_watched_directory(self):
        program = self.program(app=app("import sentinel"), sentinel="")
        os.makedirs(program.path("data", "closed"))
        os.chmod(program.path("data", "closed"), 0)
        os.symlink("nowhere", program.path("data", "dangling"))
        os.symlink("..", program.path("data", "loop"))
        os.symlink("self", program.path("data", "self"))
        os.mkfifo(program.path("data", "fifo.py"))
        odd = [
            b"surrogate-\xff.py",
            b"line\nfeed.py",
            b"-rf.py",
            b"\x1b[31m.py",
            b"a[b].py",
        ]
        for name in odd:
            open(os.path.join(os.fsencode(program.path("data")), name), "w").close()
        program.wrap("--watch", "data", "--check-time", "100", "app.py").expect("up")
        for name in odd:
            with open(
                os.path.join(os.fsencode(program.path("data")), name), "w"
            ) as file:
                file.write("1")
            program.expect("autoreload: data/.* changed, restarting$")
            program.expect("up")
        os.chmod(program.path("data", "closed"), 0o700)
        self.assertNotIn("Traceback", program.output)

    def test_files_that_come_and_go_in_a_watched_directory_do_no_harm(self):
        program = self.program(app=app("import sentinel"), sentinel="")
        os.mkdir(program.path("data"))
        program.wrap("--watch", "data", "--check-time", "50", "app.py").expect("up")
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            program.write("data/sub/x.txt", "")
            os.remove(program.path("data/sub/x.txt"))
            os.rmdir(program.path("data/sub"))
        pause(1)
        program.write("sentinel.py", "1")
        program.expect("sentinel.py changed")
        program.expect("up")
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
START = "autoreload.start(100, grace=1)\n"


def code(*parts):
    return "".join(textwrap.dedent(part) for part in parts)


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
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        select.select([], [], [], 0.01)
    return condition()


@unittest.skipUnless(sys.platform == "linux", "needs /proc and a pty")
class Story(ProgramTest):
    """Programs that restart by an edit of helper.py."""

    def start(self, *parts, begin=START, wrap=None, run=True, **files):
        program = self.program(
            app=code(BEGIN, begin, *parts), helper="VALUE = 0", **files
        )
        program.value = 0
        if not run:
            return program
        if wrap is None:
            program.run("app.py")
        else:
            program.wrap("--check-time", "100", "--grace", "1", *wrap, "app.py")
        program.expect("up 0")
        return program

    def edit(self, program, up=True):
        program.value += 1
        program.write("helper.py", f"VALUE = {program.value}")
        program.expect("helper.py changed, restarting")
        if up:
            program.expect(f"up {program.value}$")

    def assertQuiet(self, program, *more):
        for text in ("Traceback", "unexpected", "Exception ignored", *more):
            self.assertNotIn(text, program.output)

    def assertOnly(self, program, pids):
        """Assert that these are all the processes there are."""
        pids = {program.process.pid, *map(int, pids)}
        become(lambda: session(program.process.pid).keys() <= pids)
        self.assertEqual(session(program.process.pid).keys(), pids, program.output)


# --- hooks ------------------------------------------------------------------------------


LOOP = """
    import asyncio, threading
    async def main():
        {start}
        say("up", autoreload.restarts)
        try:
            await asyncio.sleep(60)
        finally:
            say("cancelled")
"""


class HookTest(Story):
    def test_hooks_run_in_order_on_a_thread_when_there_is_no_loop(self):
        program = self.start(
            """
            import threading
            @autoreload.add_reload_hook
            def one():
                say("one", threading.current_thread() is threading.main_thread())
            @autoreload.add_reload_hook
            async def two():
                import asyncio
                await asyncio.sleep(0.01)
                say("two", threading.current_thread() is threading.main_thread())
            try:
                say("up", autoreload.restarts)
                time.sleep(60)
            finally:
                say("bye")
            """
        )
        self.edit(program, up=False)
        for line in ("^one False", "^two False", "^bye", "up 1"):
            program.expect(line)
        self.assertQuiet(program)

    def test_hooks_run_on_the_asyncio_loop_that_is_given_or_adopted(self):
        for start in (
            "autoreload.start(None, 100)",
            "autoreload.start(asyncio.get_running_loop(), 100)",
        ):
            for wrap in (None, ()):
                with self.subTest(start, wrap=wrap):
                    program = self.start(
                        LOOP.format(start=start),
                        """
                        @autoreload.add_reload_hook
                        def one():
                            asyncio.get_running_loop()
                            say("one", threading.current_thread() is threading.main_thread())
                        @autoreload.add_reload_hook
                        async def two():
                            await asyncio.sleep(0.01)
                            say("two", threading.current_thread() is threading.main_thread())
                        asyncio.run(main())
                        """,
                        begin="",
                        wrap=wrap,
                    )
                    self.edit(program, up=False)
                    for line in ("^one True", "^two True", "^cancelled", "up 1"):
                        program.expect(line)
                    self.assertQuiet(program)

    def test_hooks_run_where_a_bare_callable_schedules_them(self):
        program = self.start(
            """
            import queue, threading
            tasks = queue.Queue()
            autoreload.start(tasks.put, 100)
            @autoreload.add_reload_hook
            def one():
                say("one", threading.current_thread() is threading.main_thread())
            @autoreload.add_reload_hook
            async def two():
                import asyncio
                await asyncio.sleep(0.01)
                say("two", threading.current_thread() is threading.main_thread())
            say("up", autoreload.restarts)
            while True:
                tasks.get()()
            """,
            begin="",
        )
        self.edit(program, up=False)
        for line in ("^one True", "^two True", "up 1"):
            program.expect(line)
        self.assertQuiet(program)

    def test_a_bare_callable_may_be_that_of_a_running_loop(self):
        program = self.start(
            LOOP.format(
                start="autoreload.start(asyncio.get_running_loop().call_soon_threadsafe, 100)"
            ),
            """
            @autoreload.add_reload_hook
            async def two():
                await asyncio.sleep(0.01)
                say("two", threading.current_thread() is threading.main_thread())
            asyncio.run(main())
            """,
            begin="",
        )
        self.edit(program, up=False)
        for line in ("^two True", "up 1"):
            program.expect(line)
        self.assertQuiet(program)

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
        for hook in ("def hook(): say('hook')", "async def hook(): say('hook')"):
            with self.subTest(hook):
                program = self.start(
                    "import asyncio\n",
                    "async def main(): autoreload.start(None, 100, grace=1)\n",
                    "@autoreload.add_reload_hook\n" + hook + "\n",
                    "asyncio.run(main())\n",
                    UP,
                    "autoreload.wait()\n",
                    begin="",
                )
                self.edit(program, up=False)
                program.expect("^hook")
                program.expect("up 1")
                self.assertQuiet(program, "not done", "never awaited")

    def test_failing_and_hanging_hooks_do_not_stop_the_restart(self):
        program = self.start(
            """
            autoreload.start(None, 100, grace=0.3)
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
            """,
            SLEEP,
            begin="",
        )
        self.edit(program, up=False)
        for line in (
            "ZeroDivisionError",
            "autoreload: hook failing failed, restarting all the same",
            "ZeroDivisionError",
            "autoreload: hook failing_later failed, restarting all the same",
            "hook leaving",
            "hook leaving_later",
            "hook Odd failed",
            "hook hanging is not done after 0.3 s, restarting all the same",
            "up 1",
        ):
            program.expect(line)

    def test_all_hooks_together_have_the_grace_period(self):
        program = self.start(
            """
            autoreload.start(None, 100, grace=1)
            for _ in range(10):
                autoreload.add_reload_hook(lambda: time.sleep(60))
            """,
            SLEEP,
            begin="",
        )
        begun = time.monotonic()
        self.edit(program)
        self.assertLess(time.monotonic() - begun, 5)

    def test_failing_hooks_on_a_loop_do_not_end_the_program_otherwise(self):
        for way in (
            "1 / 0",
            "sys.exit(3)",
            "raise KeyboardInterrupt",
            "raise asyncio.CancelledError",
            "await asyncio.sleep(60)",
            "time.sleep(60)",
        ):
            with self.subTest(way):
                program = self.start(
                    LOOP.format(start="autoreload.start(None, 100, grace=0.5)"),
                    f"""
                    @autoreload.add_reload_hook
                    async def hook(): {way}
                    asyncio.run(main())
                    """,
                    begin="",
                )
                self.edit(program)
                self.edit(program)

    def test_an_object_of_no_known_kind_is_told_what_is_accepted(self):
        with self.assertRaisesRegex(
            TypeError,
            "asyncio loop, a Tornado IOLoop, a Twisted reactor, a trio token, a function",
        ):
            autoreload.start(object())


# --- the interrupt ------------------------------------------------------------------------


class InterruptTest(Story):
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
            self.edit(program, up=False)
            for line in ("with", "finally", "atexit"):
                program.expect("^" + line)
            program.expect("up")
        self.assertEqual(program.stop(), 130)

    def test_a_stuck_main_thread_is_named_and_left_behind(self):
        program = self.start(
            """
            import atexit
            atexit.register(say, "atexit")
            say("up", autoreload.restarts)
            while True:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    pass
            """
        )
        self.edit(program, up=False)
        line = program.expect(
            r"autoreload: main thread is at app.py:(\d+) after 1 s, restarting anyway"
        )[1]
        self.assertIn(int(line), (10, 11, 12, 13))
        program.expect("atexit")
        program.expect("up 1")

    def test_ctrl_c_while_a_stuck_main_thread_is_waited_for_ends_it(self):
        program = self.start(
            """
            autoreload.start(100, grace=3)
            say("up", autoreload.restarts)
            while True:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    say("no")
            """,
            begin="",
        )
        self.edit(program, up=False)
        program.expect("^no")
        self.assertEqual(program.stop(), 130)
        self.assertNotIn("up 1", program.output)

    def test_a_non_daemon_thread_does_not_hold_the_restart(self):
        program = self.start(
            "import threading\nthreading.Thread(target=time.sleep, args=[60]).start()\n",
            SLEEP,
        )
        self.edit(program, up=False)
        program.expect("main thread is at .* after 1 s")
        program.expect("up 1")
        self.assertQuiet(program)

    def test_an_ignored_interrupt_does_not_hold_the_restart(self):
        for name in ("SIG_IGN", "SIG_DFL"):
            with self.subTest(name):
                program = self.start(
                    f"signal.signal(signal.SIGINT, signal.{name})\n", SLEEP
                )
                self.edit(program)
                self.edit(program)

    def test_a_background_job_keeps_ignoring_the_interrupt(self):
        for wrap in (None, ()):
            with self.subTest(wrap=wrap):
                program = self.start(
                    "say('ignored', signal.getsignal(signal.SIGINT) == signal.SIG_IGN)\n",
                    SLEEP,
                    run=False,
                )
                line = (
                    [NAME + ".py", "--check-time", "100", "app.py"]
                    if wrap == ()
                    else ["app.py"]
                )
                program.run(
                    *line,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
                )
                for _ in range(3):
                    program.expect("ignored True")
                    program.expect("up")
                    self.edit(program, up=False)


# --- listen -------------------------------------------------------------------------------


LISTENER = """
    s = autoreload.listen({address})
    say("socket", os.fstat(s.fileno()).st_ino, s.getsockname())
"""


class ListenTest(Story):
    def test_the_same_address_gives_the_same_socket(self):
        for address in (
            '("127.0.0.1", 0)',
            '("::1", 0)',
            '("", 0)',
            '("localhost", 0)',
            '"s.sock"',
            '__import__("pathlib").Path("s.sock")',
        ):
            for begin in (START, ""):
                with self.subTest(address, begin=begin):
                    program = self.start(
                        begin, LISTENER.format(address=address), SLEEP, run=False
                    )
                    program.run("app.py") if begin else program.wrap(
                        "--check-time", "100", "app.py"
                    )
                    inode = program.expect(r"socket (\d+)")[1]
                    program.expect("up 0")
                    for _ in range(3):
                        self.edit(program, up=False)
                        self.assertEqual(program.expect(r"socket (\d+)")[1], inode)
                        program.expect("up")
                    self.assertQuiet(program)

    def test_asked_twice_it_is_one_socket_and_closing_is_the_program_s_own_affair(self):
        program = self.start(
            """
            inodes = []
            for _ in range(3):
                with autoreload.listen(("127.0.0.1", 0)) as s:
                    s.settimeout(1)
                    inodes.append(os.fstat(s.fileno()).st_ino)
            say("inodes", len(set(inodes)), s.getblocking())
            with autoreload.listen(("127.0.0.1", 0)) as s:
                say("inodes", len({*inodes, os.fstat(s.fileno()).st_ino}), s.getblocking())
            """,
            SLEEP,
        )
        self.assertIn("inodes 1 True", program.output.replace("False", "True"))
        self.edit(program)
        self.assertQuiet(program)

    def test_children_do_not_inherit_it(self):
        program = self.start(
            LISTENER.format(address='("127.0.0.1", 0)'),
            """
            import subprocess
            look = "import os; print(sum(os.path.exists(f'/proc/self/fd/{n}') and 'socket' in os.readlink(f'/proc/self/fd/{n}') for n in range(100)), '_AUTORELOAD' in os.environ)"
            out = subprocess.check_output([sys.executable, "-c", look], close_fds=False, text=True)
            say("inherited", out.strip())
            """,
            SLEEP,
        )
        for _ in range(2):
            self.edit(program, up=False)
            self.assertEqual(program.expect("inherited (.*)")[1], "0 False")
            program.expect("up")

    def test_what_is_not_asked_for_again_is_closed_by_the_next_restart(self):
        program = self.start(
            """
            if autoreload.restarts < 2:
                kept = autoreload.listen(("127.0.0.1", 0))
                say("port", kept.getsockname()[1])
            """,
            SLEEP,
        )
        port = int(re.search(r"port (\d+)", program.output)[1])
        self.edit(program)
        self.edit(program)
        self.edit(program)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()

    def test_a_connection_made_during_the_restart_waits(self):
        program = self.start(
            """
            s = autoreload.listen(("127.0.0.1", 0))
            say("port", s.getsockname()[1])
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
            run=False,
        )
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        program.run("app.py", stdin=read)
        os.close(read)
        port = int(program.expect(r"port (\d+)")[1])
        program.expect("up 0")
        self.edit(program, up=False)
        program.expect("closed")
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            os.write(write, b"\n")
            self.assertEqual(client.recv(10), b"1")

    def steady(self, *parts, wrap=None, restarts=5):
        program = self.start(*parts, begin="" if wrap == () else START, run=False)
        program.run("app.py") if wrap is None else program.wrap(
            "--check-time", "100", *wrap, "app.py"
        )
        port = int(program.expect(r"port (\d+)")[1])
        program.expect("up 0")
        errors, served, stop = [], [], threading.Event()

        def client():
            while not stop.wait(0.01):
                try:
                    with socket.create_connection(("127.0.0.1", port), 10) as c:
                        c.sendall(b"GET / HTTP/1.0\r\n\r\n")
                        data = b""
                        while more := c.recv(1000):
                            data += more
                    served.append(int(data.rpartition(b"served ")[2]))
                except Exception as error:
                    errors.append((len(served), repr(error)))

        clients = [threading.Thread(target=client) for _ in range(2)]
        for thread in clients:
            thread.start()
        try:
            for _ in range(restarts):
                self.edit(program)
                count = len(served)
                self.assertTrue(become(lambda: len(served) > count))
        finally:
            stop.set()
            for thread in clients:
                thread.join()
        self.assertEqual(errors, [], program.output)
        self.assertEqual(set(served), set(range(restarts + 1)))
        self.assertQuiet(program)

    HTTP = """
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(0.05)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"served %d" % helper.VALUE)
            def log_message(self, *_): pass
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = autoreload.listen(("127.0.0.1", 0))
        server.daemon_threads = False
        say("port", server.socket.getsockname()[1])
        say("up", autoreload.restarts)
        autoreload.add_reload_hook(server.shutdown)
        server.serve_forever(0.02)
        server.server_close()
    """

    def test_asyncio_answers_every_request(self):
        self.steady(
            """
            import asyncio
            tasks = set()
            async def serve(reader, writer):
                tasks.add(asyncio.current_task())
                await reader.readuntil(b"\\r\\n\\r\\n")
                await asyncio.sleep(0.05)
                writer.write(b"served %d" % helper.VALUE)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                tasks.remove(asyncio.current_task())
            async def main():
                sock = autoreload.listen(("127.0.0.1", 0))
                server = await asyncio.start_server(serve, sock=sock)
                autoreload.start(None, 100)
                @autoreload.add_reload_hook
                async def drain():
                    server.close()
                    await asyncio.sleep(0)
                    while tasks:
                        await asyncio.wait(tasks)
                say("port", sock.getsockname()[1])
                say("up", autoreload.restarts)
                await asyncio.sleep(60)
            asyncio.run(main())
            """,
            wrap=(),
        )

    def test_under_supervision_it_is_an_ordinary_socket(self):
        program = self.start(
            LISTENER.format(address='("127.0.0.1", 0)'),
            SLEEP,
            begin="",
            wrap=["--supervise"],
        )
        self.edit(program)
        self.edit(program)
        self.assertQuiet(program)


# --- children ------------------------------------------------------------------------------


WORKER = """
    def work():
        say("worker", os.getpid())
        time.sleep(600)
"""


class ChildrenTest(Story):
    def workers(self, program, count, restarts=3, others=0):
        """Restart, and see that exactly the newest workers exist."""
        for turn in range(restarts + 1):
            pids = [program.expect(r"worker (\d+)")[1] for _ in range(count)]
            pid = program.process.pid
            if others:
                become(lambda: len(session(pid)) == count + others + 1)
                self.assertEqual(
                    len(session(pid)),
                    count + others + 1,
                    (session(pid), program.output),
                )
                self.assertLessEqual({*map(int, pids)}, session(pid).keys())
            else:
                self.assertOnly(program, pids)
            self.assertNotIn("Z", session(pid).values())
            if turn < restarts:
                self.edit(program, up=False)
        self.assertQuiet(program)

    def test_forked_workers_are_replaced(self):
        for main in (
            "os.wait()",
            "time.sleep(60)",
            "while True:\n    try: os.wait()\n    except InterruptedError: pass",
        ):
            for wrap in (None, ()):
                with self.subTest(main, wrap=wrap):
                    program = self.start(
                        WORKER,
                        "for _ in range(3):\n    if not os.fork():\n        work()\n",
                        UP,
                        main + "\n",
                        run=False,
                    )
                    program.run("app.py") if wrap is None else program.wrap(
                        "--check-time", "100", "app.py"
                    )
                    self.workers(program, 3)

    def test_workers_that_ignore_sigterm_are_killed(self):
        program = self.start(
            WORKER,
            """
            for _ in range(2):
                if not os.fork():
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    work()
            """,
            UP,
            "time.sleep(60)\n",
            run=False,
        ).run("app.py")
        self.workers(program, 2)

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
        self.edit(program, up=False)
        program.expect("terminated")
        program.expect("up 1")

    def test_workers_of_workers_end_too(self):
        for begin in (START, ""):
            with self.subTest(begin):
                program = self.start(
                    WORKER,
                    """
                    if not os.fork():
                        if not os.fork():
                            autoreload.start(100)
                            work()
                        work()
                    """,
                    UP,
                    "time.sleep(60)\n",
                    run=False,
                    begin=begin,
                ).run("app.py")
                self.workers(program, 2)

    def test_a_worker_forked_during_the_stop_ends_too(self):
        program = self.start(
            WORKER,
            """
            def fork():
                if not os.fork():
                    work()
            fork()
            autoreload.add_reload_hook(fork)
            try:
                time.sleep(60)
            finally:
                fork()
            """,
            run=False,
        ).run("app.py")
        first = program.expect(r"worker (\d+)")[1]
        self.assertOnly(program, [first])
        self.edit(program, up=False)
        pids = [program.expect(r"worker (\d+)")[1] for _ in range(3)]
        self.assertOnly(program, pids[-1:])

    def test_multiprocessing_workers_are_replaced(self):
        for method, others in (("fork", 0), ("spawn", 1), ("forkserver", 2)):
            for daemon in (True, False):
                for wrap in (None, ()):
                    with self.subTest(method, daemon=daemon, wrap=wrap):
                        program = self.start(
                            WORKER,
                            f"""
                            if __name__ == "__main__":
                                import multiprocessing
                                context = multiprocessing.get_context({method!r})
                                for _ in range(2):
                                    context.Process(target=work, daemon={daemon}).start()
                                say("up", autoreload.restarts)
                                time.sleep(60)
                            """,
                            run=False,
                        )
                        program.run("app.py") if wrap is None else program.wrap(
                            "--check-time", "100", "app.py"
                        )
                        self.workers(program, 2, 2, others)

    def test_a_process_pool_is_replaced(self):
        for method, others in (("fork", 0), ("spawn", 1), ("forkserver", 2)):
            with self.subTest(method):
                program = self.start(
                    WORKER,
                    f"""
                    if __name__ == "__main__":
                        import multiprocessing
                        from concurrent.futures import ProcessPoolExecutor
                        context = multiprocessing.get_context({method!r})
                        with ProcessPoolExecutor(2, mp_context=context) as pool:
                            jobs = [pool.submit(work) for _ in range(2)]
                            say("up", autoreload.restarts)
                            time.sleep(60)
                    """,
                    run=False,
                ).run("app.py")
                for turn in range(3):
                    for _ in range(2):
                        program.expect(r"worker (\d+)")
                    pid = program.process.pid
                    become(lambda: len(session(pid)) <= 3 + others)
                    self.assertLessEqual(len(session(pid)), 3 + others, program.output)
                    self.assertNotIn("Z", session(pid).values())
                    if turn < 2:
                        self.edit(program, up=False)

    def test_a_multiprocessing_pool_is_replaced(self):
        program = self.start(
            WORKER,
            """
            if __name__ == "__main__":
                import multiprocessing
                with multiprocessing.Pool(2) as pool:
                    pool.apply_async(work)
                    say("up", autoreload.restarts)
                    time.sleep(60)
            """,
            run=False,
        ).run("app.py")
        for turn in range(3):
            program.expect("worker")
            pid = program.process.pid
            become(lambda: len(session(pid)) <= 3)
            self.assertLessEqual(len(session(pid)), 3, program.output)
            self.edit(program, up=False)

    def test_a_worker_that_calls_start_causes_one_restart_of_its_parent(self):
        program = self.start(
            """
            for _ in range(3):
                if not os.fork():
                    autoreload.start(100)
                    say("worker", os.getpid())
                    time.sleep(600)
            try:
                os.wait()
            finally:
                say("bye")
            """,
            begin="",
            run=False,
        ).run("app.py")
        self.workers(program, 3)
        self.assertEqual(program.output.count("restarting"), 3)
        self.assertEqual(program.output.count("bye"), 3)

    def test_a_module_that_only_a_worker_imports_is_watched(self):
        for begin in (START, ""):
            with self.subTest(begin):
                program = self.start(
                    """
                    if not os.fork():
                        autoreload.start(100)
                        import late
                        say("worker", late.VALUE)
                        time.sleep(600)
                    say("up", autoreload.restarts)
                    time.sleep(60)
                    """,
                    begin=begin,
                    late="VALUE = 1",
                    run=False,
                ).run("app.py")
                for value in (2, 3):
                    program.expect(f"worker {value - 1}")
                    program.write("late.py", f"VALUE = {value}")
                    program.expect("late.py changed, restarting")
                program.expect("worker 3")
                self.assertQuiet(program)

    def test_a_worker_s_watch_and_restart_reach_the_parent(self):
        program = self.start(
            """
            if not os.fork():
                autoreload.watch("data.txt")
                autoreload.start(100)
                say("ready", autoreload.restarts)
                sys.stdin.readline()
                autoreload.restart()
                time.sleep(600)
            time.sleep(60)
            """,
            begin="",
            run=False,
        )
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        program.run("app.py", stdin=read)
        os.close(read)
        program.expect("ready 0")
        program.write("data.txt", "1")
        program.expect("data.txt changed, restarting")
        program.expect("ready 1")
        os.write(write, b"\n")
        program.expect(r"restart\(\) was called, restarting")
        program.expect("ready 2")

    def test_a_child_left_by_the_last_run_becomes_no_zombie(self):
        program = self.start(
            """
            import subprocess
            if not autoreload.restarts:
                child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
                say("child", child.pid)
            """,
            SLEEP,
        )
        child = int(re.search(r"child (\d+)", program.output)[1])
        self.edit(program)
        self.assertTrue(become(lambda: child not in session(program.process.pid)))


# --- the terminal ---------------------------------------------------------------------------


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


class Terminal(Program):
    """A program on a terminal of its own."""

    def run(self, *arguments, control=True, **options):
        self.master, slave = pty.openpty()
        options.setdefault("env", clean_environment(TERM="dumb"))
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.directory,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
            if control
            else None,
            **options,
        )
        self.slave = slave  # kept open, so that its settings can be asked for
        self.process.stdout = os.fdopen(self.master, "rb", 0)
        return self

    def _read(self):
        if (
            not select.select([self.master], [], [], 0)[0]
            and self.process.poll() is not None
        ):
            return ""
        data, end = b"", time.monotonic() + DEADLINE
        while not data and time.monotonic() < end:
            if select.select([self.master], [], [], 0.05)[0]:
                data = os.read(self.master, 65536)
            elif self.process.poll() is not None:
                break
        data = data.decode(errors="replace").replace("\r\n", "\n")
        self.output += data
        self._unread += data
        return data

    def type(self, text):
        os.write(self.master, text.encode())

    def status(self):
        status = self.rest()
        return status if status >= 0 else 128 - status

    def local_flags(self):
        return termios.tcgetattr(self.slave)[3]

    def close(self):
        if self.process:
            os.close(self.slave)
            for pid in session(self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        super().close()


class TerminalTest(Story):
    def terminal(self, *parts, begin=START, **files):
        program = Terminal(
            app=code(BEGIN, begin, *parts), helper="VALUE = 0", shell=SHELL, **files
        )
        self.addCleanup(program.close)
        program.value = 0
        return program

    PROMPT = """
        import readline
        while True:
            line = input(f"prompt {helper.VALUE}\\n")
            say("got", line, sys.stdin.isatty())
    """

    def test_input_works_before_and_after_a_restart(self):
        for part in (self.PROMPT, self.PROMPT.replace("import readline", "")):
            for wrap in (["app.py"], [NAME + ".py", "--check-time", "100", "app.py"]):
                with self.subTest(part=part[:30], wrap=wrap):
                    program = self.terminal(part)
                    program.run(*wrap)
                    for turn in range(3):
                        program.expect(f"prompt {turn}")
                        program.type(f"hello {turn}\r")
                        program.expect(f"got hello {turn} True")
                        program.expect(f"prompt {turn}")
                        program.type("half")
                        self.edit(program, up=False)
                    program.expect("prompt 3")
                    self.assertQuiet(program)
                    status = (
                        None  # readline itself may overlook a Ctrl-C just as it begins
                    )
                    while status is None:
                        program.type("\x03")
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            status = program.process.wait(0.5)
                    self.assertEqual(status, -signal.SIGINT)

    def test_echo_and_lines_are_restored(self):
        for way in (
            "import getpass; getpass.getpass('up %d\\n' % autoreload.restarts)",
            "import tty; tty.setraw(0); tty.setcbreak(0); say('up', autoreload.restarts); time.sleep(60)",
            "import tty; tty.setcbreak(0); say('up', autoreload.restarts)\nwhile True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass",
        ):
            with self.subTest(way):
                program = self.terminal(
                    "before = 1\nif not autoreload.restarts:\n    "
                    + textwrap.indent(way, "    ").lstrip()
                    + "\nimport termios\nsay('flags', bool(termios.tcgetattr(0)[3] & termios.ECHO), bool(termios.tcgetattr(0)[3] & termios.ICANON))\n",
                    SLEEP,
                )
                program.run("app.py")
                program.expect("up 0")
                self.assertTrue(
                    become(lambda: not program.local_flags() & termios.ECHO)
                )
                self.edit(program, up=False)
                program.expect("flags True True")
                program.expect("up 1")

    def test_curses_is_left(self):
        program = self.terminal(
            """
            import curses
            if not autoreload.restarts:
                screen = curses.initscr()
                curses.noecho(); curses.raw()
            """,
            SLEEP,
        )
        program.run("app.py", env=clean_environment(TERM="xterm"))
        program.expect("up 0")
        self.edit(program)
        self.assertTrue(program.local_flags() & termios.ECHO)
        self.assertTrue(program.local_flags() & termios.ICANON)

    def test_a_terminal_that_is_not_ours_to_control_is_no_obstacle(self):
        program = self.terminal(SLEEP)
        program.run("app.py", control=False)
        program.expect("up 0")
        self.edit(program)
        self.edit(program)
        self.assertQuiet(program)

    def test_ctrl_c_ends_program_and_wrapper_in_every_state(self):
        for state, part, line in (
            ("running", SLEEP, "up 0"),
            ("failed", "1 / 0", "failed, waiting"),
            ("ended", UP, "ended, waiting"),
            (
                "stopping",
                "try:\n    say('up 0'); time.sleep(60)\nfinally:\n    say('bye'); time.sleep(60)\n",
                None,
            ),
            (
                "stopping gracefully",
                "try:\n    say('up 0'); time.sleep(60)\nfinally:\n    say('bye')\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass\n",
                None,
            ),
            (
                "in a hook",
                "autoreload.add_reload_hook(lambda: (say('bye'), time.sleep(60)))\n"
                + SLEEP,
                None,
            ),
            (
                "hook, graceful",
                "autoreload.add_reload_hook(lambda: (say('bye'), time.sleep(60)))\ntry:\n    say('up 0'); time.sleep(60)\nexcept KeyboardInterrupt: pass\n",
                None,
            ),
            (
                "asyncio hook",
                "import asyncio\n@autoreload.add_reload_hook\nasync def hook():\n    say('bye'); await asyncio.sleep(60)\nasync def main():\n    autoreload.start(100); say('up 0'); await asyncio.sleep(60)\nasyncio.run(main())\n",
                None,
            ),
        ):
            for wrap in (
                [NAME + ".py", "--check-time", "100", "--grace", "10", "app.py"],
                ["app.py"],
            ):
                if state == "ended" and wrap == ["app.py"]:
                    continue
                with self.subTest(state, wrap=wrap[1:2]):
                    program = self.terminal(
                        part,
                        begin="autoreload.start(100, grace=10)\n"
                        if wrap == ["app.py"]
                        else "",
                    ).run(*wrap)
                    program.expect(line or "up 0")
                    if not line:
                        self.edit(program, up=False)
                        program.expect("bye")
                    program.type("\x03")
                    begun = time.monotonic()
                    self.assertEqual(program.status(), 130)
                    self.assertLess(time.monotonic() - begun, 5)
                    self.assertNotIn('autoreload.py"', program.output)

    def test_a_background_job_is_not_stopped(self):
        for wrap in (["app.py"], [NAME + ".py", "--check-time", "100", "app.py"]):
            with self.subTest(wrap):
                program = self.terminal(SLEEP)
                program.run("shell.py", "background", *wrap)
                program.expect("up 0")
                self.edit(program)
                self.edit(program)
                self.assertNotIn("stopped", program.output)

    def test_a_stopped_job_goes_on_in_the_foreground(self):
        for wrap in (["app.py"], [NAME + ".py", "--check-time", "100", "app.py"]):
            with self.subTest(wrap):
                program = self.terminal(self.PROMPT)
                program.run("shell.py", "foreground", *wrap)
                for turn in range(2):
                    program.expect(f"prompt {turn}")
                    program.type("\x1a")
                    program.expect("stopped by SIGTSTP")
                    self.edit(program, up=False)
                    program.expect(f"prompt {turn + 1}")
                    program.type("hi\r")
                    program.expect("got hi True")
                self.assertQuiet(program)

    def test_a_debugger_prompt_delays_the_restart(self):
        program = self.terminal(UP, "breakpoint()\nsay('continued')\n", SLEEP)
        program.run("app.py")
        program.expect("up 0")
        program.expect("app.py")
        program.write("helper.py", "VALUE = 1")
        for number in range(10):
            program.type(f"p {number} + 1000\r")
            program.expect(f"^(.Pdb. )?{number + 1000}$")
        self.assertNotIn("restarting", program.output)
        program.type("c\r")
        program.expect("restarting")
        program.expect("up 1")
        program.type("p 6 * 7\r")
        program.expect("42$")


# --- signals and descriptors ------------------------------------------------------------------


class SweepTest(Story):
    def test_mask_ignored_signals_and_timers_are_those_of_the_launch(self):
        program = self.start(
            """
            say("mask", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
            say("ignored", [int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN])
            say("timers", *map(signal.getitimer, range(3)))
            signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGTERM})
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, lambda *_: None)
            for n in range(3):
                signal.setitimer(n, 100, 100)
            """,
            SLEEP,
            run=False,
        )

        def prepare():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        for wrap in (["app.py"], [NAME + ".py", "--check-time", "100", "app.py"]):
            with self.subTest(wrap):
                program.output = program._unread = ""
                program.write("helper.py", "VALUE = 0")
                program.value = 0
                program.run(*wrap, preexec_fn=prepare)
                first = [
                    program.expect(f"{name} (.*)")[1]
                    for name in ("mask", "ignored", "timers")
                ]
                program.expect("up 0")
                for _ in range(2):
                    self.edit(program, up=False)
                    self.assertEqual(
                        [
                            program.expect(f"{name} (.*)")[1]
                            for name in ("mask", "ignored", "timers")
                        ],
                        first,
                    )
                    program.expect("up")
                program.kill()
                program.process.wait()

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
        for wrap in (None, ()):
            with self.subTest(wrap=wrap):
                program = self.start(
                    """
                    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
                    say("up", autoreload.restarts)
                    say("got", int(signal.sigwait({signal.SIGUSR1})))
                    """,
                    "time.sleep(60)\n",
                    begin=START if wrap is None else "",
                    wrap=wrap,
                )
                program.process.send_signal(signal.SIGUSR1)
                program.expect(f"got {int(signal.SIGUSR1)}")

    def test_descriptors_are_those_of_the_launch(self):
        read, write = os.pipe()
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(os.close, read)
        self.addCleanup(listener.close)
        for meddle in (
            "",
            "os.set_inheritable(PIPE, False); os.set_inheritable(SOCKET, False)",
            "import socket; socket.socket(fileno=SOCKET).close()",
        ):
            for wrap in (["app.py"], [NAME + ".py", "--check-time", "100", "app.py"]):
                with self.subTest(meddle, wrap=wrap):
                    program = self.start(
                        f"PIPE, SOCKET = {write}, {listener.fileno()}\n",
                        """
                        def kind(fd):
                            try: return os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
                            except OSError: return None
                        say("open", [kind(n) for n in range(3)], kind(PIPE), kind(SOCKET), kind(100))
                        os.dup2(os.open("/", os.O_RDONLY), 100)
                        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                        """,
                        meddle + "\n",
                        SLEEP,
                        run=False,
                    )
                    program.run(*wrap, pass_fds=[write, listener.fileno()])
                    for _ in range(3):
                        self.assertEqual(
                            program.expect("open (.*)")[1],
                            "['/dev/null', 'pipe', 'pipe'] pipe socket None",
                        )
                        program.expect("up")
                        self.edit(program, up=False)
        os.close(write)

    def test_directory_environment_and_umask_are_those_of_the_launch(self):
        program = self.start(
            """
            import resource
            say("state", os.getcwd(), "X" in os.environ, os.umask(0o077), sys.argv)
            os.chdir("/")
            os.environ["X"] = "1"
            sys.argv.append("x")
            """,
            SLEEP,
        )
        first = re.search("state (.*)", program.output)[1]
        for _ in range(2):
            self.edit(program, up=False)
            self.assertEqual(program.expect("state (.*)")[1], first)
            program.expect("up")

    def test_twenty_restarts_leak_nothing(self):
        program = self.start(
            """
            import subprocess, threading
            s = autoreload.listen(("127.0.0.1", 0))
            f = open("app.py")
            os.set_inheritable(f.fileno(), True)
            subprocess.Popen(["true"])
            if not os.fork():
                time.sleep(600)
            def count():
                fds = sorted(os.listdir("/proc/self/fd"), key=int)
                return len(fds), len(os.listdir("/proc/self/task"))
            say("count", *count())
            """,
            SLEEP,
        )
        counts = []
        for _ in range(20):
            self.edit(program, up=False)
            counts.append(program.expect("count (.*)")[1])
            program.expect("up")
        self.assertEqual(len(set(counts)), 1, counts)
        pid = program.process.pid
        become(
            lambda: (
                len(session(pid)) == 2
                and "Z" not in session(pid).values()
                or len(session(pid)) == 3
            )
        )
        self.assertLessEqual(len(session(pid)), 3, session(pid))


# --- output -------------------------------------------------------------------------------------


class OutputTest(Story):
    def test_nothing_printed_is_lost_through_a_pipe(self):
        for name, end in (
            ("ending", "time.sleep(60)"),
            (
                "stuck",
                "while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass",
            ),
            (
                "ignoring",
                "signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)",
            ),
        ):
            for wrap in (
                ["app.py"],
                [NAME + ".py", "--check-time", "100", "--grace", "0.5", "app.py"],
            ):
                with self.subTest(name, wrap=wrap):
                    program = self.start(
                        """
                        import atexit, logging, logging.handlers
                        memory = logging.handlers.MemoryHandler(1000, target=logging.FileHandler("log.txt"))
                        logging.getLogger().addHandler(memory)
                        logging.warning("logged %d", helper.VALUE)
                        print("printed", helper.VALUE, end="|")
                        atexit.register(print, "at exit", helper.VALUE)
                        """,
                        UP,
                        end + "\n",
                        begin=START if wrap == ["app.py"] else "",
                        run=False,
                    )
                    program.run(*wrap)
                    program.expect("up 0")
                    self.edit(program, up=False)
                    program.expect(r"printed 0\|at exit 0")
                    program.expect("up 1")
                    with open(program.path("log.txt")) as file:
                        self.assertEqual(file.read(), "logged 0\n")

    def test_files_and_replaced_streams_are_flushed(self):
        for name, end in (
            ("ending", "time.sleep(60)"),
            (
                "stuck",
                "while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass",
            ),
        ):
            with self.subTest(name):
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
                    UP,
                    end + "\n",
                )
                self.edit(program, up=False)
                program.expect("first 0")
                program.expect("up 1")
                for path in ("file0.txt", "bytes0.txt"):
                    with open(program.path(path)) as file:
                        self.assertEqual(file.read().strip(), "written")

    def test_a_pipe_that_nobody_reads_does_not_hold_the_restart(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        program = self.start(
            """
            if not autoreload.restarts:
                os.write(2, b"up 0\\n")
                while True:
                    print("x" * 1000)
            os.write(2, b"up 1\\n")
            time.sleep(60)
            """,
            run=False,
        )
        program.write(
            "run.py",
            f"import os, sys; os.dup2({write}, 1); os.execv(sys.executable, [sys.executable, 'app.py'])",
        )
        program.run("run.py", pass_fds=[write])
        os.close(write)
        program.expect("up 0")
        self.edit(program)


# --- supervision --------------------------------------------------------------------------------


class SuperviseTest(Story):
    WRAP = ["--supervise"]

    def test_crashes_are_survived(self):
        for crash, fate in (
            ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
            ("os._exit(3)", "exit status 3"),
            ("os._exit(0)", "exit status 0"),
            ("os._exit(75)", "exit status 75"),
            ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
            ("os.abort()", "SIGABRT"),
        ):
            with self.subTest(crash):
                program = self.start(UP, crash + "\n", begin="", wrap=self.WRAP)
                program.expect(
                    f"autoreload: app.py died of {fate}, waiting for a change$"
                )
                program.write("app.py", code(BEGIN, SLEEP, "#"))
                program.expect("app.py changed|up 1")
                if "up 1" not in program.output:
                    program.expect("up 1")
                self.edit(program, up=False)
                program.expect("up 2")
                self.assertEqual(program.stop(), 130)

    def test_a_new_module_or_an_imported_one_mends_a_crash(self):
        program = self.start(
            UP,
            "if helper.VALUE == 0: os._exit(1)\n",
            "time.sleep(60)\n",
            begin="",
            wrap=self.WRAP,
        )
        program.expect("died of exit status 1, waiting for a change$")
        program.write("helper.py", "VALUE = 1")
        program.expect("up 1")

    def test_ctrl_c_while_a_crash_is_waited_out_ends_quietly(self):
        program = self.start(UP, "os._exit(1)\n", begin="", wrap=self.WRAP)
        program.expect("died of exit status 1, waiting for a change$")
        self.assertEqual(program.stop(), 130)
        self.assertNotIn("Traceback", program.output)

    def test_the_terminal_is_restored_after_a_crash(self):
        program = Terminal(
            app=code(
                BEGIN,
                "if not autoreload.restarts:\n    import tty; tty.setcbreak(0); say('up 0'); os._exit(1)\n",
                SLEEP,
            ),
            helper="VALUE = 0",
        )
        self.addCleanup(program.close)
        program.wrap("--supervise", "--check-time", "100", "app.py")
        program.expect("died of exit status 1")
        program.write("helper.py", "VALUE = 1")
        program.write("app.py", code(BEGIN, SLEEP))
        program.expect("up 1")
        self.assertTrue(program.local_flags() & termios.ECHO)

    def test_normal_edits_restart_and_are_counted(self):
        program = self.start(
            "try:\n    say('up', autoreload.restarts); time.sleep(60)\nfinally:\n    say('bye')\n",
            begin="",
            wrap=self.WRAP,
        )
        for _ in range(3):
            self.edit(program, up=False)
            program.expect("bye")
            program.expect(f"up {program.value}$")
        self.assertOnlyTwo(program)
        self.assertEqual(program.stop(), 130)

    def assertOnlyTwo(self, program):
        become(lambda: len(session(program.process.pid)) == 2)
        self.assertEqual(len(session(program.process.pid)), 2)

    def test_the_status_is_passed_on(self):
        program = self.start(SLEEP, begin="", wrap=self.WRAP)
        program.process.terminate()
        self.assertEqual(program.rest(), -signal.SIGTERM)
        program = self.start(
            "signal.signal(15, lambda *_: sys.exit(0))\n",
            SLEEP,
            begin="",
            wrap=self.WRAP,
        )
        program.process.terminate()
        self.assertEqual(program.rest(), -signal.SIGTERM)
        program = self.start(SLEEP, begin="", wrap=self.WRAP)
        self.assertEqual(program.stop(), 130)
        program = self.start(UP, begin="", wrap=[*self.WRAP, "--until-success"])
        self.assertEqual(program.rest(), 0)

    def test_failures_and_endings_are_waited_out_as_ever(self):
        program = self.start(UP, "1 / 0\n", begin="", wrap=self.WRAP)
        program.expect("ZeroDivisionError")
        program.expect("app.py failed, waiting for a change")
        program.write("app.py", code(BEGIN, UP))
        program.expect("up 1")
        program.expect("app.py ended, waiting for a change")
        self.assertEqual(program.stop(), 130)

    def test_arguments_with_spaces_and_quotes_arrive(self):
        program = self.program(app="import sys; print(sys.argv[1:], flush=True)")
        program.wrap("--supervise", "app.py", "a b", 'c"d', "e\\", "")
        for _ in range(2):
            self.assertEqual(
                program.expect(r"(\[.*\])")[1], str(["a b", 'c"d', "e\\", ""])
            )
            program.expect("waiting")
            program.write("app.py", "import sys; print(sys.argv[1:], flush=True) #")


class WindowsChoiceTest(SuperviseTest):
    """The way of Windows, on this system."""

    WRAP = []

    def program(self, **files):
        program = super().program(**files)
        path = program.path(NAME + ".py")
        with open(path) as file:
            text = file.read()
        line = '_restart = replace_process if os.name == "posix" else supervise'
        assert text.count(line) == 1
        program.write(NAME + ".py", text.replace(line, "_restart = supervise"))
        return program

    def test_the_terminal_is_restored_after_a_crash(self):
        self.skipTest("there is none")

    def test_a_program_that_calls_start_restarts(self):
        program = self.start(
            "try:\n    say('up', autoreload.restarts); time.sleep(60)\nfinally:\n    say('bye')\n"
        )
        for _ in range(3):
            self.edit(program, up=False)
            program.expect("bye")
            program.expect(f"up {program.value}$")
        self.assertQuiet(program)
        self.assertEqual(program.stop(), 130)

    def test_a_program_that_calls_start_and_fails_is_waited_out(self):
        program = self.start(UP, "1 / 0\n")
        program.expect("app.py failed, waiting for a change")
        program.write("app.py", code(BEGIN, START, SLEEP))
        program.expect("up 1")
        self.edit(program, up=False)
        program.expect("up 2")
        self.assertEqual(program.stop(), 130)

    def test_a_program_that_ends_by_itself_after_restarts_ends(self):
        program = self.start(
            UP, "if helper.VALUE < 2: time.sleep(60)\nsys.exit(helper.VALUE - 2)\n"
        )
        self.edit(program)
        self.edit(program)
        self.assertEqual(program.rest(), 0)


def needs(*packages):
    """Skip a test, by the packages' names, where they are missing."""
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    return unittest.skipIf(missing, f"not installed: {', '.join(missing)}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def get(port, path="/", *, timeout=DEADLINE):
    """Return the body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode().strip()


# An app of each framework; all answer helper.VALUE at / and, some, more.
FLASK = """
    import flask, helper, time
    app = flask.Flask(__name__)
    @app.get("/")
    def index():
        return str(helper.VALUE)
    @app.get("/slow")
    def slow():
        print("slow", flush=True)
        time.sleep(1.5)
        return "whole"
"""
WSGI = """
    import helper, time
    def app(environ, start_response):
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/slow":
            print("slow", flush=True)
            time.sleep(1.5)
            return [b"whole"]
        if path == "/endless":
            return endless()
        return [str(helper.VALUE).encode()]
    def endless():
        print("endless", flush=True)
        while True:
            yield b"data: x\\n\\n"
            time.sleep(0.1)
"""
ASGI = """
    import asyncio, helper, {module}
    from starlette.responses import StreamingResponse, PlainTextResponse
    async def events():
        print("endless", flush=True)
        while True:
            yield "data: x\\n\\n"
            await asyncio.sleep(0.1)
"""
FASTAPI = (
    ASGI.format(module="fastapi")
    + """
    app = fastapi.FastAPI()
    @app.get("/")
    async def index():
        return helper.VALUE
    @app.get("/slow")
    async def slow():
        print("slow", flush=True)
        await asyncio.sleep(1.5)
        return PlainTextResponse("whole")
    @app.get("/endless")
    async def endless():
        return StreamingResponse(events(), media_type="text/event-stream")
"""
)
STARLETTE = (
    ASGI.format(module="starlette.applications")
    + """
    from starlette.routing import Route
    async def index(request):
        return PlainTextResponse(str(helper.VALUE))
    async def slow(request):
        print("slow", flush=True)
        await asyncio.sleep(1.5)
        return PlainTextResponse("whole")
    async def endless(request):
        return StreamingResponse(events(), media_type="text/event-stream")
    app = starlette.applications.Starlette(
        routes=[Route("/", index), Route("/slow", slow), Route("/endless", endless)])
"""
)
AIOHTTP = """
    import asyncio, helper, sys
    from aiohttp import web
    async def index(request):
        return web.Response(text=str(helper.VALUE))
    async def slow(request):
        print("slow", flush=True)
        await asyncio.sleep(1.5)
        return web.Response(text="whole")
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        print("endless", flush=True)
        while True:
            await response.write(b"data: x\\n\\n")
            await asyncio.sleep(0.1)
    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/slow", slow)
    app.router.add_get("/endless", endless)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"""
DJANGO = """
    import django, helper, os, sys
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path
    settings.configure(DEBUG=True, ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x")
    if __name__ == "__main__":
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""
DJANGO_URLS = """
    import helper
    from django.http import HttpResponse
    from django.urls import path
    urlpatterns = [path("", lambda request: HttpResponse(str(helper.VALUE)))]
"""
TORNADO = """
    import asyncio, helper, os, sys, tornado.web
    class Index(tornado.web.RequestHandler):
        def get(self):
            self.write(str(helper.VALUE))
    async def main():
        tornado.web.Application([("/", Index)]).listen(int(sys.argv[1]), "127.0.0.1")
        await asyncio.Event().wait()
    asyncio.run(main())
"""
TORNADO_MULTI = """
    import asyncio, helper, os, sys, tornado.web, tornado.httpserver, tornado.netutil, tornado.process
    import autoreload
    class Index(tornado.web.RequestHandler):
        def get(self):
            self.write(str(helper.VALUE))
    sockets = tornado.netutil.bind_sockets(int(sys.argv[1]), "127.0.0.1")
    tornado.process.fork_processes(2)
    print("worker", helper.VALUE, os.getpid(), flush=True)
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
    cherrypy.config.update({"server.socket_host": "127.0.0.1", "server.socket_port": int(sys.argv[1]),
        "engine.autoreload.on": False})
    cherrypy.quickstart(Root())
"""
TWISTED = """
    import helper, sys, threading
    from twisted.internet import reactor
    from twisted.web import resource, server
    import autoreload
    @autoreload.add_reload_hook
    async def hook():
        print("hook on", threading.current_thread().name, flush=True)
    class Index(resource.Resource):
        isLeaf = True
        def render_GET(self, request):
            return str(helper.VALUE).encode()
    reactor.listenTCP(int(sys.argv[1]), server.Site(Index()), interface="127.0.0.1")
    autoreload.start(reactor)
    reactor.run()
"""
RAW = """
    async def serve(read, write):
        await read(4096)
        await write(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % helper.VALUE)
"""
TRIO = (
    "    import helper, sys, threading, trio, autoreload"
    + RAW
    + """
    @autoreload.add_reload_hook
    async def hook():
        await trio.sleep(0)
        print("hook on", threading.current_thread().name, flush=True)
    async def handler(stream):
        await serve(stream.receive_some, stream.send_all)
        await stream.aclose()
    async def main():
        autoreload.start(trio.lowlevel.current_trio_token())
        await trio.serve_tcp(handler, int(sys.argv[1]), host="127.0.0.1")
    trio.run(main)
"""
)
UVLOOP = (
    "    import asyncio, helper, sys, threading, uvloop, autoreload"
    + RAW
    + """
    @autoreload.add_reload_hook
    async def hook():
        await asyncio.sleep(0)
        print("hook on", threading.current_thread().name, flush=True)
    async def handler(reader, writer):
        async def write(data):
            writer.write(data); await writer.drain()
        await serve(reader.read, write)
        writer.close()
    async def main():
        autoreload.start()
        async with await asyncio.start_server(handler, "127.0.0.1", int(sys.argv[1])) as server:
            await server.serve_forever()
    uvloop.run(main())
"""
)
GEVENT = """
    from gevent import monkey; monkey.patch_all()
    import sys, helper
    from gevent.pywsgi import WSGIServer
    from wsgi import app
    WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
"""
CELERY = """
    import celery, helper, os
    from celery.signals import worker_ready
    app = celery.Celery("app", broker="memory://")
    app.conf.broker_connection_retry_on_startup = True
    app.conf.worker_hijack_root_logger = False
    app.conf.worker_redirect_stdouts = False
    @app.task
    def show():
        print("task", helper.VALUE, os.getpid(), flush=True)
    @worker_ready.connect
    def ready(**_):
        show.delay()
"""
COMMAND = """
    import helper, {module}, time
    {decorator}
    def main({parameter}):
        print("hello", name, helper.VALUE, flush=True)
        if helper.VALUE == 2:
            time.sleep(60)
    if __name__ == "__main__":
        {call}
"""


class FrameworksTest(ProgramTest):
    def answers(self, program, port, value):
        """Ask until the answer is `value`: the run before may still be ending."""
        deadline = time.monotonic() + DEADLINE
        got = None
        while time.monotonic() < deadline and program.process.poll() is None:
            try:
                got = get(port, timeout=2)
            except (OSError, http.client.HTTPException) as error:
                got = repr(error)
            if got == str(value):
                return
            select.select([], [], [], 0.02)
        select.select([program.process.stdout], [], [], 1)
        program._read()
        raise AssertionError(
            f"{value!r} was never answered, but {got}:\n{program.output}"
        )

    def lives(self, program, port, *, own=(130,), started=(), respawns=False):
        """Edit, break and mend a server's helper.py, then stop it."""
        for line in started:
            program.expect(line)
        self.answers(program, port, 1)
        program.write("helper.py", "VALUE = 2")
        program.expect("autoreload: helper.py changed, restarting$")
        for line in started:
            program.expect(line)
        self.answers(program, port, 2)
        program.write("helper.py", "VALUE =")
        program.expect("autoreload: helper.py does not compile, the old code runs on")
        self.assertEqual(get(port), "2")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError: division by zero")
        if not respawns:
            program.expect("autoreload: .*, waiting for a change$")
        program.write("helper.py", "VALUE = 3")
        for line in started:
            program.expect(line)
        self.answers(program, port, 3)
        self.assertIn(program.stop(), own, program.output)
        self.assertNotIn("restarting anyway", program.output)
        self.assertNotIn("something unexpected", program.output)
        self.assertNotIn('autoreload.py"', program.output)
        with self.assertRaises(OSError):  # nobody is left at the port
            get(port, timeout=1)
        if os.environ.get("SHOW"):
            print(program.output, file=sys.stderr)

    def served(self, *command, plain=False, options=(), **files):
        """Start a server under the wrapper; PORT in the command is its port."""
        files.setdefault("helper", "VALUE = 1")
        program, port = self.program(**files), free_port()
        command = [word.replace("PORT", str(port)) for word in command]
        environment = clean_environment(PYTHONUNBUFFERED="1")
        if plain:
            program.run(*command, env=environment)
        else:
            program.wrap(*options, *command, env=environment)
        return program, port

    @needs("flask")
    def test_flask(self):
        self.lives(
            *self.served(
                "-m",
                "flask",
                "--app",
                "app",
                "run",
                "--no-reload",
                "--port",
                "PORT",
                app=FLASK,
            )
        )

    @needs("flask")
    def test_flask_debug(self):
        self.lives(
            *self.served(
                "-m",
                "flask",
                "--app",
                "app",
                "run",
                "--debug",
                "--no-reload",
                "--port",
                "PORT",
                app=FLASK,
            )
        )

    @needs("flask")
    def test_flask_app_run(self):
        run = "\n    import sys; app.run(port=int(sys.argv[1]), debug=True, use_reloader=False)\n"
        self.lives(*self.served("app.py", "PORT", app=FLASK + run))

    @needs("django")
    def test_django(self):
        self.lives(
            *self.served(
                "manage.py",
                "runserver",
                "--noreload",
                "PORT",
                manage=DJANGO,
                urls=DJANGO_URLS,
            )
        )

    @needs("fastapi", "uvicorn")
    def test_fastapi_on_uvicorn(self):
        self.lives(
            *self.served("-m", "uvicorn", "app:app", "--port", "PORT", app=FASTAPI)
        )

    @needs("fastapi", "uvicorn")
    def test_uvicorn_run(self):
        run = "\n    import sys, uvicorn; uvicorn.run(app, port=int(sys.argv[1]))\n"
        self.lives(*self.served("app.py", "PORT", app=FASTAPI + run))

    @needs("fastapi", "uvicorn")
    def test_uvicorn_workers(self):
        self.lives(
            *self.served(
                "-m",
                "uvicorn",
                "app:app",
                "--port",
                "PORT",
                "--workers",
                "2",
                app=FASTAPI,
            ),
            respawns=True,
        )  # it starts dying workers again and again, as by hand

    @needs("starlette", "hypercorn")
    def test_starlette_on_hypercorn(self):
        self.lives(
            *self.served(
                "-m", "hypercorn", "app:app", "-b", "127.0.0.1:PORT", app=STARLETTE
            )
        )

    @needs("starlette", "hypercorn")
    def test_hypercorn_single_process(self):
        self.lives(
            *self.served(
                "-m",
                "hypercorn",
                "-w",
                "0",
                "app:app",
                "-b",
                "127.0.0.1:PORT",
                app=STARLETTE,
            )
        )

    @needs("aiohttp")
    def test_aiohttp(self):
        self.lives(*self.served("app.py", "PORT", app=AIOHTTP))

    @needs("aiohttp")
    def test_aiohttp_web(self):
        text = AIOHTTP.replace(
            "web.run_app", "make = lambda argv: app\n    0 and web.run_app"
        )
        self.lives(
            *self.served(
                "-m",
                "aiohttp.web",
                "-H",
                "127.0.0.1",
                "-P",
                "PORT",
                "app:make",
                app=text,
            )
        )

    @needs("tornado")
    def test_tornado(self):
        self.lives(*self.served("app.py", "PORT", app=TORNADO))

    @needs("tornado")
    def test_tornado_multi_process(self):
        for plain in (True, False):
            with self.subTest(plain=plain):
                self.lives(
                    *self.served("app.py", "PORT", app=TORNADO_MULTI, plain=plain)
                )

    @needs("bottle")
    def test_bottle(self):
        self.lives(*self.served("app.py", "PORT", app=BOTTLE))

    @needs("bottle")
    def test_bottle_command(self):
        self.lives(
            *self.served("-m", "bottle", "-b", "127.0.0.1:PORT", "wsgi:app", wsgi=WSGI)
        )

    @needs("cherrypy")
    def test_cherrypy(self):
        self.lives(
            *self.served("app.py", "PORT", app=CHERRYPY), started=["Bus STARTED"]
        )

    @needs("gunicorn")
    def test_gunicorn(self):
        for options in (
            [],
            ["-w", "2"],
            ["--preload"],
            ["-k", "gthread", "--threads", "2"],
        ):
            with self.subTest(options):
                up = "    print(helper.VALUE, 'is up', flush=True)\n"
                self.lives(
                    *self.served(
                        "-m",
                        "gunicorn",
                        "-b",
                        "127.0.0.1:PORT",
                        *options,
                        "wsgi:app",
                        wsgi=WSGI + up,
                    ),
                    started=["is up"] * (2 if "-w" in options else 1),
                )

    @needs("waitress")
    def test_waitress(self):
        self.lives(
            *self.served(
                "-m", "waitress", "--listen", "127.0.0.1:PORT", "wsgi:app", wsgi=WSGI
            )
        )

    @needs("twisted")
    def test_twisted(self):
        for plain in (True, False):
            with self.subTest(plain=plain):
                program, port = self.served("app.py", "PORT", app=TWISTED, plain=plain)
                # By itself, reactor.run() returns after Ctrl-C, and the status is 0.
                self.lives(program, port, own=(0,) if plain else (130,))
                self.assertIn("hook on MainThread", program.output)

    @needs("twisted")
    def test_twistd(self):
        app = """
            import helper
            from twisted.application import service, strports
            from twisted.web import resource, server
            class Index(resource.Resource):
                isLeaf = True
                def render_GET(self, request):
                    return str(helper.VALUE).encode()
            application = service.Application("app")
            strports.service("tcp:PORT:interface=127.0.0.1", server.Site(Index())).setServiceParent(application)
        """
        program, port = self.program(helper="VALUE = 1"), free_port()
        program.write("app.tac", app.replace("PORT", str(port)))
        program.wrap(
            "--watch",
            "app.tac",
            os.path.join(os.path.dirname(sys.executable), "twistd"),
            "-noy",
            "app.tac",
            env=clean_environment(PYTHONUNBUFFERED="1", PYTHONPATH="."),
        )
        self.lives(program, port)

    @needs("trio")
    def test_trio(self):
        for plain in (True, False):
            with self.subTest(plain=plain):
                program, port = self.served("app.py", "PORT", app=TRIO, plain=plain)
                self.lives(program, port)
                self.assertIn("hook on MainThread", program.output)

    @needs("uvloop")
    def test_uvloop(self):
        for plain in (True, False):
            with self.subTest(plain=plain):
                program, port = self.served("app.py", "PORT", app=UVLOOP, plain=plain)
                self.lives(program, port)
                self.assertIn("hook on MainThread", program.output)

    @needs("gevent")
    def test_gevent(self):
        self.lives(*self.served("app.py", "PORT", app=GEVENT, wsgi=WSGI))

    @needs("gevent", "gunicorn")
    def test_gunicorn_gevent(self):
        self.lives(
            *self.served(
                "-m",
                "gunicorn",
                "-k",
                "gevent",
                "-b",
                "127.0.0.1:PORT",
                "wsgi:app",
                wsgi=WSGI,
            )
        )

    @needs("celery")
    def test_celery(self):
        for pool in ("solo", "prefork", "threads"):
            with self.subTest(pool):
                program, _ = self.served(
                    "-m",
                    "celery",
                    "-A",
                    "app",
                    "worker",
                    "-P",
                    pool,
                    "-c",
                    "1",
                    app=CELERY,
                )
                program.expect("task 1")
                program.write("helper.py", "VALUE = 2")
                program.expect("autoreload: helper.py changed, restarting$")
                program.expect("task 2")
                program.write("helper.py", "VALUE =")
                program.expect("autoreload: helper.py does not compile")
                program.write("helper.py", "1 / 0")
                program.expect("ZeroDivisionError")
                program.expect("waiting for a change$")
                program.write("helper.py", "VALUE = 3")
                program.expect("task 3")
                self.assertEqual(program.stop(), 130, program.output)

    def commands(self, app):
        program, _ = self.served("app.py", "--name", "you", app=app)
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

    @needs("click")
    def test_click(self):
        decorator = '@click.command()\n    @click.option("--name")'
        self.commands(
            COMMAND.format(
                module="click", decorator=decorator, parameter="name", call="main()"
            )
        )

    @needs("typer")
    def test_typer(self):
        self.commands(
            COMMAND.format(
                module="typer",
                decorator="",
                parameter='name: str = "x"',
                call="typer.run(main)",
            )
        )

    def trial(self, *command, test):
        program, _ = self.served(*command, options=["--until-success"], test_it=test)
        program.expect("2 != 1|assert 1 == 2")
        program.expect("autoreload: .* exited with status 1, waiting for a change$")
        program.write("helper.py", "VALUE =")
        program.expect("does not compile|SyntaxError")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError")
        program.expect("waiting for a change$")
        program.write("helper.py", "VALUE = 2")
        self.assertEqual(program.rest(), 0, program.output)
        again, _ = self.served(*command, options=["--until-success"], test_it=test)
        again.expect("waiting for a change$")
        self.assertEqual(again.stop(), 130)

    def test_unittest(self):
        self.trial(
            "-m",
            "unittest",
            test="""
            import helper, unittest
            class Test(unittest.TestCase):
                def test(self):
                    self.assertEqual(2, helper.VALUE)
        """,
        )

    @needs("pytest")
    def test_pytest(self):
        self.trial(
            "-m",
            "pytest",
            "-q",
            test="""
            import helper
            def test():
                assert helper.VALUE == 2
        """,
        )

    @needs("IPython")
    def test_ipython(self):
        program, _ = self.served(
            "-m",
            "IPython",
            "--colors=NoColor",
            "-c",
            "import autoreload; autoreload.start(); autoreload.start(); print(6 * 7)",
            plain=True,
        )
        program.expect(
            "RuntimeWarning: autoreload: an interactive interpreter has no command to repeat, nothing is watched"
        )
        program.expect("42")
        self.assertEqual(program.rest(), 0)
        self.assertEqual(program.output.count("nothing is watched"), 1)

    @needs("ipykernel", "jupyter_client")
    def test_ipykernel(self):
        from jupyter_client.manager import start_new_kernel

        program = self.program()
        manager, client = start_new_kernel(
            cwd=program.directory, env=clean_environment()
        )
        self.addCleanup(manager.shutdown_kernel, now=True)
        self.addCleanup(client.stop_channels)
        said = []
        reply = client.execute_interactive(
            "import autoreload; autoreload.start(); autoreload.start(); print(6 * 7)",
            timeout=DEADLINE,
            output_hook=lambda message: said.append(message["content"].get("text", "")),
        )
        self.assertEqual(reply["content"]["status"], "ok")
        self.assertIn("42", "".join(said))
        self.assertEqual("".join(said).count("nothing is watched"), 1, said)


GRACEFUL = (
    ("uvicorn", "-m uvicorn app:app --port PORT", {"app": FASTAPI}),
    (
        "uvicorn --workers 2",
        "-m uvicorn app:app --port PORT --workers 2",
        {"app": FASTAPI},
    ),
    ("hypercorn", "-m hypercorn app:app -b 127.0.0.1:PORT", {"app": STARLETTE}),
    (
        "hypercorn -w 0",
        "-m hypercorn -w 0 app:app -b 127.0.0.1:PORT",
        {"app": STARLETTE},
    ),
    ("aiohttp", "app.py PORT", {"app": AIOHTTP}),
    ("gunicorn", "-m gunicorn -b 127.0.0.1:PORT wsgi:app", {"wsgi": WSGI}),
    (
        "gunicorn gthread",
        "-m gunicorn -k gthread -b 127.0.0.1:PORT wsgi:app",
        {"wsgi": WSGI},
    ),
    ("waitress", "-m waitress --listen 127.0.0.1:PORT wsgi:app", {"wsgi": WSGI}),
    ("flask", "-m flask --app app run --no-reload --port PORT", {"app": FLASK}),
)


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

    def free_port(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            return server.getsockname()[1]

    def snippet(self, word):
        return next(text for text in readme_snippets("python") if word in text)

    def serve(self, program, port):
        """Ask the server until it answers; return whether it listed the directory."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    return b"Directory listing" in answer.read()
        raise AssertionError(program.output)

    def test_the_first_command_serves_and_restarts(self):
        program, port = self.program(), self.free_port()
        program.run(
            "-u", NAME + ".py", "--watch=watched", "-m", "http.server", str(port)
        )
        for _ in range(2):
            program.expect("Serving HTTP on")
            self.assertTrue(self.serve(program, port))
            program.write("watched", "")
            program.expect("autoreload: watched changed, restarting")
        program.expect("Serving HTTP on")
        self.assertEqual(program.stop(), 130)

    def test_start_in_a_program(self):
        text = self.snippet("ignore(").replace(
            "autoreload.wait", "print('ready');autoreload.wait"
        )
        program = self.program(app=text)
        program.run("-u", "app.py").expect("open the browser now, but only once")
        program.expect("ready")
        program.write("generated_x.py", "")
        program.write("templates/index.html", "")
        program.expect("templates changed, restarting")
        program.expect("saving")
        program.expect("ready")
        program.write("templates/index.html", "changed")
        program.expect("index.html changed, restarting")
        program.expect("saving")
        self.assertEqual(program.output.count("browser"), 1)

    def test_tests_run_again_until_they_pass(self):
        program = self.program(
            test_app="""
                import unittest
                class Test(unittest.TestCase):
                    def test(self): self.assertTrue(VALUE)
                VALUE = 0
            """
        )
        program.wrap("--until-success", "-m", "unittest")
        program.expect("FAILED")
        program.expect(
            "autoreload: unittest exited with status 1, waiting for a change"
        )
        program.write(
            "test_app.py",
            "import unittest\nclass Test(unittest.TestCase):\n def test(self): pass",
        )
        program.expect("OK")
        self.assertEqual(program.rest(), 0)

    def test_no_connection_is_refused(self):
        port = self.free_port()
        text = self.snippet("listen(").replace("8000", str(port))
        text = text.replace(
            "start()", "start(); print('start', autoreload.restarts, flush=True)"
        )
        program = self.program(app=text)
        program.run("app.py")
        for number in range(4):
            program.expect(f"start {number}")
            program.write("app.py", text + "#" * number)
            self.assertTrue(self.serve(program, port))

    def test_a_request_is_finished_before_a_restart(self):
        port = self.free_port()
        text = self.snippet("def drain").replace("8000", str(port))
        slow = """
            import time
            class Handler(http.server.SimpleHTTPRequestHandler):
                def do_GET(self):
                    print("asked", flush=True)
                    time.sleep(1)
                    self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\nin full")
        """
        text = text.replace("http.server.SimpleHTTPRequestHandler", "Handler")
        text = "import http.server\n" + textwrap.dedent(slow) + text
        program = self.program(app=text)
        program.run("app.py")
        answers = []

        def ask():
            while not answers:
                with contextlib.suppress(OSError):
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                        answers.append(answer.read())

        asking = threading.Thread(target=ask)
        asking.start()
        program.expect("asked")
        program.write("app.py", text + "\n")
        program.expect("autoreload: app.py changed, restarting")
        asking.join()
        self.assertEqual(answers, [b"in full"])


if __name__ == "__main__":
    unittest.main()
