"""Makes the attempt that the event names, and answers with what came of it: "ok" when it worked, else the name of the error."""

import ctypes
import errno
import hashlib
import hmac
import json
import mmap
import os
import re
import resource
import signal
import socket
import stat
import struct
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

RESULT, LOG = 4, 8
libc = ctypes.CDLL(None, use_errno=True)
attempts = {}
calls = 0


def attempt(name):
    def add(f):
        attempts[name] = f
        return f
    return add


def handler(event, context):
    global calls
    calls += 1
    globals().pop("held", None)
    f = attempts.get(event["attempt"])
    if f is None:
        return {"result": "no such attempt"}
    try:
        r = f(event)
    except OSError as e:
        return {"result": errno.errorcode.get(e.errno, "OSError"), "detail": str(e)}
    except Exception as e:
        return {"result": type(e).__name__, "detail": str(e)}
    if isinstance(r, tuple):
        return {"result": r[0], "detail": str(r[1])}
    return {"result": "ok" if r is None else r}


def call(name, *args):
    """Calls a function of the C library; its error is an OSError."""
    ctypes.set_errno(0)
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), name)


def found(list):
    return ("ok", ", ".join(list)) if list else "none"


# Files.

def read(path):
    with open(path, "rb") as f:
        if not f.read(4096):
            raise RuntimeError("empty")


attempt("read a file of the host")(lambda e: read(e["secret"]))
attempt("read it below the root of process 1")(lambda e: read("/proc/%d/root%s" % (e["init"], e["secret"])))
attempt("read the environment of init")(lambda e: read("/proc/%d/environ" % e["init"]))
attempt("read the memory map of init")(lambda e: read("/proc/%d/maps" % e["init"]))
attempt("read the stack of init")(lambda e: read("/proc/%d/stack" % e["init"]))
attempt("list the descriptors of init")(lambda e: os.listdir("/proc/%d/fd" % e["init"]) and None)
attempt("list the host's home directories")(lambda e: os.listdir("/home") and None)
attempt("list the data directory")(lambda e: os.listdir(e["data"]) and None)
attempt("change the working directory to the host's")(lambda e: os.chdir("/proc/%d/cwd" % e["init"]))
attempt("write to the code")(lambda e: open(__file__, "a").close())
attempt("write compiled code beside the code")(lambda e: os.mkdir("/var/task/__pycache__"))
attempt("write to the bootstrap")(lambda e: open(sys.modules["__main__"].__file__, "a").close())
attempt("write to the interpreter")(lambda e: open(os.path.realpath(sys.executable), "a").close())
attempt("make a module of the standard library")(lambda e: open(os.path.dirname(os.__file__) + "/escape.py", "w").close())
attempt("make shared memory")(lambda e: open("/dev/shm/escape", "w").close())


@attempt("make a device")
def device(e):
    name = "/tmp/device-%d" % os.getpid()
    os.mknod(name, 0o666 | stat.S_IFBLK, os.makedev(8, 0))
    os.remove(name)


attempt("lock the code for all instances")(lambda e: __import__("fcntl").flock(open(__file__), 6))
attempt("take over a file of others")(lambda e: os.chown("/usr/bin/env", os.getuid(), os.getgid()))


@attempt("find what another instance left in /tmp")
def left(e):
    return found(os.listdir("/tmp"))


# Rights.

attempt("become root")(lambda e: os.setuid(0))
attempt("take more groups")(lambda e: os.setgroups([0]))
attempt("make a user namespace")(lambda e: call("unshare", 0x10000000))
attempt("mount a tmpfs")(lambda e: call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None))
attempt("unmount /proc")(lambda e: call("umount2", b"/proc", 2))
attempt("change the root")(lambda e: os.chroot("/tmp"))
attempt("trace init")(lambda e: call("ptrace", 0x4206, e["init"], None, None))
attempt("set the host name")(lambda e: socket.sethostname("escaped"))
attempt("raise its priority")(lambda e: os.nice(-10) and None)
attempt("run with real-time priority")(lambda e: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("set the clock")(lambda e: time.clock_settime(time.CLOCK_REALTIME, -1))
attempt("raise its limit of files")(lambda e: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20)))
attempt("kill the init of another sandbox")(lambda e: os.kill(e["otherInit"], signal.SIGKILL))
attempt("find a process of the host in /proc")(lambda e: read("/proc/%d/status" % e["pid"]))
attempt("signal a process of the host")(lambda e: os.kill(e["pid"], 0))
attempt("open a process of the host")(lambda e: os.close(os.pidfd_open(e["pid"])))
attempt("limit init")(lambda e: resource.prlimit(e["init"], resource.RLIMIT_NOFILE, (3, 3)) and None)
attempt("add a key")(lambda e: call("syscall", 248, b"user", b"escape", b"x", 1, -2))
attempt("load a BPF program")(lambda e: call("syscall", 321, 5, None, 0))
attempt("make an io_uring")(lambda e: call("syscall", 425, 4, ctypes.create_string_buffer(200)))


