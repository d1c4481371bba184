package lambda

import (
	"time"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/function"
)

// maxName is the most characters the bare name of a function may have.
const maxName = 64

// notYet are members of CreateFunction and UpdateFunctionConfiguration that ask for what is not there. Their empty
// values are accepted.
var notYet = []string{"VpcConfig", "KMSKeyArn", "FileSystemConfigs", "ImageConfig", "CodeSigningConfigArn",
	"PublishTo", "DurableConfig", "TenancyConfig"}

func (c *call) refuseUnsupported() error {
	return refuse(c.op.Name, c.in, notYet...)
}

// logging is what a request's LoggingConfig has.
func (c *call) logging() hansom.Logging {
	l := c.in.sub("LoggingConfig")
	return hansom.Logging{Format: l.text("LogFormat"), Application: l.text("ApplicationLogLevel"), System: l.text("SystemLogLevel"), Group: l.text("LogGroup")}
}

func (s *Service) createFunction(c *call) (any, error) {
	if len(c.function) > maxName {
		return nil, hansom.Errorf(hansom.Invalid, c.op.Name, "1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: "+
			"Member must have length less than or equal to %d", c.function, maxName)
	}
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	if c.in.text("PackageType") == "Image" {
		return nil, unsupported(c.op.Name, "PackageType Image")
	}
	if err := c.refuseUnsupported(); err != nil {
		return nil, err
	}
	slots, err := s.slots(c)
	if err != nil {
		return nil, err
	}
	zip, err := c.zip(c.in.sub("Code"), "function code")
	if err != nil {
		return nil, err
	}
	f, err := s.functions.Create(c.Context(), c.project, function.CreateInput{
		Name: c.function, Runtime: c.in.text("Runtime"), Handler: c.in.text("Handler"), Role: c.in.text("Role"),
		Description: c.in.text("Description"), Code: function.Source{Zip: zip},
		Memory: c.in.integer("MemorySize"), Ephemeral: c.in.sub("EphemeralStorage").integer("Size"),
		Timeout:     time.Duration(c.in.integer("Timeout")) * time.Second,
		Environment: environmentOf(c.in), Concurrency: slots, Architecture: c.architecture(), Publish: c.in["Publish"] == true,
		TracingMode: c.in.sub("TracingConfig").text("Mode"), Logging: c.logging(), SnapStart: c.in.sub("SnapStart").text("ApplyOn") == snapStartPublished,
		Layers: c.in.texts("Layers"), DeadLetter: c.in.sub("DeadLetterConfig").text("TargetArn"), Tags: c.in.textMap("Tags"),
	})
	return answer(&f, err)
}

// zip returns the package that CreateFunction, UpdateFunctionCode and PublishLayerVersion carry.
func (c *call) zip(in params, what string) ([]byte, error) {
	if err := refuse(c.op.Name, in, "S3Bucket", "S3Key", "S3ObjectVersion", "ImageUri", "SourceKMSKeyArn"); err != nil {
		return nil, err
	}
	zip, ok := in["ZipFile"].([]byte)
	if !ok || len(zip) == 0 {
		return nil, hansom.Errorf(hansom.Invalid, c.op.Name, "Please provide a source for %s.", what)
	}
	if len(zip) > hansom.MaxZipInline {
		return nil, tooLarge(c.op.Name, maxCodeRequest)
	}
	return zip, nil
}

func (c *call) architecture() string {
	if list := c.in.texts("Architectures"); len(list) == 1 {
		return list[0]
	}
	return ""
}

// environmentOf returns nil when the request has no Environment, and an empty map when it has one without variables.
func environmentOf(in params) map[string]string {
	env := in.sub("Environment")
	if env == nil {
		return nil
	}
	if vars := env.textMap("Variables"); vars != nil {
		return vars
	}
	return map[string]string{}
}

// answer is the configuration of a function as the body of an answer.
func answer(f *function.Function, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return configurationOf(f), nil
}

func (s *Service) getFunction(c *call) (any, error) {
	f, err := s.functions.Get(c.Context(), c.project, c.function, c.qualifier)
	if err != nil {
		return nil, err
	}
	tags, err := s.functions.Tags(c.Context(), c.project, c.function)
	if err != nil {
		return nil, err
	}
	out := struct {
		Configuration configuration
		Code          codeLocation
		Concurrency   *concurrency      `json:",omitempty"`
		Tags          map[string]string `json:",omitempty"`
	}{configurationOf(&f), codeLocation{"S3", s.codeLocation(c.Request, f.Project, f.CodeSHA256)}, nil, tags}
	if f.Reserved >= 0 {
		out.Concurrency = &concurrency{&f.Reserved}
	}
	return out, nil
}

func (s *Service) getFunctionConfiguration(c *call) (any, error) {
	f, err := s.functions.Get(c.Context(), c.project, c.function, c.qualifier)
	return answer(&f, err)
}

