package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hansomcloud/hansom/internal/hansomtest"
	"github.com/hansomcloud/hansom/internal/server"
)

// TestBurst starts many functions at once, each for the first time. Each answers with its own name, and draws lots of its own.
// HANSOM_BURST sets how many (40), and has the time and the CPU that it takes logged; HANSOM_BURST_RUNTIME the runtime.
func TestBurst(t *testing.T) {
	n := 40
	if text := os.Getenv("HANSOM_BURST"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	rt := python311
	code := testdata(t, "draw.py")
	if text := os.Getenv("HANSOM_BURST_RUNTIME"); text != "" {
		rt = types.Runtime(text)
		code = testdata(t, "draw.js")
	}
	s := start(t, func(c *server.Config) { c.Memory = 1 << 20 })
	c := client(t, s.API(), hansomtest.Credentials)
	for i := range n {
		name := fmt.Sprintf("burst%d", i)
		if _, err := c.CreateFunction(t.Context(), request(name, rt, source(t, rt, code), func(in *lambda.CreateFunctionInput) {
			in.Environment = &types.Environment{Variables: map[string]string{"NAME": "I am "}}
		})); err != nil {
			t.Fatal(err)
		}
	}
	before, busy, began := cpu(), machine(), time.Now()
	var wg sync.WaitGroup
	times, answers := make([]time.Duration, n), make([]struct {
		Name  string
		Draws []string
	}, n)
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprintf("burst%d", i)
			out, err := c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String(name)})
			times[i] = time.Since(began)
			if err != nil || out.FunctionError != nil || json.Unmarshal(out.Payload, &answers[i]) != nil || answers[i].Name != "I am "+name {
				t.Errorf("%s: %v", name, err)
				if out != nil {
					t.Errorf("%s", out.Payload)
				}
			}
		})
	}
	wg.Wait()
	drawn := map[string]int{}
	for i, a := range answers {
		for _, draw := range a.Draws {
			if other, ok := drawn[draw]; ok {
				t.Errorf("functions %d and %d both drew %s", other, i, draw)
			}
			drawn[draw] = i
		}
	}
	if os.Getenv("HANSOM_BURST") != "" {
		slices.Sort(times)
		took := time.Since(began)
		busy = machine() - busy
		s.Stop(t) // what it started counts when it has waited for it
		t.Logf("%d starts in %v on %d CPUs: %.0f/s, p50 %v, p99 %v, CPU %v each with its end, the whole machine %v each until the last answer", n, took, runtime.NumCPU(), float64(n)/took.Seconds(),
			times[n/2], times[n*99/100], (cpu()-before)/time.Duration(n), busy/time.Duration(n))
	}
}

// cpu is the time that this process and its children which it has waited for have used.
func cpu() time.Duration {
	var all time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		if syscall.Getrusage(who, &used) == nil {
			all += time.Duration(used.Utime.Nano() + used.Stime.Nano())
		}
	}
	return all
}

// machine is the time that all CPUs have been busy.
func machine() (busy time.Duration) {
	b, _ := os.ReadFile("/proc/stat")
	for i, field := range strings.Fields(strings.SplitN(string(b), "\n", 2)[0]) {
		if n, err := strconv.Atoi(field); err == nil && i != 4 && i != 5 { // idle, iowait
			busy += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return busy
}
