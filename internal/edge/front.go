package edge

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
)

// maxFields is the most header fields of a request.
const maxFields = 256

// Front is what requests of the public meet before all other handlers. It settles who asks for what (see Proxies), refuses what
// two readers might take differently, and holds clients to a pace. Handlers behind it may rely on this:
//
//   - r.RemoteAddr is the client's address, r.Host a valid host, r.TLS not nil when the client uses https.
//   - r.RequestURI is a path with its query, as it came; r.URL.Path is decoded once.
//   - There are no X-Forwarded headers, no Forwarded, and no header that Connection names; Connection itself and the headers of
//     upgrades and trailers are there.
//   - A body that comes too slowly ends with an error of kind Timeout; a write that the client does not take ends after a minute.
type Front struct {
	Next    http.Handler
	Proxies Proxies
	// HSTS is the Strict-Transport-Security header of answers over a TLS connection of this server; "" for none.
	HSTS string
	// Redirect sends plain requests to the same address over https, at HTTPSPort; 0 is the usual one.
	Redirect  bool
	HTTPSPort int

	pace pace // of tests; the zero value is the usual one
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if hansom.FiberOf(r.Context()) == nil {
		f.guard(w, r)
		return
	}
	// A loop has read it: nothing is odd about it, and it keeps the pace itself.
	f.Proxies.forward(r)
	f.serve(w, r)
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request) {
	if f.Redirect && r.TLS == nil {
		host, _ := splitHost(r.Host)
		if f.HTTPSPort != 0 && f.HTTPSPort != 443 {
			host += ":" + strconv.Itoa(f.HTTPSPort)
		}
		w.Header()["Location"] = []string{"https://" + host + r.RequestURI}
		refuse(w, http.StatusPermanentRedirect, "Permanent Redirect")
		return
	}
	f.Next.ServeHTTP(w, r)
}

// guard serves a request that net/http has read.
func (f *Front) guard(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0 && !lengthless(r.Context())) {
		// There may have been a Content-Length beside the Transfer-Encoding, or a Transfer-Encoding in HTTP/1.0: what follows on
		// the connection may be something else to a proxy (RFC 9112 section 6.1).
		w.Header()["Connection"] = []string{"close"}
	}
	if status := check(r); status != 0 {
		if r.ProtoMajor == 1 {
			w.Header()["Connection"] = []string{"close"}
		}
		refuse(w, status, http.StatusText(status))
		return
	}
	hsts := ""
	if r.TLS != nil {
		hsts = f.HSTS
	}
	r = shallow(r)
	f.Proxies.forward(r)
	dropNamed(r.Header)
	g := newGuard(w, r, hsts, f.pace.usual())
	f.serve(g, r)
	g.end()
}

// shallow is a request of our own: net/http looks at the body of its own one once more.
func shallow(r *http.Request) *http.Request {
	own := *r
	return &own
}

// check says how a request is refused, 0 for not at all, and turns an absolute target into one with a path alone.
func check(r *http.Request) int {
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > maxFields {
		return http.StatusRequestHeaderFieldsTooLarge
	}
	if r.Method == http.MethodConnect || r.URL.User != nil || !validHost(r.Host) {
		return http.StatusBadRequest
	}
	if _, rest, absolute := strings.Cut(r.RequestURI, "://"); absolute && r.RequestURI[0] != '/' { // RFC 9112 section 3.2.2
		target := "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			if target = rest[i:]; target[0] == '?' {
				target = "/" + target
			}
		}
		r.RequestURI = target
		r.URL.Scheme, r.URL.Host = "", ""
		if r.URL.Path == "" {
			r.URL.Path = "/"
		}
	}
	if r.RequestURI == "" || r.RequestURI[0] != '/' {
		return http.StatusBadRequest
	}
	return 0
}

// validHost accepts what a Host header may be (RFC 9110 section 7.2) but for an empty name, with a port that there can be.
func validHost(s string) bool {
	name, port := splitHost(s)
	switch {
	case name == "" || strings.ContainsAny(name, "@/\\?#"):
		return false
	case name[0] == '[':
		_, ok := parseNode(name)
		return ok && validPort(port)
	}
	return !strings.Contains(name, ":") && validPort(port)
}

// splitHost cuts the port off a host, with its colon.
func splitHost(s string) (name, port string) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && i > strings.LastIndexByte(s, ']') {
		return s[:i], s[i:]
	}
	return s, ""
}

// validPort accepts "", ":", and ":1" to ":65535".
func validPort(s string) bool {
	if len(s) < 2 {
		return true
	}
	n := 0
	for _, c := range []byte(s[1:]) {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = 10*n + int(c-'0')
	}
	return n > 0 && n <= 65535
}

// dropNamed removes the headers that Connection names (RFC 9110 section 7.6.1), but for those that upgrades and trailers need.
func dropNamed(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			switch name = textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t")); name {
			case "Connection", "Upgrade", "Te", "Trailer", "Keep-Alive":
			default:
				delete(h, name)
			}
		}
	}
}

// refuse answers as HTTP APIs do.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"message":"` + message + `"}`))
}