func (s *Service) listFunctions(c *call) (any, error) {
	if err := refuse(c.op.Name, c.in, "MasterRegion"); err != nil {
		return nil, err
	}
	functions, next, err := s.functions.List(c.Context(), c.project, c.in.text("FunctionVersion") == "ALL", c.page())
	if err != nil {
		return nil, err
	}
	return struct {
		NextMarker string `json:",omitempty"`
		Functions  []configuration
	}{next, listed(functions)}, nil
}

func (c *call) page() function.Page {
	return function.Page{Marker: c.in.text("Marker"), Max: c.in.integer("MaxItems")}
}

func (s *Service) updateFunctionCode(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	if err := refuse(c.op.Name, c.in, "PublishTo"); err != nil {
		return nil, err
	}
	zip, err := c.zip(c.in, "function code")
	if err != nil {
		return nil, err
	}
	f, err := s.functions.UpdateCode(c.Context(), c.project, c.function, function.UpdateCodeInput{
		Code: function.Source{Zip: zip}, Architecture: c.architecture(), DryRun: c.in["DryRun"] == true, Publish: c.in["Publish"] == true,
		RevisionID: c.in.text("RevisionId"),
	})
	return answer(&f, err)
}

func (s *Service) updateFunctionConfiguration(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	if err := c.refuseUnsupported(); err != nil {
		return nil, err
	}
	slots, err := s.slots(c)
	if err != nil {
		return nil, err
	}
	in := function.UpdateConfigurationInput{
		Runtime: c.in.textPtr("Runtime"), Handler: c.in.textPtr("Handler"), Role: c.in.textPtr("Role"), Description: c.in.textPtr("Description"),
		Memory: c.in.integerPtr("MemorySize"), Ephemeral: c.in.sub("EphemeralStorage").integerPtr("Size"),
		Environment: environmentOf(c.in), TracingMode: c.in.sub("TracingConfig").textPtr("Mode"),
		Logging: c.logging(), Layers: c.in.texts("Layers"), RevisionID: c.in.text("RevisionId"),
	}
	if c.in.sub("DeadLetterConfig") != nil {
		target := c.in.sub("DeadLetterConfig").text("TargetArn")
		in.DeadLetter = &target
	}
	if slots > 0 {
		in.Concurrency = &slots
	}
	if on := c.in.sub("SnapStart").text("ApplyOn"); on != "" {
		published := on == snapStartPublished
		in.SnapStart = &published
	}
	if seconds := c.in.integerPtr("Timeout"); seconds != nil {
		d := time.Duration(*seconds) * time.Second
		in.Timeout = &d
	}
	f, err := s.functions.UpdateConfiguration(c.Context(), c.project, c.function, in)
	return answer(&f, err)
}

func (s *Service) deleteFunction(c *call) (any, error) {
	return nil, s.functions.Delete(c.Context(), c.project, c.function, c.qualifier)
}

func (s *Service) publishVersion(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	if err := refuse(c.op.Name, c.in, "PublishTo"); err != nil {
		return nil, err
	}
	f, err := s.functions.Publish(c.Context(), c.project, c.function, function.PublishInput{
		Description: c.in.textPtr("Description"), CodeSha256: c.in.text("CodeSha256"), RevisionID: c.in.text("RevisionId"),
	})
	return answer(&f, err)
}

func (s *Service) listVersions(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	versions, next, err := s.functions.ListVersions(c.Context(), c.project, c.function, c.page())
	if err != nil {
		return nil, err
	}
	return struct {
		NextMarker string `json:",omitempty"`
		Versions   []configuration
	}{next, listed(versions)}, nil
}

func (s *Service) putConcurrency(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	n := c.in.integer("ReservedConcurrentExecutions")
	if err := s.functions.PutConcurrency(c.Context(), c.project, c.function, n); err != nil {
		return nil, err
	}
	return concurrency{&n}, nil
}

func (s *Service) getConcurrency(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	n, err := s.functions.GetConcurrency(c.Context(), c.project, c.function)
	if err != nil || n < 0 {
		return concurrency{}, err
	}
	return concurrency{&n}, nil
}

func (s *Service) deleteConcurrency(c *call) (any, error) {
	if err := c.unqualified(); err != nil {
		return nil, err
	}
	return nil, s.functions.DeleteConcurrency(c.Context(), c.project, c.function)
}

func (s *Service) getAccountSettings(c *call) (any, error) {
	a, err := s.functions.AccountSettings(c.Context(), c.project)
	if err != nil {
		return nil, err
	}
	type limit struct {
		TotalCodeSize, CodeSizeUnzipped, CodeSizeZipped      int64
		ConcurrentExecutions, UnreservedConcurrentExecutions int
	}
	type usage struct {
		TotalCodeSize int64
		FunctionCount int
	}
	return struct {
		AccountLimit limit
		AccountUsage usage
	}{limit{a.TotalCodeSize, a.CodeSizeUnzipped, a.CodeSizeZipped, a.ConcurrentExecutions, a.UnreservedConcurrency},
		usage{a.UsedCodeSize, a.FunctionCount}}, nil
}
