# SPDX-License-Identifier: MIT-0
#
# One file, standard library only: copy it into your project.
"""Restart a Python program when its source changes.

A restart is what you would have done by hand: Ctrl-C, arrow-up, Enter.

    python autoreload.py -m http.server 8000

or, in a program:

    import autoreload
    autoreload.start()

There are two processes.  The *shell* is what was typed above.  It runs no code of
yours, so all that it hands on is still as at launch.  It starts the program, waits for
its end, and starts it again; after a failure it waits for a change first.

The *program* is your command, run by Python itself.  The shell gets this file into it
by a `sitecustomize` module, imported before the first line of yours.  There, a thread
polls the modification times of all loaded modules.  After a change it presses Ctrl-C.

What the shell must know then stands in the *report*, a file of lines to which the
program and its forked workers append.  A plain program that calls `start` has no shell
yet: at its first restart it becomes one.
"""

import _thread
import marshal
import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # at run time, load() imports them when watching begins
    import argparse
    import atexit
    import ctypes
    import errno
    import fnmatch
    import gc
    import inspect
    import re
    import resource
    import runpy
    import select
    import signal
    import socket
    import subprocess
    import termios
    import traceback
    import warnings
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NoReturn, TypeVar

    Hook = TypeVar("Hook", bound=Callable[..., object])
    Path = str | os.PathLike[str]
    Words = list[str]
    Facts = dict[str, Any]
    Stamp = tuple[int, ...] | None  # None: there is no such file

__version__ = "2.0.0"
__all__ = ["add_reload_hook", "ignore", "listen", "main"]
__all__ += ["restart", "restarts", "start", "wait", "watch"]

restarts = 0  # how many times the program has been restarted


def start(io_loop: "Any" = None, check_time: float = 500, *, grace: float = 2) -> None:
    """Begin to watch in a daemon thread, and return at once.

    A change is seen within `check_time` milliseconds.  Hooks, and then the end of the
    program, may take `grace` seconds each.  Hooks run on the thread of `io_loop`: an
    asyncio loop, a Tornado IOLoop, a Twisted reactor, a trio token, or a function that
    schedules a function.  None takes the asyncio loop that runs here, or a new thread.

    May be called again, from any thread.  Where there is no command to repeat, as in a
    notebook, it warns and does nothing.  On Windows, without a shell, it runs the same
    command as the program instead of returning.  Raises TypeError or ValueError.
    """
    if isinstance(io_loop, (int, float)):  # tornado 5 and later: start(check_time)
        check_time, io_loop = io_loop, None
    check_number("check_time", check_time, 1)
    check_number("grace", grace, 0)
    scheduler(io_loop)
    _program.begin(io_loop, check_time=check_time, grace=grace)


def wait() -> None:
    """Block until a watched file changes, then restart: for the end of a script."""
    while _program.begin():
        time.sleep(5)


def watch(path: "Path") -> None:
    """Also watch a file, a directory with all below, or a glob, existing or not."""
    path = os.path.abspath(check_path(path))
    is_expected = split_glob(path)[1] or os.path.exists(path)
    if not (is_expected or restarts or _program.launch.is_off):
        name = name_of(path, _program.launch.directory)
        say(f"{name} does not exist yet, waiting for it")
    # The clock of files may be a little behind.
    _program.report.tell("watch", (path, stamp_of(path), time.time_ns() - 10**7))


def ignore(pattern: "Path") -> None:
    """Never restart for paths that match a glob, or lie below one that does.

    A pattern with `/` or `..` in it is relative to the working directory; any other is
    compared with each name in a path as seen from there.  Raises TypeError, ValueError.
    """
    pattern = check_path(pattern)
    is_name = not {"/", os.sep} & set(pattern) and pattern != ".."
    _program.report.tell("ignore", pattern if is_name else os.path.abspath(pattern))


def add_reload_hook(fn: "Hook") -> "Hook":
    """Call `fn()`, async or not, before each restart, in order; return `fn`.

    A function that requires one positional argument gets the list of changed paths.
    """
    if not callable(fn):
        raise TypeError(f"a reload hook must be callable, not {fn!r}")
    load("inspect")
    fits = attempt(lambda: inspect.signature(fn).bind)
    wants_paths = not attempt(fits) and attempt(lambda: fits([]))
    _program.hooks.append((fn, bool(wants_paths)))
    return fn


def restart() -> None:
    """Restart now, as after a change; before `start`, as soon as it watches."""
    _program.report.tell("request")


def listen(address: "Path | tuple[str, int]") -> "socket.socket":
    """Return a listening socket that stays open across restarts.

    `address` is (host, port), an empty host meaning IPv4 and IPv6, or a Unix socket's
    path; the same address gives the same socket.  On Windows it is an ordinary one, and
    for (host, port) alone.  Raises TypeError, ValueError, OSError.
    """
    if not isinstance(address, tuple):
        address = check_path(address)
        if not IS_POSIX:
            raise ValueError(f"on Windows an address must be (host, port): {address!r}")
    elif list(map(type, address)) != [str, int]:
        raise TypeError(f"an address must be (host, port) or a path, not {address!r}")
    load("errno", "socket")
    is_ordinary = _program.launch.is_off or not IS_POSIX
    return open_socket(address) if is_ordinary else _program.sockets.listen(address)


def main(argv: "Words | None" = None) -> "NoReturn":
    """Run the command line, as `python autoreload.py --help` describes it."""
    options, target = parse(sys.argv[1:] if argv is None else argv)
    if not os.path.isfile(FILE):
        sys.exit("autoreload: a copy in a zip cannot be run")
    load(*SHELL_MODULES)
    if _program.launch.is_off:
        words = [sys.executable, *_program.launch.flags, *target]
        if IS_POSIX:
            os.execv(sys.executable, words)
        signal.signal(signal.SIGINT, lambda *_: None)  # it is for the program
        end_as(subprocess.call(words))
    Shell(target, options, _program.state).run()


def check_number(name: str, value: object, least: float) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not least <= value < 1e9:
        raise ValueError(f"{name} must be at least {least} and below 1e9, not {value}")


def check_path(path: "Path") -> str:
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise TypeError(f"a path must be str or os.PathLike, not {path!r}")
    if not text or "\0" in text:
        raise ValueError(f"a path must not be empty nor contain NUL: {text!r}")
    return text


# --- The shell: it runs the program, again and again ----------------------------------


class Shell:
    """The process that was launched: it starts the program, waits, and decides."""

    def __init__(self, target: "Words", options: "Facts", state: "Facts") -> None:
        self.target, self.options = target, options
        self.name = target[1] if target[0] == "-m" else target[0]
        self.script = "." if target[0] in ("-m", "-c") else target[0]  # must be there
        self.directory = state.get("directory", _program.launch.directory)
        self.restarts = 0
        self.extra = -1  # the run that was begun for what was saved as one succeeded
        self.streak: "dict[str, int]" = {}  # see Watcher
        self.child = Child(state)
        self.sockets = SharedSockets(state.get("sockets", {}))
        self.open_report(state.get("folder", ""), state.get("began", 0))

    def run(self) -> "NoReturn":
        if not self.report.folder:  # else there was a first run: a plain program
            self.start_program()
        load(*BOTH_MODULES)  # now, since the program takes some time to start
        while True:
            self.wait_for_end()
            self.take_what_is_left()
            self.end_if_asked()
            if not self.is_restart:
                self.end_if_done()
                self.wait_for_change()
            self.prepare_restart()
            self.start_program()

    def start_program(self) -> None:
        """Start the program, as soon as all that it needs is there; say what is not."""
        said = ""
        while lack := self.try_to_start():
            if lack != said:
                say(f"cannot run {lack}, waiting until it is back", RED)
            said = lack
            self.wait_a_moment(0.2)

    def try_to_start(self) -> str:
        """Start it, or return what is missing: a branch switch, an installation."""
        self.report.remove()
        try:
            os.chdir(self.directory)  # it may be a new one of the same name
            # At first, Python tells that there is no such script.
            for path in (sys.executable, FILE, self.script) if self.restarts else ():
                os.stat(path)
            self.open_report(make_folder(), time.time_ns())
            if self.options.get("clear") and os.isatty(1):
                os.write(1, b"\033[H\033[2J\033[3J")
            self.child.start(*way_in(self))
        except OSError as error:
            name = name_of(error.filename or "the program", self.directory)
            return f"{name} ({error.strerror})"
        return ""

    def open_report(self, folder: str, began: int) -> None:
        self.report = Report(folder)
        self.watcher = Watcher(self.directory, self.streak, began)
        self.asked = -1e9, 0  # when, monotonic, and by which signal the user said: end

    def wait_for_end(self) -> None:
        """Wait for the program's end; pass signals on, and look after it meanwhile."""
        while self.child.pid or self.child.heard:
            number = self.child.wait(2)
            self.watcher.hear(self.report)
            if number in numbers_of(ENDING):
                self.asked = monotonic(), number
                self.report.tell("signal", self.asked[0])
            if self.child.pid and number in numbers_of(PASSED):
                self.child.pass_on(number, "began" in self.report.told)
            elif self.child.pid and not number:
                self.look()

    def look(self) -> None:
        """See whether the program still watches; if not, end it for a change."""
        grace, told = self.watcher.settings["grace"], self.report.told.keys()
        is_ending = monotonic() < self.report.last("restart", [-1e9])[0] + 2 * grace + 5
        # A debugger may have stopped all threads.
        is_held_up = is_ending or self.child.is_stopped or "debugger" in told
        if is_held_up or (silent_looks := self.report.count_silence()) < 5:
            return
        if "began" not in told and silent_looks == 5:
            say(f"{self.name} does not let autoreload in, a change is seen at its end")
        elif reason := self.watcher.look_for_reason("the program hangs"):
            self.report.tell("restart", (monotonic(), (), ()))
            say(f"{reason} and the program hangs, restarting")
            end_processes(self.child.alive, grace, signal.SIGINT)

    def take_what_is_left(self) -> None:
        self.watcher.hear(self.report)
        # Without a report, it could not tell.
        is_lost = not os.path.exists(self.report.path)
        is_untold = is_lost and self.child.status == RESTART
        self.is_restart = is_untold or "restart" in self.report.told
        self.child.terminal.restore(self.is_restart)
        listened = self.report.told.get("listen", [])
        # A short run may have ended before it came to that.
        is_all = listened or monotonic() > self.watcher.start + 10
        self.sockets.keep(listened, bool(is_all and self.is_restart))
        if self.child.status not in (0, RESTART):
            end_processes(self.child.leftovers, 0.5)

    def end_if_asked(self) -> None:
        """End if a signal of the user's has ended the program, and was not survived."""
        # What runs a minute longer, or a grace until a restart begins, has survived it.
        restart = self.report.last("restart", [monotonic() - 60])[0]
        moment, number = self.asked
        if moment > restart - self.watcher.settings["grace"] * self.is_restart:
            self.end(-number if self.is_restart else self.child.status)

    def end_if_done(self) -> None:
        """End if no change could lead to another run, or nobody would see it."""
        script = os.path.normpath(os.path.join(self.directory, self.script))
        read = self.watcher.loaded & {script, os.path.join(script, "__main__.py")}
        no_script = not read and not os.path.exists(script)
        is_missing = no_script or "missing" in self.report.told
        if is_missing and self.child.status in (1, 2) and not self.restarts:
            self.end(2)  # there is no such target, as Python has said
        is_done = self.child.status == 0 and "until_success" in self.options
        # It may have read a source that was just being saved: that is still to run.
        # But once only: what has been saved may be its own work.
        can_repeat = is_done and self.restarts != self.extra
        if can_repeat and self.watcher.look_for_reason("the program has ended"):
            is_done = not self.watcher.pending & self.watcher.loaded
            self.extra = self.restarts + 1
        by_signal = {CONTROL_C, *(-number for number in numbers_of(ENDING))}
        if is_done or self.child.status in by_signal or is_broken(1):
            self.end(self.child.status)

    def wait_for_change(self) -> None:
        outcome = "failed" if "failure" in self.report.told else self.child.outcome()
        if self.child.status:
            self.watcher.watch_sources(*self.report.last("failure", ([], [])))
        say(f"{self.name} {outcome}, waiting for a change", RED * (outcome != "ended"))
        while not (reason := self.watcher.look_for_reason("waiting for a change")):
            self.wait_a_moment(self.watcher.pause)
        say(f"{reason}, restarting")

    def wait_a_moment(self, seconds: float) -> None:
        """Wait while there is no program; end if that is the user's will."""
        number = self.child.wait(seconds)
        if number and number in numbers_of(ENDING):
            self.end(-number)
        if monotonic() > self.watcher.due and is_broken(1):  # once in a round
            self.end(self.child.status)

    def prepare_restart(self) -> None:
        if self.child.status != RESTART or not IS_POSIX:
            end_processes(self.child.leftovers, 0.5)
        _, changed, soon = self.report.last("restart", (0, (), ()))
        found = self.watcher.soon.union(soon)
        self.streak = {path: self.streak.get(path, 0) + 1 for path in found}
        differing = self.watcher.compare(self.watcher.own)
        drop_bytecode(self.watcher.pending.union(changed, differing))
        self.restarts += 1

    def end(self, status: int) -> "NoReturn":
        self.report.remove()
        end_as(status)


