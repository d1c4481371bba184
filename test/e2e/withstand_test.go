package e2e

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// hostile are the actions of testdata/hostile.py and hostile.js, and what their callers are told.
var hostile = []struct {
	action    string
	runtime   types.Runtime // "" for both
	isolated  bool          // harms the host unless the driver isolates
	slow      bool          // runs into the timeout: the function that has one of 1 s is called
	errorType string        // "" when the function answers
	text      string        // in the error's message or the log, or the answer
	survives  bool          // the instance takes the next call, too
}{
	{action: "sleep", slow: true, errorType: "Sandbox.Timedout", text: "Task timed out after 1.00 seconds"},
	{action: "spin", slow: true, errorType: "Sandbox.Timedout", text: "Task timed out after 1.00 seconds"},
	{action: "stop", slow: true, errorType: "Sandbox.Timedout", text: "Task timed out after 1.00 seconds"},
	{action: "half", slow: true, errorType: "Sandbox.Timedout", text: "Task timed out after 1.00 seconds"},
	{action: "log_forever", slow: true, errorType: "Sandbox.Timedout", text: "Task timed out after 1.00 seconds"},
	{action: "fork", isolated: true, slow: true, errorType: "Sandbox.Timedout", text: "Task timed out after 1.00 seconds"},
	{action: "memory", isolated: true, errorType: "Runtime.OutOfMemory", text: "Runtime exited with error: signal: killed"},
	{action: "tmp", isolated: true, text: `"ENOSPC"`, survives: true},
	{action: "log", text: `"logged"`, survives: true},
	{action: "close", errorType: "Runtime.ExitError", text: "Runtime exited with error: exit status 1"},
	{action: "close_all", runtime: python311, errorType: "Runtime.ExitError", text: "Runtime exited with error: exit status 1"},
	{action: "twice", text: `"first"`, survives: true},
	{action: "garbage", errorType: "Runtime.ExitError", text: "the runtime broke the protocol"},
	{action: "huge", errorType: "Runtime.ExitError", text: "the runtime broke the protocol"},
	{action: "future", errorType: "Runtime.ExitError", text: "the runtime broke the protocol"},
	{action: "exit", errorType: "Runtime.ExitError", text: "Runtime exited with error: exit status 3"},
	{action: "leave", errorType: "Runtime.ExitError", text: "Runtime exited without providing a reason"},
	{action: "kill", errorType: "Runtime.ExitError", text: "Runtime exited with error: signal: killed"},
	{action: "crash", runtime: python311, errorType: "Runtime.ExitError", text: "Runtime exited with error: signal: segmentation fault"},
	{action: "crash", runtime: node22, errorType: "Runtime.ExitError", text: "Runtime exited with error: signal: aborted"},
	{action: "orphan", runtime: python311, text: `"orphan"`, survives: true},
	{action: "throw", runtime: node22, errorType: "TypeError", text: "thrown"},
	{action: "reject", runtime: node22, errorType: "Runtime.UnhandledPromiseRejection", text: "rejected"},
	{action: "large", errorType: "Function.ResponseSizeTooLarge", text: "exceeded maximum allowed payload size", survives: true},
}

// Each action gets its own error, a neighbour keeps its instance and goes on answering, and the function answers again.
func TestHostileHandlers(t *testing.T) {
	s := start(t, func(c *server.Config) { c.LogSize = 4 })
	c := client(t, s.API(), hansomtest.Credentials)
	isolated, limited := isolation(t, s)
	for r, file := range map[types.Runtime]string{python311: "hostile.py", node22: "hostile.js"} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			code := source(t, r, testdata(t, file))
			name := "hostile-" + strings.ReplaceAll(string(r), ".", "")
			slow, neighbour := name+"-slow", name+"-neighbour"
			create(t, c, name, r, code, timeout(300))
			create(t, c, slow, r, code, timeout(1), memory(1024)) // enough for as many processes as a sandbox may have
			create(t, c, neighbour, r, code)
			var calls struct{ Calls int } // of the neighbour
			for _, h := range hostile {
				if h.runtime != "" && h.runtime != r {
					continue
				}
				t.Run(h.action, func(t *testing.T) {
					if h.isolated && !isolated || h.action == "memory" && !limited {
						t.Skip("functions are not isolated here, or their memory is not limited: the host would suffer; run as root on Linux")
					}
					name := name
					if h.slow {
						name = slow
					}
					var before, after struct{ Calls int }
					mustInvoke(t, c, name, `{"action":"count"}`, &before)
					var a answer
					var err error
					done := make(chan struct{})
					go func() {
						defer close(done)
						a, err = invoke(t.Context(), c, name, `{"action":"`+h.action+`"}`)
					}()
					for running := true; running; {
						n := calls.Calls
						if mustInvoke(t, c, neighbour, `{"action":"count"}`, &calls); calls.Calls != n+1 {
							t.Errorf("the neighbour's call %d is its instance's %d", n+1, calls.Calls)
						}
						select {
						case <-done:
							running = false
						default:
						}
					}
					if err != nil || a.errorType != h.errorType || !strings.Contains(a.payload[:min(len(a.payload), 1000)]+a.log, h.text) {
						t.Errorf("error %v, type %q, answer %.1000s\n%s\nwant %q, %q", err, a.errorType, a.payload, a.log, h.errorType, h.text)
					}
					mustInvoke(t, c, name, `{"action":"count"}`, &after)
					if want := before.Calls + 2; h.survives && after.Calls != want {
						t.Errorf("the next call is the instance's %d, want %d", after.Calls, want)
					} else if !h.survives && after.Calls != 1 {
						t.Errorf("the next call is the instance's %d: it was not replaced", after.Calls)
					}
				})
			}
			checkLogs(t, s, neighbour)
		})
	}
}

