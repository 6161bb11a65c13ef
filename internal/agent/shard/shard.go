package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/spec"
)

// spec reads the spec of the version that the attempt runs.
func (s *session) spec() (*spec.Spec, error) { return spec.FromCanonical(s.assignment.Spec) }

// run is one attempt at a shard.
type run struct {
	*task
	*session
	spec        *spec.Spec
	features    *dataset.Schema
	predictions *dataset.Schema
	filter      *filter
	started     time.Time

	reader   *dataset.Reader
	part     *parcel
	rejected *parcel
	writer   *dataset.Writer
	header   int64

	counts   counts
	stop     chan struct{} // closed when the server asks to commit what there is
	stopOnce sync.Once     // closes stop
	proven   atomic.Bool   // the model has answered rows of the job
	lastRow  int64         // read so far; once all ends, the last that was done
	cut      bool          // it ended there, before the slice's end
	left     bool          // rows that were read after that are left undone
	saver    *saver
}

// counts are an attempt's rows so far.
type counts struct {
	mu    sync.Mutex
	rows  modelmanager.JobRows
	guilt Guilt
}

func (c *counts) add(rows modelmanager.JobRows) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows.Read += rows.Read
	c.rows.Predicted += rows.Predicted
	c.rows.Rejected += rows.Rejected
}

func (c *counts) get() (modelmanager.JobRows, Guilt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows, c.guilt
}

