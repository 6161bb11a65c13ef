package storage

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"modelmanager.dev"
)

// s3Store is S3, or a store that speaks its protocol.
type s3Store struct {
	plain
	client  *s3.Client
	bucket  string
	options s3Options
}

// openS3 takes the words of gocloud's URLs, but that an endpoint of one's own
// is addressed with the bucket in the path unless use_path_style says otherwise.
func openS3(ctx context.Context, u *url.URL) (*blob.Bucket, vendor, error) {
	q := u.Query()
	own := s3Options{endpoint: take(q, "endpoint"), encryption: take(q, "ssetype"), key: take(q, "kmskeyid")}
	if own.endpoint != "" {
		if e, err := url.Parse(own.endpoint); err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" {
			return nil, nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "the endpoint %q is no http:// or https:// address", own.endpoint)
		}
	}
	var err error
	own.pathStyle = own.endpoint != ""
	for name, into := range map[string]*bool{"use_path_style": &own.pathStyle, "s3ForcePathStyle": &own.pathStyle,
		"accelerate": &own.accelerate, "disable_https": &own.plainHTTP} {
		if text := take(q, name); text != "" {
			if *into, err = strconv.ParseBool(text); err != nil {
				return nil, nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s is neither true nor false: %q", name, text)
			}
		}
	}
	config, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	if config.Region == "" {
		if own.endpoint == "" {
			return nil, nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "its region isn't known: add ?region=… to the URL, or set AWS_REGION")
		}
		config.Region = "us-east-1" // what stores outside of AWS take
	}
	if !aws.IsCredentialsProvider(config.Credentials, (*aws.AnonymousCredentials)(nil)) {
		config.Credentials = identity{config.Credentials}
	}
	client := s3.NewFromConfig(config, own.apply)
	bucket, err := s3blob.OpenBucket(ctx, client, u.Host, &s3blob.Options{
		EncryptionType: types.ServerSideEncryption(own.encryption), KMSEncryptionID: own.key,
		RequestChecksumCalculation: config.RequestChecksumCalculation,
	})
	return bucket, &s3Store{client: client, bucket: u.Host, options: own}, err
}

type s3Options struct {
	endpoint, encryption, key        string
	pathStyle, accelerate, plainHTTP bool
}

func (own s3Options) apply(o *s3.Options) {
	if own.endpoint != "" {
		o.BaseEndpoint = aws.String(own.endpoint)
	}
	o.UsePathStyle, o.UseAccelerate = own.pathStyle, own.accelerate
	o.EndpointOptions.DisableHTTPS = own.plainHTTP
	o.Logger, o.DisableLogOutputChecksumValidationSkipped = logging.Nop{}, true
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("AbortAllTheSame", abortAllTheSame), middleware.Before)
	})
	o.HTTPClient = &http.Client{Transport: newTransport()}
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts, r.MaxBackoff, r.RateLimiter = storeTries, maxStoreWait, ratelimit.None
	})
}

// abortAllTheSame lets the end of a multipart upload be sent for a caller that
// has gone, which is why it ends.
func abortAllTheSame(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, metadata middleware.Metadata, err error) {
	if _, ok := in.Parameters.(*s3.AbortMultipartUploadInput); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
	}
	return next.HandleInitialize(ctx, in)
}

const abortTimeout = 20 * time.Second

// take removes a parameter.
func take(q url.Values, name string) string {
	value := q.Get(name)
	q.Del(name)
	return value
}

func (s *s3Store) startAfter(as func(any) bool, key string) {
	var input *s3.ListObjectsV2Input
	if as(&input) && input.ContinuationToken == nil {
		input.StartAfter = aws.String(key)
	}
}

func (s *s3Store) matching(as func(any) bool, etag string) error {
	var input *s3.GetObjectInput
	if etag != "" && as(&input) {
		input.IfMatch = aws.String(etag)
	}
	return nil
}

// sign signs the size and the hash of a PUT with it, so that the store takes
// nothing else.
func (s *s3Store) sign(ctx context.Context, _ *blob.Bucket, r signRequest) (SignedURL, bool, error) {
	presign := s3.NewPresignClient(s.client, s3.WithPresignExpires(r.For))
	if r.Method == http.MethodGet {
		// If-Match isn't signed: readers add it once they know the ETag.
		made, err := presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &r.key})
		if err != nil {
			return SignedURL{}, false, err
		}
		return SignedURL{URL: made.URL}, true, nil
	}
	input := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &r.key, ContentLength: aws.Int64(r.Size), ContentType: aws.String("application/octet-stream"),
		ChecksumSHA256:       aws.String(base64.StdEncoding.EncodeToString(r.SHA256)),
		ServerSideEncryption: types.ServerSideEncryption(s.options.encryption),
	}
	if s.options.key != "" {
		input.SSEKMSKeyId = &s.options.key
	}
	made, err := presign.PresignPutObject(ctx, input)
	if err != nil {
		return SignedURL{}, false, err
	}
	signed := SignedURL{URL: made.URL, Headers: make(map[string]string)}
	for name, values := range made.SignedHeader {
		if name != "Host" && name != "Content-Length" && len(values) > 0 {
			signed.Headers[name] = values[0]
		}
	}
	return signed, true, nil
}

// sweep ends multipart uploads that a killed writer left.
func (s *s3Store) sweep(ctx context.Context, prefix string, before time.Time) error {
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, one := range page.Uploads {
			if one.Initiated == nil || !one.Initiated.Before(before) {
				continue
			}
			_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: one.Key, UploadId: one.UploadId})
			var gone *types.NoSuchUpload
			if err != nil && !errors.As(err, &gone) {
				return err
			}
		}
	}
	return nil
}

func (s *s3Store) advice(err error) (what, advice string) {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchBucket":
			return errNoBucket.Error(), "create the bucket " + s.bucket + ", or correct the URL"
		case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
			return "the store doesn't accept the credentials (" + api.ErrorCode() + ")", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role"
		case "RequestTimeTooSkewed":
			return "this machine's clock is wrong", "set it"
		case "EntityTooLarge":
			return "the object is too large for the store", "objects may have " + strconv.Itoa(10000*(partSize>>20)>>10) + " GiB"
		}
	}
	var missing *noCredentials
	if errors.As(err, &missing) {
		return "there are no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the server a role (docs/storage.md)"
	}
	return "", ""
}

// identity tells errors of finding credentials from others.
type identity struct{ aws.CredentialsProvider }

type noCredentials struct{ error }

func (e *noCredentials) Unwrap() error { return e.error }

// Retrieve finds the credentials.
func (i identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := i.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = &noCredentials{err}
	}
	return credentials, err
}
