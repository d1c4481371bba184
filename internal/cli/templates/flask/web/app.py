import os
import platform

from flask import Flask
from waitress import serve

app = Flask(__name__)


@app.get("/")
@app.get("/hello/<name>")
def hello(name="world"):
    return {"message": f"Hello, {name}!", "runtime": f"Python {platform.python_version()}"}


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(os.environ["PORT"]), threads=16)
