package throttle

import (
	"context"
	"embed"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
	"github.com/hansomcloud/hansom/internal/gateway/api"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Periods of an api.Quota.
const (
	Day   = "DAY"
	Week  = "WEEK"
	Month = "MONTH"
)

const (
	dayLength = 24 * time.Hour
	inMemory  = 63 // days; the longest period has 31
)

// QuotaConfig of Quotas.
type QuotaConfig struct {
	Every  time.Duration // counts are stored so often
	Retain int           // days that counts are kept for
	Now    func() time.Time
}

// DefaultQuotaConfig stores counts every second and keeps them for 400 days.
func DefaultQuotaConfig() QuotaConfig {
	return QuotaConfig{Every: time.Second, Retain: 400, Now: time.Now}
}

// Quotas counts the requests of API keys, by usage plan and day. It counts in memory; what was counted in the last moments before a crash
// is lost, up to QuotaConfig.Every. Methods may be called from several goroutines.
type Quotas struct {
	cfg    QuotaConfig
	db     *db.DB
	log    *slog.Logger
	seed   maphash.Seed
	shards [shards]quotaShard
	store  sync.Mutex // one Flush at a time
	swept  int64      // day of the last sweep; guarded by store
}

type quotaShard struct {
	mu       sync.Mutex
	counters map[member]*counter
	dirty    map[member]*counter
}

// member is an API key of a usage plan, by their IDs.
type member struct{ plan, key string }

type counter struct {
	project string
	days    []count // the oldest first
}

// count is what was used on a day.
type count struct {
	day     int64 // since 1970
	stored  int64 // requests
	pending int64 // requests that are not stored yet
	granted int64 // requests that do not count
}

// NewQuotas migrates the table and reads the counts of late. Run must be called for counts to be stored.
func NewQuotas(ctx context.Context, cfg QuotaConfig, database *db.DB, logger *slog.Logger) (*Quotas, error) {
	const op = "open quotas"
	if cfg.Every <= 0 || cfg.Retain < inMemory || cfg.Now == nil {
		return nil, hansom.Errorf(hansom.Invalid, op, "every must be positive, retain at least %d, and now must be set", inMemory)
	}
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, failed(op, err)
	}
	if err := database.Migrate(ctx, domain, files); err != nil {
		return nil, err
	}
	q := &Quotas{cfg: cfg, db: database, log: logger.With("component", "throttle"), seed: maphash.MakeSeed()}
	for i := range q.shards {
		q.shards[i].counters, q.shards[i].dirty = map[member]*counter{}, map[member]*counter{}
	}
	err = q.read(ctx, q.db.Read(), `WHERE day >= ?`, []any{q.today() - inMemory}, func(m member, project string, c count) {
		s := q.shard(m)
		of := s.counters[m]
		if of == nil {
			of = &counter{project: project}
			s.counters[m] = of
		}
		of.days = append(of.days, c)
	})
	return q, err
}

// Run stores counts until ctx ends, and once more then.
func (q *Quotas) Run(ctx context.Context) error {
	tick := time.NewTicker(q.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			q.flush(ctx)
		case <-ctx.Done():
			q.flush(context.WithoutCancel(ctx))
			return nil
		}
	}
}

func (q *Quotas) flush(ctx context.Context) {
	if err := q.Flush(ctx); err != nil && ctx.Err() == nil {
		q.log.Error("the usage of API keys could not be stored; it is tried again", "error", err)
	}
}

func (q *Quotas) shard(m member) *quotaShard {
	return &q.shards[maphash.Comparable(q.seed, m)%shards]
}

func (q *Quotas) today() int64 { return dayOf(q.cfg.Now()) }

func dayOf(t time.Time) int64 { return floor(t.Unix(), int64(dayLength/time.Second)) }

