package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/db"
)

// Bounds of Integration.Timeout, in ms.
const (
	MinTimeout = 50
	MaxTimeout = 30_000
)

// subtypes are those that are offered, with the parameters that each must and may have.
var subtypes = map[string]struct{ must, may []string }{
	SubtypeSQS:      {[]string{"QueueUrl", "MessageBody"}, []string{"DelaySeconds", "MessageAttributes", "MessageDeduplicationId", "MessageGroupId", "MessageSystemAttributes", "Region"}},
	SubtypeEvents:   {[]string{"Detail", "DetailType", "Source"}, []string{"EventBusName", "Region", "Resources", "Time", "TraceHeader"}},
	SubtypeSite:     {[]string{"App"}, nil},
	SubtypeRedirect: {[]string{"Location"}, []string{"StatusCode"}},
	SubtypeFixed:    {nil, []string{"Body", "ContentType", "StatusCode"}},
}

// foreign are subtypes of AWS for services that are not offered.
var foreign = []string{"AppConfig-GetConfiguration", "Kinesis-PutRecord", "SQS-ReceiveMessage", "SQS-DeleteMessage", "SQS-PurgeQueue",
	"StepFunctions-StartExecution", "StepFunctions-StartSyncExecution", "StepFunctions-StopExecution"}