// zips that are refused.
func badZips(t *testing.T) map[string]struct {
	zip  []byte
	text string
} {
	one := func(name string, mode fs.FileMode, content string) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		add(t, z, "app.py", 0o644, "def handler(event, context): pass\n")
		add(t, z, name, mode, content)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := one("more.py", 0o644, strings.Repeat("# more\n", 1000))
	const unzip = "Could not unzip uploaded file. Please check your file, then try to upload again."
	return map[string]struct {
		zip  []byte
		text string
	}{
		"garbage":         {[]byte("this is no zip"), unzip},
		"cut off":         {good[:len(good)/2], unzip},
		"damaged":         {bytes.Replace(good, []byte("app.py"), []byte("app.pyx"), 1), unzip},
		"absolute path":   {one("/etc/passwd", 0o644, "x"), "absolute path"},
		"parent":          {one("a/../../escape", 0o644, "x"), `".."`},
		"link out":        {one("out", fs.ModeSymlink|0o777, "../../../etc"), "not inside the package"},
		"absolute link":   {one("out", fs.ModeSymlink|0o777, "/etc/passwd"), "not inside the package"},
		"device":          {one("null", fs.ModeDevice|fs.ModeCharDevice|0o666, ""), "neither a file nor a directory"},
		"named pipe":      {one("pipe", fs.ModeNamedPipe|0o666, ""), "neither a file nor a directory"},
		"bomb":            {bomb(t, 300, 300), "Unzipped size must be smaller than 262144000 bytes"},
		"smaller bomb":    {bomb(t, 200, 200), "zip bomb"},
		"bomb that lies":  {bomb(t, 300, 1), unzip},
		"file twice":      {one("app.py", 0o644, "x"), "more than one entry"},
		"below a file":    {one("app.py/x", 0o644, "x"), "not a directory"},
		"backslashes":     {one(`a\b.py`, 0o644, "x"), "backslash"},
		"name with a NUL": {one("a\x00b", 0o644, "x"), "name"},
	}
}

// checkLogs looks at what 100 MB of one function's lines have left: little on the disk, and the lines of others.
func checkLogs(t *testing.T, s *hansomtest.Server, neighbour string) {
	var size int64
	err := filepath.WalkDir(filepath.Join(s.Config.Data, "logs"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return nil // segments come and go
	})
	if limit := int64(s.Config.LogSize) << 20; err != nil || size > 6*limit*5/4 {
		t.Errorf("the logs of six functions take %d MB on the disk, each may have %d MB; %v", size>>20, limit>>20, err)
	}
	status, body := manage(t, s.API(), hansomtest.Credentials, "GET", "logs?grep=REPORT&limit=1&function="+neighbour, "")
	if status != 200 || !strings.Contains(body, "REPORT RequestId: ") {
		t.Errorf("the neighbour's log: %d %s", status, body)
	}
}

