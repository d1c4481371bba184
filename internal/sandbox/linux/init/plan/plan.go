// Package plan is what the server tells the init of a sandbox, and what the init answers, over their control socket.
//
// The server writes one Plan. The init answers with Ready, which carries the listeners as SCM_RIGHTS, or with Failed or Refused.
// After Ready requests for sockets and Open are answered once each, and comes Exited for a program whose end was not asked for, and for the last. All numbers are little-endian. The package imports
// nothing, to keep the init small.
package plan

// Descriptors that an init starts with. Those from Frames on may be closed.
const (
	Control      = 3 // the control socket
	Frames       = 4 // becomes fd 3 of the command
	FreezerTasks = 5 // cgroup v1: where a thread enters the sandbox's freezer cgroup
	FreezerState = 6 // cgroup v1: its freezer.state
	Output       = 7 // standard output and standard error of what is in Plan.Extend
	Forked       = 8 // a socket to the command, when it has been forked already; see AppendForked
)

// Descriptors of a zygote, which it is left with.
const (
	ZygoteSocket  = 4 // where it is asked for forks
	ZygoteHost    = 5 // the mount namespace of the server
	ZygoteProgram = 6 // this init
)

// Requests that follow the plan: a byte each.
const (
	MakeSocket = 'S' // answered with Socket
	Terminate  = 'T' // sends SIGTERM to the command; from now on the init ends with the last program
	Kill       = 'K' // the same with SIGKILL
	Open       = 'O' // starts the command of a plan with Extend, once; answered with Opened, Failed or Refused
)

// Kinds of answers: a byte, followed by a u32 length and as many bytes.
const (
	Ready   = 'R' // nothing
	Opened  = 'O' // nothing
	Failed  = 'F' // text
	Refused = 'N' // text: a program cannot be executed
	Socket  = 'S' // u32 errno; when it is 0, an unconnected TCP socket of the sandbox comes as SCM_RIGHTS
	Exited  = 'X' // u32 the wait status, u32 of what: 0 is the command, n Extend[n-1]
)

// Datagrams marks a port of Plan.Listen.
const Datagrams = 1 << 16

// MaxPlan is the largest encoded Plan in bytes.
const MaxPlan = 16 << 20

// Op is the kind of a Step.
type Op byte

// Steps build the file system. Paths are relative to the new root.
const (
	Dir    Op = iota + 1 // makes the directory Path with Mode
	Link                 // makes the symbolic link Path to Source
	File                 // makes the file Path with the contents Source and Mode
	Bind                 // shows the host's Source at Path; Mode is an or of BindReadOnly and BindDeep
	Tmpfs                // mounts a tmpfs at Path with the options Source
	Proc                 // mounts a read-only proc at Path
	Device               // makes the character device Path with the number Mode, as mknod(2) wants it, or shows the host's Source
)

// Modes of a Bind.
const (
	BindReadOnly = 1 << iota // read-only, nosuid, nodev
	BindDeep                 // with the mounts below it; needed in a user namespace
)

// Step is one change of the new root.
type Step struct {
	Op           Op
	Path, Source string
	Mode         uint32
}

// Plan says how to make a sandbox and what to run in it.
type Plan struct {
	Root      string // directory of the host on which the new root is mounted
	Hostname  string
	Steps     []Step
	Listen    []uint32 // ports on 127.0.0.1, those of UDP with Datagrams added
	User      bool     // in a user namespace: the uid cannot be changed
	UID       uint32
	Filter    []byte // seccomp program, an array of struct sock_filter
	Files     uint32 // RLIMIT_NOFILE
	Processes uint32 // RLIMIT_NPROC; 0 leaves it
	Frames    bool
	Freezer   bool // FreezerTasks and FreezerState are open
	Forked    bool // the command is a child already, and waits at Forked
	Zygote    bool // no sandbox: become Command, with all rights, once the file system is made
	Dir       string
	Command   []string // none: exit with 0 when all else is done
	Extend    []string // programs; the command waits for Open when there are any
	Env       []string
}

