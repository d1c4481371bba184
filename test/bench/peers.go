package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hansomcloud/hansom/test/bench/rig"
)

// Versions of the peers that come from registries.
const (
	workerdVersion = "1.20261117.1"
	caddyVersion   = "v2.11.9"
)

const nodeServer = `require('http').createServer((req, res) => {
  const body = JSON.stringify({ hello: 'world', path: req.url })
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
  res.end(body)
}).listen(+process.argv[2], '127.0.0.1')
`

// startNode serves the sample answer from a bare Node.js http server.
func (b *bench) startNode() (*rig.Process, error) {
	script := filepath.Join(b.dir, "server.js")
	if err := os.WriteFile(script, []byte(nodeServer), 0o644); err != nil {
		return nil, err
	}
	addr, err := rig.FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	p, err := rig.Start("Node.js http", addr, filepath.Join(b.dir, "node.log"), b.node, script, port)
	if err != nil {
		return nil, err
	}
	p.Version, err = rig.Run(b.node, "--version")
	return p, err
}

// startProxy starts a proxy before a Node.js server of its own: start gets the address to listen on and the server's.
func (b *bench) startProxy(start func(addr, upstream string) (*rig.Process, error)) (*rig.Process, error) {
	upstream, err := b.startNode()
	if err != nil {
		return nil, err
	}
	addr, err := rig.FreeAddr()
	if err != nil {
		upstream.Stop()
		return nil, err
	}
	p, err := start(addr, upstream.Addr)
	if err != nil {
		upstream.Stop()
		return nil, err
	}
	p.Below = []*rig.Process{upstream}
	return p, nil
}

// startNginx puts nginx as a reverse proxy with keep-alive before a Node.js http server.
func (b *bench) startNginx(context.Context) (*rig.Process, error) {
	nginx, err := exec.LookPath("/usr/sbin/nginx")
	if err != nil {
		return nil, err
	}
	return b.startProxy(func(addr, upstream string) (*rig.Process, error) {
		conf := fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log stderr crit; worker_processes auto;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  keepalive_requests 100000000;
  upstream app { server %[3]s; keepalive 64; keepalive_requests 100000000; }
  server { listen %[2]s; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }
}
`, b.dir, addr, upstream)
		path := filepath.Join(b.dir, "nginx.conf")
		if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
			return nil, err
		}
		p, err := rig.Start("nginx + Node.js http", addr, filepath.Join(b.dir, "nginx.log"), nginx, "-p", b.dir, "-c", path)
		if err != nil {
			return nil, err
		}
		version, err := rig.Run(nginx, "-v")
		p.Version = strings.TrimPrefix(version, "nginx version: nginx/")
		return p, err
	})
}

// startCaddy puts Caddy, built from the module proxy into the cache, as a reverse proxy before a Node.js http server.
func (b *bench) startCaddy(ctx context.Context) (*rig.Process, error) {
	dir := filepath.Join(b.cache, "caddy-"+caddyVersion)
	bin := filepath.Join(dir, "caddy")
	if _, err := os.Stat(bin); err != nil {
		progress("building Caddy %s, once", caddyVersion)
		build := exec.CommandContext(ctx, "go", "install", "-trimpath", "github.com/caddyserver/caddy/v2/cmd/caddy@"+caddyVersion)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOBIN="+dir)
		build.Dir = b.dir
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go install: %w: %.300s", err, out)
		}
	}
	return b.startProxy(func(addr, upstream string) (*rig.Process, error) {
		conf := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}\nhttp://%s {\n\treverse_proxy %s\n}\n", addr, upstream)
		path := filepath.Join(b.dir, "Caddyfile")
		if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
			return nil, err
		}
		p, err := rig.Start("Caddy + Node.js http", addr, filepath.Join(b.dir, "caddy.log"), bin, "run", "--config", path)
		if err != nil {
			return nil, err
		}
		p.Version = strings.TrimPrefix(caddyVersion, "v")
		return p, nil
	})
}

// startWorkerd serves the sample answer from Cloudflare's workerd, installed from npm into the cache.
func (b *bench) startWorkerd(ctx context.Context) (*rig.Process, error) {
	bin := filepath.Join(b.cache, "node_modules", "@cloudflare", "workerd-linux-64", "bin", "workerd")
	if _, err := os.Stat(bin); err != nil {
		progress("installing workerd %s, once", workerdVersion)
		if err := os.MkdirAll(b.cache, 0o755); err != nil {
			return nil, err
		}
		install := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", b.cache, "@cloudflare/workerd-linux-64@"+workerdVersion)
		if out, err := install.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm install: %w: %.300s", err, out)
		}
	}
	addr, err := rig.FreeAddr()
	if err != nil {
		return nil, err
	}
	worker := "export default { async fetch(request) { return Response.json({ hello: 'world', path: new URL(request.url).pathname }) } }\n"
	conf := fmt.Sprintf(`using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = (modules = [ (name = "worker.js", esModule = embed "worker.js") ], compatibilityDate = "2026-11-01")) ],
  sockets = [ (name = "http", address = "%s", http = (), service = "main") ]
);
`, addr)
	for name, text := range map[string]string{"worker.js": worker, "workerd.capnp": conf} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	p, err := rig.Start("workerd", addr, filepath.Join(b.dir, "workerd.log"), bin, "serve", filepath.Join(b.dir, "workerd.capnp"))
	if err != nil {
		return nil, err
	}
	version, err := rig.Run(bin, "--version")
	p.Version = strings.TrimPrefix(version, "workerd ")
	return p, err
}
