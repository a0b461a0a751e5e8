"""``doctor``: the pod that the Lease names. It leads until its object is deleted. Pure."""

from __future__ import annotations

from datetime import datetime

from .._sidecar.lease import LeaseRecord, PodRecord
from .findings import NOTE, OK, PROBLEM, Finding

__all__ = ["check_pod"]

CHECK = "leader pod"

OVERDUE = 60.0
"""Seconds after the end of its grace period from which a pod counts as stuck."""


def check_pod(
    pod: PodRecord | None, lease: LeaseRecord, name: str, namespace: str, now: datetime
) -> Finding:
    """Whether the pod can do the leader's work. name: the Lease's."""
    if lease.owner is None:
        message = "the Lease has no owner: it outlives the leader's pod, and cannot be verified"
        remedy = f"the elector did not create it: kubectl delete lease {name} -n {namespace}"
        return Finding(PROBLEM, CHECK, message, remedy)
    if pod is None or pod.uid != lease.owner:
        message = f"the pod {lease.pod} no longer exists, but the Lease still names it"
        if pod is not None:
            message = f"the Lease belongs to an earlier pod of the name {lease.pod}"
        remedy = (
            "Kubernetes deletes the Lease of a pod that is gone: run doctor again. If it stays: "
            f"kubectl delete lease {name} -n {namespace}"
        )
        return Finding(PROBLEM, CHECK, message, remedy)
    delete = f"kubectl delete pod {lease.pod} -n {namespace}"
    if pod.phase in ("Failed", "Succeeded"):
        phase = pod.phase if pod.reason is None else f"{pod.phase} ({pod.reason})"
        message = f"{lease.pod} is {phase}: it leads until it is deleted, and does no work"
        return Finding(PROBLEM, CHECK, message, f"{delete}; then another pod is elected")
    if pod.deletion is not None:
        return _check_deletion(pod.deletion, lease, delete, now)
    return Finding(
        OK, CHECK, f"{lease.pod} is {pod.phase or 'in an unknown phase'} and owns the Lease"
    )


def _check_deletion(deletion: str, lease: LeaseRecord, delete: str, now: datetime) -> Finding:
    try:
        overdue = (now - datetime.fromisoformat(deletion)).total_seconds()
    except (ValueError, TypeError):  # TypeError: it has no time zone
        overdue = 0.0
    if overdue < OVERDUE:
        message = f"{lease.pod} is being deleted; another pod is elected once it is gone"
        return Finding(NOTE, CHECK, message)
    return Finding(
        PROBLEM,
        CHECK,
        f"{lease.pod} is being deleted, but still there {overdue:.0f} s after its grace period: "
        "it leads until it is gone",
        "if a finalizer holds it, remove that. If its node is certainly off: "
        f"{delete} --force. On a node that is only unreachable, the pod keeps running",
    )
