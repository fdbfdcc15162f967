"""When a process forks, each process sends the events that it accepted."""

from pathlib import Path

from tests.recorder.helpers import MakeRecorder, memory_and_spool
from tests.recorder.processes import Spawn, output_of
from tests.recorder.service import Service

NO_THREADS = """
def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")  # as Python 3.12 does
"""


@memory_and_spool
def test_a_forked_process_sends_only_its_own_events(service: Service, spawn: Spawn, spooled: bool) -> None:
    settings = "spool=SPOOL, linger=60" if spooled else "linger=60"
    ids = output_of(
        spawn(f"""recorder = make({settings})
record(recorder, 2)
child = os.fork()
record(recorder, 2)
if child:
    assert os.waitpid(child, 0)[1] == 0
elif not recorder.close():
    os._exit(1)""")
    )
    assert len(set(ids)) == 6
    assert sorted(service.ids) == sorted(ids)
    assert set(service.arrivals.values()) == {1}


def test_a_forked_process_without_events_does_not_wait_for_its_parents(
    service: Service, spawn: Spawn, make: MakeRecorder, tmp_path: Path
) -> None:
    service.stop()
    output = output_of(
        spawn(f"""{NO_THREADS}
recorder = make(spool=SPOOL, flush_timeout=50)
record(recorder, 2)
if not os.fork():
    threading.Thread.start = start
    sys.exit(0)
began = time.monotonic()
print(os.wait()[1], time.monotonic() - began < 10, flush=True)
os._exit(0)""")
    )
    assert output[2:] == ["0", "True"]
    service.start()
    assert make(spool=tmp_path / "spool", request_timeout=0.2).unsent == 2


def test_when_a_forked_process_exits_its_events_are_sent(service: Service, spawn: Spawn) -> None:
    ids = output_of(
        spawn(f"""{NO_THREADS}
recorder = make(spool=SPOOL, linger=60)
if not os.fork():
    threading.Thread.start = start
    record(recorder, 2)
    sys.exit(0)
os.wait()
os._exit(0)""")
    )
    assert sorted(service.ids) == sorted(ids)
    assert len(ids) == 2
