package edge

import (
	"crypto/tls"
	"net/http"
	"time"
)

// Secure prepares h for ServeTLS: HTTP/2 and HTTP/1.1 with the limits of an edge. net/http ends connections whose clients reset more
// streams than it can serve, send headers without end, or do not take its answers to their pings.
func Secure(h *http.Server, c *tls.Config) {
	h.TLSConfig = c
	h.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: 128,
		SendPingTimeout:      30 * time.Second, // of silence, after which a client has to show that it is there
		WriteByteTimeout:     time.Minute,      // in which it has to take something
	}
}
