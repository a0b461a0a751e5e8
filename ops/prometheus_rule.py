"""Print alerts.yaml as a PrometheusRule of the Prometheus Operator.

    python ops/prometheus_rule.py > ops/prometheus-rule.yaml
    python ops/prometheus_rule.py --namespace my-team | kubectl apply -f -

With a namespace, the rules look at the metrics of that namespace only, and the object is created
in it. Without one, they look at every application, and are to be installed once for a cluster.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from textwrap import indent

ALERTS = Path(__file__).with_name("alerts.yaml")
METRIC = re.compile(r"\b((?:elector_thread|kube_pod)_\w+)(\{)?")

HEADER = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: elector-thread
"""


def prometheus_rule(namespace: str | None = None) -> str:
    """The manifest; ``namespace`` is put into its metadata and into every selector."""
    comment, _, groups = ALERTS.read_text(encoding="utf-8").partition("groups:\n")
    manifest = comment + HEADER
    if namespace is not None:
        manifest += f"  namespace: {namespace}\n"
        groups = METRIC.sub(lambda found: _selected(found, namespace), groups)
    return manifest + "spec:\n" + indent("groups:\n" + groups, "  ")


def _selected(found: re.Match[str], namespace: str) -> str:
    return f'{found[1]}{{namespace="{namespace}"' + (", " if found[2] else "}")


def main() -> None:
    """Print the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--namespace", help="for this namespace only")
    print(prometheus_rule(parser.parse_args().namespace), end="")


if __name__ == "__main__":
    main()
