package lambda

import (
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/layer"
)

type layerContent struct {
	Location   string
	CodeSha256 string
	CodeSize   int64
}

// layerVersion is a version as the Lambda API shows it: its content is left out of lists.
type layerVersion struct {
	Content                 *layerContent `json:",omitempty"`
	LayerArn                string        `json:",omitempty"`
	LayerVersionArn         string
	Version                 int64
	Description             string
	CreatedDate             string
	CompatibleRuntimes      *[]string `json:",omitempty"`
	CompatibleArchitectures *[]string `json:",omitempty"`
	LicenseInfo             string    `json:",omitempty"`
}

func listedLayer(v *layer.Version) layerVersion {
	given := func(list []string) *[]string {
		if list == nil {
			return nil
		}
		return &list
	}
	return layerVersion{LayerVersionArn: v.ARN(), Version: v.Number, Description: v.Description, CreatedDate: v.Created.UTC().Format(lastModifiedLayout),
		CompatibleRuntimes: given(v.Runtimes), CompatibleArchitectures: given(v.Architectures), LicenseInfo: v.License}
}

func (s *Service) layerOf(c *call, v *layer.Version, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	out := listedLayer(v)
	out.LayerArn = v.LayerARN()
	out.Content = &layerContent{s.codeLocation(c.Request, v.Project, v.SHA256), v.CodeSha256(), v.Size}
	return out, nil
}

// layerName is whose layer a request is about, and its bare name.
func (s *Service) layerName(c *call) (project, name string, err error) {
	name = c.in.text("LayerName")
	if !strings.HasPrefix(name, "arn:") {
		return c.project, name, nil
	}
	arn, err := hansom.ParseARN(name)
	if err != nil {
		return "", "", err
	}
	if arn.Region != s.cfg.Region {
		return "", "", hansom.Errorf(hansom.NotFound, c.op.Name, "Layers from '%s' are not reachable in this region ('%s')", arn.Region, s.cfg.Region)
	}
	return arn.Account, strings.TrimPrefix(arn.Resource, "layer:"), nil
}

// ownLayer is layerName for operations that no policy of a layer gives to others.
func (s *Service) ownLayer(c *call) (name string, err error) {
	project, name, err := s.layerName(c)
	if err == nil && project != c.project {
		err = s.deniedLayer(c, hansom.LayerARN(s.cfg.Region, project, name, c.layerNumber()))
	}
	return name, err
}

func (s *Service) deniedLayer(c *call, arn string) error {
	return hansom.Errorf(hansom.Denied, c.op.Name,
		"User: %s is not authorized to perform: lambda:%s on resource: %s because no resource-based policy allows the lambda:%[2]s action", c.principal.ARN, c.op.Name, arn)
}

func (c *call) layerNumber() int64 { n, _ := c.in["VersionNumber"].(int64); return n }

func (c *call) layerFilter() layer.Filter {
	return layer.Filter{Runtime: c.in.text("CompatibleRuntime"), Architecture: c.in.text("CompatibleArchitecture")}
}

func (c *call) layerPage() layer.Page {
	return layer.Page{Marker: c.in.text("Marker"), Max: c.in.integer("MaxItems")}
}

func (s *Service) publishLayer(c *call) (any, error) {
	name, err := s.ownLayer(c)
	if err != nil {
		return nil, err
	}
	zip, err := c.zip(c.in.sub("Content"), "layer content")
	if err != nil {
		return nil, err
	}
	v, err := s.layers.Publish(c.Context(), c.project, layer.PublishInput{Name: name, Zip: zip, Description: c.in.text("Description"),
		License: c.in.text("LicenseInfo"), Runtimes: c.in.texts("CompatibleRuntimes"), Architectures: c.in.texts("CompatibleArchitectures")})
	return s.layerOf(c, &v, err)
}

func (s *Service) getLayer(c *call) (any, error) {
	project, name, err := s.layerName(c)
	if err != nil {
		return nil, err
	}
	v, err := s.layers.Get(c.Context(), c.project, project, name, c.layerNumber())
	return s.layerOf(c, &v, err)
}

func (s *Service) getLayerByARN(c *call) (any, error) {
	arn := c.in.text("Arn")
	project, name, number, ok := layer.ParseARN(arn, s.cfg.Region)
	if !ok {
		return nil, hansom.Errorf(hansom.NotFound, c.op.Name, "The resource you requested does not exist.")
	}
	v, err := s.layers.Get(c.Context(), c.project, project, name, number)
	return s.layerOf(c, &v, err)
}

func (s *Service) listLayers(c *call) (any, error) {
	list, next, err := s.layers.List(c.Context(), c.project, c.layerFilter(), c.layerPage())
	if err != nil {
		return nil, err
	}
	type item struct {
		LayerName, LayerArn   string
		LatestMatchingVersion layerVersion
	}
	out := struct {
		NextMarker string `json:",omitempty"`
		Layers     []item
	}{next, []item{}}
	for i := range list {
		out.Layers = append(out.Layers, item{list[i].Name, list[i].LayerARN(), listedLayer(&list[i])})
	}
	return out, nil
}

func (s *Service) listLayerVersions(c *call) (any, error) {
	name, err := s.ownLayer(c)
	if err != nil {
		return nil, err
	}
	list, next, err := s.layers.ListVersions(c.Context(), c.project, name, c.layerFilter(), c.layerPage())
	if err != nil {
		return nil, err
	}
	out := struct {
		NextMarker    string `json:",omitempty"`
		LayerVersions []layerVersion
	}{next, []layerVersion{}}
	for i := range list {
		out.LayerVersions = append(out.LayerVersions, listedLayer(&list[i]))
	}
	return out, nil
}

func (s *Service) deleteLayer(c *call) (any, error) {
	name, err := s.ownLayer(c)
	if err != nil {
		return nil, err
	}
	return nil, s.layers.Delete(c.Context(), c.project, name, c.layerNumber())
}

func (s *Service) shareLayer(c *call) (any, error) {
	name, err := s.ownLayer(c)
	if err != nil {
		return nil, err
	}
	statement, revision, err := s.layers.AddPermission(c.Context(), c.project, name, c.layerNumber(), layer.PermissionInput{
		StatementID: c.in.text("StatementId"), Action: c.in.text("Action"), Principal: c.in.text("Principal"),
		OrganizationID: c.in.text("OrganizationId"), RevisionID: c.in.text("RevisionId"),
	})
	if err != nil {
		return nil, err
	}
	return struct{ Statement, RevisionId string }{statement, revision}, nil
}

func (s *Service) unshareLayer(c *call) (any, error) {
	name, err := s.ownLayer(c)
	if err != nil {
		return nil, err
	}
	return nil, s.layers.RemovePermission(c.Context(), c.project, name, c.layerNumber(), c.in.text("StatementId"), c.in.text("RevisionId"))
}

func (s *Service) getLayerPolicy(c *call) (any, error) {
	name, err := s.ownLayer(c)
	if err != nil {
		return nil, err
	}
	policy, revision, err := s.layers.Policy(c.Context(), c.project, name, c.layerNumber())
	if err != nil {
		return nil, err
	}
	return struct{ Policy, RevisionId string }{policy, revision}, nil
}
