package cli

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct{ bar *progressbar.ProgressBar }

// newBar starts a bar of so many bytes; −1: of unknown length.
func newBar(w io.Writer, size int64, title string) *bar {
	file, ok := w.(*os.File)
	if !ok || !isatty.IsTerminal(file.Fd()) {
		w = io.Discard
	}
	return &bar{progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(title),
		progressbar.OptionShowBytes(size >= 0),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionFullWidth(),
	)}
}

// Write counts the bytes that pass.
func (b *bar) Write(p []byte) (int, error) {
	_ = b.bar.Add(len(p))
	return len(p), nil
}

func (b *bar) describe(text string) { b.bar.Describe(text) }

func (b *bar) set(done, total int64) {
	if total > 0 {
		b.bar.ChangeMax64(total)
		_ = b.bar.Set64(min(done, total))
	}
}

func (b *bar) end() { _ = b.bar.Finish() }
