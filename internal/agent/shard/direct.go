package shard

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// Direct is a URL of the store itself, with headers that have to be sent; "" if
// the server can't, or won't, give one. All of it is secret.
type Direct struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	// Pinned tells that a GET reads what the job was accepted with or nothing,
	// 404, and that the ETag in the answers is another than the job's.
	Pinned bool `json:"pinned,omitempty"`
}

// Parcel announces what an attempt will store.
type Parcel struct {
	What   string `json:"what"` // part, rejected or logs
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal
	MD5    string `json:"md5"`
}

// store is how a task reaches the store itself. It may not: the network may be
// closed, the clock wrong. Then all goes through the server from there on.
type store struct {
	transport *http.Transport
	closed    atomic.Bool
}

// storePatience bounds how long it takes to find that the store can't be reached.
const storePatience = 5 * time.Second

func newStore() *store {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: storePatience, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = storePatience
	transport.ResponseHeaderTimeout = time.Minute
	transport.MaxIdleConnsPerHost = 8
	transport.DisableCompression = true
	transport.WriteBufferSize, transport.ReadBufferSize = 64<<10, 64<<10
	return &store{transport: transport}
}

// get sends a request for an object to the store itself; nil if it has to go
// through the server.
func (s *store) get(request *http.Request, to *Direct, etag string) *http.Response {
	if to == nil || to.URL == "" || s.closed.Load() {
		return nil
	}
	address, err := request.URL.Parse(to.URL)
	if err != nil {
		return nil
	}
	clone := request.Clone(request.Context())
	clone.URL, clone.Host = address, ""
	clone.Header.Set("Accept-Encoding", "gzip") // as it is: it is never unpacked here, and nowhere on the way
	if to.Pinned {
		clone.Header.Del("If-Match")
	}
	response, err := s.transport.RoundTrip(clone)
	if err != nil {
		s.close(request.Context().Err() == nil)
		return nil
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		if to.Pinned {
			response.Header.Set("ETag", etag)
		}
		return response
	case http.StatusPreconditionFailed:
		return response
	}
	// The server knows better what it means.
	response.Body.Close()
	s.close(response.StatusCode < 500 && response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusTooManyRequests)
	return nil
}

// putTries is how often a PUT is sent to the store before it goes through the server.
const putTries = 3

// put stores what has been announced; false if it has to go through the server.
func (s *store) put(ctx context.Context, to *Direct, body func() io.Reader, size int64) bool {
	for try := range putTries {
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, to.URL, io.NopCloser(body()))
		if err != nil {
			return false
		}
		request.ContentLength = size
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body()), nil }
		if size == 0 {
			request.Body, request.GetBody = http.NoBody, nil
		}
		for name, value := range to.Headers {
			request.Header.Set(name, value)
		}
		response, err := s.transport.RoundTrip(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
			response.Body.Close()
			if response.StatusCode < 300 {
				return true
			}
			if response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests {
				break
			}
		}
		if !pause.For(ctx, backOff<<try) {
			return false
		}
	}
	s.close(ctx.Err() == nil)
	return false
}

// close makes all go through the server from here on, if there is a reason.
func (s *store) close(reason bool) {
	if reason {
		s.closed.Store(true)
	}
}

// parcel is an object of an attempt. The store wants to know its size before
// it comes, so it is kept until it is whole, in memory and then on disk, and
// sent to the store at once; what is too large for that, or can't be sent,
// streams through the server. It appears when Close has returned, and never
// after Abort.
type parcel struct {
	run    *run
	ctx    context.Context
	what   string
	pick   func(*URLs) string
	spool  *spool
	upload *upload // through the server
	sha    hash.Hash
	md5    hash.Hash
	stored File
	done   bool
}

// newParcel begins a parcel.
func (r *run) newParcel(ctx context.Context, what string, pick func(*URLs) string) (*parcel, error) {
	p := &parcel{run: r, ctx: ctx, what: what, pick: pick, sha: sha256.New(), md5: md5.New()}
	if !r.assignment.URLs.Store || r.task.client.store.closed.Load() {
		return p, p.through()
	}
	p.spool = &spool{dir: r.config.RunDir}
	return p, nil
}

// diskShare is the part of a model's disk that each parcel may take.
const diskShare = 4

