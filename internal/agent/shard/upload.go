package shard

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"

	"modelmanager.dev"
)

// upload streams an object to a signed URL while it is being written. The
// object appears when Close has returned, and never after Abort.
type upload struct {
	ctx     context.Context
	pipe    *io.PipeWriter
	buffer  *bufio.Writer
	hash    hash.Hash
	size    int64
	once    sync.Once
	outcome chan error
	stored  File
	err     error
}

// put begins an upload.
func (c *client) put(ctx context.Context, url string) (*upload, error) {
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, reader)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	u := &upload{ctx: ctx, pipe: writer, hash: sha256.New(), outcome: make(chan error, 1)}
	u.buffer = bufio.NewWriterSize(writer, 256<<10)
	go func() {
		err := u.send(c, request)
		if err != nil {
			reader.CloseWithError(err) // wakes a Write
		}
		u.outcome <- err
	}()
	return u, nil
}

func (u *upload) send(c *client, request *http.Request) error {
	response, err := c.http.Do(request)
	if err != nil {
		return unreachable(u.ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return refusal(response)
	}
	if err := json.NewDecoder(response.Body).Decode(&u.stored); err != nil {
		return unreachable(u.ctx, err)
	}
	return nil
}

// Write adds to the object.
func (u *upload) Write(p []byte) (int, error) {
	u.hash.Write(p)
	u.size += int64(len(p))
	return u.buffer.Write(p)
}

// Close ends the object, and checks that the server has what was written.
func (u *upload) Close() error {
	u.once.Do(func() {
		err := u.buffer.Flush()
		if err != nil {
			u.pipe.CloseWithError(err)
		} else {
			u.pipe.Close()
		}
		u.err = <-u.outcome
		if u.err == nil {
			u.err = err
		}
		if sum := hex.EncodeToString(u.hash.Sum(nil)); u.err == nil && (u.stored.Size != u.size || u.stored.SHA256 != sum) {
			u.err = modelmanager.Errorf(modelmanager.CodeStorage, "storing an object: %d bytes were sent, %d arrived, or others", u.size, u.stored.Size)
		}
	})
	return u.err
}

// Abort drops the object; after Close it does nothing.
func (u *upload) Abort() {
	u.once.Do(func() {
		u.err = fmt.Errorf("storing an object: aborted")
		u.pipe.CloseWithError(u.err)
		<-u.outcome
	})
}
