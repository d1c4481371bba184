import platform


def handler(event, context):
    name = (event.get("pathParameters") or event).get("name", "world")
    return {"message": f"Hello, {name}!", "runtime": f"Python {platform.python_version()}"}
