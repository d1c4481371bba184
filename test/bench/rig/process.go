// Package rig starts and stops what benchmarks need: Hansom, its functions, and other programs.
package rig

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/test/bench/load"
)

// Process is a started program, in a process group of its own that Stop ends.
type Process struct {
	Name, Version string
	Addr          string     // host:port it answers on
	Below         []*Process // started with it and stopped with it, e.g. the server behind a proxy
	cmd           *exec.Cmd
	log           string
}

// Pid of the program itself.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Pids of the program and of those below it.
func (p *Process) Pids() []int {
	pids := []int{p.Pid()}
	for _, b := range p.Below {
		pids = append(pids, b.Pids()...)
	}
	return pids
}

// Stop asks the program to end, and makes it end after 20 s.
func (p *Process) Stop() {
	for _, b := range p.Below {
		b.Stop()
	}
	_ = syscall.Kill(-p.Pid(), syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
		<-done
	}
}

// launch runs a program in a process group of its own, with its output in the file log.
func launch(name, log string, env []string, argv ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, attributes()
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &Process{Name: name, cmd: cmd, log: log}, nil
}

// until polls for a condition while the process lives, for at most 30 s. The error has the end of the process's output.
func (p *Process) until(what string, condition func() bool) error {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		gone := load.Status(p.Pid(), "VmRSS") == 0 // a zombie has none
		if gone || time.Now().After(deadline) {
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s: %s: no success; its output ends: %s", p.Name, what, strings.TrimSpace(string(text[max(len(text)-2000, 0):])))
		}
	}
	return nil
}

// Start runs a program with its output in the file log and waits until addr accepts connections.
func Start(name, addr, log string, argv ...string) (*Process, error) {
	p, err := launch(name, log, nil, argv...)
	if err != nil {
		return nil, err
	}
	p.Addr = addr
	err = p.until("listening on "+addr, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// FreeAddr is an address of the loopback that nothing listens on.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Run runs a program to its end and returns the first line of its output.
func Run(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", errors.New(argv[0] + ": " + err.Error() + ": " + text)
	}
	line, _, _ := strings.Cut(text, "\n")
	return line, nil
}
