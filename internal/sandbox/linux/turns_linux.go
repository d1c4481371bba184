package linux

import (
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Who wakes up while all CPUs are busy gets its turn at once when its slice is shorter than that of who runs (Linux 6.12 and newer),
// and else when the kernel looks next, every 4 ms on many hosts. So the server has the shortest slices; a sandbox has short ones
// until it computes for longer than a call that mostly waits. What each gets in the end is a matter of shares, not of slices.
const (
	serverSlice = 100 * time.Microsecond // the least there is
	shortSlice  = 200 * time.Microsecond // as the init sets it
	longSlice   = 3 * time.Millisecond

	turnPeriod = 100 * time.Millisecond
	placeTurns = 10 // turns after which who is held is looked at again
	busyShare  = 4  // a sandbox that takes more than a fourth of a CPU computes
)

// setSlice changes the slice of a thread and nothing else. It does nothing where that cannot be done.
func setSlice(thread int, slice time.Duration) {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime, attr.Flags = uint64(slice), 0
	_ = unix.SchedSetAttr(thread, attr, 0) // before Linux 6.12 it changes nothing
}

// ownTurns gives the server's threads short slices; those to come inherit them.
func ownTurns() {
	threads, _ := filepath.Glob("/proc/self/task/[0-9]*")
	for _, t := range threads {
		if id, err := strconv.Atoi(filepath.Base(t)); err == nil {
			setSlice(id, serverSlice)
		}
	}
}

// keepTurns looks at the sandboxes that run until the driver closes.
func (d *Driver) keepTurns() {
	defer close(d.turned)
	ownTurns()
	ticker := time.NewTicker(turnPeriod)
	defer ticker.Stop()
	last := time.Now()
	for tick := 1; ; tick++ {
		select {
		case <-d.idle:
			return
		case <-ticker.C:
		}
		d.mu.Lock()
		boxes := make([]*box, 0, len(d.living))
		for _, b := range d.living {
			if b.running.Load() {
				boxes = append(boxes, b)
			}
		}
		d.mu.Unlock()
		now := time.Now()
		period := now.Sub(last)
		last = now
		for _, b := range boxes {
			used := b.group.CPU()
			d.surplus.count(&b.meter, used, period)
			b.keepTurn(used)
		}
		d.surplus.judge(now, period)
		for _, b := range boxes {
			b.keepPlace(tick%placeTurns == 0)
		}
	}
}

// keepPlace moves a sandbox to the CPUs that it may use, and with again also what it has forked since and was missed.
func (b *box) keepPlace(again bool) {
	at, changed := b.driver.surplus.placeOf(&b.meter)
	if !changed && !(at == apart && again) {
		return
	}
	for range 2 { // what is forked meanwhile may be missed the first time
		b.driver.surplus.apply(at, b.group.Threads()...)
	}
}

// keepTurn gives a sandbox that computes long slices, and short ones again when it does not. used is its CPU time in ns.
func (b *box) keepTurn(used int64) {
	computes := b.turn.known && used-b.turn.used > int64(turnPeriod)/busyShare
	b.turn.used, b.turn.known = used, true
	if computes == b.turn.long {
		return
	}
	b.turn.long = computes
	slice := shortSlice
	if computes {
		slice = longSlice
	}
	for _, thread := range b.group.Threads() {
		setSlice(thread, slice)
	}
}

// turn is what keepTurns knows of a sandbox.
type turn struct {
	known, long bool
	used        int64 // ns of CPU
}
