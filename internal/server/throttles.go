package server

import (
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/telemetry"
)

// throttleTold is how long a function that refuses calls is not told of again.
const throttleTold = time.Minute

// throttles counts refused invocations; their reason is in the answer. It tells of a function that refuses some once a minute.
type throttles struct {
	metrics  *telemetry.Metrics
	announce hansom.Announce

	mu   sync.Mutex
	told map[[2]string]time.Time // by project and function
}

func newThrottles(m *telemetry.Metrics, announce hansom.Announce) *throttles {
	return &throttles{metrics: m, announce: announce, told: map[[2]string]time.Time{}}
}

// Throttled notes a refused invocation.
func (t *throttles) Throttled(project, function, reason string) {
	t.metrics.Throttle(project, function)
	if t.first([2]string{project, function}) {
		t.announce.Tell(hansom.Announcement{Project: project, Type: "Function Throttled", Detail: map[string]any{"function": function, "reason": reason}})
	}
}

// first says whether the function has not refused any for a while.
func (t *throttles) first(of [2]string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.told[of]) < throttleTold {
		return false
	}
	if len(t.told) > 1000 {
		for k, at := range t.told {
			if now.Sub(at) >= throttleTold {
				delete(t.told, k)
			}
		}
	}
	t.told[of] = now
	return true
}
