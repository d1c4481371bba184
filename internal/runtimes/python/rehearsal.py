"""What the bootstrap loads and calls for nobody while it waits for a function; see Runtime.rehearse."""


def handler(event, context):
    return event
