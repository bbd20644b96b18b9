# SPDX-License-Identifier: MIT-0
#
# One file, standard library only: copy it into your project.  To update a copy,
# replace it by a newer one; __version__ tells which one you have.
"""Restart a Python program when its source changes.

A restart is what you would have done by hand: Ctrl-C, arrow-up, Enter.

In front of a command:

    python autoreload.py -m http.server 8000

In a program:

    import autoreload
    autoreload.start()

A background thread looks at the files of all imported modules and at what `watch`
was given.  When one has changed, it

1. waits until the files are quiet, so that one save is one restart;
2. compiles what changed: a half-typed edit is shown, and the old code runs on;
3. runs the reload hooks;
4. sends Ctrl-C to the main thread, so that `finally`, `with`, `atexit` and a
   server's own graceful stop happen; after `grace` seconds it goes on regardless;
5. ends the workers that the program forked, or started with `multiprocessing`;
6. puts the terminal, signals, descriptors, directory and environment back as they
   were at launch, and executes the same command in the same process.

A program that fails is reported and run again after the next change.

Limits: it is for development.  An interactive interpreter or a notebook has no
command to repeat, so `start` steps aside there.  Processes started by `subprocess`
are the program's own to end, for instance in a reload hook.  AUTORELOAD=0 in the
environment switches everything off.
"""

import builtins
import os
import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", sys.flags.isolated):
    sys.path[0] = __file__  # not its directory: a types.py beside it is not for us

import threading
import time
from stat import S_ISDIR
from stat import S_ISSOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import json
    from collections.abc import Callable
    from collections.abc import Coroutine
    from collections.abc import Iterable
    from socket import socket
    from types import CodeType
    from types import FrameType
    from types import ModuleType
    from types import TracebackType
    from typing import Any
    from typing import NoReturn
    from typing import TypeVar

    Address = str | os.PathLike[str] | tuple[str, int]
    Hook = TypeVar("Hook", bound=Callable[[], object])

__version__ = "1.0.0"
__all__ = [
    "add_reload_hook",
    "ignore",
    "listen",
    "main",
    "restart",
    "restarts",
    "start",
    "wait",
    "watch",
]


def start(
    io_loop: "Any" = None, check_time: float = 500, *, grace: float = 2.0
) -> None:
    """Begin watching in a daemon thread, and return at once.

    `check_time` is in milliseconds: a change to a file of your own is seen within it,
    usually within a fifth of it; a package that is installed or replaced, once that
    has paused; an edit of an installed file within 32 times it.  `grace` is in seconds:
    so long may the hooks take, and then the program's clean-up.  `io_loop` is where
    hooks run: an asyncio loop, a Tornado IOLoop, a Twisted reactor, a trio token, or a
    function that schedules a function.  None means the running asyncio loop, if there
    is one, else a thread of the watcher's.

    May be called again, which changes nothing, and from any thread.  Raises
    TypeError or ValueError for arguments of the wrong kind.
    """
    if isinstance(io_loop, (int, float)):  # tornado 5 and later: start(check_time)
        io_loop, check_time = None, io_loop
    _reloader.start(io_loop, check_time, grace)


def wait() -> None:
    """Block until a watched file changes, then restart: for the end of a script.

    Returns at once where `start` does nothing.
    """
    _reloader.wait()


def watch(path: "str | os.PathLike[str]") -> None:
    """Also watch a file, a directory with all below it, or a glob pattern.

    What does not exist yet is watched for its creation.  What is installed counts as
    your own, then.  In a directory, what `SKIPPED` names is left out, and so are
    virtual environments.
    """
    _reloader.watch(os.path.abspath(path_of(path)))


def ignore(pattern: "str | os.PathLike[str]") -> None:
    """Never restart for paths that match `pattern`, or lie below one that does.

    A glob: relative to any directory, `*` also matches `/`.
    """
    _reloader.ignore(path_of(pattern))


def add_reload_hook(fn: "Hook") -> "Hook":
    """Call `fn()` before each restart, in order of registration; return `fn`.

    It runs on the thread of the loop given to `start`; a coroutine is awaited.
    """
    if not callable(fn):
        raise TypeError(f"a reload hook must be callable, not {fn!r}")
    _reloader.hooks.append(fn)
    return fn


def restart() -> None:
    """Restart now, as if a watched file had changed; before `start`, once it is on."""
    _reloader.workers.tell("restart")
    _reloader.watch_thread.requested = True


def listen(address: "Address") -> "socket":
    """Return a listening socket that stays open across restarts.

    `address` is (host, port) for TCP, or a path for a Unix socket.  Connections made
    during a restart wait in the backlog.  Under supervision, as on Windows, it is an
    ordinary listening socket.
    """
    return _reloader.sockets.listen(address)


def main(argv: "Iterable[str] | None" = None) -> None:
    """Run the command line: `python autoreload.py --help`."""
    run(sys.argv[1:] if argv is None else list(argv))


def path_of(path: "str | os.PathLike[str]") -> str:
    """Check an argument that names a path or a pattern."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"a path must be str or os.PathLike, not {path!r}")
    if not text or "\0" in text:
        raise ValueError(f"a path must not be empty nor contain NUL: {path!r}")
    return text


def check_number(name: str, value: object, least: int) -> None:
    """Check an argument that is a number of milliseconds or seconds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not least <= value < 1e9:
        rule = f"{name} must be at least {least} and below 1e9"
        raise ValueError(f"{rule}, not {value!r}")


# --- The basics: what every room uses -------------------------------------------------

FILE = os.path.abspath(__file__)
HAS_SAFE_PATH = bool(getattr(sys.flags, "safe_path", sys.flags.isolated))  # -P, -I
_signal = __import__("_signal")  # signal without its enums, which take long to import


def has_room(file: "Any") -> bool:
    """Whether a file takes more at once, unlike a pipe that nobody reads."""
    try:
        import select

        return bool(select.select([], [file], [], 0)[1])
    except Exception:  # it has no descriptor; Windows
        return True


def show(text: str) -> None:
    """Write on stderr at once, whole, past the program's buffers."""
    # Closed, fd 2 may be a file of the program's; full, it would hold the restart.
    if sys.__stderr__ is None or not has_room(2):
        return
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass


def say(text: str) -> None:
    show(f"autoreload: {text}\n")


def wait_until(is_so: "Callable[[], bool]", deadline: float) -> bool:
    """Wait until it is so, or a moment of the monotonic clock; return whether it is."""
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def is_ignored(number: int) -> bool:
    return bool(_signal.getsignal(number) == _signal.SIG_IGN)


def mask_signals(how: str, signals: "Iterable[int]") -> "list[int]":
    """Change which signals this thread leaves to others; return which it has left."""
    if not hasattr(_signal, "pthread_sigmask"):  # Windows
        return []
    return list(_signal.pthread_sigmask(getattr(_signal, how), signals))


def is_glob(path: str) -> bool:
    return bool(set(path) & set("*?[")) and not os.path.exists(path)


def read(path: str) -> bytes:
    """Return what is in a file; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def terminal(fd: int) -> "tuple[int, list[Any]]":
    """Return a terminal and its settings."""
    import termios

    return fd, termios.tcgetattr(fd)


def split(
    words: "Iterable[str]", valued: "tuple[str, ...]"
) -> "tuple[list[str], list[str]]":
    """Split a command line into its options and its target with all that follows.

    `valued` names the options that take the next word as their value.
    """
    options: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        takes_next = word in valued
        for i, letter in enumerate("" if word.startswith("--") else word):
            if letter in "cm":
                options += [word[:i]] if i > 1 else []
                return options, ["-" + letter, *filter(None, [word[i + 1 :]]), *rest]
            if "-" + letter in valued:
                takes_next = i + 1 == len(word)
                break
        options += [word, *rest[:1]] if takes_next else [word]
        rest = rest[1:] if takes_next else rest
    return options, rest[1:] if rest[:1] == ["--"] else rest


# --- The processes: what the system knows of them, and asks of them -------------------


def process_fields(pid: "int | str") -> "list[bytes]":
    """Return what Linux knows about a process.

    Of its fields 0 is the state, 6 the flags, 19 the start, 30 the ignored signals.
    """
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def has_executed(fields: "list[bytes]") -> bool:
    """Whether a process runs a program of its own: no PF_FORKNOEXEC."""
    return bool(fields) and int(fields[6]) & 0x40 == 0


def children() -> "list[int]":
    """Return the children of this process, where the system is Linux."""
    folder = "/proc/self/task"
    tasks = os.listdir(folder) if os.path.isdir(folder) else ()
    lists = [read(f"{folder}/{task}/children").split() for task in tasks]
    return [int(pid) for pids in lists for pid in pids]


def launch_environment() -> "dict[str, str]":
    """Return the environment as it was before the program changed it.

    Linux remembers it, unless the process has overwritten it by a title.
    """
    words = os.fsdecode(read("/proc/self/environ")).split("\0")[:-1]
    pairs = [word.partition("=") for word in words]
    if not pairs or not all(sign for _, sign, _ in pairs):
        return dict(os.environ)
    return {name: value for name, _, value in pairs}


def spawned() -> "set[int]":
    """Return the processes of `multiprocessing`."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    # Not active_children(): it would wait for them, from this thread.
    return {process.pid for process in list(getattr(multiprocessing, "_children", ()))}


def send(number: int, pids: "Iterable[int]") -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:  # it has ended
            pass


def ignores_interrupt(pid: int) -> bool:
    fields = process_fields(pid)
    return bool(fields) and int(fields[30]) >> (_signal.SIGINT - 1) & 1 == 1


def in_our_group(pid: int) -> bool:
    """Whether a process belongs to the job: one that left it or has ended does not."""
    try:
        return os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False
    except AttributeError:  # Windows
        return True


