// Command go greets. It is an ordinary AWS Lambda function, built with aws-lambda-go.
package main

import (
	"context"
	"log"
	"os"
	"runtime"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
)

// Event is what the function reads of an HTTP request, or of a plain event {"name": "..."}.
type Event struct {
	PathParameters map[string]string `json:"pathParameters"`
	Name           string            `json:"name"`
}

// Greeting is the answer.
type Greeting struct {
	Message string `json:"message"`
	Runtime string `json:"runtime"`
}

func handle(_ context.Context, e Event) (Greeting, error) {
	name := "world"
	if e.Name != "" {
		name = e.Name
	}
	if n, ok := e.PathParameters["name"]; ok {
		name = n
	}
	log.Print("greeting ", name)
	return Greeting{
		Message: os.Getenv("GREETING") + ", " + name + "!",
		Runtime: "Go " + strings.TrimPrefix(runtime.Version(), "go"),
	}, nil
}

func main() { lambda.Start(handle) }
