package pool

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// exitGrace is how long a runtime that hung up may take to exit before it is killed and its exit no longer counts as its own.
const exitGrace = time.Second

// Reading a cgroup's files costs more than the rest of a warm call. The peak is read at the end of a cold start, of a call that
// took at least sampleLong, and otherwise at most once in sampleEvery.
const (
	sampleLong  = 50 * time.Millisecond
	sampleEvery = time.Second
)

// longAnswer is how many bytes of an answer may hold up an event loop.
const longAnswer = 64 << 10

// instance is a sandbox bound to a version.
type instance struct {
	id       string
	group    *group
	sandbox  sandbox.Sandbox
	link     sandbox.Link
	output   *output
	gone     chan struct{} // closed when the tree is gone and all that it wrote is logged
	left     chan struct{} // closed when it has left its group and given its memory back
	begun    atomic.Bool   // its end has
	release  func()        // gives back what is bound
	retireAt time.Time     // no call starts later: the credentials are about to expire
	init     time.Duration

	provisioned bool // it is of the provisioned concurrency, not made for a call

	extensions sandbox.Extensions // nil when the link does not serve them
	extended   atomic.Bool        // it has extensions, which end in their own time
	over       <-chan struct{}    // closed when the runtime has ended

	busy      atomic.Bool
	idleSince time.Time // under group.mu, while idle

	calls    int                    // that run, under group.mu, as the next four
	draining bool                   // it ends with its last call and takes no other
	ending   sandbox.ShutdownReason // why it ends then; "" means spindown
	open     bool                   // it is in group.open
	place    int                    // where it is there

	freezing sync.Mutex // freeze and thaw; a busy instance is never frozen
	frozen   atomic.Bool

	used    atomic.Bool // the cold start is reported
	peak    atomic.Int64
	sampled atomic.Int64 // Unix nanoseconds
}

// task is a call that runs in a slot of an instance.
type task struct {
	request sandbox.Request
	sink    counted
	journal journal
}

// tasks spares each call the allocation.
var tasks = sync.Pool{New: func() any { return new(task) }}

// counted counts the bytes of a streamed answer.
type counted struct {
	hansom.Sink
	n       int
	started bool
}

func (c *counted) Start(status int, header http.Header) {
	c.started = true
	c.Sink.Start(status, header)
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Sink.Write(p)
	c.n += n
	return n, err
}

// usable says whether the instance can take a call.
func (i *instance) usable(now time.Time) bool {
	return !i.ended() && now.Before(i.retireAt)
}

// freeze stops the processes of an instance that is still idle.
func (i *instance) freeze(logger *slog.Logger) {
	f, ok := i.sandbox.(sandbox.Freezer)
	if !ok {
		return
	}
	i.freezing.Lock()
	defer i.freezing.Unlock()
	if i.busy.Load() || i.frozen.Load() {
		return
	}
	if err := f.Freeze(); err != nil {
		if i.busy.Load() {
			return // it is being ended meanwhile
		}
		logger.Warn("an idle instance was not frozen", "instance", i.id, "error", err)
		return
	}
	i.frozen.Store(true)
}

// thaw lets the processes of a busy instance go on.
func (i *instance) thaw(logger *slog.Logger) bool {
	i.freezing.Lock()
	defer i.freezing.Unlock()
	if !i.frozen.Load() {
		return true
	}
	if err := i.sandbox.(sandbox.Freezer).Thaw(); err != nil {
		logger.Warn("a frozen instance did not thaw and is replaced", "instance", i.id, "error", err)
		return false
	}
	i.frozen.Store(false)
	return true
}

// watch follows an instance's output to its end, and the instance's end when it comes unasked.
func (p *Pool) watch(inst *instance) {
	if inst.over != inst.sandbox.Done() {
		p.start(func() { // extensions outlive the runtime
			<-inst.over
			if inst.group.take(inst) {
				p.endLater(inst, sandbox.Failure)
			}
		})
	}
	inst.output.follow()
	<-inst.sandbox.Done()
	inst.release()
	close(inst.gone)
	if inst.group.take(inst) {
		p.endLater(inst, sandbox.Failure)
	}
}

