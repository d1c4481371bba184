package lambda

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

// DownloadPath is where Downloads must be mounted on the api listener.
const DownloadPath = "/_hansom/code/"

// codeLocation returns an address at the Host of the request from which a package can be fetched for a while, without credentials.
func (s *Service) codeLocation(r *http.Request, project, digest string) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	expires := strconv.FormatInt(s.cfg.Now().Add(s.cfg.DownloadTTL).Unix(), 10)
	key := project + "/" + digest
	return scheme + "://" + r.Host + DownloadPath + key + ".zip?expires=" + expires + "&signature=" + s.downloadSignature(key, expires)
}

func (s *Service) downloadSignature(key, expires string) string {
	mac := hmac.New(sha256.New, s.cfg.DownloadKey)
	mac.Write([]byte("code-location\n" + key + "\n" + expires))
	return hex.EncodeToString(mac.Sum(nil))
}

// Downloads serves what Code.Location points to. Its requests carry a signature in the query and no credentials: it stands
// beside the authenticated API, at DownloadPath.
func (s *Service) Downloads() http.Handler { return http.HandlerFunc(s.download) }

func (s *Service) download(w http.ResponseWriter, r *http.Request) {
	deny := func(message string) {
		w.Header()["X-Amzn-Errortype"] = []string{"AccessDeniedException"}
		awsapi.WriteJSON(w, http.StatusForbidden, errorBody{Lower: message})
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		awsapi.WriteJSON(w, http.StatusMethodNotAllowed, errorBody{Lower: "A package can be fetched with GET or HEAD."})
		return
	}
	key := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, DownloadPath), ".zip")
	expires := r.URL.Query().Get("expires")
	if !hmac.Equal([]byte(r.URL.Query().Get("signature")), []byte(s.downloadSignature(key, expires))) {
		deny("The signature of this address does not match it. Call GetFunction, or GetLayerVersion, for a new Location.")
		return
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || s.cfg.Now().Unix() > until {
		deny("This address has expired. Call GetFunction, or GetLayerVersion, for a new Location.")
		return
	}
	project, digest, _ := strings.Cut(key, "/")
	content, _, err := s.artifacts.Open(r.Context(), project, digest)
	if err != nil {
		if hansom.KindOf(err) == hansom.NotFound {
			awsapi.WriteJSON(w, http.StatusNotFound, errorBody{Lower: "This package is no longer stored."})
			return
		}
		s.logger.Error("package cannot be read", "key", key, "error", err)
		awsapi.WriteJSON(w, http.StatusInternalServerError, errorBody{Lower: "The package cannot be read. The server's log says why."})
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("ETag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, content)
}
