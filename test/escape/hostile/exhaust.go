//go:build linux

package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Memory of many kinds. Each attempt takes more than the function has; where the kernel counts it, the function is killed.
func init() {
	attempts["use up anonymous memory"] = func(*event) answer {
		for {
			b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
			if err != nil {
				return result(err)
			}
			kept = append(kept, b)
			if len(kept) > 4<<10 {
				return answer{Result: "ok"}
			}
		}
	}
	attempts["use up memory in memory files"] = func(*event) answer {
		fd, err := unix.MemfdCreate("hoard", unix.MFD_CLOEXEC)
		if err != nil {
			return result(err)
		}
		return fill(fd, 4<<30)
	}
	attempts["use up memory in shared memory"] = func(*event) answer {
		b, err := unix.Mmap(-1, 0, 2<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		if err != nil {
			return result(err)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return answer{Result: "ok"}
	}
	attempts["use up memory in System V segments"] = func(*event) answer {
		for range 64 {
			id, _, errno := unix.Syscall(unix.SYS_SHMGET, 0, 64<<20, 0o600|0o1000)
			if errno != 0 {
				return result(errno)
			}
			at, _, errno := unix.Syscall(unix.SYS_SHMAT, id, 0, 0)
			if errno != 0 {
				return result(errno)
			}
			if err := call(unix.SYS_MLOCK, at, 64<<20); err != nil { // not enough to lock it: touch it
				for i := uintptr(0); i < 64<<20; i += 4096 {
					touch(at + i)
				}
			}
		}
		return answer{Result: "ok"}
	}
	attempts["use up memory in pipes"] = func(*event) answer { return fillPairs(pipe, 100) }
	attempts["use up memory in Unix sockets"] = func(*event) answer { return fillPairs(unixPair, 100) }
	attempts["use up memory in TCP sockets"] = func(*event) answer { return fillPairs(tcpPair, 100) }
	attempts["use up memory in UDP sockets"] = func(*event) answer { return fillPairs(udpPair, 100) }
	attempts["fill the disk"] = func(*event) answer {
		f, err := os.Create("/tmp/full")
		if err != nil {
			return result(err)
		}
		defer os.Remove("/tmp/full")
		defer f.Close()
		return fill(int(f.Fd()), 4<<30)
	}
	attempts["use up the inodes"] = func(*event) answer {
		defer func() {
			names, _ := filepath.Glob("/tmp/inode/*")
			for _, n := range names {
				os.Remove(n)
			}
		}()
		os.Mkdir("/tmp/inode", 0o700)
		for i := range 1 << 20 {
			f, err := os.Create(fmt.Sprint("/tmp/inode/", i))
			if err != nil {
				r := result(err)
				r.Detail = fmt.Sprint(i, " files")
				return r
			}
			f.Close()
		}
		return answer{Result: "ok"}
	}
	attempts["use up the descriptors"] = func(*event) answer {
		var open []int
		defer func() {
			for _, fd := range open {
				unix.Close(fd)
			}
		}()
		for len(open) < 1<<20 {
			fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return answer{result(err).Result, fmt.Sprint(len(open), " descriptors")}
			}
			open = append(open, fd)
		}
		return answer{Result: "ok"}
	}
	attempts["watch more than allowed"] = func(*event) answer {
		for i := range 1 << 20 {
			if _, err := unix.InotifyInit1(unix.IN_CLOEXEC); err != nil {
				return answer{result(err).Result, fmt.Sprint(i, " instances")}
			}
		}
		return answer{Result: "ok"}
	}
	attempts["use up the timers"] = func(*event) answer {
		for i := range 1 << 20 {
			var id int32
			if err := call(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptrOf(&id)); err != nil {
				return answer{result(err).Result, fmt.Sprint(i, " timers")}
			}
		}
		return answer{Result: "ok"}
	}
	attempts["print without end"] = func(*event) answer {
		line := []byte(strings.Repeat("x", 1023) + "\n")
		block := []byte(strings.Repeat(string(line), 64))
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
			unix.Write(1, block)
		}
		return answer{Result: "printed"}
	}
	attempts["answer without end"] = func(*event) answer { return answer{"large", strings.Repeat("x", 7<<20)} }
	attempts["ignore every signal and sleep"] = func(*event) answer {
		signal.Ignore()
		time.Sleep(time.Hour)
		return answer{Result: "ok"}
	}
	attempts["nest directories"] = func(*event) answer {
		defer os.RemoveAll("/tmp/nest")
		os.Mkdir("/tmp/nest", 0o700)
		dir, err := unix.Open("/tmp/nest", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		for i := 0; err == nil && i < 1<<20; i++ {
			if err = unix.Mkdirat(dir, "d", 0o700); err != nil {
				break
			}
			var next int
			next, err = unix.Openat(dir, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			unix.Close(dir)
			dir = next
		}
		unix.Close(dir)
		return result(err)
	}
}

func fill(fd int, size int64) answer {
	block := make([]byte, 1<<20)
	for n := int64(0); n < size; n += int64(len(block)) {
		if _, err := unix.Write(fd, block); err != nil {
			return answer{result(err).Result, fmt.Sprint(n>>20, " MB")}
		}
	}
	return answer{Result: "ok"}
}

// fillPairs makes n connections and writes into each until it takes no more. What they hold is what can be read from them.
func fillPairs(make func() ([2]int, error), n int) answer {
	var pairs [][2]int
	for range n {
		p, err := make()
		if err != nil {
			return answer{result(err).Result, fmt.Sprint(len(pairs), " pairs")}
		}
		pairs = append(pairs, p)
		unix.SetNonblock(p[0], true)
		unix.SetNonblock(p[1], true)
		for _, size := range []int{32 << 10, 1 << 10} {
			for range 5 << 20 / size { // of datagrams what finds no room is lost
				if _, err := unix.Write(p[1], block[:size]); err != nil {
					break
				}
			}
		}
	}
	total := 0
	for _, p := range pairs {
		for {
			n, err := unix.Read(p[0], block)
			if n <= 0 || err != nil {
				break
			}
			total += n
		}
		unix.Close(p[0])
		unix.Close(p[1])
	}
	if total > much {
		return answer{"ok", fmt.Sprintf("%d MB", total>>20)}
	}
	return answer{"little", fmt.Sprintf("%d MB", total>>20)}
}

// much is more than the function has.
const much = 300 << 20

var block = make([]byte, 64<<10)

func pipe() (p [2]int, err error) {
	err = unix.Pipe2(p[:], unix.O_CLOEXEC)
	if err == nil {
		unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 1<<20)
	}
	return p, err
}

func unixPair() ([2]int, error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		unix.SetsockoptInt(p[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	}
	return p, err
}

func tcpPair() (p [2]int, err error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return p, err
	}
	defer unix.Close(l)
	unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if err = unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return p, err
	}
	if err = unix.Listen(l, 1); err != nil {
		return p, err
	}
	at, err := unix.Getsockname(l)
	if err != nil {
		return p, err
	}
	if p[1], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return p, err
	}
	unix.SetsockoptInt(p[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	if err = unix.Connect(p[1], at); err != nil {
		return p, err
	}
	p[0], _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
	return p, err
}

func udpPair() (p [2]int, err error) {
	for i := range p {
		if p[i], err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return p, err
		}
	}
	unix.SetsockoptInt(p[0], unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if err = unix.Bind(p[0], &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return p, err
	}
	at, err := unix.Getsockname(p[0])
	if err != nil {
		return p, err
	}
	return p, unix.Connect(p[1], at)
}
