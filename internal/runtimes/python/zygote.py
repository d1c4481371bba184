"""The process from which Python functions are forked. It has imported what the bootstrap imports, and never runs a function's code.

The package comment of internal/sandbox/linux/zygote describes what it is asked. For each start it clones a process into a new pid
namespace; that one makes the other namespaces, forks the command, and becomes the init of the sandbox. The command waits until
the init has built the file system, gives up every right, and returns from serve.

What one start hands to it must not stay in its memory, where the function of the next one could read it.
"""

import ctypes
import gc
import os
import sys
from _socket import AF_UNIX, CMSG_SPACE, SOCK_SEQPACKET, SOCK_STREAM, socket, socketpair
from _struct import Struct

SOCKET, HOST, INIT = 4, 5, 6  # descriptors that it is started with: requests, the host's mount namespace, the init program
SERVER, NAMESPACE, PROGRAM, LOG, GATE = 240, 241, 242, 243, 244  # where it keeps these, its log, and the command its socket to the init
# Descriptors of a request. Up to THEIRS they are those of the init.
CONTROL, FRAMES, FREEZER, OUTPUT, THEIRS, GROUPS = 3, 4, 5, 7, 8, 9
MAX_FILES = 32
HAS_FRAMES, HAS_FREEZER, HAS_GROUP = 1, 2, 4  # flags of a request

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
CLONE_PARENT, INTO_CGROUP = 0x8000, 0x200000000
SYS_CLONE3 = 435  # on all architectures
SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, CAPBSET_DROP, SET_TIMERSLACK, SET_NO_NEW_PRIVS = 1, 4, 22, 24, 29, 38  # of prctl
INIT_SLACK = 1000000  # nanoseconds; the init takes it back
SECCOMP_MODE_FILTER, SIGKILL, EINVAL = 2, 9, 22
RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_NOFILE = 4, 6, 7
OOM_SCORE = b"500"  # as the init gives it to what it starts

U32 = Struct("<I")
THREE = Struct("<3I")
REPLY = Struct("<i")


def structure(name, **fields):
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


word = ctypes.c_uint64
CloneArgs = structure("CloneArgs", flags=word, pidfd=word, child_tid=word, parent_tid=word, exit_signal=word, stack=word, stack_size=word, tls=word, set_tid=word, set_tid_size=word, cgroup=word)
Limit = structure("Limit", current=ctypes.c_ulong, most=ctypes.c_ulong)
Filter = structure("Filter", length=ctypes.c_ushort, program=ctypes.c_char_p)
Rights = structure("Rights", version=ctypes.c_uint32, pid=ctypes.c_int)
NoRights = ctypes.c_uint32 * 6

libc = ctypes.PyDLL(None, use_errno=True)


def check(result, function, arguments):
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, "%s: %s" % (function.__name__, os.strerror(errno)))
    return result


def declare(name, *kinds):
    function = getattr(libc, name)
    function.argtypes = kinds
    function.restype = kinds[0] if name == "syscall" else ctypes.c_int
    function.errcheck = check
    return function


integer, long, pointer = ctypes.c_int, ctypes.c_long, ctypes.c_void_p
clone3 = declare("syscall", long, pointer, long)
setns = declare("setns", integer, integer)
unshare = declare("unshare", integer)
prctl = declare("prctl", integer, long, pointer, long, long)  # all five: the kernel looks at those that do not count
capset = declare("capset", pointer, pointer)
getrlimit = declare("getrlimit", integer, pointer)
setrlimit = declare("setrlimit", integer, pointer)


