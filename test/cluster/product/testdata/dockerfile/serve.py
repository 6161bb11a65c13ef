"""Answers {"rows": [...]} with the predicted days."""
import http.server
import json
import os
import struct
import sys

with open(sys.argv[1], "rb") as source:
    base, distance, express = struct.unpack("<3d", source.read())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"ok")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        days = [base + distance * row["distance"] + express * row["express"] for row in asked["rows"]]
        self.answer(json.dumps({"predictions": [{"days": d} for d in days]}).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["MM_PORT"])), Handler).serve_forever()
