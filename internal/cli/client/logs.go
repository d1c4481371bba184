package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hansomcloud/hansom"
)

// Logs calls f with each event that q asks for, until the server ends the list, f fails or ctx ends.
func (cl *Client) Logs(ctx context.Context, q url.Values, f func(hansom.LogEvent) error) error {
	resp, err := cl.Send(ctx, "hansom", "GET", "/_hansom/v1/logs?"+q.Encode(), http.Header{}, nil, 0, Digest(nil))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue // keeps an idle connection open
		}
		var e hansom.LogEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("the server's log is not JSON: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the server ended the log: %w", err)
	}
	return nil
}