def serve(known):
    """Serves until the server closes the socket. Returns in each command that is forked, with its arguments.

    known are the names of the modules that the command shall find imported.
    """
    prctl(SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    os.dup2(2, LOG)
    for fd, kept in ((SOCKET, SERVER), (HOST, NAMESPACE), (INIT, PROGRAM)):
        os.dup2(fd, kept)
    os.closerange(CONTROL, SERVER)  # so that the files of a request get the numbers from CONTROL on
    server = socket(AF_UNIX, SOCK_SEQPACKET, 0, SERVER)
    request = bytearray(32)
    args = CloneArgs()
    for name in set(sys.modules) - known:
        if name[0] != "_":  # the function may have one of this name
            del sys.modules[name]
    gc.collect()
    gc.disable()
    gc.freeze()
    server.send(b"ready")
    while True:
        n, rights, _, _ = server.recvmsg_into([request], CMSG_SPACE(4 * MAX_FILES))
        if n == 0:
            os._exit(0)
        end = CONTROL + sum(len(data) // 4 for _, _, data in rights)
        args.flags = CLONE_PARENT | NEWPID
        size = 64
        if request[0] & HAS_GROUP:
            args.flags |= INTO_CGROUP
            args.cgroup = GROUPS
            size = ctypes.sizeof(args)
        try:
            pid = clone3(SYS_CLONE3, ctypes.addressof(args), size)
        except OSError as e:
            pid = -e.errno
        if pid == 0:
            try:
                server.detach()
                return become(request, end)
            except BaseException as e:
                os.write(LOG, b"cannot make a sandbox: %r\n" % str(e).encode())
                os._exit(1)
        os.closerange(CONTROL, end)
        server.send(REPLY.pack(pid))


def become(request, end):
    """Is process 1 of a pid namespace: becomes the sandbox's init. Returns in the command."""
    flags = request[0]
    if not flags & HAS_GROUP:
        for fd in range(GROUPS, end):
            os.write(fd, b"0")
    os.dup2(OUTPUT, 1)
    os.dup2(OUTPUT, 2)
    setns(NAMESPACE, NEWNS)
    unshare(NEWNS | NEWNET | NEWIPC | NEWUTS)
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    os.dup2(ours.detach(), GATE)
    os.dup2(theirs.detach(), THEIRS)
    if os.fork() == 0:
        try:
            return command(flags)
        except BaseException as e:
            os.write(GATE, b"F" + str(e).encode("utf-8", "replace"))
            os._exit(1)
    os.close(GATE)
    prctl(SET_TIMERSLACK, INIT_SLACK, 0, 0, 0)
    os.execve(PROGRAM, [b"hansom-init", bytes(request[1:]).rstrip(b"\0")], {b"GOMAXPROCS": b"2", b"GOGC": b"off", b"GODEBUG": b"asyncpreemptoff=1"})


def command(flags):
    """Becomes what the init would have started. The order matters: rights go last, and all of them before anything else runs."""
    if flags & HAS_FREEZER:
        os.write(FREEZER, b"0")
    unshare(NEWCGROUP)
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(fd, OOM_SCORE)
        os.close(fd)
    except OSError:
        pass  # a host that does not allow it does without
    if flags & HAS_FRAMES:
        os.dup2(FRAMES, 3)
    else:
        os.close(CONTROL)
    os.closerange(4, GATE)

    body = receive(U32.unpack(receive(4))[0])
    uid, files, processes = THREE.unpack_from(body)
    (directory,), at = strings(body, THREE.size, 1)
    arguments, at = strings(body, at)
    environment, at = strings(body, at)
    (program,), at = strings(body, at, 1)
    rlimit(RLIMIT_NOFILE, files)
    rlimit(RLIMIT_CORE, 0)
    if processes:
        rlimit(RLIMIT_NPROC, processes)
    try:
        for capability in range(64):
            prctl(CAPBSET_DROP, capability, 0, 0, 0)
    except OSError as e:
        if e.errno != EINVAL:  # the kernel's last one
            raise
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    header, none = Rights(0x20080522, 0), NoRights()
    capset(ctypes.addressof(header), ctypes.addressof(none))
    os.chdir(directory)
    os.setsid()
    prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(SET_DUMPABLE, 1, 0, 0, 0)  # as after an exec: the change of the user took /proc/self away
    seccomp = Filter(len(program) // 8, program)
    prctl(SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(seccomp), 0, 0)

    os.environb.clear()
    for entry in environment:
        name, _, value = entry.partition(b"=")
        os.environb[name] = value
    os.write(GATE, b"R" + U32.pack(os.getpid()))
    if os.read(GATE, 1):
        raise OSError("the init has more to say")  # it closes its end when it has given up its own rights
    os.close(GATE)
    gc.enable()
    return [os.fsdecode(a) for a in arguments]


def receive(n):
    data = bytearray(n)
    rest = memoryview(data)
    while rest:
        got = os.readv(GATE, [rest])
        if got == 0:
            os._exit(1)  # the init has ended
        rest = rest[got:]
    return data


def strings(body, at, count=None):
    """Decodes count strings, or as many as the number in front of them says."""
    if count is None:
        (count,) = U32.unpack_from(body, at)
        at += 4
    found = []
    for _ in range(count):
        (n,) = U32.unpack_from(body, at)
        at += 4 + n
        found.append(bytes(body[at - n : at]))
    return found, at


def rlimit(resource, n):
    limit = Limit()
    getrlimit(resource, ctypes.addressof(limit))
    limit.current = limit.most = min(n, limit.most)
    setrlimit(resource, ctypes.addressof(limit))
