package pattern

import "strings"

// paths are the places in events that patterns ask about. Each has a slot, a small number that is free again when nobody asks any more.
type paths struct {
	root  member
	slots int32 // in use or free
	free  []int32
}

// member of an object, by the part of its path between two dots: dots in names and nesting are the same.
type member struct {
	next  map[string]*member
	uses  int   // paths that end here or below
	asked int   // those that end here
	slot  int32 // valid while asked
}

// step follows a name, which may have dots; nil when no path goes there.
func (m *member) step(name string) *member {
	if m == nil {
		return nil
	}
	for {
		head, rest, more := strings.Cut(name, ".")
		m = m.next[head]
		if m == nil || !more {
			return m
		}
		name = rest
	}
}

// take makes a branch of fields, with slots for their paths.
func (p *paths) take(fields []field) branch {
	b := branch{fields: fields}
	for i := range fields {
		m := &p.root
		for part := range strings.SplitSeq(fields[i].path, ".") {
			below := m.next[part]
			if below == nil {
				if m.next == nil {
					m.next = map[string]*member{}
				}
				below = &member{}
				m.next[part] = below
			}
			below.uses++
			m = below
		}
		if m.asked == 0 {
			if n := len(p.free); n > 0 {
				m.slot, p.free = p.free[n-1], p.free[:n-1]
			} else {
				m.slot = p.slots
				p.slots++
			}
		}
		m.asked++
		b.slots = append(b.slots, m.slot)
	}
	return b
}

// give ends what take began.
func (p *paths) give(b *branch) {
	for i := range b.fields {
		m := &p.root
		for part := range strings.SplitSeq(b.fields[i].path, ".") {
			below := m.next[part]
			if below.uses--; below.uses == 0 {
				delete(m.next, part)
			}
			m = below
		}
		if m.asked--; m.asked == 0 {
			p.free = append(p.free, m.slot)
		}
	}
}
