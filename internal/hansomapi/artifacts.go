package hansomapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
)

func digestOf(r *http.Request) (string, error) {
	s := r.PathValue("sha256")
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != s {
		return "", hansom.Errorf(hansom.Invalid, "read digest", "%.80q is not a SHA-256 in lower-case hexadecimal", s)
	}
	return s, nil
}

func (h *Handler) headArtifact(r *http.Request, p hansom.Principal) (any, error) {
	digest, err := digestOf(r)
	if err != nil {
		return nil, err
	}
	_, err = h.Artifacts.Stat(r.Context(), p.Project, digest)
	return nil, err
}

// putArtifact stores a zip under its digest and unpacks it, so that a package that is no good is refused here. Nothing is
// stored unless the body has the digest that the path names.
func (h *Handler) putArtifact(r *http.Request, p hansom.Principal) (any, error) {
	digest, err := digestOf(r)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > hansom.MaxUnpacked {
		return nil, tooLarge()
	}
	size, err := h.Artifacts.Upload(r.Context(), p.Project, digest, artifact.Verify(r.Body, digest, hansom.MaxUnpacked))
	if err != nil {
		return nil, err
	}
	return map[string]any{"sha256": digest, "size": size}, nil
}

func tooLarge() error {
	return hansom.Errorf(hansom.TooLarge, "put artifact", "an artifact has at most %d MB", hansom.MaxUnpacked>>20)
}

// strict decodes JSON that has no unknown keys and nothing after it.
func strict(data []byte, out any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(out); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON")
	}
	return nil
}
