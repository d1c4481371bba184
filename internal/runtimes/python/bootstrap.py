"""The bootstrap of the Python runtimes: loads a handler and answers invocations that arrive as frames on fd 3.

The frames are described in the package comment of internal/frame; errors, context and log format are those of AWS Lambda's
own runtime. The interpreter is started without site (-S), and only modules that are part of it or cost nothing are imported:
json, logging and traceback would double the time that it takes to boot. They are loaded when they are needed.
"""

import builtins
import io
import os
import sys
import time
from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
from _struct import Struct
from _thread import RLock

PROTOCOL = 1
INIT, READY, INVOKE, RESULT, ERROR, LOG, PING, STOP = 1, 2, 3, 4, 5, 8, 11, 12  # the kinds of frames that are used here
F_INIT, F_FATAL = 1, 8
MAX_ANSWER = 6 * 1024 * 1024 + 100  # Lambda's own limit, in bytes
MAX_LOG = 256 * 1024  # bytes of one LOG frame
BUFFER = 64 * 1024
AHEAD = ("json", "logging", "datetime", "base64")  # modules that zygotes and blanks import
TRACE = "_X_AMZN_TRACE_ID"

HEADER = Struct("<IBBHQ")
U32 = Struct("<I")
I64 = Struct("<q")


class Fault(Exception):
    """An error that the runtime itself raises, named as Lambda names it."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = "Runtime." + kind
        self.trace = trace or []


class Channel:
    """The socket. Reads are blocking and into one buffer; writes are whole frames, one after the other."""

    def __init__(self):
        try:
            self.fd = os.dup2(3, 900, inheritable=False)  # out of the way of code that closes or reuses low descriptors
            os.close(3)
        except OSError:
            self.fd = 3
            os.set_inheritable(3, False)
        os.set_blocking(self.fd, True)
        self.forked = False
        self.stream = 0  # that logs belong to
        self.buffer = memoryview(bytearray(BUFFER))
        self.start = self.end = 0  # what has been read and not been used
        self.lock = RLock()
        self.busy = False  # in the middle of a frame
        self.backlog = []
        os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self):
        """The socket is the parent's: what a child logs goes to its standard output."""
        if not self.forked:  # a child's child does not have it
            self.forked = True
            os.close(self.fd)
        self.lock = RLock()
        self.busy = False
        self.backlog = []

    def send(self, kind, flags, stream, body):
        """Sends a frame. A signal handler may come here while its own thread does: its frame follows."""
        if self.forked:
            if kind == LOG:
                os.write(1, body + b"\n")
            return
        parts = [HEADER.pack(len(body), kind, flags, 0, stream), body]
        with self.lock:
            self.backlog.append(parts)
            while self.backlog and not self.busy:
                self.busy = True
                try:
                    while self.backlog:
                        self.write(self.backlog.pop(0))
                finally:
                    self.busy = False

    def write(self, parts):
        try:
            left = len(parts[0]) + len(parts[1])
            n = os.writev(self.fd, parts)
            if n < left:
                rest = memoryview(b"".join(parts))[n:]
                while rest:
                    rest = rest[os.write(self.fd, rest) :]
        except OSError:
            os._exit(1)  # the server is gone, or the program has closed the socket

    def log(self, message):
        """Sends one message, in several frames when it is long."""
        while len(message) > MAX_LOG:
            cut = MAX_LOG
            while cut > MAX_LOG - 4 and message[cut] & 0xC0 == 0x80:  # inside a character
                cut -= 1
            self.send(LOG, 0, self.stream, message[:cut])
            message = message[cut:]
        self.send(LOG, 0, self.stream, message)

    def receive(self):
        """Returns kind, stream and body of the next frame. The body is valid until the next call."""
        have = self.end - self.start
        if have < HEADER.size:
            if have:
                self.buffer[:have] = bytes(self.buffer[self.start : self.end])
            self.start, self.end = 0, have
            while self.end < HEADER.size:
                self.end += self.read(self.buffer[self.end :])
        length, kind, _, _, stream = HEADER.unpack_from(self.buffer, self.start)
        begin = self.start + HEADER.size
        have = self.end - begin
        if have >= length:
            self.start = begin + length
            return kind, stream, self.buffer[begin : self.start]
        if length <= BUFFER - begin:
            while self.end < begin + length:
                self.end += self.read(self.buffer[self.end :])
            self.start = begin + length
            return kind, stream, self.buffer[begin : self.start]
        body = memoryview(bytearray(length))
        body[:have] = self.buffer[begin : self.end]
        self.start = self.end = 0
        while have < length:
            have += self.read(body[have:])
        return kind, stream, body

    def read(self, into):
        try:
            n = os.readv(self.fd, [into])
        except OSError:
            n = 0
        if n == 0:
            os._exit(1)  # nobody is left to answer to
        return n


