import os
import subprocess
import sys
import time


def listed(folder):
    try:
        return sorted(folder + "/" + f for f in os.listdir(folder))
    except OSError as e:
        return [folder + " " + type(e).__name__]


def optional(f):
    try:
        return f()
    except Exception as e:
        return repr(e)


def layered():
    import layered

    return layered.value


def handler(event, context):
    import base64
    import json
    import locale
    import logging
    import random

    files = [f for folder in ("/var/task", "/opt", "/tmp") for f in listed(folder)]
    if "write" in event:
        with open("/tmp/" + event["write"], "w") as f:
            f.write(event["write"])
    with open("/proc/self/environ") as f:
        initial = [e.split("=")[0] for e in f.read().split("\0")]
    return {
        "Env": dict(os.environ),
        "Values": {
            "cwd": os.getcwd(), "argv": sys.argv, "path": sys.path, "zone": time.tzname, "local": time.asctime(time.localtime(0)), "flags": str(sys.flags), "layered": optional(layered),
            "tool": optional(lambda: subprocess.check_output(["tool"]).decode()), "child": optional(lambda: subprocess.check_output(["/bin/sh", "-c", "echo $OWN $TZ"]).decode()),
            "encoding": [sys.getfilesystemencoding(), sys.stdout.encoding, locale.getlocale()], "builtins": sorted(dir(__builtins__)) if not isinstance(__builtins__, dict) else sorted(__builtins__),
            "recursion": sys.getrecursionlimit(), "root": str(logging.getLogger().handlers), "meta": [type(f).__name__ for f in sys.meta_path], "threads": len(sys._current_frames()),
            "own": open("own.txt").read(), "executable": sys.executable, "seeded": random.random() != 0.5, "orig": sys.orig_argv,
            "base64": base64.value, "json": json.__file__, "log": json.dumps(repr(logging.getLogger("x").getEffectiveLevel())),
        },
        "Files": files,
        "Initial": initial,
    }
