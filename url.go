package hansom

import "time"

// Authentication types and invoke modes of a function URL, as the Lambda API spells them.
const (
	URLAuthNone   = "NONE"
	URLAuthIAM    = "AWS_IAM"
	URLBuffered   = "BUFFERED"
	URLStreamed   = "RESPONSE_STREAM"
	MaxCORSMaxAge = 86400 // seconds
)

// FunctionURL is the configuration of one function URL. Values that a Service hands out are shared: treat them as read-only.
type FunctionURL struct {
	ID         string // the first label of its host: 32 lower-case letters and digits
	Project    string
	Region     string
	Function   string
	Qualifier  string // "" for $LATEST, else an alias
	AuthType   string // URLAuthNone or URLAuthIAM
	InvokeMode string // URLBuffered or URLStreamed
	CORS       *CORS  // nil when the URL answers no cross-origin requests
	Created    time.Time
	Modified   time.Time
}

// ARN of the function or alias behind the URL.
func (u *FunctionURL) ARN() string {
	return FunctionARN(u.Region, u.Project, u.Function, u.Qualifier)
}

// CORS is the cross-origin setting of a function URL. A nil list was not given; the names follow the Lambda API.
type CORS struct {
	AllowCredentials *bool    `json:"AllowCredentials,omitempty"`
	AllowHeaders     []string `json:"AllowHeaders,omitempty"`
	AllowMethods     []string `json:"AllowMethods,omitempty"` // upper case, or "*"
	AllowOrigins     []string `json:"AllowOrigins,omitempty"` // "*" or scheme://host[:port]
	ExposeHeaders    []string `json:"ExposeHeaders,omitempty"`
	MaxAge           *int     `json:"MaxAge,omitempty"` // seconds, 0 to MaxCORSMaxAge
}
