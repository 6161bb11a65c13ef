package storage

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"modelmanager.dev"
)

const (
	statusPrecondition = http.StatusPreconditionFailed
	statusConflict     = http.StatusConflict
)

// statusOf returns the HTTP status that a medium answered with; 0 if none.
func statusOf(err error) int {
	var aws *awshttp.ResponseError
	var google *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &aws):
		return aws.HTTPStatusCode()
	case errors.As(err, &google):
		return google.Code
	case errors.As(err, &azure):
		return azure.StatusCode
	}
	return 0
}

// title is how messages name an object.
func (c *cloud) title(key string) string {
	if c.name == "mem://" {
		return key
	}
	return c.name + "/" + c.prefix + key
}

// fail says what a medium's error means. gocloud's codes alone won't do: for
// GCS it takes "forbidden" for "not found", for Azure a host that can't be
// found, and for all of them a bucket that isn't there.
func (c *cloud) fail(doing, key string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return modelmanager.Errorf(modelmanager.CodeStorage, "%s %s: %w", doing, c.title(key), err)
	}
	if status, advice := c.explain(err); advice != "" {
		return &modelmanager.Error{Code: modelmanager.CodeStorage, Err: err,
			Detail: doing + " " + c.title(key) + ": " + status + "; " + advice}
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return notFound(key)
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return exists(key)
	}
	if statusOf(err) == statusConflict {
		err = errors.Join(errBusy, err)
	}
	return modelmanager.Errorf(modelmanager.CodeStorage, "%s %s: %w", doing, c.title(key), err)
}

// explain tells what is the matter with a store, and what to do about it; ""
// for what is no matter of the store as a whole.
func (c *cloud) explain(err error) (what, advice string) {
	if what, advice = c.vendor.advice(err); advice != "" {
		return what, advice
	}
	switch statusOf(err) {
	case http.StatusUnauthorized:
		return "the store doesn't accept the credentials", "check the access key, or the identity that the server runs with"
	case http.StatusForbidden:
		return "access is denied", "the server's credentials need to read, write, list and delete objects there (docs/storage.md), " +
			"and a clock that is right"
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return "the bucket is in another region", "name the region in the URL: ?region=…"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "the store is overloaded", "it was tried several times; try again later"
	case 0:
		return unreachable(err)
	}
	return "", ""
}

// unreachable explains errors of the network.
func unreachable(err error) (what, advice string) {
	const check = "check the endpoint in the URL, and that this machine may reach it"
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return "there is no host " + dns.Name, check
	case errors.As(err, &certificate):
		return "its certificate isn't accepted: " + certificate.Error(), "set SSL_CERT_FILE to the authority that signed it"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "it doesn't answer", check
	case errors.As(err, &op):
		return "it can't be reached: " + op.Error(), check
	}
	var of *url.Error
	if errors.As(err, &of) {
		return "it can't be reached: " + of.Err.Error(), check // without the address, which may be signed
	}
	return "", ""
}

// opening says what is wrong with a store that was just opened.
func (c *cloud) opening(err error) error {
	known := new(modelmanager.Error)
	if errors.As(err, &known) && known.Code == modelmanager.CodeNotFound {
		return modelmanager.Errorf(modelmanager.CodeStorage, "opening the storage %s: %w; create it, or correct the URL", c.name, errNoBucket)
	}
	return modelmanager.Errorf(modelmanager.CodeStorage, "opening the storage %s: %w", c.name, err)
}