# --- The child: how the shell starts a program, waits for it, and ends it -------------


class Posix:
    """A child process, and the signals of the shell, which come at one place only."""

    pid = group = 0  # of the program; pid is 0 when it is gone
    is_stopped = False  # but not gone

    def __init__(self, state: "Facts") -> None:
        self.status: int = state.get("status", 0)  # -n: it has died of signal n
        self.heard: "set[int]" = set()  # signals that wait() is still to return
        self.terminal = Terminal()
        self.neighbours = set(members(os.getpgrp()) if self.terminal.is_there else ())
        self.hear_signals(state)
        self.reap()  # what a plain first run has left may have ended already

    def hear_signals(self, state: "Facts") -> None:
        """Ignore what was ignored at launch; have the others come to wait()."""
        ignored = set(state.get("ignored", ignored_signals()))
        for n in ignored_signals() | ignored:  # a plain program may change that
            signal.signal(n, signal.SIG_IGN if n in ignored else signal.SIG_DFL)
        while IS_POSIX and os.open(os.devnull, os.O_RDWR) < 3:
            pass  # else messages would go into a socket of ours, for a closed stderr
        self.inbox, self.outbox = socket.socketpair()
        self.outbox.setblocking(False)
        signal.set_wakeup_fd(self.outbox.fileno(), warn_on_full_buffer=False)
        for number in numbers_of(PASSED) - ignored | numbers_of(["SIGCHLD"]):
            signal.signal(number, lambda number, frame: self.heard.add(number))
        # Back to the launch's for the program; SIGTTOU would stop Terminal.restore().
        self.mask = state.get("mask", hold_back(numbers_of(["SIGTTOU"])))

    def start(self, words: "Words", environment: "dict[str, str]") -> None:
        """Start the program as at launch, but for Ctrl-C: Python would die of it."""
        options: "Facts" = {} if self.terminal.is_there else {"setpgroup": 0}
        options["setsigmask"] = {*self.mask, signal.SIGINT}  # until enter()
        options["setsigdef"] = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores them
        self.pid = os.posix_spawn(words[0], words, environment, **options)
        self.group = os.getpgrp() if self.terminal.is_there else self.pid

    def wait(self, seconds: float) -> int:
        """Wait for a signal; return its number, or 0 if none has come in time."""
        if select.select([self.inbox], [], [], 0 if self.heard else seconds)[0]:
            self.inbox.recv(4096)  # which only ends the wait; it may have been full
        self.reap()
        return self.heard.pop() if self.heard else 0

    def reap(self) -> None:
        """Take the status of whatever has ended."""
        options = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
        while any(ended := attempt(lambda: os.waitpid(-1, options)) or (0, 0)):
            if ended[0] == self.pid:  # else it was an orphan
                self.is_stopped = os.WIFSTOPPED(ended[1])
                if os.WIFEXITED(ended[1]) or os.WIFSIGNALED(ended[1]):
                    self.pid, self.status = 0, os.waitstatus_to_exitcode(ended[1])

    def outcome(self) -> str:
        if self.status < 0:
            name = attempt(lambda: signal.Signals(-self.status).name)
            return f"died of {name or -self.status}"  # a realtime signal has no name
        return f"exited with status {self.status}" if self.status else "ended"

    def pass_on(self, number: int, has_begun: bool) -> None:
        """Let the program have a signal, unless the terminal has sent it to both."""
        is_typed = number in numbers_of(TYPED)
        # Until it has begun, that may have come before it; two Ctrl-C are one to it.
        if not (has_begun and is_typed and self.terminal.is_foreground()):
            is_for_all = is_typed and not self.terminal.is_there
            send(number, [-self.group if is_for_all else self.pid])

    def alive(self) -> "list[int]":
        """Return the program's process, as long as there is one."""
        self.reap()
        return [self.pid] if self.pid else []

    def leftovers(self) -> "Iterable[int]":
        """Return the eldest of what the program has left in its process group."""
        found = members(self.group) if self.group else {}
        parents = found.keys() - {os.getpid()}
        # What has one of these is found when that has ended.
        return {p for p in found if found[p][0] not in parents} - self.neighbours


class Windows(Posix):
    """The same without SIGCHLD; a console sends Ctrl-C to shell and program."""

    def hear_signals(self, state: "Facts") -> None:
        """Have signals come to wait(); join a job, with all that is started later."""
        super().hear_signals(state)
        self.kernel: "Any" = getattr(ctypes, "WinDLL")("kernel32")
        self.job = ctypes.c_void_p(self.kernel.CreateJobObjectW(None, None))
        self.kernel.AssignProcessToJobObject(self.job, ctypes.c_void_p(-1))

    def limit_job(self) -> None:
        """While there is a program, have Windows end it with us, however we end."""
        limits = (ctypes.c_uint32 * (36 if sys.maxsize > 2**32 else 28))()
        limits[4] = 0x2800 if self.pid else 0x800  # KILL_ON_JOB_CLOSE, BREAKAWAY_OK
        self.kernel.SetInformationJobObject(self.job, 9, limits, ctypes.sizeof(limits))

    def start(self, words: "Words", environment: "dict[str, str]") -> None:
        self.process = subprocess.Popen(words, env=environment)
        self.pid = self.process.pid
        self.limit_job()
        start_thread(self.tell_end, ())

    def tell_end(self) -> None:
        self.process.wait()
        attempt(lambda: self.outbox.send(b"\0"))  # it may be full

    def reap(self) -> None:
        if self.pid and self.process.poll() is not None:
            self.pid, self.status = 0, self.process.returncode
            self.limit_job()

    def pass_on(self, number: int, has_begun: bool) -> None:
        if not has_begun:  # Python heeds no Ctrl-C while it starts
            send(CONTROL_C, [self.pid])

    def leftovers(self) -> "Iterable[int]":
        """Return what is in the job and has our console: no browser, no editor."""
        ids, ours = (ctypes.c_size_t * 4096)(), (ctypes.c_uint32 * 4096)()
        self.kernel.QueryInformationJobObject(self.job, 3, ids, 4 * len(ids), None)
        self.kernel.GetConsoleProcessList(ours, len(ours))
        return set(ids) & set(ours) - {0, os.getpid()}  # the first are counts, not ids


Child = Windows if os.name == "nt" else Posix


# --- The terminal: what is set there, and who reads what we write ---------------------


