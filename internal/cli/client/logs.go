package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/hansomcloud/hansom"
)

// Logs calls f with each event that q asks for, until the server ends the list, f fails or ctx ends.
func (cl *Client) Logs(ctx context.Context, q url.Values, f func(hansom.LogEvent) error) error {
	return lines(ctx, cl, "/_hansom/v1/logs?"+q.Encode(), f)
}

// Request is one that has been answered, as docs/reference/management-api.md describes it.
type Request struct {
	Time      time.Time `json:"time"`
	ID        string    `json:"requestId,omitempty"`
	Function  string    `json:"function,omitempty"`
	Version   string    `json:"version,omitempty"`
	Source    string    `json:"source"`
	Method    string    `json:"method,omitempty"`
	Host      string    `json:"host,omitempty"`
	Path      string    `json:"path,omitempty"`
	Status    int       `json:"status,omitempty"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	Duration  float64   `json:"durationMs"`
	Billed    int64     `json:"billedMs,omitempty"`
	Init      float64   `json:"initMs,omitempty"`
	Cold      bool      `json:"cold,omitempty"`
	Memory    int64     `json:"memoryMb,omitempty"`
	MemoryMax int       `json:"memoryLimitMb,omitempty"`
}

// Requests calls f with each request that ends from now on, until the server ends the stream, f fails or ctx ends.
func (cl *Client) Requests(ctx context.Context, f func(Request) error) error {
	return lines(ctx, cl, "/_hansom/v1/requests", f)
}

// lines calls f with each line of JSON that the server answers with.
func lines[T any](ctx context.Context, cl *Client, path string, f func(T) error) error {
	resp, err := cl.Send(ctx, "hansom", "GET", path, http.Header{}, nil, 0, Digest(nil))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	scanner := bufio.NewScanner(resp.Body)
	scanner.Buffer(nil, 4<<20)
	for scanner.Scan() {
		if len(scanner.Bytes()) == 0 {
			continue // keeps an idle connection open
		}
		var v T
		if err := json.Unmarshal(scanner.Bytes(), &v); err != nil {
			if ctx.Err() != nil || scanner.Err() != nil {
				break // it broke off in the middle of a line
			}
			return fmt.Errorf("the server's answer is not JSON: %w", err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("the server broke off: %w", err)
	}
	return nil
}
