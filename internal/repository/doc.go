// Package repository reads git repositories, by the git command: revisions,
// what changed between two, files at a revision, a revision's folders laid out
// somewhere. It never changes a work tree, an index or a ref of the user's, and
// runs nothing that a repository brings: no hooks, no filters, no external
// differences. Files come out byte for byte as they were committed.
package repository
