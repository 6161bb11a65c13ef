"""A worker in the protocol's simplest form, and in many bad moods: the first
argument says which."""
import json
import os
import signal
import subprocess
import sys
import time

mood = sys.argv[1]
requests, answers = os.fdopen(3, "rb"), os.fdopen(4, "wb", 0)


def say(message):
    answers.write(json.dumps(message).encode() + b"\n")


if mood == "dies-loading":
    sys.stderr.write("Traceback (most recent call last):\nModuleNotFoundError: No module named 'xgboost'\n")
    sys.exit(1)
if mood == "slow-loading":
    time.sleep(3600)
if mood == "silent":
    os.close(4)
    time.sleep(3600)
if mood == "ignores-sigterm":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mood == "garbage-loading":
    answers.write(b"hello, world\n")
    time.sleep(3600)
if mood == "odd-formats":
    say({"ready": True, "protocol": 1, "formats": ["xml"]})
    time.sleep(3600)
if mood == "dies-after-a-while":
    time.sleep(float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGSEGV)

say({"ready": True, "protocol": 1, "formats": ["rows"]})
hello = json.loads(requests.readline())

while True:
    line = requests.readline()
    if not line:
        break
    request = json.loads(line)
    rows, id = request["rows"], request["id"]
    good = {"id": id, "predictions": [{"y": 2 * row["x"]} for row in rows]}
    xs = [row["x"] for row in rows]
    if mood == "params":
        good["predictions"] = [{"y": hello["params"]["factor"] * row["x"]} for row in rows]
    elif mood == "crashes-on-13" and 13 in xs:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif mood == "fails-on-13" and 13 in xs:
        good = {"id": id, "error": "ValueError: thirteen"}
    elif mood == "refuses-13":
        good["predictions"] = [None if x == 13 else {"y": 2 * x} for x in xs]
        good["errors"] = [{"row": i, "message": "unlucky"} for i, x in enumerate(xs) if x == 13]
    elif mood == "hangs":
        time.sleep(3600)
    elif mood == "hangs-on-13" and 13 in xs:
        time.sleep(3600)
    elif mood == "retries":
        good = {"id": id, "error": "ConnectionError: feature store", "retry": True}
    elif mood == "eats-memory":
        hoard = bytearray(1 << 30)
        for i in range(0, len(hoard), 4096):
            hoard[i] = 1
        time.sleep(3600)
    elif mood == "child-eats-memory":
        subprocess.run([sys.executable, "-c", "x = b'x' * (1 << 30); import time; time.sleep(3600)"])
    elif mood == "floods":
        for _ in range(1000):
            sys.stdout.write("x" * 100000 + "\n")
        sys.stdout.flush()
    elif mood == "garbage":
        answers.write(b"\x00\xff nonsense\n")
        continue
    elif mood == "wrong-id":
        good["id"] = id + 1
    elif mood == "endless":
        while True:
            answers.write(b"x" * 65536)
    elif mood == "half":
        answers.write(b'{"id": 1, "predic')
        sys.exit(3)
    elif mood == "half-with-child":
        subprocess.Popen(["sleep", "3600"], pass_fds=[3, 4], start_new_session=True)
        answers.write(b'{"id": 1, "predic')
        sys.exit(3)
    elif mood == "too-many":
        good["predictions"].append({"y": 1})
    elif mood == "twice":
        say(good)
    elif mood == "exits-after-answer":
        say(good)
        sys.exit(0)
    elif mood == "forks":
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
        subprocess.Popen(["sleep", "3600"])
    elif mood == "slow":
        time.sleep(float(sys.argv[2]))
    elif mood == "not-reading":
        answers.write(b"")
    say(good)

if mood in ("ignores-sigterm",):
    time.sleep(3600)