def has_ended(pid: int) -> bool:
    """Whether a process has ended; leave no zombie, if it was a child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except (OSError, AttributeError):  # somebody else's, to be reaped by them; Windows
        return process_fields(pid)[:1] == [b"Z"]


# --- The descriptors: what is open ----------------------------------------------------


def open_descriptors(*, inheritable: bool = False) -> "dict[int, os.stat_result]":
    """Return what is open, or only what exec hands on."""
    found = {}
    for fd in map(int, os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else ()):
        try:
            if os.get_inheritable(fd) >= inheritable:
                found[fd] = os.fstat(fd)
        except OSError:  # the one that listed the directory, or closed meanwhile
            pass
    return found


def is_still(fd: int, status: "os.stat_result | None") -> bool:
    """Whether the program has not closed a descriptor, and used its number."""
    try:
        return status is not None and os.path.samestat(os.fstat(fd), status)
    except OSError:
        return False


class Reserve:
    """A descriptor held back, so that a program that has used up all can restart."""

    def __init__(self) -> None:
        self._held: dict[int, os.stat_result] = {}

    def hold(self) -> None:
        try:
            reader, writer = os.pipe()
            os.close(writer)
            self._held[reader] = os.fstat(reader)
        except OSError:
            pass

    def release(self) -> None:
        for fd in [fd for fd, status in self._held.items() if is_still(fd, status)]:
            os.close(fd)
        self._held.clear()


# --- The state: what one run leaves to the next ---------------------------------------

_STATE = "_AUTORELOAD"  # the environment variable in which one run writes to the next


def take_state() -> "dict[str, Any]":
    """Take the state out of the environment, that no child inherits it; apply it."""
    text = os.environ.pop(_STATE, "")
    if not text:
        return {}
    import json

    state: dict[str, Any] = json.loads(text)
    if state["pid"] not in (os.getpid(), None):
        return {}
    for fd in state["sockets"].values():
        os.set_inheritable(fd, False)
    usual = {_signal.SIGINT: _signal.default_int_handler}
    for number in _signal.valid_signals():
        if number in state["ignored"]:
            _signal.signal(number, _signal.SIG_IGN)
        elif is_ignored(number):
            _signal.signal(number, usual.get(number, _signal.SIG_DFL))
    mask_signals("SIG_SETMASK", state["mask"])
    return state


AGAIN = 75  # the exit status by which a supervised program asks for the next run


def leave_note(text: str) -> None:
    """Leave word for a supervisor: `{}` for an end that is meant, else the next run."""
    notes = _reloader.launch.state.get("notes")
    if notes:
        folder = os.path.dirname(notes)
        os.makedirs(folder, exist_ok=True)  # it may have been cleaned away
        with open(notes, "w", encoding="utf-8") as file:
            file.write(text)


# --- The launch: what must be remembered before the program touches it ----------------


class Launch:
    """How the program was started by hand."""

    def __init__(self) -> None:
        self.state = take_state()
        valued = "-W", "-X", "--check-hash-based-pycs"
        self.flags, self.target = split(sys.orig_argv[1:], valued)
        helpers = "-c from multiprocessing.", "-c import sys; from multiprocessing."
        is_helper = " ".join(self.target).startswith(helpers)
        self.is_off = is_helper or os.environ.get("AUTORELOAD") == "0"
        self.environment = launch_environment()
        self.process = process_fields("self")
        self.executable = sys.executable
        self.directory = self._directory()
        self.umask = os.umask(0)
        os.umask(self.umask)
        self.descriptors = open_descriptors(inheritable=True)
        # Sockets, too: a server closes in its clean-up what it was given (LISTEN_FDS).
        self.kept = {
            fd: os.dup(fd)
            for fd, status in self.descriptors.items()
            if not self.is_off and (fd < 3 or S_ISSOCK(status.st_mode))
        }
        self.blocking = {fd: os.get_blocking(fd) for fd in self.kept}
        self.terminal = next(map(terminal, filter(os.isatty, self.kept)), None)
        self.ignored = [n for n in _signal.valid_signals() if is_ignored(n)]
        self.mask = mask_signals("SIG_BLOCK", ())
        self._warned = False

    def _directory(self) -> str:
        """Return where the program was started, if it is still there."""
        script = str(getattr(sys.modules["__main__"], "__file__", None))
        for target in self.target[:1]:  # the program may have left already
            if script.endswith(os.sep + target):
                return os.path.abspath(script[: -len(target)])
        try:
            here = os.getcwd()
        except OSError:
            here = "."
        # For -m, Python has put it into sys.path.
        pwd = self.environment.get("PWD")
        has_left = pwd in sys.path and here not in sys.path and not HAS_SAFE_PATH
        is_module = self.target[:1] == ["-m"] and __name__ != "__main__"
        return pwd if pwd and is_module and has_left else here

    def forget_descriptors(self) -> None:
        """Close our copies in a worker: a daemon's would hold a terminal or a pipe."""
        for fd, saved in self.kept.items():
            if is_still(saved, self.descriptors[fd]):
                os.close(saved)
        self.kept = {}

    def began(self) -> int:
        """Return when the process began, in ns since the epoch, if one can tell."""
        if self.state or not self.process:
            return time.time_ns()
        ticks = (int(self.process[19]) + 1) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks
        return time.time_ns() - int(age * 1e9)

    def name_of(self, path: str) -> str:
        """Return a path as it is shorter, relative or absolute."""
        try:
            relative = os.path.relpath(path, self.directory)
            path = path if relative == "." else min(path, relative, key=len)
        except (ValueError, OSError):  # another drive; no directory
            pass
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in path)

    def obstacle(self) -> str:
        """Return why there is no command to repeat, or nothing if there is one."""
        is_asked = hasattr(sys, "ps1") or sys.flags.interactive
        if is_asked or hasattr(builtins, "__IPYTHON__"):
            return "an interactive interpreter has no command to repeat"
        if not sys.executable or self.target[:1] in ([], ["-"]):
            return "there is no command to repeat"
        if self.process and not has_executed(self.process):
            return "this process was forked by one that has not imported autoreload"
        return ""

    def can_repeat(self, *, silent: bool = False) -> bool:
        """Whether there is a command to repeat; tell once who would wonder why not."""
        obstacle = self.obstacle()
        if obstacle and not (silent or self.is_off or self._warned):
            import warnings

            self._warned = True
            text = f"autoreload: {obstacle}, nothing is watched"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        return not (self.is_off or obstacle)


# --- The files: what a program consists of --------------------------------------------

# What a directory watch leaves out, besides virtual environments.
SKIPPED = (
    *(".*", "__pycache__", "*.py[co]", "node_modules"),
    *("*~", "#*#", "*.sw?", "4913", "*.tmp", "*___jb_???___"),  # editors' files
    *("*.log", "*.db", "*.db-*", "*.sqlite*"),  # what programs write
)
_Module = type(sys)


def file_of(module: object) -> str:
    """Return the file a module came from, without running any code of the module's."""
    if not issubclass(type(module), _Module):  # sys.modules may hold anything
        return ""
    names = vars(_Module)["__dict__"].__get__(module)
    loader = names.get("__loader__")
    in_zip = type(loader).__module__ == "zipimport"
    file = loader.archive if in_zip else names.get("__file__")
    is_path = type(file) is str and file and "\0" not in file
    return absolute(file) if is_path else ""


def absolute(path: str) -> str:
    """Return a path as absolute, and the same object if it was: there are thousands."""
    try:
        full = os.path.abspath(path)
    except OSError:  # it is relative, and the working directory has been removed
        return ""
    return path if full == path else full


def installed_roots() -> "tuple[str, ...]":
    """Return the directories of the standard library and of installed packages.

    As sysconfig.get_paths() has them, but without its megabyte of build settings.
    """
    names = "site-packages", "dist-packages"
    roots = [path for path in map(str, sys.path) if path.endswith(names)]
    roots.append(os.path.dirname(os.__file__))
    return tuple(os.path.join(os.path.realpath(root), "") for root in roots)


def matcher(*globs: str) -> "Callable[[str], object]":
    """Return what tells whether a name matches one of some globs."""
    import fnmatch
    import re

    return re.compile("|".join(map(fnmatch.translate, globs))).match


def files_below(folder: str, suffix: str) -> "Iterable[str]":
    """Yield the files in a directory and all below it whose names end in `suffix`."""
    skipped, visited = matcher(*SKIPPED), set()
    for top, folders, files in os.walk(folder, followlinks=True):
        try:
            real = os.path.realpath(top)
        except OSError:  # it has just gone
            continue
        if real in visited or ("pyvenv.cfg" in files and top != folder):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not skipped(name)]
        for name in files:
            if name.endswith(suffix) and not skipped(name):
                yield os.path.join(top, name)


def failure_files(error: "BaseException | None") -> "Iterable[str]":
    """Yield the files that had a part in a failure, in its causes and contexts."""
    from traceback import walk_tb

    errors, seen = [error], set()
    while errors:
        error = errors.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        errors += [error.__cause__, error.__context__]
        errors += getattr(error, "exceptions", ())
        for frame, _ in walk_tb(error.__traceback__):
            yield frame.f_code.co_filename
        for name in ("filename", "filename2"):  # of a SyntaxError or an OSError
            path = getattr(error, name, None)
            if isinstance(path, (str, bytes, os.PathLike)):
                yield os.fsdecode(path)


def outermost(folders: "Iterable[str]") -> "list[str]":
    """Return the directories that are not below another one."""
    found: list[str] = []
    for folder in sorted(folders):
        if not any(folder.startswith(os.path.join(outer, "")) for outer in found):
            found.append(folder)
    return found


# --- The pace: one per cent of a core -------------------------------------------------


class Pace:
    """Says when work is due: each `check_time`, but for at most 1 % of a core."""

    def __init__(self, delay: float = 0.0) -> None:
        self._due = time.monotonic() + delay  # in seconds
        self._costs = 0.0, 0.0  # of the last two times, in seconds of CPU

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def spent(self, begun: float) -> None:
        """Let work rest that has begun at a moment of the thread's clock."""
        self._costs = self._costs[1], time.thread_time() - begun
        # The lesser of two: a stall of the machine is no reason to look away.
        self._due = time.monotonic() + max(_reloader.check_time, 99 * min(self._costs))


# --- The watch list: which files matter -----------------------------------------------


