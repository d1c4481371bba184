"""Does what the event's action says: what hostile and broken code does."""

import errno
import os
import signal
import struct
import sys
import time

RESULT, LOG = 4, 8
calls = 0


def handler(event, context):
    global calls
    calls += 1
    return globals()["do_" + event["action"]]()


def sockets():
    return [int(fd) for fd in os.listdir("/proc/self/fd") if "socket:" in link(fd)]


def link(fd):
    try:
        return os.readlink("/proc/self/fd/" + fd)
    except OSError:
        return ""


def frame(kind, stream, body, length=None):
    return struct.pack("<IBBHQ", len(body) if length is None else length, kind, 0, 0, stream) + body


def write(data):
    for fd in sockets():
        os.write(fd, data)


def do_count():
    return {"calls": calls, "pid": os.getpid()}


def do_sleep():
    while True:
        time.sleep(1)


def do_spin():
    while True:
        pass


def do_fork():
    while True:
        try:
            os.fork()
        except OSError:
            pass


def do_memory():
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))


def do_tmp():
    written = 0
    fd = os.open("/tmp/full", os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            written += os.write(fd, bytes(1 << 20))
    except OSError as e:
        return {"errno": errno.errorcode[e.errno], "some": written > 0}
    finally:
        os.close(fd)
        os.remove("/tmp/full")


def do_log():
    line = "x" * 1023
    for _ in range(100 << 10):
        print(line)
    return "logged"


def do_log_forever():
    while True:
        write(frame(LOG, calls, b"x" * 1000))


def do_close():
    for fd in sockets():
        os.close(fd)


def do_close_all():
    os.closerange(0, 2000)


def do_twice():
    write(frame(RESULT, calls, b'"first"'))
    return "second"


def do_garbage():
    write(b"\xff" * 100)
    return "garbage"


def do_huge():
    write(frame(LOG, calls, b"", 0xFFFFFFFF))
    return "huge"


def do_future():
    write(frame(RESULT, calls + 5, b'"future"'))
    return "future"


def do_half():
    write(frame(RESULT, calls, b"")[:7])
    do_sleep()


def do_exit():
    os._exit(3)


def do_leave():
    sys.exit()


def do_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def do_crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def do_stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def do_orphan():
    """Leaves a process behind that holds all descriptors and ignores signals."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)"])
        os._exit(0)
    os.wait()
    return "orphan"


def do_large():
    return "x" * (7 << 20)
