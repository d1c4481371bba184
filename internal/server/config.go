package server

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/bus"
	"github.com/hansomcloud/hansom/internal/egress"
	"github.com/hansomcloud/hansom/internal/manifest"
	"github.com/hansomcloud/hansom/internal/sandbox/linux"
)

// Config of a server. DefaultConfig gives the defaults; Settings lists every key.
type Config struct {
	Data string // data directory
	Edge string // listen address of the public listener; unless it is set, :80 beside certificates
	API  string // listen address of the AWS-shaped and management APIs
	NATS string // listen address for clients of NATS; "" for none
	// NATSURL is the NATS server that has the message log; "" for the one in the process.
	NATSURL string
	EdgeTLS string   // listen address of the public listener with TLS; "" is :443, of dev 127.0.0.1:8443, when there are certificates
	TLSCert []string // PEM files of certificates
	TLSKey  []string // PEM files of their keys, in the same order
	HTTPS   bool     // certificates of an authority of its own; set by hansom dev --https, not a key
	// HTTPSRedirect sends plain requests to HTTPS where there is TLS.
	HTTPSRedirect  bool
	HSTS           string   // Strict-Transport-Security header of answers over TLS; "off" for none
	TrustedProxies []string // addresses and blocks of proxies that tell of their clients
	Compress       bool     // answers, where clients accept it

	Domain string // base domain of public hosts
	Region string // region in every ARN
	DB     string // "" is SQLite in the data directory; postgres://... otherwise
	Sync   string // "process" survives kill -9, "always" a power cut
	Spare  int    // MB of the disk that stay free: below it nothing new is accepted

	Driver              string        // "auto", "linux" or "process"
	InsecureNoIsolation bool          // let serve run without isolation
	Egress              string        // of functions when neither they nor their project say: "none", "platform" or "internet"
	EgressAllow         string        // blocks of addresses that egress internet may reach though they are not public, with commas between
	Upstreams           string        // which servers elsewhere the API can name: "any" or "public"
	EgressRange         string        // block that sandboxes with egress internet have their addresses from
	CPUQuota            bool          // hold functions to the CPU that comes with their memory
	Memory              int           // MB for all instances together; 0 takes three quarters of the host's
	Blanks              int           // most blanks at a time; 0 makes none, -1 as many as demand asks for
	Idle                time.Duration // an idle instance ends after this
	LogSize             int           // MB of log kept for each log group
	LogAge              time.Duration
	LogFormat           string        // server's own log: "text" or "json"
	LogLevel            string        // least level of it: "debug", "info", "warn" or "error"
	CodeGrace           time.Duration // code that nothing refers to is kept this long
	RunDir              string        // run directory of sandboxes
	Zygotes             bool          // fork functions where that is possible

	// When the server is told to end, running invocations have Drain to end; streams of other servers and upgraded connections, which have
	// no end of their own, have DrainStreams. Neither is a key.
	Drain, DrainStreams time.Duration

	Dev bool // loopback only, accepts test/test; set by hansom dev, not a key

	edgeGiven bool // Edge is not the default
}

// DefaultConfig returns the defaults of hansom serve.
func DefaultConfig() Config {
	c := Config{
		Data:        "/var/lib/hansom",
		Edge:        ":8080",
		API:         "127.0.0.1:4566",
		Domain:      "localhost",
		Compress:    true,
		HSTS:        "max-age=31536000",
		Region:      hansom.DefaultRegion,
		Sync:        "process",
		Spare:       128,
		Driver:      "auto",
		Egress:      hansom.EgressPlatform,
		Upstreams:   "any",
		EgressRange: linux.DefaultConfig().Network.Range.String(),
		Blanks:      -1,
		Zygotes:     true,
		Idle:        10 * time.Minute,
		LogSize:     64,
		LogAge:      14 * 24 * time.Hour,
		LogFormat:   "text",
		LogLevel:    "info",
		CodeGrace:   24 * time.Hour,
		RunDir:      "/run/hansom",

		Drain: 15 * time.Minute, DrainStreams: 30 * time.Second,
	}
	c.HTTPSRedirect = true
	if os.Geteuid() != 0 {
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			dir = filepath.Join(os.TempDir(), "hansom-"+strconv.Itoa(os.Geteuid()))
		}
		c.RunDir = filepath.Join(dir, "hansom")
	}
	return c
}

