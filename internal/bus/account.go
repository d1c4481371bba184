package bus

import (
	"context"
	"crypto/subtle"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hansomcloud/hansom"
)

// Logins tells who may connect to Config.Listen.
type Logins interface {
	// Login returns the project of an access key whose secret is right, and when the connection must end; zero for never. token is that
	// of a session, or "". Error: Unauthenticated.
	Login(ctx context.Context, id, secret, token string) (project string, until time.Time, err error)
	// HasKey says whether an access key that logged in is there still. Those of sessions never are.
	HasKey(id string) bool
}

// Limits of what a project keeps in the streams of its account.
const (
	MaxStore     = 10 << 30 // bytes on disk
	MaxMemory    = 64 << 20 // bytes in memory
	MaxStreams   = 1000
	MaxConsumers = 1000 // of a stream
)

// The platform's own connections log in as ownUser, or as ownUser and a project; the server's memory alone knows their password.
const ownUser = "_hansom."

// loginTimeout is how long a login may take, in seconds; the first of a project may have streams to read.
const loginTimeout = 30

// watchEvery is how often the free space is looked at for clients.
const watchEvery = time.Second

// projectForm is a project's id.
var projectForm = regexp.MustCompile(`^\d{12}$`)

// listen adds to the server's options what clients need.
func (b *Bus) listen(o *server.Options) error {
	// The server itself would only log that the address is taken.
	l, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return hansom.Errorf(hansom.Unavailable, "listen", "the nats listener cannot use %s: %w; choose another with --nats", b.cfg.Listen, err)
	}
	b.addr = l.Addr().String()
	_ = l.Close()
	host, port, _ := net.SplitHostPort(b.addr)
	o.Host, o.DontListen = host, false
	o.Port, _ = strconv.Atoi(port)
	o.CustomClientAuthentication, o.AuthTimeout = gatekeeper{b}, loginTimeout
	o.JetStreamMaxMemory = 1 << 40 // each account has its own limit
	return nil
}

// Addr is where clients connect, host:port; "" when nothing listens.
func (b *Bus) Addr() string { return b.addr }

// gatekeeper lets connections in.
type gatekeeper struct{ *Bus }

// Check implements the server's Authentication: true lets c in, with the account of its project.
func (g gatekeeper) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	user := &server.User{Username: o.Username}
	if rest, own := strings.CutPrefix(o.Username, ownUser); own {
		if subtle.ConstantTimeCompare([]byte(o.Password), []byte(g.secret)) != 1 {
			return false
		}
		if user.Account = g.server.GlobalAccount(); rest != "" {
			if user.Account = g.account(rest); user.Account == nil {
				return false
			}
		}
		c.RegisterUser(user)
		return true
	}
	ctx, cancel := context.WithTimeout(g.ctx, loginTimeout*time.Second)
	defer cancel()
	project, until, err := g.cfg.Logins.Login(ctx, o.Username, o.Password, o.Token)
	if err != nil {
		return false // which the server logs
	}
	if user.ConnectionDeadline, user.Account = until, g.account(project); user.Account == nil {
		return false
	}
	c.RegisterUser(user)
	return true
}

// account is that of a project, with JetStream; nil when it cannot be opened.
func (b *Bus) account(project string) *server.Account {
	if !projectForm.MatchString(project) {
		return nil
	}
	b.accounts.Lock()
	defer b.accounts.Unlock()
	a, _ := b.server.LookupOrRegisterAccount(project)
	if a.JetStreamEnabled() {
		return a
	}
	if err := a.EnableJetStream(b.limits(), nil); err != nil {
		b.logger.Error("the streams of a project cannot be opened", "project", project, "error", err)
		return nil
	}
	return a
}

// limits of an account. accounts is held.
func (b *Bus) limits() map[string]server.JetStreamAccountLimits {
	store := int64(MaxStore)
	if b.full {
		store = 1 // what is there stays, and nothing is added
	}
	return map[string]server.JetStreamAccountLimits{"": {MaxMemory: MaxMemory, MaxStore: store, MaxStreams: MaxStreams, MaxConsumers: MaxConsumers,
		MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1}}
}

