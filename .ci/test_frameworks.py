# SPDX-License-Identifier: MIT-0
"""Tests of autoreload.py with real frameworks and debuggers: `tox -e frameworks`.

They need packages, so they are no part of the suite; what is not installed is skipped.
"""

import concurrent.futures
import contextlib
import functools
import importlib.util
import json
import os
import queue
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from test_autoreload import (  # noqa: E402
    DEADLINE,
    NAME,
    ProgramTest,
    Terminal,
    app,
    become,
    clean_environment,
    code,
    each,
    free_port,
    get,
    patiently,
    setUpModule,
)

__all__ = ["setUpModule"]  # for unittest


# An app of each framework; all servers answer helper.VALUE.
FLASK = """
    import flask, helper, sys
    app = flask.Flask(__name__)
    app.get("/")(lambda: str(helper.VALUE))
    if __name__ == "__main__": app.run(port=int(sys.argv[1]), use_reloader=False)
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
    async def index(): return helper.VALUE
    if __name__ == "__main__":
        import autoreload, sys, uvicorn
        autoreload.start(grace=10)
        uvicorn.run(app, port=int(sys.argv[1]))
"""
AIOHTTP = """
    import helper, sys
    from aiohttp import web
    async def index(request): return web.Response(text=str(helper.VALUE))
    app = web.Application(); app.router.add_get("/", index)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"""
DJANGO = """
    import helper, sys
    from django import conf, http, urls
    from django.core.management import execute_from_command_line
    conf.settings.configure(DEBUG=True, ROOT_URLCONF=__name__)
    index = lambda request: http.HttpResponse(str(helper.VALUE))
    urlpatterns = [urls.path("", index)]
    execute_from_command_line(sys.argv)
"""
TORNADO = """
    import asyncio, autoreload, helper, sys
    import tornado.httpserver, tornado.netutil, tornado.process, tornado.web
    class Index(tornado.web.RequestHandler):
        def get(self): self.write(str(helper.VALUE))
    sockets = tornado.netutil.bind_sockets(int(sys.argv[1]), "127.0.0.1")
    if "first" in sys.argv: autoreload.start()
    if "fork" in sys.argv: tornado.process.fork_processes(2)
    async def main():
        autoreload.start()
        app = tornado.web.Application([("/", Index)])
        tornado.httpserver.HTTPServer(app).add_sockets(sockets)
        await asyncio.Event().wait()
    asyncio.run(main())
"""
BOTTLE = """
    import bottle, helper, sys
    bottle.route("/", "GET", lambda: str(helper.VALUE))
    bottle.run(host="127.0.0.1", port=int(sys.argv[1]))
"""
CHERRYPY = """
    import cherrypy, helper, sys
    class Root:
        @cherrypy.expose
        def index(self): return str(helper.VALUE)
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
GREENLETS = """
    from gevent import monkey; monkey.patch_all()
    import autoreload, gevent, helper
    autoreload.add_reload_hook(lambda: print("hook", flush=True))
    autoreload.start()
    print("shows", helper.VALUE, flush=True)
    while True: gevent.sleep(0.1)
"""
HOOK = """
    import asyncio, autoreload, helper, os, sys, threading
    port = int(os.environ["PORT"])
    @autoreload.add_reload_hook
    async def hook():
        if sleep: await sleep(0)
        print("hook on", threading.current_thread().name, flush=True)
    async def serve(read, write):
        await read(4096)
        await write(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % helper.VALUE)
"""
TWISTED = """
    from twisted.application import service, strports
    from twisted.internet import reactor
    from twisted.web import resource, server
    sleep = None
    class Index(resource.Resource):
        isLeaf = True
        def render_GET(self, request): return str(helper.VALUE).encode()
    site = server.Site(Index())
    autoreload.start(reactor)
    if __name__ == "__main__":
        reactor.listenTCP(port, site, interface="127.0.0.1"); reactor.run()
    application = service.Application("app")
    place = f"tcp:{port}:interface=127.0.0.1"
    strports.service(place, site).setServiceParent(application)
"""
TRIO = """
    import trio
    from trio import sleep
    async def handler(stream):
        await serve(stream.receive_some, stream.send_all); await stream.aclose()
    async def main():
        autoreload.start(trio.lowlevel.current_trio_token())
        await trio.serve_tcp(handler, port, host="127.0.0.1")
    trio.run(main, strict_exception_groups=True)
