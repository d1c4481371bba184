package sandboxtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Behaviour is what a sandbox's process does in a test.
type Behaviour string

// Behaviours. A driver without real processes shows those it can; see Options.Command.
const (
	Hello       Behaviour = "hello"       // prints "to stdout" and "to stderr" there, a line each, and exits with 0
	Exit        Behaviour = "exit"        // exits with the status args[0]
	Signal      Behaviour = "signal"      // ends by the signal args[0]
	Hold        Behaviour = "hold"        // prints the line "ready", ignores SIGTERM and SIGINT and never ends
	Environment Behaviour = "environment" // prints its arguments, environment and working directory, and exits with 0
	Echo        Behaviour = "echo"        // writes to fd 3 what it reads there until EOF, then exits with 0
	Dial        Behaviour = "dial"        // args are pairs NAME, PREFIX: dials os.Getenv(NAME) less PREFIX, writes NAME and expects "hello NAME"; exits with 0
	Daemon      Behaviour = "daemon"      // a daemon dials os.Getenv(args[0]), writes the line "daemon" and holds; the first process then holds, or on args[1] "exit" exits with 3 when the daemon has read a line
	Work        Behaviour = "work"        // uses 50 ms of CPU and 32 MB of memory, prints "ready" and holds
	Tick        Behaviour = "tick"        // dials os.Getenv(args[0]) and writes a byte each millisecond
	Serve       Behaviour = "serve"       // listens on 127.0.0.1 at port os.Getenv(args[0]), prints "ready" and answers the line X of each connection with "hello X"
	Deaf        Behaviour = "deaf"        // as Serve, but accepts nothing
	After       Behaviour = "after"       // reads a byte from fd 3, then does as the behaviour args[0] with the other arguments
	Obey        Behaviour = "obey"        // dials os.Getenv(args[0]), writes its last argument and prints each line it reads, but exits with 3 on "exit"

	Eat       Behaviour = "eat"       // uses memory without end; with args[0] "child", in a child, whose end it survives by exiting with 1
	Fork      Behaviour = "fork"      // starts processes until that fails; prints "N then ERROR", "ready" and holds
	Fill      Behaviour = "fill"      // fills the file args[0] until that fails, prints the error, removes the file and exits with 0
	Files     Behaviour = "files"     // prints for each of args "PATH read ERROR" ("empty" for an empty file) and "PATH write ERROR", and the mounts
	Identity  Behaviour = "identity"  // prints /proc/self/status, its user, its core limit and inherited descriptors above 2
	Calls     Behaviour = "calls"     // prints for each forbidden system call "NAME ERROR"
	Network   Behaviour = "network"   // prints the interfaces, and the errors of dialling args
	Processes Behaviour = "processes" // prints the processes it sees and holds
)

// marker is the first argument of a process that shows a behaviour.
const marker = "hansom-sandboxtest"

// Main shows a behaviour and exits when this process was started for that; else it returns at once. TestMain calls it first.
func Main() {
	if len(os.Args) < 3 || os.Args[1] != marker {
		return
	}
	os.Exit(behave(Behaviour(os.Args[2]), os.Args[3:]))
}

