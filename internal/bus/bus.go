// Package bus is the platform's messaging: a NATS server with JetStream inside the process, or one beside it, and streams on it as logs.
// It is the only package that imports NATS.
package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hansomcloud/hansom"
)

// MaxPayload is the most bytes that a record may have, its meta line included.
const MaxPayload = 8 << 20

// Folder is where a server's data directory has the files of its bus.
const Folder = "bus"

const (
	startTimeout = 30 * time.Second // a server that has many messages to look through
	ackTimeout   = 30 * time.Second // of a disk that is busy
	maxPending   = 64 << 10         // records on their way at a time
)

// Config of a bus.
type Config struct {
	Dir        string // of its files
	SyncAlways bool   // a record that is accepted survives a power cut, not only the end of the process
	// Room is asked before a bus that could not write is opened anew, and its error puts that off; so it does with what clients add to
	// streams. nil is always room.
	Room   func() error
	Listen string // address for clients, host:port; "" for none
	Logins Logins // of clients
	URL    string // of a NATS server or cluster that has the logs in place of one in this process; "" for none. See CheckURL
}

// Bus is an embedded server, or a connection to another. Its methods may be called from several goroutines.
type Bus struct {
	cfg    Config
	logger *slog.Logger
	server *server.Server // nil when it is another
	conn   *nats.Conn
	js     jetstream.JetStream

	store server.JetStreamConfig // what JetStream was opened with

	names, subjects string // what those of logs begin with
	replicas        int    // of logs

	health atomic.Pointer[health]
	gate   sync.RWMutex    // held by those that ask JetStream; for writing while it is opened anew
	ctx    context.Context // ended by Close
	cancel context.CancelFunc

	mu      sync.Mutex // locks of the server are held when it is taken: nobody who holds it calls the server
	logs    []*Log
	mending bool
	tasks   sync.WaitGroup

	linking  sync.Mutex
	conns    map[string]*nats.Conn // by project
	addr     string                // for clients
	secret   string                // of the connections within the process
	accounts sync.Mutex            // held while accounts are opened, closed and limited
	full     bool                  // there is no room for clients
}

// Open starts the server, which listens on no port but Config.Listen, or connects to Config.URL. What a process that was killed has left
// is read again.
func Open(ctx context.Context, cfg Config, logger *slog.Logger) (*Bus, error) {
	const op = "open bus"
	if cfg.Dir == "" {
		return nil, hansom.Errorf(hansom.Invalid, op, "the bus needs a directory")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if cfg.Room == nil {
		cfg.Room = func() error { return nil }
	}
	b := &Bus{cfg: cfg, logger: logger.With("component", "bus"), conns: map[string]*nats.Conn{}, secret: rand.Text(), replicas: 1}
	b.health.Store(&health{broken: make(chan struct{})})
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	open, place := b.openEmbedded, cfg.Dir
	if cfg.URL != "" {
		open, place = b.openExternal, "NATS"
	}
	err := open()
	if err == nil {
		b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
	}
	if err == nil {
		if _, err = b.js.AccountInfo(ctx); err != nil {
			err = hansom.Errorf(hansom.Unavailable, op, "the message log in %s does not open: %w", place, err)
		}
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// openEmbedded starts the server in the process.
func (b *Bus) openEmbedded() error {
	const op = "open bus"
	options := &server.Options{
		ServerName: "hansom", DontListen: true, NoSigs: true, JetStream: true, StoreDir: b.cfg.Dir, SyncAlways: b.cfg.SyncAlways, MaxPayload: MaxPayload,
		JetStreamMaxMemory: MaxMemory, JetStreamMaxStore: 1 << 62, DisableJetStreamBanner: true, NoSystemAccount: false,
		MaxPending: 1 << 30, // a consumer in this process that is slow is waited for
	}
	if b.cfg.Listen != "" {
		if err := b.listen(options); err != nil {
			return err
		}
	}
	var err error
	if b.server, err = server.NewServer(options); err != nil {
		return hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	b.server.SetLoggerV2(serverLog{b}, false, false, false)
	b.server.Start()
	if !b.server.ReadyForConnections(startTimeout) {
		return hansom.Errorf(hansom.Unavailable, op, "the message log in %s did not open within %s", b.cfg.Dir, startTimeout)
	}
	b.store = *b.server.JetStreamConfig()
	b.store.StoreDir = b.cfg.Dir // the server adds a folder to it
	if b.addr != "" {
		b.openAccounts()
		b.tasks.Go(b.watch)
	}
	if b.conn, err = b.connect(ownUser); err != nil {
		return hansom.Errorf(hansom.Unavailable, op, "the message log in %s does not open: %w", b.cfg.Dir, err)
	}
	return nil
}

// Close ends the bus. What was accepted is on disk.
func (b *Bus) Close() {
	b.mu.Lock()
	b.cancel()
	b.mu.Unlock()
	b.tasks.Wait()
	b.linking.Lock()
	for _, c := range b.conns {
		c.Close()
	}
	b.linking.Unlock()
	if b.conn != nil {
		b.conn.Close()
	}
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
}

// request asks JetStream's API. The answer's error becomes the error.
func (b *Bus) request(ctx context.Context, op, subject string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, hansom.Errorf(hansom.Internal, op, "%w", err)
	}
	if err := b.enter(op); err != nil {
		return nil, err
	}
	defer b.gate.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	m, err := b.conn.RequestWithContext(ctx, subject, data)
	if err != nil {
		return nil, failed(op, err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err == nil && answer.Error != nil {
		return nil, failed(op, answer.Error)
	}
	return m.Data, nil
}

// failed gives an error of NATS a kind: what is not the caller's doing may be tried again.
func failed(op string, err error) error {
	var known *hansom.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled):
		return hansom.Errorf(hansom.Canceled, op, "%w", err)
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return hansom.Errorf(hansom.NotFound, op, "%w", err)
	}
	return hansom.Errorf(hansom.Unavailable, op, "the message log does not answer: %w", err)
}

// serverLog passes on what the NATS server reports; that it reads its files anew after a crash is a warning to it alone.
type serverLog struct{ *Bus }

func (l serverLog) Noticef(format string, v ...any) { l.logger.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Warnf(format string, v ...any)   { l.logger.Info(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.logger.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)           {}
func (l serverLog) Tracef(string, ...any)           {}
func (l serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.Contains(text, "authentication error") { // a client's, not ours
		l.logger.Info(text)
		return
	}
	l.logger.Error(text)
	l.heard(text)
}
