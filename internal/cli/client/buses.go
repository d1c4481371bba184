package client

import (
	"context"
	"encoding/json"
	"net/url"
)

// Followed is an event that came to a bus.
type Followed struct {
	Event json.RawMessage `json:"event"`
	Rules []string        `json:"rules"` // that it matches
}

// FollowBus calls f with each event that comes to a bus from now on and matches pattern, "" for all, until the server ends the stream,
// f fails or ctx ends.
func (cl *Client) FollowBus(ctx context.Context, bus, pattern string, f func(Followed) error) error {
	return lines(ctx, cl, "/_hansom/v1/buses/"+url.PathEscape(bus)+"/events?"+url.Values{"pattern": {pattern}}.Encode(), f)
}