class Terminal:
    """The terminal that controls us, if there is one, and what is set there."""

    def __init__(self) -> None:
        self.settings = self.ask(lambda fd: termios.tcgetattr(fd))
        self.is_there = self.settings is not None

    def ask(self, fn: "Callable[[int], Any]") -> "Any":
        """Call a function with a descriptor of the terminal; None if there is none."""
        fd = attempt(lambda: os.open(os.ctermid(), os.O_RDWR))
        answer = attempt(lambda: fn(fd))
        attempt(lambda: os.close(fd))
        return answer

    def is_foreground(self) -> bool:
        """Whether what is typed there, as Ctrl-C, goes to our process group."""
        return bool(self.ask(lambda fd: os.tcgetpgrp(fd) == os.getpgrp()))

    def restore(self, is_restart: bool = True) -> None:
        """Put the settings back, and us into the foreground if nobody is there."""
        group = self.ask(lambda fd: os.tcgetpgrp(fd))
        if group and group != os.getpgrp() and not members(group):
            self.ask(lambda fd: os.tcsetpgrp(fd, os.getpgrp()))
        if self.is_foreground():
            # A restart throws away what was typed and not read, as Ctrl-C does.
            when = termios.TCSAFLUSH if is_restart else termios.TCSANOW
            self.ask(lambda fd: termios.tcsetattr(fd, when, self.settings))
        for fd in range(3):  # an event loop of the program may have changed that
            attempt(lambda: os.set_blocking(fd, True))


def is_broken(fd: int) -> bool:
    """Whether nobody reads any more what is written there: of a pipe, or a terminal."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


# --- The processes: what has been started, and how it is ended ------------------------

TYPED = "SIGINT", "SIGQUIT", "SIGHUP", "SIGBREAK"  # a terminal sends them to all
ENDING = *TYPED, "SIGTERM"  # by these a user ends a program
PASSED = *ENDING, "SIGUSR1", "SIGUSR2"  # the shell lets the program have them
CONTROL_C = 0xC000013A  # the exit status of what Ctrl-C has ended on Windows
# How multiprocessing starts its workers, where it does not fork.
HELPERS = "-c from multiprocessing.", "-c import sys; from multiprocessing."
PS = "ps -axww -o pid= -o ppid= -o pgid= -o stat= -o command=".split()


def numbers_of(names: "Iterable[str]") -> "set[int]":
    return {int(getattr(signal, name)) for name in names if hasattr(signal, name)}


def ignored_signals() -> "set[int]":
    """Return which signals are ignored, but for those that Python itself ignores."""
    numbers = signal.valid_signals() - numbers_of(["SIGPIPE", "SIGXFSZ"])
    return {int(n) for n in numbers if signal.getsignal(n) == signal.SIG_IGN}


def members(group: int) -> "dict[int, tuple[int, bool]]":
    """Return parents of a group's living processes, and whether each is a worker."""
    rows = rows_of_proc(group) if HAS_PROC else rows_of_ps()
    return {  # but for multiprocessing's tracker, which ends after all others
        pid: (parent, is_forked or any(text in command for text in HELPERS))
        for pid, parent, job, state, is_forked, command in rows
        if job == group and state not in "ZX" and ".resource_tracker" not in command
    }


def rows_of_proc(group: int) -> "Iterator[tuple[int, int, int, str, bool, str]]":
    """Yield id, parent, group, state, whether it has executed nothing, and command."""
    for pid in filter(str.isdigit, attempt(lambda: os.listdir("/proc")) or ()):
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].decode().split()
        if fields and int(fields[2]) == group:  # these are from the state on
            command = os.fsdecode(read(f"/proc/{pid}/cmdline").replace(b"\0", b" "))
            is_forked = bool(int(fields[6]) & 0x40)  # PF_FORKNOEXEC
            yield int(pid), int(fields[1]), group, fields[0], is_forked, command


def rows_of_ps() -> "Iterator[tuple[int, int, int, str, bool, str]]":
    """Yield the same without /proc: what has its parent's command was forked."""
    lines = (attempt(lambda: subprocess.check_output(PS)) or b"").splitlines()
    rows = [row for line in lines if len(row := os.fsdecode(line).split(None, 4)) == 5]
    commands = {row[0]: row[4] for row in rows}
    for pid, parent, group, state, command in rows:
        is_forked = commands.get(parent) == command
        if command != " ".join(PS):  # it lists itself
            yield int(pid), int(parent), int(group), state[0], is_forked, command


def send(number: int, pids: "Iterable[int]") -> None:
    for pid in pids:
        attempt(lambda: os.kill(pid, number))


def hold_back(signals: "Iterable[int]") -> "Any":
    """Set which signals this thread does not get; return which those were before."""
    return attempt(lambda: signal.pthread_sigmask(signal.SIG_SETMASK, signals))


def end_processes(find: "Callable[[], Any]", grace: float, number: int = 15) -> None:
    """Send a signal, by default SIGTERM; kill what is still found after the grace."""
    deadline, asked = monotonic() + grace, set[int]()
    while (found := set(find())) and (left := deadline - monotonic()) > -1:
        send(number, found - asked)
        send(9, found if left < 0 else ())  # SIGKILL, by its name unknown to Windows
        asked |= found
        sleep(0.01)


def end_as(status: int) -> "NoReturn":
    """End this process as another has ended: with its status, or by the same signal."""
    if status < 0 and IS_POSIX:  # as PID 1, it gets none of its own, and goes on
        attempt(lambda: signal.signal(-status, signal.SIG_DFL))  # not for SIGKILL
        os.kill(os.getpid(), -status)
    code = status if status >= 0 else 128 - status
    os._exit(code - 2**32 if code >= 2**31 else code)  # of a crash on Windows


def descendants(workers: "bool | None" = None) -> "list[int]":
    """Return what the program has started in its group: workers, others, or all."""
    if not IS_POSIX:  # there the shell ends what is in its job; these would be joined
        find = getattr(sys.modules.get("multiprocessing"), "active_children", list)
        return [it.pid for it in find() if workers is not False and not it.daemon]
    found = members(os.getpgrp()) if has_children() else {}
    family = {os.getpid()}
    for _ in found:  # there are at most so many generations
        family |= {pid for pid in found if found[pid][0] in family}
    return [pid for pid in family - {os.getpid()} if workers in (None, found[pid][1])]


def has_children() -> bool:
    """Whether there are any: all processes are read for that, which takes long."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return True
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT  # it raises where there are none
    return attempt(lambda: [os.waitid(os.P_ALL, 0, options)]) is not None


# --- The program: it watches itself, and ends for its next run ------------------------


class Program:
    """The process that runs the user's code."""

    is_looking = False  # whether the thread that watches runs

    # How far a stop is; the thread that watches and the main thread tell each other.
    is_stopping = False  # until the main thread sees that it has ended by hand
    is_asked = False  # whether the hooks are done, and it is to end now
    is_ending = False  # whether the main thread has left the user's code
    has_ended = False  # whether it is past the exit functions

    def __init__(self, state: "Facts") -> None:
        self.state = state  # what another process of ours has told; a plain program: {}
        self.options: "Facts" = state.get("options", {})  # of the command line
        self.launch = Launch()
        self.target: "Words" = state.get("target", self.launch.target)
        self.pid = os.getpid()
        self.report = Report(state.get("folder", ""))
        self.sockets = Sockets(state, self.report)
        self.hooks: "list[tuple[Callable[..., object], bool]]" = []  # add_reload_hook()
        self.begun = _thread.allocate_lock()  # taken by the first begin(), for ever

    def begin(self, io_loop: "Any" = None, **settings: float) -> bool:
        """Begin to watch, if that is possible; return whether it is."""
        if self.launch.is_off:
            return False
        if is_first := self.begun.acquire(blocking=False):
            # All that will ever be needed: nothing is imported after that.
            load(*BOTH_MODULES, target=self.target[:1])
        if is_first and not self.state and (obstacle := self.launch.obstacle()):
            self.launch.is_off = True  # so that it is said once
            text = f"autoreload: {obstacle}, nothing is watched"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
            return False
        if is_first and not self.state and not IS_POSIX:
            main(["--until-success", *self.target])
        if is_first or settings:  # else it is wait() that asks
            self.io_loop: "Any" = running_loop() if io_loop is None else io_loop
            self.report.tell("settings", settings | self.options)
        if is_first:
            self.set_up()
        return True

    def set_up(self) -> None:
        if not self.state:
            self.launch.note_process()
            self.report.folder = make_folder()
        self.main_ident = main_thread_ident()
        warnings.filterwarnings("ignore", ".* use of fork", DeprecationWarning)
        warnings.filterwarnings("ignore", module="<autoreload>")  # see compiles()
        streak = self.state.get("streak", {})
        self.watcher = Watcher(self.launch.directory, streak, self.launch.began)
        self.imports = Imports(self.report, self.watcher)
        # At once: a program that ends has no __main__.__file__ any more.
        self.imports.list_modules()
        scripts = [word for word in self.target[1:] if word.endswith((".py", ".pyw"))]
        for path in map(absolute, self.target[:1] + scripts):  # -m pdb app.py
            if not self.state:  # it has been read already, and time tells
                stamp = stamp_since(path, self.launch.began)
                self.watcher.stamps.setdefault(path, stamp)
            self.imports.note(path)
        for name, note in ("ignore", ignore), ("watch", watch):
            for value in self.options.get(name, ()):
                note(value)
        self.report.tell("began")
        sys.meta_path.insert(0, self.imports)
        atexit.register(at_exit, self)
        start_thread(self.keep_looking, ())
        # Python 3.11 may crash where it goes on, or ends, while a thread just starts.
        wait_until(lambda: self.is_looking, monotonic() + 1)

    def keep_looking(self) -> None:
        hold_back(signal.valid_signals())  # those are for the program's threads
        self.is_looking, said = True, set[str]()
        while True:
            sleep(min(self.watcher.pause, 1))
            try:
                self.look()
            except Exception as error:
                if repr(error) not in said:
                    said.add(repr(error))
                    show_error("something unexpected happened, watching goes on")

    def look(self) -> None:
        """Look once; restart if something has changed, end if the shell is gone."""
        self.report.beat()
        # Each of these takes its time, so once in a round, or at once if we told.
        if monotonic() >= self.watcher.due or self.report.is_new:
            self.imports.list_modules()
            self.watcher.hear(self.report)
            if "pydevd" in sys.modules and "debugger" not in self.report.told:
                self.report.tell("debugger")
            if IS_POSIX and self.state and os.getppid() != self.state["pid"]:
                self.end("")
        reason = self.watcher.look_for_reason("the old code runs on")
        reason = reason or "restart() was called" * ("request" in self.report.told)
        if reason and not is_debugging() and (self.state or self.launch.can_repeat()):
            self.watcher.hear(self.report)  # the user may just have sent a signal
            grace = self.watcher.settings["grace"]
            if monotonic() > self.report.last("signal", -1e9) + grace:
                self.end(reason)

    def end(self, reason: str) -> None:
        """End the program for its next run; without a reason, for good."""
        if self.has_ended:
            _thread.exit()  # by itself; the shell, if there is one, looks, too
        self.is_stopping = True  # first: the main thread may be about to end
        if reason:
            files = self.watcher.pending, self.watcher.soon
            self.report.tell("restart", (monotonic(), *files))
            say(f"{reason}, restarting")
        stop(self)
        if not self.state:
            self.launch.become_shell(RESTART, self.report, self.sockets)
        if not reason:  # nobody is there to do it
            self.report.remove()
        os._exit(RESTART)


