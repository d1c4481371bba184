package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/hansomcloud/hansom/internal/db"
)

// keptDeployments is how many automatic deployments that no stage uses are kept.
const keptDeployments = 5

// Sizes of IDs, as AWS has them.
const (
	sizeOfAPI        = 10
	sizeOfPart       = 7 // of routes, integrations
	sizeOfAuthorizer = 6 // of deployments, mappings and plans too
)

// edit changes an API in one transaction, with what its stages deploy by themselves, and returns it as it is then. f may be run again.
func (s *Service) edit(ctx context.Context, project, id string, f func(tx *db.Tx, a *API) error) (out *API, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		a, err := s.api(ctx, tx, project, id)
		if err != nil {
			return err
		}
		if err := f(tx, a); err != nil {
			return err
		}
		if err := s.autoDeploy(ctx, tx, a); err != nil {
			return err
		}
		out = a
		return save(ctx, tx, a)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// snapshot is what a deployment keeps, as it is stored, with a digest of it.
func (a *API) snapshot() (text, digest string) {
	text = db.Document(Snapshot{a.Routes, a.Integrations, a.Authorizers, a.CORS})
	sum := sha256.Sum256([]byte(text))
	return text, hex.EncodeToString(sum[:16])
}

// deploy stores a deployment of an API as it is. What d says of its description and Auto counts.
func (s *Service) deploy(ctx context.Context, tx *db.Tx, a *API, d Deployment) (Deployment, error) {
	var text string
	text, d.Digest = a.snapshot()
	d.ID, d.Created = s.unused(sizeOfAuthorizer, func(id string) bool { return a.deployment(id) != nil }), s.now()
	a.Deployments = append(a.Deployments, d)
	return d, exec(ctx, tx, "", `INSERT INTO gateway_snapshots (api, id, document) VALUES (?, ?, ?)`, a.ID, d.ID, text)
}

// autoDeploy deploys an API to those of its stages that do so by themselves and have something else deployed, and drops old deployments of this kind.
func (s *Service) autoDeploy(ctx context.Context, tx *db.Tx, a *API) error {
	_, digest := a.snapshot()
	current := ""
	for i := len(a.Deployments) - 1; i >= 0 && current == ""; i-- {
		if d := &a.Deployments[i]; d.Auto && d.Digest == digest {
			current = d.ID
		}
	}
	for i := range a.Stages {
		st := &a.Stages[i]
		if d := a.deployment(st.Deployment); !st.AutoDeploy || d != nil && d.Digest == digest {
			continue
		}
		if current == "" {
			d, err := s.deploy(ctx, tx, a, Deployment{Auto: true, Description: "Automatic deployment triggered by changes to the Api configuration"})
			if err != nil {
				return err
			}
			current = d.ID
		}
		st.deployed(current)
		st.Updated = s.now()
	}
	return prune(ctx, tx, a)
}

// deployed notes that a stage has a deployment.
func (st *Stage) deployed(id string) {
	st.Deployment, st.Message = id, "Successfully deployed stage with deployment ID '"+id+"'"
}

// prune drops the automatic deployments that no stage uses, but for the newest.
func prune(ctx context.Context, tx *db.Tx, a *API) error {
	kept := 0
	for i := len(a.Deployments) - 1; i >= 0; i-- {
		d := a.Deployments[i]
		if !d.Auto || a.deployedBy(d.ID) != "" {
			continue
		}
		if kept++; kept <= keptDeployments {
			continue
		}
		a.Deployments = slices.Delete(a.Deployments, i, i+1)
		if err := exec(ctx, tx, "", `DELETE FROM gateway_snapshots WHERE api = ? AND id = ?`, a.ID, d.ID); err != nil {
			return err
		}
	}
	return nil
}

// deployment finds a deployment; nil when there is none.
func (a *API) deployment(id string) *Deployment {
	return find(a.Deployments, func(d *Deployment) bool { return d.ID == id })
}

// deployedBy is the name of a stage that has a deployment; "" when none has.
func (a *API) deployedBy(id string) string {
	if st := find(a.Stages, func(st *Stage) bool { return st.Deployment == id }); st != nil {
		return st.Name
	}
	return ""
}

// find returns the first that f is true of; nil when there is none.
func find[T any](list []T, f func(*T) bool) *T {
	for i := range list {
		if f(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// remove takes out those that f is true of, and tells whether there were any.
func remove[T any](list *[]T, f func(*T) bool) bool {
	before := len(*list)
	*list = slices.DeleteFunc(*list, func(x T) bool { return f(&x) })
	return len(*list) < before
}

// unused makes an ID that is not used.
func (s *Service) unused(size int, used func(id string) bool) string {
	for {
		if id := s.cfg.NewID(size); !used(id) {
			return id
		}
	}
}
