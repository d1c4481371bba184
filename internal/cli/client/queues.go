package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Queue is one entry of the queues list.
type Queue struct {
	Name        string     `json:"name"`
	ARN         string     `json:"arn"`
	App         string     `json:"app,omitempty"`
	FIFO        bool       `json:"fifo"`
	Ready       int        `json:"ready"`
	InFlight    int        `json:"inFlight"`
	Delayed     int        `json:"delayed"`
	DeadLetters string     `json:"deadLetters,omitempty"` // name of the dead-letter queue
	Receives    int        `json:"receives,omitempty"`    // before a message goes there
	Sources     []string   `json:"sources,omitempty"`     // queues whose dead letters come here
	Consumers   []Consumer `json:"consumers,omitempty"`
}

// Consumer is a function that is called with the messages of a queue.
type Consumer struct {
	ID       string `json:"id"`
	Function string `json:"function"`
	State    string `json:"state"`
	Problem  string `json:"problem,omitempty"`
}

// Message is one that waits in a queue.
type Message struct {
	ID         string               `json:"id"`
	Body       string               `json:"body"`
	Sent       time.Time            `json:"sent"`
	Receives   int                  `json:"receives"`
	Group      string               `json:"group,omitempty"`
	Dedup      string               `json:"dedup,omitempty"`
	Source     string               `json:"source,omitempty"` // ARN of the queue whose dead letter it is
	Attributes map[string]Attribute `json:"attributes,omitempty"`
}

// Attribute of a message.
type Attribute struct {
	Type   string `json:"type"`
	Value  string `json:"value,omitempty"`
	Binary []byte `json:"binary,omitempty"`
}

// URL of the queue for the SQS API, which looks at its path alone.
func (q *Queue) URL() string {
	p := strings.Split(q.ARN, ":")
	return "http://sqs/" + p[len(p)-2] + "/" + q.Name
}

const queuesPath = "/_hansom/v1/queues"

// Queues of an app; of all when app is "".
func (cl *Client) Queues(ctx context.Context, app string) ([]Queue, error) {
	var out struct{ Queues []Queue }
	path := queuesPath
	if app != "" {
		path += "?app=" + url.QueryEscape(app)
	}
	err := cl.Call(ctx, "GET", path, nil, &out)
	return out.Queues, err
}

// Queue reads one by name.
func (cl *Client) Queue(ctx context.Context, name string) (Queue, error) {
	var out Queue
	err := cl.Call(ctx, "GET", queuesPath+"/"+url.PathEscape(name), nil, &out)
	return out, err
}

// Peek reads the first messages of a queue without taking them.
func (cl *Client) Peek(ctx context.Context, queue string, limit int) ([]Message, error) {
	var out struct{ Messages []Message }
	err := cl.Call(ctx, "GET", queuesPath+"/"+url.PathEscape(queue)+"/messages?limit="+strconv.Itoa(limit), nil, &out)
	return out.Messages, err
}

// SQS calls an action of the SQS API in its JSON protocol.
func (cl *Client) SQS(ctx context.Context, action string, in, out any) error {
	return cl.AWS(ctx, "sqs", "AmazonSQS."+action, in, out)
}

// AWS calls an action of a service that speaks AWS JSON; target is what X-Amz-Target says. out may be nil.
func (cl *Client) AWS(ctx context.Context, service, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {target}}
	resp, err := cl.Send(ctx, service, "POST", "/", header, bytes.NewReader(body), int64(len(body)), Digest(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the server's answer broke off: %w", err)
	}
	return nil
}
