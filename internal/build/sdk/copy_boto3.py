# Copies boto3 and every module that comes in with it to the folder argv[1], and prints versions as JSON. At the end it imports
# the copy where nothing else but the standard library is.
import sys

if sys.path[0] == "":  # the folder in which the command runs, which may have a boto3.py of its own
    del sys.path[0]
before = set(sys.modules)

import json
import os
import re
import shutil
import subprocess
import sysconfig

USE = """
import boto3
boto3.client("sts", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
import boto3.s3.transfer
"""
target = sys.argv[1]
for name in ("awscrt", "OpenSSL", "cryptography"):  # boto3 does without, and they are large and of one interpreter
    sys.modules[name] = None
try:
    exec(USE)
except ImportError as error:
    sys.exit(str(error))

standard = tuple(os.path.realpath(sysconfig.get_path(p)) + os.sep for p in ("stdlib", "platstdlib"))
copied = {}


def copy(name):
    module = sys.modules[name]
    origin = getattr(module, "__file__", None)
    path = os.path.realpath(origin or "")
    if not origin or path.startswith(standard) and "-packages" + os.sep not in path:
        return
    copied[name] = module
    if os.path.basename(origin) == "__init__.py":  # six has a path without being a folder
        shutil.copytree(os.path.dirname(origin), os.path.join(target, name), ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copy(origin, target)


for name in sorted({m.partition(".")[0] for m in set(sys.modules) - before if sys.modules[m]}):
    copy(name)
trial = "import sys\nsys.path.insert(0, sys.argv[1])\n" + USE
while True:
    attempt = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", trial, target], stderr=subprocess.PIPE)
    if attempt.returncode == 0:
        break
    lines = attempt.stderr.decode(errors="replace").strip().splitlines() or ["it ended with %d" % attempt.returncode]
    missing = re.search(r"No module named '(\w+)", lines[-1])
    if missing and missing.group(1) in before - set(copied):  # it was there before boto3 asked for it
        copy(missing.group(1))
    if not missing or missing.group(1) not in copied:
        sys.exit("boto3 cannot be imported from its copy: " + lines[-1])
print(json.dumps({name: copied[name].__version__ for name in ("boto3", "botocore")}))
