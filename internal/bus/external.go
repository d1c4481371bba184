package bus

import (
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hansomcloud/hansom"
)

// idFile names the logs of a data directory on an external NATS.
const idFile = "id"

// retryWait is how long it takes between attempts to reach an external NATS again.
const retryWait = 250 * time.Millisecond

// CheckURL says what is wrong with Config.URL. Error: Invalid.
func CheckURL(text string) error {
	_, _, err := parseURL(text)
	return err
}

// parseURL splits off how many replicas streams have, one unless the query says so.
func parseURL(text string) (address string, replicas int, err error) {
	const form = "it must be nats://USER:PASSWORD@HOST:PORT or tls://..., and may end with ?replicas=3"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", 0, hansom.Errorf(hansom.Invalid, "check NATS URL", "the URL of NATS cannot be used; %s", form) // without it, for its password
	}
	replicas = 1
	for key, values := range u.Query() {
		if replicas, err = strconv.Atoi(values[0]); key != "replicas" || err != nil || replicas < 1 || replicas > 5 {
			return "", 0, hansom.Errorf(hansom.Invalid, "check NATS URL", "the query of the URL of NATS cannot be used; %s", form)
		}
	}
	u.RawQuery = ""
	return u.String(), replicas, nil
}

// openExternal connects to Config.URL in place of a server in the process. Logs are named by the id of the data directory there.
func (b *Bus) openExternal() error {
	const op = "open bus"
	address, replicas, err := parseURL(b.cfg.URL)
	if err != nil {
		return err
	}
	id, err := readID(filepath.Join(b.cfg.Dir, idFile))
	if err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if _, err := os.Stat(b.accountDir("")); err == nil {
		b.logger.Warn("the data directory has a message log of its own, which is not looked at; messages in it wait until the server runs without --nats-url", "folder", b.accountDir(""))
	}
	b.names, b.subjects, b.replicas = "hansom-"+id+"-", "hansom."+id+".", replicas
	// What cannot be sent at once is refused: a record that was given up must not be stored later.
	b.conn, err = nats.Connect(address, nats.Name("hansom"), nats.Timeout(startTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(retryWait), nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.logger.Error("NATS does not answer; messages are refused until it does", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.logger.Info("NATS answers again") }))
	if err != nil {
		return hansom.Errorf(hansom.Unavailable, op, "NATS cannot be reached: %w; check --nats-url", err)
	}
	if n := b.conn.MaxPayload(); n < MaxPayload {
		return hansom.Errorf(hansom.Invalid, op, "NATS takes messages of at most %d bytes; set its max_payload to %d", n, MaxPayload)
	}
	return nil
}

// readID reads the id in a file, which it makes when it is not there.
func readID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text = []byte(strings.ToLower(rand.Text()[:16]))
		if err = os.WriteFile(path+".new", text, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	return string(text), err
}

// changes is where servers on one NATS tell each other that a database has changed.
const changes = "hansom.changes"

// OnNotice calls f when another server has called Notify. It does nothing where the NATS is this process's own.
func (b *Bus) OnNotice(f func()) error {
	if b.server != nil {
		return nil
	}
	if _, err := b.conn.Subscribe(changes, func(m *nats.Msg) {
		if string(m.Data) != b.names {
			f()
		}
	}); err != nil {
		return failed("listen for changes", err)
	}
	return nil
}

// Notify tells the other servers that there are changes to read. They look now and then too: what gets lost only takes longer.
func (b *Bus) Notify() {
	if b.server == nil {
		_ = b.conn.Publish(changes, []byte(b.names)) // see above
	}
}