class WatchList:
    """The files that matter, each listed once: the user's own, and installed ones."""

    def __init__(self, edited: "Iterable[str]") -> None:
        self.own: list[str] = []
        self.installed: list[str] = []
        self._edited = set(edited)  # before this run: what the user edits is his own
        self._named: tuple[str, ...] = ()  # by the user: so is that, with all below it
        self._listed: set[str] = set()
        self._watched: dict[tuple[str, str], None] = {}  # directory or glob, suffix
        self._pace = Pace()  # of walking them again
        self._ignored: list[Callable[[str], object]] = []
        self._is_installed: dict[str, bool] = {}  # by directory
        self._roots: tuple[str, ...] = ()

    def add(self, path: str, since: "int | None" = None) -> None:
        """List a file; one saved after a moment, `since`, in ns, has changed."""
        with _reloader.lock:
            if path and path not in self._listed and not self._ignores(path):
                self._listed.add(path)
                self._sort(path)
                meet(path, since)

    def watch(self, path: str, suffix: str = "", since: "int | None" = None) -> None:
        """List a path, a directory's files with a suffix, or the matches of a glob."""
        if is_glob(path) or os.path.isdir(path):
            with _reloader.lock:
                self._watched[path, suffix] = None
                self._walk(path, suffix, since)
        else:
            self.add(path, since)

    def claim(self, path: str) -> None:
        """Count what is installed as the user's own, since the user has named it."""
        while is_glob(path):
            path = os.path.dirname(path)
        if self.has_installed(os.path.join(path, "")):
            with _reloader.lock:
                self._named += (os.path.join(path, ""),)
                files, self.own, self.installed = self.own + self.installed, [], []
                for file in files:
                    self._sort(file)

    def walk_again(self) -> None:
        """List what was created in watched directories: it has changed thereby."""
        if self._watched and self._pace.is_due():
            begun = time.thread_time()
            for path, suffix in self._watched:
                self._walk(path, suffix, 0)
            self._pace.spent(begun)

    def ignore(self, pattern: str) -> None:
        pattern = os.path.normcase(os.path.normpath(pattern))
        anywhere, below = "*" + os.sep, os.sep + "*"
        globs = [pre + pattern + end for pre in ("", anywhere) for end in ("", below)]
        self._ignored.append(matcher(*globs))
        with _reloader.lock:
            for listed in (self.own, self.installed):
                listed[:] = [path for path in listed if not self._ignores(path)]

    def has_installed(self, path: str) -> bool:
        """Tell installed files from the user's own, by their directory's real path."""
        folder = os.path.dirname(path) or os.sep
        if folder not in self._is_installed:
            real = os.path.join(os.path.realpath(folder), "")
            self._is_installed[folder] = real.startswith(self.roots())
        is_claimed = path in self._edited or (path + os.sep).startswith(self._named)
        return self._is_installed[folder] and not is_claimed

    def roots(self) -> "tuple[str, ...]":
        """Return the directories of installed packages, as at the first call."""
        self._roots = self._roots or installed_roots()
        return self._roots

    def source_folders(self) -> "list[str]":
        """Return the directories of the user's own sources, and to import from."""
        folders = {os.path.dirname(path) for path in self.own if path.endswith(".py")}
        folders.update(filter(os.path.isdir, map(absolute, map(str, sys.path))))
        installed = {p for p in folders if self.has_installed(os.path.join(p, ""))}
        return outermost(folders - installed - {os.sep})

    def _sort(self, path: str) -> None:
        (self.installed if self.has_installed(path) else self.own).append(path)

    def _walk(self, path: str, suffix: str, since: "int | None") -> None:
        import glob

        for top in [path] if os.path.exists(path) else glob.iglob(path, recursive=True):
            for file in (top, *files_below(top, suffix)):
                self.add(file, since)

    def _ignores(self, path: str) -> bool:
        return any(matches(os.path.normcase(path)) for matches in self._ignored)


# --- The snapshot: noticing a difference ----------------------------------------------


_stat = os.stat  # as it is before the program may replace it


def status_of(path: str) -> "os.stat_result | None":
    try:
        return _stat(path)
    except (OSError, ValueError):  # there is none
        return None


def stamp_of(status: "os.stat_result | None") -> "int | None":
    """Return what identifies a file's content, of a directory only what it is.

    A hash, since the three numbers would take five times the memory.
    """
    if not status:
        return None
    if S_ISDIR(status.st_mode):
        return hash(status.st_ino)
    return hash((status.st_mtime_ns, status.st_size, status.st_ino))


def saved_at(path: str) -> int:
    """Return when a file was saved, in ns since the epoch; 0 if there is none."""
    status = status_of(path)
    return time_of(status) if status else 0


def time_of(status: "os.stat_result") -> int:
    """Return when a file was saved.

    A directory never was: each file created in it would be a save.
    """
    if S_ISDIR(status.st_mode):
        return 0
    # Nobody can set ctime, and a rename moves it; on Windows it is the creation's.
    return status.st_mtime_ns if os.name == "nt" else status.st_ctime_ns


def meet(path: str, since: "int | None" = None) -> None:
    """Take note of a file: as it is or, if saved after the moment `since`, as new."""
    snapshot = _reloader.snapshot
    if path not in snapshot:
        stamp = stamp_of(status_of(path))  # before the other look: no save between
        is_new = since is not None and saved_at(path) > since
        snapshot.setdefault(path, None if is_new else stamp)
    _reloader.workers.tell("file", path, snapshot[path])


def look(paths: "Iterable[str]") -> "list[str]":
    """Return those of `paths` that differ from the last look at them."""
    snapshot, changed = _reloader.snapshot, []
    for path in paths:
        stamp = stamp_of(status_of(path))
        if stamp != snapshot.setdefault(path, stamp):
            snapshot[path] = stamp
            changed.append(path)
    return changed


def settle(changed: "set[str]") -> None:
    """Wait until all files have been quiet for a while; add what changes meanwhile.

    One file is quiet after 0.05 seconds; of several, or of one that has gone and is
    likely to come back, the rest takes longer.
    """
    deadline = time.monotonic() + 5  # what is never quiet is no save
    while time.monotonic() < deadline:
        alone = len(changed) == 1 and _reloader.snapshot[min(changed)] is not None
        now = time.time_ns()
        age = now - max(saved_at(path) or now for path in changed)
        time.sleep(max(0, (0.05 if alone else 0.2) - max(0, age) / 1e9))
        more = look({*_reloader.watch_list.own, *changed})
        if not more:
            return
        changed.update(more)


# --- The installations: when packages come and go -------------------------------------


class Installations:
    """Sees when packages are installed: entries of their directory come or go."""

    def __init__(self) -> None:
        self.folders: dict[str, int] = {}  # to look at; when an entry last did, in ns
        self.ongoing: set[str] = set()  # those where one has
        self._pause = 0  # since then, in rounds

    def watch(self, folders: "Iterable[str]") -> None:
        for folder in folders:
            self.folders.setdefault(folder, mtime_of(folder))

    def over(self) -> "set[str]":
        """Return where something was installed, once all of it seems to be there."""
        self._pause += 1
        for folder, before in list(self.folders.items()):
            self.folders[folder] = mtime_of(folder)
            if self.folders[folder] != before:
                self.ongoing.add(folder)
                self._pause = 0
        if self._pause < 2 or (self._pause < 20 and self.ongoing and has_gaps()):
            return set()
        over, self.ongoing = self.ongoing, set()
        return over


def mtime_of(folder: str) -> int:
    status = status_of(folder)
    return status.st_mtime_ns if status else 0


def has_gaps() -> bool:
    """Whether installed files are missing that were there: they are being replaced."""
    there = (
        path for path in _reloader.watch_list.installed if _reloader.snapshot.get(path)
    )
    return not all(map(status_of, there))


# --- The imports: which stamp a file had as it was loaded -----------------------------


class Imports:
    """Knows what has been imported, and what its file looked like then."""

    def __init__(self) -> None:
        self.loaded: list[str] = []  # and not listed yet; also what has failed
        # Among them is the program, whose `__file__` Python removes at its end.
        self.early = set(filter(None, map(file_of, list(sys.modules.values()))))
        self._names: list[str] = []  # of sys.modules, when it was last walked
        self._known: set[str] = set()  # those of them whose files are listed
        self._count = 0  # of modules, at the last call of have_paused()

    def install(self) -> None:
        """Have the import system tell what it loads.

        It asks for a source's mtime and size just before it reads the code, be it from
        the source or from the cache: the one moment that tells which code runs.  An
        extension module is loaded right after its loader is made.
        """
        import _frozen_importlib_external as loaders

        snapshot, has_installed = _reloader.snapshot, _reloader.watch_list.has_installed
        doubtful = time.time_ns() - 2 * 10**9

        def path_stats(loader: object, path: str) -> "dict[str, float]":
            status, full = _stat(path), absolute(path)
            stamp = snapshot[full] = stamp_of(status)
            self.loaded.append(full)
            _reloader.workers.tell("file", full, stamp)  # at once: it may die of it
            if time_of(status) > doubtful and not has_installed(full):
                try:
                    os.remove(loaders.cache_from_source(path))
                except (OSError, NotImplementedError):
                    pass
            return {"mtime": status.st_mtime, "size": status.st_size}

        begin = loaders.ExtensionFileLoader.__init__

        def note_extension(loader: "Any", name: str, path: str) -> None:
            begin(loader, name, path)
            snapshot[absolute(path)] = stamp_of(status_of(path))

        setattr(loaders.SourceFileLoader, "path_stats", path_stats)
        setattr(loaders.ExtensionFileLoader, "__init__", note_extension)
        for path in self.early:
            meet(path)

    def have_paused(self) -> bool:
        """Whether there are new ones, but none since the last call."""
        before, self._count = self._count, len(sys.modules)
        return before == self._count != len(self._names)

    def new(self) -> "Iterable[str]":
        """Yield the files of what has been imported since the last call."""
        while self.loaded:
            yield self.loaded.pop()
        names = list(sys.modules)  # at once: other threads import
        if names != self._names:
            self._names = names
            for name in set(names) - self._known:
                path = file_of(sys.modules.get(name))
                if path:
                    self._known.add(name)
                    yield path


def is_outdated(path: str) -> bool:
    """Whether the bytecode of a source that was imported before us is another one's.

    If it is the same, the program wrote the source before importing it.
    """
    from importlib.util import cache_from_source
    from marshal import loads

    try:
        code = compile(read(path), path, "exec", dont_inherit=True)
        return bool(code != loads(read(cache_from_source(path))[16:]))  # header
    except Exception:  # no cache, or half a source
        return True


# --- The watcher: which file is looked at when ----------------------------------------


# Modules of programs with such workers, loaded when the first one is started.
SPAWNING = {
    f"multiprocessing.popen_{kind}"
    for kind in ("spawn_posix", "spawn_win32", "forkserver")
}