// DevConfig returns the defaults of hansom dev.
func DevConfig() Config {
	c := DefaultConfig()
	c.Data, c.Edge, c.Dev, c.LogLevel, c.Egress = ".hansom", "127.0.0.1:8080", true, "warn", hansom.EgressInternet
	c.Drain, c.DrainStreams = 5*time.Second, 5*time.Second
	c.HTTPSRedirect, c.HSTS = false, "off" // for localhost, a browser would keep to it in every other project
	return c
}

// Setting is one key of the configuration: the flag --key, the key of the YAML file and the variable HANSOM_KEY
// (upper case, dashes as underscores). It is a pflag.Value.
type Setting struct {
	Key, Usage string
	target     any
}

// Settings of c, in the order in which help shows them. Setting one changes c.
func (c *Config) Settings() []*Setting {
	return []*Setting{
		{"data", "data directory", &c.Data},
		{"edge", "address of the public listener", &choice{&c.Edge, &c.edgeGiven}},
		{"edge-tls", "address of the public listener with TLS (default: :443 with certificates)", &c.EdgeTLS},
		{"tls-cert", "PEM file of a certificate with its chain; several with commas between", &list{value: &c.TLSCert}},
		{"tls-key", "PEM file of the certificate's key; several in the same order", &list{value: &c.TLSKey}},
		{"https-redirect", "send plain requests to HTTPS, where there are certificates", &c.HTTPSRedirect},
		{"hsts", "Strict-Transport-Security header of answers over TLS: off for none", &c.HSTS},
		{"trusted-proxies", "addresses and blocks of proxies whose X-Forwarded and Forwarded headers count, with commas between", &list{value: &c.TrustedProxies}},
		{"compress", "compress answers for clients that accept it", &c.Compress},
		{"api", "address of the AWS-shaped and management APIs", &c.API},
		{"nats", "address for clients of NATS, such as 127.0.0.1:4222 (default: none)", &c.NATS},
		{"nats-url", "nats://USER:PASSWORD@HOST:PORT of a NATS server that has the message log (default: in the process)", &c.NATSURL},
		{"domain", "base domain of public hosts", &c.Domain},
		{"region", "region in every ARN", &c.Region},
		{"db", "postgres://... for PostgreSQL 15 or newer (default: SQLite in the data directory)", &c.DB},
		{"sync", "durability: process survives kill -9, always a power cut", &c.Sync},
		{"spare", "MB of the data directory's disk that stay free: below it no new work and settings are accepted", &c.Spare},
		{"driver", "what isolates functions: auto, linux or process", &c.Driver},
		{"insecure-no-isolation", "run functions without isolation where the host offers none", &c.InsecureNoIsolation},
		{"egress", "what functions reach when neither they nor their project say: none, platform or internet", &c.Egress},
		{"egress-allow", "IPv4 blocks that functions with egress internet reach though they are not public, with commas between", &c.EgressAllow},
		{"egress-range", "IPv4 block for the addresses of functions with egress internet", &c.EgressRange},
		{"upstreams", "servers elsewhere that the API can name, for API destinations: any, or only public addresses", &c.Upstreams},
		{"cpu-quota", "hold functions to the CPU that comes with their memory, also while there is some to spare", &c.CPUQuota},
		{"memory", "MB of memory for all instances together (0: three quarters of the host's)", &c.Memory},
		{"blanks", "most interpreters that are kept booted for functions to come (0: none, -1: as many as demand asks for)", &c.Blanks},
		{"idle", "an idle instance ends after this", &c.Idle},
		{"log-size", "MB of log kept for each log group", &c.LogSize},
		{"log-age", "logs are kept this long, unless their group has a retention", &c.LogAge},
		{"log-format", "format of the server's own log: text or json", &c.LogFormat},
		{"log-level", "least level of the server's own log: debug, info, warn or error", &c.LogLevel},
		{"code-grace", "code and layers that nothing refers to are kept this long", &c.CodeGrace},
		{"run-dir", "run directory of sandboxes", &c.RunDir},
		{"zygotes", "fork Python functions from an interpreter that is kept, as root", &c.Zygotes},
	}
}

