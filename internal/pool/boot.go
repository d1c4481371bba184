package pool

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimes"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// boot starts an instance for g, which has reserved its memory, and gives it to the first calls that wait, as many as it takes at
// once. A boot that fails answers as many; the next one boots again, as on Lambda.
func (p *Pool) boot(g *group) {
	inst, failure, err := p.bootInstance(g)
	if inst == nil {
		p.memory.Release(g.bytes)
	}
	g.mu.Lock()
	g.booting--
	if inst == nil {
		if g.waiters.n == 0 && err != nil {
			p.logger.Error("an instance did not start", "project", g.key.project, "function", g.key.function, "error", err)
		}
		for range g.slots {
			w := g.waiters.pop()
			if w == nil {
				break
			}
			w.failure, w.err = failure, err
			close(w.ready)
			failure = failure.again()
		}
		g.mu.Unlock()
		p.reclaim() // whoever waits without a boot waits for memory
		p.progress()
		return
	}
	p.admit(inst)
}

// admit makes a booted instance one of its group, which is locked, and gives it to the calls that wait; admit unlocks.
func (p *Pool) admit(inst *instance) {
	g := inst.group
	g.instances[inst] = struct{}{}
	g.busy++
	// In one go with the above: a call that comes meanwhile must not boot for those that wait already. Calls get the instance
	// even when that has ended by now, or a runtime that always does would be booted for ever.
	calls := 0
	for calls < g.slots && g.hand(inst) {
		calls++
	}
	if calls > 0 {
		g.count(inst, calls)
		g.mu.Unlock()
		return
	}
	g.count(inst, 1)
	p.settle(inst, time.Now())
}

// initPhase is when an instance initialises, and why, as Lambda's platform events have it.
type initPhase struct{ name, kind string }

var (
	onDemand    = initPhase{"init", "on-demand"}
	again       = initPhase{"invoke", "on-demand"}
	provisioned = initPhase{"init", "provisioned-concurrency"}
)

// bootInstance answers with an instance that counts as busy, with a failure inside the function, or with an error of the host.
func (p *Pool) bootInstance(g *group) (*instance, *failure, error) {
	v := g.version
	rt, err := p.deps.Runtimes.Resolve(v.Runtime)
	if err != nil {
		return nil, nil, err
	}
	inst, failure, err := p.tryInit(g, rt, onDemand, p.cfg.InitTimeout)
	if failure != nil && failure.status == hansom.StatusTimeout {
		// As on Lambda: an init that takes too long is begun again within the time that an invocation has.
		return p.tryInit(g, rt, again, v.Timeout)
	}
	return inst, failure, err
}

