// An external extension written against AWS's documentation, on the standard library alone. The function's environment tells it
// what to do with an INVOKE event.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	base := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2020-01-01/extension/"
	name := filepath.Base(os.Args[0])
	id := ""
	call := func(method, path, body string, headers ...string) []byte {
		req, err := http.NewRequest(method, base+path, strings.NewReader(body))
		check(err)
		req.Header.Set("Lambda-Extension-Name", name)
		if id != "" {
			req.Header.Set("Lambda-Extension-Identifier", id)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		check(err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		check(err)
		if resp.StatusCode > 299 {
			check(fmt.Errorf("%s: %d %s", path, resp.StatusCode, b))
		}
		if v := resp.Header.Get("Lambda-Extension-Identifier"); v != "" {
			id = v
		}
		return b
	}
	call("POST", "register", `{"events":["INVOKE","SHUTDOWN"]}`)
	if os.Getenv("EXTENSION_DOES") == "init/error" {
		call("POST", "init/error", `{"errorMessage":"as told"}`, "Lambda-Extension-Function-Error-Type", "Extension.Told")
		os.Exit(1)
	}
	for {
		var event struct{ EventType, RequestID, ShutdownReason string }
		check(json.Unmarshal(call("GET", "event/next", ""), &event))
		if event.EventType == "SHUTDOWN" {
			time.Sleep(100 * time.Millisecond)
			fmt.Println("go saw", event.ShutdownReason)
			return
		}
		switch os.Getenv("EXTENSION_DOES") {
		case "crash":
			os.Exit(9)
		case "hang":
			time.Sleep(time.Hour)
		case "flush":
			time.Sleep(300 * time.Millisecond)
			fmt.Println("go flushed", event.RequestID)
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
