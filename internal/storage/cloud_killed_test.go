package storage_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"modelmanager.dev"
	"modelmanager.dev/internal/storage"
	"modelmanager.dev/test/stores"
)

// A server that is killed in the middle of an upload leaves nothing to be seen;
// a store that goes away in the middle is an error, not a hang.
func TestS3Killed(t *testing.T) {
	server := stores.S3(t)
	b := opened(t, server.S3URL("x"))
	reader, writer := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := storage.NewUploads(b).Put(ctx, reader, 0)
		_ = reader.CloseWithError(err)
		failed <- err
	}()
	chunk := make([]byte, 1<<20)
	for range 40 {
		if _, err := writer.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop()
	for range 200 {
		if _, err := writer.Write(chunk); err != nil {
			break
		}
	}
	writer.Close()
	if err := <-failed; modelmanager.CodeOf(err) != modelmanager.CodeStorage {
		t.Error(err)
	}
	server.Start()
	other := opened(t, server.S3URL("x"))
	if objects, err := other.List(t.Context(), "", "", 0); err != nil || len(objects) != 0 {
		t.Error(objects, err)
	}
}

// TestUploader uploads for ever, in a process of its own that is killed.
func TestUploader(t *testing.T) {
	address := os.Getenv("MM_TEST_UPLOAD_TO")
	if address == "" {
		return
	}
	var source io.Reader = endless{}
	if size, err := strconv.ParseInt(os.Getenv("MM_TEST_UPLOAD_SIZE"), 10, 64); err == nil {
		source = io.LimitReader(source, size)
	}
	b := opened(t, address)
	upload, err := storage.NewUploads(b).Put(t.Context(), source, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := storage.NewUploads(b).Open(t.Context(), upload.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != upload.Size {
		t.Fatal(n, err)
	}
}

// The memory that an upload takes doesn't depend on its size.
func TestS3FlatMemory(t *testing.T) {
	server := stores.S3(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	peak := func(size int64) int64 {
		started := time.Now()
		command := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestUploader$")
		command.Env = append(os.Environ(), "MM_TEST_UPLOAD_TO="+server.S3URL("x"), "MM_TEST_UPLOAD_SIZE="+strconv.FormatInt(size, 10))
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		kilobytes := command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
		t.Logf("%d MiB up and down: %d MiB of memory, %s", size>>20, kilobytes>>10, time.Since(started).Round(time.Millisecond))
		return kilobytes << 10
	}
	small, large := peak(128<<20), peak(768<<20)
	if large > small+small/4 || large > 256<<20 {
		t.Errorf("%d bytes of memory for 768 MiB, %d for 128", large, small)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A server that is killed in the middle of an upload leaves nothing that can
// be seen, and another server sweeps what is left of it.
func TestS3KilledServer(t *testing.T) {
	server := stores.S3(t)
	raw := client(t, server)
	other := opened(t, server.S3URL("x"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestUploader$")
	command.Env = append(os.Environ(), "MM_TEST_UPLOAD_TO="+server.S3URL("x"))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	parts := func() (n int) {
		list, err := raw.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: aws.String(stores.Bucket)})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list.Uploads {
			got, err := raw.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(stores.Bucket), Key: one.Key, UploadId: one.UploadId})
			if err == nil {
				n += len(got.Parts)
			}
		}
		return n
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for parts() < 2 {
		select {
		case <-ctx.Done():
			t.Fatal("nothing is uploaded")
		case <-ticker.C:
		}
	}
	_ = command.Process.Kill()
	_ = command.Wait()
	if objects, err := other.List(t.Context(), "", "", 0); err != nil || len(objects) != 0 {
		t.Error(objects, err)
	}
	if len(unfinished(t, raw)) != 1 {
		t.Error("nothing was left to sweep")
	}
	if _, err := storage.NewUploads(other).Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := unfinished(t, raw); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}