// AppendUint32 appends v, little-endian.
func AppendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

// Uint32 reads what AppendUint32 wrote.
func Uint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// AppendStep encodes a step, for Plan.Append.
func AppendStep(b []byte, s Step) []byte {
	b = append(b, byte(s.Op))
	b = AppendUint32(b, s.Mode)
	return appendString(appendString(b, s.Path), s.Source)
}

// Append encodes the plan, its length in front. encoded are steps made by AppendStep that come before p.Steps.
func (p *Plan) Append(b, encoded []byte) []byte {
	start := len(b)
	b = AppendUint32(b, 0)
	b = appendString(b, p.Root)
	b = appendString(b, p.Hostname)
	b = append(b, encoded...)
	for _, s := range p.Steps {
		b = AppendStep(b, s)
	}
	b = append(b, 0)
	b = AppendUint32(b, uint32(len(p.Listen)))
	for _, port := range p.Listen {
		b = AppendUint32(b, port)
	}
	for _, flag := range []bool{p.User, p.Frames, p.Freezer, p.Forked, p.Zygote} {
		if flag {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	for _, n := range []uint32{p.UID, p.Files, p.Processes} {
		b = AppendUint32(b, n)
	}
	b = appendString(b, string(p.Filter))
	b = appendString(b, p.Dir)
	b = appendStrings(b, p.Command)
	b = appendStrings(b, p.Extend)
	b = appendStrings(b, p.Env)
	copy(b[start:], AppendUint32(nil, uint32(len(b)-start-4)))
	return b
}

// AppendForked encodes what a command that was forked is told, its length in front: UID, Files, Processes, Dir, Command, Env and
// Filter. It answers "R" and its pid when it has no rights left, and runs when its socket reads EOF; or "F" and what failed.
func (p *Plan) AppendForked(b []byte) []byte {
	start := len(b)
	b = AppendUint32(b, 0)
	for _, n := range []uint32{p.UID, p.Files, p.Processes} {
		b = AppendUint32(b, n)
	}
	b = appendString(b, p.Dir)
	b = appendStrings(b, p.Command)
	b = appendStrings(b, p.Env)
	b = appendString(b, string(p.Filter))
	copy(b[start:], AppendUint32(nil, uint32(len(b)-start-4)))
	return b
}

func appendString(b []byte, s string) []byte {
	b = AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// Decode reads what Append wrote, without the length in front. It reports whether b is a whole plan and nothing else.
func Decode(b []byte) (*Plan, bool) {
	d := decoder{b: b}
	p := &Plan{Root: d.string(), Hostname: d.string()}
	for op := d.byte(); op != 0 && !d.bad; op = d.byte() {
		s := Step{Op: Op(op), Mode: d.uint32()}
		s.Path, s.Source = d.string(), d.string()
		p.Steps = append(p.Steps, s)
	}
	for n := d.uint32(); n > 0 && !d.bad; n-- {
		p.Listen = append(p.Listen, d.uint32())
	}
	for _, flag := range []*bool{&p.User, &p.Frames, &p.Freezer, &p.Forked, &p.Zygote} {
		*flag = d.byte() == 1
	}
	p.UID, p.Files, p.Processes = d.uint32(), d.uint32(), d.uint32()
	p.Filter = []byte(d.string())
	p.Dir = d.string()
	p.Command, p.Extend, p.Env = d.strings(), d.strings(), d.strings()
	return p, !d.bad && len(d.b) == 0
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint32) []byte {
	if uint64(n) > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if v := d.take(4); v != nil {
		return Uint32(v)
	}
	return 0
}

func (d *decoder) string() string { return string(d.take(d.uint32())) }

func (d *decoder) strings() []string {
	var list []string
	for n := d.uint32(); n > 0 && !d.bad; n-- {
		list = append(list, d.string())
	}
	return list
}