# --- The stop: hooks, Ctrl-C, and the end of what the program has started -------------


def stop(program: Program) -> None:
    """End the program as by hand, within its grace, but for the process itself."""
    atexit.unregister(at_exit)
    atexit.register(at_exit, program)  # the last is called first, and runs the others
    grace = program.watcher.settings["grace"]
    deadline, anyway = monotonic() + grace, f"after {grace:g} s, restarting anyway"
    for hook, wants_paths in program.hooks:
        args = [sorted(program.watcher.pending)] if wants_paths else []
        if not call_hook(hook, args, program.io_loop, deadline):
            say(f"hook {hook_name(hook)} is not done {anyway}", RED)
    deadline, before = monotonic() + grace, last_error()
    is_heeded = interrupt(program)
    send(signal.SIGINT, descendants(workers=False))
    if is_heeded:
        half = deadline - grace / 2
        wait_until(lambda: program.has_ended or last_error() is not before, half)
        send(signal.SIGTERM, descendants(workers=True))
        if not wait_until(lambda: program.has_ended, deadline):
            say(f"main thread is at {position(program)} {anyway}", RED)
        wait_until(requests_are_done, deadline)
    if not program.is_stopping:  # it has ended by hand
        _thread.exit()
    end_processes(descendants, max(0.5, deadline - monotonic()))
    if not program.is_ending:  # else the main thread runs them, or hangs in one
        call_hook(run_exit_functions, [], None, monotonic() + 1)
    call_hook(close_files, [], None, monotonic() + 1)  # only now: requests are done


def interrupt(program: Program) -> bool:
    """Press Ctrl-C, unless it ends already; return whether to wait for its end."""
    sys.excepthook = without_interrupts(sys.excepthook)
    sys.unraisablehook = without_interrupts(sys.unraisablehook)
    # Two signals that come together are one: give a Ctrl-C of the user's its time.
    sleep(0.002)
    if not program.state and isinstance(last_error(), KeyboardInterrupt):
        return True  # the user's, which is just being shown
    program.is_asked = True
    handler: "Any" = signal.getsignal(signal.SIGINT)
    if program.is_ending or handler in (signal.SIG_IGN, signal.SIG_DFL):
        return program.is_ending
    if hasattr(getattr(handler, "__self__", None), "allow_kbdint"):
        handler.__self__.allow_kbdint = True  # else pdb would open its prompt
    if IS_POSIX:  # interrupt_main() would not wake a thread that sleeps
        signal.pthread_kill(program.main_ident, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
    attempt(lambda: scheduler(program.io_loop)(int))  # it may just have gone to sleep
    sleep(0.002)
    return True


def without_interrupts(report: "Callable[..., object]") -> "Callable[..., None]":
    """Return a hook of sys that reports all but a KeyboardInterrupt, as ours is."""

    def report_others(*args: "Any") -> None:
        error = args[1] if len(args) == 3 else args[0].exc_value
        is_all = attempt(lambda: error.split(KeyboardInterrupt)[1] is None)  # by trio
        if not (is_all or isinstance(error, KeyboardInterrupt)):
            report(*args)
        elif len(args) == 3:
            hold_back({signal.SIGINT})  # the next one is for the shell

    return report_others


def position(program: Program) -> str:
    """Return where the main thread is, in the user's own code if it is there."""
    stack = traceback.walk_stack(sys._current_frames().get(program.main_ident))
    places = [(absolute(f.f_code.co_filename), line) for f, line in stack]
    others = [place for place in places if place[0] != FILE]  # none: it has ended
    own = [p for p in others if "<frozen" not in p[0] and not is_installed(p[0])]
    for path, line in own or others:
        return f"{name_of(path, program.launch.directory)}:{line}"
    return "its end"


def requests_are_done() -> bool:
    """Whether no thread of a server of `socketserver` answers a request any more."""
    threads: "list[Any]" = getattr(sys.modules.get("threading"), "enumerate", list)()
    return not any("(process_request_thread)" in thread.name for thread in threads)


def is_debugging() -> bool:
    """Whether a thread is at a prompt of pdb, or at a breakpoint of pydevd."""
    names = "pdb.Pdb.interaction", "pdb.Pdb._cmdloop", "pydevd.PyDB._do_wait_suspend"
    parts = [name.split(".") for name in names]
    kinds = [(getattr(sys.modules.get(m), k, None), name) for m, k, name in parts]
    codes = {attempt(lambda: getattr(kind, name).__code__) for kind, name in kinds}
    stacks = map(traceback.walk_stack, sys._current_frames().values())
    return any(f.f_code in codes for stack in stacks for f, _ in stack)


# --- The exit: what the main thread does at its end -----------------------------------


def at_exit(program: Program) -> None:
    """At the exit: report a failure, or let the thread that watches go on."""
    if os.getpid() != program.pid:
        return
    program.is_ending, error = True, last_error()
    program.imports.list_modules()
    if program.is_stopping and not is_by_hand(program, error):
        hold_back({signal.SIGINT})  # the next one is for the shell
        run_exit_functions()
        program.has_ended = True
        time.sleep(1e6)  # the thread that watches ends the process
    if isinstance(error, Exception) and is_outermost(error.__traceback__):
        program.report.tell("failure", [failure_files(error), list(search_path())])
        if not program.state and program.launch.can_repeat():
            hold_back({signal.SIGINT})  # the next one is for the shell
            end_processes(descendants, 0.5)
            close_files()
            program.launch.become_shell(1, program.report, program.sockets)
    elif program.target[0] == "-m" or os.path.isdir(program.target[0]):
        is_found = hasattr(sys.modules["__main__"], "__file__")
        if not (is_found or has_failed(program.target)):
            program.report.tell("missing")
    program.is_stopping, program.has_ended = False, True
    if isinstance(error, KeyboardInterrupt):  # Python is about to end itself by it
        attempt(lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT]))
    if not program.state:
        program.report.remove()


def has_failed(target: "Words") -> bool:
    """Whether a package of the target can be found, but is no module: it has failed."""
    names = target[1].split(".") if target[0] == "-m" else []
    for count in range(1, len(names) + 1):
        name = ".".join(names[:count])
        if name not in sys.modules:  # Python has loaded importlib.util for its -m
            return bool(attempt(lambda: sys.modules["importlib.util"].find_spec(name)))
    return False


def is_by_hand(program: Program, error: object) -> bool:
    """Whether the program has ended by itself, or by a Ctrl-C that is not ours."""
    if isinstance(error, KeyboardInterrupt):  # two may have come, one after the other
        is_second = isinstance(error.__context__, KeyboardInterrupt)
        return is_second or not program.is_asked
    # Unless it is a hook that lets it end, and is soon done.
    return not wait_until(lambda: program.is_asked, monotonic() + 1)


def run_exit_functions() -> None:
    """Run all but ours, which Python has called first; there is no public way."""
    atexit.unregister(at_exit)
    atexit._run_exitfuncs()


def last_error() -> object:
    """Return the exception with which the main thread has left the user's code."""
    return getattr(sys, "last_value", None)


def is_outermost(trace: "Any") -> bool:
    """Whether a traceback begins where the program does, or is that of its syntax."""
    return not trace or not trace.tb_frame.f_back


def failure_files(error: "BaseException | None") -> "Words":
    """Return the files that had a part in a failure, of whatever exceptions."""
    files, errors, seen = [], [error], set[int]()
    for error in errors:  # which grows
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        frames = traceback.walk_tb(error.__traceback__)
        files += [frame.f_code.co_filename for frame, _ in frames]
        files += [attempt(lambda: getattr(error, n)) for n in ("filename", "filename2")]
        group = attempt(lambda: getattr(error, "exceptions"))
        errors += group if isinstance(group, tuple) else ()
        errors += error.__cause__, error.__context__
    return [absolute(file) for file in files if isinstance(file, str)]


def close_files() -> None:
    """Close all open files, outer ones first; Python's own end would take longer."""
    names = "zipfile.ZipFile io.TextIOWrapper gzip.GzipFile bz2.BZ2File lzma.LZMAFile"
    names += " tempfile._TemporaryFileWrapper io.BufferedWriter io.BufferedRandom"
    parts = [name.split(".") for name in names.split()]
    # bool stands for a class that is not loaded: no object of it is found.
    kinds = [getattr(sys.modules.get(module), name, bool) for module, name in parts]
    for place, kind in enumerate(kinds, 1):  # which grows: subclasses follow at once
        kinds[place:place] = type.__subclasses__(kind)
    types: "dict[Any, None]" = dict.fromkeys(kinds)  # each once, in that order
    # A large program has half a million objects: this touches each but once.
    files = [thing for thing in gc.get_objects() if type(thing) in types]
    for file in [f for kind in types for f in files if type(f) is kind]:
        is_standard = attempt(lambda: file.fileno()) in range(3)
        attempt(lambda: file.flush() if is_standard else file.close())


# --- The hooks: on which thread they run, and for how long ----------------------------


