package auth

import (
	"fmt"

	"github.com/hansomcloud/hansom"
)

// refusal is a reason to turn a request away. Its code and wording depend on the protocol of the service addressed.
type refusal uint8

const (
	missing refusal = iota
	incomplete
	unknownKey
	mismatch
	untimely // outside its time; the detail says how
	badToken
	expiredToken
	badPayload
	unsignedHeader
)

const (
	mismatchText = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	tokenText    = "The security token included in the request is invalid."
	expiredText  = "The security token included in the request is expired"
	unsignedText = "There were headers present in the request which were not signed"
)

type wording struct {
	kind          hansom.Kind
	code, message string
}

// AWS's own words, recorded from its services: REST-JSON and JSON services, query services, S3.
var (
	jsonWords = [...]wording{
		missing:        {hansom.Unauthenticated, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		incomplete:     {hansom.Unauthenticated, "IncompleteSignatureException", ""},
		unknownKey:     {hansom.Unauthenticated, "UnrecognizedClientException", tokenText},
		mismatch:       {hansom.Unauthenticated, "InvalidSignatureException", mismatchText},
		untimely:       {hansom.Unauthenticated, "InvalidSignatureException", ""},
		badToken:       {hansom.Unauthenticated, "UnrecognizedClientException", tokenText},
		expiredToken:   {hansom.Unauthenticated, "ExpiredTokenException", expiredText},
		badPayload:     {hansom.Unauthenticated, "InvalidSignatureException", mismatchText},
		unsignedHeader: {hansom.Unauthenticated, "InvalidSignatureException", unsignedText},
	}
	queryWords = [...]wording{
		missing:        {hansom.Unauthenticated, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		incomplete:     {hansom.Invalid, "IncompleteSignature", ""},
		unknownKey:     {hansom.Unauthenticated, "InvalidClientTokenId", tokenText},
		mismatch:       {hansom.Unauthenticated, "SignatureDoesNotMatch", mismatchText},
		untimely:       {hansom.Unauthenticated, "SignatureDoesNotMatch", ""},
		badToken:       {hansom.Unauthenticated, "InvalidClientTokenId", tokenText},
		expiredToken:   {hansom.Unauthenticated, "ExpiredToken", expiredText},
		badPayload:     {hansom.Unauthenticated, "SignatureDoesNotMatch", mismatchText},
		unsignedHeader: {hansom.Unauthenticated, "SignatureDoesNotMatch", unsignedText},
	}
	s3Words = [...]wording{
		missing:        {hansom.Unauthenticated, "AccessDenied", "Access Denied"},
		incomplete:     {hansom.Invalid, "AuthorizationHeaderMalformed", ""},
		unknownKey:     {hansom.Unauthenticated, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."},
		mismatch:       {hansom.Unauthenticated, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
		untimely:       {hansom.Unauthenticated, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."},
		badToken:       {hansom.Invalid, "InvalidToken", "The provided token is malformed or otherwise invalid."},
		expiredToken:   {hansom.Invalid, "ExpiredToken", "The provided token has expired."},
		badPayload:     {hansom.Invalid, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."},
		unsignedHeader: {hansom.Unauthenticated, "AccessDenied", unsignedText},
	}
)

// refuse words the refusal for a service of a signature's scope.
func refuse(why refusal, service string) *hansom.Error {
	w := wordsOf(service)[why]
	return &hansom.Error{Kind: w.kind, Op: "authenticate", Code: w.code, Message: w.message}
}

// refusef is refuse with a message of its own, unless the service has a fixed one.
func refusef(why refusal, service, format string, args ...any) *hansom.Error {
	e := refuse(why, service)
	if e.Message == "" {
		e.Message = fmt.Sprintf(format, args...)
	}
	return e
}

func wordsOf(service string) []wording {
	switch service {
	case "s3":
		return s3Words[:]
	case "sts", "iam", "sqs":
		return queryWords[:]
	}
	return jsonWords[:]
}
