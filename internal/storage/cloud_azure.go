package storage

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
)

// azureStore is Azure Blob Storage. Blocks that an unfinished write has left
// are dropped by the service itself, after a week.
type azureStore struct {
	plain
	container string
	signs     bool
}

// openAzure takes the words of gocloud's URLs, and finds credentials where it
// does: an account's key, a shared access signature, a connection string, or
// the identity that the process runs with.
func openAzure(_ context.Context, u *url.URL) (*blob.Bucket, vendor, error) {
	options, err := azureService(u.Query())
	if err != nil {
		return nil, nil, err
	}
	connection := os.Getenv("AZURE_STORAGE_CONNECTION_STRING")
	if connection == "" {
		connection = os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING")
	}
	if options.AccountName == "" {
		return nil, nil, errors.New("its account isn't known: set AZURE_STORAGE_ACCOUNT, or add ?storage_account=… to the URL")
	}
	service, err := azureblob.NewServiceURL(options)
	if err != nil {
		return nil, nil, err
	}
	address, err := url.JoinPath(string(service), u.Host)
	if err != nil {
		return nil, nil, err
	}
	a := &azureStore{container: u.Host}
	client, err := a.client(address, options.AccountName, connection)
	if err != nil {
		return nil, nil, err
	}
	bucket, err := azureblob.OpenBucket(context.Background(), client, nil)
	return bucket, a, err
}

// azureService reads the parameters of a URL over what the environment says.
func azureService(q url.Values) (*azureblob.ServiceURLOptions, error) {
	options := azureblob.NewDefaultServiceURLOptions()
	for name, into := range map[string]*string{"domain": &options.StorageDomain, "protocol": &options.Protocol, "storage_account": &options.AccountName} {
		if value := take(q, name); value != "" {
			*into = value
		}
	}
	for name, into := range map[string]*bool{"cdn": &options.IsCDN, "localemu": &options.IsLocalEmulator} {
		if text := take(q, name); text != "" {
			value, err := strconv.ParseBool(text)
			if err != nil {
				return nil, fmt.Errorf("%s is neither true nor false: %q", name, text)
			}
			*into = value
		}
	}
	for name := range q {
		return nil, fmt.Errorf("unknown query parameter %q", name)
	}
	return options, nil
}

func (a *azureStore) client(address, account, connection string) (*container.Client, error) {
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: newTransport()},
		Retry:     policy.RetryOptions{MaxRetries: storeTries - 1, MaxRetryDelay: maxStoreWait},
	}}
	switch key := os.Getenv("AZURE_STORAGE_KEY"); {
	case key != "":
		shared, err := container.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, fmt.Errorf("AZURE_STORAGE_KEY is no key of an account: %w", err)
		}
		a.signs = true
		return container.NewClientWithSharedKeyCredential(address, shared, options)
	case os.Getenv("AZURE_STORAGE_SAS_TOKEN") != "":
		return container.NewClientWithNoCredential(address, options)
	case connection != "":
		a.signs = true
		return container.NewClientFromConnectionString(connection, a.container, options)
	}
	identity, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options.ClientOptions})
	if err != nil {
		return nil, fmt.Errorf("there are no credentials: %w", err)
	}
	return container.NewClient(address, identity, options)
}

func (a *azureStore) startAfter(as func(any) bool, key string) {
	var options *container.ListBlobsHierarchyOptions
	if as(&options) && options.Marker == nil && !strings.ContainsAny(key, "%\"#?") { // gocloud escapes these
		options.StartFrom = &key // itself included; a service that doesn't know it lists from the start
	}
}

func (a *azureStore) matching(as func(any) bool, etag string) error {
	var options *azblob.DownloadStreamOptions
	if etag != "" && as(&options) {
		match := azcore.ETag(etag)
		options.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: &azblob.ModifiedAccessConditions{IfMatch: &match}}
	}
	return nil
}

// sign needs an account's key. The hash of a PUT isn't part of the signature,
// but the service checks it.
func (a *azureStore) sign(ctx context.Context, bucket *blob.Bucket, r signRequest) (SignedURL, bool, error) {
	if !a.signs {
		return SignedURL{}, false, nil
	}
	address, err := bucket.SignedURL(ctx, r.key, &blob.SignedURLOptions{Method: r.Method, Expiry: r.For})
	if err != nil {
		return SignedURL{}, false, err
	}
	signed := SignedURL{URL: address}
	if r.Method == http.MethodPut {
		signed.Headers = map[string]string{
			"Content-Type": "application/octet-stream", "X-Ms-Blob-Type": "BlockBlob", "Content-Md5": base64.StdEncoding.EncodeToString(r.MD5),
		}
	}
	return signed, true, nil
}

func (a *azureStore) advice(err error) (what, advice string) {
	switch {
	case bloberror.HasCode(err, bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted):
		return "there is no such container", "create the container " + a.container + ", or correct the URL"
	case bloberror.HasCode(err, bloberror.AuthenticationFailed):
		return "the service doesn't accept the credentials", "check AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, and this machine's clock"
	}
	var failed *azidentity.AuthenticationFailedError
	var unavailable interface{ NonRetriable() }
	if errors.As(err, &failed) || errors.As(err, &unavailable) && statusOf(err) == 0 {
		return "there are no credentials", "set AZURE_STORAGE_KEY, or give the server an identity (docs/storage.md)"
	}
	return "", ""
}
