package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
)

// record is request.json: a job as it was accepted.
type record struct {
	Job         modelmanager.Job `json:"job"` // queued
	Digest      string           `json:"digest"`
	Source      source           `json:"source"`
	Fingerprint string           `json:"fingerprint"` // of what was asked, for Idempotency-Key
}

// source is where a job's input is, and what it was when the job was accepted.
type source struct {
	Key    string `json:"key,omitempty"` // in the server's own bucket, or
	URI    string `json:"uri,omitempty"`
	ETag   string `json:"etag"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // of an upload
}

// plan is plan.json.
type plan struct {
	shard.Plan
	Started time.Time `json:"started"`
	Proven  bool      `json:"proven,omitempty"` // the model has answered rows of the job that this one retries
}

// rows is the number of the input's rows, if the plan knows it.
func (p *plan) rows() (total int64, known bool) {
	for _, s := range p.Shards {
		if s.Rows == 0 || s.Filtered {
			return 0, false
		}
		total += s.Rows
	}
	return total, true
}

// shardRecord is shards/00000.json: the attempt that counts.
type shardRecord struct {
	Index    int       `json:"index"`
	Attempt  string    `json:"attempt"`
	Finished time.Time `json:"finished"`
	shard.Commit
}

// Manifest is manifest.json: the record of a finished job, kept for ever.
type Manifest struct {
	modelmanager.Job
	Digest      string       `json:"digest"`   // of the version
	Artifact    string       `json:"artifact"` // its artifact's digest
	Commit      string       `json:"commit,omitempty"`
	InputSize   int64        `json:"input_size"`
	InputSHA256 string       `json:"input_sha256,omitempty"`
	InputETag   string       `json:"input_etag"`
	Parts       []shard.File `json:"parts,omitempty"` // in input order
	Incomplete  []int        `json:"incomplete,omitempty"`
}

// outputRows is how many rows the output has.
func (m *Manifest) outputRows() int64 {
	if m.Output.Rejected == "inline" {
		return m.Rows.Read
	}
	return m.Rows.Predicted
}

// cancellation is cancel.json.
type cancellation struct {
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

// maxRecord bounds the JSON objects of a folder; a plan of 1e5 shards is some 20 MB.
const maxRecord = 256 << 20

// Keys of a job's folder.
func folder(id string) string       { return "jobs/" + id + "/" }
func requestKey(id string) string   { return folder(id) + "request.json" }
func planKey(id string) string      { return folder(id) + "plan.json" }
func manifestKey(id string) string  { return folder(id) + "manifest.json" }
func cancelKey(id string) string    { return folder(id) + "cancel.json" }
func shardsPrefix(id string) string { return folder(id) + "shards/" }
func shardKey(id string, index int) string {
	return fmt.Sprintf("%s%05d.json", shardsPrefix(id), index)
}
func faultKey(id, step string, index int) string {
	return fmt.Sprintf("%sfaults/%s-%05d.json", folder(id), step, index)
}
func searchKey(id string, index int) string {
	return fmt.Sprintf("%ssearch/%05d.json", folder(id), index)
}
func pieceKey(id, attempt string, index int) string {
	return fmt.Sprintf("%sinput/%05d-%s", folder(id), index, attempt)
}
func rowsKey(id string, index int) string { return fmt.Sprintf("%srows/%05d.jsonl", folder(id), index) }
func partKey(id string, index int, attempt, extension string) string {
	return fmt.Sprintf("%sparts/%05d-%s.%s", folder(id), index, attempt, extension)
}
func rejectedKey(id string, index int, attempt string) string {
	return fmt.Sprintf("%srejected/%05d-%s.jsonl", folder(id), index, attempt)
}
func logsKey(id string, index int, attempt string) string {
	return fmt.Sprintf("%slogs/%05d-%s", folder(id), index, attempt)
}

const (
	activePrefix  = "active/"
	historyPrefix = "history/"
)

func activeKey(id, model string) string { return activePrefix + id + "." + model }
func historyKey(id, model string, state modelmanager.JobState) string {
	return historyPrefix + id + "." + model + "." + string(state)
}

// parseKey splits the name of an entry of active/ or history/.
func parseKey(name string) (id, model string, state modelmanager.JobState) {
	id, rest, _ := strings.Cut(name, ".")
	model, last, _ := strings.Cut(rest, ".")
	return id, model, modelmanager.JobState(last)
}

// load reads a JSON object of a job's folder; found is false if there is none.
func (s *Service) load(ctx context.Context, key string, into any) (found bool, err error) {
	data, err := s.config.Bucket.ReadAll(ctx, key, maxRecord)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, modelmanager.Errorf(modelmanager.CodeStorage, "reading %s: %w", key, err)
	}
	return true, nil
}

// create writes a JSON object of a job's folder, once: CodeConflict if it is there.
func (s *Service) create(ctx context.Context, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.config.Bucket.Create(ctx, key, data)
}

// exists tells whether there is an object.
func (s *Service) exists(ctx context.Context, key string) (bool, error) {
	_, err := s.config.Bucket.Stat(ctx, key)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// record reads a job's request.json; CodeNotFound if there is no such job.
func (s *Service) record(ctx context.Context, id string) (*record, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	r := new(record)
	found, err := s.load(ctx, requestKey(id), r)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noJob(id)
	}
	return r, nil
}

// plan reads a job's plan.json; nil before it is planned.
func (s *Service) plan(ctx context.Context, id string) (*plan, error) {
	p := new(plan)
	found, err := s.load(ctx, planKey(id), p)
	if err != nil || !found {
		return nil, err
	}
	return p, nil
}

// manifest reads a job's manifest.json; nil before it is finished.
func (s *Service) manifest(ctx context.Context, id string) (*Manifest, error) {
	m := new(Manifest)
	found, err := s.load(ctx, manifestKey(id), m)
	if err != nil || !found {
		return nil, err
	}
	return m, nil
}