func behave(b Behaviour, args []string) int {
	switch b {
	case Hello:
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
	case Exit:
		code, _ := strconv.Atoi(args[0])
		return code
	case Signal:
		n, _ := strconv.Atoi(args[0])
		signal.Reset(syscall.Signal(n))
		raise(syscall.Signal(n))
		hold()
	case Hold:
		ready()
	case Environment:
		for _, a := range args {
			fmt.Printf("arg %q\n", a)
		}
		for _, e := range os.Environ() {
			fmt.Printf("env %q\n", e)
		}
		cwd, _ := os.Getwd()
		fmt.Println("cwd", cwd)
	case Echo:
		f := os.NewFile(3, "fd 3")
		if _, err := io.Copy(f, struct{ io.Reader }{f}); err != nil {
			return failed(err)
		}
	case Dial:
		for i := 0; i < len(args); i += 2 {
			if err := greet(args[i], strings.TrimPrefix(os.Getenv(args[i]), args[i+1])); err != nil {
				return failed(err)
			}
		}
	case Daemon:
		return daemon(args)
	case "daemon-child":
		// The second fork: its parent exits, so that it is an orphan in a session of its own.
		if _, err := detach("daemon-grandchild", args[0]); err != nil {
			return failed(err)
		}
	case "daemon-grandchild":
		conn, err := net.Dial("tcp", os.Getenv(args[0]))
		if err != nil {
			return failed(err)
		}
		fmt.Fprintln(conn, "daemon")
		conn.Read(make([]byte, 1))
		os.NewFile(3, "signal to the first process").Close()
		hold()
	case Work:
		mem := make([]byte, 32<<20)
		for i := 0; i < len(mem); i += 512 {
			mem[i] = 1
		}
		for cpuTime() < 50*time.Millisecond {
		}
		ready()
		mem[0]++
	case Tick:
		conn, err := net.Dial("tcp", os.Getenv(args[0]))
		if err != nil {
			return failed(err)
		}
		for range time.Tick(time.Millisecond) {
			if _, err := conn.Write([]byte{'.'}); err != nil {
				return failed(err)
			}
		}
	case Serve:
		ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv(args[0]))
		if err != nil {
			return failed(err)
		}
		fmt.Println("ready")
		for {
			conn, err := ln.Accept()
			if err != nil {
				return failed(err)
			}
			go func() {
				defer conn.Close()
				if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
					fmt.Fprint(conn, "hello ", line)
				}
			}()
		}
	case Deaf:
		port, _ := strconv.Atoi(os.Getenv(args[0]))
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil {
			err = syscall.Listen(fd, 1)
		}
		if err != nil {
			return failed(err)
		}
		ready()
	case After:
		f := os.NewFile(3, "fd 3")
		if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
			return failed(err)
		}
		return behave(Behaviour(args[0]), args[1:])
	case Obey:
		conn, err := net.Dial("tcp", os.Getenv(args[0]))
		if err != nil {
			return failed(err)
		}
		fmt.Fprintln(conn, args[len(args)-1])
		for in := bufio.NewScanner(conn); in.Scan(); {
			if in.Text() == "exit" {
				return 3
			}
			fmt.Println(in.Text())
		}
		hold()
	default:
		return isolated(b, args)
	}
	return 0
}

func ready() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready")
	hold()
}

func hold() {
	for {
		time.Sleep(time.Hour)
	}
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "failed:", err)
	return 99
}

func raise(sig syscall.Signal) {
	syscall.Kill(os.Getpid(), sig)
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func greet(name, addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, name)
	answer, err := io.ReadAll(conn)
	if err == nil && string(answer) != "hello "+name+"\n" {
		err = fmt.Errorf("%s answered %q", addr, answer)
	}
	return err
}

// self starts this binary with another behaviour.
func self(b Behaviour, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exec.Command(exe, append([]string{marker, string(b)}, args...)...)
}

// detach starts a process in a session of its own, without standard files; fd 3 is this process's own fd 3 when it has one.
func detach(b Behaviour, arg string, files ...*os.File) (*exec.Cmd, error) {
	cmd := self(b, arg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if len(files) == 0 {
		files = []*os.File{os.NewFile(3, "fd 3")}
	}
	cmd.ExtraFiles = files
	return cmd, cmd.Start()
}

func daemon(args []string) int {
	r, w, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	cmd, err := detach("daemon-child", args[0], w)
	if err != nil {
		return failed(err)
	}
	w.Close()
	if err := cmd.Wait(); err != nil {
		return failed(err)
	}
	if args[1] == "exit" {
		r.Read(make([]byte, 1)) // EOF when the daemon closes its end
		return 3
	}
	hold()
	return 0
}