class Watcher:
    """Keeps the watch list and the snapshot up to date, and knows what has changed."""

    def __init__(self) -> None:
        self._freshest: list[str] = []
        self._count = 0  # of own files, in the last round
        self._rounds = 0
        self.pace = Pace(0.5)  # of rounds, the first one once imports have paused
        self._began = self._listed_at = time.time_ns()  # the last time modules were
        self._spawns = False  # workers that do not tell what they import
        self.installations = Installations()

    def list_early(self) -> None:
        """List the modules imported before ours, some of them changed since then."""
        began = _reloader.launch.began()
        with _reloader.lock:
            for path in _reloader.imports.early:
                _reloader.watch_list.add(path)
                if saved_at(path) > began and is_outdated(path):
                    _reloader.snapshot[path] = None

    def watch_failure(self, error: "BaseException | None") -> None:
        """Watch what may mend a failure; what was saved since the start may have."""
        with _reloader.lock:
            for path in map(absolute, failure_files(error)):
                _reloader.watch_list.add(path, self._began)
                if _reloader.watch_list.has_installed(path):
                    self.installations.watch([os.path.join(os.path.dirname(path), "")])
            self.watch_sources(self._began)
            for path in self.installations.folders:  # for what is missing there
                _reloader.watch_list.add(path)

    def watch_sources(self, since: "int | None" = None) -> None:
        """Watch the directories of the program's own sources, and to import from."""
        for folder in _reloader.watch_list.source_folders():
            _reloader.watch_list.watch(folder, ".py", since)

    def list_modules(self) -> None:
        """List what has been imported, and what those import who do not tell."""
        with _reloader.lock:
            for path in _reloader.imports.new():
                _reloader.watch_list.add(path)
            if not (self._spawns or sys.modules.keys().isdisjoint(SPAWNING)):
                self._spawns = True
                self.watch_sources(self._listed_at)
            self._listed_at = time.time_ns()

    def look_often(self) -> "list[str]":
        """Look at the few files that were saved last: they will be saved again."""
        with _reloader.lock:
            if _reloader.imports.have_paused():
                self.list_modules()
                if not self._rounds:
                    self.pace = Pace()  # the first round is due
            return look(self._freshest)

    def look_around(self) -> "list[str]":
        """Look at all own files, and at some of the installed ones.

        Installed code changes all at once, by an installation: then, at all of them.
        """
        with _reloader.lock:
            self.list_modules()
            _reloader.watch_list.walk_again()
            begun = time.thread_time()
            own, installed = _reloader.watch_list.own, _reloader.watch_list.installed
            self._rounds += 1
            due, over = installed[self._rounds % 32 :: 32], self.installations.over()
            if over or self.installations.ongoing:
                due = installed if over else []
            changed = look(own + due)
            changed += over.intersection(_reloader.snapshot)  # after a failure
            if changed or len(own) != self._count:
                self._count = len(own)
                self._freshest = sorted(own, key=saved_at)[-2:]
            self.pace.spent(begun)
            return changed


# --- The check: is the change fit to run ----------------------------------------------


def sources(paths: "Iterable[str]") -> "list[str]":
    return sorted(path for path in paths if path.endswith((".py", ".pyw")))


def are_fit(paths: "Iterable[str]") -> bool:
    """Whether all sources compile; show the first that does not, as Python would.

    If one has gone, the import will say so.
    """
    import traceback
    import warnings

    for path in sources(paths):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the next run will show them
                compile(read(path), path, "exec", dont_inherit=True)
        except Exception as error:
            is_over = _reloader.ending.stage == FINISHED
            effect = "waiting for a change" if is_over else "the old code runs on"
            show("".join(traceback.format_exception_only(error)))
            say(f"{_reloader.launch.name_of(path)} does not compile, {effect}")
            return False
    return True


def drop_bytecode(paths: "Iterable[str]") -> None:
    """Remove the cached bytecode of sources.

    Python trusts bytecode whose source has the same size and mtime *second*: a second
    save within it would run as the first.  So does pytest with its own cache.
    """
    import glob
    from importlib.util import cache_from_source

    for path in sources(paths):
        try:
            stem = cache_from_source(path, optimization="")[: -len(".pyc")]
            for cached in glob.iglob(glob.escape(stem) + "*.pyc"):
                # An installer, which has compiled what it wrote, may insist on that.
                is_new = saved_at(cached) > saved_at(path)
                if not (is_new and _reloader.watch_list.has_installed(path)):
                    os.remove(cached)
        except (OSError, NotImplementedError):  # read-only; no cache
            pass


# --- The loop guard: a program that rewrites its own files ----------------------------


def checksum_of(path: str) -> int:
    """Return what tells whether a file has the same content, or a directory names."""
    import zlib

    try:
        names = sorted(os.listdir(path))
    except OSError:  # it is none
        names = []
    return zlib.crc32(read(path) or os.fsencode("\n".join(names)))


class LoopGuard:
    """Knows a program that would restart for ever, since it rewrites its own files.

    For each file that changed soon after the start, `streaks` has how many starts in a
    row it did, and a checksum.  It is the program that rewrites it, if we see it do so,
    or if the content is the same.
    """

    def __init__(self, streaks: "dict[str, list[int]]") -> None:
        self.streaks = streaks
        self._began = time.monotonic()
        self._written: set[str] = set()
        self._is_mute = False  # and has said so
        if any(count >= 3 for count, _ in streaks.values()):
            sys.addaudithook(self._note_write)

    def mutes(self, changed: "set[str]", seen: float, cause: str) -> bool:
        """Whether to restart for these files no more, until another one changes.

        `seen` is when the change was seen, in seconds of the monotonic clock.
        """
        # An installation is seen late, once it has paused.
        late = 3 * _reloader.check_time * any(p.endswith(os.sep) for p in changed)
        is_soon = seen - self._began < 2 + late and len(changed) < 100
        was_mute = self._is_mute
        self._is_mute = (is_soon or was_mute) and all(map(self._is_its_own, changed))
        if not self._is_mute:
            self.streaks = {
                path: [self.streaks.get(path, (0, 0))[0] + 1, checksum_of(path)]
                for path in (changed if is_soon else ())
            }
        elif not was_mute:
            often = "after each of the last 3 starts"
            say(f"{cause} {often}, ignored until another file changes")
        return self._is_mute

    def _is_its_own(self, path: str) -> bool:
        """Whether the program itself has just written a file once more."""
        count, checksum = self.streaks.get(path, (0, 0))
        return count >= 3 and (path in self._written or checksum == checksum_of(path))

    def _note_write(self, event: str, arguments: "tuple[Any, ...]") -> None:
        writing = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if writing or event in ("os.rename", "os.utime"):
            self._written.update(
                os.path.abspath(path) for path in arguments[:2] if isinstance(path, str)
            )


# --- The errors: how exceptions are shown ---------------------------------------------


class NotFound(Exception):
    """There is no such target."""


def without_machinery(trace: "TracebackType | None") -> "TracebackType | None":
    """Drop the outer frames of a traceback that are not the program's."""
    while trace:
        names = trace.tb_frame.f_globals
        package = str(names.get("__name__")).partition(".")[0]
        if names is not globals() and package not in ("importlib", "zipimport"):
            break
        trace = trace.tb_next
    return trace


def report(text: str) -> None:
    """Show the exception being handled, then say what happens next."""
    import traceback

    kind, error, trace = sys.exc_info()
    trace = without_machinery(trace) or trace
    show("".join(traceback.format_exception(kind, error, trace)))
    say(text)