def call_hook(hook: "Any", args: "list[Any]", io_loop: "Any", deadline: float) -> bool:
    """Call a hook on the thread of the loop; return whether it is done in time."""
    done: "list[bool]" = []  # whether it was: in time, or not
    kept: "list[object]" = []  # a task that nobody refers to may vanish
    text = f"hook {hook_name(hook)} failed, restarting anyway"

    async def finish(awaitable: "Any") -> None:
        try:
            await awaitable
        except BaseException as error:
            show_error("" if done else text)
            if io_loop and type(error).__name__ == "CancelledError":
                return  # a Ctrl-C of the user's ends the loop: let it
        done.append(True)

    def call() -> None:
        try:
            result = hook(*args)
            if hasattr(result, "__await__"):
                return kept.append(run_coroutine(io_loop, finish(result)))
        except (Exception, SystemExit):
            show_error("" if done else text)
        done.append(True)

    try:
        scheduler(io_loop)(call)
    except Exception:  # the loop is closed
        background(call)
    wait_until(lambda: bool(done), max(deadline, monotonic() + 0.01))
    done.append(False)
    return done[0]


def hook_name(hook: "Any") -> object:
    return attempt(lambda: hook.__qualname__) or type(hook).__name__


def scheduler(io_loop: "Any") -> "Callable[[Callable[[], object]], object]":
    """Return what calls a function on the thread of a loop, of whatever kind."""
    io_loop = background if io_loop is None else io_loop
    names = "call_soon_threadsafe", "add_callback", "callFromThread", "run_sync_soon"
    for name in (*names, "__call__"):  # of asyncio, Tornado, Twisted, trio; a function
        if hasattr(io_loop, name):
            return getattr(io_loop, name)  # type: ignore[no-any-return]
    kinds = "an asyncio loop, a Tornado IOLoop, a Twisted reactor, a trio token"
    raise TypeError(f"io_loop must be {kinds}, a function or None, not {io_loop!r}")


def background(fn: "Callable[[], object]") -> None:
    """Call a function on a thread of its own, since it may hang."""

    def run() -> None:
        hold_back({signal.SIGINT})  # or what it starts would be deaf to SIGTERM
        fn()

    if attempt(lambda: start_thread(run, ())) is None:
        fn()  # Python 3.12 starts no thread once the main thread has ended


def run_coroutine(io_loop: object, work: "Any") -> object:
    """Run a coroutine on the thread of the loop; return what must be kept meanwhile."""
    if hasattr(io_loop, "callFromThread"):  # Twisted
        return sys.modules["twisted.internet.defer"].ensureDeferred(work)
    if hasattr(io_loop, "run_sync_soon"):  # trio
        return sys.modules["trio"].lowlevel.spawn_system_task(lambda: work)
    if loop := running_loop():
        return loop.create_task(work)
    asyncio = sys.modules.get("asyncio")  # without it, no loop is needed
    return asyncio.run(work) if asyncio else list(work.__await__())


def running_loop() -> "Any":
    return attempt(lambda: sys.modules["asyncio"].get_running_loop())


# --- The watcher: which files matter, and which of them have changed ------------------


class Watcher:
    """Knows what files were like as loaded; the program and the shell have one each."""

    def __init__(self, directory: str, streak: "dict[str, int]", began: int) -> None:
        self.directory = directory
        self.streak = streak  # after how many starts in a row each file changed soon
        self.began = began  # when the program did, in ns since the epoch
        self.start = monotonic()  # when watching did, in seconds
        self.roots = set(map(real_folder, filter(is_installation, search_path())))
        # As loaded, or seen; () differs from all.
        self.stamps: "dict[str, Stamp]" = {path: stamp_of(path) for path in self.roots}
        self.own: "set[str]" = set()  # the program's files, and paths to watch as such
        self.loaded: "set[str]" = set()  # those of them that Python has read
        self.pending: "set[str]" = set()  # what differs from the code that runs
        self.soon: "set[str]" = set()  # what of that did so soon after the start
        self.is_fit = False  # whether something is pending, and all of it compiles
        self.is_slow = False  # whether the user knows that a restart is put off
        self.ordered: "Words" = []  # the own ones; what was saved last is saved next
        self.patterns: "Words" = []  # what is ignored
        self.outputs = list(filter(None, map(status_of, (1, 2))))
        self.globs: "dict[str, int]" = {}  # since when a save of a new file is a change
        self.found: "set[str]" = set()  # the files that they match, in this turn
        self.installed: "Words" = []  # files of modules that are not the user's
        # A turn through the files that are many, and how many there have been.
        self.turn, self.turns = self.walk(), 0
        self.due = 0.0  # when the next round is, in seconds of the monotonic clock
        self.pause = 0.1  # how long to wait until the next look, in seconds
        self.settings = {"check_time": 500.0, "grace": 2.0}  # in ms, in s

    def hear(self, report: "Report") -> None:
        takers: "Facts" = {"file": self.add_file, "watch": self.watch}
        takers |= {"ignore": self.patterns.append, "settings": self.settings.update}
        for kind, value in report.news():
            take = takers.get(kind) or report.told.setdefault(kind, []).append
            take(value)

    def add_file(self, found: "tuple[str, Stamp]") -> None:
        """List a file of the program's own, with its stamp as it was read."""
        path, stamp = found
        if self.stamps.setdefault(path, stamp) != stamp and path not in self.pending:
            self.stamps[path] = ()  # another process has read another version
        self.own.add(path)
        self.loaded.add(path)

    def add_since(self, files: "set[str]", path: str, moment: int) -> None:
        """Add a file to a set; if it was saved after `moment`, it differs."""
        if path not in self.stamps:
            self.stamps[path] = stamp_since(path, moment)
        files.add(path)

    def watch(self, found: "tuple[str, Stamp, int]") -> None:
        path, stamp, moment = found
        self.stamps.setdefault(path, stamp)  # a glob may be the very name of a file
        self.own.add(path)
        self.globs.setdefault(path, moment)

    def watch_sources(self, files: "Words", folders: "Words") -> None:
        """Watch for new sources, and wherever a failure can be mended."""
        for file in files:
            self.add_since(self.own, file, self.began)
        near = map(os.path.dirname, self.loaded.union(files))
        for folder in {self.directory, *self.roots, *folders, *near} - {os.sep, ""}:
            if is_installation(folder):  # its own time tells of what comes and goes
                self.add_since(self.own, os.path.join(folder, ""), time.time_ns())
            else:
                self.globs.setdefault(f"{folder}/**/*.py", self.began)

    def look_for_reason(self, effect: str) -> str:
        """Look; return why to restart now; `effect` is for what does not compile."""
        if changed := self.look():
            # Not by the files' times: they are set by another clock on a share.
            is_soon = monotonic() < self.start + 1 + self.settings["check_time"] / 1000
            self.pending |= self.settle(changed)
            self.soon.update(changed if is_soon else ())
            sources = sorted(self.pending & self.loaded)
            self.is_fit = all(compiles(p, self.directory, effect) for p in sources)
        if not self.is_fit or is_put_off(self):
            return ""
        first, *more = sorted(self.pending, key=lambda path: (is_installed(path), path))
        suffix = f" (+{len(more)} more)" if more else ""
        return f"{name_of(first, self.directory)} changed{suffix}"

    def look(self) -> "set[str]":
        """Return what has changed; take less than 1 % of a core."""
        if monotonic() < self.due:
            return self.compare(self.ordered[-2:])
        began = time.thread_time()
        changed = self.compare(self.own)
        for batch in self.turn:
            changed |= self.compare(batch)
            if time.thread_time() > began + 0.005:
                break
        else:
            self.turn = self.walk()
        if len(self.own) != len(self.ordered):
            self.ordered = sorted(self.own, key=lambda path: self.stamps[path] or ())
        cost = time.thread_time() - began
        check_time, age = self.settings["check_time"] / 1000, monotonic() - self.start
        self.due = monotonic() + max(check_time, 120 * cost)
        # The next save often comes soon after a start; then the pause grows.
        pause = min(max(age / 50, check_time / 20), check_time / 5)
        self.pause = max(0.01, pause)  # or a look would take more than 1 % of a core
        return changed

    def walk(self) -> "Iterator[Iterable[str]]":
        """Yield files that are many, for as many rounds as it takes to look at them."""
        gone, self.found = self.found, set()
        for glob, moment in list(self.globs.items()):
            self.globs[glob] = 0  # in the next turn, all that is new is a change
            for path in files_below(glob):
                self.add_since(self.found, path, moment)
                yield [path]
        yield gone - self.found
        self.turns += 1
        is_installing = self.compare(self.roots - self.own)
        yield self.installed if is_installing else self.installed[self.turns % 32 :: 32]

    def compare(self, paths: "Iterable[str]") -> "set[str]":
        """Return which files differ from what they were, and note what they are."""
        differing = set()
        for path in list(paths):  # it grows at the exit
            stamp = stamp_of(path)
            if stamp != self.stamps.get(path, stamp):
                self.stamps[path] = stamp
                if not is_ignored(path, self):
                    differing.add(path)
        return differing

    def settle(self, changed: "set[str]") -> "set[str]":
        """Wait until all looks the same twice; return what has changed till then."""
        is_quiet, deadline = False, monotonic() + 5  # what never rests is no save
        while not is_quiet and monotonic() < deadline:
            is_installing = any(map(is_installed, changed))
            # A single file is written in no time; of several, a gone one or an empty
            # source, more comes.
            stamp, is_source = self.stamps[min(changed)], bool(changed & self.loaded)
            is_whole = len(changed) == 1 and stamp and (stamp[1] or not is_source)
            age = (time.time_ns() - max(map(saved_at, changed))) / 1e9
            rest = min(max(0.03 - age, 0.01), 0.03) if is_whole else 0.2
            sleep(1 if is_installing else rest)
            more = self.compare(changed.union(self.own, self.installed * is_installing))
            changed |= more
            is_partial = is_installing and not all(map(self.stamps.get, changed))
            is_quiet = not (more or is_partial)
        return changed


# --- The imports: which stamp a file had as it was loaded -----------------------------


