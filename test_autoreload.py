# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py: `python -m unittest`, beside the file and with nothing else.

Up to the restart the parts are called directly, with values.  From the restart on, real
programs run in real processes, and nothing is simulated.
"""

import contextlib
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
        killer = threading.Timer(DEADLINE, os.killpg, (self.process.pid, signal.SIGKILL))
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
            (TypeError, "check_time must be a number, not '5'", lambda: autoreload.start(None, "5")),
            (ValueError, "check_time must be at least 1, not 0", lambda: autoreload.start(None, 0)),
            (TypeError, "grace must be a number, not None", lambda: autoreload.start(grace=None)),
            (ValueError, "grace must be at least 0, not -1", lambda: autoreload.start(grace=-1)),
            (TypeError, "io_loop must be an asyncio loop, a Tornado", lambda: autoreload.start("loop")),
            (TypeError, "a path must be str or os.PathLike, not b'x'", lambda: autoreload.watch(b"x")),
            (TypeError, "expected str, bytes or os.PathLike", lambda: autoreload.watch(3)),
            (ValueError, "a path must not be empty nor contain NUL", lambda: autoreload.watch("")),
            (ValueError, "a path must not be empty nor contain NUL", lambda: autoreload.ignore("\0")),
            (TypeError, "a reload hook must be callable, not 3", lambda: autoreload.add_reload_hook(3)),
        ):
            with self.subTest(rule), self.assertRaisesRegex(error, re.escape(rule)):
                call()

    def test_autoreload_0_switches_everything_off(self):
        program = self.program(app="""
            import autoreload
            autoreload.start(); autoreload.wait(); autoreload.restart()
            print("done", autoreload.restarts)
        """)
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
        os.write(write, b"import autoreload; autoreload.start(); autoreload.start()\nprint(6 * 7)\n")
        os.close(write)
        program.expect("RuntimeWarning: autoreload: an interactive interpreter has no command to repeat, nothing is watched")
        program.expect("42")
        self.assertEqual(program.rest(), 0)
        self.assertEqual(program.output.count("nothing is watched"), 1)


class EndingTest(ProgramTest):
    """The table of endings."""

    def test_a_program_that_ends_runs_again_after_a_change(self):
        program = self.program(app="import atexit; atexit.register(print, 'exit'); print('one')")
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
        program = self.program(app="import a; print('repaired')", a="import b", b="import c")
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
            ("graceful", f"try: {endless}\nexcept KeyboardInterrupt: print('bye')", "up"),
            ("exits", f"import sys\ntry: {endless}\nexcept KeyboardInterrupt: sys.exit(0)", "up"),
            ("asyncio", "import asyncio\nasync def main():\n print('up', flush=True); await asyncio.sleep(60)\nasyncio.run(main())", "up"),
        ):
            with self.subTest(name):
                program = self.program(app=app)
                program.wrap("app.py").expect(state)
                self.assertEqual(program.stop(), 130)
                self.assertNotIn("autoreload.py", program.output)

    def test_a_signal_ends_the_loop_with_its_status(self):
        for handler in ("", "import signal; signal.signal(15, lambda *_: exit(0))\n"):
            with self.subTest(handler):
                program = self.program(app=handler + "import time; print('up', flush=True); time.sleep(60)")
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
            (["-m"], "name a target: -m module, a script, a directory, a zip or -c code"),
            (["-"], "name a target: -m module, a script, a directory, a zip or -c code"),
            (["--nonsense", "x"], "unrecognized arguments: --nonsense"),
            (["--grace", "soon", "x"], "argument --grace: invalid number value: 'soon'"),
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
        program.expect(r"autoreload: cannot open app.py \(No such file or directory\), waiting for a change")
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
            ("-u -X dev -Xdev -Wd -W error -OO -bb app.py", "-u -X dev -Xdev -Wd -W error -OO -bb", "app.py"),
            ("-Im mod -u", "-I", "-m mod -u"),
            ("-um mod", "-u", "-m mod"),
            ("-mmod x", "", "-m mod x"),
            ("-uc code x", "-u", "-c code x"),
            ("--check-hash-based-pycs always -m mod", "--check-hash-based-pycs always", "-m mod"),
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
            'VALUE = "[0-9]{5}".*', f'VALUE = "{self.count:05}"{padding}', self.texts[name]
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
                        f"{saves}\n{program.output[max(0, mark - 3000):]}"
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
    return textwrap.dedent(text) + "\nprint('up', flush=True)\nimport time\n" + textwrap.dedent(IDLE)


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
            ("import first", ["app.py"], {"start": f"import {NAME}", "late": f"{NAME}.start()"}),
            ("start last", ["app.py"], {"start": "", "late": begin}),
        ):
            with self.subTest(case):
                program = self.program(own="VALUE = 1")
                program.write("app.py", textwrap.dedent(text).format(edit=edit, **parts))
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
        for words in (["app.py"], [NAME + ".py", "app.py"], [NAME + ".py", "-m", "app"], ["-m", "app"]):
            with self.subTest(words):
                program = self.program(app=text)
                program.run(*words).expect("up 2")

    def test_the_program_itself_is_watched_however_it_is_named(self):
        for words in (["app.py"], ["-m", "app"], ["-m", "pkg.tool"], ["-m", "pkg"], ["pkg"], ["app.zip"], ["./x/../app.py"]):
            for start in ("", f"import {NAME}; {NAME}.start();"):
                with self.subTest(words, start=start):
                    text = start + "import time; print('up', {}, flush=True); time.sleep(60)"
                    names = ["app.py", "pkg/tool.py", "pkg/__main__.py"]
                    files = {name[:-3]: text.format(1) for name in names}
                    program = self.program(**files, **{"pkg/__init__": "", "x/y": ""})
                    self.zip(program, "app.zip", {"__main__.py": files["app"]})
                    program.run(*([] if start else [NAME + ".py"]), *words, env=clean_environment(PYTHONPATH=program.directory))
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
                where = {"": "app/", "..": "", "other/../lib": "app/lib/", "link": "app/lib/"}[path]
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

    def test_a_second_save_of_equal_size_within_the_second_is_not_run_as_the_first(self):
        program = self.program(app=app("import own; print('value', own.VALUE)"), own="VALUE = 0")
        program.wrap("app.py").expect("value 0")
        for value in range(1, 7):
            path = program.path("own.py")
            with open(path, "w") as file:
                file.write(f"VALUE = {value}")
            os.utime(path, ns=(10**18 + value,) * 2)
            program.expect(f"value {value}")

    def test_a_save_with_the_mtime_second_of_the_cached_bytecode_during_the_restart(self):
        program = self.program(own="VALUE = 1")
        own = program.path("own.py")
        os.utime(own, ns=(10**18 + 1,) * 2)
        program.write("app.py", """
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
        """)
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
        for start, words in (("", [NAME + ".py", "app.py"]), (f"import {NAME}; {NAME}.start()", ["app.py"]), (f"import {NAME}", ["app.py"])):
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
                program.expect(f"autoreload: {written} changed after each of the last 3 starts, ignored until another file changes")
                pause(1)
                self.assertNotIn("start 4", program.output)
                program.write("sentinel.py", "1")
                program.expect("sentinel.py changed")
                program.expect("start 4")

    def test_what_the_program_has_others_rewrite_at_each_start_does_not_loop_either(self):
        for case, work in (
            ("subprocess", "subprocess.run([sys.executable, '-c', 'open(\\'own.py\\', \\'w\\').write(chr(35))'])"),
            ("utime", "os.utime('own.py')"),
            ("copy", "shutil.copy('own.py', 'copy'); shutil.copy('copy', 'own.py')"),
            ("move", "shutil.copy('own.py', 'copy'); os.replace('copy', 'own.py')"),
            ("pathlib", "pathlib.Path('own.py').write_text('#')"),
            ("directory descriptor", "os.close(os.open('own.py', os.O_RDWR | os.O_TRUNC, dir_fd=os.open('.', 0)))"),
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
                program.expect("own.py changed after each of the last 3 starts, ignored")


class RecoveryTest(ProgramTest):
    """A failure is mended wherever it can be."""

    def check(self, files, mend, *, words=(NAME + ".py", "--until-success", "app.py"), failed="waiting for a change"):
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
            ("missing module", {"app": "import a.b; " + print_, "a/__init__": "", "a/b": "import missing"}, write("missing.py")),
            ("missing module in a package", {"app": "import a.b; " + print_, "a/__init__": ""}, write("a/b.py")),
            ("missing package", {"app": "import a.b; " + print_}, lambda p: (p.write("a/__init__.py", ""), p.write("a/b.py", ""))),
            ("missing subpackage", {"app": "import a.b.c; " + print_, "a/__init__": ""}, write("a/b/c.py")),
            ("syntax error three imports deep", {"app": "import a; " + print_, "a": "import b", "b": "import c", "c": "def"}, write("c.py", "def f(): 0")),
            ("missing name", {"app": "import a; " + print_, "a": "from b import c", "b": ""}, write("b.py", "c = 1")),
            ("missing data file", {"app": "open('data/x.txt'); " + print_}, write("data/x.txt")),
            ("cause", {"app": "try: open('x.txt')\nexcept OSError as e: raise ValueError from e\n" + print_}, write("x.txt")),
            ("context", {"app": "try: open('x.txt')\nexcept OSError: 1/0\n" + print_}, write("x.txt")),
            ("group", {"app": "try: open('x.txt')\nexcept OSError as e: raise ExceptionGroup('', [e])\n" + print_}, write("x.txt")),
            ("exec'd file", {"app": "exec(compile(open('conf').read(), 'conf', 'exec')); " + print_, "conf": ""}, write("conf", "1")),
            ("null bytes", {"app": "import a; " + print_, "a": "\0"}, write("a.py", "1")),
            ("bad encoding", {"app": "import a; " + print_, "a": "# coding: nonsense"}, write("a.py", "1")),
            ("removed module", {"app": "import os.path\nassert not os.path.exists('a.py')\n" + print_, "a": ""}, lambda p: os.remove(p.path("a.py"))),
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
            for start in ("import os, time", f"import os, time, {NAME}; {NAME}.start()"):
                with self.subTest(fail, start=start):
                    program = self.program(app=start + "\n" + textwrap.dedent(slow).format(fail=fail))
                    program.run(*(["app.py"] if NAME in start else [NAME + ".py", "app.py"])).expect("failing")
                    program.write("c.py", "")
                    program.expect("repaired")

    def test_a_test_file_that_the_runner_failed_to_collect(self):
        good = "import unittest\nclass T(unittest.TestCase):\n    def test(self): print('repaired', flush=True)\n"
        for words in (("-m", "unittest"), ("-m", "unittest", "discover", "-s", "tests")):
            for bad in ("import missing_thing", "def", "1 / 0"):
                with self.subTest(words, bad=bad):
                    self.check(
                        {"tests/__init__": "", "tests/test_x": bad, "test_y": good.replace("repaired", "other")},
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
        program = self.program(app=app(f"import {NAME}; {NAME}.start(check_time=100); {NAME}.watch({watched!r})"))
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
            (lambda p: os.rename(p.path("data/new.txt"), p.path("data/other.txt")), "data/(new|other).txt"),
            (lambda p: os.remove(p.path("data/sub/deep/x.txt")), "data/sub/deep/x.txt"),
            (lambda p: os.rename(p.path("data/sub"), p.path("data/sub2")) or p.write("data/sub2/y.txt", ""), "data/sub2/y.txt"),
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
        self.story("a[1].txt", (lambda p: p.write("a[1].txt", "2"), re.escape("a[1].txt")), before=lambda p: p.write("a[1].txt", "1"))

    def test_what_a_directory_watch_skips(self):
        names = (".hidden/x", ".hidden.txt", "__pycache__/x.pyc", "node_modules/a/x.js", "x.txt~", ".x.txt.swp", "#x.txt#", "4913", "x.tmp", "venv/lib/x.py", ".git/index")
        program = self.program(app=app("import sentinel"), sentinel="", **{"data/venv/pyvenv": ""})
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

        for watched, named in (("current", "current.*"), ("current/x.txt", "current/x.txt"), ("current/*.txt", "current/x.txt")):
            with self.subTest(watched):
                def before(program):
                    for name in ("one", "two"):
                        program.write(name + "/x.txt", name)
                        os.utime(program.path(name, "x.txt"), (10**9, 10**9))
                    os.symlink("one", program.path("current"))

                self.story(watched, (swap, named), (lambda p: p.write("two/x.txt", "two again"), "current/x.txt"), before=before)

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
        program = self.program(app=app("""
            import sys, time; sys.path.insert(0, 'lib.zip'); import own; print('own', own.VALUE)
            time.sleep(0.5)  # until the zip has been looked at
        """))
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
        for pattern, before in (("own.py", True), ("own.py", False), ("*/own.py", False), ("{dir}/own.py", False), ("pkg", False), ("pkg", True), ("pkg/*", True)):
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
                    own="", sentinel="", **{"pkg/__init__": "", "pkg/one": ""},
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
            app=app("""
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
            """.replace("\\\\", "\\")),
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
        odd = [b"surrogate-\xff.py", b"line\nfeed.py", b"-rf.py", b"\x1b[31m.py", b"a[b].py"]
        for name in odd:
            open(os.path.join(os.fsencode(program.path("data")), name), "w").close()
        program.wrap("--watch", "data", "--check-time", "100", "app.py").expect("up")
        for name in odd:
            with open(os.path.join(os.fsencode(program.path("data")), name), "w") as file:
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
        program.run("-u", NAME + ".py", "--watch=watched", "-m", "http.server", str(port))
        for _ in range(2):
            program.expect("Serving HTTP on")
            self.assertTrue(self.serve(program, port))
            program.write("watched", "")
            program.expect("autoreload: watched changed, restarting")
        program.expect("Serving HTTP on")
        self.assertEqual(program.stop(), 130)

    def test_start_in_a_program(self):
        text = self.snippet("ignore(").replace("autoreload.wait", "print('ready');autoreload.wait")
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
        program.expect("autoreload: unittest exited with status 1, waiting for a change")
        program.write("test_app.py", "import unittest\nclass Test(unittest.TestCase):\n def test(self): pass")
        program.expect("OK")
        self.assertEqual(program.rest(), 0)

    def test_no_connection_is_refused(self):
        port = self.free_port()
        text = self.snippet("listen(").replace("8000", str(port))
        text = text.replace("start()", "start(); print('start', autoreload.restarts, flush=True)")
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