def silence_interrupt() -> None:
    """Have no thread report the KeyboardInterrupt that a restart causes."""
    from functools import partial

    hooks = (sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")
    for owner, name in hooks:
        setattr(owner, name, partial(report_uncaught, getattr(owner, name)))


def report_uncaught(report: "Callable[..., object]", *error: "Any") -> None:
    kind = getattr(error[0], "exc_type", error[0])
    if not issubclass(kind, KeyboardInterrupt):
        report(*error)


# --- The hooks: what the program does before a restart --------------------------------


def scheduler(io_loop: "Any") -> "Callable[[Callable[[], None]], object]":
    """Return what calls a function on the thread of a loop, be it of any kind."""
    if io_loop is None:
        return background
    names = "call_soon_threadsafe", "add_callback", "callFromThread", "run_sync_soon"
    for name in *names, "__call__":  # of asyncio, Tornado, Twisted and trio; a function
        if hasattr(io_loop, name):
            return getattr(io_loop, name)  # type: ignore[no-any-return]
    raise TypeError(
        "io_loop must be an asyncio loop, a Tornado IOLoop, a Twisted reactor, a trio"
        f" token, a function that schedules a function, or None, not {io_loop!r}"
    )


def background(fn: "Callable[[], None]") -> None:
    """Call a function in a thread of its own, since it may hang."""

    def call() -> None:
        # What it starts shall not inherit the mask of the thread that watches.
        mask_signals("SIG_SETMASK", _reloader.launch.mask)
        fn()

    try:
        threading.Thread(target=call, name="autoreload hook", daemon=True).start()
    except RuntimeError:  # Python 3.12+ starts no thread once the program has ended
        fn()


def run_coroutine(io_loop: "Any", work: "Coroutine[Any, Any, None]") -> object:
    """Run a coroutine, on the thread of the loop; return what to keep meanwhile."""
    if hasattr(io_loop, "callFromThread"):  # Twisted
        return sys.modules["twisted.internet.defer"].ensureDeferred(work)
    if hasattr(io_loop, "run_sync_soon"):  # trio
        return sys.modules["trio"].lowlevel.spawn_system_task(lambda: work)
    import asyncio

    loop = asyncio._get_running_loop()
    return loop.create_task(work) if loop else asyncio.run(work)


def call_hook(
    hook: "Callable[[], object]", name: str, io_loop: "Any", deadline: float
) -> bool:
    """Call a hook on the thread of the loop; return whether it is done in time."""
    done = threading.Event()
    kept: list[object] = []
    text = f"hook {name} failed, restarting anyway"

    async def finish(awaitable: "Any") -> None:
        try:
            await awaitable
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # What is cancelled later is so by the end of the loop.
            is_fault = isinstance(error, (Exception, SystemExit))
            if is_fault or time.monotonic() < deadline:
                report(text)
        finally:
            done.set()

    def call() -> None:
        try:
            result: Any = hook()
            if hasattr(result, "__await__"):
                return kept.append(run_coroutine(io_loop, finish(result)))
        except (Exception, SystemExit):
            report(text)
        finally:
            if not kept:  # else finish() will tell
                done.set()

    try:
        scheduler(io_loop)(call)
    except Exception:  # the loop is closed
        io_loop = None
        if not (done.is_set() or kept):  # it may have failed after the call
            background(call)
    return done.wait(max(0.01, deadline - time.monotonic()))


# --- The signals: who wants the program to end ----------------------------------------


class Interrupts:
    """Counts the Ctrl-Cs and terminations that arrive, whatever the program does then.

    A server that stops gracefully ends like a program that is done; what tells the two
    apart is the signal.  So handlers are installed with a counter around them, one that
    is written in C and so adds no frame to tracebacks, and the program sees its own.
    """

    def __init__(self) -> None:
        self._before: dict[int, int] = {}  # counts of the handlers since replaced
        # How many were sent by us, or have been survived.
        self.excused: dict[int, int] = {_signal.SIGTERM: 0, _signal.SIGINT: 0}
        self.main_ident = threading.main_thread().ident or 0
        self._install: Callable[[int, Any], Any] = _signal.signal
        self._look_up: Callable[[int], Any] = _signal.getsignal

    def count(self) -> None:
        """Begin to count, where signals can be handled: on the main thread."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        import signal
        from functools import partial

        here, frames = sys._getframe(), sys._current_frames()
        # Not threading's word for it: gevent gives threads other numbers.
        self.main_ident = next(ident for ident in frames if frames[ident] is here)
        self._install, self._look_up = signal.signal, signal.getsignal
        self._before = dict.fromkeys(signal.valid_signals(), 0)
        setattr(signal, "signal", self.signal)
        setattr(signal, "getsignal", self.getsignal)
        setattr(signal, "raise_signal", partial(self._send, signal.raise_signal))
        setattr(os, "kill", partial(self._send, os.kill))
        for number in self.excused:
            if callable(self.getsignal(number)):
                self.signal(number, self.getsignal(number))

    def signal(self, signalnum: int, handler: "Any") -> "Any":
        """Install a handler, as signal.signal does, with a counter around it."""
        from functools import lru_cache

        shown, before = self.getsignal(signalnum), self.counted(signalnum)
        ends_us = (signalnum, handler) == (_signal.SIGINT, _signal.SIG_DFL)
        if ends_us and self.excused[signalnum] and not self.fatal():  # as twistd does
            handler = _signal.default_int_handler
        if callable(handler):
            handler = lru_cache(maxsize=0)(handler)
        self._install(signalnum, handler)
        self._before[signalnum] = before
        return shown

    def getsignal(self, signalnum: int) -> "Any":
        """Return a handler, as signal.getsignal does, without its counter."""
        handler = self._look_up(signalnum)
        return handler.__wrapped__ if hasattr(handler, "cache_info") else handler

    def counted(self, number: int) -> int:
        """Return how often a signal has arrived."""
        counter = getattr(self._look_up(number), "cache_info", None)
        return self._before.get(number, 0) + (counter().misses if counter else 0)

    def _send(self, send: "Callable[..., None]", *args: int) -> None:
        """Send a signal for the program: our Ctrl-C that it passes on is ours, too."""
        to_itself = args in ((_signal.SIGINT,), (os.getpid(), _signal.SIGINT))
        if to_itself and self.excused[_signal.SIGINT]:  # as uvicorn does
            self.excused[_signal.SIGINT] += 1
        send(*args)

    def arrived(self) -> "dict[int, int]":
        """Return how often each has arrived."""
        return {number: self.counted(number) for number in self.excused}

    def fatal(self) -> int:
        """Return the signal by which somebody else wants the program to end, or 0."""
        excused = self.excused
        return next((n for n in excused if self.counted(n) > excused[n]), 0)


def end_as(status: int) -> None:
    """End at once with an exit status or, if it is negative, by a signal."""
    _reloader.lock.acquire(timeout=1)  # the watcher shall not look meanwhile
    flush_all()
    leave_note("{}")
    if status < 0 and os.name == "posix":
        try:
            _signal.signal(-status, _signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        except ValueError:  # not on the main thread
            pass
    os._exit(status if status >= 0 else 128 - status)


# --- The end: how the program ends, or stays for its next run -------------------------

# What the main thread does: it runs the program; waits for threads, since a hook has
# ended the program; runs exit functions; waits for the next run.
RUNNING, LEAVING, FINISHING, FINISHED = range(4)


class Ending:
    """The main thread's last act: all ways to end a program meet in one handler."""

    def __init__(self) -> None:
        self.outcome = ""  # how the program ended, if that is to be waited out
        self.stopping = False  # a restart is under way
        self.stage = RUNNING
        self.next: Any = None  # that, if the main thread is to begin it

    def prepare(self) -> None:
        """Be there when the main thread is at its end, but for threads it waits for."""
        import atexit

        getattr(threading, "_register_atexit")(self._begin)
        # That is not called if the end of a thread pool fails before it.
        atexit.register(self._finish)

    def _begin(self) -> None:
        import atexit

        if self.stopping:
            self.stage = LEAVING
        atexit.unregister(self._finish)
        atexit.register(self._finish)  # so late, it is the first of the handlers to run

    def _finish(self) -> None:
        if _reloader.workers.is_worker:
            return
        self.stage = FINISHING
        self._note_failure()
        if not self.stopping and not self.outcome:
            return leave_note("{}")
        while True:
            try:
                self._stay()
            except KeyboardInterrupt:
                if _reloader.interrupts.fatal():
                    end_as(-_signal.SIGINT)

    def _note_failure(self) -> None:
        """Have an exception that nobody caught, and Python has shown, waited out."""
        error = getattr(sys, "last_value", None)  # others set it for caught ones, too
        trace = error and error.__traceback__
        uncaught = isinstance(error, Exception) and trace and not trace.tb_frame.f_back
        if uncaught and not _reloader.restarter.commanded:
            self.outcome = f"{_reloader.restarter.name()} failed"
            _reloader.watcher.watch_failure(error)

    def _stay(self) -> None:
        """Run the exit functions; then wait, while the watcher does the rest."""
        self.run_exit_functions()
        flush()
        if _reloader.interrupts.fatal():
            end_as(-_reloader.interrupts.fatal())
        _reloader.interrupts.count()
        usual = {_signal.SIGINT: _signal.default_int_handler}
        ends = {_signal.SIGINT, _signal.SIGTERM}.difference(_reloader.launch.ignored)
        for number in ends:
            _reloader.interrupts.signal(number, usual.get(number, _signal.SIG_DFL))
        mask_signals("SIG_UNBLOCK", ends)
        if self.outcome and not self.stopping:
            say(f"{self.outcome}, waiting for a change")
        self.outcome, self.stage = "", FINISHED
        _reloader.io_loop = None  # its thread has ended
        while not self.next:
            # Not longer: a signal that arrives right before a sleep does not end it.
            # A supervised run is begun here, else by the watcher.
            time.sleep(0.1 if _restart is supervise else 5)
        _restart(*self.next)

    def run_exit_functions(self) -> None:
        """Run all exit functions but ours."""
        import atexit

        atexit.unregister(self._finish)
        atexit._run_exitfuncs()


# --- The main thread: what it is doing ------------------------------------------------


def main_frames() -> "Iterable[FrameType]":
    """Yield what the main thread is doing, innermost first."""
    frame = sys._current_frames().get(_reloader.interrupts.main_ident)
    while frame:
        yield frame
        frame = frame.f_back


def is_in(function: str, module: str) -> bool:
    return any(
        frame.f_code.co_name == function and frame.f_globals.get("__name__") == module
        for frame in main_frames()
    )


def position() -> str:
    """Return where the main thread is, in the program's own code if it is there."""
    frames = [f for f in main_frames() if f.f_globals is not globals()]
    has_installed = _reloader.watch_list.has_installed
    own = [f for f in frames if not has_installed(absolute(f.f_code.co_filename))]
    for frame in own or frames:
        file = _reloader.launch.name_of(frame.f_code.co_filename)
        return f"{file}:{frame.f_lineno}"
    return "its end"


def between_requests() -> bool:
    """Whether a server of `socketserver` waits: Ctrl-C would cut a request off."""
    in_request = is_in("_handle_request_noblock", "socketserver")
    return not in_request or is_in("accept", "socket")


def requests_are_done() -> bool:
    """Whether no thread of a server of `socketserver` answers a request any more."""
    return not any("(process_request_thread)" in t.name for t in threading.enumerate())


# --- The workers: what they report, and their end -------------------------------------


class Workers:
    """Processes forked from this one, which report to it, and `multiprocessing`'s."""

    def __init__(self, orphans: "Iterable[int]") -> None:
        self.is_worker = False  # itself, forked from the process started by hand
        self._forked: set[int] = set()
        self._orphans = set(orphans)  # left by the run before this one
        self._reader = self._writer = -1
        self._pipe: dict[int, os.stat_result] = {}  # the same two, as they were opened
        self._untold: list[bytes] = []  # since the pipe was full
        self._unread = b""  # a line not all of which has arrived

    def expect(self) -> None:
        """Prepare for reports, before a fork."""
        global json  # half imported by a thread, it would stay so in the fork
        import json

        if not self._is_open(self._reader):
            self._reader, self._writer = os.pipe()
            self._pipe = {fd: os.fstat(fd) for fd in (self._reader, self._writer)}
            for fd in self._pipe:
                os.set_blocking(fd, False)  # full, it would hold an import

    def _is_open(self, fd: int) -> bool:
        return is_still(fd, self._pipe.get(fd))

    def tell(self, *message: object) -> None:
        """Report to the process started by hand, if it is another, and what is left."""
        if self.is_worker and message:
            self._untold.append(json.dumps(message).encode() + b"\n")
        while self._untold and self._is_open(self._writer):
            try:
                line = self._untold.pop(0)
            except IndexError:  # another thread has told it
                return
            try:
                os.write(self._writer, line)
            except OSError:  # full, or closed this moment
                return self._untold.insert(0, line)

    def told(self) -> "Iterable[list[Any]]":
        """Yield what was reported since the last call."""
        if not self._is_open(self._reader):
            return
        try:
            while chunk := os.read(self._reader, 1 << 16):
                self._unread += chunk
        except OSError:  # no more to read; or closed this moment
            pass
        self._forked = set(filter(in_our_group, self._forked))  # numbers are used again
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            try:
                kind, *values = json.loads(line)
            except ValueError:  # cut off, where the pipe was full
                continue
            if kind == "worker":
                self._forked.add(values[0])
            else:
                yield [kind, *values]

    def interrupt(self) -> None:
        """Ask those to end that Ctrl-C would: by SIGTERM, which shows no traceback."""
        send(
            _signal.SIGTERM, [pid for pid in self._pids() if not ignores_interrupt(pid)]
        )

    def end(self, seconds: float) -> None:
        """Have them end, then kill those that are left; leave no zombies."""
        deadline = time.monotonic() + seconds
        asked: set[int] = set()

        def are_gone() -> bool:
            living = {pid for pid in self._pids() if not has_ended(pid)}
            if time.monotonic() < deadline:
                send(_signal.SIGTERM, living - asked)  # also those forked meanwhile
            else:
                send(getattr(_signal, "SIGKILL", _signal.SIGTERM), living)
            asked.update(living)
            return not living

        wait_until(are_gone, deadline + 1)

    def reap_orphans(self) -> None:
        self._orphans = {pid for pid in self._orphans if not has_ended(pid)}

    def _pids(self) -> "list[int]":
        list(self.told())
        # A child that has not run yet has not reported, either; one that has executed
        # something (subprocess with preexec_fn, os.spawn) is the program's own to end.
        found = self._forked.union(children())
        pids = {pid for pid in found if not has_executed(process_fields(pid))}
        return list(filter(in_our_group, pids | spawned()))


# --- The sockets: a port that never refuses -------------------------------------------


class Sockets:
    """The listening sockets, kept open behind the program's back."""

    def __init__(self, inherited: "dict[str, int]") -> None:
        self._kept: dict[str, tuple[int, os.stat_result]] = {}  # asked for in this run
        self._open = inherited

    def listen(self, address: "Address") -> "socket":
        import socket

        if isinstance(address, (str, os.PathLike)):
            address = path_of(address)
        elif not isinstance(address, tuple) or len(address) != 2:
            rule = "an address must be (host, port) or a path"
            raise TypeError(f"{rule}, not {address!r}")
        key = str(address)
        if key not in self._open:
            self._open[key] = open_socket(address).detach()
        self._kept[key] = self._open[key], os.fstat(self._open[key])
        copy = socket.socket(fileno=socket.dup(self._open[key]))
        copy.setblocking(True)  # what asyncio has set is shared with the last run
        return copy  # which the program will close

    def pause(self) -> None:
        """Have the program accept no more: what comes now waits for the next run.

        On Ctrl-C servers reset what they have accepted, but not yet read.  So each
        descriptor of the program's is replaced by a socket to which nobody connects.
        """
        if self._kept:
            try:
                for ours in self.descriptors().values():
                    replace_copies(ours)
            except OSError:  # no descriptor is left: better reset than never restart
                pass
            time.sleep(0.1)  # by now what was accepted is a request

    def descriptors(self) -> "dict[str, int]":
        """Return those for the next run, if the program has not closed them blindly."""
        return {key: fd for key, (fd, it) in self._kept.items() if is_still(fd, it)}


def replace_copies(ours: int) -> None:
    import socket

    status = os.fstat(ours)
    with socket.create_server(("127.0.0.1", 0)) as lonely:
        os.set_blocking(lonely.fileno(), os.get_blocking(ours))
        for fd, other in open_descriptors().items():
            if fd != ours and os.path.samestat(status, other):
                os.dup2(lonely.fileno(), fd, inheritable=False)


def open_socket(address: "str | tuple[str, int]") -> "socket":
    import socket

    if isinstance(address, tuple):
        host, port = address
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, where = found[0]
        return socket.create_server(where, family=family, backlog=socket.SOMAXCONN)
    unix = socket.AF_UNIX
    with socket.socket(unix) as probe:
        is_left = os.path.exists(address) and S_ISSOCK(os.stat(address).st_mode)
        if is_left and probe.connect_ex(address):
            os.unlink(address)
    return socket.create_server(address, family=unix, backlog=socket.SOMAXCONN)


# --- The stop: Ctrl-C -----------------------------------------------------------------


def interrupt() -> bool:
    """Send Ctrl-C to the main thread; return whether it does anything with it."""
    interrupts = _reloader.interrupts
    handler = interrupts.getsignal(_signal.SIGINT)
    if handler in (_signal.SIG_IGN, _signal.SIG_DFL):
        return False
    debugger: Any = getattr(handler, "__self__", None)
    if hasattr(debugger, "allow_kbdint"):  # pdb after "continue": else it would prompt
        debugger.allow_kbdint = True
    silence_interrupt()
    interrupts.excused[_signal.SIGINT] += 1
    if hasattr(_signal, "pthread_kill"):  # interrupt_main would not wake a sleeping one
        _signal.pthread_kill(interrupts.main_ident, _signal.SIGINT)
    else:  # Windows: raised on any thread, it wakes the main one
        _signal.raise_signal(_signal.SIGINT)
    return True


def end_program() -> bool:
    """Have the program end; return whether it is to be run again."""
    ending, interrupts = _reloader.ending, _reloader.interrupts
    ending.stopping = True
    if sys.platform == "linux" and ending.stage < FINISHED:
        _reloader.sockets.pause()  # elsewhere a socket may have no identity
    call_hooks()
    if interrupts.fatal():  # by hand: the program is ending anyway
        ending.stopping = False
        return False
    deadline = time.monotonic() + _reloader.grace
    wait_until(between_requests, deadline)
    if ending.stage > RUNNING or interrupt():  # which would cut threads off
        await_end(deadline)
    _reloader.workers.end(max(0.5, deadline - time.monotonic()))
    if ending.stage < FINISHING:  # in the stead of a main thread that does not end
        call_hook(ending.run_exit_functions, "atexit", None, time.monotonic() + 1)
    if interrupts.fatal():  # by hand, and the main thread did not heed it
        end_as(-interrupts.fatal())
    return True


def call_hooks() -> None:
    grace = _reloader.grace
    deadline = time.monotonic() + grace
    for hook in _reloader.hooks:
        name = getattr(hook, "__qualname__", repr(hook))
        if not call_hook(hook, name, _reloader.io_loop, deadline):
            say(f"hook {name} is not done after {grace:g} s, restarting anyway")


def await_end(deadline: float) -> None:
    try:
        # A loop that goes to sleep just as the Ctrl-C arrives would miss it.
        if _reloader.io_loop:
            scheduler(_reloader.io_loop)(lambda: None)
    except Exception:  # closed meanwhile
        pass
    _reloader.workers.interrupt()
    if not wait_until(lambda: _reloader.ending.stage == FINISHED, deadline):
        late = f"after {_reloader.grace:g} s, restarting anyway"
        if not _reloader.interrupts.fatal():  # by hand, meanwhile
            say(f"main thread is at {position()} {late}")
    wait_until(requests_are_done, deadline)


# --- The sweep: what exec hands on, put back ------------------------------------------


def flush(files: "Iterable[Any]" = (), *, patient: bool = True) -> None:
    for file in [sys.stdout, sys.stderr, *files]:
        try:
            if patient or has_room(file):
                file.flush()
        except Exception:  # it may be closed, replaced or None
            pass


def flush_all(*, patient: bool = True) -> None:
    """Flush all open files, as Python does at its end; call it only right before ours.

    gc.get_objects() disturbs other threads: a tuple it has seen cannot be resized.
    """
    import gc
    import io

    things = gc.get_objects()
    buffered = io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom
    kinds = {kind for kind in set(map(type, things)) if issubclass(kind, buffered)}
    flush((thing for thing in things if type(thing) in kinds), patient=patient)


def sweep() -> None:
    """Put back what exec hands on; the next run sees to the signals itself."""
    launch, sockets = _reloader.launch, _reloader.sockets.descriptors().values()
    for timer in (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF):
        _signal.setitimer(timer, 0)
    os.umask(launch.umask)
    for fd, saved in launch.kept.items():
        if is_still(saved, launch.descriptors[fd]):
            os.dup2(saved, fd)
            os.set_blocking(fd, launch.blocking[fd])  # asyncio changes it
    restore_terminal()
    for fd in {*open_descriptors(), *sockets}:
        was_there = is_still(fd, launch.descriptors.get(fd))
        try:
            os.set_inheritable(fd, was_there or fd in sockets)
        except OSError:  # a thread of the program's has closed it this moment
            pass
    drop_pending()


def drop_pending() -> None:
    """Drop signals that wait blocked: exec hands them on, and unblocked they kill."""
    if hasattr(_signal, "sigtimedwait"):
        ends = {_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, *_reloader.launch.mask}
        while pending := _signal.sigpending() - ends:
            if not _signal.sigtimedwait(pending, 0):
                break


def restore_terminal() -> None:
    if not _reloader.launch.terminal:
        return
    import termios

    fd, settings = _reloader.launch.terminal
    try:
        if os.tcgetpgrp(fd) == os.getpgrp():  # a background job would be stopped
            termios.tcsetattr(fd, termios.TCSANOW, settings)
            termios.tcflush(fd, termios.TCIFLUSH)  # as Ctrl-C drops a half-typed line
    except (OSError, termios.error):  # not our terminal, or gone
        pass


# --- The watch thread: looking, and handing on what has changed -----------------------


class WatchThread:
    """Looks at what is due, and hands on what has changed."""

    def __init__(self) -> None:
        self.started = self.requested = False
        self.thread: threading.Thread | None = None
        self._changed: set[str] = set()  # and not heeded yet
        self._complaints: set[str] = set()

    def begin(self) -> None:
        _reloader.interrupts.count()
        with _reloader.lock:  # start() may be called from two threads at once
            if self.started:
                return
            _reloader.watcher.installations.watch(_reloader.watch_list.roots())
            self.started = True
        workers = _reloader.workers
        workers.tell("start", _reloader.check_time, _reloader.grace)
        if not workers.is_worker:
            _reloader.reserve.hold()
            _reloader.ending.prepare()
        self.run()

    def run(self) -> None:
        """Run the thread, if it does not run, nor is to run."""
        is_idle = _reloader.workers.is_worker and not self.started
        is_running = self.thread and self.thread.is_alive()
        if not (is_idle or is_running or _reloader.ending.stopping):
            self.thread = threading.Thread(
                target=self._watch, name="autoreload", daemon=True
            )
            self.thread.start()

    def _watch(self) -> None:
        # Leave signals to the program's threads.
        mask_signals("SIG_BLOCK", _signal.valid_signals())
        while _reloader.workers.is_worker:  # what it lists it reports
            _reloader.watcher.list_modules()
            _reloader.workers.tell()
            time.sleep(_reloader.check_time)
        while not self.started:  # a program that has only forked: a worker may start us
            self._hear()
            time.sleep(_reloader.check_time)
        _reloader.watcher.list_early()
        while True:
            try:
                self._look()
            except Exception as error:  # whatever it is, watching goes on
                self._complain(error)
            time.sleep(_reloader.check_time / 5)

    def _look(self) -> None:
        """Look once at what is due; restart for what has changed."""
        watcher = _reloader.watcher
        self._changed.update(watcher.look_often())
        if watcher.pace.is_due():
            self._hear()
            _reloader.workers.reap_orphans()
            self._changed.update(watcher.look_around())
        changed, requested = self._changed, self.requested
        if changed or requested:
            self._changed, self.requested = set(), self.requested and not requested
            try:
                _reloader.reserve.release()
                if not _reloader.heed(changed, requested):
                    self._changed, self.requested = changed, self.requested or requested
            finally:
                _reloader.reserve.hold()

    def _hear(self) -> None:
        """Take in what workers report."""
        for kind, *values in _reloader.workers.told():
            if kind == "file":
                path, stamp = values
                _reloader.snapshot.setdefault(path, stamp)
                _reloader.watch_list.add(path)
            elif kind == "watch":
                _reloader.watch(*values)
            elif kind == "ignore":
                _reloader.watch_list.ignore(*values)
            elif kind == "start":
                _reloader.configure(*values)
                self.begin()
            elif kind == "restart":
                self.requested = True

    def _complain(self, error: Exception) -> None:
        """Report something unexpected, once."""
        if str(error) not in self._complaints:
            self._complaints.add(str(error))
            try:
                report("something unexpected happened, watching goes on")
            except Exception:  # no descriptor is left, or all are being closed
                say(f"{error}, watching goes on")


# --- The forks: a forked process never restarts, but reports --------------------------


def register_at_fork() -> None:
    """Have processes that are forked report to the one that was started by hand."""
    if hasattr(os, "register_at_fork"):
        # A module half imported would stay so in the fork.  The methods of a lock
        # are C: in a function, a Ctrl-C that came during the fork would be ignored.
        lock = _reloader.lock
        os.register_at_fork(
            before=lock.acquire,
            after_in_parent=lock.release,
            after_in_child=lock.release,
        )
        os.register_at_fork(before=prepare_fork, after_in_child=become_worker)


def prepare_fork() -> None:
    watch_thread = _reloader.watch_thread
    _reloader.workers.expect()
    watch_thread.run()
    if watch_thread.thread and threading.active_count() == 2:
        import warnings  # Python 3.12 and later warn of our thread

        text = r"This process \(pid=\d+\) is multi-threaded, use of fork"
        warnings.filterwarnings("ignore", text, DeprecationWarning)


def become_worker() -> None:
    _reloader.launch.forget_descriptors()
    _reloader.reserve.release()
    _reloader.watcher.list_modules()  # which the parent knows itself
    _reloader.workers.is_worker = True
    _reloader.workers.tell("worker", os.getpid())
    _reloader.watch_thread.thread = None
    _reloader.watch_thread.run()


# --- The judgement: is a change worth a restart ---------------------------------------


def reason_in(changed: "set[str]") -> str:
    """Wait until files are quiet; say why to restart then, or nothing if not to."""
    seen = time.monotonic()
    settle(changed)
    _reloader.pending |= changed
    has_installed = _reloader.watch_list.has_installed
    first = min(changed, key=lambda path: (has_installed(path), path))
    more = f" (+{len(changed) - 1} more)" if len(changed) > 1 else ""
    reason = f"{_reloader.launch.name_of(first)} changed{more}"
    is_mute = _reloader.guard.mutes(changed, seen, reason)
    return "" if is_mute or not are_fit(_reloader.pending) else reason


def edited() -> "list[str]":
    """Return what was edited by hand, of all that has changed: no installer's work."""
    files = {path for path in _reloader.pending if not path.endswith(os.sep)}
    installed = set(filter(_reloader.watch_list.has_installed, files))
    return list(files - (installed if len(installed) > 4 else set()))


# --- The restart: arrow-up, Enter -----------------------------------------------------


def persist(begin: "Callable[[], Any]") -> "Any":
    """Begin the next run where the first one was, as soon as all it needs is there."""
    launch, missing = _reloader.launch, ""
    while True:
        try:
            os.chdir(launch.directory)
            os.stat(_reloader.restarter.file)
            return begin()
        except OSError as error:  # a branch switch; a Python that is being installed
            if error.filename != missing:
                missing = error.filename
                name = launch.name_of(missing or launch.executable)
                say(f"cannot run {name} ({error.strerror}), waiting until it is back")
            time.sleep(0.5)


def replace_process(words: "list[str]", environment: "dict[str, str]") -> None:
    """Become the next run: the same process, the same terminal, no parent."""
    persist(lambda: os.execve(words[0], words, environment))


def wrapper() -> "list[str]":
    """Return how to run this file: as a module, if -m finds it, since that is compiled.

    Not as one of a package, which may fail to import.
    """
    from importlib.machinery import PathFinder

    name = __spec__.name if __spec__ else "."
    directory = os.path.join(_reloader.launch.directory, "")
    if "." not in name and not HAS_SAFE_PATH and FILE == f"{directory}{name}.py":
        spec = PathFinder.find_spec(name, [directory])
        if spec and spec.origin == FILE:  # and no package of that name
            return ["-m", name]
    return [FILE]


class Restarter:
    """Knows the command, and runs it again."""

    def __init__(self, launch: Launch) -> None:
        self.restarts: int = launch.state.get("restarts", 0)
        self.options: dict[str, Any] = {"until_success": True}  # of the command line
        self.commanded = False  # by the command line, not by start()
        self.target = launch.target
        self.file = launch.executable  # what must be there for a restart
        self.words: list[str] | None = None  # for this file; None: the launch's command
        if os.path.isfile(FILE):  # what is in a zip has no path that can be run
            self.file, self.words = FILE, ["--until-success", *self.target]

    def name(self) -> str:
        return self.target[1 if self.target[0] == "-m" else 0]

    def restart(self) -> None:
        """Run the program again, now that it has ended."""
        ending = _reloader.ending
        words, environment = self.next_run(self.restarts + 1)
        # If the main thread has not finished, it may be amid a flush.
        flush_all(patient=ending.stage == FINISHED)
        if os.name == "posix":
            sweep()
        if "notes" in _reloader.launch.state:
            leave_note(environment[_STATE])
            os._exit(AGAIN)
        if ending.stage >= FINISHING and _restart is supervise:
            ending.next = words, environment  # signals are the main thread's
            threading.Event().wait()
        _restart(words, environment)

    def next_run(self, restarts: int) -> "tuple[list[str], dict[str, str]]":
        import json

        launch = _reloader.launch
        state = {
            "pid": os.getpid(),
            "restarts": restarts,
            "streaks": _reloader.guard.streaks,
            "edited": edited()[:4],
            "options": self.options,
            "sockets": _reloader.sockets.descriptors(),
            "ignored": launch.ignored,
            "mask": launch.mask,
        }
        own = launch.target if self.words is None else [*wrapper(), *self.words]
        words = [launch.executable, *launch.flags, *own]
        return words, {**launch.environment, _STATE: json.dumps(state)}


# --- The reloader: all of it put together ---------------------------------------------


class Reloader:
    """All state, put together at import."""

    check_time = 0.5  # in seconds, as is the grace
    grace = 2.0

    def __init__(self) -> None:
        self.launch = Launch()
        state = self.launch.state
        self.reserve = Reserve()
        self.lock = threading.RLock()  # of what is watched, and not to fork meanwhile
        self.watch_list = WatchList(state.get("edited", ()))
        # What files looked like when the code that runs was loaded; None: not there.
        self.snapshot: dict[str, int | None] = {}
        self.imports = Imports()
        self.watcher = Watcher()
        self.interrupts = Interrupts()
        self.workers = Workers(children() if state else ())
        self.sockets = Sockets(state.get("sockets", {}))
        self.ending = Ending()
        self.hooks: list[Callable[[], object]] = []
        self.io_loop: Any = None  # on whose thread they run
        self.watch_thread = WatchThread()
        self.guard = LoopGuard(state.get("streaks", {}))
        self.pending: set[str] = set()  # files that differ from the code that runs
        self.restarter = Restarter(self.launch)

    def start(self, io_loop: "Any", check_time: float, grace: float) -> None:
        check_number("check_time", check_time, 1)
        check_number("grace", grace, 0)
        scheduler(io_loop)
        if self.launch.can_repeat():
            if io_loop is None and "asyncio" in sys.modules:
                io_loop = sys.modules["asyncio"]._get_running_loop()
            self.io_loop = self.io_loop or io_loop
            self.configure(check_time / 1000, grace)
            self.watch_thread.begin()

    def configure(self, check_time: "float | None", grace: "float | None") -> None:
        """Set, in seconds, what nobody has set: the command line's word comes first."""
        for name, value in ("check_time", check_time), ("grace", grace):
            if value is not None:
                vars(self).setdefault(name, value)

    def wait(self) -> None:
        if self.launch.can_repeat():
            self.watch_thread.begin()
            while True:
                time.sleep(5)

    def watch(self, path: str) -> None:
        self.watch_list.claim(path)
        self.watch_list.watch(path)
        self.workers.tell("watch", path)

    def ignore(self, pattern: str) -> None:
        self.watch_list.ignore(pattern)
        self.workers.tell("ignore", pattern)

    def heed(self, changed: "set[str]", requested: bool) -> bool:
        """Restart for a change, if it is worth it; return whether it has been heeded.

        If not, the program ends by hand; if it survives that, it is to be heeded yet.
        """
        while is_in("interaction", "pdb"):  # at its prompt
            time.sleep(0.1)
        if self.interrupts.fatal():  # by hand: it ends soon, or has survived it
            time.sleep(self.grace)
        survived = self.interrupts.arrived()
        doubtful = time.time_ns() - 2 * 10**9
        reason = "restart() was called" if requested else reason_in(changed)
        if reason:
            self.interrupts.excused = survived
            if self.interrupts.fatal():  # by hand, this moment
                return False
            say(f"{reason}, restarting")
            if not end_program():
                return False
            saved = (path for path in self.watch_list.own if saved_at(path) > doubtful)
            drop_bytecode(self.pending.union(saved))
            self.restarter.restart()
        return True


# --- The supervisor: a restart without exec -------------------------------------------


def supervise(words: "list[str]", environment: "dict[str, str]") -> None:
    """Run the program in a child, again after a change or a crash; end as it does."""
    import json

    running: list[Any] = []  # the child, while there is one
    interrupted = -1e9  # when Ctrl-C was pressed last

    def on_signal(number: int, frame: object) -> None:
        nonlocal interrupted
        if not running:
            end_as(-number)
        elif number != _signal.SIGINT:
            running[0].send_signal(number)
        else:  # the terminal sends it to the child, too
            interrupted = time.monotonic()

    names = {"SIGINT", "SIGTERM", "SIGHUP"}.intersection(dir(_signal))
    ends = {getattr(_signal, name) for name in names}
    if threading.current_thread() is threading.main_thread():  # that may be stuck
        for number in ends.difference(_reloader.launch.ignored):
            _signal.signal(number, on_signal)
    state = json.loads(environment[_STATE])
    while True:
        watch_target()
        _reloader.guard = LoopGuard(state["streaks"])
        began = time.monotonic()
        status, note = run_child(words, environment, state, running)
        if status == AGAIN and note:
            state = note
        elif note is not None or -status in ends:
            end_as(status)
        elif began < interrupted < began + 1:  # too early to note it
            end_as(-_signal.SIGINT)
        else:  # it has not said that it ends
            restore_terminal()
            wait_out_crash(status)
            state["restarts"] += 1
            state["streaks"] = _reloader.guard.streaks


def run_child(
    words: "list[str]",
    environment: "dict[str, str]",
    state: "dict[str, Any]",
    running: "list[Any]",
) -> "tuple[int, Any]":
    """Run the program once; return its exit status, and the note it left or None."""
    import json
    from subprocess import Popen
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="autoreload-") as folder:
        state.update(pid=None, sockets={}, notes=os.path.join(folder, "notes"))
        environment[_STATE] = json.dumps(state)
        running[:] = [persist(lambda: Popen(words, env=environment, close_fds=False))]
        status = running[0].wait()
        running.clear()
        return status, json.loads(read(state["notes"]) or "null")