// invoke runs one call in a slot of an instance and gives the slot back, or ends the instance. It answers false when the runtime
// had gone before it saw the event, so that another instance may have the call, unless this is the last attempt.
func (p *Pool) invoke(inst *instance, start time.Time, inv *hansom.Invocation, sink hansom.Sink, last bool) (hansom.Result, bool) {
	v, out := inst.group.version, inst.output
	startLine, endLine := lines(v, start, inv.ID)
	run := tasks.Get().(*task)
	j := &run.journal
	j.id, j.source, j.tailing = inv.ID, inv.Source, inv.LogTail
	out.begin(j, start, startLine)

	run.request = sandbox.Request{Invocation: inv, Deadline: start.Add(v.Timeout).UnixMilli()}
	var to hansom.Sink
	if sink != nil {
		run.sink = counted{Sink: sink}
		to = &run.sink
	}
	active := inst.extensions != nil && inst.group.slots == 1 && inst.extensions.Begin(&run.request)
	if active {
		inst.extended.Store(true)
	}
	if c, ok := inst.link.(sandbox.Carrier); active || !ok || !c.CarriesFibers() {
		inv.Detach()
	}
	resp, err := inst.link.Invoke(&run.request, to)
	end := time.Now()
	if err != nil || len(resp.Payload) > longAnswer || out.budget.Pause(end) > 0 {
		inv.Detach() // to see how it ended, to go through the answer or to read what it printed takes time
	}
	if errors.Is(err, sandbox.ErrUndelivered) && !last {
		out.finish(j)
		run.put()
		p.discard(inst, sandbox.Spindown)
		return hansom.Result{}, false
	}
	c := hansom.Completion{
		ID: inv.ID, Version: v, Source: inv.Source, Start: start, Duration: end.Sub(start),
		BytesIn: len(inv.Payload) + int(resp.In), Cold: inst.used.CompareAndSwap(false, true),
	}
	if c.Cold {
		c.Init = inst.init
	}
	c.Provisioned = inst.provisioned
	c.Spillover = !inst.provisioned && inst.group.provisioned.Load() > 0
	var f *failure
	var result hansom.Result
	if err == nil {
		result = hansom.NewResult(resp.Payload, resp.Release)
		if resp.Error {
			c.Status = hansom.StatusError
		}
		out.drain()
	} else {
		f = p.fail(inst, err)
		if f.status == hansom.StatusTimeout {
			c.Duration = v.Timeout
		}
		c.Status = f.status
		result = hansom.NewResult(f.answer(inv.ID), nil)
		f.log(out, j, v, end)
	}
	c.BytesOut = len(result.Payload) + run.sink.n + int(resp.Out)
	result.Version, result.Streamed = v.Number, resp.Streamed || run.sink.started
	if c.Status != hansom.StatusOK {
		result.FunctionError = "Unhandled"
	}
	e := ending{line: endLine, trace: inv.Trace, errorType: reportedType(v, f, c.Status, result.Payload)}
	if active {
		inst.extensions.Publish(runtimeDone(&c, f, inv.Trace))
		if err == nil && !resp.Fatal {
			result.Completion = c
			return p.linger(inst, run, result, e), true
		}
	}
	p.conclude(inst, j, &c, f, end, e, active)
	result.Completion, result.LogTail = c, out.finish(j)
	run.put()
	if err != nil || resp.Fatal {
		p.discard(inst, sandbox.Failure)
	} else {
		p.release(inst, end)
	}
	return result, true
}

func (t *task) put() {
	*t = task{}
	tasks.Put(t)
}

// ending is what is said at the end of a call.
type ending struct {
	line      string // the one before the report; "" where it is not known before
	trace     string
	errorType string // of what the runtime reported, where the log names it
}

// conclude accounts for a call that ended at end. active says that extensions follow it.
func (p *Pool) conclude(inst *instance, j *journal, c *hansom.Completion, f *failure, end time.Time, e ending, active bool) {
	if c.Cold || f != nil || c.Duration >= sampleLong || end.UnixNano()-inst.sampled.Load() >= int64(sampleEvery) {
		inst.peak.Store(inst.sandbox.Usage().MemoryPeak)
		inst.sampled.Store(end.UnixNano())
	}
	c.MemoryUsed = inst.peak.Load()
	c.Billed = billed(c.Duration + c.Init)
	inst.output.logEnd(j, end, e.line, c, f, e.errorType)
	if active {
		inst.extensions.Publish(reportEvent(*c, f, e.trace))
	}
	p.deps.Recorder.Record(*c)
}

// fail ends a runtime that did not answer and says why. One that runs other calls beside the one that took too long ends with
// the last of them.
func (p *Pool) fail(inst *instance, err error) *failure {
	last := inst.group.drain(inst)
	var f *failure
	if errors.Is(err, os.ErrDeadlineExceeded) {
		inst.output.drain()
		f = timedOut(inst.group.version.Timeout)
		if !last {
			return f
		}
	} else {
		f = failed(inst, err)
		if err != sandbox.ErrClosed {
			f.note = err.Error() // what it answered that its protocol does not allow
		}
	}
	if inst.extended.Load() {
		inst.output.drain()
		p.endLater(inst, f.ending())
	} else {
		p.end(inst)
	}
	return f
}

// exited waits a moment for a runtime that hung up to exit, and says how it did.
func exited(inst *instance) *failure {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-inst.over:
		return exitFailure(inst.sandbox.Exit())
	case <-timer.C:
		return exitFailure(sandbox.Exit{})
	}
}

// end ends the instance and gives its memory back. Whoever calls it has taken the instance out of idle.
func (p *Pool) end(inst *instance) {
	if inst.begun.Swap(true) {
		<-inst.left
		return
	}
	p.memory.End(inst.group.bytes)
	p.ended(inst, sandbox.Spindown)
}

// endLater is end in the background: it does not wait. reason is what extensions are told.
func (p *Pool) endLater(inst *instance, reason sandbox.ShutdownReason) {
	if inst.begun.Swap(true) {
		return
	}
	p.memory.End(inst.group.bytes)
	if !p.start(func() { p.ended(inst, reason) }) {
		go p.ended(inst, reason) // Close waits for all that are in a group
	}
}

func (p *Pool) ended(inst *instance, reason sandbox.ShutdownReason) {
	if inst.provisioned {
		p.provisionedEnded(inst)
	}
	inst.shutdown(p.logger, reason)
	inst.sandbox.Kill() // before its link goes: a runtime would complain of that
	_ = inst.link.Close()
	inst.output.close()
	<-inst.gone
	g := inst.group
	g.mu.Lock()
	delete(g.instances, inst)
	p.memory.Ended(g.bytes) // under mu: Close does not wait for what is in no group
	g.mu.Unlock()
	close(inst.left)
	p.reclaim()
	p.progress()
}
