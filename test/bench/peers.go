package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a started program: a peer or Hansom itself.
type process struct {
	name, version string
	addr          string // host:port it answers on
	cmd           *exec.Cmd
	under         []*process // started below it, e.g. the server behind a proxy
}

func (p *process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	for _, u := range p.under {
		pids = append(pids, u.pids()...)
	}
	return pids
}

func (p *process) stop() {
	for _, u := range p.under {
		u.stop()
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-done
	}
}

// start runs a program in a process group of its own and waits until addr accepts connections.
func start(name, addr string, argv ...string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	log, err := os.CreateTemp("", "hansom-bench-*.log")
	if err != nil {
		return nil, err
	}
	defer os.Remove(log.Name())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, addr: addr, cmd: cmd}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return p, nil
		}
	}
	p.stop()
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s did not listen on %s: %s", name, addr, strings.TrimSpace(string(text)))
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func output(argv ...string) string {
	out, _ := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

const nodeServer = `require('http').createServer((req, res) => {
  const body = JSON.stringify({ hello: 'world', path: req.url })
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  res.end(body)
}).listen(+process.argv[2], '127.0.0.1')
`

// startNode serves the sample answer from a bare Node.js http server.
func startNode(dir, node string) (*process, error) {
	script := filepath.Join(dir, "server.js")
	if err := os.WriteFile(script, []byte(nodeServer), 0o644); err != nil {
		return nil, err
	}
	addr := freeAddr()
	_, port, _ := net.SplitHostPort(addr)
	p, err := start("Node.js http", addr, node, script, port)
	if err == nil {
		p.version = output(node, "--version")
	}
	return p, err
}

// startNginx puts nginx as a reverse proxy with keep-alive before a Node.js http server.
func startNginx(dir, node string) (*process, error) {
	nginx, err := exec.LookPath("/usr/sbin/nginx")
	if err != nil {
		return nil, err
	}
	upstream, err := startNode(dir, node)
	if err != nil {
		return nil, err
	}
	addr := freeAddr()
	conf := fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log stderr crit; worker_processes auto;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  keepalive_requests 100000000;
  upstream app { server %[3]s; keepalive 64; keepalive_requests 100000000; }
  server { listen %[2]s; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }
}
`, dir, addr, upstream.addr)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		upstream.stop()
		return nil, err
	}
	p, err := start("nginx + Node.js http", addr, nginx, "-p", dir, "-c", path)
	if err != nil {
		upstream.stop()
		return nil, err
	}
	p.under = []*process{upstream}
	p.version = strings.TrimPrefix(output(nginx, "-v"), "nginx version: ") + ", Node.js " + upstream.version
	return p, nil
}

// startWorkerd serves the sample answer from Cloudflare's workerd, installed from npm into cache.
func startWorkerd(ctx context.Context, dir, cache string) (*process, error) {
	bin := filepath.Join(cache, "node_modules", "@cloudflare", "workerd-linux-64", "bin", "workerd")
	if _, err := os.Stat(bin); err != nil {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return nil, err
		}
		install := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", cache, "@cloudflare/workerd-linux-64@1.20261117.1")
		if out, err := install.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm install workerd: %w: %s", err, out)
		}
	}
	addr := freeAddr()
	worker := "export default { async fetch(request) { return Response.json({ hello: 'world', path: new URL(request.url).pathname }) } }\n"
	conf := fmt.Sprintf(`using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = (modules = [ (name = "worker.js", esModule = embed "worker.js") ], compatibilityDate = "2026-11-01")) ],
  sockets = [ (name = "http", address = "%s", http = (), service = "main") ]
);
`, addr)
	for name, text := range map[string]string{"worker.js": worker, "workerd.capnp": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	p, err := start("workerd", addr, bin, "serve", filepath.Join(dir, "workerd.capnp"))
	if err == nil {
		p.version = output(bin, "--version")
	}
	return p, err
}
