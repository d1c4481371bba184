package hansom

import (
	"strconv"
	"strings"
)

// ARN is an Amazon Resource Name: arn:partition:service:region:account:resource.
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// ParseARN splits an ARN; it checks the form, not the names in it.
func ParseARN(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, Errorf(Invalid, "parse arn", "%q is not an ARN; the form is arn:partition:service:region:account:resource", s)
	}
	return ARN{p[1], p[2], p[3], p[4], p[5]}, nil
}

func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// FunctionARN names a function, or one of its versions or aliases when qualifier is not "".
func FunctionARN(region, project, name, qualifier string) string {
	s := "arn:aws:lambda:" + region + ":" + project + ":function:" + name
	if qualifier != "" {
		s += ":" + qualifier
	}
	return s
}

// LayerARN names a version of a layer, or the layer itself when version is 0.
func LayerARN(region, project, name string, version int64) string {
	s := "arn:aws:lambda:" + region + ":" + project + ":layer:" + name
	if version > 0 {
		s += ":" + strconv.FormatInt(version, 10)
	}
	return s
}

// LayerOf is the ARN of the layer that the ARN of one of its versions names.
func LayerOf(versionARN string) string {
	if i := strings.LastIndexByte(versionARN, ':'); i >= 0 {
		return versionARN[:i]
	}
	return versionARN
}
