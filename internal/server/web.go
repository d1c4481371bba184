package server

import (
	"slices"
	"sync"

	"github.com/hansomcloud/hansom/internal/gateway"
	"github.com/hansomcloud/hansom/internal/gateway/api"
	"github.com/hansomcloud/hansom/internal/gateway/openapi"
	"github.com/hansomcloud/hansom/internal/manifest"
)

// ownAPIs are the APIs of apps, by project/name. They are made anew only when the manifest is another, which the gateway goes by.
type ownAPIs map[string]ownAPI

type ownAPI struct {
	manifest *manifest.Resolved
	live     *api.Live // nil when it cannot be made
}

// webOf makes the APIs of apps.
func (s *Server) webOf() openapi.Apps {
	// Over plain HTTP: the authority of dev is not trusted, and where certificates are there is a redirect.
	keys := func(project, app, path string) string { return s.plainHost(s.appLabel(project, app)) + path }
	return openapi.Apps{Region: s.cfg.Region, Domain: s.cfg.Domain, Keys: keys, Taken: s.apis.HasDomain, Check: s.checkIntegration}
}

// publishApps tells the gateway which apps answer at which hosts. Notices of changes call it one after the other.
func (s *Server) publishApps() {
	s.publishSites()
	var apps []gateway.App
	var domains []*api.Domain
	own, web := ownAPIs{}, s.webOf()
	for _, p := range s.auth.Projects() {
		for _, name := range s.apps.Apps(p.ID) {
			m, ok := s.apps.Manifest(p.ID, name)
			if !ok {
				continue
			}
			key := p.ID + "/" + name
			o, known := s.own[key]
			if !known || o.manifest != m {
				live, err := web.Live(p.ID, m)
				if err != nil { // it was good when it was deployed
					s.logger.Error("the routes of an app cannot be made", "app", name, "project", p.ID, "error", err)
				}
				o = ownAPI{m, live}
			}
			own[key] = o
			apps = append(apps, gateway.App{Project: p.ID, Slug: p.Slug, Name: name, Live: o.live})
			for _, d := range m.Domains {
				domains = append(domains, &api.Domain{Project: p.ID, Name: d, Mappings: []api.Mapping{{API: name, Stage: api.DefaultStage}}})
			}
		}
	}
	s.own = own
	s.gateway.SetApps(apps)
	s.names.setOwn(domains)
}

// domainNames tells the gateway of custom domains: those made through the API Gateway API, and those of apps.
type domainNames struct {
	*gateway.Gateway
	mu        sync.Mutex
	made, own []*api.Domain
}

// SetDomains implements api.Follower.
func (n *domainNames) SetDomains(all []*api.Domain) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made = all
	n.publish()
}

func (n *domainNames) setOwn(all []*api.Domain) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(all)+len(n.own) > 0 {
		n.own = all
		n.publish()
	}
}

func (n *domainNames) publish() { n.Gateway.SetDomains(slices.Concat(n.own, n.made)) }

// owned says that an app has a custom domain.
func (n *domainNames) owned(domain string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.own, func(d *api.Domain) bool { return d.Name == domain })
}
