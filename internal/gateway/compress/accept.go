package compress

import "strings"

// coding of a body, in the order in which they are taken when a client has no preference: what costs least for what it saves first.
type coding int

const (
	zstdCoding coding = iota
	brotliCoding
	gzipCoding
	identity
)

var codingNames = [...][]string{{"zstd"}, {"br"}, {"gzip"}} // as header values, which have no room to append

// negotiate chooses the coding for a client with these Accept-Encoding headers (RFC 9110 section 12.5.3). What is malformed counts
// for nothing. There is no 406: a client that refuses identity too gets it.
func negotiate(values []string) coding {
	q := [...]int{-1, -1, -1, -1} // thousandths; -1 is not said
	rest := -1                    // of "*"
	for _, v := range values {
		for element := range strings.SplitSeq(v, ",") {
			name, parameters, _ := strings.Cut(element, ";")
			weight, ok := quality(parameters)
			if !ok {
				continue
			}
			switch name = strings.Trim(name, " \t"); {
			case strings.EqualFold(name, "zstd"):
				q[zstdCoding] = weight
			case strings.EqualFold(name, "br"):
				q[brotliCoding] = weight
			case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
				q[gzipCoding] = weight
			case strings.EqualFold(name, "identity"):
				q[identity] = weight
			case name == "*":
				rest = weight
			}
		}
	}
	best, most := identity, max(q[identity], 0)
	for c := zstdCoding; c < identity; c++ {
		weight := q[c]
		if weight < 0 {
			weight = rest
		}
		if weight > most || weight == most && weight > 0 && best == identity {
			best, most = c, weight
		}
	}
	return best
}

// quality reads ";q=0.5" without the semicolon, in thousandths; 1000 when there is none.
func quality(s string) (int, bool) {
	s = strings.Trim(s, " \t")
	if s == "" {
		return 1000, true
	}
	if len(s) < 3 || s[0] != 'q' && s[0] != 'Q' || s[1] != '=' {
		return 0, false
	}
	whole, fraction, _ := strings.Cut(s[2:], ".")
	if whole != "0" && whole != "1" || len(fraction) > 3 {
		return 0, false
	}
	n := 0
	for i := range 3 {
		n *= 10
		if i < len(fraction) {
			c := fraction[i]
			if c < '0' || c > '9' {
				return 0, false
			}
			n += int(c - '0')
		}
	}
	if whole == "1" {
		n += 1000
	}
	return n, n <= 1000
}

// compressible says whether bodies of a content type become smaller. Event streams do, but live for long and would keep an
// encoder's memory.
func compressible(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.Trim(t, " \t"))
	switch t {
	case "text/event-stream":
		return false
	case "application/json", "application/javascript", "application/x-javascript", "application/ecmascript", "application/xml", "application/wasm",
		"application/graphql", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/yaml", "application/x-yaml", "application/toml",
		"application/rtf", "application/x-sh", "application/vnd.ms-fontobject", "application/x-font-ttf",
		"font/ttf", "font/otf", "font/collection", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon":
		return true
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml") || strings.HasSuffix(t, "+yaml")
}
