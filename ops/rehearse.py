"""Evaluate every query of dashboard.json against replicas with faults.

    python ops/rehearse.py                        # half a minute
    python ops/rehearse.py --seconds 120 --save samples.json

Starts three replicas under ``elector-thread up --verify``, and a Prometheus that scrapes them each
second. Plays faults: the leader is isolated, killed, deprived of its Lease and of its sidecar.
Then evaluates each query of the dashboard over that time, and exits with 1 if one has no data.
Prints which alerts are pending or firing at the end.
Needs ``prometheus`` (Debian: prometheus) and the extras ``cli`` and ``prometheus``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from elector_thread.local.control import Control

HERE = Path(__file__).parent
PATIENCE = 30.0
"""Seconds for each start, on a busy machine."""

LABELS = {"namespace": "my-team", "app": "my-app"}
VARIABLES = {"namespace": "my-team", "app": "my-app", "__rate_interval": "5s"}

SHORT = {
    "ELECTOR_THREAD_POLL_INTERVAL": "0.5",
    "ELECTOR_THREAD_RECONCILE_INTERVAL": "1",
    "ELECTOR_THREAD_REQUEST_TIMEOUT": "0.5",
    "ELECTOR_THREAD_GRACE_PERIOD": "3",
}
"""The settings of docs/up.md: everything is fifteen times as fast."""

WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
"""Before a command, so that it ends even if this process is killed (Linux)."""

CONFIGURATION = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [ALERTS]
scrape_configs:
  - job_name: pods
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
"""


class Replicas:
    """`elector-thread up` with replica.py, and the list of what Prometheus should scrape."""

    def __init__(self, folder: Path) -> None:
        self._targets = folder / "targets.json"
        self._ports: dict[str, str] = {}
        self._url = ""
        self._ready = Event()
        self._targets.write_text("[]")
        up = [sys.executable, "-m", "elector_thread", "up", "--port", "0", "--verify", "--restart"]
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [*WITH_US, *up, "--", sys.executable, "-P", "-c", "import replica; replica.main()"],
            env={**os.environ, **SHORT, "NAIS_APP_NAME": LABELS["app"], "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(PATIENCE):
            self.stop()
            raise SystemExit("the replicas did not start")
        self.control = Control(self._url)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            print(line, end="", flush=True)
            if page := re.search(r"its page: (\S+)", line):
                self._url = page[1]
            elif started := re.match(r"(\S+) +\| metrics on port (\d+)", line):
                self._ports[started[1]] = started[2]
                self._publish()
            elif ended := re.match(r"elector-thread +. (\S+) (?:ended|failed)", line):
                self._ports.pop(ended[1], None)
                self._publish()

    def _publish(self) -> None:
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {**LABELS, "pod": name}}
            for name, port in self._ports.items()
        ]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(targets))
        new.rename(self._targets)
        if len(self._ports) == 3:
            self._ready.set()

    def leader(self) -> str:
        """Who was elected."""
        return str(self.control.state()["leader"])

    def stop(self) -> None:
        """End the replicas."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Prometheus:
    """A Prometheus of our own on a free loopback port, with its data in ``folder``."""

    def __init__(self, folder: Path) -> None:
        configuration = folder / "prometheus.yaml"
        configuration.write_text(CONFIGURATION.replace("ALERTS", str(HERE / "alerts.yaml")))
        options = [
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        self._log = folder / "prometheus.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*WITH_US, "prometheus", *options], stdout=log, stderr=subprocess.STDOUT
            )
        self._address = self._find_address()

    def _find_address(self) -> str:
        """Wait until it is ready, and read from its log where it listens."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up and self.process.poll() is None:
            log = self._log.read_text()
            found = re.search(r"Listening on.* address=(127\.0\.0\.1:\d+)", log)
            if found and "ready to receive web requests" in log:
                return found[1]
            time.sleep(0.1)
        self.process.kill()
        raise SystemExit(f"Prometheus did not start\n{self._log.read_text()}")

    def query(self, kind: str, **parameters: str) -> list[dict[str, Any]]:
        """The series that a query (kind ``query`` or ``query_range``) returns."""
        url = f"http://{self._address}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                series: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return series
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{parameters['query']}\n{error.read().decode()}") from None

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