// judge notes what the search for guilty rows says.
func (c *counts) judge(found worker.Progress) {
	guilt := Guilt{Passed: found.Passed}
	if !found.Passed && len(found.Guilty) > 0 {
		guilt.Failed, guilt.Message = int64(len(found.Guilty)), found.Guilty[0].Message
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guilt = guilt
}

// ask notes whether the search waits for what others say.
func (c *counts) ask(asks bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guilt.Asks = asks
}

// lastWords bounds the sending of a failed attempt's logs.
const lastWords = 5 * time.Second

// shard runs one shard and commits it.
func (t *task) shard(ctx context.Context, s *session) error {
	// What ends the attempt ends its transfers, the progress and the saver.
	ctx, cancel := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel(nil)
	r := &run{task: t, session: s, started: time.Now().UTC(), stop: make(chan struct{})}
	if err := r.open(ctx); err != nil {
		r.abort()
		return err
	}
	defer r.abort()
	r.proven.Store(r.assignment.Proven)
	r.counts.judge(r.saver.resume)
	background.Go(func() { r.report(ctx, cancel) })
	background.Go(func() { r.saver.run(ctx) })
	if err := r.stream(ctx); err != nil {
		// Whoever ends the attempt gives it a moment, which is for its logs.
		last, done := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer done()
		r.sendLogs(last)
		return because(ctx, err)
	}
	return because(ctx, r.commit(ctx))
}

// because is why an attempt failed: the server's word that nobody needs it any
// more, if that ended it.
func because(ctx context.Context, err error) error {
	if over := context.Cause(ctx); err != nil && modelmanager.CodeOf(over) == modelmanager.CodeConflict {
		return over
	}
	return err
}

// open opens everything that the attempt reads and writes.
func (r *run) open(ctx context.Context) error {
	a := &r.assignment
	var err error
	if r.spec, err = r.session.spec(); err != nil {
		return err
	}
	if r.features, err = dataset.Compile(r.spec.Features); err != nil {
		return err
	}
	if r.predictions, err = dataset.Compile(r.spec.Predictions); err != nil {
		return err
	}
	if r.filter, err = r.readFilter(ctx); err != nil {
		return err
	}
	if r.saver, err = r.newSaver(ctx); err != nil {
		return err
	}
	if r.reader, err = r.newReader(ctx); err != nil {
		return err
	}
	if r.part, err = r.newParcel(ctx, "part", func(u *URLs) string { return u.Part }); err != nil {
		return err
	}
	if r.rejected, err = r.newParcel(ctx, "rejected", func(u *URLs) string { return u.Rejected }); err != nil {
		return err
	}
	options := dataset.WriterOptions{
		Format: a.Output.Format, Input: a.Input, Header: r.reader.Header(), Features: r.features, Predictions: r.predictions,
		Output: a.Output, Model: a.Model, Version: a.Version, Job: a.Job, ScoredAt: a.Scored, WriteHeader: true,
	}
	if r.header, err = headerSize(options); err != nil {
		return err
	}
	r.writer, err = dataset.NewWriter(r.part, options)
	return err
}

// newReader reads the shard's rows, from the first.
func (r *run) newReader(ctx context.Context) (*dataset.Reader, error) {
	src, input, slice, err := r.shardSource(ctx)
	if err != nil {
		return nil, err
	}
	return dataset.NewReader(ctx, src, input, r.features, slice, dataset.ReaderOptions{
		BatchRows: r.spec.Batch.RowsPerCall, Parallel: min(runtime.GOMAXPROCS(0), 4),
	})
}

// headerSize is the size of a part without rows: what has to be left out of
// all parts but the first to make one file of them.
func headerSize(options dataset.WriterOptions) (int64, error) {
	if options.Format != "csv" {
		return 0, nil
	}
	var empty bytes.Buffer
	w, err := dataset.NewWriter(&empty, options)
	if err != nil {
		return 0, err
	}
	err = w.Close()
	return int64(empty.Len()), err
}

// shardSource opens the shard's rows: a slice of the input, or its own piece.
func (r *run) shardSource(ctx context.Context) (dataset.Source, modelmanager.JobInput, dataset.Slice, error) {
	a := &r.assignment
	if a.Shard.Piece != "" {
		src, err := r.source(ctx)
		return src, dataset.PieceInput(a.Input), a.Shard.Slice, err
	}
	src, err := r.input(ctx)
	return src, a.Input, a.Shard.Slice, err
}

func (r *run) begin(ctx context.Context, pick func(*URLs) string) (*upload, error) {
	address, err := r.url(ctx, pick)
	if err != nil {
		return nil, err
	}
	return r.put(ctx, address)
}

func (r *run) abort() {
	if r.reader != nil {
		_ = r.reader.Close()
	}
	for _, u := range []*parcel{r.part, r.rejected} {
		if u != nil {
			u.Abort()
		}
	}
}

// commit completes the files and offers them as the shard's.
func (r *run) commit(ctx context.Context) error {
	if err := r.writer.Close(); err != nil {
		return err
	}
	for _, u := range []*parcel{r.part, r.rejected} {
		if err := u.Close(); err != nil {
			return err
		}
	}
	rows, guilt := r.counts.get()
	if !r.assignment.Shard.Filtered && !r.left {
		rows.Filled = r.reader.Filled()
	}
	commit := Commit{
		Part: r.part.stored, Rejected: r.rejected.stored, Logs: r.sendLogs(ctx), Rows: rows, Started: r.started,
		Stopped: r.cut, Header: r.header, CPUSeconds: r.task.cpuSeconds(), Guilt: guilt,
	}
	if commit.Stopped {
		commit.LastRow = r.lastRow
	}
	var verdict Verdict
	return r.call(ctx, "commit", commit, &verdict)
}

// maxLogs bounds what is sent of a worker's log.
const maxLogs = 16 << 20

// sendLogs stores what the worker has written, if anything. Losing it is no
// reason to lose the shard.
func (r *run) sendLogs(ctx context.Context) *File {
	var text []byte
	for _, path := range []string{worker.LogPath(r.config.RunDir) + ".1", worker.LogPath(r.config.RunDir)} {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		more, err := io.ReadAll(io.LimitReader(file, maxLogs))
		file.Close()
		if err == nil {
			text = append(text, more...)
		}
	}
	if len(text) == 0 || r.config.RunDir == "" {
		return nil
	}
	u, err := r.newParcel(ctx, "logs", func(u *URLs) string { return u.Logs })
	if err != nil {
		return nil
	}
	defer u.Abort()
	if _, err := u.Write(text); err != nil || u.Close() != nil {
		return nil
	}
	return &u.stored
}

// report posts the attempt's progress, at most twice a second. It ends the
// attempt when it hears that the job is finished or cancelled.
func (r *run) report(ctx context.Context, end context.CancelCauseFunc) {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		data, err := json.Marshal(r.progress())
		if err != nil {
			return
		}
		var order Order
		// Not again and again: the next tick does.
		err = r.once(ctx, "/"+r.assignment.Attempt+"/progress", data, &order)
		switch {
		case err == nil:
			r.obey(order)
		case modelmanager.CodeOf(err) == modelmanager.CodeConflict:
			end(err)
		}
	}
}

func (r *run) progress() Progress {
	rows, guilt := r.counts.get()
	return Progress{Rows: rows, CPUSeconds: r.task.cpuSeconds(), Guilt: guilt}
}

func (r *run) obey(order Order) {
	if order.Stop {
		r.stopOnce.Do(func() { close(r.stop) })
	}
	if order.Proven {
		r.proven.Store(true)
	}
}

// provenElsewhere asks the server whether the model has answered rows of the
// job, unless that is known; as long as other attempts may, it waits for them.
func (r *run) provenElsewhere(ctx context.Context) (bool, error) {
	defer r.counts.ask(false)
	for !r.proven.Load() {
		r.counts.ask(true)
		var order Order
		if err := r.call(ctx, "progress", r.progress(), &order); err != nil {
			return false, err
		}
		r.obey(order)
		switch {
		case order.Proven:
		case order.Stop:
			return false, worker.ErrStopped // which says nothing of the model
		case !order.Undecided:
			return false, nil
		}
		if !order.Proven && !pause.For(ctx, progressInterval) {
			return false, ctx.Err()
		}
	}
	return true, nil
}
