package hansom.runtime;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** A connection to the Lambda Runtime API, which is on the same machine. HTTP by hand: java.net.http takes long to load. */
final class Api {
    static final class Answer {
        int status;
        /** By name in lower case. */
        final Map<String, String> headers = new TreeMap<>();
        byte[] body;
    }

    private final String address;
    private final InputStream in;
    private final OutputStream out;

    Api(String address) throws IOException {
        this.address = address;
        int colon = address.lastIndexOf(':');
        Socket socket = new Socket(address.substring(0, colon), Integer.parseInt(address.substring(colon + 1)));
        socket.setTcpNoDelay(true);
        in = new BufferedInputStream(socket.getInputStream(), 64 << 10);
        out = socket.getOutputStream();
    }

    Answer next() throws IOException {
        Answer a = request("GET", "invocation/next", null, null, null);
        if (a.status != 200) {
            throw new IOException("the Runtime API answered " + a.status + ": " + new String(a.body, StandardCharsets.UTF_8));
        }
        return a;
    }

    void post(String path, byte[] body, String type, String errorType) throws IOException {
        Answer a = request("POST", path, body, type, errorType);
        if (a.status >= 300) {
            System.err.println("The Runtime API answered " + a.status + ": " + new String(a.body, StandardCharsets.UTF_8));
        }
    }

    private Answer request(String verb, String path, byte[] body, String type, String errorType) throws IOException {
        StringBuilder head = new StringBuilder(256);
        head.append(verb).append(" /2018-06-01/runtime/").append(path).append(" HTTP/1.1\r\nHost: ").append(address).append("\r\n");
        if (type != null) {
            head.append("Content-Type: ").append(type).append("\r\n");
        }
        if (errorType != null) {
            head.append("Lambda-Runtime-Function-Error-Type: ").append(errorType).append("\r\n");
        }
        if (body != null) {
            head.append("Content-Length: ").append(body.length).append("\r\n");
        }
        byte[] start = head.append("\r\n").toString().getBytes(StandardCharsets.UTF_8);
        int length = body == null ? 0 : body.length;
        byte[] whole = new byte[start.length + length];
        System.arraycopy(start, 0, whole, 0, start.length);
        if (body != null) {
            System.arraycopy(body, 0, whole, start.length, length);
        }
        out.write(whole);
        return answer();
    }

    private Answer answer() throws IOException {
        Answer a = new Answer();
        a.status = Integer.parseInt(line().split(" ", 3)[1]);
        for (String line = line(); !line.isEmpty(); line = line()) {
            int colon = line.indexOf(':');
            a.headers.put(line.substring(0, colon).toLowerCase(Locale.ROOT), line.substring(colon + 1).trim());
        }
        if (a.headers.containsKey("transfer-encoding")) {
            ByteArrayOutputStream body = new ByteArrayOutputStream();
            for (int size = Integer.parseInt(line(), 16); size > 0; size = Integer.parseInt(line(), 16)) {
                body.write(exactly(size));
                line();
            }
            line();
            a.body = body.toByteArray();
        } else {
            a.body = exactly(Integer.parseInt(a.headers.getOrDefault("content-length", "0")));
        }
        return a;
    }

    private byte[] exactly(int n) throws IOException {
        byte[] b = in.readNBytes(n);
        if (b.length < n) {
            throw new EOFException("the Runtime API is gone");
        }
        return b;
    }

    private String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream(80);
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0) {
                throw new EOFException("the Runtime API is gone");
            }
            if (c != '\r') {
                line.write(c);
            }
        }
        return new String(line.toByteArray(), StandardCharsets.UTF_8);
    }
}