// choice is a string of which is known whether it was set.
type choice struct {
	value *string
	given *bool
}

// list is a setting with several values.
type list struct {
	value *[]string
	set   bool
}

// Env is the setting's environment variable.
func (s *Setting) Env() string {
	return "HANSOM_" + strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_"))
}

// Set parses a value.
func (s *Setting) Set(v string) (err error) {
	switch t := s.target.(type) {
	case *string:
		*t = v
	case *choice:
		*t.value, *t.given = v, true
	case *list:
		if !t.set { // a flag that is given again adds to what it was given first
			*t.value, t.set = nil, true
		}
		*t.value = append(*t.value, strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })...)
	case *bool:
		*t, err = strconv.ParseBool(v)
	case *int:
		*t, err = strconv.Atoi(v)
	case *time.Duration:
		*t, err = time.ParseDuration(v)
	}
	if err != nil {
		return fmt.Errorf("%q is not a %s", v, s.Type())
	}
	return nil
}

func (s *Setting) String() string {
	switch t := s.target.(type) {
	case *string:
		return *t
	case *choice:
		return *t.value
	case *list:
		return strings.Join(*t.value, ",")
	case *bool:
		return strconv.FormatBool(*t)
	case *int:
		return strconv.Itoa(*t)
	case *time.Duration:
		text := t.String()
		for _, zero := range []string{"m0s", "h0m"} { // 336h0m0s is 336h
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
		return text
	}
	return ""
}

// Type names the kind of value: string, bool, number or duration.
func (s *Setting) Type() string {
	switch s.target.(type) {
	case *bool:
		return "bool"
	case *int:
		return "number"
	case *time.Duration:
		return "duration"
	}
	return "string"
}

// Load sets c from the YAML file (skipped when path is "") and then from the environment; an unknown key of the file is
// refused with the nearest known one. Flags come last, by the caller.
func (c *Config) Load(path string, environ []string) error {
	settings := map[string]*Setting{}
	for _, s := range c.Settings() {
		settings[s.Key] = s
	}
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return hansom.Errorf(hansom.Invalid, "read config", "%w", err)
		}
		var file map[string]any
		if err := yaml.Unmarshal(data, &file); err != nil {
			return hansom.Errorf(hansom.Invalid, "read config", "%s: %w", path, err)
		}
		for _, k := range slices.Sorted(maps.Keys(file)) {
			s, ok := settings[k]
			if !ok {
				return hansom.Errorf(hansom.Invalid, "read config", "%s: %s", path, manifest.Unknown(k, slices.Sorted(maps.Keys(settings))))
			}
			text := fmt.Sprint(file[k])
			if several, ok := file[k].([]any); ok {
				text = strings.Trim(text, "[]")
				if _, ok := s.target.(*list); !ok {
					return hansom.Errorf(hansom.Invalid, "read config", "%s: %s has %d values; it takes one", path, k, len(several))
				}
			}
			if err := s.Set(text); err != nil {
				return hansom.Errorf(hansom.Invalid, "read config", "%s: %s: %w", path, k, err)
			}
		}
	}
	env := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	for _, s := range c.Settings() {
		if v, ok := env[s.Env()]; ok {
			if err := s.Set(v); err != nil {
				return hansom.Errorf(hansom.Invalid, "read environment", "%s: %w", s.Env(), err)
			}
		}
	}
	return nil
}