class Nobody:
    """Takes the place of the channel where nothing is to be sent."""

    forked = False

    def send(self, kind, flags, stream, body):
        pass


class LogStream(io.RawIOBase):
    """What lies below sys.stdout and sys.stderr: each line becomes a LOG frame."""

    def __init__(self, channel, fd):
        self.channel = channel
        self.fd = fd
        self.partial = b""

    def writable(self):
        return True

    def fileno(self):
        return self.fd

    def write(self, data):
        n = len(data)
        text = self.partial + bytes(data) if self.partial else bytes(data)
        lines = text.split(b"\n")
        self.partial = lines.pop()
        for line in lines:
            self.channel.log(line)
        if len(self.partial) > MAX_LOG:
            self.finish()
        return n

    def finish(self):
        """Sends a last line that has no end yet."""
        if self.partial:
            line, self.partial = self.partial, b""
            self.channel.log(line)


class Output:
    """sys.stdout or sys.stderr of the program."""

    def __init__(self, channel, fd):
        self.raw = LogStream(channel, fd)
        self.text = io.TextIOWrapper(io.BufferedWriter(self.raw, BUFFER), "utf-8", "backslashreplace", line_buffering=True)
        self.text.mode = "w"

    def finish(self):
        try:
            self.text.flush()
        except ValueError:
            pass  # closed by the program
        self.raw.finish()


# JSON. The functions of the json module's C part are used without the module, which takes as long to load as the interpreter.


class Scanner:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name):
        return float(name.replace("Infinity", "inf"))


scan = make_scanner(Scanner)


def loads(text):
    text = text.strip(" \t\n\r")
    try:
        value, end = scan(text, 0)
    except StopIteration as e:
        raise ValueError("Expecting value: char %d" % e.value) from None
    if end != len(text):
        raise ValueError("Extra data: char %d" % end)
    return value


class Decimals(Exception):
    """The value holds decimal.Decimal, for which the slower encoder is needed."""


def is_decimal(value):
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def refuse(value):
    if is_decimal(value):
        raise Decimals
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def dumps_decimals(value, encoder):
    """Encodes a value in which decimal.Decimal become numbers, digit by digit."""
    from json.encoder import _make_iterencode

    class Number(float):
        pass

    def default(value):
        if not is_decimal(value):
            refuse(value)
        if not value.is_finite():
            raise ValueError("Out of range float values are not JSON compliant")
        number = Number()
        number.digits = str(value)
        return number

    def floatstr(number):
        if isinstance(number, Number):
            return number.digits
        if number - number != 0:
            raise ValueError("Out of range float values are not JSON compliant")
        return float.__repr__(number)

    return "".join(_make_iterencode({}, default, encoder, None, floatstr, ": ", ", ", False, False, False)(value, 0))


def dumps(value, ascii):
    """Encodes a value as UTF-8. Lambda writes other characters than ASCII as they are from Python 3.12 on."""
    encoder = encode_basestring_ascii if ascii else encode_basestring
    try:
        text = "".join(make_encoder({}, refuse, encoder, None, ": ", ", ", False, False, False)(value, 0))
    except Decimals:
        text = dumps_decimals(value, encoder)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return dumps(value, True)


# The context.


class CognitoIdentity:
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]


class Client:
    __slots__ = ["installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"]


class ClientContext:
    __slots__ = ["custom", "env", "client"]


def fill(thing, values):
    for field in thing.__slots__:
        setattr(thing, field, values.get(field))
    return thing


