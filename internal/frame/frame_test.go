package frame

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestWire holds the codec to the bytes that bootstraps in other languages are written against: testdata/wire.txt, one frame a
// line, "name hex".
func TestWire(t *testing.T) {
	frameOf := func(h Header, body []byte) []byte {
		h.Length = uint32(len(body))
		return append(AppendHeader(nil, h), body...)
	}
	load := &Load{Handler: "app.handler", TaskRoot: "/var/task", Env: [][2]string{{"A", "1"}, {"B", ""}}}
	call := &Call{Deadline: 1_700_000_000_123, RequestID: "id", ARN: "arn", Trace: "t", ClientContext: []byte("{}"), Event: []byte(`"é"`)}
	got := map[string][]byte{
		"ready":       frameOf(Header{Kind: Ready}, AppendBooted(nil, Booted{Protocol: Version, Runtime: "v22.11.0"})),
		"init":        frameOf(Header{Kind: Init}, AppendLoad(nil, load)),
		"ready-init":  frameOf(Header{Kind: Ready, Flags: FlagInit}, nil),
		"invoke":      frameOf(Header{Kind: Invoke, Stream: 1 << 40}, append(AppendCall(nil, call), call.Event...)),
		"result":      frameOf(Header{Kind: Result, Stream: 1 << 40}, []byte("null")),
		"stream":      frameOf(Header{Kind: Result, Flags: FlagStream, Stream: 7}, []byte("text/plain")),
		"end-error":   frameOf(Header{Kind: End, Flags: FlagError, Stream: 7}, []byte("{}")),
		"error-fatal": frameOf(Header{Kind: Error, Flags: FlagFatal, Stream: 7}, []byte("{}")),
	}
	data, err := os.ReadFile("testdata/wire.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != len(got) {
		t.Errorf("%d lines, %d cases", len(lines), len(got))
	}
	for _, line := range lines {
		name, want, _ := strings.Cut(line, " ")
		if have := hex.EncodeToString(got[name]); have != want {
			t.Errorf("%s\n got %s\nwant %s", name, have, want)
		}
	}
	if l, err := ParseLoad(got["init"][HeaderSize:]); err != nil || !reflect.DeepEqual(&l, load) {
		t.Errorf("ParseLoad = %+v, %v", l, err)
	}
	if c, err := ParseCall(got["invoke"][HeaderSize:]); err != nil || c.Deadline != call.Deadline || c.RequestID != "id" || c.ARN != "arn" ||
		c.Trace != "t" || string(c.ClientContext) != "{}" || len(c.Identity) != 0 || string(c.Event) != `"é"` {
		t.Errorf("ParseCall = %+v, %v", c, err)
	}
	if b, err := ParseBooted(got["ready"][HeaderSize:]); err != nil || b != (Booted{Version, "v22.11.0"}) {
		t.Errorf("ParseBooted = %+v, %v", b, err)
	}
}

func TestRefused(t *testing.T) {
	for name, h := range map[string]Header{
		"kind 0":        {Kind: 0},
		"kind 13":       {Kind: Stop + 1},
		"chunk too big": {Kind: Chunk, Length: MaxBody + 1},
		"log too big":   {Kind: Log, Length: 1<<32 - 1},
	} {
		if _, err := ParseHeader(AppendHeader(nil, h)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, h := range map[string]Header{
		"largest":          {Kind: Chunk, Length: MaxBody, Stream: 1<<64 - 1},
		"too large result": {Kind: Result, Length: 1<<32 - 1},
	} {
		if got, err := ParseHeader(AppendHeader(nil, h)); err != nil || got != h {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := ParseHeader(make([]byte, HeaderSize-1)); err == nil {
		t.Error("a short header: accepted")
	}
	if _, err := ParseLoad(append(AppendLoad(nil, &Load{}), 0)); err == nil {
		t.Error("INIT with a byte too many: accepted")
	}
	if _, err := ParseLoad([]byte{0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}); err == nil {
		t.Error("INIT that announces more variables than it has: accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(AppendHeader(nil, Header{Kind: Log, Length: 3}))
	f.Add(AppendBooted(nil, Booted{Version, "v1"}))
	f.Add(AppendLoad(nil, &Load{Handler: "a", TaskRoot: "b", Env: [][2]string{{"c", "d"}}}))
	f.Add(AppendCall(nil, &Call{Deadline: -1, RequestID: "id", Event: []byte("{}")}))
	f.Add([]byte{1, 0, 0, 0, 'x', 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHeader(b); err == nil && b[6] == 0 && b[7] == 0 && !bytes.Equal(AppendHeader(nil, h), b[:HeaderSize]) {
			t.Errorf("header %+v does not encode to what it was read from", h)
		}
		if r, err := ParseBooted(b); err == nil && !bytes.Equal(AppendBooted(nil, r), b) {
			t.Errorf("%+v does not encode to what it was read from", r)
		}
		if l, err := ParseLoad(b); err == nil && !bytes.Equal(AppendLoad(nil, &l), b) {
			t.Errorf("%+v does not encode to what it was read from", l)
		}
		if c, err := ParseCall(b); err == nil && !bytes.Equal(append(AppendCall(nil, &c), c.Event...), b) {
			t.Errorf("%+v does not encode to what it was read from", c)
		}
	})
}
