"""An HTTP model: the first argument is its mood."""
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

mood = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, text, kind="application/json"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.say(200 if self.path == "/ready" else 404, "{}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if mood == "csv":
            lines = body.split()
            return self.say(200, "y\n" + "".join("%g\n" % (2 * float(x)) for x in lines[1:]), "text/csv")
        request = json.loads(body)
        if mood == "fails":
            return self.say(500, json.dumps({"error_code": "BAD", "message": "no such column"}))
        if mood == "busy":
            return self.say(503, "{}")
        if mood == "dies":
            os._exit(7)
        if mood == "instances":
            assert request["mode"] == "fast", request
            answer = {"predictions": [2 * row["x"] for row in request["instances"]]}
        elif mood == "dataframe_split":
            split = request["dataframe_split"]
            assert split["columns"] == ["x"], split
            answer = {"predictions": [{"y": 2 * row[0]} for row in split["data"]]}
        elif mood == "columns":
            answer = {"predictions": {"y": [2 * x for x in request["columns"]["x"]]}}
        elif mood == "rows":
            answer = [2 * row["x"] for row in request["rows"]]
        elif mood == "v2":
            tensor = request["inputs"][0]
            assert tensor["datatype"] == "FP64" and tensor["shape"] == [len(tensor["data"])], tensor
            answer = {"model_name": "m", "outputs": [{
                "name": "output-0", "datatype": "FP64", "shape": tensor["shape"] + [1],
                "data": [2 * x for x in tensor["data"]]}]}
        self.say(200, json.dumps(answer))


HTTPServer(("127.0.0.1", int(os.environ["MM_PORT"])), Handler).serve_forever()
