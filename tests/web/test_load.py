"""64 clients at once: all are served, and the service's memory stays bounded."""

import json
import os
import platform
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Client
from service_process import killed_service
from test_service import events_of

from wherefrom import __version__

CLIENTS, JOBS_EACH, UPLOAD = 64, 3, 8 * 2**20
# 64 uploads of 8 MiB are half a gigabyte at once: a service that held them would show it.
MOST_GROWTH = 96 * 2**20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc"),
]


def memory(process):
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_64_clients_are_served_in_bounded_memory__limit(tmp_path):
    process, port = killed_service(tmp_path / "data")
    before, peak, over = memory(process.pid), [0], threading.Event()

    def watch():
        while not over.is_set():
            peak[0] = max(peak[0], memory(process.pid))
            time.sleep(0.02)

    gate = threading.Barrier(CLIENTS)

    def client(number):
        mine, times = Client(port), []
        gate.wait()
        for turn in range(JOBS_EACH):
            start = time.monotonic()
            while True:
                path = f"/api/jobs?name={number}-{turn}.png"
                status, _, data = mine.ask("POST", path, b"ok ".ljust(UPLOAD))
                if status == 202:
                    break
                assert status == 503, data
                time.sleep(0.2)
            times.append(time.monotonic() - start)
            told = events_of(mine, json.loads(data))
            assert told[-1]["state"] == "done"
            assert mine.ask("GET", f"/api/jobs/{told[-1]['id']}/report.html")[0] == 200
        return times

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            accepted = sorted(t for times in pool.map(client, range(CLIENTS)) for t in times)
    finally:
        over.set()
        watcher.join()
        seconds = time.monotonic() - start
        process.terminate()
        process.join(60)
    target = os.environ.get("WHEREFROM_LOAD_RESULT")
    if target:
        found = {
            "clients": CLIENTS,
            "jobs": len(accepted),
            "upload_mib": UPLOAD // 2**20,
            "seconds": round(seconds, 1),
            "accepted_median_s": round(accepted[len(accepted) // 2], 2),
            "accepted_slowest_s": round(accepted[-1], 2),
            "memory_before_mib": round(before / 2**20),
            "memory_peak_mib": round(peak[0] / 2**20),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "wherefrom": __version__,
            "command": "python -m pytest -m slow tests/web/test_load.py",
        }
        Path(target).write_text(json.dumps(found, indent=1) + "\n")
    assert len(accepted) == CLIENTS * JOBS_EACH
    assert peak[0] - before < MOST_GROWTH
