package jwt

import (
	"context"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// BenchmarkVerify verifies one token again and again, on all processors, with cached keys: as one that comes for the first time, and as
// one that is remembered.
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
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if _, err := v.Verify(context.Background(), token, want); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