// bomb is a zip of a file that says it has declared MB of zeros, and has size.
func bomb(t *testing.T, size, declared int) []byte {
	zeros := make([]byte, 1<<20)
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestCompression)
	if err == nil {
		_, err = w.Write(zeros)
	}
	if err == nil {
		err = w.Flush() // to a byte boundary, so that blocks can be put behind each other
	}
	one := bytes.Clone(block.Bytes())
	block.Reset()
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	stream := append(bytes.Repeat(one, size), block.Bytes()...)
	sum := crc32.NewIEEE()
	for range declared {
		sum.Write(zeros)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	f, err := z.CreateRaw(&zip.FileHeader{Name: "bomb", Method: zip.Deflate, CRC32: sum.Sum32(), CompressedSize64: uint64(len(stream)), UncompressedSize64: uint64(declared) << 20})
	if err == nil {
		_, err = f.Write(stream)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestMalformedZips(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "good", python311, source(t, python311, "def handler(event, context): return 'good'"))
	for what, bad := range badZips(t) {
		_, err := c.CreateFunction(t.Context(), request("bad", python311, bad.zip))
		refused(t, "create: "+what, err, 400, "InvalidParameterValueException", bad.text)
		_, err = c.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("good"), ZipFile: bad.zip})
		refused(t, "update: "+what, err, 400, "InvalidParameterValueException", bad.text)
		status, body := manage(t, s.API(), hansomtest.Credentials, "PUT", "artifacts/"+digest(bad.zip), string(bad.zip))
		if status != 400 {
			t.Errorf("upload: %s: %d %s", what, status, body)
		}
	}
	_, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("bad")})
	refused(t, "get", err, 404, "ResourceNotFoundException", "")
	var result string
	if mustInvoke(t, c, "good", "{}", &result); result != "good" {
		t.Errorf("after all that the good function answers %q", result)
	}
}

func TestMalformedRequests(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "echo", python311, source(t, python311, "def handler(event, context): return len(event)"))
	functions := s.API() + "/2015-03-31/functions"
	invocations := functions + "/echo/invocations"
	key := hansomtest.Credentials
	edit := func(r *http.Request, f func(r *http.Request)) *http.Request { f(r); return r }
	header := func(name, value string) *http.Request {
		return edit(signed(t, key, "lambda", "POST", invocations, "{}"), func(r *http.Request) {
			if r.Header.Set(name, value); value == "" {
				r.Header.Del(name)
			}
		})
	}
	post := func(path, body string) *http.Request { return signed(t, key, "lambda", "POST", functions+path, body) }
	for what, bad := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"event that is no JSON":     {post("/echo/invocations", "{"), 400, "InvalidRequestContentException"},
		"event with something more": {post("/echo/invocations", "{} {}"), 400, "InvalidRequestContentException"},
		"event without end":         {post("/echo/invocations", strings.Repeat("[", 1<<20)), 400, "InvalidRequestContentException"},
		"event that is too large":   {post("/echo/invocations", `"`+strings.Repeat("x", 6<<20-1)+`"`), 413, "RequestTooLargeException"},
		"body that is no JSON":      {post("", `{"FunctionName":`), 400, "SerializationException"},
		"body that is no object":    {post("", "[1]"), 400, "SerializationException"},
		"body without end":          {post("", strings.Repeat(`{"Code":`, 1<<16)), 400, "SerializationException"},
		"member of another type":    {post("", `{"FunctionName":1}`), 400, "SerializationException"},
		"no members":                {post("", "{}"), 400, "ValidationException"},
		"zip that is not base64":    {post("", `{"FunctionName":"x","Role":"`+role+`","Handler":"a.b","Runtime":"python3.11","Code":{"ZipFile":"!"}}`), 400, "SerializationException"},
		"path of another version":   {signed(t, key, "lambda", "GET", s.API()+"/1999-01-01/functions", ""), 404, "UnknownOperationException"},
		"method of nothing":         {signed(t, key, "lambda", "PATCH", functions, ""), 404, "UnknownOperationException"},

		"no signature":            {header("Authorization", ""), 403, "MissingAuthenticationTokenException"},
		"signature of a stranger": {signed(t, hansom.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}, "lambda", "POST", invocations, "{}"), 403, "UnrecognizedClientException"},
		"wrong secret":            {signed(t, hansom.Credentials{AccessKeyID: "test", SecretAccessKey: "x"}, "lambda", "POST", invocations, "{}"), 403, "InvalidSignatureException"},
		"half a signature":        {header("Authorization", "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/lambda/aws4_request"), 403, "IncompleteSignatureException"},
		"no known algorithm":      {header("Authorization", "Bearer test"), 403, ""},
		"another date":            {header("X-Amz-Date", time.Now().Add(-time.Hour).UTC().Format("20060102T150405Z")), 403, "InvalidSignatureException"},
		"no date":                 {header("X-Amz-Date", ""), 403, "IncompleteSignatureException"},
		"another body": {edit(post("/echo/invocations", `{"a":1}`), func(r *http.Request) {
			other, _ := http.NewRequest("POST", invocations, strings.NewReader(`{"a":2}`))
			r.Body, r.GetBody = other.Body, nil
		}), 403, "InvalidSignatureException"},
		"another path":       {edit(post("/other/invocations", "{}"), func(r *http.Request) { r.URL.Path = "/2015-03-31/functions/echo/invocations" }), 403, "InvalidSignatureException"},
		"token that is none": {signed(t, hansom.Credentials{AccessKeyID: "ASIAIOSFODNN7EXAMPLE", SecretAccessKey: "x", SessionToken: "x"}, "lambda", "POST", invocations, "{}"), 403, "UnrecognizedClientException"},
	} {
		resp, err := http.DefaultClient.Do(bad.r)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		resp.Body.Close()
		if code := resp.Header.Get("X-Amzn-Errortype"); resp.StatusCode != bad.status || bad.code != "" && code != bad.code {
			t.Errorf("%s: %d %s %.300s; want %d %s", what, resp.StatusCode, code, b.String(), bad.status, bad.code)
		}
	}

	for name, want := range map[string]struct {
		status int
		code   string
	}{
		"no/slash":               {400, "ValidationException"},
		"no space":               {400, "ValidationException"},
		"é":                      {400, "ValidationException"},
		strings.Repeat("x", 300): {400, "ValidationException"},
		"arn:aws:s3:::bucket":    {400, "ValidationException"},
		"arn:aws:lambda:us-east-1:000000000000:function:":             {400, "ValidationException"},
		"arn:aws:lambda:us-east-1:0:function:echo":                    {400, "ValidationException"},
		"arn:aws:lambda:us-east-1:000000000000:layer:echo":            {404, "ResourceNotFoundException"}, // AWS's pattern takes "layer" for the name
		"arn:aws:lambda:us-east-1:000000000000:function:echo:1:2":     {400, "ValidationException"},
		"arn:aws:lambda:us-east-1:000000000000:function:echo:missing": {404, "ResourceNotFoundException"},
		"arn:aws:lambda:us-east-1:000000000000:function:missing":      {404, "ResourceNotFoundException"},
		"arn:aws:lambda:eu-west-1:000000000000:function:echo":         {404, "ResourceNotFoundException"},
		"arn:aws:lambda:us-east-1:111122223333:function:echo":         {403, "AccessDeniedException"},
		"111122223333:function:echo":                                  {403, "AccessDeniedException"},
	} {
		_, err := invoke(t.Context(), c, name, "{}")
		refused(t, fmt.Sprintf("invoke %.80q", name), err, want.status, want.code, "")
	}

	var n int
	if mustInvoke(t, c, "echo", `"`+strings.Repeat("x", 6<<20-2)+`"`, &n); n != 6<<20-2 {
		t.Errorf("of 6 MB the function saw %d bytes", n)
	}
}

