// Command lambdago is a function built with aws-lambda-go that does what the event's action says.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Action string
	Text   string
}

// OrderError is an error with a type of its own.
type OrderError struct{ ID int }

func (e *OrderError) Error() string { return fmt.Sprintf("order %d is unknown", e.ID) }

// pause is the time between the two chunks of a stream.
const pause = 500 * time.Millisecond

var calls int

func handle(ctx context.Context, e event) (any, error) {
	calls++
	fmt.Println("action", e.Action)
	switch e.Action {
	case "error":
		return nil, errors.New("it failed")
	case "typed":
		return nil, &OrderError{7}
	case "panic":
		panic("it panicked")
	case "exit":
		os.Exit(4)
	case "sleep":
		time.Sleep(time.Hour)
	case "large":
		return strings.Repeat("x", 7<<20), nil
	case "garbage", "hoard": // on connections of its own to the Runtime API
		return hoard(map[string]int{"garbage": 1, "hoard": 1000}[e.Action], e.Action == "garbage")
	case "twice":
		lc, _ := lambdacontext.FromContext(ctx)
		resp, err := http.Post("http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01/runtime/invocation/"+lc.AwsRequestID+"/response", "", strings.NewReader(`"first"`))
		if err != nil {
			return nil, err
		}
		return "second", resp.Body.Close()
	case "bytes":
		return strings.NewReader(e.Text), nil
	case "stream", "broken":
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, "first\n")
			time.Sleep(pause)
			if e.Action == "broken" {
				_ = w.CloseWithError(errors.New("it broke off"))
				return
			}
			_, _ = io.WriteString(w, strconv.FormatInt(time.Now().UnixMicro(), 10))
			_ = w.Close()
		}()
		return &events.LambdaFunctionURLStreamingResponse{StatusCode: 201, Headers: map[string]string{"X-A": "b"}, Cookies: []string{"k=v"}, Body: r}, nil
	}
	lc, _ := lambdacontext.FromContext(ctx)
	_, deadline := ctx.Deadline()
	return map[string]any{"text": e.Text, "calls": calls, "arn": lc.InvokedFunctionArn, "id": lc.AwsRequestID, "deadline": deadline,
		"name": lambdacontext.FunctionName, "memory": lambdacontext.MemoryLimitInMB, "version": lambdacontext.FunctionVersion}, nil
}

var hoarded []net.Conn

// hoard opens connections to the Runtime API and keeps them.
func hoard(n int, garbage bool) (string, error) {
	for range n {
		conn, err := net.Dial("tcp", os.Getenv("AWS_LAMBDA_RUNTIME_API"))
		if err != nil {
			return "", err
		}
		hoarded = append(hoarded, conn)
		if garbage {
			if _, err := io.WriteString(conn, strings.Repeat("\xff", 10000)+"\r\n\r\n"); err != nil {
				return "", err
			}
			answer, err := io.ReadAll(conn)
			return strings.SplitN(string(answer), "\r\n", 2)[0], err
		}
	}
	return "hoarded", nil
}

func main() { lambda.Start(handle) }
