"""A studio in a process of its own, for tests that kill it; and a worker that writes its outputs slowly.

python -m tests.studio_process serve FOLDER      prints its URL
python -m tests.studio_process work              a worker of the batch engine
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from avatar.batch.work import Made, Task
from avatar.batch.worker import serve as work
from avatar.core.files import UserError, remove_leftovers, whole
from avatar.studio.child import end_with_stdin

HERE = (sys.executable, "-m", "tests.studio_process")
WORKER = (*HERE, "work")
STEPS, STEP_SECONDS = 8, 0.02  # of a job
WAIT_SECONDS = 60.0
QUICK = "4s"  # that the training of a build of one frame takes here
FAILS = b"fail"  # in what a job reads: it fails


def write_slowly(task: Task) -> Made:
    """Write the digest of what a job reads into its output, a piece at a time, with what builds leave beside."""
    inputs = task.job.inputs
    source = Path(inputs.get("source") or inputs.get("deck") or inputs["speech"]).read_bytes()
    if source.startswith(FAILS) and not task.job.options.get("force"):
        raise UserError("the lips never move; film the person speaking, or build all the same with --force")
    out = Path(task.job.outputs["output"])
    if task.repeated:  # as `run_one` does
        remove_leftovers(out)
    with whole(out) as temporary, temporary.open("wb") as file:
        for _ in range(STEPS):
            file.write(source[: len(source) // STEPS])
            file.flush()
            time.sleep(STEP_SECONDS)
    if "page" in task.job.outputs:
        Path(task.job.outputs["page"]).write_text("<p>figures</p>")
    return Made(1.0)


def expected(source: bytes) -> bytes:
    """What `write_slowly` makes of it."""
    return source[: len(source) // STEPS] * STEPS


def run_server(folder: Path, port: int, *, real: bool) -> None:
    """Serve at a port, 0: a free one; real: with workers that do the work, in little time."""
    from avatar.batch.local import WORKER as REAL
    from avatar.studio.films import QUALITIES
    from avatar.studio.server import Address, serve
    from avatar.studio.studio import Studio

    if real:
        QUALITIES["preview"] = {"preview": True, "budget": QUICK}
    worker = REAL if real else WORKER
    with contextlib.suppress(KeyboardInterrupt):
        serve(Studio(folder, worker=worker), Address(port=port), lambda url: print(url, flush=True))


class Served:
    """A studio that is being served from a folder, in a process of its own."""

    def __init__(self, folder: Path, *, real: bool = False) -> None:
        """real: with workers that do the work."""
        self.folder, self._real = folder, real
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self, port: int = 0) -> None:
        """Start it, or start it again."""
        self.process = subprocess.Popen(
            [*HERE, "serve", str(self.folder), str(port), *(["real"] if self._real else [])],
            stdin=subprocess.PIPE,  # which ends with this process, and it with that
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        url = self.process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), url
        self.port = int(url.rsplit(":", 1)[1].rstrip("/"))
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            try:
                if self.request("GET", "/api/about")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the studio does not answer")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The JSON of an answer that is none of an error."""
        status, _, data = self.request(method, path, body)
        assert status < 300, data
        return json.loads(data)

    def refused(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The JSON of a refusal."""
        status, _, data = self.request(method, path, body)
        assert status >= 400, data
        return json.loads(data)

    def upload(self, kind: str, name: str, data: bytes, *, piece: int = 1 << 20) -> str:
        """Send a file; the id of the upload."""
        id = self.json("POST", "/api/uploads", {"kind": kind, "name": name, "size": len(data)})["id"]
        for start in range(0, len(data), piece):
            self.json("PATCH", f"/api/uploads/{id}?offset={start}", data[start : start + piece])
        self.json("POST", f"/api/uploads/{id}/finish", {})
        return str(id)

    def add(self, name: str, data: bytes, **values: Any) -> str:
        """A person of a clip; the key."""
        form = {"upload": self.upload("clip", "clip.mp4", data), "name": name, "consent": CONSENT}
        return str(self.json("POST", "/api/people", form | values)["key"])

    def wait(self, path: Path) -> None:
        """Wait until a file is there and the queue is empty."""
        until = time.monotonic() + WAIT_SECONDS
        while not path.exists() or self.json("GET", "/api/queue")["jobs"]:
            assert time.monotonic() < until, self.json("GET", "/api/queue")
            time.sleep(0.05)


CONSENT = {"who": "self", "agreed": True}


if __name__ == "__main__":
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    os.environ["AVATAR_LOG"] = "off"
    if sys.argv[1] == "serve":
        end_with_stdin()
        run_server(Path(sys.argv[2]), int(sys.argv[3]), real="real" in sys.argv[4:])
    else:
        work(write_slowly)
