package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2"

	"github.com/hansomcloud/hansom/internal/hansomtest"
)

// siteFolder writes an app with a site of these files.
func siteFolder(t testing.TB, dir, manifest string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, "public", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "hansom.yaml"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
}

// curl fetches a path of an app's host and returns the head and the body.
func curl(t testing.TB, s *hansomtest.Server, host, path string, args ...string) (head string, body []byte) {
	t.Helper()
	dir := t.TempDir()
	headFile, bodyFile := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	_, port, _ := strings.Cut(s.EdgeAddr(), ":")
	args = slices.Concat([]string{"-sS", "--path-as-is", "--connect-to", "::" + s.EdgeAddr(), "-D", headFile, "-o", bodyFile}, args, []string{"http://" + host + ":" + port + path})
	if out, err := exec.Command("curl", args...).CombinedOutput(); err != nil {
		t.Fatalf("curl %v: %v\n%s", args, err, out)
	}
	text, err := os.ReadFile(headFile)
	if err != nil {
		t.Fatal(err)
	}
	body, _ = os.ReadFile(bodyFile) // none of a 304
	return strings.ReplaceAll(string(text), "\r", ""), body
}

// headerOf is a header of what curl shows.
func headerOf(head, name string) string {
	for line := range strings.Lines(head) {
		if n, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

// TestSite looks at a site with curl: ranges, conditions, encodings, redirects; a deployment's own host, and going back.
func TestSite(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not there")
	}
	s := start(t, nil)
	dir := t.TempDir()
	film := make([]byte, 5<<20)
	rand.Read(film)
	script := strings.Repeat("console.log('hello, world')\n", 5000)
	files := map[string]string{
		"index.html": "home", "about.html": "about", "film.mp4": string(film), "app.js": script, "404.html": "nothing here",
		"_redirects": "/old/* /:splat 302\n", "_headers": "/*\n  X-Frame-Options: DENY\n",
	}
	siteFolder(t, dir, "name: pages\nsite: ./public\n", files)
	deploy(t, s, dir)
	status := func(head, want string) {
		t.Helper()
		if line, _, _ := strings.Cut(head, "\n"); !strings.HasPrefix(line, "HTTP/1.1 "+want+" ") {
			t.Errorf("answered %q, want %s", line, want)
		}
	}
	const host = "pages.localhost"

	head, body := curl(t, s, host, "/")
	status(head, "200")
	if string(body) != "home" || headerOf(head, "Content-Type") != "text/html; charset=utf-8" || headerOf(head, "X-Frame-Options") != "DENY" || headerOf(head, "X-Content-Type-Options") != "nosniff" {
		t.Error(head, string(body))
	}
	head, _ = curl(t, s, host, "/about.html?x=1")
	status(head, "308")
	if headerOf(head, "Location") != "/about?x=1" {
		t.Error(head)
	}
	if head, body = curl(t, s, host, "/old/about", "-L"); string(body) != "about" {
		t.Error(head, string(body))
	}
	head, body = curl(t, s, host, "/nothing")
	status(head, "404")
	if string(body) != "nothing here" {
		t.Error(string(body))
	}
	for _, path := range []string{"/../../etc/passwd", "/%2e%2e/etc/passwd", "/a%2fb", "/%00", `/a\b`, "/.git/config"} {
		head, _ := curl(t, s, host, path)
		if line, _, _ := strings.Cut(head, "\n"); !strings.Contains(line, " 400 ") && !strings.Contains(line, " 404 ") {
			t.Errorf("%s: %q", path, line)
		}
	}

	// All of a large file, a range, several, one that is not there; a transfer that goes on.
	if head, body = curl(t, s, host, "/film.mp4"); !bytes.Equal(body, film) || headerOf(head, "Content-Length") != strconv.Itoa(len(film)) {
		t.Errorf("%d bytes came\n%s", len(body), head)
	}
	head, body = curl(t, s, host, "/film.mp4", "-r", "1000000-2999999")
	status(head, "206")
	if !bytes.Equal(body, film[1000000:3000000]) {
		t.Errorf("%d bytes came\n%s", len(body), head)
	}
	head, body = curl(t, s, host, "/film.mp4", "-r", "0-99,200-299")
	status(head, "206")
	if !strings.HasPrefix(headerOf(head, "Content-Type"), "multipart/byteranges; boundary=") || !bytes.Contains(body, film[:100]) || !bytes.Contains(body, film[200:300]) {
		t.Error(head)
	}
	head, _ = curl(t, s, host, "/film.mp4", "-r", "9999999-")
	status(head, "416")
	part := filepath.Join(t.TempDir(), "part")
	if err := os.WriteFile(part, film[:1234567], 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(s.EdgeAddr(), ":")
	if out, err := exec.Command("curl", "-sS", "-C", "-", "--connect-to", "::"+s.EdgeAddr(), "-o", part, "http://"+host+":"+port+"/film.mp4").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if whole, err := os.ReadFile(part); err != nil || !bytes.Equal(whole, film) {
		t.Error("the transfer that went on is not the file", err)
	}
	head, _ = curl(t, s, host, "/film.mp4", "-I")
	status(head, "200")
	if headerOf(head, "Content-Length") != strconv.Itoa(len(film)) || headerOf(head, "Accept-Ranges") != "bytes" {
		t.Error(head)
	}

	// Encodings, and what curl makes of them.
	for _, encoding := range []string{"gzip", "br"} {
		head, body = curl(t, s, host, "/app.js", "-H", "Accept-Encoding: "+encoding)
		if headerOf(head, "Content-Encoding") != encoding || headerOf(head, "Vary") != "Accept-Encoding" || len(body) > len(script)/10 {
			t.Error(head, len(body))
		}
		tag := headerOf(head, "Etag")
		head, body = curl(t, s, host, "/app.js", "-H", "Accept-Encoding: "+encoding, "-H", "If-None-Match: "+tag)
		status(head, "304")
		if len(body) > 0 || headerOf(head, "Etag") != tag {
			t.Error(head, len(body))
		}
	}
	if head, body = curl(t, s, host, "/app.js", "--compressed", "-H", "Accept-Encoding: gzip"); string(body) != script {
		t.Error(head, len(body))
	}
	if head, body = curl(t, s, host, "/app.js"); string(body) != script || headerOf(head, "Content-Encoding") != "" {
		t.Error(head, len(body))
	}
	head, _ = curl(t, s, host, "/", "-H", "If-Modified-Since: "+time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	status(head, "304")
	head, _ = curl(t, s, host, "/", "-X", "POST", "-d", "x")
	status(head, "405")

	// The site at a host of an API, in a stage of it, beside a route of the API's own.
	apis := apisClient(t, s.API(), hansomtest.Credentials)
	api, err := apis.ImportApi(t.Context(), &apigatewayv2.ImportApiInput{Body: aws.String(`{"openapi": "3.0.1", "info": {"title": "front", "version": "1"}, "paths": {
		"/about": {"get": {"responses": {}, "x-amazon-apigateway-integration": {"type": "aws_proxy", "integrationSubtype": "Hansom-Respond", "payloadFormatVersion": "1.0", "requestParameters": {"Body": "of the API"}}}},
		"/$default": {"x-amazon-apigateway-any-method": {"isDefaultRoute": true, "responses": {}, "x-amazon-apigateway-integration": {"type": "aws_proxy", "integrationSubtype": "Hansom-Site", "payloadFormatVersion": "1.0", "requestParameters": {"App": "pages"}}}}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apis.CreateStage(t.Context(), &apigatewayv2.CreateStageInput{ApiId: api.ApiId, StageName: aws.String("live"), AutoDeploy: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	front := *api.ApiId + ".execute-api.localhost"
	for path, want := range map[string]string{"/live": "home", "/live/": "home", "/live/about": "of the API", "/live/app.js": script, "/live/nothing": "nothing here"} {
		if head, body := curl(t, s, front, path); string(body) != want || headerOf(head, "Apigw-Requestid") == "" {
			t.Errorf("%s: %s%.100s", path, head, body)
		}
	}
	head, body = curl(t, s, front, "/live/film.mp4", "-r", "1000000-2999999")
	status(head, "206")
	if !bytes.Equal(body, film[1000000:3000000]) {
		t.Errorf("%d bytes came\n%s", len(body), head)
	}
	head, body = curl(t, s, front, "/live/app.js", "-H", "Accept-Encoding: br")
	if headerOf(head, "Content-Encoding") != "br" || headerOf(head, "X-Frame-Options") != "DENY" || len(body) > len(script)/10 {
		t.Error(head, len(body))
	}
	head, _ = curl(t, s, front, "/live/app.js", "-H", "Accept-Encoding: br", "-H", "If-None-Match: "+headerOf(head, "Etag"))
	status(head, "304")
	head, _ = curl(t, s, front, "/live/%2e%2e/etc/passwd")
	status(head, "400")
	if _, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics"); !strings.Contains(text, fmt.Sprintf(`hansom_api_requests_total{api=%q,project="000000000000",stage="live",status="3xx"} 1`, *api.ApiId)) {
		t.Error("the request that was answered with 304 is not counted")
	}

	// The next deployment, its predecessor at a host of its own, and back.
	siteFolder(t, dir, "name: pages\nsite: ./public\n", map[string]string{"index.html": "home 2"})
	deploy(t, s, dir)
	for host, want := range map[string]string{"pages.localhost": "home 2", "pages--1.localhost": "home", "pages--2.localhost": "home 2", "localhost": "home 2"} {
		if head, body := curl(t, s, host, "/"); string(body) != want {
			t.Errorf("%s: %s%s", host, head, body)
		}
	}
	head, _ = curl(t, s, "pages--3.localhost", "/")
	status(head, "404")
	if status, answer := manage(t, s.API(), hansomtest.Credentials, "POST", "apps/pages/rollback", `{"to":1}`); status != 200 {
		t.Fatal(answer)
	}
	if head, body := curl(t, s, host, "/"); string(body) != "home" {
		t.Error(head, string(body))
	}
	s.Restart(t)
	if head, body := curl(t, s, host, "/film.mp4"); !bytes.Equal(body, film) {
		t.Error(head, len(body))
	}
	if head, body := curl(t, s, "pages--2.localhost", "/"); string(body) != "home 2" {
		t.Error(head, string(body))
	}
}

// TestSiteSwitches deploys a site 20 times while it is asked for: each answer is wholly of one deployment, and none fails.
func TestSiteSwitches(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	dir := t.TempDir()
	write := func(n int) {
		word := strconv.Itoa(n) + " "
		siteFolder(t, dir, "name: pages\nsite: ./public\n", map[string]string{"index.html": strings.Repeat(word, 1000), "large.bin": strings.Repeat(word, 300_000)})
	}
	write(1)
	a := deploy(t, s, dir)
	var stop atomic.Bool
	var answers atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		path := []string{"/", "/large.bin"}[i%2]
		wg.Go(func() {
			for !stop.Load() {
				status, _, body := a.send(t, "GET", path, nil)
				word, _, _ := strings.Cut(string(body), " ")
				if status != 200 || strings.ReplaceAll(string(body), word+" ", "") != "" {
					t.Errorf("%s: %d, %d bytes, begins with %q", path, status, len(body), word)
					return
				}
				answers.Add(1)
			}
		})
	}
	for n := 2; n <= 21 && !t.Failed(); n++ {
		write(n)
		deploy(t, s, dir)
		if _, _, body := a.send(t, "GET", "/", nil); !strings.HasPrefix(string(body), strconv.Itoa(n)+" ") {
			t.Errorf("after the deployment %d the answer is %.10q", n, body)
		}
	}
	stop.Store(true)
	wg.Wait()
	if answers.Load() < 20 {
		t.Errorf("only %d answers", answers.Load())
	}
}

// TestManyFiles deploys a site of 3,000 files, and then one file of it again.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 3000 {
		files[fmt.Sprintf("%d/%d.html", i%50, i)] = fmt.Sprintf("page %d", i)
	}
	siteFolder(t, dir, "name: pages\nsite: ./public\n", files)
	a := deploy(t, s, dir)
	siteFolder(t, dir, "name: pages\nsite: ./public\n", map[string]string{"7/7.html": "another"})
	deploy(t, s, dir)
	for path, want := range map[string]string{"/7/7": "another", "/49/2999": "page 2999"} {
		if status, _, body := a.send(t, "GET", path, nil); status != 200 || string(body) != want {
			t.Error(path, status, string(body))
		}
	}
	if _, answer := manage(t, s.API(), hansomtest.Credentials, "GET", "apps/pages", ""); !strings.Contains(answer, `"files":3000`) || !strings.Contains(answer, `"deployment":2`) {
		t.Error(answer)
	}
}
