package runtimes

import (
	"slices"
	"strings"

	"github.com/hansomcloud/hansom"
)

// awsRuntimes are the identifiers that AWS Lambda accepts for new functions, in the order in which its error message lists them.
var awsRuntimes = [...]string{
	"nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x", "java25",
	"python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9", "java17", "nodejs16.x",
	"dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
}

// deprecated are the identifiers of AWS's model that it no longer accepts for creating or updating functions.
var deprecated = [...]string{
	"nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x",
	"java8", "python2.7", "python3.6", "python3.7", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1",
	"go1.x", "ruby2.5", "ruby2.7", "provided",
}

// AWS returns the identifiers that AWS Lambda accepts for new functions, in the order of its error message.
func AWS() []string { return slices.Clone(awsRuntimes[:]) }

// Deprecated reports whether AWS Lambda knows the identifier and no longer accepts it.
func Deprecated(identifier string) bool { return slices.Contains(deprecated[:], identifier) }

// Validate checks an identifier as CreateFunction does, with AWS's wording: hansom.Invalid for one that AWS has retired or
// never had. Versions newer than AWS's list pass. It does not ask what the host has: Resolve does.
func Validate(identifier string) error {
	if Deprecated(identifier) {
		return hansom.Errorf(hansom.Invalid, "validate runtime", "The runtime parameter of %s is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.", identifier)
	}
	if _, _, ok := parse(identifier); ok || slices.Contains(awsRuntimes[:], identifier) {
		return nil
	}
	return hansom.Errorf(hansom.Invalid, "validate runtime", "Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [%s] or be a valid ARN", identifier, strings.Join(awsRuntimes[:], ", "))
}
