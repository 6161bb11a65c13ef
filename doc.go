// Package modelmanager holds the words of Model Manager: model, version,
// feature, prediction, traffic, job, error. It imports the standard library
// alone, and every other package of the program imports it.
//
// A guided tour of the code, bottom up:
//
//   - internal/spec reads a model.yaml: strict, with positions in every error.
//   - internal/dataset gives data one meaning: it reads and writes CSV, JSON
//     Lines, Parquet and Excel, and checks every row against the features.
//   - internal/storage keeps objects (uploads, artifacts, jobs) behind URLs.
//   - internal/http1 serves predictions for less than net/http's server does.
//   - internal/registry keeps models and versions and their rules, over a Store.
//   - internal/repository reads git; internal/image makes OCI images.
//   - internal/environment builds what a model's language needs, once per lock file.
//   - internal/agent runs beside each worker, the data scientist's own process.
//   - internal/platform runs versions and jobs, over a Driver.
//   - internal/auth says who may do what; internal/leader, which of several
//     servers leads; internal/peers, where the others are.
//   - internal/gateway routes a row to a replica; internal/scaler says how many.
//   - internal/activity counts what versions do; internal/rollout moves canaries by it.
//   - internal/batch plans, follows and collects jobs.
//   - internal/pipeline validates, builds and publishes a model's folder.
//   - internal/api, client, internal/cli and internal/web are how programs and
//     people get in.
//   - internal/server puts it together; cmd/mm's wire.go alone knows the drivers.
package modelmanager
