import os
import random
import secrets
import ssl
import tempfile
import uuid


def handler(event, context):
    draws = [str(random.random()), str(uuid.uuid4()), str(uuid.uuid1()), secrets.token_hex(), os.urandom(16).hex(), ssl.RAND_bytes(16).hex(), tempfile.mktemp()]
    return {"Name": os.environ["NAME"] + context.function_name, "Draws": draws}