class LambdaContext:
    """The second argument of a handler; its attributes are those of Lambda."""

    def __init__(self, channel, settings, request_id, deadline, arn, client_context, identity):
        self.aws_request_id = request_id
        self.log_group_name, self.log_stream_name, self.function_name, self.memory_limit_in_mb, self.function_version = settings
        self.invoked_function_arn = arn
        self.client_context = None
        if client_context:
            self.client_context = fill(ClientContext(), parse_part(client_context, "Client Context"))
            if self.client_context.client is not None:
                self.client_context.client = fill(Client(), self.client_context.client)
        self.identity = CognitoIdentity()
        values = parse_part(identity, "Cognito Identity") if identity else {}
        self.identity.cognito_identity_id = values.get("cognitoIdentityId")
        self.identity.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")
        self._epoch_deadline_time_in_ms = deadline
        self._channel = channel

    def get_remaining_time_in_millis(self):
        return max(self._epoch_deadline_time_in_ms - int(time.time() * 1000), 0)

    def log(self, msg):
        self._channel.log(str(msg).encode("utf-8", "backslashreplace"))

    def __repr__(self):
        return "LambdaContext([%s])" % ",".join("%s=%s" % (k, v) for k, v in vars(self).items() if k[0] != "_")


def parse_part(text, name):
    try:
        return loads(text)
    except Exception as e:
        raise Fault("LambdaContextUnmarshalError", "Unable to parse %s JSON: %s" % (name, e)) from None


# Errors.


def describe(error, request_id):
    """Returns Lambda's JSON object for an exception; the frames of this file before the first of the function are left out."""
    if isinstance(error, Fault):
        return {"errorMessage": str(error), "errorType": error.kind, "requestId": request_id, "stackTrace": error.trace}
    import traceback

    frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
    for i, f in enumerate(frames):
        if "/bootstrap.py" not in f[0]:
            frames = frames[i:]
            break
    try:
        message = str(error)
    except Exception as e:
        message = "the message of the exception could not be read: %r" % e
    return {"errorMessage": message, "errorType": type(error).__name__, "requestId": request_id, "stackTrace": traceback.format_list(frames)}


def report(error, as_json):
    """Returns the log message for an error object. As text, Lambda indents with no-break spaces."""
    if as_json:
        return dumps({"timestamp": timestamp(time.time()), "level": "ERROR", **error}, False)
    lines = ["[ERROR] " + error["errorType"] + (": " + error["errorMessage"] if error["errorMessage"] else ""), "Traceback (most recent call last):"]
    for entry in error["stackTrace"]:
        for line in entry.splitlines():
            text = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(text)) + text)
    return "\n".join(lines).encode("utf-8", "backslashreplace")


# Logging.


def timestamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%03dZ" % (seconds % 1 * 1000)


class LoggingFinder:
    """Gives the root logger Lambda's handler and format as soon as the program imports logging."""

    def __init__(self, runtime):
        self.runtime = runtime

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = LoggingLoader(spec.loader, self.runtime)
                return spec
        return None


class LoggingLoader:
    def __init__(self, loader, runtime):
        self.loader = loader
        self.runtime = runtime

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        set_up_logging(module, self.runtime)