// 1,000 functions, made by eight clients, cost little memory and are all listed; any of them answers.
func TestThousandFunctions(t *testing.T) {
	const functions, clients = 1000, 8
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	code := source(t, python311, "def handler(event, context): return context.function_name")
	create(t, c, "warm-up", python311, code)
	heap, goroutines := resident(), runtime.NumGoroutine()

	var wg sync.WaitGroup
	var next atomic.Int64
	for range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= functions; i = next.Add(1) {
				if _, err := c.CreateFunction(t.Context(), request(fmt.Sprintf("f%04d", i), python311, code)); err != nil {
					t.Error(i, err)
				}
			}
		})
	}
	wg.Wait()
	waitActive(t, c, fmt.Sprintf("f%04d", functions))

	var names []string
	pages := 0
	list := lambda.NewListFunctionsPaginator(c, &lambda.ListFunctionsInput{MaxItems: aws.Int32(50)})
	for list.HasMorePages() {
		page, err := list.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, f := range page.Functions {
			names = append(names, *f.FunctionName)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) != functions+1 || pages < functions/50 {
		t.Errorf("%d functions on %d pages", len(names), pages)
	}
	for _, name := range []string{"f0001", "f0500", "f1000"} {
		var answer string
		if mustInvoke(t, c, name, "{}", &answer); answer != name {
			t.Errorf("%s answers %q", name, answer)
		}
	}
	each := (resident() - heap) / functions
	t.Logf("%d bytes of heap for each function", each)
	if each > 16<<10 {
		t.Errorf("%d bytes of heap for each function", each)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 100 {
		t.Errorf("%d goroutines more than before", n)
	}
}

// resident is the heap that is in use after a collection, in bytes.
func resident() int64 {
	for range 3 { // what pools hold goes with the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCallsThatWait: a call of the Lambda API that waits for its function holds up no other call.
func TestCallsThatWait(t *testing.T) {
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "wait", python311, source(t, python311, "import threading\n\ndef handler(event, context):\n    if event['wait']:\n        threading.Event().wait()\n    return 1\n"), timeout(8))
	var one int
	mustInvoke(t, c, "wait", `{"wait": false}`, &one)
	waiting := make(chan answer, 1)
	go func() {
		a, err := invoke(t.Context(), c, "wait", `{"wait": true}`)
		if err != nil {
			t.Error(err)
		}
		waiting <- a
	}()
	for {
		if _, text := get(t, http.DefaultClient, s.API()+"/_hansom/metrics"); strings.Contains(text, `hansom_instances{state="busy"} 1`) {
			break
		}
	}
	for range 5 {
		mustInvoke(t, c, "wait", `{"wait": false}`, &one) // the first one boots an instance
	}
	select {
	case <-waiting:
		t.Error("calls were answered only when one that had waited for its function was")
	default:
	}
	if a := <-waiting; a.errorType != "Sandbox.Timedout" {
		t.Errorf("the one that waits: %+v", a)
	}
}

// 500 clients at once on a reserved concurrency of 5: five run, all others are told so at once.
func TestReservedConcurrency(t *testing.T) {
	const clients, reserved = 500, 5
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	create(t, c, "reserved", python311, source(t, python311, "import time\n\ndef handler(event, context):\n    begin = time.time()\n    time.sleep(0.1)\n    return [begin, time.time()]\n"))
	if _, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{
		FunctionName: aws.String("reserved"), ReservedConcurrentExecutions: aws.Int32(reserved)}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	type edge struct {
		at    float64 // seconds
		delta int
	}
	var edges []edge
	throttled := 0
	begin := make(chan struct{})
	for range clients {
		wg.Go(func() {
			<-begin
			out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("reserved")})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				var e *types.TooManyRequestsException
				if status, _ := refusal(err); status != 429 || !errors.As(err, &e) || e.Reason != types.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
					t.Errorf("%v", err)
				}
				throttled++
				return
			}
			var from, to float64
			if n, _ := fmt.Sscanf(string(out.Payload), "[%g, %g]", &from, &to); n != 2 || out.FunctionError != nil {
				t.Errorf("answer %s", out.Payload)
			}
			edges = append(edges, edge{from, 1}, edge{to, -1})
		})
	}
	close(begin)
	wg.Wait()
	slices.SortFunc(edges, func(a, b edge) int { return int(math.Copysign(1, a.at-b.at)) })
	running, most := 0, 0
	for _, e := range edges {
		running += e.delta
		most = max(most, running)
	}
	t.Logf("%d of %d ran, at most %d at once", len(edges)/2, clients, most)
	if most > reserved || len(edges)/2 < reserved || throttled == 0 || len(edges)/2+throttled != clients {
		t.Errorf("%d ran, at most %d at once; %d throttled", len(edges)/2, most, throttled)
	}
	var result []float64
	mustInvoke(t, c, "reserved", "{}", &result)
}