# Network.

def connect(family, address):
    with socket.socket(family) as s:
        s.settimeout(5)
        s.connect(address)


def connect_all(e):
    for address in e["tcp"]:
        port = int(address.rsplit(":", 1)[1])
        try:
            return connect(socket.AF_INET, ("127.0.0.1", port))
        except OSError as err:
            last = err
    raise last


attempt("connect to a listener of the host")(connect_all)
attempt("connect to an abstract Unix socket of the host")(lambda e: connect(socket.AF_UNIX, "\0" + e["abstract"]))
attempt("connect to an abstract Unix socket of a sandbox")(lambda e: connect(socket.AF_UNIX, "\0" + e["abstract"] + "-other"))
attempt("open a packet socket")(lambda e: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("open a raw socket")(lambda e: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
attempt("open a socket of the hypervisor")(lambda e: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close())
attempt("open a socket of the kernel's ciphers")(lambda e: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close())


# What an interpreter that was started ahead of time may have kept.

# Not the text itself, which the search would find.
SECRET = re.compile(rb"[e]scape-victim-secret-[0-9a-f]{32}")


@attempt("find another function's secret in its own memory")
def own_memory(e):
    hits = []
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as mem:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....) \S+ \S+ \d+ *(.*)", line)
            if not m[3].startswith("rw"):
                continue
            start, end = int(m[1], 16), int(m[2], 16)
            try:
                mem.seek(start)
                if SECRET.search(mem.read(min(end - start, 64 << 20))):
                    hits.append(m[1] + " " + m[4])
            except (OSError, ValueError):
                continue
    return found(hits)


OWN = re.compile(r"AWS_|LAMBDA_|_HANDLER$|_X_AMZN|PATH$|LANG$|LC_|TZ$|LD_LIBRARY_PATH$|PYTHON|NODE_|PWD$|HOME$|SHLVL$|_$|HANSOM_|PORT$|OTHER$")


@attempt("find foreign variables in its environment")
def own_environment(e):
    names = set(os.environ)
    with open("/proc/self/environ", "rb") as f:
        names |= {v.split(b"=")[0].decode() for v in f.read().split(b"\0") if v}
    hits = [n for n in names if not OWN.match(n)]
    hits += [n for n, v in os.environ.items() if e["secret"] in v or e["data"] in v or "escape-victim" in v]
    return found(hits)


@attempt("find paths of other functions among its mounts")
def own_mounts(e):
    with open("/proc/self/mountinfo") as f:
        lines = f.read().splitlines()
    hits = [l for l in lines if e["project"] in l or e["otherDigest"] in l or " /old" in l]
    # One place each for code, layers and bootstraps.
    points = [l.split()[4] for l in lines]
    hits += [p for p in set(points) if points.count(p) > 2]
    return found(hits)


@attempt("find open files of others")
def own_files(e):
    hits = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            continue
        if not re.match(r"(pipe|socket|anon_inode):|/dev/(null|u?random)$|/proc/|/var/(task|runtime|lang)/", target):
            hits.append(fd + " " + target)
    sockets = [fd for fd in os.listdir("/proc/self/fd") if "socket:" in link(fd)]
    if len(sockets) > 1:
        hits.append("%d sockets" % len(sockets))
    return found(hits)


@attempt("find sockets of others in /proc/net")
def own_net(e):
    hits = []
    ports = {"%04X" % int(a.rsplit(":", 1)[1]) for a in e["tcp"]} | {"%04X" % e["otherPort"]}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with open("/proc/net/" + table) as f:
            hits += [l for l in f if ":" in l and l.split()[1].split(":")[-1] in ports]
    with open("/proc/net/unix") as f:
        hits += [l for l in f if "@" in l or "/" in l]
    with open("/proc/net/dev") as f:
        hits += [l for l in f if ":" in l and not re.match(r" *(lo|eth0):", l)]
    return found(hits)


@attempt("see the number of its process on the host")
def own_pid(e):
    with open("/proc/self/status") as f:
        pids = [l for l in f if l.startswith("NSpid:")]
    return ("ok", pids) if pids and len(pids[0].split()) > 2 else "none"


# The connection to the server.

def link(fd):
    try:
        return os.readlink("/proc/self/fd/" + fd)
    except OSError:
        return ""


def frame(kind, stream, body, length=None):
    return struct.pack("<IBBHQ", len(body) if length is None else length, kind, 0, 0, stream) + body


def write(data):
    for fd in os.listdir("/proc/self/fd"):
        if "socket:" in link(fd):
            os.write(int(fd), data)


def sent(data):
    def f(e):
        write(data)
        time.sleep(60)
    return f


attempt("send garbage to the server")(sent(b"\xff" * 4096))
attempt("send a frame of 4 GB to the server")(sent(frame(LOG, 1, b"", 0xFFFFFFFF)))
attempt("answer a call that is not its own")(sent(frame(RESULT, 1 << 40, b'"forged"')))
attempt("answer as another kind of frame")(sent(frame(250, 1, b"x")))


@attempt("flood the server with frames")
def frames(e):
    text = frame(LOG, 0, b"x" * 1000) * 60
    end = time.monotonic() + 3
    while time.monotonic() < end:
        write(text)
    return "sent"


@attempt("pass descriptors to the server")
def descriptors(e):
    for fd in os.listdir("/proc/self/fd"):
        if "socket:" in link(fd):
            s = socket.socket(fileno=os.dup(int(fd)))
            for _ in range(200):
                s.sendmsg([frame(LOG, 0, b"x")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0) * 200)])
            s.close()
    return "sent"


