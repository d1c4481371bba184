package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hansomcloud/hansom/test/bench/load"
	"github.com/hansomcloud/hansom/test/bench/rig"
)

// siteFiles are the files of P9 by name, in bytes.
var siteFiles = []struct {
	name, title string
	size        int
}{
	{"small.txt", "1 KB", 1 << 10},
	{"large.bin", "1 MB", 1 << 20},
}

// staticFiles serves the same files from a site and from nginx.
func (b *bench) staticFiles(ctx context.Context) error {
	app := filepath.Join(b.dir, "pages")
	public := filepath.Join(app, "public")
	if err := os.MkdirAll(public, 0o755); err != nil {
		return err
	}
	for _, f := range siteFiles {
		data := make([]byte, f.size/2)
		if _, err := rand.Read(data); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(public, f.name), []byte(hex.EncodeToString(data)), 0o644); err != nil {
			return err
		}
	}
	hansom, err := b.server()
	if err != nil {
		return err
	}
	defer func() { hansom.Stop() }()
	if err := hansom.Deploy(ctx, app, "", map[string]string{"hansom.yaml": "name: pages\nsite: ./public\n"}); err != nil {
		return err
	}
	nginx, err := b.startFiles(public)
	if err != nil {
		b.report.miss("nginx serving files: %v", err)
		return nil
	}
	defer nginx.Stop()
	b.report.version("nginx " + nginx.Version)
	b.report.section("Static files, 8 connections")
	b.report.printf("The same files from a site and from nginx with `sendfile`, `tcp_nopush` and a worker for each processor.\n")
	const conns = 8
	for _, f := range siteFiles {
		sides := []*side{
			{Process: hansom.Process, name: hansomName, request: rig.Get(hansom.AppHost("pages", ""), "/"+f.name), samples: map[string][]load.Sample{}},
			{Process: nginx, name: "nginx", request: rig.Get(nginx.Addr, "/"+f.name), samples: map[string][]load.Sample{}},
		}
		if err := b.interleave(ctx, f.name, sides, func(s *side) (load.Sample, error) {
			return load.Closed(s.Addr, s.request, conns, b.length, s.Pids)
		}); err != nil {
			return err
		}
		b.report.printf("\n### A file of %s\n\n", f.title)
		b.report.warmTable(f.name, sides)
		b.report.target("P9", fmt.Sprintf("files of %s/s with 8 connections, to nginx serving the same file", f.title), sides[0].median(f.name, rate)/sides[1].median(f.name, rate), 0.7, atLeast)
	}
	return nil
}

// startFiles has nginx serve a folder.
func (b *bench) startFiles(folder string) (*rig.Process, error) {
	nginx, err := exec.LookPath("/usr/sbin/nginx")
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{b.dir, filepath.Dir(folder), folder} {
		if err := os.Chmod(dir, 0o755); err != nil { // its workers have a user of their own
			return nil, err
		}
	}
	addr, err := rig.FreeAddr()
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf(`daemon off; pid %[1]s/files.pid; error_log stderr crit; worker_processes auto;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type application/octet-stream; types { text/plain txt; }
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen %[2]s; root %[3]s; }
}
`, b.dir, addr, folder)
	path := filepath.Join(b.dir, "files.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p, err := rig.Start("nginx", addr, filepath.Join(b.dir, "files.log"), nginx, "-p", b.dir, "-c", path)
	if err != nil {
		return nil, err
	}
	version, err := rig.Run(nginx, "-v")
	p.Version = strings.TrimPrefix(version, "nginx version: nginx/")
	return p, err
}