// openAccounts opens those that have streams.
func (b *Bus) openAccounts() {
	for _, project := range b.Projects() {
		b.account(project)
	}
}

// Projects are those that have an account here.
func (b *Bus) Projects() (list []string) {
	if b.server == nil {
		return nil
	}
	dirs, _ := os.ReadDir(b.accountDir("")) // made by the server
	for _, d := range dirs {
		if projectForm.MatchString(d.Name()) {
			list = append(list, d.Name())
		}
	}
	return list
}

func (b *Bus) accountDir(project string) string {
	return filepath.Join(b.cfg.Dir, server.JetStreamStoreDir, project)
}

// watch refuses what clients add to streams while there is no room.
func (b *Bus) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-ticker.C:
		}
		b.accounts.Lock()
		if full := b.cfg.Room() != nil; full != b.full {
			b.full = full
			b.limit()
		}
		b.accounts.Unlock()
	}
}

// limit sets the limits of all accounts. accounts is held.
func (b *Bus) limit() {
	for _, project := range b.Projects() {
		a, err := b.server.LookupAccount(project)
		if err != nil || !a.JetStreamEnabled() {
			continue
		}
		if err := a.UpdateJetStreamLimits(b.limits()); err != nil {
			b.logger.Error("the limits of a project's streams cannot be set", "project", project, "error", err)
		}
	}
}

// Connect is the platform's connection to the account of a project, which is shared and ends with the bus. Errors: Unsupported when
// nothing listens; Unavailable.
func (b *Bus) Connect(project string) (*nats.Conn, error) {
	const op = "connect to NATS"
	if b.addr == "" {
		return nil, hansom.Errorf(hansom.Unsupported, op, "this server does not serve NATS; start it with --nats 127.0.0.1:4222")
	}
	b.linking.Lock()
	defer b.linking.Unlock()
	if c := b.conns[project]; c != nil {
		return c, nil
	}
	if b.ctx.Err() != nil {
		return nil, hansom.Errorf(hansom.Unavailable, op, "the server ends")
	}
	c, err := b.connect(ownUser + project)
	if err != nil {
		return nil, failed(op, err)
	}
	b.conns[project] = c
	return c, nil
}

// connect makes a connection within the process.
func (b *Bus) connect(user string) (*nats.Conn, error) {
	opts := []nats.Option{nats.InProcessServer(b.server), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.Name("hansom")}
	if b.addr != "" {
		opts = append(opts, nats.UserInfo(user, b.secret), nats.Timeout(startTimeout))
	}
	return nats.Connect("", opts...)
}

// Recheck ends the connections of access keys that are not there any more. Those of sessions have to log in again.
func (b *Bus) Recheck() {
	if b.addr == "" {
		return
	}
	b.kick("", func(user string) bool { return !b.cfg.Logins.HasKey(user) })
}

// Drop removes what a project that is no more has here.
func (b *Bus) Drop(project string) error {
	b.linking.Lock()
	if c := b.conns[project]; c != nil {
		c.Close()
		delete(b.conns, project)
	}
	b.linking.Unlock()
	b.kick(project, func(string) bool { return true })
	b.accounts.Lock()
	defer b.accounts.Unlock()
	if a, err := b.server.LookupAccount(project); err == nil && a.JetStreamEnabled() {
		if err := a.DisableJetStream(); err != nil {
			return failed("remove project", err)
		}
	}
	if err := os.RemoveAll(b.accountDir(project)); err != nil {
		return hansom.Errorf(hansom.Internal, "remove project", "%w", err)
	}
	return nil
}

// kick ends the connections of an account, "" for all, whose user is to go.
func (b *Bus) kick(account string, goes func(user string) bool) {
	list, err := b.server.Connz(&server.ConnzOptions{Username: true, Account: account, Limit: 1 << 20})
	if err != nil {
		b.logger.Error("the connections of clients cannot be listed", "error", err)
		return
	}
	for _, c := range list.Conns {
		if !strings.HasPrefix(c.AuthorizedUser, ownUser) && goes(c.AuthorizedUser) {
			_ = b.server.DisconnectClientByID(c.Cid) // it may have gone
		}
	}
}
