package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2"
	gw "github.com/aws/aws-sdk-go-v2/service/apigatewayv2/types"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi/awstest"
)

// apisClient talks to the API Gateway of a server.
func apisClient(t testing.TB, api string, c hansom.Credentials) *apigatewayv2.Client {
	return apigatewayv2.New(apigatewayv2.Options{Region: hansom.DefaultRegion, BaseEndpoint: &api, RetryMaxAttempts: 1, HTTPClient: awstest.HTTPClient(t),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")})
}

// routed is a route that a client made: what it may answer, "" for nothing. More than one after a change that was not acknowledged.
type routed struct {
	id  string // "" when nobody was told of it
	may []string
}

// router makes, changes and deletes routes of one API, and remembers what the server acknowledged.
type router struct {
	api    string
	random *rand.Rand
	marker int
	routes map[string]*routed // by path
	ops    int
}

// answering makes an integration that answers with a marker.
func (u *router) answering(c *apigatewayv2.Client) (target, marker string, err error) {
	u.marker++
	marker = fmt.Sprint("m", u.marker)
	out, err := c.CreateIntegration(context.Background(), &apigatewayv2.CreateIntegrationInput{ApiId: &u.api, IntegrationType: gw.IntegrationTypeAwsProxy, PayloadFormatVersion: aws.String("1.0"),
		IntegrationSubtype: aws.String("Hansom-Respond"), RequestParameters: map[string]string{"Body": marker}})
	if err != nil {
		return "", "", err
	}
	return "integrations/" + *out.IntegrationId, marker, nil
}

// step makes a route, or changes or deletes one.
func (u *router) step(c *apigatewayv2.Client) error {
	ctx := context.Background() // the server's end is what ends a call
	target, marker, err := u.answering(c)
	if err != nil {
		return err
	}
	var path string
	for path = range u.routes { // any
		break
	}
	r := u.routes[path]
	if r == nil || r.id == "" || u.random.IntN(3) == 0 {
		path = fmt.Sprint("/p", len(u.routes))
		r = &routed{may: []string{""}}
		u.routes[path] = r
		r.may = append(r.may, marker)
		out, err := c.CreateRoute(ctx, &apigatewayv2.CreateRouteInput{ApiId: &u.api, RouteKey: aws.String("GET " + path), Target: &target})
		if err == nil {
			r.id, r.may = *out.RouteId, []string{marker}
		}
		return err
	}
	if u.random.IntN(4) == 0 {
		r.may = append(r.may, "")
		_, err := c.DeleteRoute(ctx, &apigatewayv2.DeleteRouteInput{ApiId: &u.api, RouteId: &r.id})
		if err == nil {
			r.id, r.may = "", []string{""}
		}
		return err
	}
	r.may = append(r.may, marker)
	_, err = c.UpdateRoute(ctx, &apigatewayv2.UpdateRouteInput{ApiId: &u.api, RouteId: &r.id, Target: &target})
	if err == nil {
		r.may = []string{marker}
	}
	return err
}

// verify compares what routes answer with what was acknowledged; what each answers is known then.
func (u *router) verify(t *testing.T, c *apigatewayv2.Client, edge string) {
	ids := map[string]string{}
	for token := (*string)(nil); ; {
		page, err := c.GetRoutes(t.Context(), &apigatewayv2.GetRoutesInput{ApiId: &u.api, NextToken: token})
		if err != nil {
			t.Error(err)
			return
		}
		for _, r := range page.Items {
			ids[strings.TrimPrefix(*r.RouteKey, "GET ")] = *r.RouteId
		}
		if token = page.NextToken; token == nil {
			break
		}
	}
	b := browser(t, strings.TrimPrefix(edge, "http://"))
	for path, r := range u.routes {
		status, answer := get(t, b, "http://"+u.api+".execute-api.localhost"+path)
		if status == http.StatusNotFound {
			answer = ""
		}
		if id := ids[path]; !slices.Contains(r.may, answer) || (id == "") != (answer == "") {
			t.Errorf("%s has the id %q and answers %d %q, want one of %q", path, id, status, answer, r.may)
		}
		r.id, r.may = ids[path], []string{answer}
	}
}

// A server is killed 12 times while two clients change routes of APIs and hansom deploys a site. After each start the routes answer with what was acknowledged last,
// and each file of the site is of one deployment: the last one that ended well, or one that was begun after it.
func TestAPIsSurviveKill(t *testing.T) {
	t.Parallel()
	const kills = 12
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	runDir, data, dir := t.TempDir(), filepath.Join(t.TempDir(), "data"), t.TempDir()
	env := []string{"HANSOM_ACCESS_KEY_ID=" + rootKey.AccessKeyID, "HANSOM_SECRET_ACCESS_KEY=" + rootKey.SecretAccessKey, "XDG_CACHE_HOME=" + t.TempDir(), "HOME=" + t.TempDir(), "PATH=/usr/bin:/bin"}
	var routers []*router
	deployed, begun := 0, 0
	for round := 0; ; round++ {
		p := serve(t, data, runDir)
		c := apisClient(t, p.api, rootKey)
		for i := len(routers); i < 2; i++ {
			out, err := c.CreateApi(t.Context(), &apigatewayv2.CreateApiInput{Name: aws.String("api"), ProtocolType: gw.ProtocolTypeHttp, Target: aws.String("https://example.com"), RouteKey: aws.String("GET /first")})
			if err != nil {
				t.Fatal(err)
			}
			routers = append(routers, &router{api: *out.ApiId, random: rand.New(rand.NewPCG(seed, uint64(i)+1)), routes: map[string]*routed{}})
		}
		for _, u := range routers {
			u.verify(t, c, p.edge)
		}
		b := browser(t, strings.TrimPrefix(p.edge, "http://"))
		status, page := get(t, b, "http://pages.localhost/")
		_, other := get(t, b, "http://pages.localhost/other.txt")
		var n int
		if fmt.Sscan(page, &n); page != other && status == http.StatusOK || n < deployed || n > begun {
			t.Errorf("round %d: the site answers %d %q and %q; deployment %d ended well, and %d was the last that began", round, status, page, other, deployed, begun)
		}
		if round == kills || t.Failed() {
			break
		}
		go func() {
			<-time.After(time.Duration(random.Int64N(int64(time.Second)))) // a random moment
			p.kill()
		}()
		var wg sync.WaitGroup
		for _, u := range routers {
			wg.Go(func() {
				for ; ; u.ops++ {
					if err := u.step(c); err != nil {
						if status, code := refusal(err); status != 0 && status < 500 {
							t.Errorf("%d %s %v", status, code, err)
						}
						return
					}
				}
			})
		}
		wg.Go(func() {
			for {
				begun++
				text := fmt.Sprint(begun)
				siteFolder(t, dir, "name: pages\nsite: ./public\n", map[string]string{"index.html": text, "other.txt": text, text + ".txt": text})
				cmd := exec.Command(binary(t), "deploy", dir)
				cmd.Env = append(env, "HANSOM_API="+p.api)
				out, err := cmd.CombinedOutput()
				if err == nil {
					deployed = begun
					continue
				}
				select {
				case <-p.ended:
				case <-time.After(time.Second):
					t.Errorf("the deployment failed with a server that runs: %v\n%s", err, out)
				}
				return
			}
		})
		wg.Wait()
		<-p.ended
	}
	routes := 0
	for _, u := range routers {
		routes += len(u.routes)
	}
	t.Logf("%d kills in %d and %d changes of %d routes and %d deployments; the last that ended well is number %d", kills, routers[0].ops, routers[1].ops, routes, begun, deployed)
	if routers[0].ops+routers[1].ops < 2*kills || deployed == 0 {
		t.Error("the server was killed before it could do anything")
	}
}