"""
UVLOOP = """
    import uvloop
    from asyncio import sleep
    async def handler(reader, writer):
        async def write(data): writer.write(data); await writer.drain()
        await serve(reader.read, write); writer.close()
    async def main():
        autoreload.start()
        async with await asyncio.start_server(handler, "127.0.0.1", port) as server:
            await server.serve_forever()
    uvloop.run(main())
"""
CELERY = """
    import celery, helper
    from celery.signals import worker_ready
    app = celery.Celery("app", broker="memory://")
    app.conf.worker_redirect_stdouts = app.conf.worker_hijack_root_logger = False
    app.conf.broker_connection_retry_on_startup = True
    @app.task
    def show(): print("shows", helper.VALUE, flush=True)
    @worker_ready.connect
    def ready(**_): show.delay()
"""
SHOW = """
    import helper, time
    def main(name: str = "x"):
        print("hello", name, "shows", helper.VALUE, flush=True)
        if helper.VALUE > 1: time.sleep(60)
"""
CLICK = "import click; click.command()(click.option('--name')(main))()"
TYPER = "import typer; typer.run(main)"
TKINTER = """
    import helper, signal, tkinter
    root = tkinter.Tk()
    tkinter.Label(root, text=str(helper.VALUE)).pack()
    signal.signal(signal.SIGINT, lambda *_: root.quit())
    def tick(): root.after(100, tick)  # else mainloop() sees no signal
    tick(); root.update()
    print("shows", helper.VALUE, flush=True)
    root.mainloop()
    print("closes", flush=True)
"""
TEST = """
    import helper, unittest
    class Test(unittest.TestCase):
        def test(self): self.assertEqual(2, helper.VALUE)
"""
SLOW_VALUE = """
    import time
    class Value:
        def __str__(self): print("asked", flush=True); time.sleep(0.5); return "{}"
    VALUE = Value()
"""
DRAMATIQ = """
    import dramatiq, dramatiq.brokers.stub, helper
    class Ready(dramatiq.Middleware):
        def after_worker_boot(self, *_): show.send()
    broker = dramatiq.brokers.stub.StubBroker()
    broker.add_middleware(Ready()); dramatiq.set_broker(broker)
    @dramatiq.actor
    def show(): print("shows", helper.VALUE, flush=True)
"""
POLLING = """
    import aiohttp, asyncio, helper, sys
    async def main():
        try:
            async with aiohttp.ClientSession() as session:
                print("shows", helper.VALUE, flush=True)
                while True: await session.get("http://127.0.0.1:" + sys.argv[1])
        finally: print("closes", flush=True)
    asyncio.run(main())
"""
STREAMLIT_APP = "import helper, streamlit; streamlit.text(f'shows {helper.VALUE}')"
TEXTUAL = """
    import helper, termios, textual.app, textual.widgets
    class Shown(textual.app.App):
        def compose(self): yield textual.widgets.Label(f"shows {helper.VALUE}")
    print("modes", termios.tcgetattr(0), flush=True)
    Shown().run()
"""
DEBUGGED = """
    import helper, sys, time
    if sys.argv[1:]:
        import debugpy; debugpy.listen(int(sys.argv[1]))
        print("listens", flush=True); debugpy.wait_for_client()
    while True:
        value = helper.VALUE
        print("shows", value, flush=True); time.sleep(0.1)
