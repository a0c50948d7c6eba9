#!/usr/bin/env python3
"""Emits each line of standard input to a Kafka topic through the pod's sidecar, and exits 0 only when Kafka has all of them.

    seq 1000 | SIDECAR=unix:///run/ackmark/sidecar.sock OUTPUT=numbers python3 worker.py

The process has no Kafka client and no connection to a broker. Python needs grpcio and grpcio-tools (requirements.txt).
"""

import os
import pathlib
import sys
import time

import grpc

# grpcio-tools compiles the published contract at import. In a project of yours, generate the two modules once, with grpc_tools.protoc.
PROTO = "ackmark/sidecar/v1/sidecar.proto"
sys.path.insert(0, os.environ.get("ACKMARK_PROTO", str(pathlib.Path(__file__).resolve().parents[2] / "sidecar" / "sidecarpb")))
pb, services = grpc.protos_and_services(PROTO)

PATIENCE = 60.0  # seconds without any success after which the worker gives up


class Rejected(Exception):
    """The record will not be delivered as it is: another try does not help."""


def emit(sidecar, record):
    """Returns (partition, offset) once Kafka has the record on all in-sync replicas.

    Kafka's momentary troubles are retried by the sidecar itself. What is left to retry here: the sidecar is full, draining, or just being
    restarted. In the last case nobody knows whether the record was written: it may appear twice, as anywhere at least once is the promise.
    With WAIT_QUEUED, a record's outcome comes by Reports instead, and dies with the sidecar: keep each record and the answer's sidecar_id until its
    report is read. When an answer, or the first message of Reports, has another sidecar_id, emit again what is kept without a report.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        wait = 0.1
        try:
            answer = sidecar.Emit(pb.EmitRequest(record=record, wait=pb.WAIT_ACKED), wait_for_ready=True, timeout=deadline - time.monotonic())
            if answer.success:
                return answer.partition, answer.offset
            trouble = f"{answer.error.code}: {answer.error.message}"
            if not answer.error.retryable:
                raise Rejected(trouble)
            wait = max(wait, answer.error.retry_after_ms / 1000)
        except grpc.RpcError as e:
            trouble = f"{e.code().name}: {e.details()}"
            if e.code() != grpc.StatusCode.UNAVAILABLE:
                raise Rejected(trouble) from e
        if time.monotonic() + wait > deadline:
            raise TimeoutError(f"not delivered within {PATIENCE:.0f} s, last: {trouble}")
        time.sleep(wait)


def main():
    missing = [name for name in ("SIDECAR", "OUTPUT") if not os.environ.get(name)]
    if missing:
        sys.exit(f"worker: {missing[0]} is not set; see the top of {__file__}")
    count = 0
    with grpc.insecure_channel(os.environ["SIDECAR"]) as channel:
        sidecar = services.SidecarStub(channel)
        for line in sys.stdin.buffer:
            text = line.rstrip(b"\n")
            record = pb.Record(topic=os.environ["OUTPUT"], key=text, value=text.upper())
            try:
                partition, offset = emit(sidecar, record)
            except (Rejected, TimeoutError) as e:
                sys.exit(f"worker: line {count + 1}: {e}")
            count += 1
    if count:
        print(f"{count} records acknowledged, the last one in partition {partition} at offset {offset}")


if __name__ == "__main__":
    main()
