package api

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

const maxDomainName = 253 // characters

var (
	dnsName    = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	mappingKey = regexp.MustCompile(`^[A-Za-z0-9$\-_.+!*'()]+(/[A-Za-z0-9$\-_.+!*'()]+)*$`)
)

// checkDomain holds a custom domain to the rules. Hosts of the server itself are not to be had.
func (s *Service) checkDomain(d *Domain) error {
	base := strings.TrimPrefix(d.Name, "*.")
	switch {
	case len(d.Name) > maxDomainName || !dnsName.MatchString(d.Name):
		return invalid("The domain name %.300q is not valid: it must be a DNS name in small letters, and may begin with \"*.\".", d.Name)
	case base == s.cfg.Domain || strings.HasSuffix(base, "."+s.cfg.Domain) || strings.HasSuffix(s.cfg.Domain, "."+base) && base != d.Name:
		return invalid("The domain name %s is not valid: hosts of the server's own domain, %s, cannot be custom domains.", d.Name, s.cfg.Domain)
	case d.Security != "TLS_1_2":
		return invalid("Invalid security policy %.64q. Only TLS_1_2 is supported.", d.Security)
	}
	return CheckTags(d.Tags)
}

func (s *Service) domain(ctx context.Context, q db.Querier, project, name string) (*Domain, error) {
	d, err := document[Domain](ctx, q, `SELECT document FROM gateway_domains WHERE name = ? AND project = ?`, strings.ToLower(name), project)
	if err == nil && d == nil {
		err = notFound("domain name")
	}
	return d, err
}

// editDomain changes a domain in one transaction. f may be run again.
func (s *Service) editDomain(ctx context.Context, project, name string, f func(tx *db.Tx, d *Domain) error) (out *Domain, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		d, err := s.domain(ctx, tx, project, name)
		if err != nil {
			return err
		}
		if err := f(tx, d); err != nil {
			return err
		}
		out = d
		return exec(ctx, tx, ofDomain+d.Name, `UPDATE gateway_domains SET document = ? WHERE name = ?`, db.Document(d), d.Name)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CreateDomain makes a custom domain. Errors: BadRequestException, ConflictException for a name that any project has, TooManyRequestsException.
func (s *Service) CreateDomain(ctx context.Context, d Domain) (*Domain, error) {
	d.Created = s.now()
	if err := s.checkDomain(&d); err != nil {
		return nil, err
	}
	if s.refused != nil && s.refused(d.Name) {
		return nil, conflict("The domain name you provided already exists: an app has it.")
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := count(ctx, tx, "gateway_domains", d.Project)
		if err != nil {
			return err
		}
		if n >= MaxDomains {
			return full("custom domain names", "project")
		}
		return exec(ctx, tx, ofDomain+d.Name, `INSERT INTO gateway_domains (name, project, document) VALUES (?, ?, ?)`, d.Name, d.Project, db.Document(d))
	})
	if db.IsDuplicate(err) {
		return nil, conflict("The domain name you provided already exists.")
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// Refuse has CreateDomain refuse the names that taken says apps have. It is called once, before the Service is used.
func (s *Service) Refuse(taken func(name string) bool) { s.refused = taken }

// HasDomain says, from memory, whether any project has a custom domain of that name.
func (s *Service) HasDomain(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.domains[name] != nil
}

// Domain reads a custom domain. Error: NotFoundException.
func (s *Service) Domain(ctx context.Context, project, name string) (*Domain, error) {
	return s.domain(ctx, s.db.Read(), project, name)
}

// Domains reads the custom domains of a project after a name, by name, at most limit of them.
func (s *Service) Domains(ctx context.Context, project, after string, limit int) ([]*Domain, error) {
	return db.Documents[Domain](ctx, s.db.Read(), `SELECT document FROM gateway_domains WHERE project = ? AND name > ? ORDER BY name LIMIT ?`, project, after, limit)
}

// UpdateDomain changes a custom domain, but for its name and its mappings. change may be run again. Errors: NotFoundException, BadRequestException.
func (s *Service) UpdateDomain(ctx context.Context, project, name string, change func(*Domain) error) (*Domain, error) {
	return s.editDomain(ctx, project, name, func(_ *db.Tx, d *Domain) error {
		if err := change(d); err != nil {
			return err
		}
		return s.checkDomain(d)
	})
}

// DeleteDomain removes a custom domain with its mappings. Error: NotFoundException.
func (s *Service) DeleteDomain(ctx context.Context, project, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		d, err := s.domain(ctx, tx, project, name)
		if err != nil {
			return err
		}
		return exec(ctx, tx, ofDomain+d.Name, `DELETE FROM gateway_domains WHERE name = ?`, d.Name)
	})
}

