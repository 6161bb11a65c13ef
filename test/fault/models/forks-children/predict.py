import os
import subprocess
import sys

# The home folder is named, so that whoever looks for what was left behind finds it.
helper = [sys.executable, "-c", "import time; time.sleep(86400)", os.environ["HOME"]]


def predict(rows: list):
    subprocess.Popen(helper)
    subprocess.Popen(helper, start_new_session=True)
    subprocess.Popen(helper, start_new_session=True, env={}, cwd="/", close_fds=False)
    return [{"y": 2 * row["x"]} for row in rows]