// tryInit starts a sandbox and loads the function in it, within limit.
func (p *Pool) tryInit(g *group, rt *runtimes.Runtime, phase initPhase, limit time.Duration) (*instance, *failure, error) {
	v := g.version
	code, layers, release, err := p.deps.Code.Code(p.ctx, v)
	if err != nil {
		return nil, nil, err
	}
	bound := false
	defer func() {
		if !bound { // else watch releases it
			release()
		}
	}()
	command, err := rt.Command(v.Handler, v.Memory, code, layers)
	if err == nil {
		command, err = rt.Wrap(command, v.Environment[runtimes.Wrapper])
	}
	if err != nil {
		return p.noEntrypoint(v, newID(), phase, err)
	}
	start := time.Now()
	creds := p.deps.Credentials.IssueFunction(v, p.cfg.Credentials)
	spec, in := p.spec(v, rt, command, code, layers, creds, phase, start)
	// Not all of a burst of instances end together.
	early := v.Timeout + time.Minute + mathrand.N(p.cfg.Credentials/10)
	inst := &instance{id: spec.ID, group: g, gone: make(chan struct{}), left: make(chan struct{}), release: release, retireAt: creds.Expires.Add(-early), provisioned: phase == provisioned}
	inst.busy.Store(true)

	if f := external(rt, &spec); f != nil {
		return p.notStarted(v, spec.ID, phase, f)
	}
	if inst.sandbox, err = p.deps.Driver.Start(p.ctx, spec); err != nil {
		if p.closed.Load() {
			return nil, nil, errDraining()
		}
		if f := unlaunched(&spec, err); f != nil {
			return p.notStarted(v, spec.ID, phase, f)
		}
		return p.noEntrypoint(v, spec.ID, phase, err)
	}
	// Not before: in a burst starts wait for each other, which is not the function's fault.
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	inst.over = inst.sandbox.Done()
	if gate, ok := inst.sandbox.(sandbox.Gate); ok && len(spec.Extend) > 0 {
		inst.over = gate.Ended()
	}
	if err = inst.openOutput(p.deps.Logs, v); err == nil {
		inst.link, err = p.deps.Link(inst.sandbox, rt, inst.output.message)
	}
	if err != nil {
		inst.sandbox.Kill()
		inst.closeOutput()
		return nil, nil, err
	}
	inst.attend(v, &spec)
	inst.output.logInitStart(start, v, rt, phase)
	inst.startInit(start, phase, rt)
	if rt.Family == runtimes.HTTP && layers != "" && hasExtensions(layers) {
		inst.output.warn(start, v, "the extensions in /opt/extensions are not started: the runtime http has none")
	}
	if l := inst.sandbox.Listener(PlatformPort); l != nil {
		p.start(func() { p.deps.Platform(l, v) })
	}
	if l := inst.sandbox.Listener(EdgePort); l != nil {
		p.start(func() { p.deps.Edge(l) })
	}
	if l := inst.sandbox.Listener(EdgeTLSPort); l != nil {
		p.start(func() { p.deps.EdgeTLS(l) })
	}
	if namer, ok := inst.sandbox.(sandbox.Namer); ok && spec.Names {
		packets, l := namer.Names()
		egress := hansom.EgressPlatform // of this instance: the project's may be another by now
		if spec.Internet {
			egress = hansom.EgressInternet
		}
		p.start(func() { p.deps.Names(packets, l, egress) })
	}
	watched := p.start(func() { p.watch(inst) })
	bound = watched
	if !watched {
		close(inst.gone)
		p.kill(inst)
		return nil, nil, errDraining()
	}

	err = inst.initialise(ctx, in, phase)
	inst.init = time.Since(start)
	if err == nil {
		if capper, ok := inst.sandbox.(sandbox.Capper); ok {
			if err := capper.Cap(spec.Memory); err != nil {
				inst.output.warn(time.Now(), v, "the CPU of this instance cannot be limited: "+err.Error())
			}
		}
		inst.output.logInitEnd(time.Now(), v, inst.init, phase, nil)
		inst.reportInit(phase, nil)
		return inst, nil, nil
	}
	if p.closed.Load() {
		p.kill(inst)
		return nil, nil, errDraining()
	}
	f, err := p.initFailed(inst, ctx, err, limit)
	if f == nil {
		p.kill(inst)
		return nil, nil, err
	}
	inst.reportInit(phase, f)
	p.abandon(inst, f.ending())
	f.output, f.init, f.memory = inst.output, inst.init, inst.sandbox.Usage().MemoryPeak
	inst.output.logInitEnd(time.Now(), v, f.init, phase, f)
	return nil, f, nil
}

// initFailed tells what went wrong inside the function from errors of the host.
func (p *Pool) initFailed(inst *instance, ctx context.Context, err error, limit time.Duration) (*failure, error) {
	var failedInit *sandbox.InitError
	var f *failure
	switch {
	case isExtensionError(err):
		f = failed(inst, err)
	case errors.As(err, &failedInit):
		f = initFailure(failedInit.Payload)
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		f = timedOut(limit)
		if err != ctx.Err() && err != os.ErrDeadlineExceeded {
			f.note = err.Error()
		}
	case errors.Is(err, sandbox.ErrClosed):
		f = exited(inst)
		if err != sandbox.ErrClosed {
			f.note = err.Error()
		}
	case hansom.KindOf(err) == hansom.Invalid: // the command behind the gate
		f = &failure{status: hansom.StatusError, errorType: typeEntrypoint, reason: err.Error()}
	default:
		return nil, err
	}
	return f, nil
}

// noEntrypoint is what comes of a command that is not there or cannot be executed, which the driver and the runtime answer with
// Invalid: it is the function's failure, any other err the host's.
func (p *Pool) noEntrypoint(v *hansom.Version, id string, phase initPhase, err error) (*instance, *failure, error) {
	if hansom.KindOf(err) != hansom.Invalid {
		return nil, nil, hansom.Errorf(hansom.KindOf(err), "start instance", "%w", err)
	}
	return p.notStarted(v, id, phase, &failure{status: hansom.StatusError, errorType: typeEntrypoint, reason: err.Error()})
}

// notStarted logs a boot that failed before there was a sandbox.
func (p *Pool) notStarted(v *hansom.Version, id string, phase initPhase, f *failure) (*instance, *failure, error) {
	f.output, _ = newOutput(p.deps.Logs, v, id, nil) // without a file it cannot fail
	now := time.Now()
	if f.extension != nil {
		f.output.event(nil, now, extensionLine(v, f.extension))
	}
	f.output.logInitEnd(now, v, 0, phase, f)
	return nil, f, nil
}

