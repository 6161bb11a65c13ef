package worker

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// TestAMarkIsAfterWhatWasWritten: what a worker wrote before a mark was written
// before it, however late the agent comes to read it.
func TestAMarkIsAfterWhatWasWritten(t *testing.T) {
	log := newLog(t.TempDir(), nil)
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	var following sync.WaitGroup
	following.Go(log.follow(read))
	for n := range 1000 {
		if _, err := fmt.Fprintf(write, "of call %d\n", n); err != nil {
			t.Fatal(err)
		}
		log.mark()
		if lines := log.freshLines(1); len(lines) > 0 {
			t.Fatalf("after the mark: %q", lines)
		}
	}
	if _, err := fmt.Fprintln(write, "the last words"); err != nil {
		t.Fatal(err)
	}
	write.Close()
	following.Wait()
	if lines := log.freshLines(5); len(lines) != 1 || lines[0] != "the last words" {
		t.Errorf("after the last mark: %q", lines)
	}
	if lines := log.Lines(1000); len(lines) < 500 {
		t.Errorf("of all there are %d lines", len(lines))
	}
}
