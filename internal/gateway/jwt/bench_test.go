package jwt

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// BenchmarkVerify verifies one token again and again, on all processors, with cached keys: as one that comes for the first time, and as
// one that is remembered. Beside the time by the clock it says what processor time a token takes, which other work on the machine does not change.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		for name, cache := range map[string]int{"first": 0, "remembered": 100} {
			b.Run(string(alg)+"/"+name, func(b *testing.B) {
				v := verifier(b, newWeb(all...), func(c *Config) { c.Cache = cache })
				token := sign(b, alg, of[alg], nil, claims(time.Now(), map[string]any{"email": "someone@example.com", "cognito:groups": []string{"a", "b"}, "jti": "0123456789"}))
				if got := verify(v, token); got != "" {
					b.Fatal(got)
				}
				b.ReportAllocs()
				b.ResetTimer()
				before := used(b)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if _, err := v.Verify(context.Background(), token, want); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
				b.ReportMetric(float64(b.N)/(used(b)-before).Seconds(), "tokens/cpu-s")
			})
		}
	}
}

// used is the processor time of the process so far.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
