"""A model that means harm. Each row is one attempt: a word, and what it is about."""

import os
import signal
import socket
import urllib.error
import urllib.request


def predict(rows):
    return [{"outcome": outcome(row["attempt"])} for row in rows]


def outcome(attempt):
    word, _, about = attempt.partition(" ")
    try:
        return "done: " + str(attempts[word](about))[:2000]
    except Exception as error:  # whatever stops it, that is the answer
        return "stopped: %s: %s" % (type(error).__name__, error)


def read(path):
    with open(path, "rb") as file:
        return file.read(4096).decode("utf-8", "replace")


def connect(address):
    host, port = address.rsplit(":", 1)
    socket.create_connection((host, int(port)), timeout=3).close()
    return "connected"


def get(url):
    method, url, token = (url.split(" ") + ["guessed"])[:3]
    request = urllib.request.Request(url, method=method, headers={"Authorization": "Bearer " + token})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def write(path):
    with open(path, "w") as file:
        file.write("was here")
    return "written"


def end(pid):
    os.kill(int(pid), signal.SIGKILL)
    os.kill(int(pid), 0)  # it is still there
    raise PermissionError("it lives")


attempts = {
    "nothing": lambda about: "nothing",
    "read": read,
    "list": lambda path: " ".join(os.listdir(path)),
    "environment": lambda about: " ".join(sorted(os.environ)),
    "connect": connect,
    "get": get,
    "write": write,
    "end": end,
    "root": lambda about: os.setuid(0),
}