# Exhaustion.

@attempt("use up the memory")
def memory(e):
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))


@attempt("use up memory in many processes")
def memory_of_children(e):
    pids = []
    for _ in range(16):
        pid = os.fork()
        if pid == 0:
            hoard = []
            while len(hoard) < 64:
                hoard.append(b"x" * (1 << 20))
            time.sleep(60)
            os._exit(0)
        pids.append(pid)
    time.sleep(60)


@attempt("start processes without end")
def fork_bomb(e):
    while True:
        try:
            os.fork()
        except OSError:
            pass


@attempt("fill the disk")
def disk(e):
    try:
        with open("/tmp/full", "wb") as f:
            while True:
                f.write(bytes(1 << 20))
                f.flush()
    finally:
        os.remove("/tmp/full")


@attempt("spin")
def spin(e):
    while True:
        pass


@attempt("leave a process that ignores every signal")
def daemon(e):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(s, signal.SIG_IGN)
            os.execv("/bin/sleep", ["sleep", "1000"])
        os._exit(0)
    os.wait()
    return "left"


@attempt("print without end")
def print_forever(e):
    line = ("x" * 1023 + "\n").encode() * 64
    end = time.monotonic() + 3
    while time.monotonic() < end:
        os.write(1, line)
    return "printed"


# The server's APIs, over the listener inside.

