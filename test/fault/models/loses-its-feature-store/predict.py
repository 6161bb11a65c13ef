import os
import socket

host, port = os.environ["FEATURE_STORE"].rsplit(":", 1)


def predict(rows: list):
    with socket.create_connection((host, int(port)), timeout=5) as store:
        factor = float(store.makefile().readline())
    return [{"y": factor * row["x"]} for row in rows]
