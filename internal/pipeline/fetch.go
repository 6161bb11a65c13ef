package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// Files fetches the large files that models name by address. It is safe for
// concurrent use.
type Files struct {
	// Prefixes are what may be fetched: https://files.example.org/models/,
	// file:///data/, gs://bucket/, s3://bucket/?region=eu-west-1; parameters are
	// those of storages. Whoever writes a model.yaml names the address, and the
	// rights are those of whoever publishes. None: any https address.
	Prefixes []string
	Cache    string        // a folder where files are kept by their hash; "": none
	Limit    int64         // bytes of one file; default 64 GiB
	Timeout  time.Duration // of one file; default an hour

	// Meter is told of each file that is fetched from afar, with its size, −1 if
	// that is unknown; what it returns gets the bytes as they come. May be nil.
	Meter func(path string, size int64) io.WriteCloser

	once    sync.Once
	buckets *storage.Locations
	broken  error // why a prefix can't be used
}

// keptFor is how long a file that nobody asks for stays in the cache.
const keptFor = 30 * 24 * time.Hour

// anywhere is what may be fetched where nothing else is said: what everybody can
// read, from somebody who proves who he is.
var anywhere = []string{"https://"}

func (f *Files) prefixes() []string {
	if len(f.Prefixes) == 0 {
		return anywhere
	}
	return f.Prefixes
}

// fetch brings one large file of a model to its place, and verifies it. A file
// that isn't what its sha256 says never appears there, nor in the cache.
func (f *Files) fetch(ctx context.Context, file spec.File, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	sum := strings.ToLower(file.SHA256)
	kept := ""
	if f.Cache != "" {
		kept = filepath.Join(f.Cache, sum)
		if source, err := os.Open(kept); err == nil {
			_, got, err := f.write(source, target)
			source.Close()
			if err == nil && got == sum {
				now := time.Now()
				_ = os.Chtimes(kept, now, now) // it is only kept for less long
				return nil
			}
			if err == nil {
				err = errors.Join(os.Remove(kept), os.Remove(target)) // it was spoilt
			}
			if err != nil {
				return err
			}
		}
	}
	timeout := cmp.Or(f.Timeout, time.Hour)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	failed := func(err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(limited.Err(), context.DeadlineExceeded):
			err = fmt.Errorf("it took longer than %s", timeout)
		}
		code := modelmanager.CodeInvalidSpec
		if said := modelmanager.CodeOf(err); said == modelmanager.CodeForbidden || said == modelmanager.CodeUnavailable {
			code = said
		}
		return modelmanager.Errorf(code, "fetching %s from %s: %w", file.Path, withoutParameters(file.URI), err)
	}
	source, err := f.open(limited, file.URI)
	if err != nil {
		return failed(err)
	}
	defer source.Close()
	var from io.Reader = source
	if f.Meter != nil {
		meter := f.Meter(file.Path, sizeOf(source))
		defer meter.Close()
		from = io.TeeReader(source, meter)
	}
	size, got, err := f.write(from, target)
	if err != nil {
		return failed(err)
	}
	if got != sum {
		_ = os.Remove(target)
		return failed(fmt.Errorf("what is there (%s) has sha256 %s, and model.yaml says %s; has the file changed?", sizeText(size), got, sum))
	}
	if kept != "" {
		f.keep(target, kept)
	}
	return nil
}

// write writes a file that appears when it is complete, and returns its hash.
func (f *Files) write(source io.Reader, target string) (size int64, sum string, err error) {
	temporary, err := os.CreateTemp(filepath.Dir(target), ".fetch-*")
	if err != nil {
		return 0, "", err
	}
	defer func() {
		temporary.Close()
		if err != nil {
			os.Remove(temporary.Name())
		}
	}()
	limit := cmp.Or(f.Limit, 64<<30)
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(temporary, hash), io.LimitReader(source, limit+1))
	switch {
	case err != nil:
		return size, "", err
	case size > limit:
		return size, "", fmt.Errorf("it is larger than %s", sizeText(limit))
	}
	if err := temporary.Chmod(0o644); err != nil {
		return size, "", err
	}
	return size, hex.EncodeToString(hash.Sum(nil)), os.Rename(temporary.Name(), target)
}

// keep keeps a file in the cache, and drops what nobody has asked for in a long
// time. A cache that can't be written makes the next publication slower, no more.
func (f *Files) keep(from, to string) {
	if os.MkdirAll(f.Cache, 0o755) != nil {
		return
	}
	source, err := os.Open(from)
	if err != nil {
		return
	}
	defer source.Close()
	if _, _, err := f.write(source, to); err != nil {
		return
	}
	entries, _ := os.ReadDir(f.Cache)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > keptFor {
			_ = os.Remove(filepath.Join(f.Cache, entry.Name()))
		}
	}
}

