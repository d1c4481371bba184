import os
import platform


def handler(event, context):
    name = (event.get("pathParameters") or event).get("name", "world")
    print("greeting", name)
    return {"message": f"{os.environ['GREETING']}, {name}!", "runtime": f"Python {platform.python_version()}"}
