// Package events holds a sample of each event that AWS documents for functions, with values of our own, and sets values in them.
package events

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Sample is one kind of event.
type Sample struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Samples in the order of a list.
var Samples = []Sample{
	{"apigw", "API Gateway, HTTP API, payload format 2.0: GET /hello"},
	{"apigw-v1", "API Gateway, REST API, payload format 1.0: GET /hello"},
	{"url", "function URL: POST / with a JSON body"},
	{"alb", "Application Load Balancer: GET /hello"},
	{"s3", "S3: an object was created"},
	{"sqs", "SQS: a batch of one message"},
	{"sns", "SNS: a notification"},
	{"schedule", "EventBridge: a scheduled event"},
	{"eventbridge", "EventBridge: an event of a source of your own"},
	{"dynamodb", "DynamoDB Streams: an item was inserted, one was modified"},
	{"kinesis", "Kinesis: a batch of one record"},
	{"cognito", "Cognito user pool: pre sign-up"},
}

//go:embed samples
var files embed.FS

// Names of the samples.
func Names() []string {
	out := make([]string, len(Samples))
	for i, s := range Samples {
		out[i] = s.Name
	}
	return out
}

// Read returns the sample of a name as JSON; ok is false when there is none.
func Read(name string) (event []byte, ok bool) {
	for _, s := range Samples {
		if s.Name == name {
			data, err := files.ReadFile("samples/" + name + ".json")
			return data, err == nil
		}
	}
	return nil, false
}

// Set returns event, which is JSON, with values put in. Each set is path=value; a path is keys and indexes joined by dots, such as
// Records.0.body, with \. for a dot in a key. Objects on the way are made; an index is one of the list, or its length to add to it.
// Where a string stands the value is taken as text; elsewhere as JSON if it is, else as text.
func Set(event []byte, sets []string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(event))
	dec.UseNumber() // numbers stay as they are written
	var root any
	if err := dec.Decode(&root); err != nil {
		return nil, err
	}
	for _, set := range sets {
		path, value, ok := strings.Cut(set, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("%q is not path=value, such as pathParameters.name=Ada", set)
		}
		var err error
		if root, err = put(root, split(path), value); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return json.Marshal(root)
}

// split cuts a path at its dots.
func split(path string) []string {
	var keys []string
	var key strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && path[i+1] == '.':
			key.WriteByte('.')
			i++
		case path[i] == '.':
			keys = append(keys, key.String())
			key.Reset()
		default:
			key.WriteByte(path[i])
		}
	}
	return append(keys, key.String())
}

// put returns node with value at path.
func put(node any, path []string, value string) (any, error) {
	if len(path) == 0 {
		if _, text := node.(string); text {
			return value, nil
		}
		return parse(value), nil
	}
	key := path[0]
	var err error
	switch n := node.(type) {
	case nil:
		n2 := map[string]any{}
		n2[key], err = put(nil, path[1:], value)
		return n2, err
	case map[string]any:
		n[key], err = put(n[key], path[1:], value)
		return n, err
	case []any:
		i, e := strconv.Atoi(key)
		switch {
		case e != nil || i < 0 || i > len(n):
			return nil, fmt.Errorf("%q is not an index of this list of %d; %d adds to it", key, len(n), len(n))
		case i == len(n):
			n = append(n, nil)
		}
		n[i], err = put(n[i], path[1:], value)
		return n, err
	}
	return nil, fmt.Errorf("%q cannot be set in %v, which is neither an object nor a list", key, node)
}

// parse reads a value as JSON, else as text.
func parse(value string) any {
	dec := json.NewDecoder(strings.NewReader(value))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return value
	}
	if _, err := dec.Token(); err != io.EOF {
		return value
	}
	return v
}
