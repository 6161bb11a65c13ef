package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"

	"modelmanager.dev"
)

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct {
	bar   *progressbar.ProgressBar
	total int64
}

// newBar starts a bar of so many steps, or bytes.
func newBar(w io.Writer, total int64, title string, options ...progressbar.Option) *bar {
	if !isTerminal(w) {
		w = io.Discard
	}
	return &bar{progressbar.NewOptions64(max(total, 1), append([]progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(title),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(24),
	}, options...)...), max(total, 1)}
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
