package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hansomcloud/hansom/test/bench/load"
)

// clientFloor is what the public client of the Runtime API takes in calls/s and with how much processor time, in microseconds
// for each, when its server has nothing to do: one thread in blocking system calls that answers from memory. No server of an
// unmodified program can be quicker, and one that is itself asked for each call has that to do besides.
func (b *bench) clientFloor(program string) (rates, cpus []float64, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	cmd := exec.Command(program)
	cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "AWS_LAMBDA_FUNCTION_NAME=hello-go", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_LAMBDA_FUNCTION_VERSION=1", "AWS_LAMBDA_LOG_GROUP_NAME=g", "AWS_LAMBDA_LOG_STREAM_NAME=s"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() {
		_ = cmd.Process.Kill()
		<-ended
	}()
	var calls atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerPolls(conn.(*net.TCPConn), &calls)
		}
	}()
	for range b.rounds + 1 {
		before, used, start := calls.Load(), load.CPUTime([]int{cmd.Process.Pid}), time.Now()
		time.Sleep(b.length)
		n := float64(calls.Load() - before)
		if n == 0 {
			return nil, nil, fmt.Errorf("%s: the public client takes no invocations", program)
		}
		rates = append(rates, n/time.Since(start).Seconds())
		cpus = append(cpus, float64((load.CPUTime([]int{cmd.Process.Pid})-used).Microseconds())/n)
	}
	return rates[1:], cpus[1:], nil
}

// answerPolls gives an event to each poll on conn and takes each answer, which it counts. It ends with the connection.
func answerPolls(conn *net.TCPConn, answers *atomic.Int64) {
	file, err := conn.File() // in blocking mode
	conn.Close()
	if err != nil {
		return
	}
	defer file.Close()
	fd := int(file.Fd())
	body := `{"name":"bench"}`
	event := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\nLambda-Runtime-Deadline-Ms: %d\r\n"+
		"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:hello-go\r\nLambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0\r\nContent-Length: %d\r\n\r\n%s",
		time.Now().Add(time.Hour).UnixMilli(), len(body), body)
	taken := []byte("HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}")
	var buf [4096]byte
	for n := 0; ; {
		k, err := syscall.Read(fd, buf[n:])
		if err != nil || k == 0 {
			return
		}
		n += k
		answer, end := event, "\r\n\r\n"
		if buf[0] == 'P' { // POST, in chunks
			answer, end = taken, "\r\n0\r\n\r\n"
		}
		if !bytes.HasSuffix(buf[:n], []byte(end)) {
			continue
		}
		if n = 0; buf[0] == 'P' {
			answers.Add(1)
		}
		if _, err := syscall.Write(fd, answer); err != nil {
			return
		}
	}
}
