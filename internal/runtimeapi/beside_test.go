package runtimeapi_test

import (
	"net"
	"strings"
	"testing"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/runtimeapi"
	"github.com/hansomcloud/hansom/internal/sandbox"
)

// No INVOKE goes to extensions of an instance that takes several calls at once: they are told so when they register.
func TestNoInvokeBesideOthers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &extended{Link: runtimeapi.Beside(ln, still{}), t: t, addr: ln.Addr().String()}
	defer x.Close()
	x.Attend(sandbox.ExtensionConfig{Version: &hansom.Version{Concurrency: 2}, External: []string{"one"}, Log: func(sandbox.Event) {}})
	r := dial(t, x.addr)
	r.send("POST", "/2020-01-01/extension/register", "Lambda-Extension-Name: one\r\n", `{"events":["INVOKE","SHUTDOWN"]}`)
	if status, _, body := r.receive(); status != 403 || !strings.Contains(body, `"errorType":"Extension.InvalidEventType"`) {
		t.Errorf("%d %s", status, body)
	}
	x.register("one", "SHUTDOWN")
}
