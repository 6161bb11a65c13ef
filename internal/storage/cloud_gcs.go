package storage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"google.golang.org/api/option"

	"modelmanager.dev"
)

// gcsStore is Google Cloud Storage.
type gcsStore struct {
	plain
	bucket  string
	account string // that signs
	key     []byte
}

// openGCS takes the words of gocloud's URLs, but those of gRPC. With
// STORAGE_EMULATOR_HOST set, requests go there, without credentials.
func openGCS(ctx context.Context, u *url.URL) (*blob.Bucket, vendor, error) {
	q := u.Query()
	g := &gcsStore{bucket: u.Host, account: take(q, "access_id")}
	anonymous, keyPath := take(q, "anonymous"), take(q, "private_key_path")
	for name := range q {
		return nil, nil, fmt.Errorf("unknown query parameter %q", name)
	}
	var source gcp.TokenSource
	options := &gcsblob.Options{ClientOptions: []option.ClientOption{}}
	client := &gcp.HTTPClient{Client: http.Client{Transport: newTransport()}}
	switch emulator := os.Getenv("STORAGE_EMULATOR_HOST"); {
	case emulator != "":
		// Behind gocloud's own options, so that ours are the ones that count.
		options.ClientOptions = append(options.ClientOptions, option.WithHTTPClient(&client.Client))
	case anonymous == "true" || g.account == "-":
		g.account = ""
	default:
		credentials, err := gcp.DefaultCredentials(ctx)
		if err != nil {
			return nil, nil, errors.New("there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS to a key file, " +
				"or give the server a service account (docs/storage.md)")
		}
		source = gcp.CredentialsTokenSource(credentials)
		g.readKey(credentials.JSON)
		if client, err = gcp.NewHTTPClient(newTransport(), source); err != nil {
			return nil, nil, err
		}
	}
	if keyPath != "" {
		key, err := os.ReadFile(keyPath)
		if err != nil {
			return nil, nil, err
		}
		g.readKey(key)
		if g.key == nil {
			g.key = key
		}
	}
	bucket, err := gcsblob.OpenBucket(ctx, client, u.Host, options)
	if err != nil {
		return nil, nil, err
	}
	var own *storage.Client
	if bucket.As(&own) {
		// Left alone, it would try for ever.
		own.SetRetry(storage.WithMaxAttempts(storeTries), storage.WithBackoff(gax.Backoff{
			Initial: 200 * time.Millisecond, Max: maxStoreWait, Multiplier: 2,
		}))
	}
	return bucket, g, nil
}

// readKey takes what signs URLs from a service account's key file.
func (g *gcsStore) readKey(file []byte) {
	var account struct {
		Email string `json:"client_email"`
		Key   string `json:"private_key"`
	}
	if json.Unmarshal(file, &account) == nil && account.Key != "" {
		g.key = []byte(account.Key)
		if g.account == "" {
			g.account = account.Email
		}
	}
}

func (g *gcsStore) startAfter(as func(any) bool, key string) {
	var query *storage.Query
	if as(&query) {
		query.StartOffset = key // itself included
	}
}

// etag is the object's generation. GCS has an ETag, too, but another one in
// each of its protocols, and none that a read can be bound to.
func (g *gcsStore) etag(a *blob.Attributes) string {
	var own storage.ObjectAttrs
	if a.As(&own) && own.Generation != 0 {
		return `"` + strconv.FormatInt(own.Generation, 10) + `"`
	}
	return a.ETag
}

func generation(etag string) (int64, error) {
	return strconv.ParseInt(strings.Trim(etag, `"`), 10, 64)
}

func (g *gcsStore) matching(as func(any) bool, etag string) error {
	var object **storage.ObjectHandle
	if !as(&object) {
		return nil
	}
	*object = (*object).ReadCompressed(true) // as it is, whatever its Content-Encoding
	if etag == "" {
		return nil
	}
	n, err := generation(etag)
	if err != nil {
		return modelmanager.Errorf(modelmanager.CodeInputChanged, "reading an object: %s is no ETag of this store", etag)
	}
	*object = (*object).Generation(n)
	return nil
}

// sign names the generation in the URL of a GET: it reads that one, or nothing.
func (g *gcsStore) sign(_ context.Context, _ *blob.Bucket, r signRequest) (SignedURL, bool, error) {
	if g.account == "" || g.key == nil {
		return SignedURL{}, false, nil
	}
	options := &storage.SignedURLOptions{
		GoogleAccessID: g.account, PrivateKey: g.key, Method: r.Method, Expires: time.Now().Add(r.For), Scheme: storage.SigningSchemeV4,
	}
	signed := SignedURL{}
	if r.Method == http.MethodPut {
		options.ContentType = "application/octet-stream"
		options.MD5 = base64.StdEncoding.EncodeToString(r.MD5)
		size := strconv.FormatInt(r.Size, 10)
		options.Headers = []string{"x-goog-content-length-range:" + size + "," + size}
		signed.Headers = map[string]string{
			"Content-Type": options.ContentType, "Content-Md5": options.MD5, "X-Goog-Content-Length-Range": size + "," + size,
		}
	} else if r.ETag != "" {
		if _, err := generation(r.ETag); err != nil {
			return SignedURL{}, false, nil
		}
		options.QueryParameters = url.Values{"generation": {strings.Trim(r.ETag, `"`)}}
	}
	var err error
	signed.URL, err = storage.SignedURL(g.bucket, r.key, options)
	signed.Pinned = true
	return signed, true, err
}

func (g *gcsStore) advice(err error) (what, advice string) {
	if errors.Is(err, storage.ErrBucketNotExist) {
		return errNoBucket.Error(), "create the bucket " + g.bucket + ", or correct the URL"
	}
	return "", ""
}