class Imports:
    """The first of sys.meta_path: it finds nothing, and only sees imports begin."""

    def __init__(self, report: "Report", watcher: Watcher) -> None:
        self.report, self.watcher = report, watcher
        self.known: "set[str]" = set()  # modules that are listed
        self.last: "Any" = None  # how many there were, and the last one

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> None:
        """Note the file that an import is about to read, on whatever thread."""
        entries = map(str, sys.path if path is None else path)
        own = [entry for entry in entries if not is_installation(entry)]
        if own and (origin := attempt(lambda: find_spec(name, own).origin)):
            self.note(absolute(origin))

    def note(self, path: str) -> None:
        """Report a file as it is now; see that no stale bytecode is run for it."""
        stamp = stamp_of(path)
        if saved_at(path) > self.watcher.began - 3 * 10**9:
            drop_bytecode([path])
        if stamp and stat.S_ISREG(stamp[-1]):
            self.watcher.add_file((path, stamp))  # list_modules() would have to guess
            self.report.tell("file", (path, stamp))

    def list_modules(self) -> None:
        """List the files of modules that are new, with their stamps as loaded."""
        # Touching all of them takes long.
        last = len(sys.modules), attempt(lambda: next(reversed(sys.modules)))
        if last == self.last:
            return
        watcher, names = self.watcher, set(list(sys.modules)) - self.known  # at once
        for name in names:
            if path := file_of(sys.modules.get(name)):
                self.known.add(name)
            if not path or path in watcher.stamps:
                continue
            stamp = stamp_as_loaded(path, watcher.began)
            if is_installed(path):
                watcher.stamps[path] = stamp
                watcher.installed.append(path)
            else:
                watcher.add_file((path, stamp))  # the report may be lost
                self.report.tell("file", (path, stamp))
        self.last = last  # not before: another thread must not go on without them
        ways = {name for name in names if name.startswith("multiprocessing.popen_")}
        if ways - {"multiprocessing.popen_fork"}:  # its workers import by themselves
            for folder in {watcher.directory, *search_path()}:
                if len(folder) > 1 and not is_installation(folder):
                    found = f"{folder}/**/*.py", None, watcher.began
                    self.report.tell("watch", found)


def stamp_as_loaded(path: str, began: int) -> "Stamp":
    """Return the stamp that a module had as it was loaded, as far as time tells."""
    stamp = stamp_since(path, began)  # else: bytecode is written as a source is read
    return stamp or stamp_since(path, saved_at(cache_from_source(path)))


# --- The check: fit to run, without stale bytecode, and not in a circle ---------------


def compiles(path: str, directory: str, effect: str) -> bool:
    """Whether a source compiles; if it does not, show that as Python would."""
    suffix = os.path.splitext(path)[1]
    it = status_of(path) if suffix in ("", ".py", ".pyw") else None
    if not it or not stat.S_ISREG(it.st_mode) or it.st_size > 2**24:
        return True
    source = read(path)
    if not suffix and b"\0" in source:  # a zip; a script may have none, too
        return True
    try:  # by a name for which warnings are off: the next run shows them
        compile(source, "<autoreload>" + path, "exec", dont_inherit=True)
    except Exception as error:  # SyntaxError, ValueError; RecursionError, MemoryError
        setattr(error, "filename", path)  # of a SyntaxError: it is shown
        show_error(f"{name_of(path, directory)} does not compile, {effect}")
        return False
    return True


def is_put_off(watcher: Watcher) -> bool:
    """Whether a run has to last, since its files change soon after each start."""
    count = min(watcher.streak.get(path, 0) for path in watcher.pending) + 1
    pause = min(1 << count >> 3, 30)  # in s: 0 for the first two, 1, 2, 4
    is_early = monotonic() < watcher.start + pause
    if is_early and not watcher.is_slow:
        name = name_of(min(watcher.pending), watcher.directory)
        text = f"{name} has changed soon after each of the last {count} starts"
        text += f", no restart until {pause:g} s after this one"
        say(f"{text}; --ignore {name} leaves it out")
    watcher.is_slow = is_early
    return is_early


def drop_bytecode(paths: "Iterable[str]") -> None:
    """Remove cached bytecode: Python trusts it within one mtime second and size."""
    for path in paths:
        folder, name = os.path.split(cache_from_source(path))
        stem = name.partition(".")[0] + "."
        for found in attempt(lambda: os.listdir(folder)) or ():
            if found.startswith(stem) and found.endswith(".pyc"):
                attempt(lambda: os.remove(os.path.join(folder, found)))


# --- The files: what there is, what it was like, and what is left out -----------------

# What a directory or a glob leaves out, besides virtual environments.
LEFT_OUT = ".* __pycache__ *.py[co] node_modules *.log *.log.* *.db *.db-* *.sqlite*"
LEFT_OUT += " *~ #*# ~$* *.sw? 4913 *.tmp *___jb_???___"  # editors' temporary files

installed_folders: "dict[str, bool]" = {}  # what is_installation() has found out


def real_folder(path: str) -> str:
    return os.path.join(os.path.realpath(path), "")


def absolute(path: str) -> str:
    """Return a path as absolute, or "" where the working directory has been removed."""
    return attempt(lambda: os.path.abspath(path)) or ""


def name_of(path: str, directory: str) -> str:
    """Return a path as it is shorter, relative or absolute, in printable characters."""
    relative = attempt(lambda: os.path.relpath(path, directory))  # not to another drive
    if relative not in (None, "."):
        path = min(path, relative, key=len)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in path)


def status_of(file: "str | int") -> "Any":
    try:  # without attempt(): this is most of what an idle look costs
        return os.stat(file)
    except (OSError, ValueError):
        return None


def stamp_of(path: str) -> "Stamp":
    """Return what tells a file from one that was edited; None if there is none."""
    it = status_of(path)
    if it and stat.S_ISDIR(it.st_mode) and not path.endswith(os.sep):
        return it.st_ino, it.st_mode  # what is in it has stamps of its own
    return it and (it.st_mtime_ns, it.st_size, it.st_ino, it.st_mode)


def stamp_since(path: str, moment: int) -> "Stamp":
    """Return a file's stamp or, if it was saved after a moment, what differs."""
    stamp = stamp_of(path)  # before the other look: no save falls between
    is_folder = stamp and len(stamp) == 2
    return () if saved_at(path) > moment and not is_folder else stamp


def saved_at(path: str) -> int:
    """Return when a file was saved at the latest, in ns; 0 if there is none."""
    # Nobody can set ctime, and a rename moves it; on Windows it is the creation's.
    time_of = "st_ctime_ns" if IS_POSIX else "st_mtime_ns"
    moment = int(getattr(status_of(path), time_of, 0))
    return moment if moment % 10**9 or not moment else moment + 10**9 - 1  # HFS+


def search_path() -> "set[str]":
    """Return where modules are looked for, but not the installation as a whole."""
    return {*map(absolute, map(str, sys.path))} - {sys.prefix, sys.base_prefix}


def is_installed(path: str) -> bool:
    """Whether a file is not the user's own, by the real path of its directory."""
    return is_installation(os.path.dirname(path))


def is_installation(folder: str) -> bool:
    if folder not in installed_folders:
        real = real_folder(folder)
        names = {"site-packages", "dist-packages"}.intersection(real.split(os.sep))
        installed_folders[folder] = bool(names) or real.startswith(LIBRARIES)
    return installed_folders[folder]


def file_of(module: object) -> str:
    """Return a module's file, if it has one, without running any code of its own."""
    if not issubclass(type(module), type(sys)):  # sys.modules may hold anything
        return ""
    names = object.__getattribute__(module, "__dict__")
    loader, file = names.get("__loader__"), names.get("__file__")
    if type(loader).__module__ == "zipimport":
        file = loader.archive
    return absolute(file) if type(file) is str and file and "\0" not in file else ""


def split_glob(path: str) -> "tuple[str, Words]":
    """Return the directory of a glob pattern, and the parts of the rest of it."""
    folder, name = os.path.split(path)
    top, parts = split_glob(folder) if name else (path, [])
    is_magic = set(name) & set("*?[") and not os.path.exists(path)
    return (top, [*parts, name]) if parts or is_magic else (path, [])


def matches_glob(names: "Words", parts: "Words") -> bool:
    """Whether the names of a path match the parts of a glob, or lie below a match."""
    if not parts or not names:
        return not parts
    if parts[0] == "**":
        return matches_glob(names, parts[1:]) or matches_glob(names[1:], parts)
    return fnmatch.fnmatch(names[0], parts[0]) and matches_glob(names[1:], parts[1:])


def is_ignored(path: str, watcher: Watcher) -> bool:
    """Whether a file is left out: by a pattern, or as one of our outputs."""
    it = status_of(path)
    is_output = it and any(os.path.samestat(it, each) for each in watcher.outputs)
    here = watcher.directory
    return is_output or any(matches_ignore(path, here, p) for p in watcher.patterns)


def matches_ignore(path: str, here: str, pattern: str) -> bool:
    relative = attempt(lambda: os.path.relpath(path, here)) or path  # another drive
    names = [name for name in relative.split(os.sep) if name != os.pardir]
    names = [path] if os.sep in pattern else names
    patterns = pattern, f"{pattern}{os.sep}*"  # here, a star stands for any depth
    return any(fnmatch.fnmatch(name, each) for name in names for each in patterns)


def files_below(glob: str) -> "Iterator[str]":
    """Yield the files that match a glob, or lie below what does."""
    left_out = re.compile("|".join(map(fnmatch.translate, LEFT_OUT.split()))).match
    (top, parts), visited = split_glob(glob), set()
    start = len(os.path.join(top, ""))
    for folder, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited or ("pyvenv.cfg" in files and folder != top):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not left_out(name)]
        found = [os.path.join(folder, name) for name in files if not left_out(name)]
        yield from (p for p in found if matches_glob(p[start:].split(os.sep), parts))


# --- The report: what the program leaves to its shell ---------------------------------


