package function

import (
	"context"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/artifact"
	"github.com/hansomcloud/hansom/internal/db"
)

// maxLayers is how many layers a function may have, as AWS has it.
const maxLayers = 5

// Code returns the directories of a version's unpacked package and of its layers, laid over each other; "" when it has none.
// They are shared with others and must not be written to; files are readable by every uid. What is not unpacked yet is unpacked
// first. Both stay until release, which may be called again.
func (s *Service) Code(ctx context.Context, v *hansom.Version) (code, layers string, release func(), err error) {
	code, releaseCode, err := s.artifacts.Dir(ctx, v.Project, v.CodeSHA256)
	if err != nil {
		return "", "", nil, err
	}
	layers, releaseLayers, err := s.artifacts.Layers(ctx, v.Layers)
	if err != nil {
		releaseCode()
		return "", "", nil, err
	}
	return code, layers, func() { releaseCode(); releaseLayers() }, nil
}

// Prepare checks that an uploaded package is there and unpacks it: to be called before a transaction that deploys it.
// Errors: NotFound when it was not uploaded; Invalid when it cannot be unpacked.
func (s *Service) Prepare(ctx context.Context, project, digest string) (size int64, err error) {
	return s.artifacts.Prepare(ctx, project, digest)
}

// stage checks and unpacks new code, and stores it unless keep is false. It is durable when stage returns, and stays until
// release.
func (s *Service) stage(ctx context.Context, project string, code Source, keep bool) (digest string, size int64, release func(), err error) {
	digest, size = code.SHA256, int64(len(code.Zip))
	switch {
	case digest != "":
	case size == 0:
		return "", 0, nil, hansom.Errorf(hansom.Invalid, "read code", "Please provide a source for function code.")
	case size > hansom.MaxZipInline:
		return "", 0, nil, hansom.Errorf(hansom.TooLarge, "read code", "The zip has %d bytes; %d are allowed. Leave out what the function does not need.",
			size, hansom.MaxZipInline)
	default:
		digest = artifact.Digest(code.Zip)
	}
	release = s.artifacts.Hold(project, digest)
	if code.SHA256 != "" {
		size, err = s.artifacts.Prepare(ctx, project, digest)
	} else {
		err = s.artifacts.Put(ctx, project, code.Zip, keep)
	}
	if err != nil {
		release()
		return "", 0, nil, err
	}
	return digest, size, release, nil
}

// resolveLayers turns ARNs into layers, with AWS's refusals. Those of have go on being used whatever has become of them.
func (s *Service) resolveLayers(ctx context.Context, q db.Querier, project string, arns []string, have []hansom.Layer) ([]hansom.Layer, error) {
	const op = "resolve layers"
	if len(arns) > maxLayers {
		return nil, hansom.Errorf(hansom.Invalid, op, "Cannot reference more than %d layers.", maxLayers)
	}
	var layers []hansom.Layer
	names := map[string]string{} // of a layer -> its version's ARN
	used := map[string]hansom.Layer{}
	for _, l := range have {
		used[l.ARN] = l
	}
	for _, arn := range arns {
		l, ok := used[arn]
		if !ok {
			var err error
			if l, err = s.layers.Resolve(ctx, q, project, arn); err != nil {
				return nil, err
			}
		}
		name := hansom.LayerOf(arn)
		if other, twice := names[name]; twice {
			return nil, hansom.Errorf(hansom.Invalid, op, "Two different versions of the same layer are not allowed to be referenced in the same function. "+
				"%s and %s are versions of the same layer.", other, arn)
		}
		names[name] = arn
		layers = append(layers, l)
	}
	return layers, nil
}

// checkUnpacked holds a function's code, which is zip when it may not be stored, and its layers to the limit they have together.
func (s *Service) checkUnpacked(ctx context.Context, project, digest string, zip []byte, layers []hansom.Layer) error {
	if len(layers) == 0 {
		return nil // the code alone was measured when it was unpacked
	}
	var total int64
	var err error
	if zip != nil {
		total, err = artifact.UnpackedSize(zip)
	} else {
		total, err = s.artifacts.Unpacked(ctx, project, digest)
	}
	if err != nil {
		return err
	}
	for _, l := range layers {
		arn, err := hansom.ParseARN(l.ARN)
		if err != nil {
			return err
		}
		size, err := s.artifacts.Unpacked(ctx, arn.Account, l.SHA256)
		if err != nil {
			return err
		}
		total += size
	}
	if total > hansom.MaxUnpacked {
		return hansom.Errorf(hansom.Invalid, "check code", "Function code combined with layers exceeds the maximum allowed size of %d bytes. "+
			"The actual size is %d bytes.", hansom.MaxUnpacked, total)
	}
	return nil
}

// References marks the packages and layers of all versions.
func (s *Service) References(ctx context.Context, q db.Querier, refs *artifact.References) error {
	records, err := s.records(ctx, q, "")
	for i := range records {
		refs.Package(records[i].Project, records[i].CodeSHA256)
		refs.Layers(records[i].Layers)
	}
	return err
}
