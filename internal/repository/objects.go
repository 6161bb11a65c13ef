package repository

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"modelmanager.dev"
)

// Objects reads many objects by one git process. One goroutine uses it at a
// time; the caller closes it.
type Objects struct {
	command *exec.Cmd
	cancel  context.CancelFunc
	input   io.WriteCloser
	output  *bufio.Reader
	problem *said
}

// Objects starts reading objects.
func (r *Repository) Objects(ctx context.Context) (*Objects, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &Objects{command: command(ctx, r.dir(), r.place(), "cat-file", "--batch"), cancel: cancel, problem: &said{}}
	o.command.Stderr = o.problem
	var err error
	if o.input, err = o.command.StdinPipe(); err != nil {
		cancel()
		return nil, err
	}
	output, err := o.command.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	o.output = bufio.NewReaderSize(output, 64<<10)
	if err := o.command.Start(); err != nil {
		cancel()
		return nil, failure(ctx, "cat-file", err, "")
	}
	return o, nil
}

// Close ends the process.
func (o *Objects) Close() error {
	o.input.Close()
	o.cancel()
	_ = o.command.Wait() // it was ended
	return nil
}

// Read returns a blob of at most so many bytes. CodeTooLarge if it is larger,
// CodeNotFound if it isn't here.
func (o *Objects) Read(hash string, most int64) ([]byte, error) {
	if err := o.ask(hash); err != nil {
		return nil, err
	}
	return o.receive(hash, most)
}

// receive reads the answer to ask.
func (o *Objects) receive(hash string, most int64) ([]byte, error) {
	size, err := o.answered(hash)
	if err != nil {
		return nil, err
	}
	if size > most {
		if err := o.pass(io.Discard, size); err != nil {
			return nil, err
		}
		return nil, modelmanager.Errorf(modelmanager.CodeTooLarge, "object %s has %d bytes; at most %d are read", hash, size, most)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(o.output, data); err != nil {
		return nil, o.broken(err)
	}
	_, err = o.output.Discard(1)
	return data, err
}

// ReadAll reads many blobs, as Read does each, without waiting for one before
// asking for the next. each is told them in order.
func (o *Objects) ReadAll(hashes []string, most int64, each func(i int, data []byte, err error) error) error {
	for _, hash := range hashes {
		if !isHash(hash) {
			return modelmanager.Errorf(modelmanager.CodeBadRequest, "%.80q is not an object's hash", hash)
		}
	}
	asked := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(o.input, 16<<10)
		for _, hash := range hashes {
			w.WriteString(hash)
			w.WriteByte('\n')
		}
		asked <- w.Flush()
	}()
	for i, hash := range hashes {
		data, err := o.receive(hash, most)
		if err := each(i, data, err); err != nil {
			o.cancel() // so that the asking ends
			<-asked
			return err
		}
	}
	if err := <-asked; err != nil {
		return o.broken(err)
	}
	return nil
}

// Copy writes a blob and returns its size.
func (o *Objects) Copy(w io.Writer, hash string) (int64, error) {
	if err := o.ask(hash); err != nil {
		return 0, err
	}
	size, err := o.answered(hash)
	if err != nil {
		return 0, err
	}
	return size, o.pass(w, size)
}

func (o *Objects) pass(w io.Writer, size int64) error {
	if _, err := io.CopyN(w, o.output, size); err != nil {
		return o.broken(err)
	}
	_, err := o.output.Discard(1)
	return err
}

func (o *Objects) ask(hash string) error {
	if !isHash(hash) {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "%.80q is not an object's hash", hash)
	}
	if _, err := io.WriteString(o.input, hash+"\n"); err != nil {
		return o.broken(err)
	}
	return nil
}

// answered reads the line before a blob.
func (o *Objects) answered(hash string) (size int64, err error) {
	line, err := o.output.ReadString('\n')
	if err != nil {
		return 0, o.broken(err)
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return 0, modelmanager.Errorf(modelmanager.CodeNotFound, "object %s is not in this clone; git fetch may bring it", hash)
	}
	size, err = strconv.ParseInt(fields[2], 10, 64)
	if err == nil && fields[1] != "blob" {
		if err = o.pass(io.Discard, size); err == nil {
			err = modelmanager.Errorf(modelmanager.CodeBadRequest, "object %s is a %s, not a file", hash, fields[1])
		}
	}
	return size, err
}

func (o *Objects) broken(err error) error {
	if text := o.problem.String(); text != "" {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "git cat-file: %s", text)
	}
	return fmt.Errorf("reading objects of the git repository: %w", err)
}
