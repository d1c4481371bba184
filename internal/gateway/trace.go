package gateway

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// appendTraceParent appends the traceparent header (W3C Trace Context) of a trace as X-Amzn-Trace-Id has it; nothing when that has no
// root that can be one.
func appendTraceParent(b []byte, trace string) []byte {
	const made = len("Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0") // as Identify makes them
	if len(trace) == made && trace[:7] == "Root=1-" && trace[15] == '-' && trace[40:48] == ";Parent=" && trace[64:] == ";Sampled=0" &&
		isHex(trace[7:15]) && isHex(trace[16:40]) && isHex(trace[48:64]) {
		b = append(append(append(b, "00-"...), trace[7:15]...), trace[16:40]...)
		return append(append(append(b, '-'), trace[48:64]...), "-00"...)
	}
	root := traceField(trace, "Root=")
	if len(root) != 35 || root[:2] != "1-" || root[10] != '-' || !isHex(root[2:10]) || !isHex(root[11:]) {
		return b
	}
	b = append(append(append(b, "00-"...), root[2:10]...), root[11:]...)
	b = append(b, '-')
	if parent := traceField(trace, "Parent="); len(parent) == 16 && isHex(parent) {
		b = append(b, parent...)
	} else {
		b = fmt.Appendf(b, "%016x", rand.Uint64()|1) // not 0, which is none
	}
	if traceField(trace, "Sampled=") == "1" {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}

// traceOf is the trace that a traceparent header continues, as X-Amzn-Trace-Id has it; "" when the header is none.
func traceOf(traceparent string) string {
	p := strings.Split(traceparent, "-")
	if len(p) < 4 || len(p[0]) != 2 || p[0] == "ff" || p[0] == "00" && len(p) > 4 || len(p[1]) != 32 || len(p[2]) != 16 || len(p[3]) != 2 ||
		!isHex(p[0]+p[1]+p[2]+p[3]) || strings.Trim(p[1], "0") == "" || strings.Trim(p[2], "0") == "" {
		return ""
	}
	sampled := "0"
	if strings.IndexByte("13579bdf", p[3][1]) >= 0 {
		sampled = "1"
	}
	return "Root=1-" + p[1][:8] + "-" + p[1][8:] + ";Parent=" + p[2] + ";Sampled=" + sampled
}

func traceField(trace, name string) string {
	v, ok := strings.CutPrefix(trace, name)
	if !ok {
		_, v, ok = strings.Cut(trace, name)
	}
	if !ok {
		return ""
	}
	v, _, _ = strings.Cut(v, ";")
	return v
}

// isHex tells whether s has only lower-case hexadecimal digits.
func isHex(s string) bool {
	ok := true
	for i := range len(s) {
		ok = ok && hexadecimal[s[i]]
	}
	return ok
}

var hexadecimal = func() (t [256]bool) {
	for _, c := range "0123456789abcdef" {
		t[c] = true
	}
	return t
}()