"""
RUN = NAME + ".py --grace 10 "
APP = RUN + "app.py PORT"
CELERY_RUN = RUN + "-m celery -A app worker -c 1 -P "
RUNSERVER = RUN + "app.py runserver --noreload PORT"
GRANIAN = NAME + ".py -m granian --interface asgi --workers 2 --port PORT app:app"
GUNICORN = RUN + "-m gunicorn -b 127.0.0.1:PORT wsgi:app"
HYPERCORN = RUN + "-m hypercorn -b 127.0.0.1:PORT app:app"
STREAMLIT = RUN + "-m streamlit run --server.headless true --server.port PORT"
STREAMLIT += " --browser.gatherUsageStats false --server.fileWatcherType none app.py"
UVICORN = RUN + "-m uvicorn --port PORT app:app"
WAITRESS = RUN + "-m waitress --listen 127.0.0.1:PORT wsgi:app"
FLASK_RUN = RUN + "-m flask --app app run --debug --no-reload --port PORT"
TWISTD = RUN + os.path.join(os.path.dirname(sys.executable), "twistd") + " -noy app.py"


class Editor:
    """What an editor is to debugpy: it sets a breakpoint, and says where it is hit."""

    def __init__(self, hits, where, what):
        self.hits, self.where, place = hits, where, (*what["connect"].values(),)
        self.socket = patiently(socket.create_connection, place, DEADLINE)
        self.ask("initialize", adapterID="debugpy")
        self.ask("attach", **what)
        threading.Thread(target=self.listen, daemon=True).start()

    def ask(self, command, **arguments):
        words = {"type": "request", "command": command, "arguments": arguments}
        data = json.dumps({"seq": 1, **words}).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))

    def listen(self):
        event = ""
        with self.socket, self.socket.makefile("rb") as stream:
            while event != "terminated" and (header := stream.readline().split()):
                told = json.loads(stream.read(int(header[1]) + 2))
                event, body = told.get("event"), told.get("body")
                if event == "initialized":
                    self.ask("setBreakpoints", **self.where)
                    self.ask("configurationDone")
                elif event == "debugpyAttach":  # a child process
                    Editor(self.hits, self.where, body)
                elif event == "stopped":
                    self.hits.put(functools.partial(self.ask, **body))


class FrameworksTest(ProgramTest):
    """Real servers and tools, where they are installed."""

    def require(self, packages):
        for name in packages.split():
            if not importlib.util.find_spec(name):
                self.skipTest(f"not installed: {name}")

    def begin(self, packages, command, *, env={}, **files):
        """Start a program; return it and its port."""
        self.require(packages)
        program, port = self.program(**{"helper": "VALUE = 1", **files}), free_port()
        env = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": ".", "PORT": str(port), **env}
        words = command.replace("PORT", str(port)).split()
        return program.run(*words, env=clean_environment(**env)), port

    def answers(self, program, port, value):
        """Ask until the answer is `value`: the run before may still be ending."""
        if not become(lambda: patiently(get, port, timeout=2) == str(value)):
            program.kill_all()
            program.rest()
            self.fail(f"{value} was never answered:\n{program.output}")

    def edits(self, program, sees, own, up=(), spawns=False, respawns=False):
        """Edit, break and mend helper.py, then press Ctrl-C.

        `own` is the status with which the program ends by hand.  What only its spawned
        workers have loaded cannot veto; and it may start dying ones again and again.
        """
        program.expect(*up)
        sees(1)
        program.write("helper.py", "VALUE = 2")
        program.expect("autoreload: helper.py changed, restarting$", *up)
        sees(2)
        if not spawns:
            program.write("helper.py", "VALUE =")
            program.expect("helper.py does not compile, the old code runs on$")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError: division by zero")
        if not respawns:
            program.expect("autoreload: .*, waiting for a change$")
        program.write("helper.py", "VALUE = 3")
        program.expect("autoreload: helper.py changed, restarting$", *up)
        sees(3)
        self.assertEqual(program.stop(), own, program.output)
        for bad in ("restarting anyway", "something unexpected", 'autoreload.py"'):
            self.assertNotIn(bad, program.output)

    def serves(self, packages, command, own, files, *how):
        """Edit, break and mend a server's helper.py, then stop it."""
        program, port = self.begin(packages, command, **files)
        self.edits(program, functools.partial(self.answers, program, port), own, *how)
        with self.assertRaises(OSError):  # nobody is left at the port
            get(port, timeout=1)
        return program

    def shows(self, package, command, own, **options):
        """Edit, break and mend helper.py of what is no server, then stop it."""
        program, _ = self.begin(package, command, **options)
        self.edits(program, lambda value: program.expect(f"shows {value}$"), own)
        return program

    def restarts(self, program, sees, value="VALUE = {}"):
        """See a program restart three times."""
        for number in range(1, 4):
            sees(number)
            program.write("helper.py", value.format(number + 1))
            program.expect("helper.py changed, restarting")
        sees(4)

    def test_servers(self):
        fastapi, tornado, wsgi = {"app": FASTAPI}, {"app": TORNADO}, {"wsgi": WSGI}
        two = ["startup complete"] * 2
        rows = [
            ("aiohttp", APP, 0, {"app": AIOHTTP}),
            ("bottle", APP, 0, {"app": BOTTLE}),
            ("cherrypy", APP, 0, {"app": CHERRYPY}, ["is up"]),
            ("django", RUNSERVER, 0, {"app": DJANGO}),
            ("fastapi hypercorn", HYPERCORN + " -w 0", 0, fastapi),
            ("fastapi hypercorn", HYPERCORN, 0, fastapi, (), True),
            ("fastapi uvicorn", UVICORN, 0, fastapi),
            ("fastapi uvicorn", "app.py PORT", 0, fastapi),
            ("fastapi uvicorn", UVICORN + " --workers 2", 0, fastapi, two, True, True),
            ("flask", FLASK_RUN, 0, {"app": FLASK}),
            ("gevent", APP, 130, {"app": GEVENT} | wsgi),
            ("gevent gunicorn", GUNICORN + " -k gevent", 0, wsgi),
            ("gunicorn", GUNICORN + " --preload", 0, wsgi, ["is up"]),
            ("gunicorn", GUNICORN + " -w 2", 0, wsgi, ["is up"] * 2),
            ("tornado", "app.py PORT", 130, tornado),
            ("tornado", "app.py PORT first fork", 130, tornado),
            ("tornado", APP, 130, tornado),
            ("tornado", APP + " fork", 130, tornado),
            ("waitress", WAITRESS, 0, wsgi),
        ]
        self.each(self.serves, rows)

    @each(
        ("flask", APP, FLASK),
        ("flask", FLASK_RUN, FLASK),
        ("django", RUNSERVER, DJANGO),
    )
    def test_requests_in_flight_are_answered(self, package, command, app):
        def sees(value):
            program.expect("(CTRL.|CONTROL-)C")
            answers.append(pool.submit(patiently, get, port))
            program.expect("asked")

        files, answers = {"app": app, "helper": SLOW_VALUE.format(1)}, []
        program, port = self.begin(package, command, **files)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            self.restarts(program, sees, SLOW_VALUE)
        self.assertEqual([each.result() for each in answers], ["1", "2", "3", "4"])
        self.assertEqual(program.stop(), 0, program.output)

    def test_granian(self):
        """Do without its Ctrl-C: just after its start it may hang, without us too."""

        def sees(value):
            program.expect("Started worker", "Started worker")
            self.answers(program, port, value)

        program, port = self.begin("fastapi granian", GRANIAN, app=FASTAPI)
        self.restarts(program, sees)

    def test_a_client_that_polls(self):
        def sees(value):
            program.expect(f"shows {value}$")
            held.enter_context(server.accept()[0])

        with contextlib.ExitStack() as held:
            server = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            server.settimeout(DEADLINE)
            command = f"{RUN} app.py {server.getsockname()[1]}"
            program, _ = self.begin("aiohttp", command, app=POLLING)
            self.edits(program, sees, 130)
        self.assertEqual(program.output.count("closes"), 3)

    def test_streamlit(self):
        """Open a page, three times: only then it runs what it has been given."""
        self.require("streamlit websockets")
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from websockets.sync.client import connect

        def sees(value):
            program.expect("You can now view your Streamlit app")
            with connect(url, subprotocols=["streamlit"]) as client:
                client.send(message.SerializeToString())
                while b"shows %d" % value not in client.recv(DEADLINE):
                    pass

        (message := BackMsg()).rerun_script.query_string = ""
        program, port = self.begin("streamlit", STREAMLIT, app=STREAMLIT_APP)
        url = f"ws://127.0.0.1:{port}/_stcore/stream"
        self.restarts(program, sees)
        self.assertEqual(program.stop(), 0, program.output)

    def test_textual(self):
        """See modes, screen and mouse put back; there, Ctrl-C is a key like others."""

        def sees(value):
            modes.add(program.expect("modes (.*)")[1])
            program.expect(f"shows {value}")

        self.require("textual")
        modes, program = set(), Terminal(app=TEXTUAL, helper="VALUE = 1")
        self.addCleanup(program.close)
        program.run("-u", *RUN.split(), "app.py")
        self.restarts(program, sees)
        program.type("\x11")
        program.expect("app.py ended, waiting for a change")
        self.assertEqual((len(modes), program.modes()), (1, (True, True)))
        for mode in 1049, 1000, 1003, 2004:
            on, off = (program.output.count(f"\033[?{mode}{way}") for way in "hl")
            self.assertEqual(on, off)
        program.type("\x03")
        self.assertEqual(program.status(), 130)

    @each(
        *[("trio", TRIO, 1), ("uvloop", UVLOOP, 130), ("twisted", TWISTED, 0)],
        *[("twisted", TWISTED, 0, RUN + "app.py"), ("twisted", TWISTED, 130, TWISTD)],
    )
    def test_hooks_on_other_loops(self, package, app, own, command="app.py"):
        program = self.serves(package, command, own, {"app": code(HOOK, app)})
        self.assertIn("hook on MainThread", program.output)
        self.assertNotIn("KeyboardInterrupt", program.output.partition("VALUE =")[0])

    @each(("app.py",), (RUN + "app.py",))
    def test_hooks_under_gevent(self, command):
        program = self.shows("gevent", command, 130, app=GREENLETS)
        self.assertEqual(program.output.splitlines().count("hook"), 2)

    @each(
        *[("celery", CELERY_RUN + pool, 1) for pool in ("solo", "prefork", "threads")],
        ("dramatiq", RUN + "-m dramatiq app -p 2 -t 1", 0),
    )
    def test_celery_and_dramatiq(self, package, command, own):
        app = CELERY if package == "celery" else DRAMATIQ
        self.shows(package, command, own, app=app)

    @each(("click", CLICK, 1), ("typer", TYPER, 130))
    def test_click_and_typer(self, package, text, own):
        command, app = RUN + "app.py --name you", code(SHOW, text)
        program = self.shows(package, command, own, app=app)
        self.assertIn("autoreload: app.py ended, waiting", program.output)
        self.assertIn("hello you", program.output)

    @each(("unittest", "", 1), ("pytest", "-s", 2))
    def test_unittest_and_pytest(self, runner, more, own):
        """Have tests fail, break, and pass; stop them while they wait, and hang."""
        command = f"{RUN} --until-success -m {runner} {more}"
        program, _ = self.begin(runner, command, test_it=TEST)
        program.expect("2 != 1", "exited with status 1, waiting for a change$")
        program.write("helper.py", "1 / 0")
        program.expect("ZeroDivisionError", "waiting for a change$")
        program.write("helper.py", "VALUE = 2")
        self.assertEqual(program.rest(), 0, program.output)
        ends = ("VALUE = 1", "waiting", 130), (app(""), "up", own)
        for helper, line, status in ends:
            program, _ = self.begin(runner, command, test_it=TEST, helper=helper)
            program.expect(line)
            self.assertEqual(program.stop(), status, program.output)

    @each(("-m debugpy --listen PORT --wait-for-client " + RUN + "app.py",), (APP,))
    def test_breakpoints_are_hit_after_each_restart(self, command):
        program, port = self.begin("debugpy", command, app=DEBUGGED)
        other, _ = self.begin("debugpy", APP, app=app("import helper"))
        other.expect("up")
        what = {"connect": {"host": "127.0.0.1", "port": port}, "subProcess": True}
        hits, where = queue.Queue(), {"source": {"path": program.path("app.py")}}
        for value in range(1, 7):
            if command == APP:
                program.expect("listens")
            if command == APP or value == 1:
                Editor(hits, {**where, "breakpoints": [{"line": 7}]}, what)
            ask, new = hits.get(timeout=DEADLINE), f"VALUE = {value + 1}"
            if value % 2:  # another one restarts, this one waits
                program.write("helper.py", new), other.write("helper.py", new)
                other.expect("autoreload: helper.py changed, restarting$", "up")
            self.assertNotIn(f"shows {value}", program.output)
            ask("setBreakpoints", **where, breakpoints=[])
            ask("continue")
            program.expect(f"shows {value}$")
            if not value % 2:
                program.write("helper.py", new)
            program.expect("autoreload: helper.py changed, restarting$")
        self.assertEqual(program.stop(), 130, program.output)
        self.assertNotIn("restarting anyway", program.output)

    def test_tkinter(self):
        self.require("tkinter _tkinter")
        display = os.environ.get("DISPLAY") or self.skipTest("xvfb-run gives a display")
        env = {"DISPLAY": display}
        program = self.shows("tkinter", RUN + "app.py", 0, app=TKINTER, env=env)
        self.assertEqual(program.output.count("closes"), 3)

    TWICE = "import autoreload; autoreload.start(); autoreload.start(); print(6 * 7)"

    def test_ipython(self):
        command = "-m IPython --colors=NoColor -c exec(open('app.py').read())"
        program, _ = self.begin("IPython", command, app=self.TWICE)
        program.expect("an interactive interpreter has no command to repeat", "42")
        self.assertEqual(program.rest(), 0)
        self.assertEqual(program.output.count("nothing is watched"), 1)

    def test_ipykernel(self):
        self.require("ipykernel jupyter_client")
        from jupyter_client.manager import run_kernel

        said, program = [], self.program()
        with run_kernel(cwd=program.directory, env=clean_environment()) as client:
            how = {"output_hook": said.append, "timeout": DEADLINE}
            reply = client.execute_interactive(self.TWICE, **how)
        said = "".join(message["content"].get("text", "") for message in said)
        self.assertEqual(reply["content"]["status"], "ok")
        self.assertIn("42", said)
        self.assertEqual(said.count("nothing is watched"), 1, said)


if __name__ == "__main__":
    unittest.main()