// kill ends an instance that never became one of its group. Its memory stays reserved.
func (p *Pool) kill(inst *instance) {
	if !inst.begun.Swap(true) {
		_ = inst.link.Close()
		inst.sandbox.Kill()
		inst.output.close()
	}
	<-inst.gone
}

// answer gives a call the failure of the boot it waited for, and accounts for it.
func (p *Pool) answer(v *hansom.Version, f *failure, inv *hansom.Invocation) hansom.Result {
	now := time.Now()
	startLine, endLine := lines(v, now, inv.ID)
	out, j := f.output, &journal{id: inv.ID, source: inv.Source, tailing: inv.LogTail}
	out.begin(j, now, startLine)
	f.log(out, j, v, now)
	result := hansom.NewResult(f.answer(inv.ID), nil)
	c := hansom.Completion{
		ID: inv.ID, Version: v, Source: inv.Source, Start: now.Add(-f.init), Duration: f.init, Billed: billed(f.init),
		MemoryUsed: f.memory, BytesIn: len(inv.Payload), BytesOut: len(result.Payload), Status: f.status, Cold: true,
	}
	out.logEnd(j, now, endLine, &c, f, "")
	result.Version, result.FunctionError, result.LogTail, result.Completion = v.Number, "Unhandled", out.finish(j), c
	p.deps.Recorder.Record(c)
	return result
}

// egress is what instances of v may reach that start now.
func (p *Pool) egress(v *hansom.Version) string {
	if v.Egress == "" && p.deps.Egress != nil {
		return cmp.Or(p.deps.Egress(v.Project), p.cfg.Egress)
	}
	return cmp.Or(v.Egress, p.cfg.Egress)
}

// newID is 20 letters and digits.
func newID() string { return strings.ToLower(rand.Text()[:20]) }

// spec composes what runs, and what is loaded into it.
func (p *Pool) spec(v *hansom.Version, rt *runtimes.Runtime, command []string, code, layers string, creds hansom.Credentials, phase initPhase, now time.Time) (sandbox.Spec, *sandbox.Init) {
	id := newID()
	spec := sandbox.Spec{
		ID:      id,
		Owner:   v.Project + "/" + v.Region + "/" + v.Function,
		Command: slices.Clone(command),
		Dir:     runtimes.TaskRoot,
		Frames:  rt.Frames,
		Memory:  int64(v.Memory) << 20,
		Tmp:     int64(v.Ephemeral) << 20,
	}
	for _, b := range rt.Binds {
		spec.Binds = append(spec.Binds, sandbox.Bind(b))
	}
	if z := rt.Zygote(v.Environment); z != nil {
		spec.Fork = &sandbox.Fork{Command: z.Command, Env: z.Env, Files: z.Files, Binds: slices.Clone(spec.Binds)}
	}
	spec.Binds = append(spec.Binds, sandbox.Bind{Source: code, Target: runtimes.TaskRoot})
	if layers != "" {
		spec.Binds = append(spec.Binds, sandbox.Bind{Source: layers, Target: runtimes.OptRoot})
	}
	if rt.Family == runtimes.HTTP {
		spec.Serve = &sandbox.Serve{Port: HTTPPort, Env: "PORT"}
	} else {
		spec.Listen = append(spec.Listen, sandbox.Listen{Port: RuntimePort, Env: []string{"AWS_LAMBDA_RUNTIME_API"}, Format: "%s"})
	}
	egress := p.egress(v)
	spec.Names = egress != hansom.EgressNone && p.deps.Names != nil
	spec.Internet = egress == hansom.EgressInternet
	if egress != hansom.EgressNone && p.deps.Platform != nil {
		l := sandbox.Listen{Port: PlatformPort, Format: "http://%s"}
		if _, own := v.Environment["AWS_ENDPOINT_URL"]; !own {
			l.Env = []string{"AWS_ENDPOINT_URL"}
		}
		spec.Listen = append(spec.Listen, l)
	}
	if egress != hansom.EgressNone && p.deps.Edge != nil {
		spec.Listen = append(spec.Listen, sandbox.Listen{Port: EdgePort})
	}
	base := slices.Concat(ownEnvironment, rt.Env)
	if egress != hansom.EgressNone && p.deps.EdgeTLS != nil {
		spec.Listen = append(spec.Listen, sandbox.Listen{Port: EdgeTLSPort})
		if p.deps.Trust != "" {
			spec.Binds = append(spec.Binds, sandbox.Bind{Source: p.deps.Trust, Target: trustRoot})
			base = append(base, trustEnvironment...)
		}
	}
	paths := func(s string) string { return s }
	if r, ok := p.deps.Driver.(sandbox.Relocator); ok {
		paths = func(s string) string {
			parts := strings.Split(s, ":")
			for i, part := range parts {
				if strings.HasPrefix(part, "/") {
					parts[i] = r.Relocate(spec, part)
				}
			}
			return strings.Join(parts, ":")
		}
	}
	spec.Env = environment(v, rt, base, id, creds, phase, now, paths)
	if opt := paths(runtimes.OptRoot); opt != runtimes.OptRoot {
		spec.Env = append(spec.Env, "HANSOM_OPT="+opt) // the Python bootstrap takes it out of what the function sees
	}
	in := &sandbox.Init{Handler: v.Handler, TaskRoot: paths(runtimes.TaskRoot), Env: spec.Env, Ready: v.Ready, Slots: v.Slots()}
	if rt.Late(v.Environment) {
		spec.Boot = &sandbox.Boot{Env: append(slices.Clone(base), runtimes.Blank), Late: []string{runtimes.TaskRoot, runtimes.OptRoot}}
	}
	if v.Environment[runtimes.Wrapper] != "" { // what the wrapper has made of the environment counts, _HANDLER included
		in.Handler, in.Env = "", nil
	}
	return spec, in
}