// Write adds to the object.
func (p *parcel) Write(data []byte) (int, error) {
	if p.upload != nil {
		return p.upload.Write(data)
	}
	p.sha.Write(data)
	p.md5.Write(data)
	if p.spool.size+int64(len(data)) <= p.run.spec.Resources.Disk/diskShare && p.spool.Write(data) {
		return len(data), nil
	}
	if err := p.through(); err != nil {
		return 0, err
	}
	return p.upload.Write(data)
}

// through sends what there is, and what comes, through the server.
func (p *parcel) through() error {
	address, err := p.run.url(p.ctx, p.pick)
	if err != nil {
		return err
	}
	if p.upload, err = p.run.put(p.ctx, address); err != nil || p.spool == nil {
		return err
	}
	_, err = io.Copy(p.upload, p.spool.Reader())
	p.spool.Close()
	p.spool = nil
	return err
}

// Close ends the object; it is stored then.
func (p *parcel) Close() error {
	if p.done {
		return nil
	}
	p.done = true
	if p.upload == nil {
		sent, err := p.send()
		if sent || err != nil {
			return err
		}
		if err := p.through(); err != nil {
			return err
		}
	}
	if err := p.upload.Close(); err != nil {
		return err
	}
	p.stored = p.upload.stored
	return nil
}

// send sends the object to the store itself, if it may.
func (p *parcel) send() (bool, error) {
	if p.run.task.client.store.closed.Load() {
		return false, nil
	}
	file := Parcel{What: p.what, Size: p.spool.size, SHA256: hex.EncodeToString(p.sha.Sum(nil)), MD5: hex.EncodeToString(p.md5.Sum(nil))}
	var to Direct
	if err := p.run.call(p.ctx, "store", file, &to); err != nil {
		return false, err
	}
	if to.URL == "" || !p.run.task.client.store.put(p.ctx, &to, p.spool.Reader, file.Size) {
		return false, p.ctx.Err()
	}
	p.spool.Close()
	p.spool = nil
	p.stored = File{Size: file.Size, SHA256: file.SHA256}
	return true, nil
}

// Abort drops the object; after Close it does nothing.
func (p *parcel) Abort() {
	p.done = true
	if p.spool != nil {
		p.spool.Close()
	}
	if p.upload != nil {
		p.upload.Abort()
	}
}

// spool keeps bytes: few in memory, more in a file that has no name, so that
// nothing is left of it whatever ends this process.
type spool struct {
	dir    string // "": memory alone
	memory bytes.Buffer
	file   *os.File
	size   int64
}

const spoolMemory = 1 << 20

// Write adds to the spool; false if it doesn't fit, and then nothing of it counts.
func (s *spool) Write(p []byte) bool {
	if s.file == nil && s.memory.Len()+len(p) <= spoolMemory {
		s.memory.Write(p)
		s.size += int64(len(p))
		return true
	}
	if s.file == nil {
		if s.dir == "" {
			return false
		}
		file, err := os.CreateTemp(s.dir, ".part-")
		if err != nil {
			return false
		}
		s.file = file
		_ = os.Remove(file.Name())
	}
	if _, err := s.file.WriteAt(p, s.size-int64(s.memory.Len())); err != nil {
		return false
	}
	s.size += int64(len(p))
	return true
}

// Reader reads all of it.
func (s *spool) Reader() io.Reader {
	inMemory := bytes.NewReader(s.memory.Bytes())
	if s.file == nil {
		return inMemory
	}
	return io.MultiReader(inMemory, io.NewSectionReader(s.file, 0, s.size-int64(s.memory.Len())))
}

// Close frees it.
func (s *spool) Close() {
	if s.file != nil {
		_ = s.file.Close()
	}
	*s = spool{}
}

// Check refuses a parcel that can't be one.
func (p *Parcel) Check() error {
	sha, shaErr := hex.DecodeString(p.SHA256)
	sum, sumErr := hex.DecodeString(p.MD5)
	if p.Size < 0 || shaErr != nil || sumErr != nil || len(sha) != sha256.Size || len(sum) != md5.Size {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "an object of %d bytes with the hashes %.70q and %.40q can't be stored",
			p.Size, p.SHA256, p.MD5)
	}
	return nil
}
