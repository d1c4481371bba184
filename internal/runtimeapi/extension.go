package runtimeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

const (
	maxExtensions = 10
	maxName       = 255 // bytes of an extension's name, or of an error type
)

// How long an instance may take to shut down ("Shutdown phase" in the Lambda developer guide), and how much of it telemetry may
// use before the SHUTDOWN events go out.
const (
	shutdownExternal = 2 * time.Second
	shutdownInternal = 500 * time.Millisecond
	flushFirst       = 300 * time.Millisecond
)

// The states of an extension, as error messages and the log name them.
const (
	stateStarted    = "Started"
	stateRegistered = "Registered"
	stateReady      = "Ready"
	stateRunning    = "Running"
	stateInitError  = "InitError"
	stateExitError  = "ExitError"
)

const (
	eventInvoke   = "INVOKE"
	eventShutdown = "SHUTDOWN"
)

// extensions are those of one sandbox.
type extensions struct {
	attended chan struct{} // closed by Attend
	cfg      sandbox.ExtensionConfig
	relay    *relay      // of telemetry
	active   atomic.Bool // one has registered

	mu      sync.Mutex // taken before Link.mu
	all     []*extension
	closed  bool // no more registrations and subscriptions
	down    bool // it shuts down
	logged  bool // what became of them in init
	failure *sandbox.ExtensionError
	change  chan struct{} // closed and replaced when something of the above, or of an extension, changes
}

type extension struct {
	name, id  string
	external  bool
	events    []string
	state     string
	errorType string
	waiting   *conn  // on which it has asked for its next event
	pending   []byte // an event for which it has not asked yet
}

var _ sandbox.Extensions = (*Link)(nil)

func (x *extension) wants(event string) bool { return slices.Contains(x.events, event) }

// settled says that x waits for its next event.
func (x *extension) settled() bool { return x.state == stateReady && x.pending == nil }

// changed wakes those who wait. e is locked.
func (e *extensions) changed() {
	close(e.change)
	e.change = make(chan struct{})
}

// every says whether ok holds for all extensions. e is locked.
func (e *extensions) every(ok func(*extension) bool) bool {
	return !slices.ContainsFunc(e.all, func(x *extension) bool { return !ok(x) })
}

// find returns nil when no extension has id. e is locked.
func (e *extensions) find(id string) *extension {
	for _, x := range e.all {
		if x.id == id {
			return x
		}
	}
	return nil
}

// Attend implements sandbox.Extensions.
func (l *Link) Attend(cfg sandbox.ExtensionConfig) {
	e := &l.ext
	e.cfg = cfg
	for _, name := range cfg.External {
		e.all = append(e.all, &extension{name: name, external: true, state: stateStarted})
	}
	close(e.attended)
}

// waitFor waits until ok, which is called with the extensions locked, answers true, or ended is closed.
func (l *Link) waitFor(ctx context.Context, ended <-chan struct{}, ok func() bool) error {
	e := &l.ext
	for {
		e.mu.Lock()
		failure, done, change := e.failure, ok(), e.change
		e.mu.Unlock()
		switch {
		case failure != nil:
			return failure
		case done:
			return nil
		case l.ended():
			return sandbox.ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		}
		select {
		case <-change:
		case <-l.wake: // the runtime asks for an event
		case <-l.done:
		case <-ended:
			return sandbox.ErrClosed
		case <-ctx.Done():
		}
	}
}

func (l *Link) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Registered implements sandbox.Extensions.
func (l *Link) Registered(ctx context.Context) error {
	err := l.waitFor(ctx, nil, func() bool {
		return l.ext.every(func(x *extension) bool { return x.state != stateStarted })
	})
	if err != nil {
		l.logInit()
	}
	return err
}

// Settle implements sandbox.Extensions.
func (l *Link) Settle(ctx context.Context) error {
	e := &l.ext
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.relay.seal()
	err := l.waitFor(ctx, e.cfg.Ended, func() bool { return e.every((*extension).settled) && l.polling() })
	l.logInit()
	return err
}

// polling says whether the runtime waits for its next event, as far as this link can know.
func (l *Link) polling() bool {
	if l.carrier != nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.parked) > 0
}

// logInit logs, once, what became of each extension during init.
func (l *Link) logInit() {
	e := &l.ext
	e.mu.Lock()
	first := !e.logged
	e.logged = true
	var events []sandbox.Event
	for _, x := range e.all {
		if first {
			events = append(events, sandbox.Event{Time: time.Now(), Type: sandbox.EventExtension, Name: x.name, State: x.state, Names: x.events, ErrorType: x.errorType})
		}
	}
	e.mu.Unlock()
	for _, event := range events {
		l.announce(event)
	}
}