def set_up_logging(logging, runtime):
    class LambdaLoggerHandler(logging.Handler):
        def emit(self, record):
            try:
                message = self.format(record)
            except Exception:
                self.handleError(record)
                return
            if message.endswith("\n"):
                message = message[:-1]
            runtime.channel.log(message.encode("utf-8", "backslashreplace"))

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = runtime.request_id
            return True

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    if runtime.json:
        handler.setFormatter(json_formatter(logging))
    else:
        handler.setFormatter(logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    if runtime.level in logging._nameToLevel:
        root.setLevel(runtime.level)


def json_formatter(logging):
    from json import JSONEncoder

    encode = JSONEncoder(ensure_ascii=False).encode
    own = {"name", "msg", "args", "levelname", "levelno", "pathname", "filename", "module", "exc_info", "exc_text", "stack_info", "lineno", "funcName", "created", "msecs", "relativeCreated", "thread", "threadName", "processName", "process", "aws_request_id"}

    class JsonFormatter(logging.Formatter):
        def format(self, record):
            level = min(50, max(0, record.levelno)) // 10 * 10
            fields = {"timestamp": timestamp(record.created), "level": logging.getLevelName(level), "message": record.getMessage(), "logger": record.name}
            if record.exc_info and record.exc_info[0]:
                import traceback

                kind, error, trace = record.exc_info
                fields["stackTrace"] = traceback.format_tb(trace)
                fields["errorType"] = kind.__name__
                fields["errorMessage"] = str(error)
            fields["requestId"] = record.aws_request_id
            if record.exc_info:
                fields["location"] = "%s:%s:%s" % (record.pathname, record.funcName, record.lineno)
            for name, value in vars(record).items():  # what the program gave as extra
                if name not in own and name not in fields and value is not None:
                    fields[name] = value
            return encode(fields)

    return JsonFormatter()


# The loop.


class Runtime:
    def __init__(self, ahead):
        self.channel = Channel()
        self.outputs = (Output(self.channel, 1), Output(self.channel, 2))
        self.request_id = ""
        self.trace = b""  # of the call, as os.environ has it
        self.handler = None
        self.settings = None
        self.ascii = True
        self.json = False  # the log's format
        self.level = ""
        self.ahead = ahead  # names of modules that were imported before the function was known

    def run(self):
        version = sys.version.split()[0].encode()
        self.channel.send(READY, 0, 0, bytes([PROTOCOL]) + U32.pack(len(version)) + version)
        if os.environ.pop("HANSOM_BLANK", None):
            self.rehearse()
        while True:
            kind, stream, body = self.channel.receive()
            if kind == INVOKE:
                self.invoke(stream, body)
            elif kind == INIT:
                self.init(body)
            elif kind == PING:
                self.channel.send(PING, 0, stream, b"")
            elif kind == STOP:
                return
            # CANCEL comes when the answer is on its way already: invocations are taken one by one. WINDOW is for streams.
            body.release()

    def flush(self):
        for output in self.outputs:
            output.finish()

    def init(self, body):
        handler, at = string(body, 0)
        root, at = string(body, at)
        (count,) = U32.unpack_from(body, at)
        at += 4
        for _ in range(count):
            name, at = string(body, at)
            os.environ[name], at = string(body, at)
        time.tzset()
        self.set_path(root)
        env = os.environ.get
        self.settings = [env("AWS_LAMBDA_" + name) for name in ("LOG_GROUP_NAME", "LOG_STREAM_NAME", "FUNCTION_NAME", "FUNCTION_MEMORY_SIZE", "FUNCTION_VERSION")]
        wanted = env("AWS_EXECUTION_ENV", "").rpartition("python3.")[2]
        self.ascii = (int(wanted) if wanted.isdigit() else sys.version_info[1]) < 12
        self.json = env("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self.level = env("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG")
        sys.stdout, sys.stderr = (output.text for output in self.outputs)
        if self.keep_ahead():
            logging = sys.modules["logging"]
            logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()
            set_up_logging(logging, self)
        else:
            sys.meta_path.insert(0, LoggingFinder(self))
        try:
            os.chdir(root)
            self.handler = load(handler or env("_HANDLER", ""))
        except Exception as e:
            error = describe(e, "")
            self.flush()
            self.channel.log(report(error, self.json))
            self.channel.send(ERROR, F_INIT | F_FATAL, 0, dumps(error, True))
            sys.exit(1)
        self.flush()
        self.channel.send(READY, F_INIT, 0, b"")

    def set_path(self, root):
        """Makes sys.path that of Lambda, with what the host has installed at its end."""
        version = "python%d.%d" % sys.version_info[:2]
        own = os.path.dirname(os.path.abspath(sys.argv[0]))
        path = [p for p in sys.path if p != own]
        extra = [p for p in os.environ.get("PYTHONPATH", "").split(":") if p and p not in path]
        installed = [sys.prefix + "/lib/" + version + "/site-packages"]
        if sys.prefix == "/usr":  # Debian's
            installed = ["/usr/local/lib/" + version + "/dist-packages", "/usr/lib/python3/dist-packages"]
        layers = os.environ.pop("HANSOM_OPT", "/opt") + "/python"  # set where nothing can be mounted
        sys.path[:] = [root, layers + "/lib/" + version + "/site-packages", layers] + extra + path + installed
        sys.argv[:] = ["/var/runtime/bootstrap.py"]

    def rehearse(self):
        """Imports what most functions do, and loads and calls a handler of its own, while no function is known yet."""
        self.ahead |= import_ahead()
        channel, self.channel = self.channel, Nobody()
        self.settings = [""] * 5
        self.handler = load("rehearsal.handler")
        self.invoke(0, memoryview(bytes(8 + 5 * 4) + b"{}"))
        del sys.modules["rehearsal"]
        self.channel, self.handler = channel, None

    def keep_ahead(self):
        """Says whether modules were imported ahead. They are forgotten when the function brings one of that name."""
        roots = {name.partition(".")[0] for name in self.ahead}
        for folder in sys.path[:3] if roots else ():
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            if not roots.isdisjoint({name.partition(".")[0] for name in names}):
                for name in self.ahead:
                    sys.modules.pop(name, None)
                return False
        return bool(roots)

    def set_trace(self, trace):
        """Puts the trace into os.environ and not into the environment behind it: the C library keeps every value that a variable
        ever had. Copies of os.environ have it; a child process has it when it is given one."""
        variables = getattr(os.environ, "_data", os.environ)  # the program may have made itself another os.environ
        name, value = (TRACE, trace) if variables is os.environ else (os.fsencode(TRACE), os.fsencode(trace))
        if variables.get(name, value[:0]) != self.trace:  # it was there before the first call, or the program has set it
            os.environ.pop(TRACE, None)
        self.trace = value
        if trace:
            variables[name] = value
        else:
            variables.pop(name, None)

    def invoke(self, stream, body):
        channel = self.channel
        (deadline,) = I64.unpack_from(body, 0)
        request_id, at = string(body, 8)
        arn, at = string(body, at)
        trace, at = string(body, at)
        client_context, at = string(body, at)
        identity, at = string(body, at)
        channel.stream = stream
        self.request_id = request_id
        self.set_trace(trace)
        try:
            context = LambdaContext(channel, self.settings, request_id, deadline, arn, client_context, identity)
            try:
                event = loads(str(body[at:], "utf-8", "replace"))
            except Exception as e:
                raise Fault("UnmarshalError", "Unable to unmarshal input: %s" % e) from None
            value = self.handler(event, context)
            if channel.forked:
                os._exit(0)  # a fork of the program's that has come out of the handler: the answer is not its to give
            if isinstance(value, bytes):
                result = value
            else:
                try:
                    result = dumps(value, self.ascii)
                except Exception as e:
                    raise Fault("MarshalError", "Unable to marshal response: %s" % e) from None
            if len(result) > MAX_ANSWER:
                error = {"errorMessage": "Response payload size exceeded maximum allowed payload size (%d bytes)." % MAX_ANSWER, "errorType": "Function.ResponseSizeTooLarge", "requestId": request_id, "stackTrace": []}
            else:
                error = None
        except Exception as e:
            if channel.forked:
                os._exit(1)
            error = describe(e, request_id)
        self.flush()
        if error is None:
            channel.send(RESULT, 0, stream, result)
        else:
            channel.log(report(error, self.json))
            channel.send(ERROR, 0, stream, dumps(error, True))


def import_ahead():
    """Imports what most functions do, and returns the names of the modules that were not there before."""
    before = set(sys.modules)
    for name in AHEAD:
        load(name + ".__name__")
    return set(sys.modules) - before


def string(body, at):
    (n,) = U32.unpack_from(body, at)
    at += 4
    return str(body[at : at + n], "utf-8", "replace"), at + n


def load(handler):
    """Returns the function that a handler string such as "folder/module.function" names."""
    try:
        name, function = handler.rsplit(".", 1)
    except ValueError as e:
        raise Fault("MalformedHandlerName", "Bad handler '%s': %s" % (handler, e)) from None
    try:
        if name.split(".")[0] in sys.builtin_module_names:
            raise Fault("BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % name)
        module = sys.modules["_frozen_importlib"]._gcd_import(name.replace("/", "."))
    except ImportError as e:
        raise Fault("ImportModuleError", "Unable to import module '%s': %s" % (name, e)) from None
    except SyntaxError as e:
        raise Fault("UserCodeSyntaxError", "Syntax error in module '%s': %s" % (name, e), ['  File "%s" Line %s\n    %s' % (e.filename, e.lineno, e.text)]) from None
    try:
        return getattr(module, function)
    except AttributeError:
        raise Fault("HandlerNotFound", "Handler '%s' missing on module '%s'" % (function, name)) from None


def set_up_builtins():
    """Adds what the interpreter's site module adds."""
    import _sitebuiltins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()


if __name__ == "__main__":
    set_up_builtins()
    ahead = set()
    if sys.argv[1:]:  # a zygote: what follows runs in what it forks
        ahead = import_ahead()
        known = set(sys.modules)
        __import__(sys.argv.pop()).serve(known)
    runtime = Runtime(ahead)
    try:
        runtime.run()
    finally:
        runtime.flush()