// ownEnvironment is what every function has, unless it says otherwise.
var ownEnvironment = []string{"LANG=en_US.UTF-8", "TZ=:UTC", "PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin"}

// trustRoot is where functions have Deps.Trust, and trustEnvironment tells their programs.
const trustRoot = "/var/hansom/tls"

var trustEnvironment = []string{
	"NODE_EXTRA_CA_CERTS=" + trustRoot + "/ca.pem", "SSL_CERT_FILE=" + trustRoot + "/all.pem",
	"REQUESTS_CA_BUNDLE=" + trustRoot + "/all.pem", "AWS_CA_BUNDLE=" + trustRoot + "/all.pem", "CURL_CA_BUNDLE=" + trustRoot + "/all.pem",
}

// Expect prepares for a start of v, where the driver can.
func (p *Pool) Expect(v *hansom.Version) {
	if p.deps.Blanks == nil {
		return
	}
	rt, err := p.deps.Runtimes.Resolve(v.Runtime)
	if err != nil {
		return
	}
	if command, err := rt.Command(v.Handler, v.Memory, "", ""); err == nil {
		spec, _ := p.spec(v, rt, command, "", "", hansom.Credentials{}, onDemand, time.Now())
		p.deps.Blanks.Expect(spec)
	}
}

// environment is Lambda's (developer guide, "Defined runtime environment variables"), over base. paths maps what is a path or a list of
// paths. The function's own variables replace all but the reserved ones, which the API refuses.
func environment(v *hansom.Version, rt *runtimes.Runtime, base []string, id string, creds hansom.Credentials, phase initPhase, now time.Time, paths func(string) string) []string {
	env := map[string]string{}
	for _, e := range base {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	for name, value := range env {
		env[name] = paths(value)
	}
	maps.Copy(env, v.Environment)
	maps.Copy(env, map[string]string{
		"_HANDLER":                        v.Handler,
		"LAMBDA_TASK_ROOT":                paths(runtimes.TaskRoot),
		"LAMBDA_RUNTIME_DIR":              paths(runtimes.RuntimeRoot),
		"AWS_REGION":                      v.Region,
		"AWS_DEFAULT_REGION":              v.Region,
		"AWS_LAMBDA_FUNCTION_NAME":        v.Function,
		"AWS_LAMBDA_FUNCTION_VERSION":     v.Number,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(v.Memory),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  phase.kind,
		"AWS_LAMBDA_LOG_GROUP_NAME":       v.LogGroup(),
		"AWS_LAMBDA_LOG_STREAM_NAME":      now.UTC().Format("2006/01/02/") + "[" + v.Number + "]" + id,
		"AWS_ACCESS_KEY_ID":               creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":           creds.SecretAccessKey,
		"AWS_SESSION_TOKEN":               creds.SessionToken,
	})
	if v.Logging.Format == formatJSON {
		env["AWS_LAMBDA_LOG_FORMAT"], env["AWS_LAMBDA_LOG_LEVEL"] = v.Logging.Format, v.Logging.Application
	}
	if n := v.Slots(); n > 1 && rt.Frames {
		env["AWS_LAMBDA_MAX_CONCURRENCY"], env["AWS_LAMBDA_INITIALIZATION_TYPE"] = strconv.Itoa(n), "lambda-managed-instances"
	}
	if rt.Family != runtimes.Provided && rt.Family != runtimes.HTTP {
		env["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + v.Runtime
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
