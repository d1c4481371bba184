package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        []string
		err        string
		check      func(Config) bool
	}{
		{"defaults", "", nil, "", func(c Config) bool { return c.Edge == ":8080" && c.Region == "us-east-1" }},
		{"file", "edge: 127.0.0.1:0\nmemory: 2048\nidle: 90s\ninsecure-no-isolation: true\n", nil, "",
			func(c Config) bool {
				return c.Edge == "127.0.0.1:0" && c.Memory == 2048 && c.Idle == 90*time.Second && c.InsecureNoIsolation
			}},
		{"environment over file", "region: eu-west-1\n", []string{"HANSOM_REGION=eu-central-1"}, "", func(c Config) bool { return c.Region == "eu-central-1" }},
		{"unknown key", "regoin: eu-west-1\n", nil, `unknown key "regoin"; did you mean region?`, nil},
		{"bad number", "memory: much\n", nil, `memory: "much" is not a number`, nil},
		{"bad variable", "", []string{"HANSOM_IDLE=long"}, `HANSOM_IDLE: "long" is not a duration`, nil},
		{"not a mapping", "- a\n", nil, "config.yaml", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := ""
			if c.file != "" {
				path = filepath.Join(t.TempDir(), "config.yaml")
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg := DefaultConfig()
			err := cfg.Load(path, c.env)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || !c.check(cfg) {
				t.Fatalf("%+v, %v", cfg, err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		err    string
	}{
		"defaults":   {func(*Config) {}, ""},
		"upstreams":  {func(c *Config) { c.Upstreams = "private" }, "use any or public"},
		"sync":       {func(c *Config) { c.Sync = "never" }, "use process or always"},
		"edge":       {func(c *Config) { c.Edge = "8080" }, "is not an address"},
		"dev public": {func(c *Config) { c.Dev, c.Edge = true, "0.0.0.0:80" }, "loopback alone"},
		"region":     {func(c *Config) { c.Region = "Mars" }, "not a region name"},
		"db":         {func(c *Config) { c.DB = "mysql://x" }, "not a postgres:// URL"},
		"domain":     {func(c *Config) { c.Domain = "http://x" }, "not a host name"},
		"pairs":      {func(c *Config) { c.TLSCert, c.TLSKey = []string{"a", "b"}, []string{"a"} }, "tls-cert names 2 files and tls-key 1"},
		"no pair":    {func(c *Config) { c.EdgeTLS = ":443" }, "there is no certificate"},
		"both":       {func(c *Config) { c.HTTPS, c.TLSCert, c.TLSKey = true, []string{"a"}, []string{"a"} }, "leave out"},
		"edge-tls":   {func(c *Config) { c.HTTPS, c.EdgeTLS = true, "443" }, "is not an address"},
		"public tls": {func(c *Config) { *c = DevConfig(); c.HTTPS, c.EdgeTLS = true, ":443" }, "loopback alone"},
		"hsts":       {func(c *Config) { c.HSTS = "max-age=1; includeSubDomains; preload" }, ""},
		"bad hsts":   {func(c *Config) { c.HSTS = "1 year\r\nX: y" }, "hsts is"},
		"proxies":    {func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "nginx"} }, `"nginx" is no address`},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		err := cfg.Validate()
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
}

// With certificates the web's usual ports are the default; what is set stays.
func TestListenAddresses(t *testing.T) {
	for _, c := range []struct {
		dev           bool
		env           []string
		https         bool
		plain, secure string
	}{
		{false, nil, false, ":8080", ""},
		{false, []string{"HANSOM_TLS_CERT=a", "HANSOM_TLS_KEY=b"}, false, ":80", ":443"},
		{false, []string{"HANSOM_TLS_CERT=a", "HANSOM_TLS_KEY=b", "HANSOM_EDGE=:8080", "HANSOM_EDGE_TLS=:8443"}, false, ":8080", ":8443"},
		{true, nil, false, "127.0.0.1:8080", ""},
		{true, nil, true, "127.0.0.1:8080", "127.0.0.1:8443"},
	} {
		cfg := DefaultConfig()
		if c.dev {
			cfg = DevConfig()
		}
		if err := cfg.Load("", c.env); err != nil {
			t.Fatal(err)
		}
		cfg.HTTPS = c.https
		if plain, secure := cfg.listenAddresses(); plain != c.plain || secure != c.secure {
			t.Errorf("%+v: %q and %q", c, plain, secure)
		}
	}
}

// A list is written with commas, as a list in the file, or as a flag that is given again; each source replaces the one before.
func TestLists(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("trusted-proxies: [10.0.0.0/8, \"::1\"]\ntls-cert: a.pem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	if err := cfg.Load(file, []string{"HANSOM_TLS_CERT=b.pem, c.pem"}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(cfg.TrustedProxies, cfg.TLSCert) != "[10.0.0.0/8 ::1] [b.pem c.pem]" {
		t.Errorf("%q %q", cfg.TrustedProxies, cfg.TLSCert)
	}
	for _, s := range cfg.Settings() {
		if s.Key == "tls-cert" {
			_, _ = s.Set("d.pem"), s.Set("e.pem")
		}
	}
	if fmt.Sprint(cfg.TLSCert) != "[d.pem e.pem]" {
		t.Errorf("%q", cfg.TLSCert)
	}
	if err := os.WriteFile(file, []byte("edge: [a, b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Load(file, nil); err == nil || !strings.Contains(err.Error(), "edge has 2 values") {
		t.Error(err)
	}
}

func TestSettingsAreStrings(t *testing.T) {
	for d, want := range map[time.Duration]string{
		14 * 24 * time.Hour: "336h", 10 * time.Minute: "10m", 90 * time.Minute: "1h30m", 10*time.Hour + 10*time.Second: "10h0m10s", 90 * time.Second: "1m30s",
	} {
		if got := (&Setting{target: &d}).String(); got != want {
			t.Errorf("%v is shown as %s, want %s", d, got, want)
		}
	}
	cfg := DefaultConfig()
	for _, s := range cfg.Settings() {
		if err := s.Set(s.String()); err != nil {
			t.Errorf("%s: its own default does not parse: %v", s.Key, err)
		}
		if s.Env() != "HANSOM_"+strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_")) {
			t.Errorf("%s: %s", s.Key, s.Env())
		}
	}
}
