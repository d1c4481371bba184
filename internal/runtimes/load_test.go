package runtimes

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hansomcloud/hansom/internal/frame"
)

// both runs f on every interpreter with the source of its language; source["nodejs"], source["python"].
func both(t *testing.T, source map[Family]string, f func(t *testing.T, p *process)) {
	for _, family := range []Family{Node, Python} {
		each(t, family, func(t *testing.T, r *Runtime) {
			t.Parallel()
			f(t, ready(t, r, source[family]))
		})
	}
}

var echo = map[Family]string{
	Node:   "exports.handler = async (event) => event;",
	Python: "def handler(event, context):\n    return event\n",
}

// answer returns the next RESULT and how many LOG frames of the stream came before it.
func (p *process) answer(check func(message []byte)) (result []byte, logs int) {
	p.t.Helper()
	for {
		h, body := p.next()
		if h.Stream != p.stream {
			p.t.Fatalf("frame %+v while stream %d is awaited", h, p.stream)
		}
		switch h.Kind {
		case frame.Log:
			logs++
			check(body)
		case frame.Result:
			return body, logs
		default:
			p.t.Fatalf("%+v %.500s", h, body)
		}
	}
}

func TestLargePayloads(t *testing.T) {
	both(t, echo, func(t *testing.T, p *process) {
		for _, size := range []int{1, 64 << 10, 65500, 65536, 6<<20 - 2} {
			want := []byte(`"` + strings.Repeat("0123456789abcdef", size/16+1)[:size] + `"`)
			p.invoke(want, call{})
			got, _ := p.answer(func([]byte) { t.Error("a log message") })
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes: got %d bytes", len(want), len(got))
			}
		}
	})
}

func TestFramesInPieces(t *testing.T) {
	both(t, echo, func(t *testing.T, p *process) {
		var all []byte
		for i := range 3 {
			event := fmt.Appendf(nil, `{"n":%d}`, i)
			body := append(frame.AppendCall(nil, &frame.Call{RequestID: "id"}), event...)
			all = append(frame.AppendHeader(all, frame.Header{Kind: frame.Invoke, Stream: uint64(i + 1), Length: uint32(len(body))}), body...)
		}
		// One byte, then two, then three ...: the pieces end everywhere in headers and bodies.
		for n := 1; len(all) > 0; n++ {
			n = min(n, len(all))
			if _, err := p.conn.Write(all[:n]); err != nil {
				t.Fatal(err)
			}
			all = all[n:]
			runtime.Gosched()
		}
		for i := range 3 {
			p.stream++
			got, _ := p.answer(func([]byte) {})
			if want := strconv.Itoa(i); !strings.Contains(string(got), want) {
				t.Errorf("answer %d: %s", i, got)
			}
		}
	})
}

func TestInvalidUTF8(t *testing.T) {
	both(t, echo, func(t *testing.T, p *process) {
		p.invoke([]byte("\"a\xff\xc3b\""), call{})
		got, _ := p.answer(func([]byte) {})
		if s := string(got); !utf8.Valid(got) || !strings.HasPrefix(s, `"a`) || !strings.HasSuffix(s, `b"`) {
			t.Errorf("got %q", got)
		}
	})
}

// TestFlood prints much more than memory would hold: the program is held up, nothing is lost, nothing piles up.
func TestFlood(t *testing.T) {
	const lines, width = 20_000, 1000
	source := map[Family]string{
		Node:   fmt.Sprintf("exports.handler = async () => { const s = 'x'.repeat(%d); for (let i = 0; i < %d; i++) console.log(s); return 'done'; };", width, lines),
		Python: fmt.Sprintf("def handler(event, context):\n    s = 'x' * %d\n    for i in range(%d):\n        print(s)\n    return 'done'\n", width, lines),
	}
	both(t, source, func(t *testing.T, p *process) {
		p.invoke([]byte("{}"), call{})
		got, logs := p.answer(func(m []byte) {
			if !bytes.HasSuffix(m, []byte("xxxx")) || len(m) < width || len(m) > width+100 {
				t.Fatalf("message %q", m)
			}
		})
		if string(got) != `"done"` || logs != lines {
			t.Errorf("result %s after %d messages", got, logs)
		}
		if peak := peakMemory(t, p.cmd.Process.Pid); peak > 128<<20 {
			t.Errorf("it took %d MB", peak>>20)
		}
	})
}

