package hansom.runtime;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads JSON (RFC 8259) to String, Boolean, null, List, Map, and numbers: Integer, Long, BigInteger, Double or, where it is exact only so, BigDecimal. */
final class Json {
    static final class Malformed extends RuntimeException {
        private static final long serialVersionUID = 1;

        Malformed(String message) {
            super(message);
        }
    }

    private static final int MAX_DEPTH = 1000;

    private final String s;
    private int at;
    private int depth;

    private Json(String s) {
        this.s = s;
    }

    static Object read(String text) {
        Json j = new Json(text);
        j.space();
        Object v = j.value();
        j.space();
        if (j.at < text.length()) {
            throw j.malformed("something follows the value");
        }
        return v;
    }

    private Malformed malformed(String why) {
        return new Malformed("the event is not JSON: " + why + " at character " + at);
    }

    private void space() {
        while (at < s.length() && " \t\r\n".indexOf(s.charAt(at)) >= 0) {
            at++;
        }
    }

    private char peek() {
        if (at >= s.length()) {
            throw malformed("it ends too early");
        }
        return s.charAt(at);
    }

    private void expect(String word) {
        if (!s.startsWith(word, at)) {
            throw malformed("unexpected text");
        }
        at += word.length();
    }

    private Object value() {
        switch (peek()) {
            case '{':
                return object();
            case '[':
                return array();
            case '"':
                return string();
            case 't':
                expect("true");
                return Boolean.TRUE;
            case 'f':
                expect("false");
                return Boolean.FALSE;
            case 'n':
                expect("null");
                return null;
            default:
                return number();
        }
    }

    private void enter() {
        at++;
        if (++depth > MAX_DEPTH) {
            throw malformed("it is nested too deeply");
        }
        space();
    }

    /** Returns whether another element follows. */
    private boolean more(char close) {
        space();
        char c = peek();
        at++;
        if (c == ',') {
            space();
            return true;
        }
        if (c != close) {
            at--;
            throw malformed("unexpected text");
        }
        depth--;
        return false;
    }

    private Map<String, Object> object() {
        Map<String, Object> m = new LinkedHashMap<>();
        enter();
        if (peek() == '}') {
            at++;
            depth--;
            return m;
        }
        do {
            if (peek() != '"') {
                throw malformed("unexpected text");
            }
            String name = string();
            space();
            expect(":");
            space();
            m.put(name, value());
        } while (more('}'));
        return m;
    }

    private List<Object> array() {
        List<Object> l = new ArrayList<>();
        enter();
        if (peek() == ']') {
            at++;
            depth--;
            return l;
        }
        do {
            l.add(value());
        } while (more(']'));
        return l;
    }

    private String string() {
        int start = ++at;
        StringBuilder b = null;
        for (;; at++) {
            char c = peek();
            if (c == '"') {
                String rest = s.substring(start, at++);
                return b == null ? rest : b.append(rest).toString();
            }
            if (c < ' ') {
                throw malformed("a control character in a string");
            }
            if (c != '\\') {
                continue;
            }
            if (b == null) {
                b = new StringBuilder();
            }
            b.append(s, start, at++);
            b.append(escaped());
            start = at + 1;
        }
    }

    private char escaped() {
        char c = peek();
        int i = "\"\\/bfnrt".indexOf(c);
        if (i >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(i);
        }
        int code = 0;
        for (int n = 0; c == 'u' && n < 4; n++) {
            at++;
            int digit = Character.digit(peek(), 16);
            if (digit < 0 || peek() > 'f') {
                throw malformed("a wrong escape");
            }
            code = code * 16 + digit;
        }
        if (c != 'u') {
            throw malformed("a wrong escape");
        }
        return (char) code;
    }

    private boolean digits() {
        int start = at;
        while (at < s.length() && s.charAt(at) >= '0' && s.charAt(at) <= '9') {
            at++;
        }
        return at > start;
    }

    private boolean skip(String any) {
        boolean found = at < s.length() && any.indexOf(s.charAt(at)) >= 0;
        if (found) {
            at++;
        }
        return found;
    }

    private Number number() {
        int start = at;
        skip("-");
        int first = at;
        boolean right = digits() && (s.charAt(first) != '0' || at == first + 1);
        boolean whole = true;
        if (right && skip(".")) {
            whole = false;
            right = digits();
        }
        if (right && skip("eE")) {
            whole = false;
            skip("+-");
            right = digits();
        }
        if (!right) {
            throw malformed("unexpected text");
        }
        String text = s.substring(start, at);
        if (whole) {
            if (text.length() < 10) {
                return Integer.valueOf(text);
            }
            BigInteger n = new BigInteger(text);
            if (n.bitLength() < 32) {
                return n.intValue();
            }
            return n.bitLength() < 64 ? (Number) n.longValue() : n;
        }
        double d = Double.parseDouble(text);
        return Double.isInfinite(d) ? (Number) new BigDecimal(text) : d;
    }

    /** Appends a string, quoted. */
    static void quote(StringBuilder b, String s) {
        b.append('"');
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            boolean lone = Character.isSurrogate(c);
            if (Character.isHighSurrogate(c) && i + 1 < s.length() && Character.isLowSurrogate(s.charAt(i + 1))) {
                b.append(c).append(s.charAt(++i));
                continue;
            }
            int short_ = "\"\\\b\f\n\r\t".indexOf(c);
            if (short_ >= 0) {
                b.append('\\').append("\"\\bfnrt".charAt(short_));
            } else if (c < ' ' || lone) {
                b.append(String.format("\\u%04x", (int) c));
            } else {
                b.append(c);
            }
        }
        b.append('"');
    }
}