// open opens what is at an address, if it may be fetched.
func (f *Files) open(ctx context.Context, uri string) (io.ReadCloser, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.User != nil || u.Opaque != "" {
		return nil, errors.New("that is no address; write scheme://host/path, without a user or a password")
	}
	switch u.Scheme {
	case "http", "https":
		if err := f.allowed(u); err != nil {
			return nil, err
		}
		return f.get(ctx, u)
	case "file":
		return f.local(u)
	case "gs", "s3", "azblob":
		f.once.Do(func() { f.buckets, f.broken = storage.NewLocations(context.WithoutCancel(ctx), f.stores()) })
		if f.broken != nil {
			return nil, f.broken
		}
		bucket, key, err := f.buckets.Resolve(uri)
		if modelmanager.CodeOf(err) == modelmanager.CodeForbidden {
			return nil, f.forbidden(u)
		}
		if err != nil {
			return nil, err
		}
		return bucket.Read(ctx, key, 0, -1)
	}
	return nil, fmt.Errorf("the scheme %q isn't known here; use https, gs, s3, azblob or file", u.Scheme)
}

// stores are the prefixes that object storages are reached by.
func (f *Files) stores() []string {
	return slices.DeleteFunc(slices.Clone(f.prefixes()), func(prefix string) bool {
		scheme, _, _ := strings.Cut(prefix, "://")
		return scheme != "gs" && scheme != "s3" && scheme != "azblob"
	})
}

// allowed refuses addresses outside of the prefixes, however they are written.
func (f *Files) allowed(u *url.URL) error {
	where := u.EscapedPath()
	if where == "" {
		where = "/"
	}
	lower := strings.ToLower(where)
	if path.Clean(where) != strings.TrimSuffix(where, "/") && where != "/" || strings.Contains(lower, "%2e") || strings.Contains(lower, "%2f") || strings.Contains(where, `\`) {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "its path must be written without dots, doubled or encoded slashes")
	}
	for _, prefix := range f.prefixes() {
		scheme, rest, _ := strings.Cut(prefix, "://")
		if scheme != u.Scheme {
			continue
		}
		if rest == "" || strings.HasPrefix(strings.ToLower(u.Host)+where, strings.TrimSuffix(rest, "/")+"/") {
			return nil
		}
	}
	return f.forbidden(u)
}

func (f *Files) forbidden(u *url.URL) error {
	var allowed []string
	for _, prefix := range f.prefixes() {
		allowed = append(allowed, withoutParameters(prefix))
	}
	return modelmanager.Errorf(modelmanager.CodeForbidden,
		"%s isn't among what may be fetched here: %s; whoever publishes allows more by --files-from or $MM_FILES_FROM", u.Scheme+"://"+u.Host+u.Path, strings.Join(allowed, ", "))
}

// withoutParameters leaves out what may hold a signature.
func withoutParameters(uri string) string {
	uri, _, _ = strings.Cut(uri, "?")
	return uri
}

// local opens a file of this machine: where its links lead counts.
func (f *Files) local(u *url.URL) (io.ReadCloser, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return nil, errors.New("write it as file:///path")
	}
	real, err := filepath.EvalSymlinks(filepath.FromSlash(u.Path))
	for _, prefix := range f.prefixes() {
		dir, local := strings.CutPrefix(prefix, "file://")
		if !local {
			continue
		}
		if resolved, err := filepath.EvalSymlinks(filepath.FromSlash(dir)); err == nil {
			dir = resolved
		}
		in := func(file string) bool {
			relative, err := filepath.Rel(dir, file)
			return err == nil && filepath.IsLocal(relative)
		}
		switch {
		case err == nil && in(real):
			info, err := os.Stat(real)
			if err == nil && !info.Mode().IsRegular() {
				err = errors.New("it is no file")
			}
			if err != nil {
				return nil, err
			}
			return os.Open(real)
		case err != nil && in(filepath.Clean(filepath.FromSlash(u.Path))):
			return nil, err
		}
	}
	return nil, f.forbidden(u)
}

// get asks a web server. Where it sends us must be allowed, too.
func (f *Files) get(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	client := &http.Client{Transport: transport, CheckRedirect: func(request *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("it leads from one address to the next, ten times and more")
		}
		return f.allowed(request.URL)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		transport.CloseIdleConnections()
		var said *url.Error
		if errors.As(err, &said) { // whose address may have a signature
			err = said.Err
		}
		return nil, err
	}
	body := &fetched{response.Body, transport, response.ContentLength}
	switch {
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500:
		err = modelmanager.Errorf(modelmanager.CodeUnavailable, "the server answered %s", response.Status)
	case response.StatusCode != http.StatusOK:
		err = fmt.Errorf("the server answered %s", response.Status)
	case response.ContentLength > cmp.Or(f.Limit, 64<<30):
		err = fmt.Errorf("it has %s, and at most %s are taken", sizeText(response.ContentLength), sizeText(cmp.Or(f.Limit, 64<<30)))
	}
	if err != nil {
		body.Close()
		return nil, err
	}
	return body, nil
}

// fetched closes its connection with the body.
type fetched struct {
	io.ReadCloser
	transport *http.Transport
	size      int64 // −1: unknown
}

func (f *fetched) Close() error {
	defer f.transport.CloseIdleConnections()
	return f.ReadCloser.Close()
}

// sizeOf is the size of what open opened, −1 if that is unknown.
func sizeOf(source io.Reader) int64 {
	switch source := source.(type) {
	case *fetched:
		return source.size
	case *os.File:
		if info, err := source.Stat(); err == nil {
			return info.Size()
		}
	}
	return -1
}
