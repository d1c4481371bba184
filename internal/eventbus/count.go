package eventbus

import "sync"

// Counts is what came to a bus since the server's start.
type Counts struct {
	Project, Bus       string
	Published, Matched int // events, and those of them that a rule let through
}

// tally counts by buses.
type tally struct {
	mu    sync.Mutex
	buses map[busKey]*Counts
}

func (t *tally) add(project, bus string, matched bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := busKey{project, bus}
	c := t.buses[key]
	if c == nil {
		c = &Counts{Project: project, Bus: bus}
		t.buses[key] = c
	}
	c.Published++
	if matched {
		c.Matched++
	}
}

// Counts of all buses to which something came, in no order.
func (s *Service) Counts() (list []Counts) {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	for _, c := range s.tally.buses {
		list = append(list, *c)
	}
	return list
}
