package eventbus

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hansomcloud/hansom/internal/pattern"
)

// followQueue is how many events a follower may lag behind before it loses some.
const followQueue = 1000

// Followed is an event that came to a bus.
type Followed struct {
	Event json.RawMessage `json:"event"`
	Rules []string        `json:"rules"` // names of those that it matches, sorted
}

type follower struct {
	project, bus string
	pattern      *pattern.Pattern // nil for all events
	queue        chan Followed
}

// followers are those who look on. While there are none nothing is done.
type followers struct {
	count  atomic.Int32
	mu     sync.Mutex
	list   []*follower
	closed chan struct{}
}

// Follow calls yield for each event that comes to a bus from now on and matches a pattern, "" for all, until ctx ends, StopFollowing is
// called or yield returns false. ready is called when it has begun. One that is slow loses events. Errors: ResourceNotFoundException,
// InvalidEventPatternException.
func (s *Service) Follow(ctx context.Context, project, bus, text string, ready func(), yield func(Followed) bool) error {
	b, err := s.Bus(project, bus)
	if err != nil {
		return err
	}
	f := &follower{project: project, bus: b.Name, queue: make(chan Followed, followQueue)}
	if text != "" {
		if f.pattern, err = pattern.Parse(text); err != nil {
			return err
		}
	}
	q := &s.followers
	q.mu.Lock()
	q.list = append(q.list, f)
	q.mu.Unlock()
	q.count.Add(1)
	defer func() {
		q.count.Add(-1)
		q.mu.Lock()
		q.list = slices.DeleteFunc(q.list, func(o *follower) bool { return o == f })
		q.mu.Unlock()
	}()
	ready()
	for {
		select {
		case e := <-f.queue:
			if !yield(e) {
				return nil
			}
		case <-ctx.Done():
			return nil
		case <-q.closed:
			return nil
		}
	}
}

// StopFollowing ends all Follow. It is called once.
func (s *Service) StopFollowing() { close(s.followers.closed) }

// tell has followers see an event and the rules that it matches.
func (q *followers) tell(project, bus string, e *Event, rules []*Rule) {
	if q.count.Load() == 0 {
		return
	}
	names := []string{}
	for _, r := range rules {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.list {
		if f.project != project || f.bus != bus {
			continue
		}
		if f.pattern != nil {
			if ok, err := f.pattern.Match(e.JSON); err != nil || !ok {
				continue
			}
		}
		select {
		case f.queue <- Followed{e.JSON, names}:
		default:
		}
	}
}