def watch_target() -> None:
    """See what the sources look like that a supervised program is to run."""
    first = _reloader.restarter.target[0]
    name = "" if first in ("-m", "-c") else first
    path = os.path.normpath(os.path.join(_reloader.launch.directory, name))
    watch_list = _reloader.watch_list
    watch_list.add(path)
    watch_list.watch(path if os.path.isdir(path) else os.path.dirname(path), ".py")
    _reloader.watcher.watch_sources()
    look(watch_list.own)


def wait_out_crash(status: int) -> None:
    """Watch in the stead of a supervised program that has crashed."""
    import signal

    _reloader.watcher.installations = Installations()  # those from now on
    _reloader.watcher.installations.watch(_reloader.watch_list.roots())
    _reloader.watcher.watch_failure(None)
    fate = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    say(f"{_reloader.restarter.name()} died ({fate}), waiting for a change")
    _reloader.ending.stage = FINISHED
    reason = ""
    while not reason:
        time.sleep(_reloader.check_time)
        changed = set(_reloader.watcher.look_around())
        reason = reason_in(changed) if changed else ""
    say(f"{reason}, restarting")
    drop_bytecode(_reloader.pending)
    _reloader.pending.clear()


_restart = replace_process if os.name == "posix" else supervise


# --- The target: running it as `python` would -----------------------------------------


