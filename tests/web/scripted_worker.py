"""A worker that speaks the worker's lines without opening anything; the upload says what it does.

ok            two steps, then an answer and a report
sleep N       a step, then N seconds
hold PATH     a step, then until there is a file of that path
die           it kills itself
refuse        an error for the person
inherited     an error that names the variables of the service that it sees

What is begun and ended is written into the file that SCRIPT_LOG names, where it is set.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path


def tell(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def note(what, job):
    log = os.environ.get("SCRIPT_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{what} {Path(job['out']).name}\n")


def work(job):
    note("begin", job)
    text = Path(job["path"]).read_bytes()[:1000].decode("latin-1").split()
    word = text[0] if text else ""
    tell(step="model", done=0, total=2)
    if word == "die":
        os.kill(os.getpid(), 9)
    if word == "sleep":
        time.sleep(float(text[1]))
    while word == "hold" and not Path(text[1]).exists():
        time.sleep(0.01)
    if word == "refuse":
        tell(error=f"{job['name']}: is not an image")
        return
    if word == "inherited":
        tell(error=" ".join(sorted(name for name in os.environ if name.startswith("WHEREFROM_"))))
        return
    tell(step="report", done=1, total=2)
    out = Path(job["out"])
    (out / "report.html").write_text("<!DOCTYPE html><title>a report</title>")
    (out / "thumbnail.png").write_bytes(b"small")
    (out / "pictures.json").write_text('{"image": null, "evidence": {}}')
    (out / "inspection.json").write_text(json.dumps({"image": job["name"]}))
    note("end", job)
    answer = {"question": "model", "asked": "Who?", "state": "found", "sentence": "Mine."}
    tell(finished=[answer | {"error_rate": 0.01, "error_of": "it is wrong"}])


def main():
    jobs, ready = [], threading.Semaphore(0)

    def listen():
        for line in sys.stdin:
            jobs.append(json.loads(line))
            ready.release()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    tell(**({"refused": "no such case"} if sys.argv[1:] == ["refuse"] else {"ready": True}))
    while True:
        ready.acquire()
        work(jobs.pop(0))


if __name__ == "__main__":
    main()