func peakMemory(t *testing.T, pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // not Linux
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// TestLongMessages splits what is over 256 KB, never inside a character.
func TestLongMessages(t *testing.T) {
	const n = 400_001
	source := map[Family]string{
		Node:   fmt.Sprintf("exports.handler = async () => { console.log('x' + 'é'.repeat(%d)); };", n),
		Python: fmt.Sprintf("def handler(event, context):\n    print('x' + 'é' * %d)\n    context.log('x' + 'é' * %d)\n", n, n),
	}
	both(t, source, func(t *testing.T, p *process) {
		p.invoke([]byte("{}"), call{})
		characters := 0
		_, logs := p.answer(func(m []byte) {
			if len(m) > 256<<10 || !utf8.Valid(m) {
				t.Errorf("a message of %d bytes, valid %v", len(m), utf8.Valid(m))
			}
			characters += bytes.Count(m, []byte("é"))
		})
		if characters%n != 0 || characters == 0 || logs < 4 {
			t.Errorf("%d characters in %d messages", characters, logs)
		}
	})
}

// TestLogsWhileIdle: between invocations nobody reads. A program that goes on printing must not keep the next event out.
func TestLogsWhileIdle(t *testing.T) {
	source := map[Family]string{
		Node: `const s = 'x'.repeat(1000);
			exports.handler = async (event) => { if (event === 0) setInterval(() => { for (let i = 0; i < 1000; i++) console.log(s); }, 1); return event.length; };`,
		Python: `import threading, time
def work():
    while True:
        print("x" * 1000)
def handler(event, context):
    if event == 0:
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)
        return None
    return len(event)
`}
	both(t, source, func(t *testing.T, p *process) {
		p.invoke([]byte("0"), call{})
		for { // frames of the work may follow the answer in any number
			if h, _ := p.next(); h.Kind == frame.Result {
				break
			}
		}
		const size = 3 << 20
		p.invoke([]byte(`"`+strings.Repeat("y", size)+`"`), call{}) // far more than the socket holds
		for {
			h, body := p.next()
			if h.Kind == frame.Result {
				if string(body) != strconv.Itoa(size) {
					t.Errorf("answer %s", body)
				}
				return
			}
			if h.Kind != frame.Log || h.Stream > p.stream {
				t.Fatalf("%+v %s", h, body)
			}
		}
	})
}

// TestServerGone: a runtime whose server has ended does not stay.
func TestServerGone(t *testing.T) {
	both(t, echo, func(t *testing.T, p *process) {
		p.conn.Close()
		if code := p.wait(); code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("while busy", func(t *testing.T) {
		both(t, map[Family]string{
			Node:   "exports.handler = async () => { for (;;) console.log('x'); };",
			Python: "def handler(event, context):\n    while True:\n        print('x')\n",
		}, func(t *testing.T, p *process) {
			p.invoke([]byte("{}"), call{})
			p.next()
			p.conn.Close()
			if code := p.wait(); code != 1 {
				t.Errorf("exit code %d", code)
			}
		})
	})
}

// TestPythonSignals: a signal handler that prints while the program prints does not garble the frames.
func TestPythonSignals(t *testing.T) {
	each(t, Python, func(t *testing.T, r *Runtime) {
		p := ready(t, r, `import signal
beeps = 0
def beep(number, frame):
    global beeps
    beeps += 1
    frame.f_globals  # any use
    context_.log("beep")
def handler(event, context):
    global context_
    context_ = context
    signal.signal(signal.SIGALRM, beep)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    while beeps < 20:
        context.log("x" * 100000)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # runs the handler of a signal that is pending
    return beeps
`)
		p.invoke([]byte("{}"), call{})
		beeps := 0
		got, _ := p.answer(func(m []byte) {
			if string(m) == "beep" {
				beeps++
			} else if strings.Trim(string(m), "x") != "" || len(m) != 100000 {
				t.Fatalf("message of %d bytes: %.100q", len(m), m)
			}
			time.Sleep(10 * time.Microsecond) // a reader slow enough for writes to be taken in parts
		})
		if string(got) != strconv.Itoa(beeps) || beeps < 20 {
			t.Errorf("answer %s, %d beeps", got, beeps)
		}
	})
}

func BenchmarkInvoke(b *testing.B) {
	c, err := installed()
	if err != nil {
		b.Fatal(err)
	}
	seen := map[string]bool{}
	for _, in := range c.Interpreters() {
		identifier := in.Identifier()
		r, err := c.Resolve(identifier)
		if err != nil || seen[identifier] {
			continue
		}
		seen[identifier] = true
		for _, size := range []int{100, 6<<20 - 100} {
			b.Run(fmt.Sprintf("%s/%d", identifier, size), func(b *testing.B) {
				p := ready(b, r, echo[in.Family])
				event := []byte(`{"text":"` + strings.Repeat("z", size) + `"}`)
				b.SetBytes(int64(len(event)))
				for b.Loop() {
					p.invoke(event, call{})
					if h, body := p.next(); h.Kind != frame.Result {
						b.Fatalf("%+v %s", h, body)
					}
				}
			})
		}
	}
}

// TestStreamBackPressure streams far more than the function's memory to a server that reads late.
func TestStreamBackPressure(t *testing.T) {
	each(t, Node, func(t *testing.T, r *Runtime) {
		t.Parallel()
		const chunks, size = 1200, 64 << 10
		p := ready(t, r, fmt.Sprintf(`const { Readable } = require('stream');
const { pipeline } = require('stream/promises');
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  await pipeline(Readable.from((function* () { for (let i = 0; i < %d; i++) yield Buffer.alloc(%d, i); })()), stream);
});`, chunks, size))
		p.invoke([]byte("{}"), call{})
		if h, body := p.next(); h.Kind != frame.Result || h.Flags != frame.FlagStream {
			t.Fatalf("%+v %s", h, body)
		}
		p.invoke([]byte("{}"), call{}) // and another at once: neither may hold up the other
		ends, begun := 0, map[uint64]int{}
		for ends < 2 {
			h, body := p.next()
			switch h.Kind {
			case frame.Chunk:
				for len(body) > 0 {
					n := min(len(body), size-begun[h.Stream]%size)
					if want := byte(begun[h.Stream] / size); bytes.Count(body[:n], []byte{want}) != n {
						t.Fatalf("stream %d: after %d bytes not all of %d are %d", h.Stream, begun[h.Stream], n, want)
					}
					begun[h.Stream] += n
					body = body[n:]
				}
			case frame.End:
				ends++
			case frame.Result:
			default:
				t.Fatalf("%+v %.200s", h, body)
			}
		}
		if begun[1] != chunks*size || begun[2] != chunks*size {
			t.Errorf("streams of %d and %d bytes", begun[1], begun[2])
		}
		if peak := peakMemory(t, p.cmd.Process.Pid); peak > 160<<20 {
			t.Errorf("it took %d MB", peak>>20)
		}
	})
}