var (
	functionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	qualifier    = regexp.MustCompile(`^([A-Za-z0-9_-]{1,128}|\$LATEST)?$`)
	variable     = regexp.MustCompile(`\$\{stageVariables\.[A-Za-z0-9_]+\}`)
	role         = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$`)
	uriParameter = regexp.MustCompile(`\{[A-Za-z0-9._:-]+\+?\}`)
)

// checkFunction holds the URI of a function to its form. Stage variables may stand in its name and its qualifier.
func checkFunction(project, uri string) error {
	account, name, q, ok := FunctionOf(variable.ReplaceAllString(uri, "v"))
	switch {
	case !ok || !functionName.MatchString(name) || !qualifier.MatchString(q):
		return invalid("Invalid Integration URI: %.300s is neither the ARN of a function nor arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations", uri)
	case account != project:
		return invalid("Invalid function ARN: the function of %.300s is another project's, which is not supported.", uri)
	}
	return nil
}

// checkRole holds the role of an integration or an authorizer to its form: what a project has may be called by its APIs without one.
func checkRole(arn string) error {
	switch {
	case arn == "" || role.MatchString(arn):
		return nil
	case strings.HasPrefix(arn, "arn:aws:iam::*:"):
		return hansom.Errorf(hansom.Unsupported, "check role", "Calling with the caller's identity (%.100s) is not supported by this server.", arn)
	}
	return invalid("Invalid role ARN: %.300s", arn)
}

// checkIntegration sets what is not given, and holds an integration of an API to the rules.
func (s *Service) checkIntegration(a *API, i *Integration) error {
	i.Timeout, i.Payload = cmp.Or(i.Timeout, MaxTimeout), cmp.Or(i.Payload, "1.0")
	if i.Type == AWSProxy && i.Subtype == "" {
		i.Method = cmp.Or(i.Method, "POST") // functions are invoked with it
	}
	if i.Timeout < MinTimeout || i.Timeout > MaxTimeout {
		return invalid("Timeout should be between %d ms and %d ms", MinTimeout, MaxTimeout)
	}
	if i.Method != "" && !slices.Contains(methods, i.Method) {
		return invalid("Invalid HttpMethod specified. Valid options are %s", strings.Join(methods, ","))
	}
	err := checkRole(i.Credentials)
	switch {
	case err != nil:
	case i.Type == AWSProxy && i.Subtype != "":
		err = i.checkSubtype()
	case i.Subtype != "":
		err = invalid("IntegrationSubtype can only be set for the integration type AWS_PROXY.")
	case i.Type == AWSProxy && i.Payload != "1.0" && i.Payload != "2.0":
		err = invalid("Invalid PayloadFormatVersion %.64q. Must be one of: [1.0, 2.0]", i.Payload)
	case i.Type == AWSProxy && i.Method != "POST":
		err = invalid("HttpMethod must be POST for AWS_PROXY IntegrationType")
	case i.Type == AWSProxy && i.ServerName != "":
		err = invalid("TlsConfig can only be set for integrations of type HTTP_PROXY.")
	case i.Type == AWSProxy:
		err = checkFunction(a.Project, i.URI)
	case i.Type == HTTPProxy:
		err = i.checkURL()
	default:
		err = invalid("Currently, an API with a protocol type of HTTP may only be associated with proxy integrations (AWS_PROXY, HTTP_PROXY)")
	}
	if err != nil {
		return err
	}
	for status := range i.Responses {
		if n, err := strconv.Atoi(status); err != nil || n < 200 || n > 599 {
			return invalid("Invalid status code %.64q in the response parameters. Must be between 200 and 599.", status)
		}
	}
	if s.cfg.Check != nil {
		return s.cfg.Check(a.Project, i)
	}
	return nil
}

func (i *Integration) checkSubtype() error {
	known, ok := subtypes[i.Subtype]
	switch {
	case slices.Contains(foreign, i.Subtype):
		return hansom.Errorf(hansom.Unsupported, "check integration", "The integration subtype %s is not supported by this server. It has: %s.", i.Subtype, strings.Join(slices.Sorted(maps.Keys(subtypes)), ", "))
	case !ok:
		return invalid("Invalid integration subtype %.128q. Must be one of: [%s]", i.Subtype, strings.Join(slices.Sorted(maps.Keys(subtypes)), ", "))
	case i.URI != "" || i.Method != "" || i.ServerName != "":
		return invalid("IntegrationUri, IntegrationMethod and TlsConfig cannot be set together with IntegrationSubtype.")
	case i.Payload != "1.0":
		return invalid("Invalid PayloadFormatVersion %.64q. Only 1.0 is supported with IntegrationSubtype.", i.Payload)
	}
	for _, name := range known.must {
		if i.Parameters[name] == "" {
			return invalid("The request parameter %s is required for %s.", name, i.Subtype)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Parameters)) {
		if !slices.Contains(known.must, name) && !slices.Contains(known.may, name) {
			return invalid("%s has no request parameter %.128q. It has: %s.", i.Subtype, name, strings.Join(slices.Concat(known.must, known.may), ", "))
		}
	}
	return nil
}

// checkURL holds the URI of HTTPProxy to what a URL is; parameters and stage variables may stand anywhere in it.
func (i *Integration) checkURL() error {
	u, err := url.Parse(uriParameter.ReplaceAllString(variable.ReplaceAllString(i.URI, "v"), "p"))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "":
		return invalid("Invalid HTTP endpoint specified for URI")
	case i.Payload != "1.0":
		return invalid("Invalid PayloadFormatVersion %.64q. Only 1.0 is supported for integrations of type HTTP_PROXY.", i.Payload)
	case i.ServerName != "" && u.Scheme != "https":
		return invalid("TlsConfig can only be set for an https URI.")
	}
	return nil
}

func (a *API) integration(id string) *Integration {
	return find(a.Integrations, func(i *Integration) bool { return i.ID == id })
}

// CreateIntegration adds an integration to an API. Errors: NotFoundException, BadRequestException, TooManyRequestsException.
func (s *Service) CreateIntegration(ctx context.Context, project, api string, i Integration) (out *Integration, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		if len(a.Integrations) >= MaxIntegrations {
			return full("Integrations", "API")
		}
		made := i
		made.ID = s.unused(sizeOfPart, func(id string) bool { return a.integration(id) != nil })
		if err := s.checkIntegration(a, &made); err != nil {
			return err
		}
		a.Integrations = append(a.Integrations, made)
		out = &made
		return nil
	})
	return out, err
}

// UpdateIntegration changes an integration. change may be run again. Errors: NotFoundException, BadRequestException.
func (s *Service) UpdateIntegration(ctx context.Context, project, api, id string, change func(*Integration) error) (out *Integration, err error) {
	_, err = s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		out = a.integration(id)
		if out == nil {
			return notFound("Integration")
		}
		if err := change(out); err != nil {
			return err
		}
		return s.checkIntegration(a, out)
	})
	return out, err
}

// DeleteIntegration removes an integration. Errors: NotFoundException; ConflictException while routes have it; BadRequestException for that of a quick
// create.
func (s *Service) DeleteIntegration(ctx context.Context, project, api, id string) error {
	_, err := s.edit(ctx, project, api, func(_ *db.Tx, a *API) error {
		if i := a.integration(id); i == nil {
			return notFound("Integration")
		} else if i.Managed {
			return managed("Integration")
		}
		var users []string
		for _, r := range a.Routes {
			if r.Integration == id {
				users = append(users, r.ID)
			}
		}
		if len(users) > 0 {
			return conflict("Cannot delete Integration because it is referenced by the following Routes with Ids: %s", fmt.Sprint(users))
		}
		remove(&a.Integrations, func(i *Integration) bool { return i.ID == id })
		return nil
	})
	return err
}

// Integration reads an integration. Error: NotFoundException.
func (s *Service) Integration(ctx context.Context, project, api, id string) (*Integration, error) {
	a, err := s.API(ctx, project, api)
	if err != nil {
		return nil, err
	}
	if i := a.integration(id); i != nil {
		return i, nil
	}
	return nil, notFound("Integration")
}
