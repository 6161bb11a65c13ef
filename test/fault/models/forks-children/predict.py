import os
import subprocess
import sys

# The home folder is named, so that whoever looks for what was left behind finds it.
helper = [sys.executable, "-S", "-c", "import time; time.sleep(86400)", os.environ["HOME"]]
helpers = []


def predict(rows: list):
    if not helpers:
        helpers.append(subprocess.Popen(helper))
        helpers.append(subprocess.Popen(helper, start_new_session=True))
        helpers.append(subprocess.Popen(helper, start_new_session=True, env={}, cwd="/", close_fds=False))
    return [{"y": 2 * row["x"]} for row in rows]