// announce publishes an event that the function's log shows too.
func (l *Link) announce(event sandbox.Event) {
	l.ext.cfg.Log(event)
	l.ext.relay.publish(&event)
}

// Publish implements sandbox.Extensions.
func (l *Link) Publish(event sandbox.Event) {
	if l.ext.relay.open.Load() {
		l.ext.relay.publish(&event)
	}
}

// Begin implements sandbox.Extensions.
func (l *Link) Begin(req *sandbox.Request) bool {
	e := &l.ext
	if !e.active.Load() {
		return false
	}
	l.Publish(sandbox.Event{Time: time.Now(), Type: sandbox.EventStart, RequestID: req.ID, Trace: req.Trace})
	body := encode(invokeEvent{eventInvoke, req.Deadline, req.ID, req.ARN, traced(req.Trace)})
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.all {
		if x.wants(eventInvoke) {
			l.send(x, body)
		}
	}
	return true
}

// send gives x an event: at once when it waits for one, else when it asks. The extensions are locked.
func (l *Link) send(x *extension, body []byte) {
	c := x.waiting
	x.waiting = nil
	switch {
	case c == nil:
		x.pending = body
	case !c.alive():
		x.pending = body
		c.close()
	default:
		x.state = stateRunning
		l.run(c, func() { // it need not read
			if c.next(c.respond(200, string(body), eventHeaders(x.id)...)) {
				c.serve()
			}
		})
	}
}

// Shutdown implements sandbox.Extensions.
func (l *Link) Shutdown(reason sandbox.ShutdownReason) {
	e := &l.ext
	if !e.active.Load() || l.ended() {
		return
	}
	l.logInit()
	e.relay.seal()
	e.mu.Lock()
	e.closed = true
	limit := shutdownInternal
	var told []*extension
	for _, x := range e.all {
		if x.external {
			limit = shutdownExternal
		}
		if x.wants(eventShutdown) && x.errorType == "" {
			told = append(told, x)
		}
	}
	e.mu.Unlock()
	deadline := time.Now().Add(limit)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()

	first, stop := context.WithTimeout(ctx, flushFirst)
	e.relay.flush(first)
	stop()
	body := encode(shutdownEvent{eventShutdown, reason, deadline.UnixMilli()})
	e.mu.Lock()
	e.down, e.failure = true, nil // it is known by now, and the others have their time
	for _, x := range told {
		l.send(x, body)
	}
	e.mu.Unlock()
	err := l.waitFor(ctx, nil, func() bool {
		return !slices.ContainsFunc(told, func(x *extension) bool { return x.errorType == "" && !x.settled() })
	})
	if err == nil {
		e.relay.flush(ctx)
	}
}

// extend answers a request of an extension, or hands the connection over: it returns whether the caller still owns an open one.
func (c *conn) extend(h head) bool {
	select {
	case <-c.link.ext.attended:
	case <-c.link.done:
		c.close()
		return false
	}
	switch h.route {
	case routeRegister:
		return c.register(h)
	case routeEvent:
		return c.awaitEvent(h)
	case routeTelemetry, routeLogs:
		return c.subscribe(h)
	}
	return c.report(h)
}

