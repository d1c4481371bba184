package hansomapi

import (
	"bufio"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/eventbus"
)

// Follow tells of one event, which matches any pattern.
func (f *fakeBuses) Follow(ctx context.Context, project, bus, pattern string, ready func(), yield func(eventbus.Followed) bool) error {
	if bus != "default" {
		return hansom.Errorf(hansom.NotFound, "follow", "Event bus %s does not exist.", bus).WithCode("ResourceNotFoundException")
	}
	ready()
	yield(eventbus.Followed{Event: json.RawMessage(`{"account":"` + project + `"}`), Rules: []string{pattern}})
	<-ctx.Done()
	close(f.left)
	return nil
}

func TestFollowBus(t *testing.T) {
	f := newFixture(t)
	project, acme := f.tenant("acme")
	f.refused(acme, "GET", "buses/none/events", "", 404, "ResourceNotFoundException", "Event bus none does not exist.")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp := f.send(ctx, acme, "GET", "buses/default/events?pattern=p", "", "")
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != `{"event":{"account":"`+project+`"},"rules":["p"]}` {
		t.Errorf("%q", lines.Text())
	}
	cancel()
	<-f.buses.left
}