def run_target(target: "list[str]") -> None:
    """Run the target as `python` would, in a new `__main__`."""
    main = sys.modules["__main__"] = _Module("__main__")
    vars(main).update(__builtins__=builtins, __loader__=sys.__loader__)
    if sys.version_info < (3, 14):
        vars(main).update(__annotations__={})
    code = load_target(target, main)
    if sys.version_info < (3, 15) and hasattr(main, "__file__"):
        vars(main).update(__cached__=getattr(main.__spec__, "cached", None))
    _reloader.watch_list.add(file_of(main))
    exec(code, vars(main))


def load_target(target: "list[str]", main: "ModuleType") -> "CodeType":
    """Return the target's code; give sys.argv, sys.path and `main` what it expects."""
    sys.argv[:] = target
    if target[0] == "-c":
        set_path("")
        return load_command(sys.argv.pop(1))
    if target[0] == "-m":
        set_path(os.getcwd())
        spec = find_module(sys.argv.pop(1))
        sys.argv[0] = spec.origin
    else:
        from importlib.machinery import PathFinder

        path = target[0]
        if path == "." and sys.version_info >= (3, 11):
            path = os.getcwd()
        elif not os.path.isabs(path):  # as Python does it, the rest remaining as it is
            path = os.path.join(os.getcwd(), path)
        _reloader.watch_list.add(os.path.abspath(path))
        spec = PathFinder.find_spec("__main__", [path])
        if not sys.path_importer_cache.get(path):  # neither a directory nor a zip
            return load_script(target[0], path, main)
        set_path(path, always=True)
        if not spec or not spec.origin:  # or it is a directory
            raise NotFound(f"there is no __main__ module in {target[0]}")
    main.__spec__, main.__loader__, main.__package__ = spec, spec.loader, spec.parent
    main.__file__ = spec.origin
    code: CodeType | None = spec.loader.get_code(spec.name)
    if not code:  # of a module that is not written in Python
        raise NotFound(f"there is no code in {_reloader.restarter.name()}")
    return code


