// Package storage keeps objects (uploads, artifacts, jobs) behind URLs. A
// Bucket is a tree of objects: a folder of files, S3, Google Cloud Storage or
// Azure Blob Storage. Locations are the prefixes of the operator's own storage
// that callers may name. A Signer makes short-lived URLs for single objects,
// and Handler serves them, so that an agent needs HTTP and no credential; where
// the store can sign such URLs itself, Bucket.SignedURL does.
//
// Package storagetest holds each of them to the same promises.
package storage
