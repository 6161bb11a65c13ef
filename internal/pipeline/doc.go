// Package pipeline brings a model's folder into production: prepare (lay its
// files together, fetch what is large, build what must be built), validate (run
// its examples for real), publish. The CLI runs it on the data scientist's
// machine, `mm serve --models` in the server: the same code.
package pipeline