// Validate checks what no single value shows.
func (c *Config) Validate() error {
	bad := func(format string, args ...any) error {
		return hansom.Errorf(hansom.Invalid, "check config", format, args...)
	}
	switch {
	case c.Sync != "process" && c.Sync != "always":
		return bad("sync is %q; use process or always", c.Sync)
	case c.Driver != "auto" && c.Driver != "linux" && c.Driver != "process":
		return bad("driver is %q; use auto, linux or process", c.Driver)
	case c.Driver == "linux" && runtime.GOOS != "linux":
		return bad("the linux driver needs Linux; use --driver process")
	case c.Upstreams != "any" && c.Upstreams != "public":
		return bad("upstreams is %q; use any or public", c.Upstreams)
	case c.NATS != "" && c.NATSURL != "":
		return bad("nats is for the NATS in the process, and nats-url for another; clients connect to that one")
	case c.LogFormat != "text" && c.LogFormat != "json":
		return bad("log-format is %q; use text or json", c.LogFormat)
	case !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel):
		return bad("log-level is %q; use debug, info, warn or error", c.LogLevel)
	case c.Domain == "" || strings.ContainsAny(c.Domain, "/: "):
		return bad("domain %q is not a host name", c.Domain)
	case !regionForm(c.Region):
		return bad("region %q is not a region name such as us-east-1", c.Region)
	case c.Blanks < -1:
		return bad("blanks is %d; use 0 for none, or -1 for as many as demand asks for", c.Blanks)
	case c.Spare < 0:
		return bad("spare is %d; use 0 or more MB", c.Spare)
	case c.Memory < 0 || c.LogSize < 1 || c.Idle <= 0 || c.LogAge <= 0 || c.CodeGrace <= 0:
		return bad("memory, log-size, idle, log-age and code-grace must be positive")
	case c.DB != "" && !strings.HasPrefix(c.DB, "postgres://") && !strings.HasPrefix(c.DB, "postgresql://"):
		return bad("db %q is not a postgres:// URL; leave it out for SQLite", c.DB)
	}
	if c.NATSURL != "" {
		if err := bus.CheckURL(c.NATSURL); err != nil {
			return bad("nats-url: %w", err)
		}
	}
	if c.Egress == "" || hansom.CheckEgress(c.Egress) != nil {
		return bad("egress is %q; use none, platform or internet", c.Egress)
	}
	if _, err := c.policy(); err != nil {
		return bad("egress-allow: %w", err)
	}
	if p, err := netip.ParsePrefix(c.EgressRange); err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() > 24 {
		return bad("egress-range %q is not a block of at least 256 IPv4 addresses such as 100.64.0.0/10", c.EgressRange)
	}
	if err := c.checkTLS(); err != nil {
		return bad("%w", err)
	}
	for name, addr := range map[string]string{"edge": c.Edge, "edge-tls": c.EdgeTLS, "api": c.API, "nats": c.NATS} {
		if (name == "nats" || name == "edge-tls") && addr == "" {
			continue
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return bad("%s %q is not an address such as 127.0.0.1:8080: %w", name, addr, err)
		}
		if ip := net.ParseIP(host); c.Dev && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return bad("%s is %q, but hansom dev listens on loopback alone; use hansom serve", name, addr)
		}
	}
	return nil
}

// policy says which addresses functions may reach.
func (c *Config) policy() (egress.Policy, error) {
	return egress.NewPolicy(strings.FieldsFunc(c.EgressAllow, func(r rune) bool { return r == ',' || r == ' ' }))
}

// Level is LogLevel, which Validate has accepted.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.LogLevel))
	return l
}

func regionForm(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) < 3 || len(s) > 32 {
		return false
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return false
		}
	}
	_, err := strconv.Atoi(parts[len(parts)-1])
	return err == nil
}
