package storage

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"modelmanager.dev"
)

// Locations are the prefixes of the operator's own storage under which inputs
// may be read and outputs written. An URI outside of all of them is
// CodeForbidden, whichever way it is written.
type Locations struct {
	prefixes []string
	buckets  []*Bucket
}

// NewLocations opens prefixes such as file:///data/in/ or
// s3://bucket/in/?region=eu-west-1. Each is a folder, whether or not it is
// written with the last slash. Parameters, an endpoint above all, are the
// operator's alone: no URI that Resolve takes has any.
func NewLocations(ctx context.Context, prefixes []string) (*Locations, error) {
	l := new(Locations)
	stores := make(map[string]string)
	for _, address := range prefixes {
		prefix, query, _ := strings.Cut(address, "?")
		prefix = strings.TrimSuffix(prefix, "/") + "/"
		if _, err := plainPath(prefix); err != nil {
			return nil, err
		}
		// One bucket can't be two stores, as URIs don't say which.
		scheme, rest, _ := strings.Cut(prefix, "://")
		name, _, _ := strings.Cut(rest, "/")
		if other, ok := stores[scheme+"://"+name]; ok && other != query && scheme != "file" {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
				"the location %s is given with different parameters: write the same ones for each folder of %s://%s", prefix, scheme, name)
		}
		stores[scheme+"://"+name] = query
		if query != "" {
			query = "?" + query
		}
		bucket, err := open(ctx, strings.TrimSuffix(prefix, "/")+query)
		if err != nil {
			return nil, err
		}
		l.prefixes = append(l.prefixes, prefix)
		l.buckets = append(l.buckets, bucket)
	}
	return l, nil
}

// Prefixes lists what is allowed, without parameters.
func (l *Locations) Prefixes() []string { return slices.Clone(l.prefixes) }

// Resolve finds an object. What it names need not exist.
func (l *Locations) Resolve(uri string) (*Bucket, string, error) {
	path, err := plainPath(uri)
	if err != nil {
		return nil, "", err
	}
	best, key := -1, ""
	for i, prefix := range l.prefixes {
		allowed, err := plainPath(prefix)
		if err != nil {
			continue
		}
		rest, ok := strings.CutPrefix(path, allowed)
		if ok && rest != "" && (best < 0 || len(prefix) > len(l.prefixes[best])) {
			best, key = i, rest
		}
	}
	if best < 0 {
		return nil, "", l.forbidden(uri)
	}
	key = strings.TrimSuffix(key, "/")
	if err := checkKey(key); err != nil {
		return nil, "", l.forbidden(uri)
	}
	return l.buckets[best], key, nil
}

// Covers returns the prefix under which objects of a bucket could be read or
// written, or which the bucket is a part of; "" if there is none. A server's
// own bucket must not be covered: there are everybody's objects.
func (l *Locations) Covers(b *Bucket) string {
	own, err := plainPath(b.url + "/")
	if err != nil {
		return ""
	}
	for _, prefix := range l.prefixes {
		allowed, err := plainPath(prefix)
		if err == nil && (strings.HasPrefix(own, allowed) || strings.HasPrefix(allowed, own)) {
			return prefix
		}
	}
	return ""
}

func (l *Locations) forbidden(uri string) error {
	allowed := "none; upload the file instead"
	if len(l.prefixes) > 0 {
		allowed = strings.Join(l.prefixes, ", ")
	}
	return modelmanager.Errorf(modelmanager.CodeForbidden, "%q is outside of what the operator allowed: %s", uri, allowed)
}

// plainPath returns an URI as scheme://host/path, its path decoded once. There
// is one way to write an URI here: whatever could be read in two ways (another
// case of the scheme, user names, queries, dots, doubled or encoded slashes)
// is refused.
func plainPath(uri string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", modelmanager.Errorf(modelmanager.CodeForbidden, "the URI %q can't be used: %s", uri, why)
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.Opaque != "" || !strings.HasPrefix(uri, u.Scheme+"://") {
		return refuse("write it as scheme://host/path")
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(uri, "#") {
		return refuse("user names, queries and fragments are not allowed")
	}
	if u.Scheme == "file" && u.Host != "" {
		return refuse("a file has no host: file:///path")
	}
	escaped := strings.ToLower(u.EscapedPath())
	for _, bad := range []string{"%2f", "%5c", "%2e", "%00"} {
		if strings.Contains(escaped, bad) {
			return refuse("slashes and dots may not be percent-encoded")
		}
	}
	path := strings.TrimPrefix(u.Path, "/")
	if path != "" {
		if err := checkPath(strings.TrimSuffix(path, "/")); err != nil {
			return "", err
		}
	}
	return u.Scheme + "://" + u.Host + "/" + path, nil
}

// checkPath is checkKey as CodeForbidden: such a path is a try to get out.
func checkPath(path string) error {
	if err := checkKey(path); err != nil {
		return modelmanager.Errorf(modelmanager.CodeForbidden, "%v", err)
	}
	return nil
}
