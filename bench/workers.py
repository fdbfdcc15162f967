"""Concurrent callers and consumers. Each is a process of its own, as in Lambda.

Powertools keeps the current event in the class, so a process can handle only one request at a time. Lambda guarantees
that too. A caller sends its next request when it has the response to the last one.
"""

import contextlib
import importlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import IO, Any, Self

from bench import fixtures
from bench.fixtures import Environment
from bench.units import Units, counted
from tests.template import template

CALLERS = 16
_QUEUE = template()["Resources"]["ConsumeUsageFunction"]["Properties"]["Events"]["Queue"]["Properties"]
CONSUMERS = min(5, int(_QUEUE["ScalingConfig"]["MaximumConcurrency"]))
"""The template's maximum concurrency, but at most five, with which Lambda starts."""

MESSAGES = int(_QUEUE["BatchSize"])
WINDOW_SECONDS = float(_QUEUE["MaximumBatchingWindowInSeconds"])
MAX_PAYLOAD_BYTES = 5_500_000
"""Per invocation. Lambda's own limit is 6 MB."""

VISIBILITY_SECONDS = 30
MODULES = ["bench.workers", "record_usage", "record_batch", "consume_usage", "run_billing"]


@dataclass
class Done:
    """The work of one process, and the time when it ended."""

    statuses: Counter[str] = field(default_factory=Counter)
    units: Units = field(default_factory=Units)
    invocations: int = 0
    log_bytes: int = 0
    ended_at: float = 0

    def __add__(self, other: "Done") -> "Done":
        return Done(
            self.statuses + other.statuses,
            self.units + other.units,
            self.invocations + other.invocations,
            self.log_bytes + other.log_bytes,
            max(self.ended_at, other.ended_at),
        )


class WorkerPool:
    """Processes that wait for work. They end with the `with` block."""

    def __init__(self, environment: Environment, size: int) -> None:
        self._environment, self._size, self._stack = environment, size, ExitStack()
        self._pipes: list[Connection] = []

    def __enter__(self) -> Self:
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(MODULES)
        for _ in range(self._size):
            ours, theirs = processes.Pipe()
            process = processes.Process(target=_work, args=(theirs, self._environment), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._stack.callback(_end, process, ours)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], begin_at: float) -> None:
        """Let each process run `work` with its own arguments. All start at the same instant."""
        for pipe, own in zip(self._pipes, arguments, strict=True):
            pipe.send((work, own, begin_at))

    def tell(self, message: object) -> None:
        for pipe in self._pipes:
            pipe.send(message)

    def results(self) -> list[Any]:
        """Return the result of each process.

        Raises:
            RuntimeError: a process failed.
        """
        results = [pipe.recv() for pipe in self._pipes]
        for result in results:
            if isinstance(result, str):
                raise RuntimeError(result)
        return results


def _end(process: ForkServerProcess, pipe: Connection) -> None:
    pipe.close()
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()


def _work(pipe: Connection, environment: Environment) -> None:
    fixtures.use_account(environment)
    while True:
        try:
            work, arguments, begin_at = pipe.recv()
        except EOFError:
            return
        try:
            time.sleep(max(0, begin_at - time.monotonic()))
            pipe.send(work(pipe, *arguments))
        except Exception as error:
            pipe.send(f"{work.__name__} failed: {error!r}")


def call(_: Connection, module: str, requests: Sequence[dict[str, Any]]) -> Done:
    """Send requests to a handler one after the other."""
    handler, done = _handler(module), Done()
    with quiet() as log, counted() as units:
        for request in requests:
            response = handler(request, fixtures.context(10))
            done.statuses[str(response["statusCode"])] += 1
            done.invocations += 1
        done.ended_at, done.units, done.log_bytes = time.monotonic(), units, _size(log)
    return done


def consume(pipe: Connection, queue_url: str) -> Done:
    """Pass the queue's messages to the consumer as Lambda does, until told to stop and the queue is empty."""
    import boto3  # noqa: PLC0415 - after fixtures.use_account

    sqs, handler, done, stopping = boto3.client("sqs"), _handler("consume_usage"), Done(), False
    with quiet() as log, counted() as units:
        while True:
            messages = _receive(sqs, queue_url, WINDOW_SECONDS if not stopping else 0)
            if not messages:
                stopping = stopping or (pipe.poll(0) and bool(pipe.recv()))
                if stopping and _is_empty(sqs, queue_url):
                    break
                continue
            records = [
                {
                    "messageId": each["MessageId"],
                    "receiptHandle": each["ReceiptHandle"],
                    "body": each["Body"],
                    "attributes": each["Attributes"],
                }
                for each in messages
            ]
            response = handler({"Records": records}, fixtures.context(60))
            retry = {each["itemIdentifier"] for each in response["batchItemFailures"]}
            done.ended_at = time.monotonic()
            done.invocations += 1
            done.statuses["messages"] += len(messages) - len(retry)
            done.statuses["delivered again"] += len(retry)
            _delete(sqs, queue_url, [each for each in messages if each["MessageId"] not in retry])
        done.units, done.log_bytes = units, _size(log)
    return done


def _receive(sqs: Any, queue_url: str, window: float) -> list[dict[str, Any]]:
    """Receive up to `MESSAGES` messages. Stop when the window since the first message has passed."""
    found: list[dict[str, Any]] = []
    size, deadline = 0, time.monotonic() + window
    while len(found) <= MESSAGES - 10 and size < MAX_PAYLOAD_BYTES - 400_000:
        response = sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=VISIBILITY_SECONDS,
            WaitTimeSeconds=1 if window else 0,
            MessageSystemAttributeNames=["All"],
        )
        messages = response.get("Messages", [])
        if messages and not found:
            deadline = time.monotonic() + window
        found += messages
        size += sum(len(each["Body"]) for each in messages)
        if time.monotonic() >= deadline and (window or not messages):
            break
        if not messages:
            time.sleep(0.05)
    return found


def _is_empty(sqs: Any, queue_url: str) -> bool:
    """Return True if the queue has no messages, visible or in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    response = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    return not any(int(response["Attributes"][name]) for name in names)


def _delete(sqs: Any, queue_url: str, messages: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(messages), 10):
        entries = [
            {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]}
            for number, each in enumerate(messages[start : start + 10])
        ]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)


def _handler(module: str) -> Any:
    return importlib.import_module(module).handler


@contextlib.contextmanager
def quiet() -> Iterator[IO[bytes]]:
    """Redirect stdout, where the log goes, to a file. A terminal would be slower than the pipe that Lambda uses."""
    sys.stdout.flush()
    terminal = os.dup(1)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        try:
            yield log
        finally:
            sys.stdout.flush()
            os.dup2(terminal, 1)
            os.close(terminal)


def _size(log: IO[bytes]) -> int:
    sys.stdout.flush()
    return os.fstat(log.fileno()).st_size


def totals(done: Sequence[Done]) -> Done:
    total = Done()
    for each in done:
        total = total + each
    return total