// An update of code while 50 clients call: every call is answered by the old or the new code, and after the update by the new one.
func TestUpdateUnderLoad(t *testing.T) {
	const clients = 50
	s := start(t, nil)
	c := client(t, s.API(), hansomtest.Credentials)
	code := func(what string) []byte {
		return source(t, python311, "import time\n\ndef handler(event, context):\n    time.sleep(0.2)\n    return '"+what+"'\n")
	}
	create(t, c, "updated", python311, code("old"))
	var wg sync.WaitGroup
	var updated atomic.Bool
	var answers [2]atomic.Int64 // old, new
	first := make(chan struct{}, clients)
	for range clients {
		wg.Go(func() {
			for last := false; !last && t.Context().Err() == nil; {
				last = updated.Load()
				a, err := invoke(t.Context(), c, "updated", "{}")
				switch {
				case err != nil || a.errorType != "":
					t.Errorf("%v, %s", err, a.payload)
				case a.payload == `"old"` && !last:
					answers[0].Add(1)
				case a.payload == `"new"`:
					answers[1].Add(1)
				default:
					t.Errorf("answer %s, after the update: %v", a.payload, last)
				}
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	for range clients / 2 {
		<-first
	}
	if _, err := c.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("updated"), ZipFile: code("new")}); err != nil {
		t.Error(err)
	}
	waitUpdated(t, c, "updated")
	updated.Store(true)
	wg.Wait()
	if answers[0].Load() == 0 || answers[1].Load() < clients {
		t.Errorf("%d old answers, %d new ones", answers[0].Load(), answers[1].Load())
	}
}