// floor divides, downward.
func floor(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

// Take counts a request that an API key makes with a plan. ok is false, and the request is not counted, when the plan's quota is used up:
// after says when the next period begins. A plan without a quota lets all through.
func (q *Quotas) Take(plan *api.Plan, key string) (after time.Duration, ok bool) {
	now := q.cfg.Now()
	today := dayOf(now)
	m := member{plan.ID, key}
	s := q.shard(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters[m]
	if c == nil {
		m = member{strings.Clone(plan.ID), strings.Clone(key)}
		c = &counter{project: plan.Project}
		s.counters[m] = c
	}
	if plan.Quota != nil {
		start, end := period(plan.Quota, today)
		if c.used(start, end) >= int64(plan.Quota.Limit) {
			return time.Unix(end*int64(dayLength/time.Second), 0).Sub(now), false
		}
	}
	c.at(today).pending++
	if _, dirty := s.dirty[m]; !dirty {
		s.dirty[m] = c
	}
	return 0, true
}

// used is what counts of the days from start to before end.
func (c *counter) used(start, end int64) (n int64) {
	for i := len(c.days) - 1; i >= 0 && c.days[i].day >= start; i-- {
		if d := &c.days[i]; d.day < end {
			n += d.stored + d.pending - d.granted
		}
	}
	return n
}

// at returns the count of a day.
func (c *counter) at(day int64) *count {
	i, found := slices.BinarySearchFunc(c.days, day, func(d count, day int64) int { return int(d.day - day) })
	if !found {
		c.days = slices.Insert(c.days, i, count{day: day})
	}
	return &c.days[i]
}

// period is the period of a quota that a day is in: its first day, and the first of the next. A week begins on Sunday and a month on the
// first, each Offset days later.
func period(quota *api.Quota, day int64) (start, end int64) {
	offset := int64(quota.Offset)
	switch quota.Period {
	case Week:
		const sunday = 3 // 1970-01-04
		start = floor(day-sunday-offset, 7)*7 + sunday + offset
		return start, start + 7
	case Month:
		t := time.Unix((day-offset)*int64(dayLength/time.Second), 0).UTC()
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		next := first.AddDate(0, 1, 0)
		return dayOf(first) + offset, dayOf(next) + offset
	}
	return day, day + 1
}

// Grant lets an API key make n requests in the running period of a plan's quota, whatever it has used: UpdateUsage. It is stored at once.
// Error: Invalid for a plan without a quota.
func (q *Quotas) Grant(ctx context.Context, plan *api.Plan, key string, n int64) error {
	if plan.Quota == nil {
		return hansom.Errorf(hansom.Invalid, "grant usage", "The usage plan %s has no quota.", plan.ID)
	}
	q.store.Lock()
	defer q.store.Unlock()
	if err := q.flushAll(ctx); err != nil {
		return err
	}
	m, today := member{plan.ID, key}, q.today()
	start, end := period(plan.Quota, today)
	s := q.shard(m)
	s.mu.Lock()
	c := s.counters[m]
	if c == nil {
		c = &counter{project: plan.Project}
		s.counters[m] = c
	}
	more := n - (int64(plan.Quota.Limit) - c.used(start, end))
	c.at(today).granted += more
	s.mu.Unlock()
	err := q.db.Write(ctx, func(tx *db.Tx) error { return q.grant(ctx, tx, m, plan.Project, today, more) })
	if err != nil {
		s.mu.Lock()
		c.at(today).granted -= more
		s.mu.Unlock()
	}
	return err
}

// Used is what an API key has used on a day, and what of the plan's quota was left after it; -1 for a plan without a quota.
type Used struct {
	Day             time.Time // its beginning, of UTC
	Used, Remaining int64
}

// Usage lists what an API key has used of a plan on each day from from to to, both included: GetUsage.
func (q *Quotas) Usage(ctx context.Context, plan *api.Plan, key string, from, to time.Time) ([]Used, error) {
	m := member{plan.ID, key}
	first, last := dayOf(from), dayOf(to)
	start := first
	if plan.Quota != nil {
		start, _ = period(plan.Quota, first)
	}
	c := &counter{}
	err := q.read(ctx, q.db.Read(), `WHERE plan = ? AND api_key = ? AND day >= ? AND day <= ?`, []any{plan.ID, key, start, last}, func(_ member, _ string, d count) {
		c.days = append(c.days, d)
	})
	if err != nil {
		return nil, err
	}
	s := q.shard(m)
	s.mu.Lock()
	if live := s.counters[m]; live != nil {
		for _, d := range live.days {
			if d.day >= start && d.day <= last {
				*c.at(d.day) = d
			}
		}
	}
	s.mu.Unlock()
	var list []Used
	for day := first; day <= last; day++ {
		d := *c.at(day)
		u := Used{Day: time.Unix(day*int64(dayLength/time.Second), 0).UTC(), Used: d.stored + d.pending, Remaining: -1}
		if plan.Quota != nil {
			start, _ := period(plan.Quota, day)
			u.Remaining = max(int64(plan.Quota.Limit)-c.used(start, day+1), 0)
		}
		list = append(list, u)
	}
	return list, nil
}
