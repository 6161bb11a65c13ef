// Package dataset gives data one meaning in every format and language
// (docs/data.md). A Schema is a version's features, or predictions, compiled
// once. A Builder checks rows against it and collects them as typed Arrow
// columns; JSON requests and files of every format go through the same one. A
// Reader streams a file as Batches, a Writer writes them, and Plan cuts a file
// into shards at record boundaries.
package dataset
