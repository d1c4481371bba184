package dbtest

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// cluster is a running PostgreSQL server.
type cluster struct {
	url  string
	held io.Closer // the guard's standard input; referred to here so that it stays open
}

// sharedCluster starts PostgreSQL once in a process.
var sharedCluster = sync.OnceValues(startCluster)

// guard runs the server until its standard input, a pipe that only the test process holds, is closed: that is when the process
// ends, however it ends. Then it stops the server and removes the directory.
const guard = `"$1/postgres" -D "$2/data" -c "port=$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
	-c synchronous_commit=off -c full_page_writes=off -c shared_buffers=16MB -c max_connections=200 >"$2/log" 2>&1 </dev/null &
read -r _
kill -INT $!
wait $!
rm -rf "$2"`

func startCluster() (cluster, error) {
	bin, err := findBinaries()
	if err != nil {
		return cluster{}, err
	}
	dir, err := os.MkdirTemp("", "hansom-postgres-")
	if err != nil {
		return cluster{}, err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return cluster{}, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--no-sync", "--auth=trust", "--username=hansom", "--encoding=UTF8", "--locale=C", "--pgdata="+filepath.Join(dir, "data"))
	initdb.Dir, initdb.SysProcAttr = dir, attr
	var out bytes.Buffer
	initdb.Stdout, initdb.Stderr = &out, &out
	if err := initdb.Run(); err != nil {
		return cluster{}, fmt.Errorf("initdb: %w\n%s", err, out.Bytes())
	}
	port, err := freePort()
	if err != nil {
		return cluster{}, err
	}
	server := exec.Command("/bin/sh", "-c", guard, "sh", bin, dir, strconv.Itoa(port))
	server.Dir, server.SysProcAttr = dir, attr
	held, err := server.StdinPipe()
	if err != nil {
		return cluster{}, err
	}
	if err := server.Start(); err != nil {
		return cluster{}, err
	}
	url := fmt.Sprintf("postgres://hansom@127.0.0.1:%d/postgres?sslmode=disable", port)
	if err := waitFor(url); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return cluster{}, fmt.Errorf("%w\n%s", err, log)
	}
	return cluster{url, held}, nil
}

func findBinaries() (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(initdb), nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin"} {
		found, _ := filepath.Glob(pattern)
		found = slices.DeleteFunc(found, func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, "initdb"))
			return err != nil
		})
		if len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", errors.New("initdb is not installed")
}

// unprivileged gives dir to the user that the server is to run as: PostgreSQL refuses to run as root.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, os.Chown(dir, int(uid), int(gid))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func waitFor(url string) error {
	pool, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer pool.Close()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = pool.Ping(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