class Report:
    """A file of lines, each a kind and a value.

    | kind     | value                                           | from                |
    |----------|-------------------------------------------------|---------------------|
    | began    |                                                 | the program         |
    | settings | {check_time} in ms, {grace} in seconds          | the program         |
    | file     | a source of its own, and its stamp as it was    | program and workers |
    | watch    | a path, its stamp, and since when a save counts | program and workers |
    | ignore   | a pattern                                       | program and workers |
    | request  | restart() was called                            | program and workers |
    | debugger | one that may stop all threads is in the program | the program         |
    | listen   | the address of a socket that is in use          | program and workers |
    | signal   | when the user has sent one, monotonic           | the shell           |
    | restart  | when, monotonic; what has changed, what soon    | program, shell      |
    | failure  | files that had a part in it, directories        | the program         |
    | missing  | no such module, or no __main__ in a directory   | the program         |
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder  # private; "" if there is none yet
        self.told: "dict[str, list[Any]]" = {}  # what was heard, by kind
        self.is_new = False  # whether we have told what we have not heard yet
        self._unwritten: "list[bytes]" = []  # while there is no file
        self._position = 0  # up to where we have read
        # The program: when it has set the mtime.  The shell: which it saw, how often.
        self._beat, self._silent = 0.0, 0

    @property
    def path(self) -> str:
        return os.path.join(self.folder or os.devnull, "report")  # else there is none

    def remove(self) -> None:
        for folder, _, names in os.walk(self.folder, topdown=False):
            for name in names:
                attempt(lambda: os.remove(os.path.join(folder, name)))
            attempt(lambda: os.rmdir(folder))

    def tell(self, kind: str, value: "Any" = None) -> None:
        """Append a line, from any thread."""
        # The last line may have been cut off: this one begins anew.
        self._unwritten.append(b"\n%b\n" % marshal.dumps((kind, value)).hex().encode())
        # Opened each time: a program may close descriptors that are not its.
        fd = attempt(lambda: os.open(self.path, os.O_WRONLY | os.O_APPEND))
        while fd is not None and (line := attempt(lambda: self._unwritten.pop(0))):
            attempt(lambda: os.write(fd, line))
        attempt(lambda: os.close(fd))
        self.is_new = True

    def news(self) -> "Iterator[tuple[str, Any]]":
        self.is_new = False
        if getattr(status_of(self.path), "st_size", 0) == self._position:
            return  # a stat is cheaper
        data = read(self.path, self._position)
        *lines, rest = data.split(b"\n")
        self._position += len(data) - len(rest)
        for line in lines:  # on a full disk, not all of them are whole
            if told := attempt(lambda: marshal.loads(bytes.fromhex(line.decode()))):
                yield told

    def last(self, kind: str, default: "Any") -> "Any":
        return self.told.get(kind, [default])[-1]

    def beat(self) -> None:
        """Show the shell that the program still watches: set the file's mtime."""
        if monotonic() > self._beat + 2:
            self._beat = monotonic()
            attempt(lambda: os.utime(self.path))

    def count_silence(self) -> int:
        """Count looks in a row that saw no beat; clocks run while a machine sleeps."""
        last, self._beat = self._beat, saved_at(self.path)
        self._silent = self._silent + 1 if self._beat == last else 0
        return self._silent


def make_folder() -> str:
    """Make a directory that is ours alone, with an empty report in it."""
    places = [*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp", "/var/tmp", "."]
    for place in filter(None, places):
        folder = absolute(f"{place}/.autoreload-{os.urandom(8).hex()}")
        if os.pathsep not in folder:  # PYTHONPATH is to name it
            attempt(lambda: os.mkdir(folder, 0o700))
        if os.path.isdir(folder):
            break
    open(f"{folder}/report", "xb").close()  # where there is no place, it says so
    return folder


# --- The sockets: listen --------------------------------------------------------------


class Sockets:
    """The program's listening sockets, copies of which its shell holds."""

    def __init__(self, state: "Facts", report: Report) -> None:
        self.report = report
        self.fds: "dict[str, int]" = state.get("sockets", {})  # by address
        self.channel: int = state.get("channel", -1)  # by which the shell gets copies
        let_inherit([*self.fds.values(), self.channel], False)

    def listen(self, address: "str | tuple[str, int]") -> "socket.socket":
        """Return a socket for an address, which is a copy of the one that stays."""
        key = repr(address)
        if not is_socket(self.fds.get(key, -1)):  # or the program has closed it
            self.fds[key] = open_socket(address).detach()
            if is_socket(self.channel):
                with socket.socket(fileno=os.dup(self.channel)) as channel:
                    socket.send_fds(channel, [key.encode()], [self.fds[key]])
        self.report.tell("listen", key)
        copy = socket.socket(fileno=os.dup(self.fds[key]))
        copy.setblocking(True)  # an event loop of the last run may have changed that
        return copy


class SharedSockets:
    """The shell's copies: they stay open while there is no program."""

    def __init__(self, fds: "dict[str, int]") -> None:
        self.fds = fds  # by address
        self.channel = -1  # the program's end of what brings new ones
        if hasattr(socket, "send_fds"):
            self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.channel = theirs.detach()
        let_inherit([*fds.values(), self.channel])

    def keep(self, wanted: "Words", is_all: bool) -> None:
        """Take those that the program has opened; close others, if it wants no more."""
        attempt(lambda: self.end.setblocking(False))
        while received := attempt(lambda: socket.recv_fds(self.end, 4096, 1)):
            self.fds.update({received[0].decode(): fd for fd in received[1]})
        let_inherit(self.fds.values())
        for key in self.fds.keys() - set(wanted) if is_all else ():
            os.close(self.fds.pop(key))


def let_inherit(fds: "Iterable[int]", is_inherited: bool = True) -> None:
    for fd in fds:
        attempt(lambda: os.set_inheritable(fd, is_inherited))


def is_socket(fd: "int | str") -> bool:
    return stat.S_ISSOCK(getattr(status_of(fd), "st_mode", 0))


def open_socket(address: "str | tuple[str, int]") -> "socket.socket":
    options: "Facts" = {"backlog": socket.SOMAXCONN}
    if isinstance(address, str):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)  # the backlog of a living server may be full
            is_refused = probe.connect_ex(address) == errno.ECONNREFUSED
        if is_refused and is_socket(address):  # a dead server has left it
            os.unlink(address)
        return socket.create_server(address, family=socket.AF_UNIX, **options)
    both = not address[0] and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, dualstack_ipv6=both, **options)


# --- The launch: how a process was started, and how a plain program starts a shell ----

STATE = "_AUTORELOAD"  # the variable by which one of our processes tells the next


def take_state() -> "Facts":
    """Take what another process of ours has put into the environment for this one."""
    text = os.environ.pop(STATE, "")
    state = attempt(lambda: dict(marshal.loads(bytes.fromhex(text)))) or {}
    # On Windows a venv has a launcher between them.
    is_ours = not IS_POSIX or state.get("pid") in (os.getpid(), os.getppid())
    return state if is_ours else {}


class Launch:
    """How this process was started; nothing but noting is done at import."""

    def __init__(self) -> None:
        self.began = time.time_ns() - time.process_time_ns()  # at the latest
        self.executable = sys.executable
        self.directory = absolute(".") or "."
        self.environment = dict(os.environ)
        self.flags, self.target = split(sys.orig_argv[1:])
        is_helper = " ".join(self.target).startswith(HELPERS)
        self.is_off = is_helper or os.environ.get("AUTORELOAD") == "0"

    def obstacle(self) -> str:
        """Return why a plain program cannot be run again by a shell; "" if it can."""
        is_prompt = hasattr(sys, "ps1") or sys.flags.interactive
        if is_prompt or hasattr(sys.modules["builtins"], "__IPYTHON__"):
            return "an interactive interpreter has no command to repeat"
        if not self.executable or self.target[:1] in ([], ["-"]):
            return "there is no command to repeat"
        if not os.path.isfile(FILE):
            return "a copy in a zip cannot be run"
        if attempt(lambda: members(os.getpgrp())[os.getpid()][1]):
            return "the process that has forked this one does not watch"
        is_main = IS_POSIX or get_ident() == main_thread_ident()
        return "" if is_main else "on Windows it is for the main thread to call start"

    def can_repeat(self) -> bool:
        """Whether there is a shell to become, and not amid an installation."""
        return os.access(self.executable, os.X_OK) and os.path.isfile(FILE)

    def note_process(self) -> None:
        """Note what exec would hand on to the shell, changed by the program."""
        self.umask = os.umask(0o077)
        os.umask(self.umask)
        load("resource", "termios")
        self.terminal = Terminal()
        mask = [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        self.process = {"pid": os.getpid(), "mask": mask, "ignored": ignored_signals()}
        fds = range(1024)
        self.inheritable = {fd for fd in fds if attempt(lambda: os.get_inheritable(fd))}
        self.limits = [attempt(lambda: resource.getrlimit(n)) for n in range(32)]
        self.affinity = attempt(lambda: os.sched_getaffinity(0))

    def become_shell(self, status: int, report: Report, sockets: Sockets) -> None:
        """Put all that back, and replace this process by the shell of the next run."""
        fds = {key: fd for key, fd in sockets.fds.items() if is_socket(fd)}
        state = {"folder": report.folder, "status": status, "sockets": fds}
        state |= {"directory": self.directory, "began": self.began, **self.process}
        environment = {**self.environment, STATE: marshal.dumps(state).hex()}
        words = [self.executable, *self.flags, FILE, "--until-success", *self.target]
        self.put_back(fds.values())
        attempt(lambda: os.execve(self.executable, words, environment))
        os._exit(1)

    def put_back(self, sockets: "Iterable[int]") -> None:
        """Undo what the program did to the process; the shell sees to the signals."""
        attempt(lambda: os.chdir(self.directory))
        os.umask(self.umask)
        self.terminal.restore()
        for timer in signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF:
            signal.setitimer(timer, 0)
        let_inherit({*range(1024)} - self.inheritable, False)
        let_inherit(sockets)
        for limit, found in enumerate(self.limits):  # None where there is no such limit
            attempt(lambda: resource.setrlimit(limit, found))
        attempt(lambda: os.sched_setaffinity(0, self.affinity))


def main_thread_ident() -> int:
    main = getattr(sys.modules.get("threading"), "main_thread", None)
    if main and main().ident in sys._current_frames():  # gevent makes up another one
        return int(main().ident)
    return int(get_ident())


# --- The way in: how the program, run by Python itself, comes to have us in it --------

SITECUSTOMIZE = """\
import os, sys
folder, path, file, state = {}
sys.path.remove(folder)
if path is None:
    os.environ.pop("PYTHONPATH", None)
else:
    os.environ["PYTHONPATH"] = path
del sys.modules[__name__]
module = type(sys)("autoreload")
module.__file__ = file
loader = type(__spec__.loader)("autoreload", file)
module.__spec__ = type(__spec__)("autoreload", loader)
try:
    loader.exec_module(module)
except BaseException:
    import _signal
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])
    raise
try:
    import sitecustomize
finally:
    module.enter(state)
"""


def way_in(shell: Shell) -> "tuple[list[str], dict[str, str]]":
    """Return the words and the environment that run the program with us in it."""
    folder, path = shell.report.folder, os.environ.get("PYTHONPATH")
    state = {"folder": folder, "pid": os.getpid(), "restarts": shell.restarts}
    state |= {"target": shell.target, "options": shell.options, "streak": shell.streak}
    state |= {"sockets": shell.sockets.fds, "channel": shell.sockets.channel}
    words = [sys.executable, *_program.launch.flags]
    # By -E, -I, -S or a ._pth file, Python ignores PYTHONPATH or sitecustomize.
    if sys.flags.ignore_environment or sys.flags.no_site:
        variable = {STATE: marshal.dumps(state).hex()}
        return [*words, FILE, *shell.target], os.environ | variable
    with open(os.path.join(folder, "sitecustomize.py"), "x", encoding="ascii") as file:
        file.write(SITECUSTOMIZE.format(ascii((folder, path, FILE, state))))
    variable = {"PYTHONPATH": os.pathsep.join(filter(None, [folder, path]))}
    return [*words, *shell.target], os.environ | variable


def enter(state: "Facts") -> None:
    """Begin to watch this process, before the first line of the user's code."""
    global _program, restarts
    try:
        restarts = state["restarts"]
        _program = Program(state)
        _program.begin()
    except Exception as error:
        say(f"something unexpected happened, nothing is watched: {error!r}")
    finally:
        load("signal")
        if IS_POSIX:  # the shell has held Ctrl-C back: let it end us quietly
            handler = signal.getsignal(signal.SIGINT)
            if handler is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            signal.signal(signal.SIGINT, handler)


def run_target(target: "Words") -> None:
    """Run the target much as Python would, where it is we that Python runs."""
    load("runpy")
    sys.argv[:] = target[1:] if target[0] == "-m" else target
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):  # -P, -I
        script = os.path.dirname(os.path.realpath(target[0]))
        first = {"-m": os.getcwd(), "-c": ""}.get(target[0], script)
        # run_path() puts a directory there by itself.
        sys.path[:1] = [] if os.path.isdir(target[0]) else [first]
    if target[0] == "-m":
        runpy.run_module(target[1], run_name="__main__", alter_sys=True)
    elif target[0] == "-c":
        main = sys.modules["__main__"] = type(sys)("__main__")
        exec(sys.argv.pop(1), vars(main))
    else:
        runpy.run_path(target[0], run_name="__main__")


