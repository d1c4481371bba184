package sqs

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/hansomcloud/hansom"
	"github.com/hansomcloud/hansom/internal/awsapi"
)

// fault is an error as the protocols name it.
type fault struct {
	json   string // with its namespace, in __type
	query  string // in XML, and in x-amzn-query-error
	status int
}

const (
	own    = "com.amazonaws.sqs#"
	common = "com.amazon.coral.service#"
	old    = "AWS.SimpleQueueService."
)

// faults by the names of the model. What is not here has one name and status 400.
var faults = map[string]fault{
	"BatchEntryIdsNotDistinct":          {own, old + "BatchEntryIdsNotDistinct", 400},
	"BatchRequestTooLong":               {own, old + "BatchRequestTooLong", 400},
	"EmptyBatchRequest":                 {own, old + "EmptyBatchRequest", 400},
	"InvalidBatchEntryId":               {own, old + "InvalidBatchEntryId", 400},
	"TooManyEntriesInBatchRequest":      {own, old + "TooManyEntriesInBatchRequest", 400},
	"UnsupportedOperation":              {own, old + "UnsupportedOperation", 400},
	"QueueDoesNotExist":                 {own, old + "NonExistentQueue", 400},
	"QueueNameExists":                   {own, "QueueAlreadyExists", 400},
	"PurgeQueueInProgress":              {own, old + "PurgeQueueInProgress", 403},
	"OverLimit":                         {own, "OverLimit", 403},
	"ResourceNotFoundException":         {own, "ResourceNotFoundException", 404},
	"InvalidAddress":                    {own, "InvalidAddress", 404},
	"InvalidParameterValueException":    {common, "InvalidParameterValue", 400},
	"MissingRequiredParameterException": {common, "MissingParameter", 400},
	"AccessDeniedException":             {common, "AccessDenied", 403},
	"SerializationException":            {common, "MalformedInput", 400},
	"InternalFailure":                   {common, "InternalFailure", 500},
	"ServiceUnavailable":                {common, "ServiceUnavailable", 503},
	"RequestEntityTooLarge":             {common, "RequestEntityTooLarge", 413},
}

// kinds are the names of errors that have none.
var kinds = [...]string{
	hansom.Internal: "InternalFailure", hansom.Invalid: "InvalidParameterValueException", hansom.NotFound: "QueueDoesNotExist", hansom.Conflict: "QueueNameExists",
	hansom.Precondition: "InvalidParameterValueException", hansom.Denied: "AccessDeniedException", hansom.Unauthenticated: "InvalidClientTokenId",
	hansom.TooLarge: "RequestEntityTooLarge", hansom.Throttled: "RequestThrottled", hansom.Unsupported: "UnsupportedOperation",
	hansom.Unavailable: "ServiceUnavailable", hansom.Timeout: "ServiceUnavailable", hansom.Canceled: "RequestCanceled",
}

// faultOf names an error. A sender's fault is the caller's.
func faultOf(err error) (name string, f fault, sender bool) {
	kind := hansom.KindOf(err)
	name = kinds[kind]
	var e *hansom.Error
	if errors.As(err, &e) && e.Code != "" && kind != hansom.Internal {
		name = e.Code
	}
	f, ok := faults[name]
	if !ok {
		f = fault{own, name, 400}
		if kind == hansom.Unauthenticated {
			f.json, f.status = common, 403
		}
		if kind == hansom.Canceled {
			f.status = awsapi.StatusClientClosed
		}
	}
	return name, f, f.status < 500
}

// WriteError answers with err in the protocol of the request.
func (s *Service) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	awsapi.Log(s.logger, r, err)
	name, f, sender := faultOf(err)
	message := awsapi.Message(err, awsapi.RequestID(r.Context()))
	if !isJSON(r) {
		awsapi.WriteQueryFault(w, r, namespace, awsapi.Fault{Code: f.query, Status: f.status, Sender: sender, Message: message})
		return
	}
	who := "Receiver"
	if sender {
		who = "Sender"
	}
	w.Header()["X-Amzn-Query-Error"] = []string{f.query + ";" + who}
	body, _ := json.Marshal(map[string]string{"__type": f.json + name, "message": message}) // strings always encode
	write(w, f.status, body)
}

func missing(parameter string) error {
	return hansom.Errorf(hansom.Invalid, "sqs", "The request must contain the parameter %s.", parameter).WithCode("MissingRequiredParameterException")
}

func invalid(format string, args ...any) error {
	return hansom.Errorf(hansom.Invalid, "sqs", format, args...).WithCode("InvalidParameterValueException")
}

// failure is what went wrong with an entry of a batch.
type failure struct {
	ID          string `json:"Id" xml:"Id"`
	SenderFault bool
	Code        string
	Message     string
}

func (s *Service) failure(c *call, id string, err error) failure {
	_, f, sender := faultOf(err)
	return failure{id, sender, strings.TrimPrefix(f.query, old), awsapi.Message(err, awsapi.RequestID(c))}
}