def hmac256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def request(method, path, body=b"", service="lambda", credentials=None, host=None, when=None, headers=None):
    """The status and code of an answer to a request with a signature of version 4, or without when credentials is None."""
    base = os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    r = urllib.request.Request(base + path, data=body if method != "GET" else None, method=method, headers=dict(headers or {}))
    if credentials:
        key, secret, token = credentials
        now = (when or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
        region = os.environ["AWS_REGION"]
        scope = "%s/%s/%s/aws4_request" % (now[:8], region, service)
        signed = {"host": base.split("//")[1], "x-amz-date": now}
        if token:
            signed["x-amz-security-token"] = token
        for n, v in (headers or {}).items():
            signed[n.lower()] = v
        names = ";".join(sorted(signed))
        url, _, query = path.partition("?")
        url = url.replace("%", "%25")  # encoded once more, for all services but S3
        canonical = "\n".join([method, url, query, "".join("%s:%s\n" % (n, signed[n]) for n in sorted(signed)), names,
                               hashlib.sha256(body if method != "GET" else b"").hexdigest()])
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        k = hmac256(hmac256(hmac256(hmac256(("AWS4" + secret).encode(), now[:8]), region), service), "aws4_request")
        for n, v in signed.items():
            r.add_header(n, v)
        r.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (key, scope, names, hmac256(k, text).hex()))
    try:
        with urllib.request.urlopen(r, timeout=20) as resp:
            return ("ok", "%d %s" % (resp.status, resp.read(200)))
    except urllib.error.HTTPError as e:
        text = e.read().decode()
        code = e.headers.get("X-Amzn-Errortype", "")
        m = re.search(r'"(?:__type|code|Code)" *: *"([^"]+)"|<Code>([^<]+)', text)
        code = code.split(":")[0] or (m and (m[1] or m[2])) or ""
        return ("%d %s" % (e.code, code.rsplit("#")[-1])).strip(), text


def own():
    return [os.environ[n] for n in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]


def invocation(arn):
    return "/2015-03-31/functions/%s/invocations" % arn.replace(":", "%3A")


def changed(i, value=None):
    c = own()
    c[i] = value or c[i][:-4] + ("AAAA" if c[i][-4:] != "AAAA" else "BBBB")
    return c


FUNCTIONS = "/2015-03-31/functions/"
attempt("invoke without credentials")(lambda e: request("POST", invocation(e["own"]), b"{}"))
attempt("invoke with a wrong secret")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=changed(1)))
attempt("invoke with a forged token")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=changed(2)))
attempt("invoke without its token")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=own()[:2] + [""]))
attempt("invoke with a token of another session")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=own()[:2] + [e["credentials"][2]]))
attempt("invoke with an expired session")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=e["expired"]))
attempt("invoke with a signature of yesterday")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=own(), when=datetime.now(timezone.utc) - timedelta(days=1)))
attempt("invoke as the root of dev")(lambda e: request("POST", invocation(e["function"]), b"{}", credentials=["test", "guess", ""]))
attempt("invoke a function of another project")(lambda e: request("POST", invocation(e["function"]), b"{}", credentials=own()))
attempt("invoke a function of its project")(lambda e: request("POST", invocation(e["own"]), b'{"attempt":"none"}', credentials=own()))
attempt("invoke with stolen credentials of another project")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=e["credentials"]))
attempt("invoke with the session of a deleted function")(lambda e: request("POST", invocation(e["own"]), b"{}", credentials=e["deleted"]))
attempt("list functions")(lambda e: request("GET", FUNCTIONS, credentials=own()))
attempt("read the code of its project's functions")(lambda e: request("GET", FUNCTIONS + "hostile-go", credentials=own()))
attempt("read a function of another project")(lambda e: request("GET", FUNCTIONS + e["function"].replace(":", "%3A"), credentials=own()))
attempt("change its own configuration")(lambda e: request("PUT", FUNCTIONS + os.environ["AWS_LAMBDA_FUNCTION_NAME"] + "/configuration", b'{"MemorySize":3000}', credentials=own()))
attempt("delete itself")(lambda e: request("DELETE", FUNCTIONS + os.environ["AWS_LAMBDA_FUNCTION_NAME"], credentials=own()))
attempt("make a function")(lambda e: request("POST", FUNCTIONS, json.dumps({"FunctionName": "made", "Role": "arn:aws:iam::000000000000:role/x", "Code": {}}).encode(), credentials=own()))
attempt("permit others to call it")(lambda e: request("POST", FUNCTIONS + os.environ["AWS_LAMBDA_FUNCTION_NAME"] + "/policy", b'{"StatementId":"a","Action":"lambda:InvokeFunction","Principal":"*"}', credentials=own()))
attempt("take another role")(lambda e: request("POST", "/", b"Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::%s:role/escape&RoleSessionName=x" % e["project"].encode(), service="sts", credentials=own(), headers={"Content-Type": "application/x-www-form-urlencoded"}))
attempt("use the management API")(lambda e: request("GET", "/_hansom/v1/functions", service="hansom", credentials=own()))
attempt("list the projects")(lambda e: request("GET", "/_hansom/v1/projects", service="hansom", credentials=own()))
attempt("make an access key")(lambda e: request("POST", "/_hansom/v1/keys", b"{}", service="hansom", credentials=own()))
attempt("take a backup")(lambda e: request("GET", "/_hansom/v1/backup", service="hansom", credentials=own()))
attempt("read the metrics of the server")(lambda e: request("GET", "/_hansom/metrics"))
attempt("profile the server")(lambda e: request("GET", "/_hansom/debug/pprof/heap"))
attempt("download code without a signature")(lambda e: request("GET", "/_hansom/code/" + e["otherDigest"]))