@contextmanager
def running(folder: Path) -> Iterator[tuple[Replicas, Prometheus]]:
    """The replicas, and a Prometheus that scrapes them."""
    with ExitStack() as stack:
        prometheus = Prometheus(folder)
        stack.callback(prometheus.stop)
        replicas = Replicas(folder)
        stack.callback(replicas.stop)
        yield replicas, prometheus


def play(replicas: Replicas, seconds: float) -> None:
    """Faults within ``seconds``, each of which is over before the next one begins."""
    control, step = replicas.control, seconds / 6
    time.sleep(step)
    control.fault("split", replicas.leader(), step * 0.8)  # ends as: unverified
    time.sleep(step)
    control.fault("kill", replicas.leader(), None)
    time.sleep(step)
    control.fault("lease-403", None, step * 0.8)
    time.sleep(step)
    control.fault("refuse", None, step * 0.8)  # expired
    time.sleep(step)
    others = [one["name"] for one in control.state()["replicas"] if one["alive"]]
    control.elect(next(name for name in others if name != replicas.leader()))  # replaced
    time.sleep(step)


def queries() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every query of the dashboard: its panel, and the target."""
    dashboard = json.loads((HERE / "dashboard.json").read_text(encoding="utf-8"))
    return [(panel, target) for panel in dashboard["panels"] for target in panel["targets"]]


def substituted(query: str, seconds: float) -> str:
    """The query with the values of Grafana's variables."""
    values = {**VARIABLES, "__range": f"{seconds:.0f}s"}
    return re.sub(r"\$(\w+)", lambda name: values[name[1]], query)


def evaluate(prometheus: Prometheus, since: float) -> list[dict[str, Any]]:
    """The result of every query from ``since`` to now."""
    end = time.time()
    found = []
    for panel, target in queries():
        query = substituted(target["expr"], end - since)
        if target["instant"]:
            series = prometheus.query("query", query=query, time=f"{end}")
        else:
            times = {"start": f"{since}", "end": f"{end}", "step": "1"}
            series = prometheus.query("query_range", query=query, **times)
        about = {"panel": panel["id"], "title": panel["title"], "legend": target["legendFormat"]}
        found.append({**about, "query": query, "series": series})
    return found


def complete(found: list[dict[str, Any]]) -> bool:
    """Whether every query has data."""
    return all(each["series"] for each in found)


def rehearse(seconds: float) -> list[dict[str, Any]]:
    """Play the faults, and evaluate all queries until each has data."""
    with tempfile.TemporaryDirectory(prefix="elector-rehearsal-") as name:
        folder = Path(name)
        with running(folder) as (replicas, prometheus):
            since = time.time()
            play(replicas, seconds)
            give_up = time.monotonic() + PATIENCE
            while not complete(found := evaluate(prometheus, since)):
                if time.monotonic() > give_up:
                    break
                time.sleep(1)
            for alert in prometheus.query("query", query="ALERTS", time=f"{time.time()}"):
                labels = alert["metric"]
                print(f"{labels['alertstate']}: {labels['alertname']} {labels.get('pod', '')}")
            return found


def main() -> int:
    """Rehearse; 1 if a query has no data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--save", type=Path, help="where to write the samples, as JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found = rehearse(arguments.seconds)
    for each in found:
        print(f"{len(each['series'])} series: {each['title']}: {each['query']}")
    if arguments.save:
        arguments.save.write_text(json.dumps(found))
    return 0 if complete(found) else 1


if __name__ == "__main__":
    sys.exit(main())