def load_command(source: str) -> "CodeType":
    if sys.version_info >= (3, 13):  # tracebacks show its lines
        from linecache import cache

        cache["<string>"] = len(source), None, source.splitlines(True), "<string>"
    return compile(source, "<string>", "exec", dont_inherit=True)


def load_script(name: str, path: str, main: "ModuleType") -> "CodeType":
    from importlib import machinery

    set_path(os.path.dirname(os.path.realpath(path)))
    is_source = not path.endswith(".pyc")
    kind = machinery.SourceFileLoader if is_source else machinery.SourcelessFileLoader
    loader: Any = kind("__main__", path)
    vars(main).update(__file__=path, __loader__=loader)
    try:
        data = loader.get_data(path)
    except OSError as error:
        raise NotFound(f"cannot open {name} ({error.strerror})") from None
    if is_source:
        return compile(data, path, "exec", dont_inherit=True)
    return loader.get_code("__main__")  # type: ignore[no-any-return]


def find_module(name: str) -> "Any":
    """Return the spec of what `-m name` runs."""
    from importlib.util import find_spec

    try:
        spec = None if name.startswith(".") else find_spec(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        raise NotFound(f"there is no module named {error.name}") from None
    if not spec:
        raise NotFound(f"there is no module named {name}")
    if spec.submodule_search_locations is not None:
        return find_module(f"{name}.__main__")
    return spec


def set_path(entry: str, *, always: bool = False) -> None:
    """Put the target's directory where Python has put that of this file."""
    if not HAS_SAFE_PATH:
        sys.path[0] = entry
    elif always:
        sys.path.insert(0, entry)


# --- The command line: its options ----------------------------------------------------

VALUED = "--watch", "--ignore", "--check-time", "--grace"


def parse(words: "list[str]", target: "list[str]") -> "dict[str, Any]":
    """Return the options given; complain if one is wrong, or if no target follows."""
    is_named = target not in ([], ["-"], ["-m"], ["-c"])
    if is_named and not words:
        return {}  # importing argparse takes longer than importing all of this
    parser = make_parser()
    options = vars(parser.parse_args(words))
    if not is_named:
        kinds = "-m module, a script, a directory, a zip or -c code"
        parser.error(f"name a target: {kinds}")
    try:
        for option, least in (("check_time", 1), ("grace", 0)):
            if option in options:
                check_number("--" + option.replace("_", "-"), options[option], least)
        for path in options.get("watch", []) + options.get("ignore", []):
            path_of(path)
    except ValueError as error:
        parser.error(str(error))
    return options


def make_parser() -> "argparse.ArgumentParser":
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> "NoReturn":
            self.exit(2, f"autoreload: {message}\n")

    parser = Parser(
        prog="autoreload.py",
        usage="%(prog)s [options] "
        "(-m module | script | directory | zip | -c code) [args]",
        description="Run a Python program, and restart it when its source changes.",
        epilog="Everything from the target on belongs to the program.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    text = "also watch a file, a directory with all below it, or a glob"
    add("--watch", metavar="PATH", action="append", help=text)
    text = "never restart for what matches"
    add("--ignore", metavar="GLOB", action="append", help=text)
    add("--until-success", action="store_true", help="end when the program succeeds")
    text = "see changes within so many milliseconds (500)"
    add("--check-time", metavar="MS", type=float, help=text)
    text = "wait so long for hooks, then for the clean-up (2)"
    add("--grace", metavar="SECONDS", type=float, help=text)
    add("--clear", action="store_true", help="clear the terminal before each run")
    text = "run it in a child, survive crashes (always on Windows)"
    add("--supervise", action="store_true", help=text)
    add("--version", action="version", version=f"autoreload {__version__}")
    return parser


def enter(options: "dict[str, Any]", words: "list[str]") -> None:
    """Do what the options say, and begin to watch; to supervise never ends."""
    restarter = _reloader.restarter
    restarter.commanded = True
    by_module = file_of(sys.modules["__main__"]) == FILE and __spec__
    restarter.words = words if by_module else None
    for pattern in options.get("ignore", ()):
        _reloader.ignore(pattern)
    for path in options.get("watch", ()):
        _reloader.watch(os.path.abspath(path))
    check_time = options.get("check_time")
    _reloader.configure(check_time and check_time / 1000, options.get("grace"))
    in_child = "notes" in _reloader.launch.state
    if ("supervise" in options or _restart is supervise) and not in_child:
        supervise(*restarter.next_run(0))
    if "clear" in options and os.isatty(1):
        os.write(1, b"\033[H\033[2J\033[3J")
    _reloader.watch_thread.begin()


# --- The outcome: what each ending of the target means --------------------------------


def run(words: "list[str]") -> None:
    """Carry out a command line: run the target, and end or wait as its ending asks."""
    ours, target = split(words, VALUED)
    options = _reloader.launch.state.get("options") or parse(ours, target)
    restarter, ending = _reloader.restarter, _reloader.ending
    restarter.options, restarter.target = options, target
    if _reloader.launch.can_repeat():
        enter(options, words)
    try:
        run_target(target)
        sys.exit()
    except BaseException as error:
        if isinstance(error, NotFound) and not restarter.restarts:
            say(str(error))
            sys.exit(2)
        outcome, status = verdict(error, restarter.name())
        is_leaving = ending.stopping or _reloader.interrupts.fatal()
        started = _reloader.watch_thread.started and not _reloader.workers.is_worker
        if status is not None and started and not is_leaving:
            _reloader.watcher.watch_failure(error)
    if status is not None or "until_success" not in options:
        ending.outcome = outcome
    sys.exit(status)


def verdict(error: BaseException, name: str) -> "tuple[str, Any]":
    """Tell how a program has ended, and what sys.exit() gets: None after a success."""
    if isinstance(error, SystemExit):
        if error.code is None or (isinstance(error.code, int) and not error.code):
            return f"{name} ended", None
        status = error.code if isinstance(error.code, int) else 1
        return f"{name} exited with status {status:d}", error.code
    if isinstance(error, NotFound):
        return str(error), 1
    show_uncaught(error)
    return f"{name} failed", 130 if isinstance(error, KeyboardInterrupt) else 1


def show_uncaught(error: BaseException) -> None:
    """Show an exception as Python would, without the frames that ran the target."""
    trace = without_machinery(error.__traceback__)
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except Exception:  # it is the program's, and may fail, too
        sys.__excepthook__(type(error), error, trace)


# --- The entrance: one copy serves a process, however many are loaded -----------------

# The first one.  Others, of whatever version, hand out its functions for their own.
_first = vars(sys).setdefault("_autoreload", globals())
if _first is globals() and "_reloader" not in _first:  # else it is importlib.reload()
    _reloader = Reloader()
    if _reloader.launch.can_repeat(silent=True):
        _reloader.imports.install()
        register_at_fork()
    restarts = _reloader.restarter.restarts
globals().update({name: _first[name] for name in __all__ if name in _first})

if __name__ == "__main__":
    main()
