"""Services in processes of their own, which a test may kill.

They are forked from one process that has imported what a service needs: that takes seconds.
"""

import asyncio
import multiprocessing
import os
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("scripted_worker.py")
COMMAND = [sys.executable, "-S", str(SCRIPT)]
START_SECONDS = 60.0  # a busy machine is no failure


def killed_service(folder, history=None, **settings):
    """A service in a process of its own, and its port."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["wherefrom.web.server"])
    heard, told = forks.Pipe(duplex=False)
    given = (str(folder), history, settings, dict(os.environ), told)
    process = forks.Process(target=_serve, args=given, daemon=True)
    process.start()
    told.close()
    with heard:
        while heard.poll(START_SECONDS):
            line = heard.recv()  # an `EOFError` if it ended before it listened
            if line.startswith("http"):
                return process, int(line.rpartition(":")[2])
    raise AssertionError("the service did not start")


def _serve(folder, history, settings, environment, told):
    from wherefrom.web import server
    from wherefrom.web.settings import ServiceConfig

    os.environ |= environment  # that of the test, not of the process it is forked from
    config = ServiceConfig.from_dict(settings)
    where = server.Listening(Path("c"), Path(folder), "127.0.0.1", 0, None, "cpu", config, history)
    asyncio.run(server._run(where, COMMAND, told.send))
