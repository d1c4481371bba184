package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// Invocation is one call of a function.
type Invocation struct {
	Function  string // name or ARN
	Qualifier string // "" for $LATEST
	Type      string // "RequestResponse", "Event" or "DryRun"
	Payload   []byte
	LogTail   bool
}

// Result of an Invocation.
type Result struct {
	Payload   []byte // "" of a streamed answer that is no error
	Version   string // that was executed
	Error     string // "" or "Handled", "Unhandled", ...; Payload says more
	LogTail   string
	RequestID string
}

// Invoke calls a function and waits for its answer, or until an Event is accepted.
func (cl *Client) Invoke(ctx context.Context, in Invocation) (*Result, error) {
	resp, err := cl.invoke(ctx, FunctionPath(in.Function)+"/invocations", in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	payload, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("the function's answer broke off: %w", err)
	}
	tail, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-Amz-Log-Result"))
	if err != nil {
		return nil, fmt.Errorf("the server's log result is not base64: %w", err)
	}
	return &Result{Payload: payload, Version: resp.Header.Get("X-Amz-Executed-Version"), Error: resp.Header.Get("X-Amz-Function-Error"),
		LogTail: string(tail), RequestID: requestID(resp)}, nil
}

// Stream calls a function and writes what it answers to w as it comes.
func (cl *Client) Stream(ctx context.Context, in Invocation, w io.Writer) (*Result, error) {
	resp, err := cl.invoke(ctx, "/2021-11-15/functions/"+url.PathEscape(in.Function)+"/response-streaming-invocations", in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := &Result{Version: resp.Header.Get("X-Amz-Executed-Version"), RequestID: requestID(resp)}
	return out, out.read(resp.Body, w)
}

// read reads the events of InvokeWithResponseStream to the last, InvokeComplete.
func (r *Result) read(body io.Reader, w io.Writer) error {
	decoder, buf := eventstream.NewDecoder(), make([]byte, 0, 64<<10)
	for {
		message, err := decoder.Decode(body, buf[:0])
		if err != nil {
			return fmt.Errorf("the function's answer broke off: %w", err)
		}
		header := func(name string) string {
			if v := message.Headers.Get(name); v != nil {
				return v.String()
			}
			return ""
		}
		if header(":message-type") != "event" {
			return &Error{Status: http.StatusInternalServerError, Code: header(":error-code"),
				Message: firstOf(header(":error-message"), header(":error-code"), "the server ended the answer without a reason")}
		}
		switch header(":event-type") {
		case "PayloadChunk":
			if _, err := w.Write(message.Payload); err != nil {
				return err
			}
		case "InvokeComplete":
			var complete struct{ ErrorCode, ErrorDetails, LogResult string }
			if err := json.Unmarshal(message.Payload, &complete); err != nil {
				return fmt.Errorf("the end of the function's answer is not JSON: %w", err)
			}
			tail, err := base64.StdEncoding.DecodeString(complete.LogResult)
			if err != nil {
				return errors.New("the server's log result is not base64")
			}
			r.Error, r.Payload, r.LogTail = complete.ErrorCode, []byte(complete.ErrorDetails), string(tail)
			return nil
		}
	}
}

func (cl *Client) invoke(ctx context.Context, path string, in Invocation) (*http.Response, error) {
	if in.Qualifier != "" {
		path += "?Qualifier=" + url.QueryEscape(in.Qualifier)
	}
	header := http.Header{"X-Amz-Invocation-Type": {in.Type}}
	if in.LogTail {
		header.Set("X-Amz-Log-Type", "Tail")
	}
	return cl.Send(ctx, "lambda", "POST", path, header, bytes.NewReader(in.Payload), int64(len(in.Payload)), Digest(in.Payload))
}

func requestID(resp *http.Response) string { return resp.Header.Get("X-Amzn-Requestid") }