// checkMapping holds a mapping, which is one of d.Mappings already, to the rules.
func (s *Service) checkMapping(ctx context.Context, tx *db.Tx, d *Domain, m *Mapping) error {
	if m.Key != "" && !mappingKey.MatchString(m.Key) {
		return invalid("An ApiMapping key may contain only letters, numbers and one of $-_.+!*'()")
	}
	if find(d.Mappings, func(o *Mapping) bool { return o.ID != m.ID && o.Key == m.Key }) != nil {
		return conflict("ApiMapping key already exists for this domain name")
	}
	a, err := s.api(ctx, tx, d.Project, m.API)
	switch {
	case hansom.KindOf(err) == hansom.NotFound:
		return invalid("Invalid API identifier specified")
	case err != nil:
		return err
	case a.stage(m.Stage) == nil:
		return invalid("Invalid stage identifier specified")
	}
	return nil
}

func (d *Domain) mapping(id string) *Mapping {
	return find(d.Mappings, func(m *Mapping) bool { return m.ID == id })
}

// CreateMapping maps a path of a domain to a stage of an API. Errors: NotFoundException for the domain, BadRequestException, ConflictException for a key
// that is there, TooManyRequestsException.
func (s *Service) CreateMapping(ctx context.Context, project, domain string, m Mapping) (out *Mapping, err error) {
	_, err = s.editDomain(ctx, project, domain, func(tx *db.Tx, d *Domain) error {
		if len(d.Mappings) >= MaxMappings {
			return full("API mappings", "domain name")
		}
		made := m
		made.ID = s.unused(sizeOfAuthorizer, func(id string) bool { return d.mapping(id) != nil })
		d.Mappings = append(d.Mappings, made)
		out = &made
		return s.checkMapping(ctx, tx, d, &made)
	})
	return out, err
}

// UpdateMapping changes a mapping. change may be run again. Errors: as CreateMapping.
func (s *Service) UpdateMapping(ctx context.Context, project, domain, id string, change func(*Mapping) error) (out *Mapping, err error) {
	_, err = s.editDomain(ctx, project, domain, func(tx *db.Tx, d *Domain) error {
		if out = d.mapping(id); out == nil {
			return notFound("ApiMapping")
		}
		if err := change(out); err != nil {
			return err
		}
		return s.checkMapping(ctx, tx, d, out)
	})
	return out, err
}

// DeleteMapping removes a mapping. Error: NotFoundException.
func (s *Service) DeleteMapping(ctx context.Context, project, domain, id string) error {
	_, err := s.editDomain(ctx, project, domain, func(_ *db.Tx, d *Domain) error {
		if !remove(&d.Mappings, func(m *Mapping) bool { return m.ID == id }) {
			return notFound("ApiMapping")
		}
		return nil
	})
	return err
}

// mappedBy is the name of a domain that has a mapping of a stage of an API, of any stage when it is ""; "" when none has.
func mappedBy(ctx context.Context, tx *db.Tx, project, api, stage string) (string, error) {
	domains, err := db.Documents[Domain](ctx, tx, `SELECT document FROM gateway_domains WHERE project = ?`, project)
	for _, d := range domains {
		if slices.ContainsFunc(d.Mappings, func(m Mapping) bool { return m.API == api && (stage == "" || m.Stage == stage) }) {
			return d.Name, nil
		}
	}
	return "", err
}