def logs(action, body, credentials):
    return request("POST", "/", json.dumps(body).encode(), service="logs", credentials=credentials,
                   headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328." + action})


attempt("list groups of logs")(lambda e: logs("DescribeLogGroups", {}, own()))
attempt("read its own log")(lambda e: logs("GetLogEvents", {"logGroupName": "/aws/lambda/hostile-python", "logStreamName": "x"}, own()))
attempt("read a log of another project")(lambda e: logs("FilterLogEvents", {"logGroupIdentifier": "arn:aws:logs:us-east-1:%s:log-group:/aws/lambda/victim" % e["project"]}, own()))
attempt("delete a log")(lambda e: logs("DeleteLogGroup", {"logGroupName": "/aws/lambda/hostile-go"}, own()))


@attempt("hold the APIs' listener open")
def slow(e):
    host, port = os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566").split("//")[1].split(":")
    held = []
    for _ in range(500):
        s = socket.create_connection((host, int(port)), timeout=10)
        s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        held.append(s)
    globals()["held"] = held
    status = invoke_own(e)
    return ("held", status)


def invoke_own(e):
    return request("GET", FUNCTIONS, credentials=own())[0]


@attempt("send a body without end to the APIs")
def endless(e):
    host, port = os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566").split("//")[1].split(":")
    s = socket.create_connection((host, int(port)), timeout=10)
    s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % invocation(e["own"]).encode())
    block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    try:
        for _ in range(4000):
            s.sendall(block)
    except OSError:
        return "refused"
    return "ok"


@attempt("none")
def none(e):
    return "none"


@attempt("see how it was started")
def started(e):
    """A program that was bound or forked does not find its own name where the kernel keeps what a process was started with."""
    with open("/proc/self/cmdline", "rb") as f:
        if b"zygote" in f.read():
            return "forked"
    with open("/proc/self/environ", "rb") as f:
        return "booted" if b"AWS_LAMBDA_FUNCTION_NAME=" in f.read() else "bound"


@attempt("draw lots")
def lots(e):
    """What an instance draws, and what it sees of the files that others have made at the same time."""
    import random
    import uuid
    name = "/tmp/lot-%s" % uuid.uuid4()
    open(name, "w").close()
    time.sleep(1)  # so that each call has an instance of its own
    seen = [n for n in os.listdir("/tmp") if n.startswith("lot-")]
    os.remove(name)
    return "%s" % random.random(), " ".join(seen)


@attempt("victim")
def victim(e):
    """Holds what others would like to have: a secret, sockets, shared memory. And counts its calls."""
    global listeners
    if calls == 1:
        tcp = socket.create_server(("127.0.0.1", e["otherPort"]))
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + e["abstract"] + "-other")
        abstract.listen()
        listeners = [tcp, abstract]
        with open("/tmp/secret", "w") as f:
            f.write(os.environ.get("SECRET", ""))
        for args in (("shmget", e["key"], 4096), ("semget", e["key"], 1), ("msgget", e["key"])):
            call(*args, 0o1000 | 0o666)
        call("syscall", 240, b"escape", os.O_CREAT | os.O_RDWR, 0o666, None)
        print("the victim's line")
    return ("%d" % calls, json.dumps(own()))
