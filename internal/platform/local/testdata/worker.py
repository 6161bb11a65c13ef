"""A worker of the conformance suite: it does what its params say."""
import json
import os
import sys
import time

params = json.loads(os.environ.get("MM_PARAMS", "{}"))
if params.get("load_error"):
    sys.exit("ImportError: " + params["load_error"])

requests, answers = os.fdopen(3, "r"), os.fdopen(4, "w")


def say(message):
    answers.write(json.dumps(message) + "\n")
    answers.flush()


say({"ready": True, "protocol": 1, "formats": ["rows"]})
requests.readline()  # what was chosen
for line in requests:
    request = json.loads(line)
    time.sleep(params.get("predict_time", 0) / 1e9)
    say({"id": request["id"], "predictions": [{"y": row["x"]} for row in request["rows"]]})
