package worker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// errTooLong is of an answer beyond Options.AnswerLimit.
var errTooLong = errors.New("an answer is larger than allowed")

// pipe is the agent's end of a worker's two pipes.
type pipe struct {
	process *process
	reader  *bufio.Reader
	limit   int64
	line    []byte // reused
}

func newPipe(p *process, limit int64) *pipe {
	return &pipe{process: p, reader: bufio.NewReaderSize(p.answers, 64<<10), limit: limit}
}

// until bounds all reads and writes from here on. Once the process has exited
// only what is in the pipe already is read.
func (p *pipe) until(deadline time.Time) {
	p.process.answers.SetReadDeadline(deadline)
	p.process.requests.SetWriteDeadline(deadline)
	if !p.process.alive() {
		p.process.answers.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		p.process.requests.SetWriteDeadline(time.Now())
	}
}

// pipeCapacity is what an empty pipe takes without a reader.
const pipeCapacity = 32 << 10

// send writes parts to the worker. A worker may answer before it has read all,
// so that large requests are written aside; the returned function waits.
func (p *pipe) send(parts ...[]byte) func() error {
	var size int
	for _, part := range parts {
		size += len(part)
	}
	write := func() error {
		for _, part := range parts {
			if _, err := p.process.requests.Write(part); err != nil {
				return err
			}
		}
		return nil
	}
	if size <= pipeCapacity {
		err := write()
		return func() error { return err }
	}
	done := make(chan error, 1)
	go func() { done <- write() }()
	return func() error { return <-done }
}

// readLine returns the next line without its end; it is valid until the next
// read.
func (p *pipe) readLine() ([]byte, error) {
	if cap(p.line) > 1<<20 {
		p.line = nil
	}
	p.line = p.line[:0]
	for {
		part, err := p.reader.ReadSlice('\n')
		if int64(len(p.line)+len(part)) > p.limit {
			return nil, fmt.Errorf("%w: more than %s on one line", errTooLong, bytesText(p.limit))
		}
		if err == nil && len(p.line) == 0 {
			return part[:len(part)-1], nil
		}
		p.line = append(p.line, part...)
		switch {
		case err == nil:
			return p.line[:len(p.line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(p.line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// readBytes returns the next n bytes, in memory of their own that grows as
// they come: a worker that promises much must deliver it.
func (p *pipe) readBytes(n int64) ([]byte, error) {
	if n > p.limit {
		return nil, fmt.Errorf("%w: %d bytes, more than %s", errTooLong, n, bytesText(p.limit))
	}
	const step = 1 << 20
	data := make([]byte, 0, min(n, step))
	for int64(len(data)) < n {
		part := min(n-int64(len(data)), step)
		at := len(data)
		data = append(data, make([]byte, part)...)
		if _, err := io.ReadFull(p.reader, data[at:]); err != nil {
			return nil, err
		}
	}
	return data, nil
}
