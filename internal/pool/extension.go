package pool

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// Error types that Lambda gives what goes wrong with an extension, beside those of sandbox.ExtensionError.
const (
	typeLaunchError    = "Extension.LaunchError"
	typeExtensionCrash = "Extension.Crash"
)

const (
	extensionRoot = runtimes.OptRoot + "/extensions"
	maxExtensions = 10
)

// external finds the external extensions, which are the files in extensions/ of what is shown at /opt, and has them started with
// the sandbox. Lambda starts every file there, and fails when it cannot. HTTP servers have none: they do not speak the Runtime API.
func external(rt *runtimes.Runtime, spec *sandbox.Spec) *failure {
	if rt.Family == runtimes.HTTP {
		return nil
	}
	for _, b := range spec.Binds {
		if b.Target != runtimes.OptRoot {
			continue
		}
		dir := filepath.Join(b.Source, "extensions")
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return launchFailure(extensionRoot, "UnknownError", err.Error())
		}
		for _, entry := range entries {
			fi, err := os.Stat(filepath.Join(dir, entry.Name()))
			if err != nil || fi.IsDir() {
				continue
			}
			file := path.Join(extensionRoot, entry.Name())
			switch {
			case len(spec.Extend) == maxExtensions:
				return launchFailure(file, "TooManyExtensions", "Extension limit ("+strconv.Itoa(maxExtensions)+") reached")
			case fi.Mode()&0o111 == 0:
				return launchFailure(file, "PermissionDenied", "fork/exec "+file+": "+syscall.EACCES.Error())
			}
			spec.Extend = append(spec.Extend, file)
		}
	}
	return nil
}

// hasExtensions says whether what is shown at /opt has extensions.
func hasExtensions(opt string) bool {
	entries, err := os.ReadDir(filepath.Join(opt, "extensions"))
	return err == nil && len(entries) > 0
}

// launchFailure is an extension that does not start.
func launchFailure(file, kind, reason string) *failure {
	return &failure{status: hansom.StatusError, errorType: typeLaunchError, reason: reason,
		extension: &sandbox.Event{Type: sandbox.EventExtension, Name: path.Base(file), State: "LaunchError", ErrorType: kind}}
}

// unlaunched is launchFailure when the driver's err says that it could not start one of the extensions.
func unlaunched(spec *sandbox.Spec, err error) *failure {
	for _, file := range spec.Extend {
		if strings.Contains(err.Error(), file) {
			return launchFailure(file, "UnknownError", err.Error())
		}
	}
	return nil
}

// attend gets the instance's link to serve extensions.
func (i *instance) attend(v *hansom.Version, spec *sandbox.Spec) {
	ext, ok := i.link.(sandbox.Extensions)
	if !ok {
		return
	}
	cfg := sandbox.ExtensionConfig{Version: v, Instance: i.id, Log: func(e sandbox.Event) { i.output.event(nil, e.Time, extensionLine(v, &e)) }}
	for _, file := range spec.Extend {
		cfg.External = append(cfg.External, path.Base(file))
	}
	if d, ok := i.sandbox.(sandbox.Dialer); ok {
		cfg.Dial = d.Dial
	}
	if len(spec.Extend) > 0 {
		cfg.Ended = i.over
	}
	ext.Attend(cfg)
	i.extensions, i.output.publish = ext, ext.Publish
	i.extended.Store(len(spec.Extend) > 0)
}

// openOutput opens what the instance's programs print.
func (i *instance) openOutput(logs Logs, v *hansom.Version) (err error) {
	i.output, err = newOutput(logs, v, i.id, i.sandbox.Output())
	if err == nil {
		i.output.budget = &i.group.printed
	}
	gate, ok := i.sandbox.(sandbox.Gate)
	if !ok || gate.ExtensionOutput() == nil {
		return err
	}
	if err == nil {
		if i.output.extensions, err = newOutput(logs, v, i.id, gate.ExtensionOutput()); err == nil {
			i.output.extensions.main, i.output.extensions.budget = i.output, &i.group.printed
		}
	}
	return err
}

