# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py: `python -m unittest`, beside the file and with nothing else.

Up to the restart the parts are called directly, with values.  From the restart on, real
programs run in real processes, and nothing is simulated.
"""

import contextlib
import os
import py_compile
import re
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
        while True:
            line, newline, rest = self._unread.partition("\n")
            if newline:
                self._unread = rest
                if match := re.search(pattern, line):
                    return match
            elif not self._read():
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



def readme_snippets(language):
    """Return the README's code blocks in a language."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md")
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