// register is POST /extension/register.
func (c *conn) register(h head) bool {
	body, ok, err := c.small(h)
	switch {
	case err != nil:
		return c.next(err)
	case !ok:
		return c.next(c.tooLarge())
	case h.name == "":
		return c.next(c.forbid("Extension.InvalidExtensionName", "Empty extension name"))
	case len(h.name) > maxName:
		return c.next(c.forbid("Extension.InvalidExtensionName", "Extension name too long"))
	}
	var in struct {
		Events            []string `json:"events"`
		ConfigurationKeys []string `json:"configurationKeys"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return c.next(c.forbid("InvalidRequestFormat", err.Error()))
	}
	if len(in.ConfigurationKeys) > 0 {
		return c.next(c.forbid("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead"))
	}
	x, errorType, message := c.link.register(h.name, in.Events)
	if x == nil {
		return c.next(c.forbid(errorType, message))
	}
	v := c.link.ext.cfg.Version
	out := registration{Name: v.Function, Version: v.Number, Handler: v.Handler}
	if slices.ContainsFunc(strings.Split(h.features, ","), func(f string) bool { return strings.TrimSpace(f) == "accountId" }) {
		out.Account = v.Project
	}
	return c.next(c.respond(200, string(encode(out)), "Lambda-Extension-Identifier: "+x.id))
}

// register answers with an error type and a message in place of an extension that may not register.
func (l *Link) register(name string, events []string) (x *extension, errorType, message string) {
	e := &l.ext
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.all, func(x *extension) bool { return x.name == name })
	external := i >= 0 && e.all[i].external
	for _, event := range events {
		switch {
		case event == eventShutdown && !external:
			return nil, "Extension.InvalidEventType", event + ": ShutdownEventNotSupportedForInternalExtension"
		case event != eventShutdown && event != eventInvoke:
			return nil, "Extension.InvalidEventType", event + ": ErrorInvalidEventType"
		case event == eventInvoke && e.cfg.Version != nil && e.cfg.Version.Slots() > 1: // no call has the instance to itself
			return nil, "Extension.InvalidEventType", event + ": InvokeEventNotSupportedForManagedInstances"
		}
	}
	switch {
	case external && e.all[i].state != stateStarted:
		return nil, "Extension.InvalidExtensionState", notAllowed(e.all[i].state, stateRegistered, name)
	case external:
		x = e.all[i]
	case e.closed:
		return nil, "Extension.RegistrationClosed", "Extension registration closed already"
	case len(e.all) >= maxExtensions:
		return nil, "Extension.TooManyExtensions", fmt.Sprintf("Extension limit (%d) reached", maxExtensions)
	case i >= 0:
		return nil, "Extension.InvalidExtensionState", "Extension with this name already registered"
	default:
		x = &extension{name: name}
		e.all = append(e.all, x)
	}
	slices.Sort(events)
	x.id, x.state, x.events = hansom.NewID(), stateRegistered, slices.Compact(events)
	e.active.Store(true)
	e.changed()
	return x, "", ""
}

func notAllowed(from, to, extension string) string {
	return fmt.Sprintf("State transition from %s to %s failed for extension %s. Error: State transition is not allowed", from, to, extension)
}

// identified says whether the request carries what looks like an identifier, and otherwise refuses it.
func (c *conn) identified(h head) (bool, error) {
	switch {
	case h.extension == "":
		return false, c.forbid("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
	case !isUUID(h.extension):
		return false, c.forbid("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
	}
	return true, nil
}

func isUUID(s string) bool {
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
		if dash != (c == '-') || !dash && !hex {
			return false
		}
	}
	return len(s) == 36
}

// awaitEvent is GET /extension/event/next. It hands the connection over unless the request is refused.
func (c *conn) awaitEvent(h head) bool {
	if err := c.discard(h); err != nil {
		return c.next(err)
	}
	if ok, err := c.identified(h); !ok {
		return c.next(err)
	}
	l, e := c.link, &c.link.ext
	e.mu.Lock()
	x := e.find(h.extension)
	switch {
	case x == nil:
		e.mu.Unlock()
		return c.next(c.forbid("Extension.UnknownExtensionIdentifier", "Unknown extension "+h.extension))
	case x.errorType != "", x.waiting != nil && x.waiting.alive():
		e.mu.Unlock()
		return c.next(c.forbid("Extension.InvalidExtensionState", notAllowed(x.state, stateReady, h.extension)))
	}
	old, event := x.waiting, x.pending
	x.state, x.waiting, x.pending = stateReady, c, nil
	c.drop() // it may wait for long
	if event != nil {
		l.send(x, event)
	}
	e.changed()
	e.mu.Unlock()
	if old != nil {
		old.close()
	}
	return false
}

// report is POST /extension/init/error and /extension/exit/error.
func (c *conn) report(h head) bool {
	if err := c.discard(h); err != nil {
		return c.next(err)
	}
	if ok, err := c.identified(h); !ok {
		return c.next(err)
	}
	if h.extensionError == "" {
		return c.next(c.forbid("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found"))
	}
	state, kind := stateExitError, "Extension.ExitError"
	if h.route == routeExtensionInitError {
		state, kind = stateInitError, "Extension.InitError"
	}
	e := &c.link.ext
	e.mu.Lock()
	x := e.find(h.extension)
	switch {
	case x == nil:
		e.mu.Unlock()
		return c.next(c.forbid("Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier"))
	case x.state == state: // the first error counts
	case x.errorType != "", state == stateInitError && x.state != stateRegistered:
		message := notAllowed(x.state, state, h.extension)
		e.mu.Unlock()
		return c.next(c.forbid("Extension.InvalidExtensionState", message))
	default:
		x.state, x.errorType = state, h.extensionError[:min(len(h.extensionError), maxName)]
		if e.failure == nil && !e.down {
			e.failure = &sandbox.ExtensionError{Type: kind, Reason: x.errorType}
		}
		e.changed()
	}
	e.mu.Unlock()
	return c.next(c.respond(202, accepted))
}
