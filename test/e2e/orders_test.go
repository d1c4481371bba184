package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
)

// order is one of examples/orders.
type order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Card     string `json:"card,omitempty"`
	Amount   int    `json:"amount"`
}

// TestOrders deploys the example, orders through HTTP, kills the server in the middle and starts it again. In the end each order is in the
// ledger once, or with the dead letters when its card is declined, and those of each customer are in their order; who paid more than 100 has a
// receipt, and the report of the day counts each order once.
func TestOrders(t *testing.T) {
	t.Parallel()
	if os.Getenv("HANSOM_DRIVER") == "process" {
		t.Skip("with the process driver the queues' addresses have the port of the api listener, which is another one after the restart")
	}
	dir, runDir := t.TempDir(), t.TempDir()
	const customers, each = 5, 8
	p := serve(t, dir, runDir)
	var edge atomic.Pointer[string]
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	hansom := func(args ...string) string {
		t.Helper()
		env := append(os.Environ(), "HANSOM_API="+p.api, "HANSOM_ACCESS_KEY_ID="+rootKey.AccessKeyID, "HANSOM_SECRET_ACCESS_KEY="+rootKey.SecretAccessKey,
			"XDG_CACHE_HOME="+t.TempDir(), "GOCACHE="+filepath.Join(caches, "go-build"))
		out, err := run(t, env, "", append([]string{binary(t)}, args...)...)
		if err != nil {
			t.Fatalf("hansom %v: %v\n%s", args, err, out)
		}
		return out
	}
	hansom("layers", "add", "boto3")
	hansom("deploy", "../../examples/orders")
	edge.Store(&p.edge)

	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(*edge.Load(), "http://"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	web := &http.Client{Transport: transport, Timeout: time.Minute}
	post := func(body string) (int, error) {
		resp, err := web.Post("http://orders.localhost/orders", "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	for _, body := range []string{`{`, `{"id":"x","customer":"a b","card":"visa","amount":1}`, `{"id":"x","customer":"a","card":"visa","amount":0}`} {
		if status, err := post(body); status != http.StatusBadRequest {
			t.Errorf("%s: %d, %v", body, status, err)
		}
	}

	var accepted atomic.Int64
	half := make(chan struct{})
	var wg sync.WaitGroup
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	charged, declined, receipts := map[string][]string{}, map[string]bool{}, map[string][]string{} // what has to come out of it
	total := 0
	for c := range customers {
		customer := fmt.Sprint("customer", c)
		var orders []order
		for n := range each {
			o := order{fmt.Sprintf("%s-%d", customer, n), customer, "visa", 20 * (n + 1)}
			switch {
			case n == 2+c%2:
				o.Card = "declined"
				declined[o.ID] = true
			case n == 5:
				o.Card = "flaky"
			}
			if orders = append(orders, o); o.Card != "declined" {
				charged[customer] = append(charged[customer], o.ID)
				total += o.Amount
				if o.Amount > 100 {
					receipts[customer] = append(receipts[customer], o.ID)
				}
			}
		}
		wg.Go(func() {
			for _, o := range orders {
				text, err := json.Marshal(o)
				if err != nil {
					t.Error(err)
					return
				}
				for status := 0; status != http.StatusAccepted; { // it may have been taken all the same: the same id is no second order
					if status, _ = post(string(text)); status != http.StatusAccepted && ctx.Err() != nil {
						t.Errorf("order %s is not accepted: %d", o.ID, status)
						return
					}
				}
				if accepted.Add(1) == customers*each/2 {
					close(half)
				}
			}
		})
	}
	<-half
	p.kill()
	p = serve(t, dir, runDir)
	if os.Geteuid() != 0 {
		hansom("deploy", "../../examples/orders") // functions share the host's loopback, where the queues have another port now
	}
	edge.Store(&p.edge)
	wg.Wait()

	q := queues{queueClient(t, p.api, rootKey), t}
	url := func(name string) *string { u := p.api + "/000000000000/" + name; return &u }
	empty := [3]string{"0", "0", "0"}
	for now := q.counts(url("orders-charge.fifo")); now != empty; {
		eventually(t, fmt.Sprintf("an order is charged or declined; %v wait", now), func() bool {
			before := now
			now = q.counts(url("orders-charge.fifo"))
			return now != before
		})
	}
	read := func(name string) map[string][]string {
		byCustomer := map[string][]string{}
		for {
			list := q.receive(url(name), 10, 1)
			for _, m := range list {
				var o order
				if err := json.Unmarshal([]byte(*m.Body), &o); err != nil {
					t.Fatal(err)
				}
				byCustomer[o.Customer] = append(byCustomer[o.Customer], o.ID)
				q.delete(url(name), m)
			}
			if len(list) == 0 {
				return byCustomer
			}
		}
	}
	ledger := read("orders-ledger.fifo")
	for customer, want := range charged {
		if !slices.Equal(ledger[customer], want) {
			t.Errorf("the ledger of %s has %v, want %v", customer, ledger[customer], want)
		}
	}
	if len(ledger) != len(charged) {
		t.Errorf("the ledger has %v", ledger)
	}
	unpaid := slices.Sorted(func(yield func(string) bool) {
		for _, ids := range read("orders-unpaid.fifo") {
			for _, id := range ids {
				if !yield(id) {
					return
				}
			}
		}
	})
	if want := slices.Sorted(maps.Keys(declined)); !slices.Equal(unpaid, want) {
		t.Errorf("unpaid are %v, want %v", unpaid, want)
	}
	sent := map[string][]string{}
	for complete := false; !complete; {
		for customer, ids := range read("orders-receipts.fifo") {
			sent[customer] = slices.Sorted(slices.Values(append(sent[customer], ids...))) // events have no order
		}
		complete = maps.EqualFunc(sent, receipts, slices.Equal)
		if ctx.Err() != nil && !complete {
			t.Fatalf("receipts are sent for %v, want %v\n%s", sent, receipts, hansom("logs"))
		}
	}
	reportNow(t, p.api, "orders-report-1")
	want := fmt.Sprintf("today: %d orders, %d in total", customers*each-len(declined), total)
	eventually(t, "the report of the day is printed", func() bool { return strings.Contains(hansom("logs", "orders-report"), want) })

	if out := hansom("queue", "ls", "orders"); !regexp.MustCompile(`(?m)^orders-charge.fifo +0 +0 +0 +orders-unpaid.fifo after 3 +orders-worker$`).MatchString(out) {
		t.Errorf("queue ls:\n%s", out)
	}
}

// reportNow has a schedule come at once in place of its own time.
func reportNow(t *testing.T, api, name string) {
	t.Helper()
	c := schedulerClient(t, api, rootKey)
	old, err := c.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateSchedule(t.Context(), &scheduler.UpdateScheduleInput{Name: &name, FlexibleTimeWindow: old.FlexibleTimeWindow, Target: old.Target,
		ScheduleExpression: aws.String(time.Now().UTC().Add(2 * time.Second).Format("at(2006-01-02T15:04:05)"))}); err != nil {
		t.Fatal(err)
	}
}
