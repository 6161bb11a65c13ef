package upstream

import (
	"bytes"

	"modelmanager.dev/internal/http1"
)

const (
	maxChunkLine = 1 << 10 // a chunk's size with its extensions
	maxTrailers  = 64      // lines, which are dropped
)

// readChunks reads from the chunk under way, or opens the next one.
func (r *Response) readChunks(p []byte) (int, error) {
	if r.left == 0 {
		if err := r.nextChunk(); err != nil || r.done {
			return 0, err
		}
	}
	n, err := r.data(p)
	if err != nil || r.left > 0 {
		return n, err
	}
	// Look at once whether this was the last chunk, so that its end comes with
	// its bytes; but never wait for it.
	if r.conn.r < r.conn.w && bytes.HasSuffix(r.conn.in[r.conn.r:r.conn.w], []byte("0\r\n\r\n")) {
		err = r.nextChunk()
	}
	return n, err
}

// nextChunk reads the line that opens a chunk; behind the last one, the trailers.
func (r *Response) nextChunk() error {
	c := r.conn
	if r.opened {
		line, err := c.next(maxChunkLine)
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return broken("a chunk is longer than its size")
		}
		r.opened = false
	}
	line, err := c.next(maxChunkLine)
	if err != nil {
		return err
	}
	size, extension, found := bytes.Cut(line, []byte(";"))
	n, ok := http1.Hexadecimal(size)
	if !ok || found && !http1.IsValue(extension) {
		return broken("the size of a chunk, %q, is malformed", clip(line))
	}
	r.left = n
	if n > 0 {
		r.opened = true
		return nil
	}
	for range maxTrailers {
		line, err := c.next(maxChunkLine)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return r.finish()
		}
		if _, _, ok := http1.HeaderField(line); !ok {
			return broken("the trailer line %q is malformed", clip(line))
		}
	}
	return broken("more than %d trailer lines", maxTrailers)
}
