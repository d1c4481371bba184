package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/hansomcloud/hansom/internal/server"
)

// complaints are what the consoles of pages show.
type complaints struct {
	mu   sync.Mutex
	list []string
}

func (c *complaints) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

// watch notes what the console of a tab gets from now on.
func (c *complaints) watch(t *testing.T, tab context.Context) {
	t.Helper()
	err := chromedp.Listen(tab, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			c.add("exception: %v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			for _, a := range e.Args {
				c.add("console.%s: %s", e.Type, a.Value)
			}
		case *log.EventEntryAdded:
			c.add("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (c *complaints) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// chromium starts a browser and returns its first tab.
func chromium(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not there")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute))
	options = append(options, more...)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	tab, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(tab); err != nil {
			t.Error(err)
		}
		stop()
	})
	if err := chromedp.Do(tab); err != nil { // without a time limit, which would be the browser's
		t.Fatal(err)
	}
	return tab
}

// ask runs an action in a tab, in a minute, and returns what it answers.
func ask[T any](t *testing.T, tab context.Context, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, time.Minute)
	defer cancel()
	answer, err := chromedp.Run(ctx, action)
	if err != nil {
		ctx, cancel := context.WithTimeout(tab, 5*time.Second)
		defer cancel()
		page, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText")) // for the message
		t.Fatalf("%v; the page shows:\n%s", err, page)
	}
	return answer
}

// do runs actions in a tab, each in a minute.
func do(t *testing.T, tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	for _, a := range actions {
		ask(t, tab, a)
	}
}

// script runs JavaScript in the page.
func script(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](text + "; ({})")
}

// becomes waits for a condition in the page.
func becomes(condition string) chromedp.Action[chromedp.Void] {
	poll := chromedp.Poll[bool]("Boolean("+condition+")", chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(0))
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := poll(ctx, target)
		return err
	})
}

// shows waits until an element shows a text.
func shows(selector, text string) chromedp.Action[chromedp.Void] {
	return becomes(fmt.Sprintf("Array.from(document.querySelectorAll(%q)).some((e) => e.checkVisibility() && e.textContent.includes(%q))", selector, text))
}

// write puts a text into a field, as somebody who types does.
func write(selector, text string) chromedp.Action[chromedp.Void] {
	return script(fmt.Sprintf("{ const field = document.querySelector(%q); field.value = %q; field.dispatchEvent(new Event('input')) }", selector, text))
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

// screenshot takes a picture of the tab, into the folder that HANSOM_SCREENSHOTS names when it is set.
func screenshot(t *testing.T, tab context.Context, name string, width, height int64, scheme string) {
	t.Helper()
	dir := os.Getenv("HANSOM_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
	do(t, tab, chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, media)
		return err
	}))
	overflow := ask(t, tab, chromedp.Evaluate[bool]("scrollTo(0, 0); document.documentElement.scrollWidth > innerWidth"))
	picture := ask(t, tab, chromedp.CaptureScreenshot())
	if overflow {
		t.Errorf("the page %s is wider than %d pixels", name, width)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("guestbook-%s-%dx%d.png", name, width, height)), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGuestbook deploys the example and uses it with a browser: what is signed in one tab appears in another one without a reload; nobody
// writes without a token; after a restart of the server, which ends the function's memory and its key, the pages connect again and ask to sign in.
func TestGuestbook(t *testing.T) {
	t.Parallel()
	tab := chromium(t)
	dir, port := t.TempDir(), freePort(t)
	if err := os.CopyFS(dir, os.DirFS("../../examples/guestbook")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "hansom.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "STREAM_SECONDS: 60", "STREAM_SECONDS: 2", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *server.Config) { c.Edge = "127.0.0.1:" + port })
	a := deploy(t, s, dir)

	// The API alone.
	for _, token := range []string{"", "Bearer x", "Bearer eyJhbGciOiJub25lIn0.e30."} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+"/entries", strings.NewReader(`{"text":"never to be seen"}`))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		if status, body := send(t, a.browser, r); status != http.StatusUnauthorized {
			t.Errorf("with the token %q: %d %s", token, status, body)
		}
	}

	// Two tabs.
	var console complaints
	console.watch(t, tab)
	do(t, tab, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(a.url), shows("#state", "Live"), shows("#empty", "Nothing here yet"))
	screenshot(t, tab, "empty", 1280, 800, "light")
	other, closeTab := chromedp.NewContext(tab)
	defer closeTab()
	if err := chromedp.Do(other); err != nil {
		t.Fatal(err)
	}
	console.watch(t, other)
	do(t, other, chromedp.Navigate(a.url), shows("#state", "Live"), script("window.loaded = 'once'"))

	const last = "Came for the cabs, stayed for the conversation.\nIt rained <b>all</b> day & nobody minded."
	sign := func(tab context.Context, name string, texts ...string) {
		t.Helper()
		do(t, tab, write("#name", name), click("#session button"), shows("#me", name))
		for _, text := range texts {
			first, _, _ := strings.Cut(text, "\n")
			do(t, tab, write("#text", text), click("#send"), shows(".entry .text", first), becomes("document.querySelector('#text').value === '' && !document.querySelector('#send').disabled"))
		}
	}
	sign(tab, "Grace Hopper", "A ship in port is safe, but that is not what ships are built for.")
	do(t, other, shows(".entry .text", "A ship in port"))
	sign(other, "Joseph Hansom", "The driver sits high and at the back, so that the horse has less to pull. I still think it is a good idea.")
	do(t, tab, shows(".entry .text", "The driver sits high"), click("#leave"))
	sign(tab, "Ada", last)
	do(t, other, shows(".entry .text", "nobody minded"))

	loaded, entries := ask(t, other, chromedp.Evaluate[string]("window.loaded")), ask(t, other, chromedp.Evaluate[int]("document.querySelectorAll('.entry').length"))
	name, shown := ask(t, other, chromedp.Evaluate[string]("document.querySelector('.entry .name').textContent")),
		ask(t, other, chromedp.Evaluate[string]("document.querySelector('.entry .text').textContent"))
	if loaded != "once" || entries != 3 || name != "Ada" || shown != last {
		t.Errorf("the second tab: loaded %q, %d entries, the first one by %q: %q", loaded, entries, name, shown)
	}
	if list := console.all(); len(list) > 0 {
		t.Errorf("the consoles show:\n%s", strings.Join(list, "\n"))
	}
	for _, scheme := range []string{"light", "dark"} {
		screenshot(t, tab, scheme, 1280, 800, scheme)
		screenshot(t, tab, scheme, 390, 844, scheme)
	}

	// Another process of the function has no entries, and knows no token of this one.
	do(t, tab, write("#text", "written before"))
	s.Stop(t)
	do(t, tab, shows("#state", "Reconnecting"))
	screenshot(t, tab, "lost", 390, 844, "light")
	s.Restart(t)
	do(t, other, shows("#state", "Live"), shows("#empty", "Nothing here yet"))
	do(t, tab, shows("#state", "Live"), click("#send"), shows("#session-error", "Your session has ended"))
	screenshot(t, tab, "ended", 390, 844, "light")
	do(t, tab, click("#session button"), shows("#me", "Ada"), click("#send"), shows(".entry .text", "written before"))
	do(t, other, shows(".entry .text", "written before"))
}