// closeOutput closes the pipes of an instance that nobody follows.
func (i *instance) closeOutput() {
	files := []*os.File{i.sandbox.Output()}
	if gate, ok := i.sandbox.(sandbox.Gate); ok {
		files = append(files, gate.ExtensionOutput())
	}
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// extensionLine is what Lambda logs of an extension.
func extensionLine(v *hansom.Version, e *sandbox.Event) string {
	if v.Logging.Format == formatJSON {
		return systemLine(v, e.Time, "INFO", strings.TrimPrefix(string(e.Type), "platform."), extensionRecord(e))
	}
	kind, list := "EXTENSION", "Events"
	names := e.Names
	if e.Type == sandbox.EventSubscription {
		kind, list, names = "TELEMETRY", "Types", nil
		if e.Logs {
			kind = "LOGS"
		}
		for _, name := range e.Names {
			names = append(names, strings.ToUpper(name[:1])+name[1:])
		}
	}
	line := kind + "\tName: " + e.Name + "\tState: " + e.State + "\t" + list + ": [" + strings.Join(names, ", ") + "]"
	if e.ErrorType != "" {
		line += "\tError Type: " + e.ErrorType
	}
	return line
}

// extensionRecord is that of a platform.extension or platform.telemetrySubscription event.
func extensionRecord(e *sandbox.Event) any {
	if e.Type == sandbox.EventSubscription {
		return struct {
			Name  string   `json:"name"`
			State string   `json:"state"`
			Types []string `json:"types"`
		}{e.Name, e.State, e.Names}
	}
	return struct {
		Name      string   `json:"name"`
		State     string   `json:"state"`
		Events    []string `json:"events"`
		ErrorType string   `json:"errorType,omitempty"`
	}{e.Name, e.State, e.Names, e.ErrorType}
}

// initialise is Lambda's init phase: all external extensions register, the runtime starts, then it and all extensions ask for
// their first event. The errors are those of Link.Init, of sandbox.Extensions and of Gate.Open.
func (i *instance) initialise(ctx context.Context, in *sandbox.Init, phase initPhase) error {
	if i.extensions == nil {
		return i.link.Init(ctx, in)
	}
	if i.extended.Load() {
		if err := i.extensions.Registered(ctx); err != nil {
			return err
		}
		gate, ok := i.sandbox.(sandbox.Gate)
		if !ok {
			return hansom.Errorf(hansom.Unsupported, "start instance", "this server's driver cannot start extensions")
		}
		if err := gate.Open(); err != nil {
			return i.explained(err)
		}
	}
	if err := i.link.Init(ctx, in); err != nil {
		return i.explained(err)
	}
	i.extensions.Publish(sandbox.Event{Time: time.Now(), Type: sandbox.EventInitRuntimeDone, Phase: phase.name, InitType: phase.kind, Status: "success"})
	return i.extensions.Settle(ctx)
}

// explained is what an extension has reported, else err.
func (i *instance) explained(err error) error {
	if reported := i.reported(); reported != nil {
		return reported
	}
	return err
}

// reported is the *sandbox.ExtensionError that an extension has reported by now; else nil.
func (i *instance) reported() error {
	if i.extensions == nil {
		return nil
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	err := i.extensions.Settle(now)
	if !isExtensionError(err) {
		return nil
	}
	return err
}

// startInit publishes that the init phase begins.
func (i *instance) startInit(at time.Time, phase initPhase, rt *runtimes.Runtime) {
	if i.extensions != nil {
		i.extensions.Publish(sandbox.Event{Time: at, Type: sandbox.EventInitStart, Phase: phase.name, InitType: phase.kind, Runtime: rt.Version(), RuntimeARN: rt.ARN(i.group.version.Region)})
	}
}

// reportInit publishes how the init phase ended.
func (i *instance) reportInit(phase initPhase, f *failure) {
	if i.extensions == nil {
		return
	}
	e := sandbox.Event{Time: time.Now(), Type: sandbox.EventInitReport, Phase: phase.name, InitType: phase.kind, Status: "success", Duration: i.init}
	if f != nil {
		e.Status, e.ErrorType = "error", f.errorType
		if f.status == hansom.StatusTimeout {
			e.Status, e.ErrorType = "timeout", ""
		}
		done := e
		done.Type = sandbox.EventInitRuntimeDone
		i.extensions.Publish(done)
	}
	i.extensions.Publish(e)
}

func isExtensionError(err error) bool {
	_, ok := errors.AsType[*sandbox.ExtensionError](err)
	return ok
}

// extensionFailure is what an extension reported, with the end of the tree for a reason, as on Lambda, when that has come.
func extensionFailure(sb sandbox.Sandbox, e *sandbox.ExtensionError) *failure {
	f := &failure{status: hansom.StatusCrash, errorType: e.Type, reason: e.Reason}
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-sb.Done():
		f.reason = exitReason(sb.Exit())
	case <-timer.C:
	}
	return f
}

// exitReason words the end of an extension.
func exitReason(e sandbox.Exit) string {
	switch {
	case e.Signal != 0:
		return "signal: " + syscall.Signal(e.Signal).String()
	case e.Code != 0:
		return "exit status " + strconv.Itoa(e.Code)
	}
	return "exit code 0"
}

// linger answers a call whose runtime is done while extensions may not be. The instance takes its next call when they are, within
// the function's timeout; only a caller that wants the end of the log waits for that.
func (p *Pool) linger(inst *instance, run *task, result hansom.Result, e ending) hansom.Result {
	c := result.Completion
	run.request, run.sink = sandbox.Request{}, counted{} // they are the caller's
	if run.journal.tailing {
		result.Completion, result.LogTail = p.settleCall(inst, run, c, e)
		return result
	}
	result.Completion.Billed = billed(c.Duration + c.Init)
	if !p.start(func() { p.settleCall(inst, run, c, e) }) {
		p.settleCall(inst, run, c, e)
	}
	return result
}

// settleCall waits for the extensions, then accounts for the call and releases or ends its instance.
func (p *Pool) settleCall(inst *instance, run *task, c hansom.Completion, e ending) (hansom.Completion, []byte) {
	v, out := inst.group.version, inst.output
	ctx, cancel := context.WithDeadline(context.Background(), c.Start.Add(v.Timeout))
	defer cancel()
	err := inst.extensions.Settle(ctx)
	end := time.Now()
	c.Duration = end.Sub(c.Start)
	out.drain()
	var f *failure
	reason := sandbox.Failure
	switch {
	case err == nil, p.closed.Load():
	case errors.Is(err, context.DeadlineExceeded):
		f, reason = timedOut(v.Timeout), sandbox.Timeout
		c.Duration = v.Timeout
	default:
		f = failed(inst, err)
	}
	if f != nil {
		c.Status = f.status
		f.log(out, &run.journal, v, end)
	}
	p.conclude(inst, &run.journal, &c, f, end, e, true)
	tail := out.finish(&run.journal)
	run.put()
	if err == nil {
		p.release(inst, end)
	} else {
		p.discard(inst, reason)
	}
	return c, tail
}

// failed says why a tree that hung up, or whose extension reported an error, is of no further use.
func failed(inst *instance, err error) *failure {
	if e, ok := errors.AsType[*sandbox.ExtensionError](inst.explained(err)); ok {
		return extensionFailure(inst.sandbox, e)
	}
	return exited(inst)
}

// How long a runtime has for SIGTERM before it is killed ("Shutdown phase" in the Lambda developer guide).
const (
	runtimeGrace         = 300 * time.Millisecond
	runtimeGraceInternal = 500 * time.Millisecond // without external extensions
)

// shutdown ends the runtime and gives the extensions their time.
func (i *instance) shutdown(logger *slog.Logger, reason sandbox.ShutdownReason) {
	if !i.extended.Load() {
		return
	}
	select {
	case <-i.sandbox.Done():
		return
	default:
	}
	if !i.thaw(logger) {
		return
	}
	gate, ok := i.sandbox.(sandbox.Gate)
	if !ok {
		i.extensions.Shutdown(reason)
		return
	}
	if reason != sandbox.Spindown {
		gate.End(syscall.SIGKILL)
		i.extensions.Shutdown(reason)
		return
	}
	grace := runtimeGraceInternal
	if i.output.extensions != nil {
		grace = runtimeGrace
	}
	killed := make(chan struct{})
	timer := time.AfterFunc(grace, func() {
		gate.End(syscall.SIGKILL)
		close(killed)
	})
	defer timer.Stop()
	gate.End(syscall.SIGTERM)
	i.extensions.Shutdown(reason)
	select {
	case <-killed:
	case <-i.sandbox.Done():
	}
}

// ended says whether the runtime has ended.
func (i *instance) ended() bool {
	select {
	case <-i.over:
		return true
	default:
		return false
	}
}

// abandon ends an instance that never became one of its group. Its memory stays reserved, unless extensions have to be given time:
// that is in the background, and accounts for the memory itself.
func (p *Pool) abandon(inst *instance, reason sandbox.ShutdownReason) {
	if !inst.extended.Load() {
		p.kill(inst)
		return
	}
	inst.output.drain()
	bytes := inst.group.bytes
	p.memory.Hold(bytes)
	ended := p.start(func() {
		inst.shutdown(p.logger, reason)
		p.kill(inst)
		p.memory.Ended(bytes)
		p.reclaim()
		p.progress()
	})
	if !ended {
		p.kill(inst)
		p.memory.Ended(bytes)
	}
}

// ending is why an instance that failed like this ends.
func (f *failure) ending() sandbox.ShutdownReason {
	if f.status == hansom.StatusTimeout {
		return sandbox.Timeout
	}
	return sandbox.Failure
}

// runtimeDone is the event of a call whose runtime is done; f is nil when it answered.
func runtimeDone(c *hansom.Completion, f *failure, trace string) sandbox.Event {
	e := sandbox.Event{Time: c.Start.Add(c.Duration), Type: sandbox.EventRuntimeDone, RequestID: c.ID, Trace: trace, Status: "success", Duration: c.Duration, Bytes: c.BytesOut}
	switch c.Status {
	case hansom.StatusOK:
	case hansom.StatusError:
		e.Status = "error"
	case hansom.StatusTimeout:
		e.Status = "timeout"
	default:
		e.Status, e.ErrorType, e.Message = "failure", f.errorType, f.reason
	}
	return e
}

// reportEvent is the event beside the REPORT line.
func reportEvent(c hansom.Completion, f *failure, trace string) sandbox.Event {
	e := sandbox.Event{Time: time.Now(), Type: sandbox.EventReport, RequestID: c.ID, Trace: trace, Status: "success", Report: &c}
	switch {
	case c.Status == hansom.StatusTimeout:
		e.Status = "timeout"
	case c.Status != hansom.StatusOK:
		e.Status = "error"
	}
	if f != nil && e.Status == "error" {
		e.ErrorType = f.errorType
	}
	return e
}