# --- The command line -----------------------------------------------------------------

# Of the options of Python and of ours, those that take the next word.
VALUED = "--check-hash-based-pycs --watch --ignore --check-time --grace".split()
FLAGS = "bBdEhiIJOPqRsStuvVx?"  # of Python, those that take none


def parse(words: "Words") -> "tuple[Facts, Words]":
    """Return the options given, and the target with its arguments; or exit."""
    options, target = split(words)
    is_named = target not in ([], ["-"], ["-m"], ["-c"])
    if is_named and not options:  # argparse takes longer than all the rest
        return {}, target
    # It imports the others as it needs them; the last one brings _colorize.
    load("argparse", "locale", "shutil", "traceback")
    parser = make_parser()
    given = vars(parser.parse_args(options))
    if not is_named:
        parser.exit(2, parser.format_usage())
    try:
        check_number("--check-time", given.get("check_time", 1), 1)
        check_number("--grace", given.get("grace", 0), 0)
        for path in given.get("watch", []) + given.get("ignore", []):
            check_path(path)
    except ValueError as error:
        parser.error(str(error))
    return given, target


def make_parser() -> "argparse.ArgumentParser":
    usage = "%(prog)s [options] (-m module | script | directory | zip | -c code) [args]"
    text = "Run a Python program, and restart it when its source changes."
    hint = "Everything from the target on belongs to the program."
    parser = argparse.ArgumentParser("autoreload.py", usage, text, hint)
    parser.allow_abbrev, parser.argument_default = False, argparse.SUPPRESS
    add = parser.add_argument
    add("--watch", metavar="PATH", action="append", help="also watch a path or a glob")
    add("--ignore", metavar="GLOB", action="append", help="never restart for these")
    add("--until-success", action="store_true", help="end when the program succeeds")
    add("--check-time", metavar="MS", type=float, help="see a change within that (500)")
    add("--grace", metavar="SECONDS", type=float, help="for hooks, then the end (2)")
    add("--clear", action="store_true", help="clear the terminal before each run")
    add("--version", action="version", version=f"autoreload {__version__}")
    parser.error = lambda message: sys.exit(say(message) or 2)  # type: ignore
    return parser


def split(words: "Words") -> "tuple[Words, Words]":
    """Split a command line, of Python or of ours, into options and the target."""
    options, rest = [], list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        value = "" if word.startswith("--") else word.lstrip("-" + FLAGS)
        if value.startswith(("c", "m")):
            options += [word.removesuffix(value)] if word[1] != value[0] else []
            return options, ["-" + value[0], *filter(None, [value[1:]]), *rest]
        options.append(word)
        if rest and (word in VALUED or value in ("W", "X")):
            options.append(rest.pop(0))
    return options, rest[1:] if rest[:1] == ["--"] else rest


# --- The basics -----------------------------------------------------------------------

FILE = os.path.abspath(__file__)
IS_POSIX = os.name == "posix"
LIB, DLLS = os.path.dirname(os.__file__), f"{sys.base_exec_prefix}/DLLs"  # of Python
LIBRARIES = real_folder(LIB), real_folder(DLLS)
HAS_PROC = os.path.exists("/proc/self/stat")  # Linux; a chroot may have none
# Those of importlib, which could be the user's.
find_spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec
cache_from_source = sys.modules["_frozen_importlib_external"].cache_from_source
RESTART = 213  # the exit status of a program that has ended all, for its next run

SHELL_MODULES = ["select", "signal", "socket", "termios" if IS_POSIX else "ctypes"]
SHELL_MODULES += [] if HAS_PROC else ["subprocess"]
BOTH_MODULES = "atexit fnmatch gc re signal traceback warnings".split()
BOTH_MODULES += [] if HAS_PROC or not IS_POSIX else ["subprocess"]


def load(*names: str, target: "Iterable[str]" = ()) -> None:
    """Make standard modules globals here; the user's are neither run nor hidden."""
    folders = [LIB, f"{LIB}/lib-dynload", DLLS]
    known, theirs, last = set(sys.modules), {}, [*sys.path, LIB].index(LIB)
    first = [*map(str, sys.path[:last]), *map(os.path.dirname, target)]
    for name in sys.stdlib_module_names & known:
        spec = attempt(lambda: sys.modules[name].__spec__)
        if not str(getattr(spec, "origin", "")).startswith(("built-in", "frozen", LIB)):
            theirs[name] = sys.modules.pop(name)
    sys.path[:0] = folders
    try:
        for name in names:
            globals()[name.partition(".")[0]] = __import__(name)
    finally:
        for folder in folders:
            sys.path.remove(folder)
        sys.modules.update(theirs)
    for name in sys.modules.keys() - known:
        if find_spec(name.partition(".")[0], first):
            del sys.modules[name]  # the user's own, of that name, comes first


def unpatched(module: "Any", name: str) -> "Any":
    """Return a function as it was before gevent has replaced it."""
    original = getattr(sys.modules.get("gevent.monkey"), "get_original", None)
    return original(module.__name__, name) if original else getattr(module, name)


monotonic, sleep = time.monotonic, unpatched(time, "sleep")
start_thread = unpatched(_thread, "start_new_thread")
get_ident = unpatched(_thread, "get_ident")
DIM, RED, PLAIN = "\033[2m", "\033[31m", "\033[0m"


def show(text: str) -> None:
    """Write on stderr at once, whole, past the program's buffers."""
    # Not by os.write(), which knows nothing of the encoding of a Windows console.
    data = text.encode(errors="backslashreplace")
    attempt(lambda: open(2, "wb", buffering=0, closefd=False).write(data))


def say(text: str, colour: str = "") -> None:
    dim, colour, plain = (DIM, colour, PLAIN) if is_coloured() else ("", "", "")
    show(f"{dim}autoreload:{plain} {colour}{text}{plain}\n")


def is_coloured() -> bool:
    is_dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return IS_POSIX and os.isatty(2) and not is_dumb


def show_error(text: str) -> None:
    """Show the exception that is being handled as this Python does, and a message."""
    if text:
        kind, error, trace = sys.exc_info()
        trace = trace and trace.tb_next  # the first frame is ours
        if trace:
            load("ast", "tokenize")  # which traceback imports as it needs them
        colour = {"colorize": is_coloured()} if sys.version_info >= (3, 13) else {}
        show("".join(traceback.format_exception(kind, error, trace, **colour)))
        say(text, RED)


def attempt(fn: "Callable[[], Any]") -> "Any":
    try:
        return fn()
    except Exception:
        return None


def wait_until(is_so: "Callable[[], bool]", deadline: float) -> bool:
    while not is_so() and monotonic() < deadline:
        sleep(0.001)
    return is_so()


def read(path: str, position: int = 0) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(position)
            return file.read()
    except OSError:
        return b""


# --- The entrance: one copy serves a process, however many are loaded -----------------

# The first one.  The others, of whatever version, hand out its functions for their own.
_program = Program(take_state())
_first = vars(sys).setdefault("_autoreload_2", globals())
_names = {"_program", *__all__} & _first.keys()
globals().update({name: _first[name] for name in _names})

if __name__ == "__main__" and "target" in _program.state:
    enter(_program.state)
    run_target(_program.state["target"])
elif __name__ == "__main__":
    main()
