// Package archive packs a model's folder into one file and unpacks it again.
// The same folder always gives the same bytes, whoever packs it and when, so
// that an archive's digest says what is in it. An archive is a tar file,
// compressed with zstd; Extract takes gzip and plain tar as well, and trusts
// nothing that it reads.
package archive
