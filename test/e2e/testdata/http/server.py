# A plain Python server.
import http.server
import os


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer("GET " + self.path)

    def do_POST(self):
        self.answer("POST " + self.rfile.read(int(self.headers["Content-Length"])).decode())

    def answer(self, text):
        print("python answers")
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
