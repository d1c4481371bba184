package hansom

import (
	"math/rand/v2"
	"strings"
)

// AppendTraceParent appends the traceparent header (W3C Trace Context) of a trace as X-Amzn-Trace-Id has it; nothing when that has no
// root that can be one.
func AppendTraceParent(b []byte, trace string) []byte {
	root := traceField(trace, "Root=")
	if len(root) != 35 || root[:2] != "1-" || root[10] != '-' || !isHex(root[2:10]) || !isHex(root[11:]) {
		return b
	}
	b = append(append(append(b, "00-"...), root[2:10]...), root[11:]...)
	b = append(b, '-')
	if parent := traceField(trace, "Parent="); len(parent) == 16 && isHex(parent) {
		b = append(b, parent...)
	} else {
		b = appendHex(b, rand.Uint64(), 16)
	}
	if traceField(trace, "Sampled=") == "1" {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}

// TraceOf is the trace that a traceparent header continues, as X-Amzn-Trace-Id has it; "" when the header is none.
func TraceOf(traceparent string) string {
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
	_, v, ok := strings.Cut(trace, name)
	if !ok {
		return ""
	}
	v, _, _ = strings.Cut(v, ";")
	return v
}

// isHex tells whether s has only lower-case hexadecimal digits.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
