// Package storage keeps objects (uploads, artifacts, jobs) behind URLs. A
// Bucket is a tree of objects: file:///dir or mem://. Locations are the
// prefixes of the operator's own storage that callers may name. A Signer makes
// short-lived URLs for single objects, and Handler serves them, so that an
// agent needs HTTP and no credential.
package storage
