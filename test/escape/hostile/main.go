//go:build linux

// Command hostile is a function of the runtime provided.al2023 that tries to get out of its sandbox. It makes the attempt that the
// event names and answers with what came of it: "ok" when it worked, else the name of the error. With -attempt it does so outside a
// sandbox, which shows that the attempt works where nothing hinders it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// event says what to try. The test finds out what the host has and tells it: a hostile program may guess well.
type event struct {
	Attempt string `json:"attempt"`

	Secret      string   `json:"secret"`      // file of the host that all may read
	Data        string   `json:"data"`        // the server's data directory
	Init        int      `json:"init"`        // the sandbox's; outside, a process that stands for it
	PID         int      `json:"pid"`         // process of the host
	OtherInit   int      `json:"otherInit"`   // the host's number of another sandbox's init
	TCP         []string `json:"tcp"`         // addresses of listeners of the host
	Abstract    string   `json:"abstract"`    // Unix sockets of the host and of another sandbox
	Socket      string   `json:"socket"`      // path of a Unix socket of the host
	OtherPort   int      `json:"otherPort"`   // on which another sandbox listens on its loopback
	Key         int      `json:"key"`         // System V IPC key that the host and another sandbox use
	Calls       []int    `json:"calls"`       // numbers of system calls
	Project     string   `json:"project"`     // another one
	Function    string   `json:"function"`    // ARN of that project's
	Own         string   `json:"own"`         // ARN of a function of the same project
	Credentials []string `json:"credentials"` // stolen
}

// init is a path below that of the init in /proc.
func (e *event) init(name string) string { return fmt.Sprintf("/proc/%d/%s", e.Init, name) }

// answer is what came of an attempt.
type answer struct {
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

// attempts by name. Each is made in a thread of its own, which ends after it.
var attempts = map[string]func(e *event) answer{}

// try adds attempts whose result is that of a system call.
func try(list map[string]func(e *event) error) {
	for name, f := range list {
		attempts[name] = func(e *event) answer { return result(f(e)) }
	}
}

// result names the error of a system call.
func result(err error) answer {
	var errno syscall.Errno
	switch {
	case err == nil:
		return answer{Result: "ok"}
	case errors.As(err, &errno) && errno == 0:
		return answer{Result: "ok"}
	case errors.As(err, &errno):
		return answer{unix.ErrnoName(errno), err.Error()}
	}
	return answer{err.Error(), ""}
}

// call makes a system call that package unix has not, and names its error.
func call(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func attempt(e *event) answer {
	f := attempts[e.Attempt]
	if f == nil {
		return answer{Result: "no such attempt"}
	}
	for _, c := range held {
		c.Close()
	}
	held = nil
	done := make(chan answer)
	go func() {
		runtime.LockOSThread() // never unlocked: what the attempt changes ends with the thread
		done <- f(e)
	}()
	return <-done
}

func main() {
	name := flag.String("attempt", "", "make this attempt here, with the event on standard input")
	debug.SetTraceback("none") // the end of a log is for what went wrong
	flag.Parse()
	if len(os.Args) > 1 && os.Args[1] == "whoami" { // as a setuid program, see files.go
		fmt.Println(os.Geteuid())
		return
	}
	if *name != "" {
		e := event{}
		if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
			panic(err)
		}
		e.Attempt = *name
		json.NewEncoder(os.Stdout).Encode(attempt(&e))
		return
	}
	for {
		if err := serve(); err != nil {
			panic(err)
		}
	}
}

// serve takes one event over the Runtime API and answers it.
func serve() error {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	next, err := http.Get(api + "next")
	if err != nil {
		return err
	}
	defer next.Body.Close()
	text, err := io.ReadAll(next.Body)
	if err != nil {
		return err
	}
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	out, err := json.Marshal(attempt(&e))
	if err != nil {
		return err
	}
	resp, err := http.Post(api+next.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", bytes.NewReader(out))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
