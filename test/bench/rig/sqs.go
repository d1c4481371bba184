package rig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// connections are kept for as many clients as a benchmark has.
var connections = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// sign makes a signed request of the SQS API in the JSON protocol.
func (s *Server) sign(ctx context.Context, action string, in any) (*http.Request, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.API+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = http.Header{"X-Amz-Target": {"AmazonSQS." + action}, "Content-Type": {"application/x-amz-json-1.0"}}
	sum := sha256.Sum256(body)
	return r, v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, r, hex.EncodeToString(sum[:]), "sqs", region, time.Now())
}

// SQSRequest is a signed request of the SQS API as it goes over the wire.
func (s *Server) SQSRequest(ctx context.Context, action string, in any) ([]byte, error) {
	r, err := s.sign(ctx, action, in)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = r.Write(&out)
	return out.Bytes(), err
}

// SQS calls the SQS API and reads the answer into out, unless it is nil.
func (s *Server) SQS(ctx context.Context, action string, in, out any) error {
	r, err := s.sign(ctx, action, in)
	if err != nil {
		return err
	}
	resp, err := connections.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", action, resp.Status, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}
