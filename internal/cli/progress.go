package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"modelmanager.dev"
	"modelmanager.dev/internal/pipeline"
)

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct {
	bar   *progressbar.ProgressBar
	total int64
}

// newBar starts a bar of so many steps, or bytes; −1: nobody knows how many.
func newBar(w io.Writer, total int64, title string, options ...progressbar.Option) *bar {
	if !isTerminal(w) {
		w = io.Discard
	}
	if total >= 0 {
		total = max(total, 1)
	}
	return &bar{progressbar.NewOptions64(total, append([]progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(title),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(24),
	}, options...)...), total}
}

// newByteBar starts a bar of bytes.
func newByteBar(w io.Writer, total int64, title string) *bar {
	return newBar(w, total, title, progressbar.OptionShowBytes(true))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// Write counts the bytes that pass.
func (b *bar) Write(p []byte) (int, error) {
	_ = b.bar.Add(len(p))
	return len(p), nil
}

// show says how far a job has come: in rows where their number is known, else
// in shards.
func (b *bar) show(job modelmanager.Job) {
	title := fmt.Sprintf("%s: %d rows", job.State, job.Rows.Read)
	done, total := int64(job.Shards.Done), int64(job.Shards.Total)
	if job.Rows.Total > 0 {
		title = fmt.Sprintf("%s: %d of %d rows", job.State, job.Rows.Read, job.Rows.Total)
		done, total = job.Rows.Read, job.Rows.Total
	}
	if job.Rows.Rejected > 0 {
		title += fmt.Sprintf(", %d rejected", job.Rows.Rejected)
	}
	b.bar.Describe(title)
	if total == 0 || job.State.Final() {
		return
	}
	if total != b.total {
		b.total = total
		b.bar.ChangeMax64(total)
	}
	// A full bar is taken away; the job isn't over yet.
	_ = b.bar.Set64(min(done, total-1))
}

// clear makes way for a line.
func (b *bar) clear() { _ = b.bar.Clear() }

func (b *bar) end() { _ = b.bar.Finish() }

// Close ends the bar.
func (b *bar) Close() error { return b.bar.Finish() }

// uploading is a server that shows how far an upload has come.
type uploading struct {
	pipeline.LiveDestination
	err io.Writer
}

// Upload implements pipeline.Target. How long an archive gets is known when it
// has been sent.
func (u uploading) Upload(ctx context.Context, name string, data io.Reader) (modelmanager.Upload, error) {
	bar := newByteBar(u.err, -1, "uploading "+name)
	defer bar.end()
	return u.LiveDestination.Upload(ctx, name, io.TeeReader(data, bar))
}
