package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/hansomcloud/hansom/internal/pattern"
	"github.com/hansomcloud/hansom/test/bench/load"
)

const (
	patternRules = 10_000
	patternEvent = `{"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detail-type":"order placed","source":"shop.1","account":"000000000000",` +
		`"time":"2026-11-30T21:29:54Z","region":"us-east-1","resources":["arn:aws:s3:::orders/2026/11/1.json"],"detail":{"order":"o-1","state":"paid","total":1.5,` +
		`"address":"10.0.1.7","items":[{"sku":"a-1","count":2},{"sku":"b-7","count":1}],"customer":{"id":"c-1","country":"NZ","note":null}}}`
)

// eventPatterns measures how fast the rules that an event matches are found among many: inside of this program, on one processor.
func (b *bench) eventPatterns(ctx context.Context) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b.report.section("Event patterns")
	b.report.printf("Finding the rules that an event of %d bytes matches, on one processor inside this program, without HTTP and targets. A fifth of the rules each asks for a source and "+
		"anything but a state, for the source of the event and another order, a prefix, a wildcard, a range of numbers.\n\n| | events per second of CPU | p50 us |\n| --- | --- | --- |\n", len(patternEvent))
	sets := map[*side]*pattern.Set{}
	var sides []*side
	add := func(name string, rules, from int) (*side, error) {
		s := &side{name: name, samples: map[string][]load.Sample{}}
		set := &pattern.Set{}
		for i := from; i < from+rules; i++ {
			p, err := pattern.Parse(rulePattern(i))
			if err != nil {
				return nil, err
			}
			set.Add(fmt.Sprint(i), p)
		}
		sides, sets[s] = append(sides, s), set
		return s, nil
	}
	few, err := add(fmt.Sprintf("%d rules, of which 5 match", patternRules), patternRules, 5)
	for rules := 10; rules <= patternRules && err == nil; rules *= 10 {
		_, err = add(fmt.Sprintf("%d rules, of which none matches", rules), rules, 10)
	}
	if err != nil {
		return err
	}
	event := []byte(patternEvent)
	const kind = "patterns"
	if err := b.interleave(ctx, kind, sides, func(x *side) (load.Sample, error) {
		want := 0
		if x == few {
			want = 5
		}
		self := []int{os.Getpid()}
		before := load.CPUTime(self)
		out, err := each(1, b.length, func(int) (bool, error) {
			ids, err := sets[x].Match(event)
			if err == nil && len(ids) != want {
				err = fmt.Errorf("it matches %v", ids)
			}
			return true, err
		})
		out.CPU = load.CPUTime(self) - before
		return out, err
	}); err != nil {
		return err
	}
	perCore := func(s load.Sample) float64 { return float64(len(s.Latencies)) / s.CPU.Seconds() }
	for _, x := range sides {
		b.report.printf("| %s | %.0f | %.1f |\n", x.name, x.median(kind, perCore), 1000*x.median(kind, percentile(50)))
	}
	b.report.target(kind, fmt.Sprintf("events per second of one core, with %d rules of which 5 match", patternRules), few.median(kind, perCore), 50_000, atLeast)
	b.report.target(kind, fmt.Sprintf("time for an event with %d rules that cannot match, to that with 10", patternRules),
		sides[len(sides)-1].median(kind, percentile(50))/sides[1].median(kind, percentile(50)), 1.5, atMost)
	return nil
}

// rulePattern is that of rule i. Of 5 to 9 all match the event; others do not.
func rulePattern(i int) string {
	n := i / 5
	switch i % 5 {
	case 0:
		return fmt.Sprintf(`{"source":["shop.%d"],"detail":{"state":[{"anything-but":["open","x-%[1]d"]}]}}`, n)
	case 1:
		return fmt.Sprintf(`{"source":["shop.1","shop.2"],"detail":{"order":["o-%d"],"state":["paid","sent"]}}`, n)
	case 2:
		return fmt.Sprintf(`{"resources":[{"prefix":"arn:aws:s3:::orders/2026/11/%d."}]}`, n)
	case 3:
		return fmt.Sprintf(`{"detail-type":["order placed"],"detail":{"customer":{"id":[{"wildcard":"*-%d"}]}}}`, n)
	}
	return fmt.Sprintf(`{"detail":{"total":[{"numeric":[">=",%d,"<",%d]}]}}`, n, n+1)
}
