"""A web server on loopback that knows ranges, as GDAL asks for them. Arguments: a folder. Prints its port first."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Ranges(BaseHTTPRequestHandler):
    """Files of one folder; what stands behind a `?` is taken as a signature and not looked at."""

    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.folder / urlsplit(self.path).path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        first, last = 0, len(data) - 1
        ranged = self.headers.get("Range", "").removeprefix("bytes=")
        if ranged:
            first, last = (int(part or last) for part in ranged.split("-"))
        part = data[first : last + 1]
        self.send_response(206 if ranged else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Ranges.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    print(server.server_port, flush=True)
    server.serve_forever()
