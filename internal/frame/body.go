package frame

import (
	"encoding/binary"
	"fmt"
)

// Booted is the body of the first READY.
type Booted struct {
	Protocol uint8  // Version
	Runtime  string // of the interpreter, as it names itself
}

// AppendBooted appends the body of a READY to dst.
func AppendBooted(dst []byte, r Booted) []byte {
	return AppendString(append(dst, r.Protocol), r.Runtime)
}

// ParseBooted reads the body of the first READY.
func ParseBooted(b []byte) (Booted, error) {
	if len(b) == 0 {
		return Booted{}, fmt.Errorf("READY has no protocol version")
	}
	version, rest, err := String(b[1:])
	if err != nil {
		return Booted{}, fmt.Errorf("READY: %w", err)
	}
	if len(rest) != 0 {
		return Booted{}, fmt.Errorf("READY has %d bytes too many", len(rest))
	}
	return Booted{Protocol: b[0], Runtime: version}, nil
}

// Load is the body of INIT.
type Load struct {
	Handler  string
	TaskRoot string
	Env      [][2]string // name, value
}

// AppendLoad appends the body of an INIT to dst.
func AppendLoad(dst []byte, l *Load) []byte {
	dst = AppendString(dst, l.Handler)
	dst = AppendString(dst, l.TaskRoot)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(l.Env)))
	for _, e := range l.Env {
		dst = AppendString(AppendString(dst, e[0]), e[1])
	}
	return dst
}

// ParseLoad reads the body of an INIT.
func ParseLoad(b []byte) (l Load, err error) {
	if l.Handler, b, err = String(b); err == nil {
		l.TaskRoot, b, err = String(b)
	}
	if err == nil && len(b) < 4 {
		err = fmt.Errorf("frame body ends inside a count")
	}
	if err != nil {
		return Load{}, fmt.Errorf("INIT: %w", err)
	}
	count := binary.LittleEndian.Uint32(b)
	b = b[4:]
	for range count {
		var e [2]string
		if e[0], b, err = String(b); err == nil {
			e[1], b, err = String(b)
		}
		if err != nil {
			return Load{}, fmt.Errorf("INIT: %w", err)
		}
		l.Env = append(l.Env, e)
	}
	if len(b) != 0 {
		return Load{}, fmt.Errorf("INIT has %d bytes too many", len(b))
	}
	return l, nil
}

// Call is the body of INVOKE. Its byte slices share memory with what was parsed.
type Call struct {
	Deadline      int64 // Unix milliseconds
	RequestID     string
	ARN           string
	Trace         string
	ClientContext []byte // JSON, empty when there is none
	Identity      []byte // JSON, empty when there is none
	Event         []byte
}

// Size of what AppendCall appends, in bytes.
func (c *Call) Size() int {
	return 8 + 5*4 + len(c.RequestID) + len(c.ARN) + len(c.Trace) + len(c.ClientContext) + len(c.Identity)
}

// AppendCall appends the body of an INVOKE to dst, but for the event, which follows it.
func AppendCall(dst []byte, c *Call) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Deadline))
	dst = AppendString(dst, c.RequestID)
	dst = AppendString(dst, c.ARN)
	dst = AppendString(dst, c.Trace)
	dst = AppendString(dst, c.ClientContext)
	return AppendString(dst, c.Identity)
}

// ParseCall reads the body of an INVOKE.
func ParseCall(b []byte) (Call, error) {
	if len(b) < 8 {
		return Call{}, fmt.Errorf("INVOKE ends inside its deadline")
	}
	c := Call{Deadline: int64(binary.LittleEndian.Uint64(b))}
	b = b[8:]
	var err error
	for _, s := range []*string{&c.RequestID, &c.ARN, &c.Trace} {
		if *s, b, err = String(b); err != nil {
			return Call{}, fmt.Errorf("INVOKE: %w", err)
		}
	}
	for _, p := range []*[]byte{&c.ClientContext, &c.Identity} {
		if *p, b, err = Bytes(b); err != nil {
			return Call{}, fmt.Errorf("INVOKE: %w", err)
		}
	}
	c.Event = b
	return c, nil
}

// AppendWindow appends the body of a WINDOW to dst.
func AppendWindow(dst []byte, n uint32) []byte { return binary.LittleEndian.AppendUint32(dst, n) }
